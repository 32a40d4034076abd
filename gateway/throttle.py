"""How much one connection has taken, and when nothing is read and handled of it: the shell around gateway/limits.py.

Two things hold a connection up: its host owes (it takes more than it may), or it has had its turn and others are to
have theirs. In both cases what was received already waits, at most one read, and the rest waits in the kernel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.guard import EARLY_MAX, Guard, Reason
from gateway.limits import Flow

TURN = 0.004
"""Seconds for which stanzas of one connection are handled before the others have their turn."""
LAST_TURN = 0.040
"""Seconds for which questions of a connection that is lost are answered. There is no other turn."""


class Throttle:
    """Of one connection. address: the peer's; release: called when a connection that was held may go on."""

    __slots__ = (
        *("_address", "_answered", "_began", "_guard", "flow"),
        *("_handle", "_loop", "_received", "_release", "_stanzas"),
    )

    def __init__(
        self, guard: Guard, loop: asyncio.AbstractEventLoop, address: str, release: Callable[[], None]
    ) -> None:
        self._guard = guard
        self._loop = loop
        self._address = address
        self._release = release
        self.flow: Flow | None = None
        """What the host is charged on, once there is a session."""
        self._received = 0
        """Bytes that aren't charged yet; until there is a session, all of them."""
        self._answered = 0
        self._stanzas = 0
        self._began = 0.0
        self._handle: asyncio.Handle | None = None

    @property
    def held(self) -> bool:
        """Whether nothing is to be read and handled now."""
        return self._handle is not None

    @property
    def until(self) -> float:
        """When its host will have repaid what it owes (time of the loop); 0.0 when it doesn't wait for that."""
        return self._handle.when() if isinstance(self._handle, asyncio.TimerHandle) else 0.0

    def begin(self, host: str, now: float) -> None:
        """The connection has become a session of this host."""
        self.flow = self._guard.limiter.begin(host, now)
        self._received = 0
        if wait := self._guard.limiter.charge(self.flow, 0, 0, 0.0, now):
            self.hold(wait)  # of an earlier session: to come anew doesn't help

    def end(self, now: float) -> None:
        """It is over. What was taken until now is charged: to leave at once is no way around it."""
        self.free()
        flow, self.flow = self.flow, None
        if flow is not None:
            if self._received or self._stanzas:
                self._guard.charge(flow, *self._taken(), now - self._began, now, self._address)
            self._guard.limiter.end(flow, now)

    # -- what it takes

    def turn(self, now: float) -> None:
        """What was received is about to be handled; it may have been parsed already."""
        self._began = now

    def received(self, octets: int) -> bool:
        """Bytes have come. Whether they are still to be borne of somebody who hasn't logged in."""
        self._received += octets
        return self.flow is not None or self._received <= EARLY_MAX

    def handled(self, answer: int, now: float) -> None:
        """A stanza was handled, and answered with so many bytes. Holds the connection up when it has had its turn."""
        self._stanzas += 1
        self._answered += answer
        if now - self._began >= TURN and self._handle is None:
            self._handle = self._loop.call_soon(self._go_on)

    def overdue(self, now: float) -> bool:
        """Whether even the last turn is over."""
        return now - self._began >= LAST_TURN

    def settle(self, now: float) -> str:
        """Charge what was taken since the last time, and hold the connection up while its host owes. Why it is to be
        ended, "" when it isn't."""
        flow = self.flow
        if flow is None or not (self._received or self._stanzas):
            return ""
        wait = self._guard.charge(flow, *self._taken(), now - self._began, now, self._address)
        if not wait:
            return ""
        if self._guard.limiter.floods(flow, now):
            why = f"more than allowed ({flow.slowed_by}) for {now - flow.slowed_since:.0f} s"
            message = f"host {flow.host} at {self._address} is sent away: {why}"
            self._guard.told(Reason.FLOOD, message, now, self._address, flow.host)
            return why
        self.hold(wait)
        return ""

    def _taken(self) -> tuple[int, int]:
        """Stanzas and bytes since the last time. A read costs what a small stanza does, whatever is in it."""
        stanzas, octets = max(1, self._stanzas), self._received + self._answered
        self._stanzas = self._received = self._answered = 0
        return stanzas, octets

    # -- held up

    def hold(self, seconds: float) -> None:
        """Nothing is read and handled for so long."""
        self.free()
        self._handle = self._loop.call_later(seconds, self._go_on)

    def free(self) -> None:
        """It isn't held up any more, whatever it owes; release isn't called."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _go_on(self) -> None:
        self._handle = None
        self._release()
