"""Plans what publishes, purges and ends of sessions will change, while nothing has changed yet.

    graph (committed)  <-  batch: deltas of earlier proposals  <-  the publish at hand, which may still fail

Each layer is held as differences from the one below it, so that it costs what it changes, however much a place holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from ifmap.delta import NOTHING, Change, Delta
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.metadata import stamped
from ifmap.places import Place
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


class _Layer:
    """What a batch does to one place. gone: keys of the graph's metadata that goes. added: by key, in order. singles:
    those of `added` that are singleValue."""

    __slots__ = ("added", "gone", "singles")

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.added: dict[int, Metadata] = {}
        self.singles: dict[MetadataName, Metadata] = {}

    def merge(self, change: Change) -> None:
        for metadata in (*change.removed, *change.replaced):
            if self.added.pop(metadata.key, None) is None:
                self.gone.add(metadata.key)
            elif metadata.single and self.singles.get(metadata.name) is metadata:
                del self.singles[metadata.name]
        for metadata in change.added:
            self.added[metadata.key] = metadata
            if metadata.single:
                self.singles[metadata.name] = metadata


class _Base:
    """A place as earlier proposals of the batch leave it."""

    __slots__ = ("_layer", "_place")

    def __init__(self, place: Place | None, layer: _Layer | None) -> None:
        self._place = place
        self._layer = layer

    def single(self, name: MetadataName) -> Metadata | None:
        """The metadatum of a singleValue type."""
        layer = self._layer
        if layer is not None and (found := layer.singles.get(name)) is not None:
            return found
        found = None if self._place is None else self._place.single(name)
        return None if found is None or (layer is not None and found.key in layer.gone) else found

    def matching(self, wanted: Filter | None) -> Iterable[Metadata]:
        """What a filter is true of."""
        found = () if self._place is None else self._place.matching(wanted)
        layer = self._layer
        if layer is None:
            return found
        kept = [metadata for metadata in found if metadata.key not in layer.gone] if layer.gone else list(found)
        kept += matching(layer.added.values(), wanted)
        return kept


class _Work:
    """What the publish at hand does to one place."""

    __slots__ = ("added", "base", "removed", "replaced", "singles")

    def __init__(self, base: _Base) -> None:
        self.base = base
        self.added: dict[int, Metadata] = {}
        self.singles: dict[MetadataName, Metadata] = {}
        self.removed: dict[int, Metadata] = {}
        self.replaced: dict[MetadataName, Metadata] = {}

    def update(self, metadata: Metadata) -> None:
        name = metadata.name
        if metadata.single:
            mine = self.singles.get(name)
            if mine is not None:
                del self.added[mine.key]
            else:
                old = self.base.single(name)
                if old is not None:
                    # Deleted by this same publish just before: the net effect is a replacement all the same.
                    self.removed.pop(old.key, None)
                    self.replaced[name] = old
            self.singles[name] = metadata
        self.added[metadata.key] = metadata

    def delete(self, wanted: Filter | None, may: May | None) -> None:
        superseded = {metadata.key for metadata in self.replaced.values()}
        for metadata in self.base.matching(wanted):
            if metadata.key in superseded or metadata.key in self.removed:
                continue
            if may is not None:
                may(metadata.name)
            self.removed[metadata.key] = metadata
        for metadata in matching(self.added.values(), wanted):
            if may is not None:
                may(metadata.name)
            del self.added[metadata.key]
            if metadata.single:
                del self.singles[metadata.name]
                # The new value was never seen by anybody, but the old one was.
                old = self.replaced.pop(metadata.name, None)
                if old is not None:
                    self.removed[old.key] = old

    def change(self, edge: Edge) -> Change:
        return Change(edge, tuple(self.added.values()), tuple(self.removed.values()), tuple(self.replaced.values()))


class Planner:
    """A batch of proposals over a graph: each sees what the earlier ones will have done. It never changes the graph,
    which must stay as it is until the batch's deltas are applied, in order, or the planner is thrown away.

    next_key: key of the next new metadatum; the next planner goes on from it.
    """

    def __init__(self, graph: Graph, next_key: int) -> None:
        self.next_key = next_key
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
    ) -> Delta:
        """A publish. timestamp: text of the ifmap-timestamp. may: raises IfmapError if the client may not write
        metadata of this type; asked for all that is to be added, notified or deleted. Raises IfmapError (and then
        nothing of the publish remains): InvalidMetadata for a cardinality that contradicts that of the type, what `may`
        raises, what a filter raises.

        A value that the publish replaces or deletes again itself isn't in the delta; the older one that it replaced is.
        """
        publishing = _Publishing(self._graph.cardinality, self._types, may)
        works: dict[Edge, _Work] = {}
        notified: list[tuple[Edge, Metadata]] = []
        key = self.next_key
        for operation in operations:
            edge = operation.edge
            if isinstance(operation, Notify):
                for new in operation.metadata:
                    publishing.check(new)
                    xml = stamped(new, publisher_id, timestamp)
                    notified.append((edge, Metadata(0, new.name, new.single, publisher_id, session_id, xml)))
                continue
            work = works.get(edge)
            if work is None:
                work = works[edge] = _Work(_Base(self._graph.place(edge), self._layers.get(edge)))
            if isinstance(operation, Delete):
                work.delete(operation.filter, may)
                continue
            session = session_id if operation.lifetime is Lifetime.SESSION else ""
            for new in operation.metadata:
                publishing.check(new)
                xml = stamped(new, publisher_id, timestamp)
                work.update(Metadata(key, new.name, new.single, publisher_id, session, xml))
                key += 1
        self.next_key = key
        changes = [work.change(edge) for edge, work in works.items() if work.added or work.removed or work.replaced]
        return self._planned(Delta(tuple(changes), tuple(notified), tuple(publishing.types.items())))

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
        return self._planned(delta), count > most

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
            for metadata in layer.added.values():
                if goes(metadata):
                    yield metadata, edge

    def _planned(self, delta: Delta) -> Delta:
        """Later proposals of the batch see what this one does."""
        for change in delta.changes:
            layer = self._layers.get(change.edge)
            if layer is None:
                layer = self._layers[change.edge] = _Layer()
            layer.merge(change)
        self._types.update(delta.types)
        return delta or NOTHING


class _Publishing:
    """Checks the metadata of one publish. types: that are used for the first time."""

    __slots__ = ("_checked", "_known", "_may", "_planned", "types")

    def __init__(
        self, known: Mapping[MetadataName, bool], planned: Mapping[MetadataName, bool], may: May | None
    ) -> None:
        self._known = known
        self._planned = planned
        self._may = may
        self._checked: dict[MetadataName, bool] = {}
        self.types: dict[MetadataName, bool] = {}

    def check(self, new: NewMetadata) -> None:
        """Raises IfmapError: InvalidMetadata, what `may` raises."""
        name = new.name
        single = self._checked.get(name)
        if single is None:
            if self._may is not None:
                self._may(name)
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


def matching(all_of: Iterable[Metadata], wanted: Filter | None) -> list[Metadata]:
    """The metadata that a filter is true of."""
    if wanted is None:
        return list(all_of)
    if wanted.names is not None:
        return [metadata for metadata in all_of if metadata.name in wanted.names]
    return [metadata for metadata in all_of if wanted.matches(metadata)]


def _cardinality(single: bool) -> str:
    return "singleValue" if single else "multiValue"
