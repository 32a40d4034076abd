"""Cutting a stream into messages (bgp.framing, bgp.message)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.errors import BgpError, EncodeError
from bgp.framing import Framer
from bgp.message import EXTENDED_MAX_LENGTH, KEEPALIVE, MARKER, MessageType, frame


def header(length: int, kind: int) -> bytes:
    return MARKER + length.to_bytes(2, "big") + bytes((kind,))


def refused(data: bytes, *, extended: bool = False) -> tuple[int, int, bytes]:
    framer = Framer()
    if extended:
        framer.allow_extended_messages()
    framer.receive_data(data)
    with pytest.raises(BgpError) as caught:
        framer.next_message()
    return caught.value.code, caught.value.subcode, caught.value.data


def test_keepalive_is_a_header() -> None:
    assert KEEPALIVE.hex() == "ff" * 16 + "001304"


@given(st.lists(st.binary(min_size=4, max_size=300), max_size=8), st.lists(st.integers(1, 400), min_size=1))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(bodies: list[bytes], steps: list[int]) -> None:
    stream = b"".join(frame(MessageType.UPDATE, body) for body in bodies) + KEEPALIVE
    framer, got, position, turn = Framer(), [], 0, 0
    while position < len(stream):
        step = steps[turn % len(steps)]
        framer.receive_data(stream[position : position + step])
        position, turn = position + step, turn + 1
        while (message := framer.next_message()) is not None:
            got.append(message)
    assert got == [(MessageType.UPDATE, body) for body in bodies] + [(MessageType.KEEPALIVE, b"")]
    assert framer.buffered == 0


def test_an_incomplete_message_waits() -> None:
    framer = Framer()
    framer.receive_data(KEEPALIVE[:18])
    assert framer.next_message() is None
    assert framer.buffered == 18


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(b"\xff" * 15 + b"\xfe" + b"\x00\x13\x04", (1, 1, b""), id="marker"),
        pytest.param(header(18, 2), (1, 2, b"\x00\x12"), id="length 18"),
        pytest.param(header(4097, 2), (1, 2, b"\x10\x01"), id="length 4097"),
        pytest.param(header(19, 9), (1, 3, b"\x09"), id="type 9"),
        pytest.param(header(19, 0), (1, 3, b"\x00"), id="type 0"),
        pytest.param(header(19, 255), (1, 3, b"\xff"), id="type 255"),
        pytest.param(header(28, 1), (1, 2, b"\x00\x1c"), id="short OPEN"),
        pytest.param(header(22, 2), (1, 2, b"\x00\x16"), id="short UPDATE"),
        pytest.param(header(20, 3), (1, 2, b"\x00\x14"), id="short NOTIFICATION"),
        pytest.param(header(20, 4), (1, 2, b"\x00\x14"), id="long KEEPALIVE"),
        pytest.param(header(22, 5), (1, 2, b"\x00\x16"), id="short ROUTE-REFRESH"),
    ],
)
def test_a_bad_header_is_refused_before_the_rest_is_there(data: bytes, error: tuple[int, int, bytes]) -> None:
    assert refused(data) == error


def test_extended_messages_only_where_agreed_and_never_for_open_and_keepalive() -> None:
    body = bytes(EXTENDED_MAX_LENGTH - 19)
    message = frame(MessageType.UPDATE, body, EXTENDED_MAX_LENGTH)
    assert refused(message) == (1, 2, b"\xff\xff")
    framer = Framer()
    framer.allow_extended_messages()
    framer.receive_data(message)
    assert framer.next_message() == (MessageType.UPDATE, body)
    assert refused(header(4097, 1), extended=True) == (1, 2, b"\x10\x01")
    assert refused(header(20, 4), extended=True) == (1, 2, b"\x00\x14")


def test_what_is_too_long_is_not_sent() -> None:
    assert len(frame(MessageType.UPDATE, bytes(4096 - 19))) == 4096
    with pytest.raises(EncodeError, match="UPDATE of 4097 bytes"):
        frame(MessageType.UPDATE, bytes(4097 - 19))


@given(st.binary(max_size=200))
def test_garbage_is_refused_with_a_bgp_error_and_nothing_else(data: bytes) -> None:
    framer = Framer()
    framer.receive_data(data)
    try:
        while framer.next_message() is not None:
            pass
    except BgpError as error:
        assert error.code == 1
