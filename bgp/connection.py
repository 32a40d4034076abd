"""One transport connection with a peer: framing, output with priorities, hold and keepalive timers; no I/O.

The session (bgp.session) decides; a connection keeps what belongs to one transport. What waits to be sent is whole
messages in two queues: urgent ones (OPEN, KEEPALIVE, NOTIFICATION, requests for a refresh) overtake routes, so
that a long table doesn't let the peer's hold timer expire.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

from bgp.framing import Framer
from bgp.message import KEEPALIVE
from bgp.negotiation import Negotiated
from bgp.notification import Notification
from bgp.open import Open
from bgp.timers import Random, Timers, jittered

SEND_CHUNK = 65536
"""Bytes that data_to_send hands out at once unless told otherwise."""
_SEND_HOLD_MIN = 480.0
"""Seconds (RFC 9687, section 4)."""


class State(enum.IntEnum):
    """RFC 4271, section 8.2.2. The first three are states of a session without a connection."""

    IDLE = 0
    CONNECT = 1
    ACTIVE = 2
    OPEN_SENT = 3
    OPEN_CONFIRM = 4
    ESTABLISHED = 5


class _Timer(enum.Enum):
    HOLD = enum.auto()
    KEEPALIVE = enum.auto()


class Verdict(enum.Enum):
    """What the timers of a connection say."""

    ALIVE = enum.auto()
    SILENT = enum.auto()
    """The peer has sent nothing for the hold time."""
    BLOCKED = enum.auto()
    """The peer has taken nothing for the send hold time (RFC 9687)."""


class Connection:
    """A transport connection that is up. outgoing: we opened it; the shell may keep what it likes in `transport`."""

    __slots__ = (
        "_blocked_since",
        "_deferred",
        "_framer",
        "_hold_time",
        "_messages",
        "_random",
        "_send_hold_time",
        "_timers",
        "_urgent",
        "closing",
        "negotiated",
        "opened",
        "outgoing",
        "postponed",
        "queued",
        "state",
        "transport",
    )

    def __init__(self, outgoing: bool, opened: Open, random: Random, now: float, open_time: float) -> None:
        self.outgoing = outgoing
        self.opened = opened
        """What we said."""
        self.state = State.OPEN_SENT
        self.negotiated: Negotiated | None = None
        self.postponed: Open | None = None
        """What the peer said, while the session doesn't answer it; nothing more is read meanwhile."""
        self.transport: object = None
        self.closing = False
        """Send what data_to_send() still has, then close the transport."""
        self.queued = 0
        """Bytes of routes that wait for data_to_send()."""
        self._framer = Framer()
        self._urgent: list[bytes] = [opened.encode()]
        self._messages: deque[bytes] = deque()
        self._random = random
        self._timers: Timers[_Timer] = Timers()
        self._timers.set(_Timer.HOLD, now + open_time)
        self._hold_time = 0.0
        self._send_hold_time = 0.0
        self._deferred = False
        self._blocked_since: float | None = None

    # -- output

    @property
    def has_output(self) -> bool:
        """Whether data_to_send() has something."""
        return bool(self._urgent or self._messages)

    def data_to_send(self, limit: int = SEND_CHUNK) -> bytes:
        """Whole messages to write now, taken out of the queues: at least one if there is any, else about `limit` bytes.

        Call it again when the transport has taken them; what it has been given can no longer be overtaken.
        """
        self._blocked_since = None
        pieces, self._urgent = self._urgent, []
        size = sum(map(len, pieces))
        messages = self._messages
        while messages and size < limit:
            message = messages.popleft()
            pieces.append(message)
            size += len(message)
            self.queued -= len(message)
        return b"".join(pieces)

    def send(self, messages: Iterable[bytes]) -> None:
        """Queue whole messages behind each other."""
        before = len(self._messages)
        self._messages.extend(messages)
        for index in range(before, len(self._messages)):
            self.queued += len(self._messages[index])

    def send_urgent(self, message: bytes) -> None:
        """Queue a message in front of all routes."""
        self._urgent.append(message)

    def close(self, notification: Notification | None) -> None:
        """The end: what waited is dropped, the reason said if there is one."""
        if self.closing:
            return
        # An OPEN that wasn't sent yet stays: without it the peer can make nothing of a NOTIFICATION.
        self._urgent = [one for one in self._urgent if one is not KEEPALIVE]
        self._messages.clear()
        self.queued = 0
        if notification is not None:
            self._urgent.append(notification.encode())
        self.closing = True
        self._timers.clear()

    # -- input

    def feed(self, data: bytes) -> None:
        """Take bytes of the peer."""
        self._framer.receive_data(data)

    @property
    def framer(self) -> Framer:
        """What cuts the input into messages."""
        return self._framer

    # -- timers

    def confirm(self, negotiated: Negotiated, send_hold_time: float | None, now: float) -> None:
        """The peer's OPEN is good: answer it, and run the timers at the pace agreed upon."""
        self.negotiated = negotiated
        self.state = State.OPEN_CONFIRM
        self._framer.max_length = negotiated.max_length
        self._hold_time = float(negotiated.hold_time)
        self._send_hold_time = max(_SEND_HOLD_MIN, 2 * self._hold_time) if send_hold_time is None else send_hold_time
        self._urgent.append(KEEPALIVE)
        self._timers.clear()
        if self._hold_time:
            self._timers.set(_Timer.HOLD, now + self._hold_time)
            self._timers.set(_Timer.KEEPALIVE, now + self._pace())

    def _pace(self) -> float:
        """Seconds to the next KEEPALIVE (RFC 4271, section 4.4)."""
        return jittered(self._hold_time / 3, self._random)

    def heard(self, now: float) -> None:
        """A message of the peer is complete."""
        if self._hold_time:
            self._timers.set(_Timer.HOLD, now + self._hold_time)
            self._deferred = False

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        return self._timers.next()

    def handle_timer(self, now: float) -> Verdict:
        """Fire what is due.

        A call that comes late for the hold timer says that we were busy, not that the peer was silent: what it
        sent meanwhile waits in the transport. So the timer is put off once, by as long as the call is late (but not
        by more than the time between two keepalives).
        """
        hold = self._timers.deadline(_Timer.HOLD)
        for timer in self._timers.pop_due(now):
            if timer is _Timer.KEEPALIVE:
                self._timers.set(_Timer.KEEPALIVE, now + self._pace())
                if KEEPALIVE not in self._urgent:
                    self._urgent.append(KEEPALIVE)
                if self._blocked_since is None:
                    self._blocked_since = now
                elif now - self._blocked_since >= self._send_hold_time:
                    return Verdict.BLOCKED
            else:
                assert hold is not None
                late = min(now - hold, self._hold_time / 3)
                if self._deferred or late <= 0:
                    return Verdict.SILENT
                self._deferred = True
                self._timers.set(_Timer.HOLD, now + late)
        return Verdict.ALIVE
