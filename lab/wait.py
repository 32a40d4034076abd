"""Waiting for a condition, with a deadline and a name for what is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import LabError

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], deadline: float, what: str, interval: float = 0.02, detail: Callable[[], str] = str
) -> T:
    """Call `condition` until it returns something true, and return that.

    deadline: seconds from now. what: ends the sentence "timed out after N s waiting for ...". detail: asked for more
    to show when time is up, e.g. the end of a log. Raises LabError at the deadline; the condition is always tried at
    least once, and once after the last pause.
    """
    end = time.monotonic() + deadline
    while True:
        late = time.monotonic() >= end
        value = condition()
        if value:
            return value
        if late:
            raise LabError(f"timed out after {deadline:g} s waiting for {what}", log=detail())
        time.sleep(min(interval, max(0.0, end - time.monotonic())))
