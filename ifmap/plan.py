"""Plans what publishes, purges and ends of sessions will change, while nothing has changed yet.

    graph (committed)  <-  batch: deltas of earlier proposals  <-  the publish at hand, which may still fail

Each layer is held as differences from the one below it, so that it costs what it changes, however much a place holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from ifmap.delta import NOTHING, Change, Delta
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.metadata import stamped
from ifmap.places import Place
from ifmap.room import ROOM, Room, size_of
from ifmap.selection import Allowance
from ifmap.slices import SLICE, Work, finish
from ifmap.values import (
    Delete,
    Edge,
    Filter,
    Lifetime,
    Metadata,
    MetadataName,
    NewMetadata,
    Notify,
    PublishOperation,
)

May = Callable[[MetadataName], None]

MAX_LOOKS = 2_000_000
"""Metadata that the deletions of one publish may look at, one of them as often as several filters do."""


class _Layer:
    """What a batch does to one place. gone: keys of the graph's metadata that goes. added: what comes."""

    __slots__ = ("added", "gone")

    def __init__(self, edge: Edge) -> None:
        self.gone: set[int] = set()
        self.added = Place(edge)

    def merge(self, change: Change) -> None:
        for metadata in (*change.removed, *change.replaced):
            mine = self.added.get(metadata.key)
            if mine is None:
                self.gone.add(metadata.key)
            else:
                self.added.remove(mine)
        for metadata in change.added:
            self.added.add(metadata)


class _Base:
    """A place as earlier proposals of the batch leave it."""

    __slots__ = ("_layer", "_place")

    def __init__(self, place: Place | None, layer: _Layer | None) -> None:
        self._place = place
        self._layer = layer

    def single(self, name: MetadataName) -> Metadata | None:
        """The metadatum of a singleValue type."""
        layer = self._layer
        if layer is not None and (found := layer.added.single(name)) is not None:
            return found
        found = None if self._place is None else self._place.single(name)
        return None if found is None or (layer is not None and found.key in layer.gone) else found

    def candidates(self, names: Collection[MetadataName] | None) -> Iterable[Metadata]:
        """The metadata of these types; None: all."""
        found = _candidates(self._place, names)
        layer = self._layer
        if layer is None:
            return found
        kept = [metadata for metadata in found if metadata.key not in layer.gone] if layer.gone else found
        return chain(kept, _candidates(layer.added, names))


class _Work:
    """What the publish at hand does to one place. bare: nothing of what was there is left to be deleted."""

    __slots__ = ("added", "bare", "base", "removed", "replaced", "superseded")

    def __init__(self, edge: Edge, base: _Base) -> None:
        self.base = base
        self.bare = False
        self.added = Place(edge)
        self.removed: dict[int, Metadata] = {}
        self.replaced: dict[MetadataName, Metadata] = {}
        self.superseded: set[int] = set()

    def update(self, metadata: Metadata) -> None:
        name = metadata.name
        if metadata.single:
            mine = self.added.single(name)
            if mine is not None:
                self.added.remove(mine)
            else:
                old = self.base.single(name)
                if old is not None:
                    # Deleted by this same publish just before: the net effect is a replacement all the same.
                    self.removed.pop(old.key, None)
                    self.replaced[name] = old
                    self.superseded.add(old.key)
        self.added.add(metadata)

    def delete(self, wanted: Filter | None, publishing: _Publishing) -> Work[None]:
        names = None if wanted is None else wanted.names
        inside = None if names is not None else wanted
        if not self.bare:
            for metadata in self.base.candidates(names):
                if publishing.look():
                    yield
                if metadata.key in self.superseded or metadata.key in self.removed:
                    continue
                if publishing.exists is not None and not publishing.exists(metadata.name):
                    continue
                if inside is None or publishing.allowance.ask(inside, metadata):
                    publishing.may(metadata.name)
                    self.removed[metadata.key] = metadata
            self.bare = wanted is None
        for metadata in tuple(_candidates(self.added, names)):
            if publishing.look():
                yield
            if inside is None or publishing.allowance.ask(inside, metadata):
                publishing.may(metadata.name)
                self._take_back(metadata)

    def _take_back(self, metadata: Metadata) -> None:
        """The new value was never seen by anybody, but the old one was."""
        self.added.remove(metadata)
        if metadata.single:
            old = self.replaced.pop(metadata.name, None)
            if old is not None:
                self.superseded.remove(old.key)
                self.removed[old.key] = old

    @property
    def changes(self) -> bool:
        return bool(self.added or self.removed or self.replaced)

    def change(self) -> Change:
        added, removed, replaced = self.added.all(), self.removed.values(), self.replaced.values()
        return Change(self.added.edge, tuple(added), tuple(removed), tuple(replaced))


class Planner:
    """A batch of proposals over a graph: each sees what the earlier ones will have done. It never changes the graph,
    which must stay as it is until the batch's deltas are applied, in order, or the planner is thrown away.

    next_key: key of the next new metadatum; the next planner goes on from it. room: what publishes may fill.
    """

    def __init__(self, graph: Graph, next_key: int, room: Room = ROOM) -> None:
        self.next_key = next_key
        self._room = room
        # By how much each publisher's metadata grows by the batch, bytes.
        self._growth: Counter[str] = Counter()
        self._graph = graph
        self._layers: dict[Edge, _Layer] = {}
        self._types: dict[MetadataName, bool] = {}

    def publish(
        self,
        operations: Sequence[PublishOperation],
        publisher_id: str,
        session_id: str,
        timestamp: str,
        may: May | None = None,
        exists: Callable[[MetadataName], bool] | None = None,
    ) -> Work[Delta]:
        """A publish, in slices. timestamp: text of the ifmap-timestamp. may: raises IfmapError if the client may not
        write metadata of this type; asked for all that is to be added, notified or deleted. exists: whether the client
        may know of this type; deletions pass over others, or their filters would tell it. Raises IfmapError (and then
        nothing of the publish remains): InvalidMetadata for a cardinality that contradicts that of the type, what `may`
        raises, Failure for deletions that look at too much, SystemError when there is no room.

        A value that the publish replaces or deletes again itself isn't in the delta; the older one that it replaced is.
        """
        publishing = _Publishing(self._graph.cardinality, self._types, may, exists)
        works: dict[Edge, _Work] = {}
        notified: list[tuple[Edge, Metadata]] = []
        key = self.next_key
        for operation in operations:
            edge = operation.edge
            if isinstance(operation, Notify):
                for new in operation.metadata:
                    if publishing.check(new):
                        yield
                    xml = stamped(new, publisher_id, timestamp)
                    notified.append((edge, Metadata(0, new.name, new.single, publisher_id, session_id, xml)))
                continue
            work = works.get(edge)
            if work is None:
                work = works[edge] = _Work(edge, _Base(self._graph.place(edge), self._layers.get(edge)))
            if isinstance(operation, Delete):
                yield from work.delete(operation.filter, publishing)
                continue
            session = session_id if operation.lifetime is Lifetime.SESSION else ""
            for new in operation.metadata:
                if publishing.check(new):
                    yield
                xml = stamped(new, publisher_id, timestamp)
                work.update(Metadata(key, new.name, new.single, publisher_id, session, xml))
                key += 1
        self.next_key = key
        changes = []
        for count, work in enumerate(works.values(), 1):
            if work.changes:
                changes.append(work.change())
            if not count % SLICE:
                yield
        if publishing.types:
            self._room.check_types(len(self._graph.cardinality) + len(self._types.keys() | publishing.types.keys()))
        growth = yield from _growth(changes)
        self._check_room(growth, publisher_id)
        return (
            yield from self._planned(Delta(tuple(changes), tuple(notified), tuple(publishing.types.items())), growth)
        )

    def purge(self, publisher_id: str, most: int, before: int) -> tuple[Delta, bool]:
        """All metadata of a publisher goes, whatever its lifetime, but at most so many. Returns whether there are more.
        before: the first key that stays."""
        places = self._graph.of_publisher(publisher_id).items()
        return self._without(places, lambda metadata: metadata.publisher == publisher_id, most, before)

    def end_sessions(self, session_ids: Collection[str], most: int) -> tuple[Delta, bool]:
        """The metadata that ends with these sessions goes, but at most so many. Returns whether there are more."""
        places = [self._graph.of_session(session_id).items() for session_id in session_ids if session_id]

        def goes(metadata: Metadata) -> bool:
            return metadata.session != "" and metadata.session in session_ids

        return self._without(chain.from_iterable(places), goes, most, self.next_key)

    def _without(
        self, places: Iterable[tuple[int, Place]], goes: Callable[[Metadata], bool], most: int, before: int
    ) -> tuple[Delta, bool]:
        """places: where the graph has metadata that goes, with its keys. goes: for the metadata of the batch."""
        gone: dict[Edge, list[Metadata]] = {}
        count = 0
        for metadata, edge in chain(self._held(places), self._added(goes)):
            if metadata.key >= before:
                continue
            count += 1
            if count > most:
                break
            gone.setdefault(edge, []).append(metadata)
        delta = Delta(tuple([Change(edge, (), tuple(metadata)) for edge, metadata in gone.items()]))
        return finish(self._planned(delta, finish(_growth(delta.changes)))), count > most

    def _held(self, places: Iterable[tuple[int, Place]]) -> Iterator[tuple[Metadata, Edge]]:
        """Metadata of the graph that the batch hasn't removed, with where it sits."""
        for key, place in places:
            layer = self._layers.get(place.edge) if self._layers else None
            if layer is not None and key in layer.gone:
                continue
            metadata = place.get(key)
            assert metadata is not None
            yield metadata, place.edge

    def _added(self, goes: Callable[[Metadata], bool]) -> Iterator[tuple[Metadata, Edge]]:
        """Metadata that comes by the batch."""
        for edge, layer in self._layers.items():
            for metadata in layer.added.all():
                if goes(metadata):
                    yield metadata, edge

    def _check_room(self, growth: Counter[str], publisher_id: str) -> None:
        """Who only deletes or replaces is never refused, however full it is. Raises IfmapError: SystemError."""
        mine, all_of_it = growth[publisher_id], growth.total()
        self._room.check(
            self._graph.size + self._growth.total() + all_of_it if all_of_it > 0 else 0,
            self._graph.sizes[publisher_id] + self._growth[publisher_id] + mine if mine > 0 else 0,
        )

    def _planned(self, delta: Delta, growth: Counter[str]) -> Work[Delta]:
        """Later proposals of the batch see what this one does."""
        self._growth.update(growth)
        for count, change in enumerate(delta.changes, 1):
            if not count % SLICE:
                yield
            layer = self._layers.get(change.edge)
            if layer is None:
                layer = self._layers[change.edge] = _Layer(change.edge)
            layer.merge(change)
        self._types.update(delta.types)
        return delta or NOTHING


class _Publishing:
    """Checks the metadata of one publish, and what it costs. types: that are used for the first time. allowance: of its
    filters."""

    __slots__ = ("_checked", "_count", "_known", "_looks", "_may", "_planned", "allowance", "exists", "types")

    def __init__(
        self,
        known: Mapping[MetadataName, bool],
        planned: Mapping[MetadataName, bool],
        may: May | None,
        exists: Callable[[MetadataName], bool] | None,
    ) -> None:
        self.exists = exists
        self._known = known
        self._planned = planned
        self._may = may
        self._count = 0
        self._looks = 0
        self.allowance = Allowance()
        self._checked: dict[MetadataName, bool] = {}
        self.types: dict[MetadataName, bool] = {}

    def may(self, name: MetadataName) -> None:
        """Raises IfmapError: AccessDenied."""
        if self._may is not None:
            self._may(name)

    def look(self) -> bool:
        """A deletion looks at a metadatum. Returns whether others should have their turn. Raises IfmapError."""
        self._looks += 1
        self._count += self.allowance.cost()
        if self._looks > MAX_LOOKS:
            text = f"the deletions of this publish look at more than {MAX_LOOKS} metadata; send fewer at a time"
            raise IfmapError(ErrorCode.FAILURE, text)
        return self._due()

    def check(self, new: NewMetadata) -> bool:
        """Returns whether others should have their turn. Raises IfmapError: InvalidMetadata, AccessDenied."""
        name = new.name
        single = self._checked.get(name)
        if single is None:
            self.may(name)
            single = self._known.get(name)
            if single is None:
                single = self._planned.get(name)
            if single is None:
                single = self.types[name] = new.single
            self._checked[name] = single
        if single is not new.single:
            shown = f"{{{name.namespace}}}{name.local}" if name.namespace else name.local
            text = f"metadata of type {shown} is {_cardinality(single)}, not {_cardinality(new.single)}"
            raise IfmapError(ErrorCode.INVALID_METADATA, text)
        self._count += 1
        return self._due()

    def _due(self) -> bool:
        if self._count < SLICE:
            return False
        self._count = 0
        return True


def _growth(changes: Iterable[Change]) -> Work[Counter[str]]:
    """By how much the metadata of publishers grows, bytes."""
    growth: Counter[str] = Counter()
    count = 0
    for edge, added, removed, replaced in changes:
        for metadata in added:
            growth[metadata.publisher] += size_of(edge, metadata)
        for metadata in chain(removed, replaced):
            growth[metadata.publisher] -= size_of(edge, metadata)
        count += 1
        if count >= SLICE:
            count = 0
            yield
    return growth


def _candidates(place: Place | None, names: Collection[MetadataName] | None) -> Collection[Metadata]:
    """The metadata of a place that are of these types; None: all of it."""
    if place is None:
        return ()
    return place.all() if names is None else place.named(names)


def _cardinality(single: bool) -> str:
    return "singleValue" if single else "multiValue"
