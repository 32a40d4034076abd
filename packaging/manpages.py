"""Manual pages, made from what they describe: the trees of commands, the parsers of the daemons, the schemas.

They aren't compressed: who makes a package does that.
"""

from __future__ import annotations

from datetime import date

import man_commands
import man_config
import man_daemons
import man_overview
from roff import Page, Stamp


def pages(version: str, day: date) -> tuple[Page, ...]:
    """Every page, in the order of names and sections. version: shown at the foot; day: likewise."""
    stamp = Stamp(version, day)
    made = (
        *man_commands.pages(stamp),
        *man_daemons.pages(stamp),
        *man_config.pages(stamp),
        *man_overview.pages(stamp),
    )
    return tuple(sorted(made, key=lambda page: page.path))
