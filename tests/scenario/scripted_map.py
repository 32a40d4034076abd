"""A MAP server for tests of the client: what it answers is written out here or in a test, byte by byte.

It keeps no graph. Sessions and polls work; a test says what a poll gets (`results`), and takes over any operation
(`answer`) to misbehave.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from ifmap.answers import ReceivedPart
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from ifmap.errors import IfmapError
from lab.pki import Credentials

DEADLINE = 20.0
"""Seconds until a condition has to hold; far more than it takes."""

_OPERATION = re.compile(
    rb"<(?:\w+:)?(newSession|renewSession|endSession|publish|search|subscribe|poll|purgePublisher)\b"
)
_NAMES = re.compile(rb'<update\b[^>]*\bname="([^"]*)"')


def envelope(inner: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2"><s:Body>'
        f"<m:response>{inner}</m:response></s:Body></s:Envelope>"
    ).encode()


def error(code: str, text: str = "because") -> bytes:
    return envelope(f'<errorResult errorCode="{code}"><errorString>{text}</errorString></errorResult>')


def item(device: str, *values: str) -> str:
    """A resultItem of a device with singleValue metadata of types v1, v2, ..."""
    metadata = "".join(
        f'<x:{value} xmlns:x="urn:example:x" ifmap-cardinality="singleValue" ifmap-publisher-id="p" '
        f'ifmap-timestamp="2026-01-05T10:11:12+00:00"/>'
        for value in values
    )
    metadata = metadata and f"<metadata>{metadata}</metadata>"
    return f"<resultItem><device><name>{device}</name></device>{metadata}</resultItem>"


def result(kind: str, name: str, *items: str) -> str:
    return f'<{kind} name="{name}">{"".join(items)}</{kind}>'


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Call:
    """A request that came. connection: number of the connection; user: of its Authorization header, with password."""

    operation: str
    body: bytes
    connection: int
    user: str
    certificate: str
    writer: asyncio.StreamWriter


Answer = Callable[[Call], Awaitable[bytes | None]]
"""Makes the whole HTTP answer; None: none, and the connection is closed."""


@dataclass
class ScriptedMap:
    """One server. calls: all that came. answer: takes over an operation, by name."""

    calls: list[Call] = field(default_factory=list)
    answer: dict[str, Answer] = field(default_factory=dict)
    results: deque[str] = field(default_factory=deque)
    """What polls get, one after the other."""
    port: int = 0
    sessions: int = 0
    connections: int = 0
    server: asyncio.Server | None = None
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, credentials: Credentials, port: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(credentials.certificate, credentials.key)
        context.load_verify_locations(credentials.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=context)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything, as a server that is killed."""
        assert self.server is not None
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        await self.server.wait_closed()
        await until(lambda: not self.writers, "the connections' end")

    def asked(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    def names(self) -> list[str]:
        """Names in the subscribe requests that came."""
        return [name.decode() for call in self.asked("subscribe") for name in _NAMES.findall(call.body)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length, head
                body = await reader.readexactly(int(length[1]))
                found = _OPERATION.search(body)
                assert found, body
                login = re.search(rb"Authorization: Basic (\S+)", head)
                peer: Any = writer.get_extra_info("peercert")
                certificate = dict(pair for (pair,) in peer["subject"])["commonName"] if peer else ""
                user = base64.b64decode(login[1]).decode() if login else ""
                call = Call(found[1].decode(), body, connection, user, certificate, writer)
                self.calls.append(call)
                answer = await self.answer.get(call.operation, self.ordinary)(call)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            writer.transport.abort()
            self.writers.discard(writer)

    async def ordinary(self, call: Call) -> bytes | None:
        """What a server in good order answers."""
        match call.operation:
            case "newSession":
                self.sessions += 1
                size = ' max-poll-result-size="5000000"' if b"max-poll-result-size" in call.body else ""
                names = f'session-id="s{self.sessions}" ifmap-publisher-id="p1"{size}'
                return http(envelope(f"<newSessionResult {names}/>"))
            case "poll":
                return await self._next_result(call)
            case "search":
                return http(envelope(f"<searchResult>{item('root')}</searchResult>"))
            case "renewSession" | "endSession":
                return http(envelope(f"<{call.operation}Result/>"))
            case _:
                return http(envelope(f"<{call.operation}Received/>"))

    async def _next_result(self, call: Call) -> bytes | None:
        await until(lambda: self.results or call.writer.is_closing(), "a result", 10 * DEADLINE)
        # Results that nobody reads any more are for the next session.
        return None if call.writer.is_closing() else http(envelope(self.results.popleft()))

    def tell(self, *parts: str) -> None:
        """Answer a poll with these."""
        self.results.append(f"<pollResult>{''.join(parts)}</pollResult>")


def always(data: bytes | None) -> Answer:
    """Answers the same each time."""

    async def answer(_: Call) -> bytes | None:
        return data

    return answer


async def until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Wait for a condition; fails at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while not condition():
        assert loop.time() < end, f"timed out waiting for {what}"
        await asyncio.sleep(0.002)


class Log:
    """A listener that remembers: ("started", session), ("searchResult", name, devices), ("lost", why), ..."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def session_started(self, session_id: str, publisher_id: str) -> None:
        self.events.append(("started", session_id))

    def result(self, part: ReceivedPart) -> None:
        self.events.append((str(part.kind), part.name, [item.edge.first.name for item in part.items]))

    def subscription_refused(self, name: str, error: IfmapError) -> None:
        self.events.append(("refused", name, str(error.code)))

    def session_lost(self, reason: str) -> None:
        self.events.append(("lost", reason))

    def all(self, kind: str) -> list[tuple[Any, ...]]:
        return [event for event in self.events if event[0] == kind]

    async def wait(self, kind: str, count: int = 1) -> tuple[Any, ...]:
        """The count-th event of a kind."""
        await until(lambda: len(self.all(kind)) >= count, f"{kind} number {count}; there are {self.events}")
        return self.all(kind)[count - 1]


def settings(*ports: int, credentials: Credentials, **changes: Any) -> ClientSettings:
    """Quick ones. ports: of servers on this machine."""
    values: dict[str, Any] = {
        "ca": credentials.ca,
        "user": "gw1",
        "password": "pass:word",
        "retry_min": 0.01,
        "retry_max": 0.05,
        "answer_timeout": DEADLINE,
    }
    return ClientSettings(tuple(Endpoint("127.0.0.1", port) for port in ports), **(values | changes))
