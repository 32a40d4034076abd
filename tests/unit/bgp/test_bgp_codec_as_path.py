"""AS paths of two and four octets (bgp.as_path)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.as_path import (
    AS_TRANS,
    AsPath,
    AsPathError,
    Segment,
    SegmentKind,
    contains,
    decode_as_path,
    encode_as_path,
    first_as,
    fits_two_octets,
    format_as_path,
    merge_as4_path,
    path_length,
    prepend,
    without_confederations,
)
from tests.unit.bgp.codec_strategies import as_paths

SET, SEQUENCE, CONFED_SEQUENCE, CONFED_SET = SegmentKind


def sequence(*numbers: int) -> Segment:
    return Segment(SEQUENCE, numbers)


@given(as_paths())
def test_four_octets_carry_everything(path: AsPath) -> None:
    assert decode_as_path(encode_as_path(path, True), True) == path


@given(as_paths(st.integers(1, 65535)))
def test_two_octets_carry_small_numbers(path: AsPath) -> None:
    assert fits_two_octets(path)
    assert decode_as_path(encode_as_path(path, False), False) == path


@given(as_paths(kinds=2))
def test_a_speaker_of_two_octets_loses_nothing_with_as4_path_beside(path: AsPath) -> None:
    seen = decode_as_path(encode_as_path(path, False), False)
    assert path_length(seen) == path_length(path)
    assert merge_as4_path(seen, path) == path


@given(as_paths(kinds=2), st.lists(st.integers(1, 65535), max_size=4))
def test_what_two_octet_speakers_put_in_front_stays(path: AsPath, added: list[int]) -> None:
    """RFC 6793, section 4.2.3."""
    if not path:
        return
    seen = decode_as_path(encode_as_path(path, False), False)
    expected = path
    for asn in added:
        seen, expected = prepend(seen, asn), prepend(expected, asn)
    merged = merge_as4_path(seen, path)
    assert path_length(merged) == path_length(expected)
    assert format_as_path(merged) == format_as_path(expected)


def test_as4_path_that_is_longer_than_the_path_is_ignored() -> None:
    path = (sequence(AS_TRANS),)
    assert merge_as4_path(path, (sequence(4200000000, 1),)) == path
    assert merge_as4_path((), (sequence(4200000000),)) == ()
    assert merge_as4_path(path, ()) == path
    assert merge_as4_path(path, (Segment(CONFED_SEQUENCE, (1,)),)) == path


def test_confederation_segments_in_front_survive_the_merge() -> None:
    confederation = Segment(CONFED_SEQUENCE, (64512, 64513))
    path = (confederation, sequence(7, AS_TRANS, 9))
    assert merge_as4_path(path, (sequence(4200000000, 9),)) == (confederation, sequence(7, 4200000000, 9))
    assert merge_as4_path(path, (sequence(7, 4200000000, 9),)) == (confederation, sequence(7, 4200000000, 9))


def test_long_segments_are_cut_in_parts() -> None:
    numbers = tuple(range(1, 301))
    decoded = decode_as_path(encode_as_path((Segment(SEQUENCE, numbers),), True), True)
    assert decoded == (Segment(SEQUENCE, numbers[:255]), Segment(SEQUENCE, numbers[255:]))


def test_length_counts_a_set_once_and_confederations_not() -> None:
    path = (
        Segment(CONFED_SEQUENCE, (1, 2)),
        Segment(CONFED_SET, (3,)),
        sequence(4, 5),
        Segment(SET, (6, 7, 8)),
    )
    assert path_length(path) == 3
    assert without_confederations(path) == path[2:]
    assert format_as_path(path) == "(1 2) [3] 4 5 {6,7,8}"
    assert contains(path, 7)
    assert not contains(path, 9)


def test_prepend_and_first() -> None:
    assert prepend((), 1) == (sequence(1),)
    assert prepend((sequence(2, 3),), 1) == (sequence(1, 2, 3),)
    assert prepend((Segment(SET, (2,)),), 1) == (sequence(1), Segment(SET, (2,)))
    full = sequence(*range(1, 256))
    assert prepend((full,), 7) == (sequence(7), full)
    assert first_as((sequence(2, 3),)) == 2
    assert first_as((Segment(SET, (2,)),)) is None
    assert first_as(()) is None


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param("02", id="cut in the header"),
        pytest.param("0201 0000fc", id="cut in the numbers"),
        pytest.param("0200", id="no numbers"),
        pytest.param("0501 0000fc00", id="segment type 5"),
        pytest.param("0001 0000fc00", id="segment type 0"),
        pytest.param("0201 00000000", id="AS 0"),
        pytest.param("0201 0000fc00 0202 0000fc00", id="the second bad"),
    ],
)
def test_what_is_no_path(wire: str) -> None:
    with pytest.raises(AsPathError):
        decode_as_path(bytes.fromhex(wire), True)


@given(st.binary(max_size=60), st.booleans())
def test_garbage_is_a_path_or_an_error(data: bytes, four_octet: bool) -> None:
    try:
        path = decode_as_path(data, four_octet)
    except AsPathError:
        return
    assert encode_as_path(path, four_octet) == data
