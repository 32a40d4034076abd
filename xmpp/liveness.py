"""When a silent peer is asked, and when it is held for dead.

Any byte is a sign of life, a whitespace keepalive too. After a third of the hold time without one the peer is pinged
(XEP-0199), after two thirds once more, and at the whole the session ends.
"""

from __future__ import annotations

import enum

_PARTS = 3


class Verdict(enum.Enum):
    """What is due."""

    NOTHING = enum.auto()
    PING = enum.auto()
    DEAD = enum.auto()


class Liveness:
    """hold_time: seconds; 0 means never to ask."""

    __slots__ = ("_heard", "_hold_time", "_pings")

    def __init__(self, hold_time: float, now: float) -> None:
        self._hold_time = hold_time
        self._heard = now
        self._pings = 0

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard = now
        self._pings = 0

    def timer(self) -> float | None:
        """When to call judge; None: never."""
        return self._heard + (self._pings + 1) * self._hold_time / _PARTS if self._hold_time else None

    def judge(self, now: float) -> Verdict:
        """What is due now; a ping is reported once."""
        due = self.timer()
        if due is None or now < due:
            return Verdict.NOTHING
        self._pings += 1
        return Verdict.DEAD if self._pings >= _PARTS else Verdict.PING
