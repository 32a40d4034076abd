"""The table of one VPN: paths of a prefix by source, the selected path, and a stream of changes.

A *source* is whoever told us: a gateway (for an agent), a host (for a gateway). Losing a source doesn't lose the prefix
while another source still has it. The selection policy is an argument: `multipath` for gateways, `first` for agents.

The stream of changes. Every change of a selected path gets the next revision number and is appended to a log; an older
log entry of the same prefix is then superseded and skipped by readers. A cursor is a position in that log, so a slow
reader finds only the newest state of each prefix, and reading costs as much as has changed. The log is compacted when
more than half of it is superseded. A withdrawn prefix stays in it as a tombstone until every cursor that may have
seen the prefix has read the withdrawal. Memory is thus bounded by the prefixes that exist and those that the slowest
reader still has to be told about, however long it waits and however much a prefix flaps.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from vpn.cursor import Cursor
from vpn.path import NextHop, Path
from vpn.prefix import Prefix

MAX_NEXT_HOPS = 64
"""Next hops kept in a multipath; keeps one route well below the size limit of a message."""

_SLACK = 256
"""Superseded entries and tombstones that are not worth a compaction."""


class _Orderable(Hashable, Protocol):
    def __lt__(self, other: Any, /) -> bool: ...


S = TypeVar("S", bound=Hashable)
O = TypeVar("O", bound=_Orderable)  # noqa: E741


class Candidate(NamedTuple, Generic[S]):
    """One source's path for a prefix; stale when the source was lost and has not confirmed it since."""

    source: S
    path: Path
    stale: bool


Selector = Callable[[Sequence[Candidate[S]]], Path]
"""Chooses among one or more candidates (in no particular order); must not depend on their order."""


def preference(candidate: Candidate[Any]) -> tuple[bool, int, int, int]:
    """What both policies compare, greater is better: not stale, LOCAL_PREF, sequence number, tie-break."""
    path = candidate.path
    return (not candidate.stale, path.local_preference, path.sequence_number, path.tie_break)


def multipath(candidates: Sequence[Candidate[Any]]) -> Path:
    """The policy of a gateway: the next hops of all equally preferred paths in one path, sorted by address and label.

    At most MAX_NEXT_HOPS, the lowest ones. The same address and label count once.
    """
    if len(candidates) == 1:
        paths = [candidates[0].path]
    else:
        best = max(map(preference, candidates))
        paths = [candidate.path for candidate in candidates if preference(candidate) == best]
    if len(paths) == 1 and len(paths[0].next_hops) == 1:
        return paths[0]
    merged: dict[tuple[bytes, int], NextHop] = {}
    for next_hop in sorted(next_hop for path in paths for next_hop in path.next_hops):
        merged.setdefault((next_hop.address, next_hop.label), next_hop)
    return Path(tuple(merged.values())[:MAX_NEXT_HOPS], paths[0].local_preference, paths[0].sequence_number)


def first(candidates: Sequence[Candidate[O]]) -> Path:
    """The policy of an agent: of the most preferred paths the one of the lowest source (draft section 4: gateway)."""
    best = max(map(preference, candidates))
    return min((c for c in candidates if preference(c) == best), key=lambda candidate: candidate.source).path


class _Node(Generic[S]):
    """State of one prefix. path is None in a tombstone. born: revision since which cursors may have seen it."""

    __slots__ = ("born", "path", "prefix", "revision", "sources")

    def __init__(self, prefix: Prefix) -> None:
        self.prefix = prefix
        self.sources: tuple[S, ...] = ()
        self.path: Path | None = None
        self.revision = 0
        self.born = 0


class VrfTable(Generic[S]):
    """Paths by prefix and source, with selection and a change stream.

    Selection runs at every call, so the table is always consistent; readers decide when to look. Not thread-safe.
    """

    __slots__ = (
        "_behind",
        "_compacted_at",
        "_cursors",
        "_log",
        "_nodes",
        "_prune_at",
        "_revision",
        "_revisions",
        "_select",
        "_single",
        "_sources",
        "_stale",
        "_tombstones",
    )

    def __init__(self, select: Selector[S]) -> None:
        self._select = select
        self._nodes: dict[Prefix, _Node[S]] = {}
        self._sources: dict[S, dict[Prefix, Path]] = {}
        self._stale: dict[S, set[Prefix]] = {}
        self._single: dict[S, tuple[S]] = {}
        self._log: list[_Node[S]] = []
        self._revisions = array("Q")
        self._revision = 0
        self._cursors: set[Cursor[S]] = set()
        self._tombstones = 0
        self._prune_at = _SLACK
        self._compacted_at = 0
        self._behind = 0

    # -- reading

    @property
    def revision(self) -> int:
        """Number of changes of selected paths so far."""
        return self._revision

    def __len__(self) -> int:
        """Number of prefixes that have a path."""
        return len(self._nodes) - self._tombstones

    def __contains__(self, prefix: Prefix) -> bool:
        return self.get(prefix) is not None

    def __iter__(self) -> Iterator[Prefix]:
        return (node.prefix for node in self._nodes.values() if node.path is not None)

    def routes(self) -> Iterator[tuple[Prefix, Path]]:
        """Every prefix with its selected path."""
        return ((node.prefix, node.path) for node in self._nodes.values() if node.path is not None)

    def get(self, prefix: Prefix) -> Path | None:
        """The selected path, or None."""
        node = self._nodes.get(prefix)
        return None if node is None else node.path

    def candidates(self, prefix: Prefix) -> tuple[Candidate[S], ...]:
        """All paths of the prefix by source, for explanation; empty when it has none."""
        node = self._nodes.get(prefix)
        return () if node is None else tuple(self._candidates(node))

    def sources(self) -> tuple[S, ...]:
        """Sources that have at least one path."""
        return tuple(self._sources)

    def source_size(self, source: S) -> int:
        """Number of prefixes a source has a path for."""
        return len(self._sources.get(source, ()))

    def stale_size(self, source: S) -> int:
        """Number of stale paths of a source."""
        return len(self._stale.get(source, ()))

    def page(self, after: Prefix | None, limit: int) -> list[tuple[Prefix, Path]]:
        """At most `limit` routes, least recently changed first, those behind the prefix `after` when it is given.

        Going on from the last prefix of a page visits every route once; one that changes meanwhile is seen again.
        Raises KeyError when `after` has no path.
        """
        start = 0
        if after is not None:
            node = self._nodes[after]
            if node.path is None:
                raise KeyError(after)
            start = node.revision
        return list(islice(self._live(range(bisect_right(self._revisions, start), len(self._log))), limit))

    def read(self, after: int, limit: int) -> tuple[list[tuple[Prefix, Path]], int]:
        """At most `limit` routes behind a revision (0: all), least recently changed first, and the revision read up to.

        Going on until that is the table's visits every route once; one that changes meanwhile is seen again.
        """
        start = bisect_right(self._revisions, after)
        end = start + limit
        reached = self._revisions[end - 1] if end < len(self._log) else self._revision
        return list(self._live(range(start, min(end, len(self._log))))), reached

    def newest(self, limit: int) -> list[tuple[Prefix, Path]]:
        """At most `limit` routes, the most recently changed first."""
        return list(islice(self._live(range(len(self._log) - 1, -1, -1)), limit))

    def _live(self, indices: Iterable[int]) -> Iterator[tuple[Prefix, Path]]:
        for index in indices:
            node = self._log[index]
            if node.path is not None and node.revision == self._revisions[index]:
                yield node.prefix, node.path

    # -- changing

    def update(self, source: S, prefix: Prefix, path: Path, *, stale: bool = False) -> bool:
        """Store a source's path, fresh unless `stale` says otherwise; whether the selected path changed."""
        paths = self._sources.get(source)
        if paths is None:
            paths = self._sources[source] = {}
        known = paths.get(prefix)
        if known is not None:
            same = known == path and known.tie_break == path.tie_break
            if same and (prefix in self._stale.get(source, ())) == stale:
                return False
        paths[prefix] = path
        if stale:
            self._stale.setdefault(source, set()).add(prefix)
        elif self._stale:
            self._freshen(source, prefix)
        node = self._nodes.get(prefix)
        if node is None:
            node = self._nodes[prefix] = _Node(prefix)
        if known is None:
            node.sources = (*node.sources, source) if node.sources else self._single.setdefault(source, (source,))
        return self._choose(node)

    def withdraw(self, source: S, prefix: Prefix) -> bool:
        """Forget a source's path for a prefix, if any; whether the selected path changed."""
        paths = self._sources.get(source)
        if paths is None or paths.pop(prefix, None) is None:
            return False
        if not paths:
            del self._sources[source]
            self._single.pop(source, None)
        self._freshen(source, prefix)
        node = self._nodes[prefix]
        rest = tuple(other for other in node.sources if other != source)
        node.sources = self._single.setdefault(rest[0], rest) if len(rest) == 1 else rest
        return self._choose(node)

    def withdraw_source(self, source: S) -> int:
        """Forget everything of a source; returns how many paths that were."""
        prefixes = list(self._sources.get(source, ()))
        for prefix in prefixes:
            self.withdraw(source, prefix)
        return len(prefixes)

    def mark_stale(self, source: S) -> int:
        """Mark all paths of a source stale: less preferred than any that is not; returns how many it has."""
        paths = self._sources.get(source)
        if not paths:
            return 0
        self._stale[source] = set(paths)
        nodes = self._nodes
        for prefix in paths:
            node = nodes[prefix]
            # The only path of a prefix stays the selected one; with one source that is every prefix.
            if len(node.sources) > 1:
                self._choose(node)
        return len(paths)

    def mark_path_stale(self, source: S, prefix: Prefix) -> bool:
        """Mark one path of a source stale; whether the selected path changed."""
        if prefix not in self._sources.get(source, ()):
            return False
        self._stale.setdefault(source, set()).add(prefix)
        return self._choose(self._nodes[prefix])

    def sweep(self, source: S) -> int:
        """Forget the paths of a source that are still stale; returns how many that were."""
        prefixes = list(self._stale.get(source, ()))
        for prefix in prefixes:
            self.withdraw(source, prefix)
        return len(prefixes)

    def _freshen(self, source: S, prefix: Prefix) -> None:
        stale = self._stale.get(source)
        if stale:
            stale.discard(prefix)
            if not stale:
                del self._stale[source]

    # -- the stream of changes

    def cursor(self, *, from_start: bool = True) -> Cursor[S]:
        """A new reader. From the start it reads every present prefix first; otherwise only what changes from now on."""
        cursor = Cursor(self, 0 if from_start else self._revision)
        self._cursors.add(cursor)
        if cursor.revision < self._compacted_at:
            self._behind += 1
        return cursor

    def _candidates(self, node: _Node[S]) -> list[Candidate[S]]:
        prefix, sources, stale = node.prefix, self._sources, self._stale
        if not stale:
            return [Candidate(source, sources[source][prefix], False) for source in node.sources]
        return [Candidate(source, sources[source][prefix], prefix in stale.get(source, ())) for source in node.sources]

    def _choose(self, node: _Node[S]) -> bool:
        """Select again; log a change of the selected path."""
        old, new = node.path, None
        if node.sources:
            new = self._select(self._candidates(node))
        if new == old:
            node.path = new
            return False
        self._revision += 1
        self._tombstones += (new is None) - (old is None and node.revision > 0)
        if not node.revision:
            node.born = self._revision
        node.path = new
        node.revision = self._revision
        self._log.append(node)
        self._revisions.append(self._revision)
        if len(self._log) > 2 * len(self._nodes) + _SLACK or self._tombstones > self._prune_at:
            self._compact()
        return True

    def _compact(self) -> None:
        """Drop superseded log entries, and tombstones that no cursor has still to read."""
        readers = sorted((cursor.seen, cursor.floor) for cursor in self._cursors)
        seen = [position for position, _ in readers]
        # The lowest floor of each reader and those behind it.
        floors = list(accumulate((floor for _, floor in reversed(readers)), min))[::-1]
        log: list[_Node[S]] = []
        revisions = array("Q")
        for node, revision in zip(self._log, self._revisions, strict=True):
            if node.revision != revision:
                continue
            if node.path is None:
                # A reader that may have seen the prefix's birth but not its withdrawal has to be told.
                reader = bisect_left(seen, node.born)
                if reader == len(seen) or floors[reader] >= revision:
                    del self._nodes[node.prefix]
                    self._tombstones -= 1
                    continue
            log.append(node)
            revisions.append(revision)
        self._log, self._revisions = log, revisions
        self._prune_at = max(_SLACK, len(self) // 2, 2 * self._tombstones)
        self._compacted_at = self._revision
        self._behind = sum(floor < self._revision for _, floor in readers)

    def _passed(self, start: int, end: int) -> None:
        """A cursor went from one revision to another. The last one that was behind lets the tombstones go."""
        if start < self._compacted_at <= end:
            self._behind -= 1
            if self._behind == 0 and self._tombstones > max(_SLACK, len(self) // 4):
                self._compact()
