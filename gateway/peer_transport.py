"""One transport of a BGP session: bytes between a socket and the session of its peer.

Reads are at most as large as the buffer that all transports share, so one of them is a few milliseconds of work.
Little is written ahead: what the transport or the kernel has can't be overtaken by a KEEPALIVE, nor be replaced by
newer routes. A connection that ends is shut down for writing first and read on for a moment: a close with unread data
would be a reset, and with it the peer might lose our NOTIFICATION.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

from bgp.connection import Connection

READ_SIZE = 64 * 1024
LINGER = 2.0
"""Seconds that a peer has to take the end of a connection."""


class Endpoint(Protocol):
    """Who is told of a transport: the peer (gateway.peer_runtime)."""

    def opened(self, transport: PeerTransport) -> None:
        """It is connected; sets its `connection`, or closes it."""

    def received(self, transport: PeerTransport, data: bytes) -> None:
        """Bytes came."""

    def ended(self, transport: PeerTransport, why: str) -> None:
        """The peer has closed it, or it was lost. May be told twice."""

    def writable(self, transport: PeerTransport) -> None:
        """It takes more."""


class PeerTransport(asyncio.BufferedProtocol):
    """outgoing: we opened it; buffer: READ_SIZE bytes to read into, not kept."""

    def __init__(self, endpoint: Endpoint, buffer: memoryview, *, outgoing: bool) -> None:
        self.outgoing = outgoing
        self.connection: Connection | None = None
        """The session's view of it, while it has one."""
        self.local: tuple[str, int] = ("", 0)
        self.remote: tuple[str, int] = ("", 0)
        """Address and port of both ends."""
        self.paused = False
        """It takes nothing at present."""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the socket is closed."""
        self._endpoint = endpoint
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._finished = False
        self._linger: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Send."""
        if self._transport is not None and data:
            self._transport.write(data)

    def finish(self, data: bytes = b"") -> None:
        """Send the last bytes, then close."""
        if self._transport is None or self._finished:
            return
        self._finished = True
        self.connection = None
        self.write(data)
        if self._transport.is_closing():
            return
        try:
            self._transport.write_eof()
        except OSError:
            # The peer has reset the connection, and asyncio doesn't know yet.
            self.abort()
            return
        self._linger = asyncio.get_running_loop().call_later(LINGER, self.abort)

    def abort(self) -> None:
        """Drop the connection at once."""
        self._finished = True
        self.connection = None
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        sock: socket.socket = transport.get_extra_info("socket")
        try:
            self.local, self.remote = sock.getsockname()[:2], sock.getpeername()[:2]
        except OSError:
            # It is gone already; connection_lost() comes next.
            self.abort()
            return
        self._endpoint.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._finished:
            self._endpoint.received(self, bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        if not self._finished:
            self._endpoint.ended(self, "the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
        if not self._finished:
            self._finished = True
            reason = exc.strerror or str(exc) if isinstance(exc, OSError) else "closed"
            self._endpoint.ended(self, f"the connection was lost: {reason}")
        self.connection = None
        if not self.lost.done():
            self.lost.set_result(None)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if not self._finished:
            self._endpoint.writable(self)
