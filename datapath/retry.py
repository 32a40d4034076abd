"""When to try again what failed: exponential back-off with jitter, per object."""

from __future__ import annotations

import errno
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from datapath.driver import Failure
from datapath.values import Key, Kind

FIRST_DELAY = 0.05
"""Seconds before the second try."""
LAST_DELAY = 30.0
"""Most seconds between two tries; of what waits for an event TOGETHER more."""

WAITING = frozenset({errno.ENETDOWN, errno.EAGAIN})
"""What only an event can cure: a device without carrier (the VM behind a port isn't running), a next hop that isn't
there. The event lets the object be tried at once; the few tries without one are there in case it was missed."""

TOGETHER = 60.0
"""Seconds between the times at which all that waits is tried: a host with a hundred VMs that don't run would wake up
several times a second otherwise."""

Jitter = Callable[[], float]
"""A number from 0 (inclusive) to 1; random.random in a program, something repeatable in a test."""

_MANY = 99


def delay(attempts: int, jitter: Jitter) -> float:
    """Seconds to wait after this many failed tries (>= 1): doubled each time, from half of it to all of it."""
    full = min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 16))
    return full * (0.5 + 0.5 * jitter())


@dataclass(frozen=True, slots=True)
class Trouble:
    """An object whose last try failed: why, how many in a row, and when the next one is (seconds)."""

    failure: Failure
    attempts: int
    next_retry: float


class RetryQueue:
    """The objects in trouble, and the order of their next tries."""

    def __init__(self, jitter: Jitter) -> None:
        self._jitter = jitter
        self._troubles: tuple[dict[Key, Trouble], ...] = tuple({} for _ in range(max(Kind) + 1))
        self._heap: list[tuple[float, int, Kind, Key]] = []
        self._count = 0

    def __bool__(self) -> bool:
        """Whether any object is in trouble."""
        return any(self._troubles)

    def failed(self, kind: Kind, key: Key, failure: Failure, now: float) -> Trouble:
        """Note one more failure of an object."""
        before = self._troubles[kind].get(key)
        attempts = before.attempts + 1 if before else 1
        if failure.errno in WAITING:
            due = math.ceil((now + delay(_MANY, self._jitter)) / TOGETHER) * TOGETHER
        else:
            due = now + delay(attempts, self._jitter)
        trouble = Trouble(failure, attempts, due)
        self._troubles[kind][key] = trouble
        self._count += 1
        heapq.heappush(self._heap, (trouble.next_retry, self._count, kind, key))
        return trouble

    def forget(self, kind: Kind, key: Key) -> bool:
        """The object is right, or what was asked of it has changed. Returns whether it was in trouble."""
        return self._troubles[kind].pop(key, None) is not None

    def of(self, kind: Kind) -> dict[Key, Trouble]:
        """The objects of a kind in trouble; not to be changed by the caller."""
        return self._troubles[kind]

    def take_due(self, now: float) -> list[tuple[Kind, Key]]:
        """Objects whose time has come; each is given once."""
        due: list[tuple[Kind, Key]] = []
        while self._heap and self._heap[0][0] <= now:
            when, _, kind, key = heapq.heappop(self._heap)
            trouble = self._troubles[kind].get(key)
            if trouble is not None and trouble.next_retry == when:
                due.append((kind, key))
        return due

    def next_time(self) -> float | None:
        """Time of the next try, or None."""
        while self._heap:
            when, _, kind, key = self._heap[0]
            trouble = self._troubles[kind].get(key)
            if trouble is not None and trouble.next_retry == when:
                return when
            heapq.heappop(self._heap)
        return None
