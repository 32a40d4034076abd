"""Waits between attempts that failed. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Waits with full jitter: uniform between 0 and a ceiling that doubles from shortest to longest, in seconds.

    random: uniform in [0, 1).
    """

    def __init__(self, shortest: float, longest: float, random: Callable[[], float]) -> None:
        self._shortest = shortest
        self._longest = longest
        self._random = random
        self._ceiling = shortest

    def reset(self) -> None:
        """The next wait is a short one."""
        self._ceiling = self._shortest

    def next(self) -> float:
        """Seconds to wait now."""
        wait = self._ceiling * self._random()
        self._ceiling = min(self._ceiling * 2, self._longest)
        return wait
