"""How long to wait before the next session with a gateway, by how the last one ended. Pure.

A gateway has thousands of hosts, and most of what ends one session ends all of them in the same moment. So waits are
drawn at random from nothing to their whole length ("full jitter"), the first one, too, and they grow with failures.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable

STEADY = 5.0
"""Seconds after which a session was no accident: the next one is tried with the shortest wait."""
_DOUBLINGS = 32
_CONFLICT_FIRST, _CONFLICT_MOST = 2, 10
"""Waits after a conflict, in longest waits."""
_PATIENCE_DOUBLINGS = 2


class Loss(enum.Enum):
    """How a session, or an attempt at one, ended."""

    CUT = enum.auto()
    """The connection broke, without a word; the stream may be resumed (XEP-0198, section 5)."""
    FAILED = enum.auto()
    """There was none, it was refused, or it ended with an error that says nothing of when to come again."""
    SLOW = enum.auto()
    """No session within the time of a login: the gateway hangs, or has a great many logins to do."""
    SHUTDOWN = enum.auto()
    """The gateway, or its service, stops, and tells all of its hosts at once."""
    AWAY = enum.auto()
    """It told this host to stay away: it has no room, or finds fault with what the host does."""
    CONFLICT = enum.auto()
    """Somebody else has logged in by the name of this host. To come back at once would throw that one out."""


class Lost(Exception):
    """A session, or the attempt at one, is over; the text says why, and loss how."""

    def __init__(self, reason: str, loss: Loss) -> None:
        super().__init__(reason)
        self.loss = loss


_BY_CONDITION = {
    "system-shutdown": Loss.SHUTDOWN,
    "policy-violation": Loss.AWAY,
    "resource-constraint": Loss.AWAY,
    "see-other-host": Loss.AWAY,
    "conflict": Loss.CONFLICT,
}


def loss_of(condition: str) -> Loss:
    """What a stream error (RFC 6120, section 4.9.3) means for the next session."""
    return _BY_CONDITION.get(condition, Loss.FAILED)


class Reconnect:
    """Waits of one gateway; all times in seconds.

    shortest, longest: waits between attempts that fail. spread: time over which the hosts of a gateway come back that
    was shut down. jitter: random numbers of [0, 1).
    """

    def __init__(
        self, shortest: float, longest: float, spread: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._shortest = shortest
        self._longest = longest
        self._spread = min(spread, longest)
        self._jitter = jitter
        self._slow = 0
        self.failures = 0
        """Attempts that failed, and sessions that didn't last, one after the other."""
        self.conflicts = 0
        """Conflicts since the last session that outlasted the waits after them."""

    @property
    def settled(self) -> float:
        """Age of a session from which on it is no longer one of two that throw each other out."""
        return self._longest * _CONFLICT_MOST

    def patience(self, login_time: float) -> float:
        """Longest time of the next login: twice as much after each that took too long, up to four times. In a storm of
        logins everybody who gives up, and begins again at the end of the queue, makes it longer for all."""
        return login_time * float(2 ** min(self._slow, _PATIENCE_DOUBLINGS))

    def wait(self, loss: Loss, lasted: float = 0.0) -> float:
        """Time to wait now. lasted: age of the session that ended; 0 when there was none."""
        if lasted >= STEADY:
            self.failures = 0
        if lasted:
            self._slow = 0
        if lasted >= self.settled:
            self.conflicts = 0
        match loss:
            case Loss.SHUTDOWN:
                return self._spread * self._jitter()
            case Loss.AWAY:
                return self._longest * (0.5 + 0.5 * self._jitter())
            case Loss.CONFLICT:
                full = self._longest * min(_CONFLICT_MOST, _CONFLICT_FIRST * 2.0 ** min(self.conflicts, _DOUBLINGS))
                self.conflicts += 1
                return full * (0.5 + 0.5 * self._jitter())
            case Loss.SLOW:
                self._slow += 1
        full = min(self._longest, self._shortest * 2.0 ** min(self.failures, _DOUBLINGS))
        self.failures += 1
        return full * self._jitter()
