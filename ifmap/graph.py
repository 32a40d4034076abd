"""The graph of identifiers, links and the metadata on them.

    identifier -> Vertex --links--> Link <--links-- Vertex <- identifier
                  metadata          metadata        metadata

Nothing in it takes time or space in proportion to more than what is asked for: a link is found by its ends, what a
publisher or a session has put there by its keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from weakref import WeakSet

from ifmap.delta import Change, Delta
from ifmap.places import Link, Place, Vertex
from ifmap.room import size_of
from ifmap.slices import SLICE, Work, finish
from ifmap.snapshot import Snapshot
from ifmap.values import Edge, Identifier, Metadata, MetadataName

_NO_METADATA: Mapping[int, Metadata] = MappingProxyType({})
_NO_PLACES: Mapping[int, Place] = MappingProxyType({})


class Graph:
    """The graph. It only ever changes by `load` and `apply`; every identifier "exists", known or not.

    cardinality: metadata types and whether they are singleValue, at first the given ones (the standard's).
    metadata_count, link_count: how many there are. lasting: how many of lifetime forever, by type. size, sizes: bytes
    that the metadata counts (ifmap.room), all of it and by publisher.
    """

    def __init__(self, cardinality: Mapping[MetadataName, bool] | None = None) -> None:
        self.cardinality: dict[MetadataName, bool] = dict(cardinality or {})
        self.metadata_count = 0
        self.link_count = 0
        self.lasting: Counter[MetadataName] = Counter()
        self.size = 0
        self.sizes: Counter[str] = Counter()
        self._vertices: dict[Identifier, Vertex] = {}
        self._by_publisher: dict[str, dict[int, Place]] = {}
        self._by_session: dict[str, dict[int, Place]] = {}
        self._snapshots: WeakSet[Snapshot] = WeakSet()
        self._before: Snapshot | None = None

    # -- what it holds

    def contents(self, edge: Edge) -> Mapping[int, Metadata]:
        """The metadata on an identifier or link, by key, in the order they came. Not to be changed by the caller."""
        place = self.place(edge)
        return _NO_METADATA if place is None else place.by_key()

    def links(self, identifier: Identifier) -> Collection[Edge]:
        """The links with metadata that an identifier has."""
        vertex = self._vertices.get(identifier)
        return () if vertex is None else [link.edge for link in vertex.links()]

    def of_publisher(self, publisher: str) -> Mapping[int, Place]:
        """Where the metadata of a publisher sits (`place.edge`), by key."""
        return self._by_publisher.get(publisher, _NO_PLACES)

    def of_session(self, session: str) -> Mapping[int, Place]:
        """Where the metadata sits that ends with a session, by key."""
        return self._by_session.get(session, _NO_PLACES)

    @property
    def identifier_count(self) -> int:
        """Identifiers that have metadata or links, or are watched."""
        return len(self._vertices)

    def edges(self) -> Iterable[Edge]:
        """All identifiers and links that have metadata."""
        for vertex in self._vertices.values():
            if vertex:
                yield vertex.edge
            for link in vertex.links():
                if link.one is vertex:
                    yield link.edge

    def vertex(self, identifier: Identifier) -> Vertex | None:
        """The vertex of an identifier; None if there is nothing about it."""
        return self._vertices.get(identifier)

    def place(self, edge: Edge) -> Place | None:
        """The vertex or link of an edge; None if there is nothing about it."""
        first, second = edge
        one = self._vertices.get(first)
        if one is None or second is None:
            return one
        other = self._vertices.get(second)
        return None if other is None else one.link_to(other)

    # -- changes

    def load(self, rows: Iterable[tuple[Edge, Metadata]]) -> None:
        """Adds stored metadata, in the order of their keys."""
        for edge, metadata in rows:
            self._add(self._make_place(edge), metadata)

    def apply(self, delta: Delta) -> None:
        """Makes the changes. What is to be removed is found by its key; what isn't there, or is there already, is
        passed over."""
        finish(self.sweep(finish(self.change(delta))))

    def snapshot(self) -> Snapshot:
        """The graph as it is now; while `change` goes on, as it was before."""
        if self._before is not None:
            return self._before
        made = Snapshot()
        self._snapshots.add(made)
        return made

    def change(self, delta: Delta) -> Work[list[tuple[Place, Change]]]:
        """First half of `apply`, for the subscriptions: the changes that had an effect, with their places.

        Links and identifiers that are left without metadata stay until `sweep`. In slices; meanwhile only snapshots of
        the graph are to be read.
        """
        for name, single in delta.types:
            self.cardinality.setdefault(name, single)
        changed: list[tuple[Place, Change]] = []
        sizes = [len(change.added) + len(change.removed) + len(change.replaced) for change in delta.changes]
        if sum(sizes) >= SLICE:
            self._before = self.snapshot()
        # There will be no other before this is done.
        snapshots = tuple(self._snapshots)
        count = 0
        for change, size in zip(delta.changes, sizes, strict=True):
            place = self._make_place(change.edge)
            for snapshot in snapshots:
                snapshot.keep(place)
            if size > SLICE:
                made = yield from self._change_much(place, change)
            else:
                made = self._change(place, change)
            changed.append((place, made))
            count += size
            if count >= SLICE:
                count = 0
                yield
        self._before = None
        return changed

    def sweep(self, changed: Iterable[tuple[Place, Change]]) -> Work[None]:
        """Second half of `apply`: forgets the links and identifiers that have nothing any more. In slices."""
        count = 0
        for place, _ in changed:
            if place:
                continue
            count += 1
            if not count % SLICE:
                yield
            if isinstance(place, Link):
                self._keep_links(place)
                place.one.detach(place)
                if place.other is not place.one:
                    place.other.detach(place)
                self.link_count -= 1
                self.forget(place.one)
                self.forget(place.other)
            elif isinstance(place, Vertex):
                self.forget(place)

    def make_vertex(self, identifier: Identifier) -> Vertex:
        """The vertex of an identifier, a new one if need be; it must be given marks, metadata or links, or to
        `forget`."""
        vertex = self._vertices.get(identifier)
        if vertex is None:
            vertex = self._vertices[identifier] = Vertex(identifier)
        return vertex

    def forget(self, vertex: Vertex) -> None:
        """Removes a vertex, if there is nothing about it any more."""
        if vertex.unused:
            self._vertices.pop(vertex.identifier, None)

    def _make_place(self, edge: Edge) -> Place:
        first, second = edge
        one = self.make_vertex(first)
        if second is None:
            return one
        other = one if first == second else self.make_vertex(second)
        link = one.link_to(other)
        if link is None:
            # With the vertices' own identifiers, so that equal ones are held once.
            link = Link(Edge(one.identifier, other.identifier), one, other)
            self._keep_links(link)
            one.attach(link)
            if other is not one:
                other.attach(link)
            self.link_count += 1
        return link

    def _keep_links(self, link: Link) -> None:
        if not self._snapshots:  # going through an empty WeakSet costs ten times as much
            return
        for snapshot in self._snapshots:
            snapshot.keep_links(link.one)
            snapshot.keep_links(link.other)

    def _change_much(self, place: Place, change: Change) -> Work[Change]:
        removed: list[Metadata] = []
        added: list[Metadata] = []
        for start in range(0, len(change.removed), SLICE):
            removed += self._remove(place, change.removed[start : start + SLICE])
            yield
        replaced = self._remove(place, change.replaced)
        for start in range(0, len(change.added), SLICE):
            added += [metadata for metadata in change.added[start : start + SLICE] if self._add(place, metadata)]
            yield
        return Change(place.edge, tuple(added), tuple(removed), replaced)

    def _change(self, place: Place, change: Change) -> Change:
        removed = self._remove(place, change.removed)
        replaced = self._remove(place, change.replaced)
        added = tuple([metadata for metadata in change.added if self._add(place, metadata)])
        return Change(place.edge, added, removed, replaced)

    def _add(self, place: Place, metadata: Metadata) -> bool:
        mine = self._by_publisher.get(metadata.publisher)
        if mine is None:
            mine = self._by_publisher[metadata.publisher] = {}
        key = metadata.key
        if key in mine:
            return False
        mine[key] = place
        if metadata.session:
            self._by_session.setdefault(metadata.session, {})[key] = place
        else:
            self.lasting[metadata.name] += 1
        place.add(metadata)
        self.metadata_count += 1
        size = size_of(place.edge, metadata)
        self.size += size
        self.sizes[metadata.publisher] += size
        return True

    def _remove(self, place: Place, gone: tuple[Metadata, ...]) -> tuple[Metadata, ...]:
        """Removes what is there and returns it: the graph's own objects, not those of the one who asks."""
        if not gone:
            return gone
        found = []
        for wanted in gone:
            metadata = place.get(wanted.key)
            if metadata is None:
                continue
            place.remove(metadata)
            self.metadata_count -= 1
            size = size_of(place.edge, metadata)
            self.size -= size
            self.sizes[metadata.publisher] -= size
            _unlist(self._by_publisher, metadata.publisher, metadata.key)
            if metadata.session:
                _unlist(self._by_session, metadata.session, metadata.key)
            else:
                self.lasting[metadata.name] -= 1
            found.append(metadata)
        return tuple(found)


def _unlist(index: dict[str, dict[int, Place]], owner: str, key: int) -> None:
    mine = index[owner]
    del mine[key]
    if not mine:
        del index[owner]
