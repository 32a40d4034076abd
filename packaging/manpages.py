"""Manual pages, made from what they describe: the trees of commands, the parsers of the daemons, the schemas.

    python packaging/manpages.py DIRECTORY [VERSION]     # DIRECTORY stands for /usr/share/man

The date on the pages is that of SOURCE_DATE_EPOCH, seconds since 1970.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import man_commands
import man_config
import man_daemons
import man_overview
from roff import Page, Stamp
from runtime.version import VERSION


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


def write(directory: Path, version: str, day: date) -> dict[str, tuple[str, ...]]:
    """Write them below directory, which stands for /usr/share/man; returns the paths of each package, relative to it.

    They aren't compressed: who makes a package does that.
    """
    written: dict[str, list[str]] = {}
    for page in pages(version, day):
        path = directory / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.text)
        path.chmod(0o644)
        written.setdefault(page.package, []).append(page.path)
    return {package: tuple(paths) for package, paths in written.items()}


def build_date() -> date:
    """Of SOURCE_DATE_EPOCH, without it today."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return (datetime.now(UTC) if given is None else datetime.fromtimestamp(int(given), UTC)).date()


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else VERSION, build_date())
