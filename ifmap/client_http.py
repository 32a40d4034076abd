"""HTTP/1.1 as a MAP client speaks it: requests as bytes, answers from bytes. No I/O.

Tolerant of what servers send: any content type, Content-Length, chunked, or everything until the connection is closed;
gzip and deflate, though we never ask for them. What is unlimited elsewhere has a limit here.
"""

from __future__ import annotations

import base64
import zlib
from typing import NamedTuple

import httptools

from ifmap.client_errors import HttpError
from ifmap.endpoint import Endpoint

MAX_HEAD = 64 << 10
"""Bytes of a status line with headers, of a chunk's header, of trailers."""
MAX_HEADERS = 200
MAX_INFORMATIONAL = 8
"""Answers of status 1xx before the real one."""


def basic(user: str, password: str) -> str:
    """Value of an Authorization header (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def request_head(endpoint: Endpoint, authorization: str) -> bytes:
    """What all requests to a server begin with; `request` makes one of it. authorization: "" for none."""
    login = f"Authorization: {authorization}\r\n" if authorization else ""
    return (
        f"POST {endpoint.path} HTTP/1.1\r\nHost: {endpoint.authority}\r\n{login}"
        "User-Agent: vrfwire\r\nContent-Type: application/soap+xml; charset=utf-8\r\n"
    ).encode()


def request(head: bytes, body: bytes) -> bytes:
    """A request."""
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


class HttpAnswer(NamedTuple):
    """An answer. reason: text beside the status. keep: the connection takes another request."""

    status: int
    reason: str
    body: bytes
    keep: bool


class AnswerReader:
    """Reads the answers of one connection. limit: bytes of a body, packed and unpacked.

    After an HttpError it is of no use any more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parser = httptools.HttpResponseParser(self)
        self._done: list[HttpAnswer] = []
        self._error: HttpError | None = None
        self._quiet = 0
        """Bytes without any progress: headers that don't end."""
        self._progress = False
        self._informational = 0
        self._begin()

    def feed(self, data: bytes) -> list[HttpAnswer]:
        """Take bytes, return the answers that they complete. Raises HttpError."""
        self._progress = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise HttpError("the server wants another protocol") from None
        except httptools.HttpParserError as error:
            # What a callback raises comes as the context of the parser's error.
            raise self._error or HttpError(f"this is no HTTP: {error}") from None
        self._quiet = 0 if self._progress else self._quiet + len(data)
        if self._quiet > MAX_HEAD:
            raise HttpError("headers are too long")
        done, self._done = self._done, []
        return done

    def end(self) -> HttpAnswer | None:
        """The server has closed the connection: an answer that has no other end. Raises HttpError amid one that has."""
        if not self._started:
            return None
        if self._headed and not self._delimited:
            self._complete()
            return self._done.pop()
        raise HttpError("the server closed the connection in the midst of an answer")

    def _begin(self) -> None:
        self._started = False
        self._headed = False
        self._delimited = False
        self._headers = 0
        self._reason = b""
        self._encoding = b""
        self._unpack: zlib._Decompress | None = None
        self._parts: list[bytes] = []
        self._packed = 0
        self._size = 0

    def _fail(self, text: str) -> HttpError:
        self._error = HttpError(text)
        return self._error

    # -- httptools' callbacks

    def on_message_begin(self) -> None:
        self._started = True

    def on_status(self, reason: bytes) -> None:
        self._reason += reason[:200]

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise self._fail("there are too many headers")
        name = name.lower()
        if name == b"content-encoding":
            self._encoding = value.strip().lower()
        elif name in (b"content-length", b"transfer-encoding"):
            self._delimited = True
            if name == b"content-length" and value.isdigit() and int(value[:20]) > self._limit:
                raise self._fail(f"the answer is larger than {self._limit} bytes")

    def on_headers_complete(self) -> None:
        self._headed = self._progress = True
        if self._encoding in (b"gzip", b"x-gzip", b"deflate"):
            self._unpack = zlib.decompressobj(wbits=47)  # either header
        elif self._encoding not in (b"", b"identity"):
            raise self._fail("the answer is packed in a way that nobody asked for")

    def on_body(self, data: bytes) -> None:
        self._progress = True
        self._packed += len(data)
        if self._unpack is not None:
            try:
                data = self._unpack.decompress(data, self._limit - self._size + 1)
            except zlib.error:
                raise self._fail("the answer can't be unpacked") from None
        self._size += len(data)
        if max(self._size, self._packed) > self._limit:
            raise self._fail(f"the answer is larger than {self._limit} bytes")
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self._progress = True
        self._complete()

    def _complete(self) -> None:
        if self._unpack is not None and self._packed and not self._unpack.eof:
            raise self._fail("the answer can't be unpacked: its end is missing")
        status = self._parser.get_status_code()
        if status >= 200:
            reason = self._reason.decode("ascii", "replace")
            self._done.append(HttpAnswer(status, reason, b"".join(self._parts), self._parser.should_keep_alive()))
            self._informational = 0
        elif (informational := self._informational + 1) > MAX_INFORMATIONAL:
            raise self._fail("the server talks without answering")
        else:
            self._informational = informational
        self._begin()
