"""The part of the graph that a subscription is about, and how it grows and shrinks with the links in it.

The vertices of a region carry its mark: their distance from its start, and in how many ways they are reached at that
distance. When links come and go, only vertices whose distance changes are gone through, with their links (dynamic
shortest paths after Ramalingam and Reps, with all links of length 1): a link lost somewhere takes one from the ways of
the vertex behind it, and only when none is left does that vertex look for a longer way, or leave.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator

from ifmap.identifiers import type_names
from ifmap.marks import Mark, MarkStore
from ifmap.places import Link, Vertex
from ifmap.selection import CHANGE_ALLOWANCE, Allowance, Remembered, Selection, key_of
from ifmap.slices import SLICE, Work
from ifmap.values import Filter, Identifier, Metadata, SearchSpec

_MANY = 20
"""Metadata of one place that filters look at in slices of their own."""


class TooManyJoin(Exception):
    """More identifiers would join a region than may."""


class Scope:
    """What makes a region: equal keys, equal regions. The codec's filters make those of clients' requests equal.

    links: what lets a link be followed. on_vertices, on_links: what is told of identifiers and links. looks: whether
    filters look into metadata; whatever asks them raises IfmapError (Failure) when that exceeds the allowance.
    """

    __slots__ = (
        *("_remembered", "_terminal", "allowance", "key", "links", "looks"),
        *("max_depth", "on_links", "on_vertices", "start"),
    )

    def __init__(self, spec: SearchSpec) -> None:
        self._remembered: list[Remembered] = []
        self.allowance = Allowance()
        match_links, result_filter = self._remember(spec.match_links), self._remember(spec.result_filter)
        self.looks = bool(self._remembered)
        self.start = spec.start
        self.max_depth = spec.max_depth
        self.links = Selection(match_links)
        self.on_vertices = Selection(result_filter)
        self.on_links = Selection(match_links, result_filter)
        self._terminal = spec.terminal_types
        keys = key_of(spec.match_links), key_of(spec.result_filter)
        self.key: Hashable = (spec.start, spec.max_depth, keys, spec.terminal_types)

    def _remember(self, wanted: Filter | None) -> Filter | None:
        if wanted is None or wanted.names is not None:
            return wanted
        remembered = Remembered(wanted, self.allowance)
        self._remembered.append(remembered)
        return remembered

    def is_open(self, identifier: Identifier, distance: int) -> bool:
        """Whether the links of an identifier at a distance are gone through."""
        if distance >= self.max_depth:
            return False
        return not self._terminal or self._terminal.isdisjoint(type_names(identifier))

    def look(self, metadata: Collection[Metadata]) -> Work[None]:
        """Has the filters that look into metadata look at all of this beforehand, in slices."""
        if not self.looks or len(metadata) < _MANY:
            return
        count = 0
        # A copy, since others have their turn.
        for one in tuple(metadata):
            for remembered in self._remembered:
                remembered.matches(one)
            count += self.allowance.cost()
            if count >= SLICE:
                count = 0
                yield

    def forget(self) -> None:
        """Forgets what filters said (the change at hand is done)."""
        for remembered in self._remembered:
            remembered.forget()
        self.allowance.left = CHANGE_ALLOWANCE


class Region:
    """The region of one or several subscriptions alike.

    start: its first vertex. size: bytes of the items that a search would give now. failed: why it can't be kept up to
    date any more; "": it can.
    """

    __slots__ = ("failed", "scope", "size", "start")

    def __init__(self, scope: Scope, start: Vertex) -> None:
        self.scope = scope
        self.start = start
        self.size = 0
        self.failed = ""

    def mark(self, vertex: Vertex) -> Mark | None:
        """The region's mark on a vertex; None if it isn't a member."""
        marks = vertex.marks
        return None if marks is None else marks.get(self)

    def lists(self, link: Link) -> bool:
        """Whether a link, if it matches, is of the region: one end is gone through."""
        mark = self.mark(link.one)
        if mark is not None and mark.open:
            return True
        mark = self.mark(link.other)
        return mark is not None and mark.open

    def members(self) -> Iterator[Vertex]:
        """All vertices of the region, from the start outwards."""
        found = [self.start]
        seen = {self.start}
        for vertex in found:
            yield vertex
            mark = self.mark(vertex)
            if mark is None or not mark.open:
                continue
            for link in vertex.links():
                far = link.far(vertex)
                if far not in seen and self.mark(far) is not None:
                    seen.add(far)
                    found.append(far)

    def put(self, shift: Shift, store: MarkStore) -> Work[None]:
        """Makes a shift real."""
        for count, (vertex, mark) in enumerate(shift.now.items(), 1):
            store.put(self, vertex, mark)
            if not count % SLICE:
                yield
        store.finish()

    def clear(self, store: MarkStore) -> Work[list[Vertex]]:
        """Takes all marks away; returns the vertices that had one."""
        members: list[Vertex] = []
        for vertex in self.members():
            members.append(vertex)
            if not len(members) % SLICE:
                yield
        for count, vertex in enumerate(members, 1):
            store.put(self, vertex, None)
            if not count % SLICE:
                yield
        store.finish()
        return members


class Shift:
    """How the marks of a region change, worked out while the vertices still have the old ones.

    now: vertices with a new mark, None for those that leave. limit: how many may join. In slices, during which the
    graph and the marks stay as they are.
    """

    __slots__ = ("_count", "_joined", "_levels", "_limit", "_region", "now")

    def __init__(self, region: Region, limit: int) -> None:
        self.now: dict[Vertex, Mark | None] = {}
        self._region = region
        self._limit = limit
        self._joined = 0
        # Links gone through in this slice.
        self._count = 0
        # Vertices to look at, by distance.
        self._levels: dict[int, list[Vertex]] = {}

    def begin(self) -> Work[None]:
        """Marks a new region from its start on. Raises TooManyJoin."""
        region = self._region
        self.now[region.start] = Mark(0, 0, region.scope.is_open(region.start.identifier, 0))
        self._levels[0] = [region.start]
        yield from self._settle()

    def adapt(self, lost: Iterable[Link], gained: Collection[Link]) -> Work[None]:
        """Adapts the marks to links that don't match any more and to links that match now. Both are among the links of
        their vertices. Raises TooManyJoin."""
        detached = yield from self._detach(lost, gained)
        for vertex in detached:
            self.now[vertex] = None
        for vertex, distance in detached.items():
            yield from self._reattach(vertex, distance, detached, gained)
        for link in gained:
            for near, far in ((link.one, link.other), (link.other, link.one)):
                # The old distance will do: should it fall, the vertex is gone through again. Those that were detached
                # are gone through anyhow.
                mark = self._region.mark(near)
                if mark is not None and mark.open and near not in detached and near is not far:
                    self._reach(far, mark.distance + 1)
        yield from self._settle()

    def mark(self, vertex: Vertex) -> Mark | None:
        """The mark that a vertex will have."""
        if vertex in self.now:
            return self.now[vertex]
        return self._region.mark(vertex)

    def _detach(self, lost: Iterable[Link], gained: Collection[Link]) -> Work[dict[Vertex, int]]:
        """The vertices that aren't reached any more at their old distance, with that distance."""
        region = self._region
        links = region.scope.links
        detached: dict[Vertex, int] = {}
        for link in lost:
            one, other = region.mark(link.one), region.mark(link.other)
            if one is None or other is None:
                continue
            if one.open and other.distance == one.distance + 1:
                self._lose_parent(link.other)
            elif other.open and one.distance == other.distance + 1:
                self._lose_parent(link.one)
        while self._levels:
            # What is put into the levels meanwhile is one farther out.
            distance = min(self._levels)
            for vertex in self._levels.pop(distance):
                detached[vertex] = distance
                old = region.mark(vertex)
                if old is None or not old.open:
                    continue
                for link in vertex.links():
                    self._count += region.scope.allowance.cost()
                    if self._count >= SLICE:
                        self._count = 0
                        yield
                    far = link.far(vertex)
                    mark = region.mark(far)
                    if mark is not None and mark.distance == distance + 1 and link not in gained and links.any(link):
                        self._lose_parent(far)
        return detached

    def _lose_parent(self, vertex: Vertex) -> None:
        mark = self.mark(vertex)
        assert mark is not None
        parents = mark.parents - 1
        self.now[vertex] = Mark(mark.distance, parents, mark.open)
        if not parents:
            self._levels.setdefault(mark.distance, []).append(vertex)

    def _reattach(
        self, vertex: Vertex, distance: int, detached: Collection[Vertex], gained: Collection[Link]
    ) -> Work[None]:
        """Looks for a longer way to a vertex over links that have been there."""
        region = self._region
        if distance >= region.scope.max_depth:
            return
        links = region.scope.links
        for link in vertex.links():
            self._count += region.scope.allowance.cost()
            if self._count >= SLICE:
                self._count = 0
                yield
            far = link.far(vertex)
            mark = region.mark(far)
            if mark is not None and mark.open and far not in detached and link not in gained and links.any(link):
                self._reach(vertex, mark.distance + 1)

    def _reach(self, vertex: Vertex, distance: int) -> None:
        """One more way to a vertex, of this length."""
        mark = self.mark(vertex)
        if mark is None or distance < mark.distance:
            if mark is None:
                self._joined += 1
                if self._joined > self._limit:
                    raise TooManyJoin
            self.now[vertex] = Mark(distance, 1, self._region.scope.is_open(vertex.identifier, distance))
            self._levels.setdefault(distance, []).append(vertex)
        elif distance == mark.distance:
            self.now[vertex] = Mark(distance, mark.parents + 1, mark.open)

    def _settle(self) -> Work[None]:
        """Goes on from the vertices that have come nearer, nearest first."""
        scope = self._region.scope
        links = scope.links
        levels = self._levels
        while levels:
            distance = min(levels)
            for vertex in levels.pop(distance):
                mark = self.now[vertex]
                if mark is None or mark.distance != distance or not mark.open:
                    continue
                for link in vertex.links():
                    self._count += scope.allowance.cost()
                    if self._count >= SLICE:
                        self._count = 0
                        yield
                    far = link.far(vertex)
                    known = self.mark(far)
                    if (known is None or known.distance > distance) and links.any(link):
                        self._reach(far, distance + 1)
