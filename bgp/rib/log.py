"""The order in which destinations changed, for any number of readers at different positions.

Every change of a destination's selected path gets the next revision and an entry at the end of the log. An entry whose
destination has changed again is superseded: readers skip it, and find the destination at its newest revision. So
reading costs what has changed, a reader that was slow sees only the newest state, and a reader that begins at 0 sees
every destination exactly once. Superseded entries are dropped when they are the larger part.

The same shape as the stream of changes of vpn.table; here what a reader has been told is kept with the destination
(bgp.rib.table), so the log need not know its readers.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

_SLACK = 1024
"""Superseded entries that are not worth a compaction."""


class Entry(Protocol):
    """What a log holds: something with the revision of its newest change; 0: no longer to be read."""

    revision: int


E = TypeVar("E", bound=Entry)


class ChangeLog(Generic[E]):
    """Entries by ascending revision."""

    __slots__ = ("_entries", "_live", "_revisions", "revision")

    def __init__(self) -> None:
        self._entries: list[E] = []
        self._revisions = array("Q")
        self._live = 0
        self.revision = 0
        """The revision of the newest change."""

    def __len__(self) -> int:
        """Number of entries, superseded ones included."""
        return len(self._entries)

    def append(self, entry: E) -> None:
        """The entry has changed: it has the newest revision from here on."""
        if not entry.revision:
            self._live += 1
        self.revision += 1
        entry.revision = self.revision
        self._entries.append(entry)
        self._revisions.append(self.revision)
        if len(self._entries) > 2 * self._live + _SLACK:
            self._compact()

    def extend(self, entries: Sequence[E]) -> None:
        """The same for many that are new: none of them has a revision yet."""
        first = self.revision + 1
        self.revision += len(entries)
        self._live += len(entries)
        for revision, entry in enumerate(entries, first):
            entry.revision = revision
        self._entries += entries
        self._revisions.extend(range(first, self.revision + 1))

    def forget(self, entry: E) -> None:
        """Nobody needs to read the entry any more."""
        if entry.revision:
            entry.revision = 0
            self._live -= 1
            if len(self._entries) > 2 * self._live + _SLACK:
                self._compact()

    def read(self, after: int, limit: int) -> tuple[list[E], int]:
        """At most `limit` (>= 1) entries behind the revision `after`, oldest first, and the revision read up to."""
        entries, revisions = self._entries, self._revisions
        start = bisect_right(revisions, after)
        found: list[E] = []
        end = min(start + limit, len(entries))
        while start < len(entries):
            found += [
                entry
                for entry, revision in zip(entries[start:end], revisions[start:end], strict=True)
                if entry.revision == revision
            ]
            if len(found) == limit:
                return found, revisions[end - 1]
            start, end = end, min(end + limit - len(found), len(entries))
        return found, self.revision

    def _compact(self) -> None:
        kept = [
            (entry, revision)
            for entry, revision in zip(self._entries, self._revisions, strict=True)
            if entry.revision == revision
        ]
        self._entries = [entry for entry, _ in kept]
        self._revisions = array("Q", (revision for _, revision in kept))
