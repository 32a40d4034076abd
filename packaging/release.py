"""Version and date of what is built: of the Debian changelog, or a version given for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = ROOT / "packaging/debian/changelog"

_HEAD = re.compile(r"^vrfwire \(([^)]+)\) \S+; urgency=\S+$", re.MULTILINE)
_TRAILER = re.compile(r"^ -- (.+ <\S+>)  (.+)$", re.MULTILINE)
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+~]*")


@dataclass(frozen=True, slots=True)
class Release:
    """What is built. maintainer: "NAME <ADDRESS>"; epoch: its date in seconds since 1970, which every file gets."""

    version: str
    maintainer: str
    date: datetime

    @property
    def epoch(self) -> int:
        return int(self.date.timestamp())


def release(version: str | None = None, changelog: Path = CHANGELOG) -> Release:
    """The newest of the changelog; with version, a build of that under another number.

    Raises ValueError: a version that isn't one for both deb and rpm (digits, letters, ".", "+", "~").
    """
    text = changelog.read_text()
    head, trailer = _HEAD.search(text), _TRAILER.search(text)
    if head is None or trailer is None:
        raise ValueError(f"{changelog}: no entry with a version and a date")
    chosen = version or head[1]
    if not _VERSION.fullmatch(chosen):
        raise ValueError(
            f"version {chosen!r}: must begin with a digit, and have digits, letters, '.', '+' and '~' only"
        )
    return Release(chosen, trailer[1], parsedate_to_datetime(trailer[2]))


def changelog_text(of: Release, changelog: Path = CHANGELOG) -> str:
    """The changelog with an entry for the release on top."""
    text = changelog.read_text()
    head = _HEAD.search(text)
    if head is not None and head[1] == of.version:
        return text
    date = of.date.strftime("%a, %d %b %Y %H:%M:%S %z")
    entry = f"vrfwire ({of.version}) unstable; urgency=medium\n\n  * Build of another version.\n\n"
    return f"{entry} -- {of.maintainer}  {date}\n\n{text}"
