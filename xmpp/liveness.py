"""When a silent peer is asked, and when it is held for dead; when it is given a sign of life itself.

Any byte is a sign of life, a whitespace keepalive too. After a third of the hold time without one the peer is pinged
(XEP-0199), after two thirds once more, and at the whole the session ends; but who isn't read from can't give a sign,
and is only asked. A peer that is heard of and needs no answer would never hear of us: after a time without output it
gets a space, which keeps what is between us awake, too.
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

    __slots__ = ("_deaf_until", "_heard", "_pings", "hold_time")

    def __init__(self, hold_time: float, now: float) -> None:
        self.hold_time = hold_time
        self._heard = now
        self._deaf_until = now
        self._pings = 0

    def deaf(self, until: float) -> None:
        """Nothing is read until then, whatever comes: its silence until then says nothing."""
        self._deaf_until = until

    def heard(self, now: float) -> None:
        """Something came."""
        self._heard = now
        self._pings = 0

    def timer(self) -> float | None:
        """When to call judge; None: never."""
        return self._heard + (self._pings + 1) * self.hold_time / _PARTS if self.hold_time else None

    def judge(self, now: float) -> Verdict:
        """What is due now; a ping is reported once."""
        due = self.timer()
        if due is None or now < due:
            return Verdict.NOTHING
        if self._pings == _PARTS - 1 and now < self._deaf_until:
            self.heard(now)
            return Verdict.PING
        self._pings += 1
        return Verdict.DEAD if self._pings >= _PARTS else Verdict.PING


class Keepalive:
    """Looks once in an interval whether something was sent. interval: seconds; 0 means never to look."""

    __slots__ = ("_due", "_interval", "_quiet")

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._due = now + interval
        self._quiet = True

    def sent(self) -> None:
        """Something was sent."""
        self._quiet = False

    def timer(self) -> float | None:
        """When to call due; None: never."""
        return self._due if self._interval else None

    def due(self, now: float) -> bool:
        """Whether nothing was sent for a whole interval, which ends now; another begins."""
        if not self._interval or now < self._due:
            return False
        self._due = now + self._interval
        quiet, self._quiet = self._quiet, True
        return quiet
