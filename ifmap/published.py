"""What a client wants to have published for the life of its session: said once, published again after every new one.

A server forgets metadata of lifetime session when the session ends. `Published` holds what is wanted and what the
server has, and makes publishes of the difference: of everything after a new session, in pieces. Metadata here is
singleValue, so that publishing it again replaces it; there is one for each edge and type. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ifmap import filters
from ifmap.errors import IfmapError
from ifmap.values import Delete, Edge, Lifetime, MetadataName, NewMetadata, PublishOperation, Update

BATCH = 200
"""Metadata in one publish: large enough that the round trip doesn't matter, small enough to be quick."""


class Place(NamedTuple):
    """Where a singleValue metadatum is."""

    edge: Edge
    name: MetadataName


@dataclass(frozen=True, slots=True)
class Batch:
    """One publish. places: what it says something of, in order, with the value (None: deleted)."""

    operations: tuple[PublishOperation, ...]
    places: tuple[tuple[Place, NewMetadata | None], ...]


class Published:
    """What is wanted (set, remove), and what of it the server has (batch, accepted, refused).

    batch(): the caller publishes it and reports by accepted() or refused(), before it asks for the next one.
    """

    def __init__(self, size: int = BATCH) -> None:
        self._size = size
        self._wanted: dict[Place, NewMetadata] = {}
        self._known: dict[Place, NewMetadata] = {}
        """What the server has of this session."""
        self._todo: dict[Place, None] = {}
        """Where wanted and known may differ, in the order in which they came to."""
        self._alone: set[Place] = set()
        """To be published one by one: they were in a batch that was refused."""
        self._refused: dict[Place, IfmapError] = {}

    @property
    def refused_places(self) -> dict[Place, IfmapError]:
        """What the server doesn't take; not tried again before it changes, a new session begins, or retry_refused()."""
        return dict(self._refused)

    def retry_refused(self) -> None:
        """Try again what was refused, one by one."""
        self._alone.update(self._refused)
        self._todo.update(dict.fromkeys(self._refused))
        self._refused.clear()

    @property
    def waiting(self) -> int:
        """How many places are not as they should be."""
        return len(self._todo)

    def __len__(self) -> int:
        return len(self._wanted)

    def wanted(self, edge: Edge, name: MetadataName) -> NewMetadata | None:
        """What is to be there."""
        return self._wanted.get(Place(edge, name))

    def set(self, edge: Edge, metadata: NewMetadata) -> None:
        """Have this there, in the place of what is. Raises ValueError for multiValue metadata."""
        if not metadata.single:
            raise ValueError(f"{metadata.name.local} is multiValue: each publish would add another one")
        place = Place(edge, metadata.name)
        if self._wanted.get(place) != metadata:
            self._wanted[place] = metadata
            self._changed(place)

    def remove(self, edge: Edge, name: MetadataName) -> None:
        """Have nothing there."""
        place = Place(edge, name)
        if self._wanted.pop(place, None) is not None:
            self._changed(place)

    def session_started(self) -> None:
        """The server has nothing of it any more."""
        self._known.clear()
        self._alone.clear()
        self._refused.clear()
        self._todo = dict.fromkeys(self._wanted)

    def batch(self) -> Batch | None:
        """The next publish; None when the server has what it should."""
        places: list[tuple[Place, NewMetadata | None]] = []
        for place in self._todo:
            if place in self._alone and places:
                break
            places.append((place, self._wanted.get(place)))
            if place in self._alone or len(places) == self._size:
                break
        if not places:
            return None
        return Batch(tuple(_operation(place, metadata) for place, metadata in places), tuple(places))

    def accepted(self, batch: Batch) -> None:
        """The server has what the batch says."""
        for place, metadata in batch.places:
            if metadata is None:
                self._known.pop(place, None)
            else:
                self._known[place] = metadata
            self._alone.discard(place)
            self._settle(place)

    def refused(self, batch: Batch, error: IfmapError) -> None:
        """The server has taken nothing of the batch. One wrong metadatum doesn't keep the others: what was refused
        together is tried on its own."""
        if len(batch.places) > 1:
            self._alone.update(place for place, _ in batch.places)
            return
        for place, metadata in batch.places:
            self._alone.discard(place)
            if self._wanted.get(place) == metadata:
                self._refused[place] = error
                self._todo.pop(place, None)

    def _changed(self, place: Place) -> None:
        self._refused.pop(place, None)
        self._settle(place)

    def _settle(self, place: Place) -> None:
        if self._wanted.get(place) == self._known.get(place):
            self._todo.pop(place, None)
        else:
            # It may have been taken back while the publish of it was under way.
            self._todo.setdefault(place)


def _operation(place: Place, metadata: NewMetadata | None) -> PublishOperation:
    if metadata is not None:
        return Update(place.edge, (metadata,), Lifetime.SESSION)
    return Delete(place.edge, filters.of_names(place.name))
