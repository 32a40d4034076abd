"""Several filters as one question: which metadata of a place a search or subscription is after."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import cast

from ifmap.errors import ErrorCode, IfmapError
from ifmap.places import Place
from ifmap.values import Filter, Metadata, MetadataName
from ifmap.xpath_tree import METER

ALLOWANCE = 3_000_000
"""Steps of XPath, about a second, that the filters of one search, or of one publish's deletions, may take beyond what
reading the metadata takes."""
CHANGE_ALLOWANCE = 300_000
"""The same for what a subscription takes of one change of the map: others wait for it."""
_FAIR, _FAIR_BYTES = 100, 8
"""Steps that reading a metadatum may take, and how many of its bytes allow one more."""
_STEPS_A_LINK = 10


class Allowance:
    """What filters that look into metadata may take. paid: steps so far."""

    __slots__ = ("left", "paid")

    def __init__(self, steps: int = ALLOWANCE) -> None:
        self.left = steps
        self.paid = 0

    def ask(self, wanted: Filter, metadata: Metadata) -> bool:
        """Whether the filter is true of a metadatum. Raises IfmapError (Failure): it has taken too long by now."""
        before = METER.steps
        answer = wanted.matches(metadata)
        took = METER.steps - before
        if took:
            self.paid += took
            self.left -= max(0, took - _FAIR - len(metadata.xml) // _FAIR_BYTES)
            if self.left < 0:
                raise IfmapError(ErrorCode.FAILURE, "the filter takes too long; use a simpler one")
        return answer

    def cost(self) -> int:
        """What looking at a place takes: 1, and what filters took since the last call, in links gone through."""
        if not self.paid:
            return 1
        paid, self.paid = self.paid, 0
        return 1 + paid // _STEPS_A_LINK


class Remembered:
    """A filter that has to look into the metadata, and does so once for each until `forget`."""

    __slots__ = ("_allowance", "_answers", "_inner", "names")

    def __init__(self, inner: Filter, allowance: Allowance) -> None:
        self.names: frozenset[MetadataName] | None = None
        self._allowance = allowance
        self._inner = inner
        self._answers: dict[int, bool] = {}

    def matches(self, metadata: Metadata) -> bool:
        """Whether the filter is true of a metadatum. Raises IfmapError (Failure), see Allowance."""
        key = metadata.key
        if not key:
            # Notified: all of that has the same key.
            return self._allowance.ask(self._inner, metadata)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self._allowance.ask(self._inner, metadata)
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
