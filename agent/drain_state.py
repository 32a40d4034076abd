"""Whether a host is drained: what is kept of that. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class DrainPhase(enum.StrEnum):
    """Where a host is between serving its ports and having none in use; it outlives the daemon."""

    ACTIVE = "active"
    DRAINING = "draining"
    """Nothing is announced; ports deliver what still comes."""
    DRAINED = "drained"
    """Nothing passes from or to the ports."""


@dataclass(frozen=True, slots=True)
class DrainState:
    """A drain that was asked for. settle: seconds from the last gateway's confirmation to the ports going down; force:
    gateways that are away aren't waited for."""

    phase: DrainPhase
    settle: float = 0.0
    force: bool = False


ACTIVE = DrainState(DrainPhase.ACTIVE)


def at_gateway(phase: DrainPhase, held: int) -> str:
    """How far a drain is at a gateway that has, or may have, this many prefixes; "" when there is none."""
    if phase is DrainPhase.ACTIVE:
        return ""
    return "withdrawing" if held else "withdrawn"
