"""The stream of changes of a table (vpn.table), for readers of any speed (vpn.cursor). No I/O.

Two orders of the table's prefixes, both rows of short segments, so that nothing that is done to them takes long:

    log      by the revision of the newest change: what a reader has still to be told is behind its position
    births   by the revision at which a prefix came: it keeps its place, however often its path changes

A reader begins with the births: so it hears of every prefix that was there when it began, in bounded time, even of
those that change faster than it reads, which in the log would always be further on. From there it reads the log.

A withdrawn prefix stays in both as a tombstone until no reader needs it: none that may have been told of the prefix has
still to be told that it is gone. Who needs what is looked up in passing, some entries with every change and read: a
sweep of a large table is nobody's pause.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable
from itertools import accumulate, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from vpn.log import SEGMENT, ChangeLog
from vpn.path import Path
from vpn.prefix import Prefix

if TYPE_CHECKING:
    from vpn.cursor import Cursor

S = TypeVar("S", bound=Hashable)

SLACK = 256
"""Tombstones that are not worth a sweep."""
STEP = 1024
"""Entries that a sweep looks at in one go."""
_AT_ONCE = 4 * STEP
"""Prefixes of a table that is swept in one go."""
_SLACK_IN_SEGMENT = 64
_BY_CHANGE = 4
"""Entries that a sweep may look at for a change: it is through before the table has grown by half."""
_BY_READ = 128
"""And for each piece that is read."""
_born = attrgetter("born")


class Node(Generic[S]):
    """State of one prefix. path is None in a tombstone; revision 0: it is no longer there. born: revision at which the
    prefix came."""

    __slots__ = ("born", "path", "prefix", "revision", "sources")

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.sources: tuple[S, ...] = ()
        self.path: Path | None = None
        self.revision = 0
        self.born = 0


class Births(Generic[S]):
    """Nodes by the revision at which they came."""

    __slots__ = ("_live", "_segments", "_starts")

    def __init__(self) -> None:
        self._segments: list[list[Node[S]]] = [[]]
        self._starts = [0]
        """Each segment has what was born from here up to the next one's."""
        self._live = [0]

    def __len__(self) -> int:
        """Number of entries, those that are no longer there included."""
        return sum(map(len, self._segments))

    def append(self, node: Node[S]) -> None:
        """A prefix has come, later than all others."""
        if len(self._segments[-1]) >= SEGMENT:
            self._segments.append([])
            self._starts.append(node.born)
            self._live.append(0)
        self._segments[-1].append(node)
        self._live[-1] += 1

    def forget(self, node: Node[S]) -> None:
        """A node is no longer there: its revision is 0."""
        index = bisect_right(self._starts, node.born) - 1
        self._live[index] -= 1
        live, segment = self._live[index], self._segments[index]
        if len(segment) > 2 * live + (_SLACK_IN_SEGMENT if live else 0):
            self._segments[index] = [other for other in segment if other.revision]
            for one in (index, index - 1):
                if 0 <= one < len(self._segments) - 1:
                    self._join(one)

    def _join(self, index: int) -> None:
        """Put a segment and the next together when both are small."""
        one, other = self._segments[index : index + 2]
        if not one or not other or len(one) + len(other) <= SEGMENT // 2:
            one += other
            self._live[index] += self._live.pop(index + 1)
            del self._segments[index + 1], self._starts[index + 1]

    def read(self, after: int, until: int, limit: int) -> tuple[list[Node[S]], int]:
        """At most `limit` (>= 1) nodes with a path that were born behind `after`, up to `until`, oldest first.

        And up to which birth that is: `until` when it is all of them.
        """
        found: list[Node[S]] = []
        index = bisect_right(self._starts, after) - 1
        start = bisect_right(self._segments[index], after, key=_born)
        for segment in islice(self._segments, index, None):
            end = len(segment)
            if end and segment[-1].born > until:
                end = bisect_right(segment, until, start, key=_born)
            while start < end:
                piece = segment[start : min(end, start + limit - len(found))]
                found += [node for node in piece if node.path is not None]
                if len(found) == limit:
                    return found, piece[-1].born
                start += len(piece)
            if end < len(segment):
                break
            start = 0
        return found, until


class _Sweep:
    """Looks for tombstones that nobody needs, from the oldest entry of the log to those of the time when it began.

    What it knows of the readers is of that time, too. It stays right: a reader that had not been told of a prefix that
    was gone by then won't be, and what others have read since can only make more of them go.
    """

    __slots__ = ("_floors", "_seen", "at", "kept", "until")

    def __init__(self, until: int, readers: list[tuple[int, int]]) -> None:
        self.at = 0
        self.until = until
        self.kept = 0
        """Tombstones found that somebody needs, or did when it began."""
        readers.sort()
        self._seen = [seen for seen, _ in readers]
        # The lowest floor of each reader and those behind it.
        self._floors = list(accumulate((floor for _, floor in reversed(readers)), min))[::-1]

    def needed(self, born: int, withdrawn: int) -> bool:
        """Whether a reader that may have been told of a prefix has still to be told of its withdrawal."""
        reader = bisect_left(self._seen, born)
        return reader < len(self._seen) and self._floors[reader] < withdrawn


class ChangeStream(Generic[S]):
    """The changes of a table whose nodes are given, and its readers."""

    __slots__ = (
        "_alarm",
        "_behind",
        "_debt",
        "_nodes",
        "_prune_at",
        "_sweep",
        "_swept_at",
        "births",
        "cursors",
        "log",
        "tombstones",
    )

    def __init__(self, nodes: dict[Prefix, Node[S]]) -> None:
        self.log: ChangeLog[Node[S]] = ChangeLog()
        self.births: Births[S] = Births()
        self.cursors: set[Cursor[S]] = set()
        self.tombstones = 0
        """Number of nodes without a path."""
        self._nodes = nodes
        self._prune_at = SLACK
        self._swept_at = 0
        """The revision up to which was swept."""
        self._behind = 0
        """Number of readers that have not read that far."""
        self._sweep: _Sweep | None = None
        self._debt = 0
        self._alarm: Callable[[], object] | None = None

    def once(self, alarm: Callable[[], object] | None) -> None:
        """Call this at the next change, and not again; None: nothing."""
        self._alarm = alarm

    @property
    def revision(self) -> int:
        """The revision of the newest change."""
        return self.log.revision

    def change(self, node: Node[S], path: Path | None) -> None:
        """A node has another path than before, or none any more."""
        fresh = not node.revision
        if path is None:
            self.tombstones += 1
        elif node.path is None and not fresh:
            self.tombstones -= 1
        node.path = path
        self.log.append(node)
        if fresh:
            node.born = node.revision
            self.births.append(node)
        if self._alarm is not None:
            alarm, self._alarm = self._alarm, None
            alarm()
        if self._sweep is not None:
            self._work(_BY_CHANGE)
        elif self.tombstones > self._prune_at:
            self.sweep()

    # -- readers

    def join(self, cursor: Cursor[S]) -> None:
        """There is a reader."""
        self.cursors.add(cursor)
        if cursor.floor < self._swept_at:
            self._behind += 1

    def leave(self, cursor: Cursor[S]) -> None:
        """It needs nothing any more."""
        if cursor in self.cursors:
            self.cursors.discard(cursor)
            self.passed(cursor.floor, self.revision)

    def passed(self, start: int, end: int) -> None:
        """A reader's floor went from one revision to another. The last one that was behind lets the tombstones go."""
        if start < self._swept_at <= end:
            self._behind -= 1
        if self._sweep is not None:
            self._work(_BY_READ)
        elif not self._behind and start < self._swept_at <= end and self.tombstones > max(SLACK, self._live // 4):
            self.sweep()

    @property
    def _live(self) -> int:
        return len(self._nodes) - self.tombstones

    # -- tombstones

    def sweep(self) -> None:
        """Begin to look for tombstones that nobody needs; in a small table look at all of them."""
        self._sweep = _Sweep(self.revision, [(cursor.seen, cursor.floor) for cursor in self.cursors])
        if len(self._nodes) <= _AT_ONCE:
            self._step(_AT_ONCE)

    def _work(self, entries: int) -> None:
        self._debt += entries
        if self._debt >= STEP:
            self._debt = 0
            self._step(STEP)

    def _step(self, limit: int) -> None:
        sweep = self._sweep
        assert sweep is not None
        entries, sweep.at = self.log.read(sweep.at, limit)
        for node in entries:
            revision = node.revision
            if node.path is not None or revision > sweep.until:
                continue
            if sweep.needed(node.born, revision):
                sweep.kept += 1
            else:
                del self._nodes[node.prefix]
                self.tombstones -= 1
                self.log.forget(node)
                self.births.forget(node)
        if sweep.at >= sweep.until:
            self._sweep = None
            self._prune_at = max(SLACK, self._live // 2, 2 * sweep.kept)
            self._swept_at = sweep.until
            self._behind = sum(cursor.floor < sweep.until for cursor in self.cursors)
            if not self._behind and sweep.kept > max(SLACK, self._live // 4):
                # Whoever needed them has read on meanwhile.
                self.sweep()
