"""A MAP server under measurement, and clients that cost next to nothing: requests are bytes made beforehand, answers
are looked into by substring."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ifmap.server.passwords import hash_password
from lab import toml
from lab.pki import Authority
from runtime.client import ControlClient
from runtime.errors import OperatorError

ADDRESS = "127.0.0.1"
PASSWORD = "for-measuring"
HASH_COST = 4
"""2**4: the cost of logins isn't what is measured here."""
START = 120.0
"""Seconds that a server may take to load its store."""
NAMESPACE = "urn:vrfwire:bench"
_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    f'xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" xmlns:b="{NAMESPACE}"><s:Body>'
)
_TAIL = "</s:Body></s:Envelope>"
_SESSION = re.compile(rb'session-id="([^"]+)"')
_PUBLISHER = re.compile(rb'ifmap-publisher-id="([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


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
        self._config = directory / "map.toml"
        self._config.write_text(toml.dumps(settings))
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; returns the seconds until it served. Raises OperatorError."""
        began = time.monotonic()
        command = [str(Path(sys.executable).parent / "vrfwire-map"), "serve", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while True:
            try:
                with ControlClient(str(self.socket)) as client:
                    client.call("version", timeout=5.0)
                return time.monotonic() - began
            except OperatorError:
                if self._process.poll() is not None or time.monotonic() - began > START:
                    raise OperatorError("vrfwire-map", f"doesn't serve: {self._log.read_text()[-2000:]}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    @property
    def memory(self) -> float:
        """Resident memory, MiB."""
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

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
        context = ssl.create_default_context(cafile=str(server.ca))
        plain = socket.create_connection((ADDRESS, server.port), timeout=300)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname=ADDRESS)
        self._login = base64.b64encode(f"{client}:{PASSWORD}".encode()).decode()

    def prepared(self, body: bytes) -> bytes:
        """A whole HTTP request."""
        head = (
            f"POST / HTTP/1.1\r\nHost: {ADDRESS}\r\nAuthorization: Basic {self._login}\r\n"
            f"Content-Type: application/soap+xml\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def receive(self) -> bytes:
        """The body of the next answer. Raises OperatorError for an error."""
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._read()
        found = _LENGTH.search(data, 0, end + 2)
        if not data.startswith(b"HTTP/1.1 200") or found is None:
            raise OperatorError("vrfwire-map", f"answered {bytes(data[:200])!r}")
        total = end + 4 + int(found[1])
        parts, size = [bytes(data)], len(data)
        while size < total:
            parts.append(self._read())
            size += len(parts[-1])
        body = b"".join(parts)[end + 4 :]
        if b"<errorResult" in body[:1000]:
            raise OperatorError("vrfwire-map", f"answered {body[:600]!r}")
        return body

    def ask(self, request: bytes) -> bytes:
        """send() and receive()."""
        self.send(request)
        return self.receive()

    def _read(self) -> bytes:
        data = self._socket.recv(1 << 20)
        if not data:
            raise OperatorError("vrfwire-map", "closed the connection")
        return data

    def close(self) -> None:
        self._socket.close()


class Client:
    """A session: its channel for requests, and one for polls when it is needed."""

    def __init__(self, server: Server, name: str) -> None:
        self._server = server
        self._name = name
        self.requests = Channel(server, name)
        self._polls: Channel | None = None
        answer = self.requests.ask(self.requests.prepared(_body('<m:newSession max-poll-result-size="1000000000"/>')))
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
        return self.requests.prepared(_body(text))

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


def _body(text: str) -> bytes:
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
