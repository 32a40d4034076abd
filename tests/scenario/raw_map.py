"""A MAP client made of a socket: sends any bytes, and reads answers as they are. No HTTP and no SOAP library."""

from __future__ import annotations

import re
import ssl
from base64 import b64encode
from dataclasses import dataclass

from lab.pki import Credentials
from lab.raw_http import HttpAnswer, RawHttp
from tests.scenario.daemon_process import DEADLINE
from tests.scenario.map_process import NAME, PASSWORD

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
SOAP = "http://www.w3.org/2003/05/soap-envelope"
BASE = "http://www.trustedcomputinggroup.org/2010/IFMAP/2"
_NEAR = ' max-depth="1" max-size="50000000"'
META = "http://www.trustedcomputinggroup.org/2010/IFMAP-METADATA/2"


def context(ca: str, credentials: Credentials | None = None) -> ssl.SSLContext:
    """TLS of a client; without credentials it shows no certificate."""
    made = ssl.create_default_context(cafile=ca)
    if credentials is not None:
        made.load_cert_chain(credentials.certificate, credentials.key)
    return made


def basic(user: str, password: str = PASSWORD) -> str:
    """The field for a user."""
    return "Authorization: Basic " + b64encode(f"{user}:{password}".encode()).decode()


def envelope(operation: str, declarations: str = "") -> bytes:
    """A request of IF-MAP."""
    return (
        f'{DECLARATION}\n<s:Envelope xmlns:s="{SOAP}" xmlns:m="{BASE}" xmlns:meta="{META}" xmlns:x="urn:example:x"'
        f"{declarations}><s:Body>{operation}</s:Body></s:Envelope>"
    ).encode()


class Refused(Exception):
    """An errorResult."""


@dataclass(frozen=True, slots=True)
class Answer(HttpAnswer):
    """An HTTP answer."""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def error(self) -> str:
        """errorCode of an errorResult, "" if it is something else."""
        match = re.search(r'<errorResult[^>]* ?errorCode="(\w+)"', self.text)
        return match[1] if match else ""

    def attribute(self, name: str) -> str:
        """Value of the first attribute of a name, as Contrail's client finds it."""
        match = re.search(rf'{name}="([^"]*)"', self.text)
        assert match is not None, self.text
        return match[1]

    def good(self) -> str:
        """The body as text. Raises Refused when it is an error."""
        if self.status != 200 or self.error:
            raise Refused(f"{self.status} {self.text}")
        return self.text


class RawConnection(RawHttp):
    """One connection."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        super().__init__("127.0.0.1", port, tls, NAME, DEADLINE)

    def answer(self) -> Answer:
        """The next answer."""
        found = super().answer()
        return Answer(found.status, found.head, found.body)

    def post(self, user: str, body: bytes, *fields: str) -> None:
        """Send a request with HTTP basic authentication."""
        lines = ["POST / HTTP/1.1", f"Host: {NAME}", basic(user), *fields, f"Content-Length: {len(body)}"]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def ask(self, user: str, operation: str, *fields: str) -> Answer:
        """Send an operation, and read its answer."""
        self.post(user, envelope(operation), *fields)
        return self.answer()


class RawClient:
    """A client with a session: an SSRC, and an ARC when it polls."""

    def __init__(self, port: int, tls: ssl.SSLContext, user: str) -> None:
        self.port = port
        self.tls = tls
        self.user = user
        self.ssrc = RawConnection(port, tls)
        self.connections = [self.ssrc]
        self.session = ""
        self.publisher = ""
        self._arc: RawConnection | None = None

    def close(self) -> None:
        """End its connections."""
        for connection in self.connections:
            connection.close()

    def connect(self) -> RawConnection:
        """One more connection."""
        connection = RawConnection(self.port, self.tls)
        self.connections.append(connection)
        return connection

    @property
    def arc(self) -> RawConnection:
        """The connection of its polls."""
        if self._arc is None:
            self._arc = self.connect()
        return self._arc

    def begin(self, attributes: str = "") -> Answer:
        """newSession."""
        answer = self.ssrc.ask(self.user, f"<m:newSession{attributes}/>")
        self.session = answer.attribute("session-id")
        self.publisher = answer.attribute("ifmap-publisher-id")
        return answer

    def ask(self, name: str, content: str = "", attributes: str = "") -> Answer:
        """An operation on the SSRC."""
        return self.ssrc.ask(self.user, self.operation(name, content, attributes))

    def operation(self, name: str, content: str = "", attributes: str = "") -> str:
        """An operation of its session."""
        return f'<m:{name} session-id="{self.session}"{attributes}>{content}</m:{name}>'

    def publish(self, content: str) -> Answer:
        """publish."""
        return self.ask("publish", content)

    def search(self, identifier: str, attributes: str = "") -> Answer:
        """search."""
        return self.ask("search", identifier, attributes)

    def subscribe(self, name: str, identifier: str, attributes: str = "") -> Answer:
        """subscribe."""
        return self.ask("subscribe", f'<update name="{name}"{attributes}>{identifier}</update>')

    def begin_poll(self) -> None:
        """Send a poll on the ARC."""
        self.arc.post(self.user, envelope(self.operation("poll")))

    def poll(self) -> Answer:
        """poll, and its answer."""
        self.begin_poll()
        return self.arc.answer()


class User(RawClient):
    """A client that has begun its session and wants its operations to succeed: they raise Refused if not. It looks at
    devices and at what is on their links."""

    def __init__(self, port: int, tls: ssl.SSLContext, user: str) -> None:
        super().__init__(port, tls, user)
        try:
            self.begin().good()
        except BaseException:
            self.close()
            raise

    def ask(self, name: str, content: str = "", attributes: str = "") -> Answer:
        """An operation on the SSRC."""
        answer = super().ask(name, content, attributes)
        answer.good()
        return answer

    def poll(self) -> Answer:
        """poll, and its answer."""
        answer = super().poll()
        answer.good()
        return answer

    def values(self, name: str, local: str = "state") -> list[str]:
        """The texts of metadata of one type at a device."""
        found = self.search(device(name), _NEAR).text
        return re.findall(rf"<x:{local} [^>]*>(.*?)</x:{local}>", found)

    def follow(self, name: str) -> None:
        """Subscribe to a device; takes the first result."""
        self.subscribe("it", device(name), _NEAR)
        assert "<searchResult" in self.poll().text


def device(name: str) -> str:
    """A device."""
    return f"<device><name>{name}</name></device>"


def update(identifiers: str, metadata: str, lifetime: str = "session") -> str:
    """An <update>."""
    return f'<update lifetime="{lifetime}">{identifiers}<metadata>{metadata}</metadata></update>'


def delete(identifiers: str, filter: str = "") -> str:
    """A <delete>. filter: names; everything without."""
    attribute = f' filter="{filter}"' if filter else ""
    return f"<delete{attribute}>{identifiers}</delete>"


def single(text: str, name: str = "state") -> str:
    """A singleValue metadatum."""
    return f'<x:{name} ifmap-cardinality="singleValue">{text}</x:{name}>'


def multi(text: str, name: str = "event") -> str:
    """A multiValue metadatum."""
    return f'<x:{name} ifmap-cardinality="multiValue">{text}</x:{name}>'
