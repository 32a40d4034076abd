"""How long a fuzzer works: in all, and on one piece of work, so that an endless loop is a failure with a name.

Both are CPU time of this process, so a busy machine makes no difference; SIGTERM lets it end after what it is at.
"""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

LIMIT = 10.0
"""Seconds of CPU time for one message, or one thing that happens; they take some milliseconds at the most."""


class OverBudget(Exception):
    """Something took more CPU time than anything needs."""


def _expired(_signal: int, _frame: FrameType | None) -> None:
    raise OverBudget(f"not done after {LIMIT} s of CPU time")


class Budget:
    """A context manager, in the main thread only. seconds: of CPU time in all, None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.process_time() + seconds
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Budget:
        self._before[signal.SIGVTALRM] = signal.signal(signal.SIGVTALRM, _expired)
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True

    @property
    def spent(self) -> bool:
        """Whether it is time to end."""
        return self._asked or (self._end is not None and time.process_time() >= self._end)


def begin() -> None:
    """The next piece of work begins; the one before has ended in time. Within a Budget only."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
