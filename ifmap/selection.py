"""Several filters as one question: which metadata of a place a search or subscription is after."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from ifmap.places import Place
from ifmap.values import Filter, Metadata, MetadataName


class Selection:
    """What all of some filters are true of. Lists of names are intersected; what has to look into the metadata is asked
    once for each metadatum until `forget`.

    key: equal keys select equally. Costs: with names only, time for what is found; else for all metadata of the place.
    """

    __slots__ = ("_asked", "_filters", "_names", "key")

    def __init__(self, *filters: Filter | None) -> None:
        names: frozenset[MetadataName] | None = None
        rest: list[Filter] = []
        for one in filters:
            if one is None:
                continue
            if one.names is None:
                rest.append(one)
            else:
                names = one.names if names is None else names & one.names
        self._names = names
        self._filters = tuple(rest)
        self._asked: dict[int, bool] = {}
        self.key: Hashable = (names, self._filters)

    @property
    def everything(self) -> bool:
        """Whether no filter restricts it."""
        return self._names is None and not self._filters

    def accepts(self, metadata: Metadata) -> bool:
        """Whether the filters are true of a metadatum."""
        if self._names is not None and metadata.name not in self._names:
            return False
        if not self._filters:
            return True
        key = metadata.key
        if not key:
            return all(one.matches(metadata) for one in self._filters)
        known = self._asked.get(key)
        if known is None:
            known = self._asked[key] = all(one.matches(metadata) for one in self._filters)
        return known

    def of(self, metadata: Iterable[Metadata]) -> list[Metadata]:
        """Those that the filters are true of."""
        if self._names is None and not self._filters:
            return list(metadata)
        accepts = self.accepts
        return [one for one in metadata if accepts(one)]

    def on(self, place: Place) -> Collection[Metadata]:
        """The metadata of a place that the filters are true of, in the order they came."""
        if self._names is None:
            return self.of(place.all()) if self._filters else place.all()
        found = place.named(self._names)
        return self.of(found) if self._filters else found

    def any(self, place: Place) -> bool:
        """Whether the filters are true of anything on a place."""
        if self._names is None and not self._filters:
            return bool(place)
        if not self._filters and self._names is not None:
            return place.count_named(self._names) > 0
        return any(map(self.accepts, place.all()))

    def any_but(self, place: Place, others: Collection[Metadata]) -> bool:
        """Whether the filters are true of anything on a place but of these, which are there."""
        if self._names is None and not self._filters:
            return len(place) > len(others)
        if not self._filters and self._names is not None:
            return place.count_named(self._names) > sum(map(self.accepts, others))
        keys = {one.key for one in others}
        return any(one.key not in keys and self.accepts(one) for one in place.all())

    def forget(self) -> None:
        """Forgets what it was told about single metadata (the change at hand is done)."""
        self._asked.clear()
