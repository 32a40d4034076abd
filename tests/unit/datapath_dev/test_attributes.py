"""Attributes and messages: what is packed is read back, and nonsense raises the codec's own error only."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import attributes
from datapath.attributes import WireError, attr, message, messages, nest, number, parse, string, text


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=70), max_size=8))
def test_attributes_are_read_back(found: dict[int, bytes]) -> None:
    packed = b"".join(attr(kind, payload) for kind, payload in found.items())
    assert len(packed) % 4 == 0
    assert parse(packed) == found
    assert parse(nest(7, packed)) == {7: packed}


@given(st.lists(st.tuples(st.integers(16, 0xFFFF), st.binary(max_size=70)), max_size=5))
def test_messages_are_read_back(sent: list[tuple[int, bytes]]) -> None:
    padded = (message(kind, 0, body) for kind, body in sent)
    datagram = b"".join(raw + bytes(-len(raw) % 4) for raw in padded)
    read = [(found.type, datagram[found.start : found.end]) for found in messages(datagram, len(datagram))]
    assert read == sent


@given(st.binary(max_size=80))
def test_nonsense_raises_only_the_error_of_the_codec(data: bytes) -> None:
    with contextlib.suppress(WireError):
        parse(data)
    with contextlib.suppress(WireError):
        list(messages(data, len(data)))


def test_numbers_and_strings() -> None:
    assert number(parse(attributes.u32(1, 0x1234))[1]) == 0x1234
    assert number(parse(attributes.u64(1, 1 << 40))[1]) == 1 << 40
    assert number(None, 7) == 7
    assert string(parse(text(3, "eth0"))[3]) == "eth0"
    assert string(None) == ""
    assert string(b"\xff\0") == "\\xff"


def test_cut_attribute() -> None:
    with pytest.raises(WireError):
        parse(attr(1, bytes(8))[:-4])
