"""From an accepted socket to a connection: who speaks TLS at once, and who with STARTTLS.

Direct TLS and STARTTLS share a port: the first byte of a TLS connection is 0x16 (a handshake record; RFC 8446, section
5.1), which no XML begins with. It is peeked at and stays in the socket.

    accepted --first byte--> its turn --> 0x16: handshake --> Connection
                                          else: Connection, which offers STARTTLS

Who is served when, and who has to go, is decided in gateway/arrivals.py: a storm of logins waits here, its first bytes
unread. Until it is a connection, a socket costs a few hundred bytes and no timer of its own.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from typing import TYPE_CHECKING

from gateway.arrivals import GRACE
from gateway.connection import Connection
from gateway.guard import Reason
from runtime.log import fields
from runtime.socket_transport import SocketTransport
from runtime.tls import handshake_failure
from runtime.tls_engine import Buffers
from xmpp.errors import StreamCondition

if TYPE_CHECKING:
    from gateway.server import Server

log = logging.getLogger("vrfwire.gateway.server")

TLS_HANDSHAKE = b"\x16"
UNSENT = 128 * 1024
"""Bytes that the kernel keeps for a host that reads slowly: what it hasn't been sent can still be replaced by newer."""
STARTS_A_TURN = 4
"""Logins begun before the loop looks at its sockets again: a handshake takes half a millisecond, and sessions go on."""
LOOKS_A_TURN = 64
"""Connections looked at for that: those that have gone cost little."""


class Greeting(asyncio.Protocol):
    """A connection until it is a session. came, served: when it was accepted, and its turn came, by the clock of the
    loop; deadline: when its handshake is given up."""

    __slots__ = ("_greeter", "came", "connection", "deadline", "peer", "served", "socket", "transport")

    def __init__(self, greeter: Greeter, accepted: socket.socket, peer: tuple[str, int]) -> None:
        self._greeter = greeter
        self.socket = accepted
        self.peer = peer
        self.came = greeter.now()
        self.served = self.deadline = 0.0
        self.transport: SocketTransport | None = None
        """Once it is served."""
        self.connection: Connection | None = None
        """Once it has spoken XML or TLS is in place."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone before there was a connection."""
        self._greeter.forget(self)


class Greeter:
    """Greets for a server. Use it within one event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._guard = server.guard
        self._arrivals = server.guard.arrivals
        self._loop = asyncio.get_running_loop()
        self._buffers = Buffers()
        self._waiting: dict[Greeting, None] = {}
        self._shaking: dict[Greeting, None] = {}
        """Those served, oldest first."""
        self._serving: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Sockets that are no connections yet."""
        return len(self._waiting)

    def now(self) -> float:
        """The time of the loop."""
        return self._loop.time()

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
        greeting = Greeting(self, connection, peer)
        self._waiting[greeting] = None
        self._arrivals.arrived(greeting, peer[0], self._loop.time())
        self._loop.add_reader(connection.fileno(), self._spoken, greeting)
        self._arm()

    def make_room(self, peer: tuple[str, int]) -> bool:
        """There are too many connections for one more of this peer: drop one of a crowd. Whether there was one."""
        greeting = self._arrivals.crowded_out(peer[0])
        if greeting is not None:
            self._dismiss(greeting, Reason.CROWDED, "there are too many connections")
        return greeting is not None

    def settled(self, greeting: Greeting) -> bool:
        """A connection has become a session, or ended. Whether it was still wanted until now."""
        wanted = self._arrivals.done(greeting)
        if wanted and self._arrivals.waiting:
            self._serve()
        return wanted

    async def close(self) -> None:
        """Drop who is no connection yet."""
        for greeting in list(self._waiting):
            self._drop(greeting)
        if self._serving is not None:
            self._serving.cancel()
        if self._waiting:
            # An aborted transport says so in the next turn of the loop.
            self._idle = self._loop.create_future()
            await self._idle
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what comes first

    def _spoken(self, greeting: Greeting) -> None:
        """The first byte is there, or the end: it waits for its turn."""
        self._loop.remove_reader(greeting.socket)
        self._arrivals.spoke(greeting, self._loop.time())
        self._serve()

    def _serve(self) -> None:
        """Begin logins, as many as may be under way; the next ones after others had their turn."""
        if self._serving is None:
            self._serving = self._loop.call_soon(self._serve_some)

    def _serve_some(self) -> None:
        self._serving = None
        begun = 0
        for _ in range(LOOKS_A_TURN):
            greeting = self._arrivals.next(self._loop.time())
            if greeting is None:
                break
            begun += self._begin(greeting)
            if begun == STARTS_A_TURN:
                self._serve()
                break
        else:
            self._serve()
        self._arm()

    def _begin(self, greeting: Greeting) -> bool:
        """Its turn has come. Whether it is still there."""
        peer, now = greeting.peer[0], self._loop.time()
        if _gone(greeting.socket):
            self._guard.told(Reason.GONE, f"connection from {peer}: it has gone", now, peer)
            if now - greeting.came < GRACE:
                self._guard.limiter.failed(peer, now)  # it wasn't kept waiting
            self._drop(greeting)
            return False
        try:
            first = greeting.socket.recv(1, socket.MSG_PEEK)
        except OSError as error:
            log.debug("connection from %s: %s", peer, error, extra=fields(peer=peer))
            self._drop(greeting)
            return False
        greeting.served = now
        greeting.deadline = now + self._server.stream_config.login_timeout
        greeting.transport = SocketTransport(self._loop, greeting.socket, greeting, self._buffers)
        if first == TLS_HANDSHAKE:
            self._shaking[greeting] = None
            greeting.transport.start_tls(self._server.tls, lambda error: self._secured(greeting, error))
        else:
            self._connected(greeting)
        return True

    def _secured(self, greeting: Greeting, error: OSError | None) -> None:
        """A handshake has ended."""
        if error is None:
            self._connected(greeting)
            return
        # What is left is that the peer takes the reason.
        assert greeting.transport is not None
        self._shaking.pop(greeting, None)
        self._loop.call_later(self._server.stream_config.close_timeout, greeting.transport.abort)
        peer = greeting.peer[0]
        message = f"TLS with {peer} failed: {handshake_failure(error)}"
        self._guard.told(Reason.HANDSHAKE, message, self._loop.time(), peer)
        self.settled(greeting)

    def _connected(self, greeting: Greeting) -> None:
        transport = greeting.transport
        assert transport is not None
        self._forget(greeting)
        greeting.connection = Connection(self._server, greeting.peer, greeting)
        transport.set_protocol(greeting.connection)
        transport.start()

    # -- the end

    def forget(self, greeting: Greeting) -> None:
        """It is gone before it was a connection."""
        self._forget(greeting)
        self.settled(greeting)

    def _forget(self, greeting: Greeting) -> None:
        self._waiting.pop(greeting, None)
        self._shaking.pop(greeting, None)
        if self._idle is not None and not self._waiting and not self._idle.done():
            self._idle.set_result(None)

    def _drop(self, greeting: Greeting) -> None:
        if greeting.transport is not None:
            greeting.transport.abort()
            return
        self._loop.remove_reader(greeting.socket)
        greeting.socket.close()
        self.forget(greeting)

    def _dismiss(self, greeting: Greeting, reason: Reason, why: str) -> None:
        """Arrivals has told it to go, and doesn't know it any more."""
        peer = greeting.peer[0]
        self._guard.told(reason, f"connection from {peer} dropped: {why}", self._loop.time(), peer)
        if greeting.connection is not None:
            greeting.connection.close(StreamCondition.POLICY_VIOLATION, why)
        else:
            self._drop(greeting)

    def _arm(self) -> None:
        due = [next(iter(self._shaking)).deadline] if self._shaking else []
        if (look := self._arrivals.timer()) is not None:
            due.append(look)
        if not due:
            return
        if self._timer is not None:
            # One that is too early only looks.
            if self._timer.when() <= min(due):
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(min(due), self._late)

    def _late(self) -> None:
        """Give up who has taken too long, and let others have the places of those who dawdle."""
        self._timer = None
        now = self._loop.time()
        for greeting in list(self._shaking):
            if greeting.deadline > now:
                break
            peer, timeout = greeting.peer[0], self._server.stream_config.login_timeout
            message = f"TLS with {peer} failed: it took longer than {timeout:g} s"
            self._guard.told(Reason.HANDSHAKE, message, now, peer)
            self._drop(greeting)
        for greeting in self._arrivals.silent(now):
            peer, timeout = greeting.peer[0], self._arrivals.settings.silence
            self._guard.told(Reason.SILENT, f"connection from {peer}: nothing was sent in {timeout:g} s", now, peer)
            self._drop(greeting)
        for greeting in self._arrivals.superfluous(now):
            self._dismiss(greeting, Reason.IDLE, "too many connections don't get on with their login")
        self._serve()
        self._arm()


def _gone(connection: socket.socket) -> bool:
    """Whether the peer has closed it, or reset it, whatever is still unread."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(0))
