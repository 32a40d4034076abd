"""The order in which things changed, for any number of readers at different positions.

The things are the destinations of BGP tables (bgp.rib) and the prefixes of VRF tables (vpn.stream). Every change of a
destination's selected path gets the next revision and an entry at the end of the log. An entry whose
destination has changed again is superseded: readers skip it, and find the destination at its newest revision. So
reading costs what has changed, a reader that was slow sees only the newest state, and a reader that begins at 0 sees
every destination exactly once.

The log is a row of short segments, each of which drops superseded entries when they are the larger part of it: so
nothing that is done to the log takes long, however many entries there are.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

SEGMENT = 4096
"""Entries of a segment, about: one that is filled in one go may have more."""
_SLACK = 64
"""Superseded entries in a segment that are not worth a compaction."""


class Entry(Protocol):
    """What a log holds: something with the revision of its newest change; 0: no longer to be read."""

    revision: int


E = TypeVar("E", bound=Entry)


class _Segment(Generic[E]):
    """Entries by ascending revision. live: how many of them are not superseded."""

    __slots__ = ("entries", "live", "revisions")

    def __init__(self) -> None:
        self.entries: list[E] = []
        self.revisions = array("Q")
        self.live = 0

    def compact(self) -> None:
        kept = [
            (entry, revision)
            for entry, revision in zip(self.entries, self.revisions, strict=True)
            if entry.revision == revision
        ]
        self.entries = [entry for entry, _ in kept]
        self.revisions = array("Q", (revision for _, revision in kept))


class ChangeLog(Generic[E]):
    """Entries by ascending revision."""

    __slots__ = ("_segments", "_starts", "revision")

    def __init__(self) -> None:
        self._segments: list[_Segment[E]] = [_Segment()]
        self._starts = [1]
        """The first revision that belongs to each segment: it has those up to the next one's."""
        self.revision = 0
        """The revision of the newest change."""

    def __len__(self) -> int:
        """Number of entries, superseded ones included."""
        return sum(len(segment.entries) for segment in self._segments)

    def append(self, entry: E) -> None:
        """The entry has changed: it has the newest revision from here on."""
        before = entry.revision
        last = self._last()
        self.revision += 1
        entry.revision = self.revision
        last.entries.append(entry)
        last.revisions.append(self.revision)
        last.live += 1
        if before:
            self._supersede(before)

    def extend(self, entries: Sequence[E]) -> None:
        """The same for many that are new: none of them has a revision yet."""
        last = self._last()
        first = self.revision + 1
        self.revision += len(entries)
        for revision, entry in enumerate(entries, first):
            entry.revision = revision
        last.entries += entries
        last.revisions.extend(range(first, self.revision + 1))
        last.live += len(entries)

    def forget(self, entry: E) -> None:
        """Nobody needs to read the entry any more."""
        before = entry.revision
        if before:
            entry.revision = 0
            self._supersede(before)

    def read(self, after: int, limit: int) -> tuple[list[E], int]:
        """At most `limit` (>= 1) entries behind the revision `after`, oldest first, and the revision read up to."""
        segments = self._segments
        index = max(bisect_right(self._starts, after) - 1, 0)
        start = bisect_right(segments[index].revisions, after)
        found: list[E] = []
        while index < len(segments):
            entries, revisions = segments[index].entries, segments[index].revisions
            while start < len(entries):
                end = start + limit - len(found)
                found += [
                    entry
                    for entry, revision in zip(entries[start:end], revisions[start:end], strict=True)
                    if entry.revision == revision
                ]
                start = min(end, len(entries))
                if len(found) == limit:
                    return found, revisions[start - 1]
            index, start = index + 1, 0
        return found, self.revision

    def newest(self, before: int | None = None) -> Iterator[E]:
        """All entries (those older than the revision `before`), newest first; nothing is to change meanwhile."""
        last = len(self._segments) - 1
        if before is not None:
            last = max(bisect_right(self._starts, before) - 1, 0)
        for segment in self._segments[last::-1]:
            entries, revisions = reversed(segment.entries), reversed(segment.revisions)
            if before is not None:
                newer = len(segment.revisions) - bisect_left(segment.revisions, before)
                entries, revisions = islice(entries, newer, None), islice(revisions, newer, None)
                before = None
            for entry, revision in zip(entries, revisions, strict=True):
                if entry.revision == revision:
                    yield entry

    def _last(self) -> _Segment[E]:
        """The segment that takes the next entry."""
        last = self._segments[-1]
        if len(last.entries) >= SEGMENT:
            last = _Segment()
            self._segments.append(last)
            self._starts.append(self.revision + 1)
        return last

    def _supersede(self, revision: int) -> None:
        """The entry of a revision is not the newest of its destination any more."""
        index = bisect_right(self._starts, revision) - 1
        segment = self._segments[index]
        segment.live -= 1
        if len(segment.entries) > 2 * segment.live + (_SLACK if segment.live else 0):
            segment.compact()
            if index + 1 < len(self._segments):
                self._join(index, index + 1)
            if index:
                self._join(index - 1, index)

    def _join(self, index: int, after: int) -> None:
        """Put two neighbours together when both have become small, or one is empty."""
        segments = self._segments
        one, other = segments[index], segments[after]
        if one.entries and other.entries and len(one.entries) + len(other.entries) > SEGMENT // 2:
            return
        one.entries += other.entries
        one.revisions += other.revisions
        one.live += other.live
        del segments[after], self._starts[after]
