"""HTTP of the server: requests from bytes, heads of answers."""

from __future__ import annotations

import itertools
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap.server.http import (
    MAX_FIELDS,
    MAX_HEAD,
    Broken,
    Credentials,
    Data,
    End,
    Event,
    Head,
    RequestReader,
    Response,
    plain,
    read_credentials,
    unauthorized,
)

DATE = "Mon, 05 Jan 2026 10:11:12 GMT"


def read(*pieces: bytes) -> list[Event]:
    """Events of a connection, with the parts of a body put together."""
    reader = RequestReader()
    found: list[Event] = []
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, Data) and found and isinstance(found[-1], Data):
                found[-1] = Data(found[-1].data + event.data)
            else:
                found.append(event)
    return found


def test_a_request_without_host() -> None:
    assert read(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc") == [
        Head("POST", "/", length=3),
        Data(b"abc"),
        End(),
    ]


def test_fields_that_matter() -> None:
    (head, *_) = read(
        b"POST /any/path?query=1 HTTP/1.1\r\nHost: map\r\nauthorization: Basic YTpi\r\nContent-Encoding: GZIP\r\n"
        b'SOAPAction: "publish"\r\nContent-Type: text/plain\r\nAccept-Encoding: deflate, gzip;q=0.5\r\n'
        b"Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    assert head == Head("POST", "/any/path", b"Basic YTpi", "gzip", True, True, None, True)


@pytest.mark.parametrize(
    ("version", "connection", "keep"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_whether_the_connection_stays(version: str, connection: str, keep: bool) -> None:
    field = f"Connection: {connection}\r\n" if connection else ""
    (head, end) = read(f"GET /health HTTP/{version}\r\n{field}\r\n".encode())
    assert head == Head("GET", "/health", keep_alive=keep, old=version == "1.0")
    assert end == End()


def test_the_length_of_an_identity_coding() -> None:
    (head, *_) = read(b"POST / HTTP/1.1\r\nContent-Encoding: identity\r\nAccept-Encoding: gzip;q=0\r\n\r\n")
    assert isinstance(head, Head)
    assert (head.encoding, head.gzip, head.length) == ("", False, 0)


def test_chunks_with_trailers() -> None:
    events = read(
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nAuthorization: Basic x\r\n\r\n"
    )
    assert events == [Head("POST", "/", length=None), Data(b"abcde"), End()]


def test_requests_behind_each_other() -> None:
    one = b"POST /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
    assert [event.path for event in read(one + one + one) if isinstance(event, Head)] == ["/a", "/a", "/a"]


@given(st.lists(st.integers(1, 200), max_size=6))
def test_pieces_make_no_difference(cuts: list[int]) -> None:
    text = (
        b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nAuthorization: Basic YTpi\r\n\r\nhello"
        b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    places = sorted({0, len(text), *(cut % len(text) for cut in cuts)})
    assert read(*(text[a:b] for a, b in itertools.pairwise(places))) == read(text)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"POST /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request(text: bytes, status: int) -> None:
    events = read(text, b"POST / HTTP/1.1\r\n\r\n")
    assert isinstance(events[-1], Broken)
    assert events[-1].status == status
    assert sum(isinstance(event, Broken) for event in events) == 1


@pytest.mark.parametrize(
    "start",
    [
        b"POST / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
)
def test_what_never_ends_is_not_kept(start: bytes) -> None:
    reader = RequestReader()
    events = reader.feed(start)
    for _ in range(2 * MAX_HEAD // 1024):
        events += reader.feed(b"y" * 1024)
    assert isinstance(events[-1], Broken)
    assert events[-1].status == 431
    assert reader.broken and not reader.in_head


def test_where_the_reader_is() -> None:
    reader = RequestReader()
    assert (reader.in_head, reader.in_body) == (False, False)
    reader.feed(b"PO")
    assert (reader.in_head, reader.in_body) == (True, False)
    reader.feed(b"ST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nx")
    assert (reader.in_head, reader.in_body) == (False, True)
    reader.feed(b"y")
    assert (reader.in_head, reader.in_body) == (False, False)


@given(st.binary(max_size=300))
def test_garbage_hurts_nobody(data: bytes) -> None:
    events = read(data)
    assert all(isinstance(event, Head | Data | End | Broken) for event in events)


# -- credentials


def basic(text: str) -> bytes:
    return b"Basic " + b64encode(text.encode())


def test_the_first_colon_separates() -> None:
    assert read_credentials(basic("user:pass:word")) == Credentials("user", "pass:word")
    assert read_credentials(b"bAsIc  " + b64encode("jürgen:schlüssel".encode())) == Credentials("jürgen", "schlüssel")
    assert read_credentials(basic("user:")) == Credentials("user", "")


@pytest.mark.parametrize(
    "field", [b"", b"Basic", b"Basic !", b"Bearer YTpi", basic("nocolon"), b"Basic " + b64encode(b"\xff:x")]
)
def test_other_fields_are_nobody(field: bytes) -> None:
    assert read_credentials(field) is None


def test_two_authorizations_are_nobody() -> None:
    (head, *_) = read(b"POST / HTTP/1.1\r\nAuthorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n\r\n")
    assert isinstance(head, Head)
    assert head.authorization == b""


def test_credentials_do_not_show_the_password() -> None:
    assert "secret" not in repr(Credentials("user", "secret"))


# -- answers


def test_the_head_of_an_answer() -> None:
    """With the very bytes that Contrail's client looks for."""
    head = Response(200, b"<?xml?>").head(DATE, keep_alive=True)
    assert head == (
        b"HTTP/1.1 200 OK\r\nDate: Mon, 05 Jan 2026 10:11:12 GMT\r\nContent-Type: application/soap+xml\r\n"
        b"Content-Length: 7\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("keep", "old", "line"), [(False, False, b"Connection: close"), (True, True, b"Connection: keep-alive")]
)
def test_what_becomes_of_the_connection(keep: bool, old: bool, line: bytes) -> None:
    assert line in plain(405, "no").head(DATE, keep, old).splitlines()


def test_a_refused_login() -> None:
    head = unauthorized().head(DATE, keep_alive=True)
    assert head.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"WWW-Authenticate: Basic realm=" in head
