"""The page vrfwire(7), which is written by hand: packaging/man/vrfwire.7."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roff import Page, Stamp

SOURCE = Path(__file__).parent / "man"


def pages(stamp: Stamp) -> Iterator[Page]:
    """The pages that are kept as they are, but for version and date."""
    for source in sorted(SOURCE.glob("*.[1-8]")):
        text = source.read_text().replace("@VERSION@", stamp.version).replace("@DATE@", stamp.day.isoformat())
        yield Page(source.stem, int(source.suffix[1:]), "vrfwire-common", text)
