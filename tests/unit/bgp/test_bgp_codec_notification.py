"""NOTIFICATION and ROUTE-REFRESH (bgp.notification, bgp.refresh)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.errors import BgpError, CeaseSubcode, ErrorCode, UpdateSubcode
from bgp.family import VPNV4, VPNV6, Family
from bgp.notification import Notification, decode_notification
from bgp.refresh import RefreshKind, RouteRefresh, decode_route_refresh

octets = st.integers(0, 255)
notifications = st.builds(Notification, octets, octets, st.binary(max_size=300))


@given(notifications)
def test_a_notification_comes_as_it_went(notification: Notification) -> None:
    assert decode_notification(notification.encode()[19:]) == notification
    assert str(notification).startswith(f"{notification.code}/{notification.subcode} ")
    assert str(notification).isprintable()


@given(notifications)
def test_a_hard_reset_has_the_reason_inside(notification: Notification) -> None:
    hard = decode_notification(notification.hard_reset().encode()[19:])
    assert (hard.code, hard.subcode) == (6, 9)
    assert hard.is_hard_reset
    assert hard.reason == notification


def test_a_hard_reset_without_reason() -> None:
    hard = Notification(6, 9, b"\x06")
    assert hard.reason == hard
    assert str(hard) == "6/9 cease: hard reset (06)"


@given(st.text(max_size=300))
def test_shutdown_communication_goes_and_comes_within_255_bytes(text: str) -> None:
    packed = text.encode(errors="replace")
    data = Notification.cease(CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, text).data
    if not text:
        assert data == b""
        return
    assert data[0] == len(data) - 1 <= 255
    assert packed.startswith(data[1:])
    assert len(packed) - len(data[1:]) < 4 or data[0] > 251


@pytest.mark.parametrize(
    ("notification", "text"),
    [
        (Notification(6, 2, b"\x05hello"), '6/2 cease: administrative shutdown: "hello"'),
        (Notification(6, 4, b"\x05hello more"), '6/4 cease: administrative reset: "hello"'),
        (Notification(6, 2, b"\x02\xff\x07"), r'6/2 cease: administrative shutdown: "\xff\x07"'),
        (Notification(6, 2, b"\x09short"), '6/2 cease: administrative shutdown: "short"'),
        (Notification(6, 2).hard_reset(), "6/9 hard reset: 6/2 cease: administrative shutdown"),
        (Notification.maximum_prefixes(VPNV4, 10), "6/1 cease: maximum prefixes (0001800000000a)"),
        (Notification(4, 0), "4/0 hold timer expired"),
        (Notification(3, 77), "3/77 update message"),
        (Notification(99, 1, b"\x01"), "99/1 unknown error (01)"),
    ],
)
def test_one_line_for_people(notification: Notification, text: str) -> None:
    assert str(notification) == text


def test_a_text_that_is_no_unicode_goes_with_question_marks() -> None:
    assert Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, "half a \ud83d pair").text == "half a ? pair"


def test_text_only_with_shutdown_and_reset() -> None:
    assert Notification.cease(CeaseSubcode.OUT_OF_RESOURCES, "why").data == b""
    assert Notification(6, 5, b"\x05hello").text == ""


def test_the_cut_of_a_long_text_keeps_characters_whole() -> None:
    data = Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, "a" + "€" * 100).data
    assert data[0] == 253
    assert data[1:].decode() == "a" + "€" * 84


def test_the_answer_to_an_error() -> None:
    error = BgpError(ErrorCode.UPDATE_MESSAGE, UpdateSubcode.OPTIONAL_ATTRIBUTE, b"\x80\x0e\x00", "next hop")
    assert Notification.of(error) == Notification(3, 9, b"\x80\x0e\x00")
    assert str(error) == "3/9: next hop"


def test_long_data_is_cut_to_what_every_peer_takes() -> None:
    assert len(Notification(3, 9, bytes(9000)).encode()) == 4096


@given(st.builds(Family, st.integers(0, 65535), octets), st.sampled_from(RefreshKind))
def test_a_refresh_comes_as_it_went(family: Family, kind: RefreshKind) -> None:
    message = RouteRefresh(family, kind)
    assert decode_route_refresh(message.encode()[19:]) == message


def test_bytes_of_a_refresh() -> None:
    assert RouteRefresh(VPNV6).encode()[16:].hex() == "00170500020080"
    assert RouteRefresh(VPNV6, RefreshKind.END).encode()[16:].hex() == "00170500020280"


def test_unknown_subtypes_are_ignored() -> None:
    assert decode_route_refresh(b"\x00\x01\x03\x80") is None
    assert decode_route_refresh(b"\x00\x01\xff\x80") is None


def test_a_refresh_of_another_length_is_refused_with_the_whole_message() -> None:
    with pytest.raises(BgpError) as caught:
        decode_route_refresh(b"\x00\x01\x01\x80\x00")
    assert (caught.value.code, caught.value.subcode) == (7, 1)
    assert caught.value.data == b"\xff" * 16 + b"\x00\x18\x05\x00\x01\x01\x80\x00"
