"""HTTP/1.1 of the server, without I/O: requests from bytes, heads of answers (RFC 9112).

It takes what real IF-MAP clients send: no Host header, any path, content type and SOAPAction. What comes before a body
is told as soon as it is complete, so that a request can be refused before anything of its body is kept.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

import httptools

MAX_HEAD = 32 * 1024
"""Bytes of a request line with its header fields."""
MAX_FIELDS = 100
MAX_SIZE_DIGITS = 18

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
"""Sent when a client waits to be told to send the body."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Head:
    """A request before its body. Fields hold what the server looks at, as it was sent.

    method: as sent, path: of the target, without query. authorization: the field's value, None: none. encoding:
    content coding of the body in lower case, "": none. gzip: whether the answer may be packed. expects: whether the
    client waits for "100 Continue". length: bytes of the body, None when it comes in chunks. keep_alive: whether the
    connection stays open after the answer. old: it is HTTP/1.0.
    """

    method: str = ""
    path: str = ""
    authorization: bytes | None = None
    encoding: str = ""
    gzip: bool = False
    expects: bool = False
    length: int | None = 0
    keep_alive: bool = True
    old: bool = False


class Data(NamedTuple):
    """A part of the body of the request that has begun."""

    data: bytes


class End(NamedTuple):
    """The request that has begun is complete."""


class Broken(NamedTuple):
    """What came can't be read as HTTP or is over a limit; nothing after it will be read. status: of the answer."""

    status: int
    text: str


Event = Head | Data | End | Broken


class RequestReader:
    """Cuts the bytes of a connection into requests."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[Event] = []
        self._head = Head()
        self._target = bytearray()
        self._size = 0
        self._fields = 0
        self._quiet = 0
        """Bytes without any progress."""
        self._progress = False
        self._in_head = False
        self._in_body = False
        self._broken: Broken | None = None

    @property
    def in_head(self) -> bool:
        """Whether a request has begun whose head isn't complete."""
        return self._in_head

    @property
    def in_body(self) -> bool:
        """Whether a request's head is complete and its body isn't."""
        return self._in_body

    @property
    def broken(self) -> bool:
        """Whether nothing more will be read."""
        return self._broken is not None

    def feed(self, data: bytes | memoryview) -> list[Event]:
        """What the bytes bring. Give it pieces of some KiB: limits are looked at after each."""
        if self._broken is not None:
            return []
        self._progress = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(400, "no other protocol is spoken here")
        except httptools.HttpParserError as error:
            self._fail(400, str(error).rstrip(".") or "not HTTP")
        # A field that doesn't end is only counted here: the parser keeps it.
        self._quiet = 0 if self._progress else self._quiet + len(data)
        if self._quiet > MAX_HEAD:
            self._fail(431, f"more than {MAX_HEAD} bytes of a header field")
        events, self._events = self._events, []
        if self._broken is not None:
            events.append(self._broken)
        return events

    def _fail(self, status: int, text: str) -> None:
        if self._broken is None:
            self._broken = Broken(status, text)
            self._in_head = self._in_body = False

    def _check(self) -> None:
        if self._size > MAX_HEAD:
            self._fail(431, f"more than {MAX_HEAD} bytes before the body")
        elif self._fields > MAX_FIELDS:
            self._fail(431, f"more than {MAX_FIELDS} header fields")

    # -- called by the parser

    def on_message_begin(self) -> None:
        self._head = Head()
        self._target.clear()
        self._size = self._fields = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._size += len(url)
        self._check()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        self._fields += 1
        self._check()
        if not self._in_head or self._broken is not None:
            return  # fields behind a body in chunks, or over a limit
        head = self._head
        match name.lower():
            case b"authorization":
                # Two of them are an attempt to be two.
                head.authorization = value if head.authorization is None else b""
            case b"content-length":
                if len(value) > MAX_SIZE_DIGITS:
                    self._fail(413, "the body is too large")
                else:
                    head.length = int(value)
            case b"transfer-encoding":
                head.length = None
            case b"content-encoding":
                coding = value.strip().lower().decode("latin-1")
                head.encoding = "" if coding == "identity" else coding
            case b"accept-encoding":
                head.gzip = head.gzip or _accepts_gzip(value)
            case b"expect":
                head.expects = value.strip().lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        if self._broken is not None:
            return
        self._in_head = False
        self._in_body = self._progress = True
        head = self._head
        head.method = self._parser.get_method().decode("latin-1")
        head.path = bytes(self._target).partition(b"?")[0].decode("latin-1")
        head.keep_alive = self._parser.should_keep_alive()
        if self._parser.get_http_version() == "1.0":
            head.old = True
            head.expects = False
        self._events.append(head)

    def on_body(self, body: bytes) -> None:
        self._progress = True
        if self._broken is None:
            self._events.append(Data(body))

    def on_message_complete(self) -> None:
        self._progress = True
        if self._broken is None:
            self._in_body = False
            self._events.append(End())


def _accepts_gzip(value: bytes) -> bool:
    for part in value.lower().split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip() in (b"gzip", b"x-gzip"):
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


class Credentials(NamedTuple):
    """What HTTP basic authentication holds (RFC 7617)."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"<Credentials of {self.user!r}>"


def read_credentials(authorization: bytes) -> Credentials | None:
    """The user and password of an Authorization field; None when it is anything else. The first colon separates."""
    scheme, _, token = authorization.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Credentials(user, password) if colon else None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. type: media type of the body; fields: more header fields. bodiless: the answer to HEAD, whose length
    is told and whose body isn't sent."""

    status: int
    body: bytes = b""
    type: str = "application/soap+xml"
    fields: tuple[str, ...] = ()
    bodiless: bool = False

    def head(self, date: str, keep_alive: bool, old: bool = False) -> bytes:
        """All that goes before the body. date: as HTTP writes it; old: the request was HTTP/1.0."""
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", f"Date: {date}"]
        if self.body or self.status == 200:
            lines.append(f"Content-Type: {self.type}")
        # Contrail's client looks for exactly these bytes: "Content-Length: ".
        lines.append(f"Content-Length: {len(self.body)}")
        lines += self.fields
        if not keep_alive:
            lines.append("Connection: close")
        elif old:
            lines.append("Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def plain(status: int, text: str, *fields: str) -> Response:
    """An answer of one line for people."""
    return Response(status, f"{text}\n".encode(), "text/plain; charset=utf-8", fields)


def unauthorized(text: str = "who are you? send HTTP basic credentials, or a client certificate") -> Response:
    """401, which asks for credentials."""
    return plain(401, text, 'WWW-Authenticate: Basic realm="vrfwire-map", charset="UTF-8"')
