"""Sections that the configuration files of several daemons have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.config import one_of, option
from runtime.listen import Listen
from runtime.log import LEVELS


@dataclass(frozen=True, slots=True)
class ControlSection:
    """[control]. Each daemon derives its own, with the default of its socket."""

    socket: Path = option(help="control socket")
    group: str | None = option(None, help="group whose members may use the control socket")


@dataclass(frozen=True, slots=True)
class MetricsSection:
    """[metrics]"""

    listen: Listen | None = option(
        None, parse=Listen.parse, expects='"ADDRESS:PORT"', help="where Prometheus finds /metrics; default: nowhere"
    )


@dataclass(frozen=True, slots=True)
class LogSection:
    """[log]"""

    level: str = option("info", check=one_of(*LEVELS), help="least severity that is logged")
