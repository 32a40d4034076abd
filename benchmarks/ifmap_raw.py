"""A MAP server under measurement, and clients that cost next to nothing: requests are bytes made beforehand, answers
are looked into by substring."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ifmap.server.passwords import hash_password
from lab import toml
from lab.daemon import Daemon
from lab.pki import Authority
from lab.raw_http import RawHttp
from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError

ADDRESS = "127.0.0.1"
PASSWORD = "for-measuring"
HASH_COST = 4
"""2**4: the cost of logins isn't what is measured here."""
START = 120.0
"""Seconds that a server may take to load its store."""
STOP = 60.0
SILENCE = 300.0
"""Seconds that an answer may take."""
NAMESPACE = "urn:vrfwire:bench"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    f'xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" xmlns:b="{NAMESPACE}"><s:Body>'
)
_TAIL = "</s:Body></s:Envelope>"
_SESSION = re.compile(rb'session-id="([^"]+)"')
_PUBLISHER = re.compile(rb'ifmap-publisher-id="([^"]+)"')


class Server:
    """`vrfwire-map serve` on a port of the loopback, with a store in its directory. clients: how many may log in."""

    def __init__(self, directory: Path, clients: int, url: str | None = None) -> None:
        authority = Authority(directory / "pki")
        credentials = authority.issue("map", "map", addresses=[ADDRESS])
        self.ca = credentials.ca
        self.port = _free_port()
        self.socket = directory / "map.sock"
        hashed = hash_password(PASSWORD, HASH_COST).text
        settings = {
            "map": {"listen": [f"{ADDRESS}:{self.port}"], "max_logins": 4096},
            "tls": {"certificate": str(credentials.certificate), "key": str(credentials.key)},
            "store": {"url": url or f"sqlite:///{directory / 'map.db'}"},
            "control": {"socket": str(self.socket)},
            "client": [{"name": f"c{n}", "password_hash": hashed, "purge_others": True} for n in range(clients)],
            "log": {"level": "warning"},
        }
        config = directory / "map.toml"
        config.write_text(toml.dumps(settings))
        argv = [str(Path(sys.executable).parent / "vrfwire-map"), "serve", "--config", str(config)]
        self._daemon = Daemon("vrfwire-map", argv, None, directory / "log", self._answers, prepare=die_with_parent)

    def _answers(self) -> bool:
        try:
            with ControlClient(str(self.socket)) as client:
                client.call("version", timeout=5.0)
        except OperatorError:
            return False
        return True

    def start(self) -> float:
        """Start it; returns the seconds until it served. Raises LabError."""
        began = time.monotonic()
        self._daemon.launch()
        self._daemon.wait_ready(START)
        return time.monotonic() - began

    def stop(self) -> None:
        """End it, if it runs."""
        self._daemon.stop(STOP)

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._daemon.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


class Channel:
    """One connection of a client."""

    def __init__(self, server: Server, client: str) -> None:
        tls = ssl.create_default_context(cafile=str(server.ca))
        self._http = RawHttp(ADDRESS, server.port, tls, ADDRESS, SILENCE)
        self._login = base64.b64encode(f"{client}:{PASSWORD}".encode()).decode()

    def prepared(self, body: bytes) -> bytes:
        """A whole HTTP request."""
        head = (
            f"POST / HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization: Basic {self._login}\r\n"
            f"Content-Type: application/soap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send(self, request: bytes) -> None:
        self._http.send(request)

    def receive(self) -> bytes:
        """The body of the next answer. Raises OperatorError for an error."""
        answer = self._http.answer()
        if answer.status != 200 or b"<errorResult" in answer.body[:1000]:
            raise OperatorError("vrfwire-map", f"answered {answer.status} {answer.body[:600]!r}")
        return answer.body

    def ask(self, request: bytes) -> bytes:
        """send() and receive()."""
        self.send(request)
        return self.receive()

    def close(self) -> None:
        self._http.close()


class Client:
    """A session: its channel for requests, and one for polls when it is needed."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.requests = Channel(server, name)
        self._polls: Channel | None = None
        answer = self.requests.ask(self.requests.prepared(body('<m:newSession max-poll-result-size="1000000000"/>')))
        session, publisher = _SESSION.search(answer), _PUBLISHER.search(answer)
        if session is None or publisher is None:
            raise OperatorError("vrfwire-map", f"answered {answer[:300]!r}")
        self.session = session[1].decode()
        self.publisher = publisher[1].decode()

    @property
    def polls(self) -> Channel:
        """The channel for polls."""
        if self._polls is None:
            self._polls = Channel(self._server, self._name)
        return self._polls

    def request(self, operation: str, inner: str = "", attributes: str = "") -> bytes:
        """A request of this session, ready to be sent."""
        text = f'<m:{operation} session-id="{self.session}"{attributes}>{inner}</m:{operation}>'
        return self.requests.prepared(body(text))

    def publish(self, nodes: Iterable[Node], lifetime: str = "forever") -> bytes:
        """A publish of all that belongs to the nodes: two metadata each."""
        return self.request("publish", "".join(node.update(lifetime) for node in nodes))

    def delete(self, nodes: Iterable[Node]) -> bytes:
        """The contrary."""
        return self.request("publish", "".join(node.delete() for node in nodes))

    def subscribe(self, start: str = "root", depth: int = 255) -> bytes:
        """A subscription of the whole graph, or of one node's surroundings."""
        sizes = 'max-size="1000000000"'
        return self.request("subscribe", f'<update name="s" max-depth="{depth}" {sizes}>{identity(start)}</update>')

    def poll(self) -> bytes:
        return self.request("poll")

    def purge(self) -> bytes:
        """Of all that it has published."""
        return self.request("purgePublisher", attributes=f' ifmap-publisher-id="{self.publisher}"')

    def close(self) -> None:
        self.requests.close()
        if self._polls is not None:
            self._polls.close()


def body(text: str) -> bytes:
    return f"{_HEAD}{text}{_TAIL}".encode()


def identity(name: str) -> str:
    """An identifier of the measured graph."""
    return f'<identity name="{name}" type="other" other-type-definition="32473:bench"/>'


@dataclass(frozen=True, slots=True)
class Node:
    """A spoke of the measured graph: a property on an identifier, and a link with the common root."""

    name: str
    value: int = 0

    def update(self, lifetime: str) -> str:
        own = identity(self.name)
        return (
            f'<update lifetime="{lifetime}">{own}<metadata><b:property ifmap-cardinality="singleValue">'
            f"<value>{self.value}</value></b:property></metadata></update>"
            f'<update lifetime="{lifetime}">{identity("root")}{own}<metadata>'
            '<b:member ifmap-cardinality="singleValue"/></metadata></update>'
        )

    def delete(self) -> str:
        own = identity(self.name)
        return f"<delete>{own}</delete><delete>{identity('root')}{own}</delete>"


METADATA = 2
"""Of one node."""


def nodes(prefix: str, count: int) -> Iterator[Node]:
    """That many nodes."""
    return (Node(f"{prefix}-{number}", number) for number in range(count))
