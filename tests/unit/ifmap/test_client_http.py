"""HTTP of the MAP client: answers from bytes, as servers of all kinds send them."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifmap.client_errors import HttpError
from ifmap.client_http import MAX_HEAD, AnswerReader, HttpAnswer, basic, request, request_head
from ifmap.endpoint import Endpoint

LIMIT = 10_000
OK = b"HTTP/1.1 200 OK\r\n"
BODY = b"<answer>" + b"x" * 500 + b"</answer>"


def plain(body: bytes, headers: bytes = b"") -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return (
        OK
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        + b"0\r\n\r\n"
    )


def feed(data: bytes, limit: int = LIMIT) -> list[HttpAnswer]:
    return AnswerReader(limit).feed(data)


def test_a_request_is_what_third_party_servers_take() -> None:
    head = request_head(Endpoint("2001:db8::1", 8443, "/ifmap"), basic("gw1", "p:\u00e4"))
    assert request(head, b"<x/>") == (
        b"POST /ifmap HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\nAuthorization: Basic Z3cxOnA6w6Q=\r\n"
        b"User-Agent: vrfwire\r\nContent-Type: application/soap+xml; charset=utf-8\r\nContent-Length: 4\r\n\r\n<x/>"
    )
    assert b"Authorization" not in request_head(Endpoint("a"), "")


@pytest.mark.parametrize(
    "data",
    [
        plain(BODY),
        plain(BODY, b"content-type: text/html\r\nX-A: b\r\n").replace(b"Content-Length", b"content-length"),
        chunked(BODY),
        plain(gzip.compress(BODY), b"Content-Encoding: gzip\r\n"),
        plain(zlib.compress(BODY), b"Content-Encoding: deflate\r\n"),
        chunked(gzip.compress(BODY), 1).replace(b"Transfer", b"Content-Encoding: GZIP\r\nTransfer"),
        plain(BODY, b"Content-Encoding: identity\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + plain(BODY),
    ],
)
@given(cuts=st.lists(st.integers(0, 1200), max_size=5))
def test_an_answer_in_every_form_and_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    reader = AnswerReader(LIMIT)
    answers = []
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        answers += reader.feed(data[at:cut])
        at = max(at, cut)
    assert answers == [HttpAnswer(200, "OK", BODY, True)]
    assert reader.feed(plain(b"again")) == [HttpAnswer(200, "OK", b"again", True)]


def test_several_answers_at_once() -> None:
    assert [answer.body for answer in feed(plain(b"1") + chunked(b"2") + plain(b""))] == [b"1", b"2", b""]


def test_a_status_that_is_no_success_is_told_with_its_text() -> None:
    data = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
    assert feed(data) == [HttpAnswer(401, "Unauthorized", b"", True)]


def test_an_announced_close_is_told() -> None:
    assert feed(plain(b"x", b"Connection: close\r\n"))[0].keep is False


def test_an_answer_that_ends_with_the_connection() -> None:
    reader = AnswerReader(LIMIT)
    assert reader.feed(OK + b"\r\n<ans") == []
    assert reader.feed(b"wer/>") == []
    assert reader.end() == HttpAnswer(200, "OK", b"<answer/>", False)


def test_a_connection_that_ends_between_answers_is_no_answer() -> None:
    reader = AnswerReader(LIMIT)
    reader.feed(plain(b"x"))
    assert reader.end() is None


@pytest.mark.parametrize("data", [plain(BODY)[:-1], chunked(BODY)[:-3], OK, b"HT", OK + b"Content-Length: 0\r\n"])
def test_a_connection_that_ends_amid_an_answer(data: bytes) -> None:
    reader = AnswerReader(LIMIT)
    assert reader.feed(data) == []
    with pytest.raises(HttpError, match="in the midst"):
        reader.end()


def test_packed_without_its_end() -> None:
    with pytest.raises(HttpError, match="unpacked"):
        feed(plain(gzip.compress(BODY)[:-6], b"Content-Encoding: gzip\r\n"))


def test_packed_without_any_end_of_its_own() -> None:
    reader = AnswerReader(LIMIT)
    reader.feed(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)[:-6])
    with pytest.raises(HttpError, match="its end is missing"):
        reader.end()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"garbage\r\n\r\n", "no HTTP"),
        (b"\x16\x03\x01\x02\x00", "no HTTP"),
        (plain(b"") + b"garbage", "no HTTP"),
        (plain(b"x", b"Content-Encoding: br\r\n"), "nobody asked for"),
        (plain(b"no gzip", b"Content-Encoding: gzip\r\n"), "unpacked"),
        (OK + b"Content-Length: 10001\r\n\r\n", "larger than 10000 bytes"),
        (OK + b"Content-Length: 99999999999999999999999999\r\n\r\n", "larger|no HTTP"),
        (chunked(b"x" * (LIMIT + 1), 1000), "larger"),
        (plain(gzip.compress(b"x" * 1_000_000), b"Content-Encoding: gzip\r\n"), "larger"),
        (OK + b"\r\n" + b"x" * (LIMIT + 1), "larger"),
        (OK + b"A: b\r\n" * 201 + b"\r\n", "too many headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 9, "without answering"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "another protocol"),
    ],
)
def test_what_is_no_answer(data: bytes, why: str) -> None:
    with pytest.raises(HttpError, match=why):
        feed(data)


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 ", OK + b"A: ", OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: "])
def test_headers_without_end(begin: bytes) -> None:
    reader = AnswerReader(LIMIT)
    reader.feed(begin)
    with pytest.raises(HttpError, match="headers are too long"):
        for _ in range(MAX_HEAD // 1000 + 2):
            reader.feed(b"a" * 1000)


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_its_own_error(data: bytes) -> None:
    reader = AnswerReader(100)
    with contextlib.suppress(HttpError):
        reader.feed(OK + data)
        reader.end()
