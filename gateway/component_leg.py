"""One connection of the gateway to an XMPP server: bytes between the transport and the stream core.

Reading goes on when writing doesn't: a server may not read until it has got rid of what it writes (ejabberd), and drops
a component that makes it wait. It stops while stanzas are left from an earlier turn of the loop, and when answers pile
up.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from runtime.tcp import watch_peer
from xmpp.component import Attached, ComponentConfig, ComponentStream
from xmpp.events import StanzaReceived, StreamClosed
from xmpp.stanza import Stanza

WRITE_HIGH = 256 * 1024
"""Bytes unsent in the transport above which nothing more is written to it."""
TURN_STANZAS = 200
"""Stanzas handled in one turn of the loop."""


class Owner(Protocol):
    """Who is told what becomes of a connection."""

    def attached(self, leg: Leg) -> None:
        """The server has taken us: stanzas flow."""
        ...

    def received(self, stanza: Stanza) -> None:
        """A stanza of some host."""
        ...

    def handled(self, leg: Leg) -> None:
        """What came by now was handed over; there may be more in the next turn."""
        ...

    def writable(self, leg: Leg) -> None:
        """The transport takes more."""
        ...

    def lost(self, leg: Leg) -> None:
        """It is over."""
        ...


class Leg(asyncio.Protocol):
    """One connection, from before its begin to its end."""

    def __init__(self, owner: Owner, config: ComponentConfig) -> None:
        self.attached = False
        """Whether stanzas flow."""
        self.since = 0.0
        """When it was attached (time of the loop); 0: never."""
        self.reason = "the connection was lost"
        """Why it ended."""
        self.paused = False
        """Whether the transport takes no more."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._stream = ComponentStream(config, self._loop.time())
        self._transport: asyncio.Transport | None = None
        self._throttled = False
        self._rest: asyncio.Handle | None = None
        """Goes on with what is left."""
        self._timer: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        watch_peer(self._transport.get_extra_info("socket"))
        self.write()
        self._arm()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._stream.receive_data(data, self._loop.time())
        self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self._stream.receive_eof()
        while not self._drain():
            pass  # what was read counts, however much it is
        if self._timer is not None:
            self._timer.cancel()
        self._owner.lost(self)
        self.attached = False
        self._lost.set_result(None)

    def pause_writing(self) -> None:
        """See asyncio."""
        self.paused = True

    def resume_writing(self) -> None:
        """See asyncio."""
        self.paused = False
        self._owner.writable(self)

    # -- for its owner

    def send(self, stanzas: bytes) -> None:
        """Queue whole stanzas; write() sends them."""
        self._stream.send_stanza(stanzas)

    def write(self) -> None:
        """Send what is queued."""
        data = self._stream.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def throttle(self, throttled: bool) -> None:
        """Read nothing for now, or go on."""
        self._throttled = throttled
        self._read_or_not()

    def close(self) -> None:
        """End the stream in order."""
        self._stream.close(self._loop.time())
        self._drain()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_lost(self) -> None:
        """Until the connection is gone."""
        await asyncio.shield(self._lost)

    # -- the stream

    def _drain(self) -> bool:
        """Handle some of what has come; whether that was all. The rest follows in the next turn of the loop."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        for _ in range(TURN_STANZAS):
            event = self._stream.next_event()
            if event is None:
                break
            if isinstance(event, StanzaReceived):
                self._owner.received(event.stanza)
            elif isinstance(event, Attached):
                self.attached, self.since = True, self._loop.time()
                self._owner.attached(self)
            else:
                self._closed(event)
        else:
            self._rest = self._loop.call_soon(self._drain)
        self._owner.handled(self)
        self.write()
        self._read_or_not()
        self._arm()
        return self._rest is None

    def _closed(self, event: StreamClosed) -> None:
        text = ": ".join(part for part in (event.condition, event.text) if part)
        self.reason = text or ("the server has closed the stream" if event.by_peer else "closed")
        self.write()
        if self._transport is not None:
            self._transport.close()

    def _read_or_not(self) -> None:
        if self._transport is None:
            return
        if self._throttled or self._rest is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _arm(self) -> None:
        """Have _tick called when the stream core wants. A timer that is too early is left: it only looks."""
        due = self._stream.get_timer()
        if due is None or (self._timer is not None and self._timer.when() <= due):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._stream.handle_timer(self._loop.time())
        self._drain()
