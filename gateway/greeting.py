"""From an accepted socket to a connection: who speaks TLS at once, and who with STARTTLS.

Direct TLS and STARTTLS share a port: the first byte of a TLS connection is 0x16 (a handshake record; RFC 8446, section
5.1), which no XML begins with. It is peeked at and stays in the socket.

    accepted --first byte--> 0x16: handshake --> Connection
                             else: Connection, which offers STARTTLS

Until it is a connection, a socket costs a few hundred bytes and no timer of its own: all wait equally long, so that the
first of them is the next that is late.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from gateway.connection import Connection
from runtime.log import fields
from runtime.socket_transport import SocketTransport, read_buffer
from runtime.tls import handshake_failure

if TYPE_CHECKING:
    from gateway.server import Server

log = logging.getLogger("vrfwire.gateway.server")

TLS_HANDSHAKE = b"\x16"
UNSENT = 128 * 1024
"""Bytes that the kernel keeps for a host that reads slowly: what it hasn't been sent can still be replaced by newer."""


class Greeting(asyncio.Protocol):
    """A socket that is no connection yet. deadline: time of the loop at which it is given up."""

    __slots__ = ("_greeter", "deadline", "failed", "peer", "socket", "transport")

    def __init__(self, greeter: Greeter, connection: socket.socket, peer: tuple[str, int], deadline: float) -> None:
        self._greeter = greeter
        self.socket = connection
        self.peer = peer
        self.deadline = deadline
        self.transport: SocketTransport | None = None
        """Once something has come."""
        self.failed = False
        """Its handshake failed; what is left is that the peer takes the reason."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone before there was a connection."""
        self._greeter.forget(self)


class Greeter:
    """Greets for a server. Use it within one event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._buffer = read_buffer()
        self._waiting: dict[Greeting, None] = {}
        """Oldest first."""
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Sockets that are no connections yet."""
        return len(self._waiting)

    def accept(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        """Greet a socket, which doesn't block. peer: address and port as text."""
        try:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)
        except OSError as error:
            connection.close()
            log.debug("connection from %s: %s", peer[0], error, extra=fields(peer=peer[0]))
            return
        deadline = self._loop.time() + self._server.stream_config.login_timeout
        greeting = Greeting(self, connection, peer, deadline)
        self._waiting[greeting] = None
        self._loop.add_reader(connection, self._spoken, greeting)
        self._arm()

    async def close(self) -> None:
        """Drop who is no connection yet."""
        for greeting in list(self._waiting):
            self._drop(greeting)
        if self._waiting:
            # An aborted transport says so in the next turn of the loop.
            self._idle = self._loop.create_future()
            await self._idle
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what comes first

    def _spoken(self, greeting: Greeting) -> None:
        """The first byte is there, or the end."""
        self._loop.remove_reader(greeting.socket)
        try:
            first = greeting.socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._loop.add_reader(greeting.socket, self._spoken, greeting)
            return
        except OSError as error:
            log.debug("connection from %s: %s", greeting.peer[0], error, extra=fields(peer=greeting.peer[0]))
            self._drop(greeting)
            return
        greeting.transport = SocketTransport(self._loop, greeting.socket, greeting, self._buffer)
        if first == TLS_HANDSHAKE:
            greeting.transport.start_tls(self._server.tls, lambda error: self._secured(greeting, error))
        else:
            self._connected(greeting)

    def _secured(self, greeting: Greeting, error: OSError | None) -> None:
        """A handshake has ended."""
        if error is None:
            self._connected(greeting)
            return
        greeting.failed = True
        peer = greeting.peer[0]
        log.info("TLS with %s failed: %s", peer, handshake_failure(error), extra=fields(peer=peer))

    def _connected(self, greeting: Greeting) -> None:
        transport = greeting.transport
        assert transport is not None
        self.forget(greeting)
        transport.set_protocol(Connection(self._server, greeting.peer))
        transport.start()

    # -- the end

    def forget(self, greeting: Greeting) -> None:
        """It is a connection now, or gone."""
        self._waiting.pop(greeting, None)
        if self._idle is not None and not self._waiting and not self._idle.done():
            self._idle.set_result(None)

    def _drop(self, greeting: Greeting) -> None:
        if greeting.transport is not None:
            greeting.transport.abort()
            return
        self._loop.remove_reader(greeting.socket)
        greeting.socket.close()
        self.forget(greeting)

    def _arm(self) -> None:
        if self._timer is None and self._waiting:
            self._timer = self._loop.call_at(next(iter(self._waiting)).deadline, self._late)

    def _late(self) -> None:
        """Give up who has waited for too long."""
        self._timer = None
        now = self._loop.time()
        for greeting in list(self._waiting):
            if greeting.deadline > now:
                break
            peer, timeout = greeting.peer[0], self._server.stream_config.login_timeout
            if greeting.transport is None:
                log.info("connection from %s: nothing was sent in %g s", peer, timeout, extra=fields(peer=peer))
            elif not greeting.failed:
                log.info("TLS with %s failed: it took longer than %g s", peer, timeout, extra=fields(peer=peer))
            self._drop(greeting)
        self._arm()
