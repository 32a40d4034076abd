"""Which destinations have which route targets, so that a change of interest costs what it touches."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

D = TypeVar("D", bound=Hashable)


class TargetIndex(Generic[D]):
    """Destinations by each route target (8 bytes) of their best path."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[bytes, set[D]] = {}

    def __len__(self) -> int:
        """Number of route targets."""
        return len(self._buckets)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._buckets)

    def add(self, targets: Iterable[bytes], destinations: Collection[D]) -> None:
        """Destinations have the targets."""
        if not destinations:
            return
        for target in targets:
            bucket = self._buckets.get(target)
            if bucket is None:
                self._buckets[target] = set(destinations)
            else:
                bucket.update(destinations)

    def remove(self, targets: Iterable[bytes], destination: D) -> None:
        """The destination no longer has the targets."""
        for target in targets:
            bucket = self._buckets[target]
            bucket.discard(destination)
            if not bucket:
                del self._buckets[target]

    def of(self, target: bytes) -> Collection[D]:
        """Destinations that have the target."""
        return self._buckets.get(target, ())
