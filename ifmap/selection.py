"""Several filters as one question: which metadata of a place a search or subscription is after."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import cast

from ifmap.places import Place
from ifmap.values import Filter, Metadata, MetadataName


class Remembered:
    """A filter that has to look into the metadata, and does so once for each until `forget`."""

    __slots__ = ("_answers", "_inner", "names")

    def __init__(self, inner: Filter) -> None:
        self.names: frozenset[MetadataName] | None = None
        self._inner = inner
        self._answers: dict[int, bool] = {}

    def matches(self, metadata: Metadata) -> bool:
        """Whether the filter is true of a metadatum."""
        key = metadata.key
        if not key:
            # Notified: all of that has the same key.
            return self._inner.matches(metadata)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._inner.matches(metadata)
        return answer

    def forget(self) -> None:
        """Forgets the answers (the change at hand is done)."""
        self._answers.clear()


def key_of(wanted: Filter | None) -> Hashable:
    """Equal keys, equal filters: lists of names by what they name, others as they compare."""
    return cast(Hashable, wanted) if wanted is None or wanted.names is None else wanted.names


class Selection:
    """What all of some filters are true of. Lists of names are intersected.

    Costs: with names only, time for what is found; else for all metadata of the place.
    """

    __slots__ = ("_filters", "_names")

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

    def accepts(self, metadata: Metadata) -> bool:
        """Whether the filters are true of a metadatum."""
        if self._names is not None and metadata.name not in self._names:
            return False
        return not self._filters or all(one.matches(metadata) for one in self._filters)

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
        if self._filters:
            return any(map(self.accepts, place.all()))
        return bool(place) if self._names is None else place.count_named(self._names) > 0

    def any_but(self, place: Place, others: Collection[Metadata]) -> bool:
        """Whether the filters are true of anything on a place but of these, which are there."""
        if self._filters:
            keys = {one.key for one in others}
            return any(one.key not in keys and self.accepts(one) for one in place.all())
        if self._names is None:
            return len(place) > len(others)
        return place.count_named(self._names) > sum(map(self.accepts, others))
