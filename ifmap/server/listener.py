"""The listening side: accepts connections, bounds how many there are, keeps them, and gives them their answers."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, ParamSpec, Protocol, TypeVar

from ifmap.errors import IfmapError
from ifmap.server.auth import Authenticator
from ifmap.server.certificate import Shown
from ifmap.server.connection import Connection
from ifmap.server.failures import site
from ifmap.server.http import Response
from ifmap.service import Output
from ifmap.values import Request
from runtime.acceptor import Acceptor
from runtime.listen import Listen
from runtime.log import fields
from runtime.tcp import acknowledge, watch_peer
from runtime.tls import handshake_failure, limit_read_buffers

log = logging.getLogger("vrfwire.map.listener")

P = ParamSpec("P")
T = TypeVar("T")

TLS_BUFFER = 64 * 1024
SHUTDOWN_TIME = 3.0
"""Seconds that clients have to take what they are told at the end."""
TLS_SHUTDOWN_TIME = 1.0
"""Seconds that a client has to close its side, too."""
LARGE = 1 << 20
MAX_UNSENT = 2 << 30
"""Bytes of answers that may wait to be read, of all clients together."""
THREADS = 2
"""Large bodies read or packed at a time."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds.

    max_request: body, packed and unpacked. max_connections: at a time; max_logins: those of one address that haven't
    proved who they are. login_time: for that, and for the head of any request; request_time: for a body.
    """

    max_request: int = 64 << 20
    max_connections: int = 4_096
    max_logins: int = 64
    login_time: float = 10.0
    request_time: float = 60.0


class Backend(Protocol):
    """What stands behind the connections."""

    def read(self, body: bytes) -> Request | IfmapError:
        """Read a body; may be called in any thread."""
        ...

    def request(self, channel: int, client: str, request: bytes | Request | IfmapError, peer: str) -> None:
        """A request of a client; its answer comes by Listener.deliver."""
        ...

    def closed(self, channel: int) -> None:
        """A connection is gone."""
        ...

    def health(self) -> Response:
        """The answer to GET /health."""
        ...


class Listener:
    """Connections around one backend. Use it within one event loop."""

    def __init__(self, backend: Backend, authenticator: Authenticator, tls: ssl.SSLContext, limits: HttpLimits) -> None:
        self.backend = backend
        self.authenticator = authenticator
        self.tls = tls
        """For connections from now on."""
        self.believed: Callable[[Shown, str], Shown] = lambda shown, peer: shown
        """What a client at an address has shown, as far as it counts."""
        self.limits = limits
        self.connections: dict[int, Connection] = {}
        self.counters: Counter[str] = Counter()
        self._logins: Counter[str] = Counter()
        self._number = 0
        self._in_handshake: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._acceptor = Acceptor(self._accepted, log)
        self._greetings: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="map-http")
        self._date = (0, "")
        self._stopped = asyncio.Event()
        limit_read_buffers(TLS_BUFFER)

    # -- life

    @property
    def bound(self) -> list[Listen]:
        """Where it listens, with the ports that were chosen for port 0."""
        return self._acceptor.bound

    def listen(self, addresses: Sequence[Listen]) -> None:
        """Start to listen. Raises OperatorError."""
        self._acceptor.listen(addresses)

    def stop_listening(self) -> None:
        """Accept nothing more."""
        self._acceptor.close()

    async def stop(self) -> None:
        """Close every connection, once it has what was answered or SHUTDOWN_TIME is over."""
        self.stop_listening()
        for task in self._greetings:
            task.cancel()
        for connection in tuple(self.connections.values()):
            connection.close()
        await self._emptied(SHUTDOWN_TIME)
        for connection in tuple(self.connections.values()):
            connection.abort()
        if self._greetings:
            await asyncio.wait(self._greetings)
        # An aborted transport says so in the next turn of the loop.
        await self._emptied(SHUTDOWN_TIME)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _emptied(self, longest: float) -> None:
        self._stopped.clear()
        if self.connections:
            try:
                async with asyncio.timeout(longest):
                    await self._stopped.wait()
            except TimeoutError:
                log.debug("%d connections aren't closed yet", len(self.connections))

    # -- accepting

    def _accepted(self, accepted: socket.socket, address: Any) -> None:
        peer = str(ipaddress.ip_address(address[0].partition("%")[0]))
        if why := self._full(peer):
            self.counters["refused"] += 1
            log.warning("connection from %s refused: %s", peer, why, extra=fields(peer=peer))
            accepted.close()
            return
        self._logins[site(peer)] += 1
        task = self._loop.create_task(self._greet(accepted, peer))
        self._greetings.add(task)
        task.add_done_callback(self._greetings.discard)

    def _full(self, peer: str) -> str:
        if len(self.connections) + len(self._greetings) >= self.limits.max_connections:
            return f"{self.limits.max_connections} connections are the most (map.max_connections)"
        if self._logins[site(peer)] >= self.limits.max_logins:
            return f"{self.limits.max_logins} connections without login are the most of an address (map.max_logins)"
        most = (self.limits.max_connections + 1) // 2
        if self._logins.total() >= most:
            return f"{most} connections without login are the most: half of map.max_connections"
        return ""

    async def _greet(self, accepted: socket.socket, peer: str) -> None:
        """Give the socket to asyncio, and wait for the TLS handshake."""
        self._number += 1
        self.counters["connections"] += 1
        connection = Connection(self, self._number, peer)
        self._in_handshake.add(self._number)
        try:
            watch_peer(accepted)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # From here on the socket is asyncio's to close.
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self.tls,
                ssl_handshake_timeout=self.limits.login_time,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIME,
            )
            acknowledge(transport.get_extra_info("socket"))
        except OSError as error:
            log.info("TLS with %s failed: %s", peer, handshake_failure(error), extra=fields(peer=peer))
            self.counters["tls_failures"] += 1
            accepted.close()
        except BaseException:
            accepted.close()
            raise
        finally:
            # It may have been opened, and be gone again, before this comes to know.
            if connection.number in self._in_handshake:
                self._in_handshake.remove(connection.number)
                self._logged_in(peer)

    def _logged_in(self, peer: str) -> None:
        origin = site(peer)
        self._logins[origin] -= 1
        if not self._logins[origin]:
            del self._logins[origin]

    # -- for connections

    def opened(self, connection: Connection) -> None:
        """A connection has done its handshake."""
        self._in_handshake.discard(connection.number)
        self.connections[connection.number] = connection

    def admitted(self, connection: Connection) -> None:
        """A connection has proved who it is, for the first time."""
        self._logged_in(connection.peer)

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        del self.connections[connection.number]
        if connection.client is None:
            self._logged_in(connection.peer)
        else:
            self.backend.closed(connection.number)
        if not self.connections:
            self._stopped.set()

    def date(self) -> str:
        """Now, as HTTP writes it."""
        second = int(self._loop.time())
        if second != self._date[0]:
            self._date = (second, formatdate(usegmt=True))
        return self._date[1]

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Compute something that takes long."""
        return await self._loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    # -- for the backend

    def deliver(self, output: Output) -> None:
        """An answer for a connection; one that is gone gets none."""
        connection = self.connections.get(output.channel)
        if connection is not None:
            connection.answer(output.body, output.close)
            if len(output.body) > LARGE:
                self._relieve()

    def _relieve(self) -> None:
        """Drops who reads slowest, when too much waits to be read."""
        waiting = {connection: connection.outgoing.unsent for connection in self.connections.values()}
        total = sum(waiting.values())
        while total > MAX_UNSENT:
            slowest = max(waiting, key=waiting.__getitem__)
            total -= waiting.pop(slowest)
            log.warning(
                "%s is dropped: more than %d bytes of answers wait to be read, most of them by it",
                *(slowest.peer, MAX_UNSENT),
                extra=fields(peer=slowest.peer),
            )
            self.counters["stalled"] += 1
            slowest.abort()
