"""The table of one VPN: paths of a prefix by source, the selected path, and a stream of changes.

A *source* is whoever told us: a gateway (for an agent), a host (for a gateway). Losing a source doesn't lose the prefix
while another source still has it. The selection policy is an argument: `multipath` for gateways, `first` for agents.

The stream of changes (vpn.stream). Every change of a selected path gets the next revision number. A cursor (vpn.cursor)
is a reader's position: it begins with every prefix that is there, and goes on with what has changed, of each prefix the
newest state only. Memory is bounded by the prefixes that exist and those that the slowest reader still has to be told
about, however long it waits and however much a prefix flaps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from vpn.cursor import Cursor
from vpn.path import NextHop, Path
from vpn.prefix import Prefix
from vpn.stream import ChangeStream, Node

MAX_NEXT_HOPS = 64
"""Next hops kept in a multipath; keeps one route well below the size limit of a message."""


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


class VrfTable(Generic[S]):
    """Paths by prefix and source, with selection and a change stream.

    Selection runs at every call, so the table is always consistent; readers decide when to look. Not thread-safe.
    """

    __slots__ = ("_nodes", "_select", "_single", "_sources", "_stale", "_stream")

    def __init__(self, select: Selector[S]) -> None:
        self._select = select
        self._nodes: dict[Prefix, Node[S]] = {}
        self._sources: dict[S, dict[Prefix, Path]] = {}
        self._stale: dict[S, set[Prefix]] = {}
        self._single: dict[S, tuple[S]] = {}
        self._stream: ChangeStream[S] = ChangeStream(self._nodes)

    # -- reading

    @property
    def revision(self) -> int:
        """Number of changes of selected paths so far."""
        return self._stream.revision

    def __len__(self) -> int:
        """Number of prefixes that have a path."""
        return len(self._nodes) - self._stream.tombstones

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
        start = 0 if after is None else self._live(after).revision
        routes: list[tuple[Prefix, Path]] = []
        while len(routes) < limit and start < self._stream.revision:
            found, start = self.read(start, limit - len(routes))
            routes += found
        return routes

    def read(self, after: int, limit: int) -> tuple[list[tuple[Prefix, Path]], int]:
        """At most `limit` routes behind a revision (0: all), least recently changed first, and the revision read up to.

        Going on until that is the table's visits every route once; one that changes meanwhile is seen again.
        """
        nodes, reached = self._stream.log.read(after, limit)
        return [(node.prefix, node.path) for node in nodes if node.path is not None], reached

    def newest(self, limit: int, before: Prefix | None = None) -> list[tuple[Prefix, Path]]:
        """At most `limit` routes, the most recently changed first, those older than that of `before` when it is given.

        Raises KeyError when `before` has no path.
        """
        nodes = self._stream.log.newest(None if before is None else self._live(before).revision)
        routes = ((node.prefix, node.path) for node in nodes if node.path is not None)
        return list(islice(routes, limit))

    def _live(self, prefix: Prefix) -> Node[S]:
        """The node of a prefix with a path; raises KeyError."""
        node = self._nodes[prefix]
        if node.path is None:
            raise KeyError(prefix)
        return node

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
            node = self._nodes[prefix] = Node(prefix)
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
        now = self._stream.revision
        cursor = Cursor(self._stream, 0 if from_start else now, now if from_start else 0)
        self._stream.join(cursor)
        return cursor

    def once(self, alarm: Callable[[], object] | None) -> None:
        """Call this at the next change of a selected path, and not again; None: call nothing. It must do no more than
        note that there was one."""
        self._stream.once(alarm)

    def _candidates(self, node: Node[S]) -> list[Candidate[S]]:
        prefix, sources, stale = node.prefix, self._sources, self._stale
        if not stale:
            return [Candidate(source, sources[source][prefix], False) for source in node.sources]
        return [Candidate(source, sources[source][prefix], prefix in stale.get(source, ())) for source in node.sources]

    def _choose(self, node: Node[S]) -> bool:
        """Select again; log a change of the selected path."""
        old, new = node.path, None
        if node.sources:
            new = self._select(self._candidates(node))
        if new == old:
            node.path = new
            return False
        self._stream.change(node, new)
        return True
