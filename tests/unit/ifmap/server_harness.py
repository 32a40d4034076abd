"""Connections of a listener without sockets: a transport that remembers, a backend that answers when it is told to."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools

from ifmap.errors import IfmapError
from ifmap.server.auth import Authenticator, Clients
from ifmap.server.connection import Connection
from ifmap.server.http import Response
from ifmap.server.listener import HttpLimits, Listener
from ifmap.server.passwords import hash_password
from ifmap.service import Output
from ifmap.values import Poll, Request
from runtime.tls import server_context

DEADLINE = 10.0
PASSWORDS = {"ann": hash_password("pass:word", 4)}
AUTHORIZATION = b"Authorization: Basic " + b64encode(b"ann:pass:word") + b"\r\n"


class FakeTransport(asyncio.Transport):
    """Takes everything, or nothing while `full`."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.reading = True
        self.closed = False
        self.full = False
        self.protocol: Connection | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data
        if self.full and self.protocol is not None:
            self.full = False
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol is not None
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


class FakeBackend:
    """Remembers requests; answers at once by `answers`, else when deliver() is called."""

    def __init__(self) -> None:
        self.listener: Listener
        self.requests: list[tuple[int, str, bytes | Request | IfmapError]] = []
        self.answers: Callable[[bytes | Request | IfmapError], bytes | None] = lambda request: b"answer"
        self.gone: list[int] = []
        self.sound = True

    def read(self, body: bytes) -> Request | IfmapError:
        return Poll(f"{len(body)} bytes")

    def request(self, channel: int, client: str, request: bytes | Request | IfmapError, peer: str) -> None:
        self.requests.append((channel, client, request))
        answer = self.answers(request)
        if answer is not None:
            self.deliver(channel, answer)

    def deliver(self, channel: int, body: bytes, close: bool = False) -> None:
        self.listener.deliver(Output(channel, body, close))

    def closed(self, channel: int) -> None:
        self.gone.append(channel)

    def health(self) -> Response:
        return Response(200 if self.sound else 503, b"{}", "application/json")


class Answers:
    """Answers in a stream of bytes."""

    def __init__(self, data: bytes) -> None:
        self.found: list[tuple[int, bytes, bool]] = []
        self.fields: dict[str, str] = {}
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""
        self.fields = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.decode()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.found.append((self._parser.get_status_code(), self._body, self._parser.should_keep_alive()))


class World:
    """A listener with connections. Use it within one event loop."""

    def __init__(self, limits: HttpLimits = HttpLimits()) -> None:  # noqa: B008
        self.backend = FakeBackend()
        self.authenticator = Authenticator(Clients(frozenset(PASSWORDS), PASSWORDS, {"cn": "ann"}))
        self.listener = Listener(self.backend, self.authenticator, cast(Any, server_context), limits)
        self.backend.listener = self.listener
        self._numbers = iter(range(1, 1000))

    def connect(self) -> tuple[Connection, FakeTransport]:
        """A new connection."""
        connection = Connection(self.listener, next(self._numbers), "192.0.2.1")
        self.listener._logins["192.0.2.1"] += 1
        transport = FakeTransport()
        transport.protocol = connection
        connection.connection_made(transport)
        return connection, transport

    def close(self) -> None:
        """End its threads."""
        self.authenticator.close()
        self.listener._threads.shutdown(wait=True)


def post(body: bytes = b"x", fields: bytes = b"", login: bool = True) -> bytes:
    """A request."""
    authorization = AUTHORIZATION if login else b""
    return b"POST / HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s" % (authorization, fields, len(body), body)


def answers(transport: FakeTransport) -> list[tuple[int, bytes]]:
    """What was answered: status and body."""
    return [(status, body) for status, body, _ in Answers(bytes(transport.sent)).found]


async def until(condition: Callable[[], object], what: str = "a condition") -> None:
    """Return when it is true; fails at the deadline."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 (any condition)
            await asyncio.sleep(0.002)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """In an event loop of its own."""
    asyncio.run(scenario)
