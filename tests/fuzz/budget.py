"""A limit of CPU time for one piece of work, so that an endless loop is a failure with a name and not a hang.

It is CPU time of this process and far more than anything needs, so a busy machine makes no difference.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

LIMIT = 10.0
"""Seconds of CPU time for one message, or one thing that happens; they take some milliseconds at the most."""


class OverBudget(Exception):
    """Something took more CPU time than anything needs."""


def _expired(_signal: int, _frame: FrameType | None) -> None:
    raise OverBudget(f"not done after {LIMIT} s of CPU time")


@contextlib.contextmanager
def budgets() -> Iterator[None]:
    """Within this block begin() may be called; in the main thread only."""
    before = signal.signal(signal.SIGVTALRM, _expired)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def begin() -> None:
    """The next piece of work begins; the one before has ended in time."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
