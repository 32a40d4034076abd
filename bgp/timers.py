"""Deadlines by name, jitter and back-off (RFC 4271, sections 8.1.1 and 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

Random = Callable[[], float]
"""A source of numbers evenly spread in [0, 1), e.g. random.random; in tests anything."""


def jittered(seconds: float, random: Random) -> float:
    """75 % to 100 % of `seconds`, so that peers that fell together don't come back in step (RFC 4271, section 10)."""
    return seconds * (0.75 + 0.25 * random())


class Timers(Generic[T]):
    """Which names are due when; times are seconds of any monotonic clock."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[T, float] = {}

    def set(self, name: T, deadline: float) -> None:
        """Let a name be due at a time, whatever was set before."""
        self._deadlines[name] = deadline

    def clear(self, *names: T) -> None:
        """Forget the deadlines of these names; without any, of all."""
        for name in names or tuple(self._deadlines):
            self._deadlines.pop(name, None)

    def deadline(self, name: T) -> float | None:
        """When a name is due, None when it isn't set."""
        return self._deadlines.get(name)

    def names(self) -> list[T]:
        """The names that are set."""
        return list(self._deadlines)

    def next(self) -> float | None:
        """The earliest deadline."""
        return min(self._deadlines.values(), default=None)

    def pop_due(self, now: float) -> list[T]:
        """The names that are due, earliest first; they are no longer set."""
        due = [name for name, deadline in self._deadlines.items() if deadline <= now]
        due.sort(key=self._deadlines.__getitem__)
        for name in due:
            del self._deadlines[name]
        return due


class Backoff:
    """Waiting times that double from `first` to `most` seconds, until what was waited for has worked."""

    __slots__ = ("_next", "first", "most")

    def __init__(self, first: float, most: float) -> None:
        self.first = first
        self.most = most
        self._next = first

    def next(self) -> float:
        """How long to wait this time, seconds."""
        seconds = self._next
        self._next = min(2 * seconds, self.most)
        return seconds

    def reset(self) -> None:
        """It has worked: the next failure is the first again."""
        self._next = self.first
