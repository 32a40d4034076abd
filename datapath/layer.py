"""What the reconciler knows about one kind, and about all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from datapath.driver import Driver, Maker
from datapath.relations import stands_on
from datapath.tracker import DeltaTracker
from datapath.values import Key, Kind, Value

AT_ONCE = float("-inf")
"""Time of what is due now."""


class Layer:
    """One kind: its driver, its tracker, and when it is to be dumped.

    dump_due: time (seconds) of the next dump, None if none is asked for. sweep: whether the leave to delete strays was
    given. kicked: something below has improved since the failed objects of this kind were tried. improved: devices (by
    name), next hops and groups that have been made since then, while there were failed objects. watched: whether status
    changes are wanted.
    """

    __slots__ = (
        "driver",
        "dump_attempts",
        "dump_due",
        "dump_error",
        "dumps",
        "improved",
        "kicked",
        "kind",
        "maker",
        "repaired",
        "sweep",
        "tracker",
        "watched",
    )

    def __init__(self, driver: Driver) -> None:
        self.kind = driver.kind
        self.driver = driver
        self.maker = driver if isinstance(driver, Maker) else None
        self.tracker = DeltaTracker()
        self.dumps = 0
        self.dump_due: float | None = AT_ONCE
        self.dump_attempts = 0
        self.dump_error = ""
        self.repaired = 0
        self.sweep = False
        self.kicked = False
        self.improved: set[Key] = set()
        self.watched = False

    @property
    def in_sync(self) -> bool:
        """Whether the kind was dumped with success."""
        return self.dumps > 0

    def note_improved(self, keys: Iterable[Key]) -> None:
        """These objects are there now, so what failed for the lack of them is to be tried again."""
        if self.tracker.aside:
            self.improved.update(keys)

    def bring_back(self) -> None:
        """Let the objects be tried again whose failure may have been cured since the last call."""
        tracker, improved = self.tracker, self.improved
        if self.kicked:
            tracker.bring_back(list(tracker.aside))
        elif improved:
            desired = tracker.desired
            tracker.bring_back([key for key in tracker.aside if key in desired and stands_on(desired[key], improved)])
        self.kicked = False
        self.improved = set()

    def pending_keys(self) -> set[Key]:
        """Keys for which there is something to do."""
        tracker = self.tracker
        return {*tracker.updates, *tracker.removals, *tracker.aside}


class Layers:
    """The layers, lowest first."""

    def __init__(self, drivers: Iterable[Driver]) -> None:
        """Raises ValueError for two drivers of one kind."""
        self.ascending = sorted((Layer(driver) for driver in drivers), key=lambda layer: layer.kind)
        # A list and not a dictionary: hashing a member of an enumeration is a function in Python.
        self._by_kind: list[Layer | None] = [None] * (max(Kind) + 1)
        for layer in self.ascending:
            if self._by_kind[layer.kind] is not None:
                raise ValueError(f"two drivers for {layer.kind.name}")
            self._by_kind[layer.kind] = layer

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.ascending)

    def get(self, kind: Kind) -> Layer | None:
        """The layer of a kind, or None when there is no driver for it."""
        return self._by_kind[kind]

    def __getitem__(self, kind: Kind) -> Layer:
        """The layer of a kind. Raises ValueError when there is no driver for it."""
        layer = self._by_kind[kind]
        if layer is None:
            raise ValueError(f"no driver for {kind.name}")
        return layer


class KernelView(Mapping[Key, Value]):
    """What the kernel is believed to hold of one kind, read-only. Length and iteration read the whole table."""

    def __init__(self, tracker: DeltaTracker) -> None:
        self._tracker = tracker

    def __getitem__(self, key: Key) -> Value:
        value = self._tracker.kernel_value(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[Key]:
        return (key for key, _ in self._tracker.kernel_items())

    def __len__(self) -> int:
        return self._tracker.kernel_count()
