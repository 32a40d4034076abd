"""OPEN and its capabilities (bgp.open, bgp.capabilities)."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.capabilities import (
    Capabilities,
    GracefulRestart,
    LongLivedFamily,
    NextHopEncoding,
    RestartFamily,
    UnknownCapability,
)
from bgp.errors import BgpError, EncodeError
from bgp.family import IPV4_UNICAST, RTC, VPNV4, VPNV6, Family
from bgp.open import Open, decode_open

ROUTER = bytes((192, 0, 2, 1))

families = st.builds(Family, st.integers(0, 0xFFFF), st.integers(0, 255))
unique_families = st.lists(families, unique=True, max_size=6).map(tuple)
capabilities = st.builds(
    Capabilities,
    families=unique_families,
    four_octet_as=st.integers(1, 2**32 - 1),
    route_refresh=st.booleans(),
    enhanced_route_refresh=st.booleans(),
    extended_message=st.booleans(),
    graceful_restart=st.none()
    | st.builds(
        GracefulRestart,
        st.integers(0, 4095),
        st.lists(st.builds(RestartFamily, families, st.booleans()), max_size=8).map(tuple),
        st.booleans(),
        st.booleans(),
    ),
    long_lived=st.none()
    | st.lists(st.builds(LongLivedFamily, families, st.integers(0, 2**24 - 1), st.booleans()), max_size=8).map(tuple),
    extended_next_hops=st.lists(
        st.builds(
            NextHopEncoding, st.builds(Family, st.integers(0, 0xFFFF), st.integers(0, 255)), st.integers(0, 0xFFFF)
        ),
        unique=True,
        max_size=4,
    ).map(tuple),
    unknown=st.lists(
        st.builds(UnknownCapability, st.integers(100, 255), st.binary(max_size=255)), unique=True, max_size=4
    ).map(tuple),
)


def body(data: bytes) -> bytes:
    return data[19:]


def raw(parameters: bytes = b"", *, version: int = 4, asn: int = 64512, hold: int = 9, router: bytes = ROUTER) -> bytes:
    return struct.pack("!BHH4sB", version, asn, hold, router, len(parameters)) + parameters


def parameter(*found: bytes) -> bytes:
    joined = b"".join(found)
    return bytes((2, len(joined))) + joined


def refused(data: bytes) -> tuple[int, int, bytes]:
    with pytest.raises(BgpError) as caught:
        decode_open(data)
    return caught.value.code, caught.value.subcode, caught.value.data


MP_VPNV4 = bytes.fromhex("0104 0001 0080")
MP_VPNV6 = bytes.fromhex("0104 0002 0080")
AS4 = bytes.fromhex("4104 0000fc00")


@given(capabilities, st.sampled_from([0, 3, 9, 65535]))
def test_what_was_said_is_what_was_meant(found: Capabilities, hold_time: int) -> None:
    assert found.four_octet_as is not None
    message = Open(found.four_octet_as, hold_time, ROUTER, found)
    assert decode_open(body(message.encode())) == message


def test_bytes_of_an_open() -> None:
    announced = Capabilities(
        (VPNV4, RTC), 4200000000, True, True, True, GracefulRestart(120, (RestartFamily(VPNV4, True),), True, True)
    )
    message = Open(4200000000, 90, ROUTER, announced).encode()
    assert message.hex() == (
        "ff" * 16 + "004b" "01" "04" "5ba0" "005a" "c0000201" "2e"
        "0206" "010400010080"
        "0206" "010400010084"
        "0202" "0200"
        "0202" "0600"
        "0208" "4006" "c078" "000180" "80"
        "0206" "4104" "fa56ea00"
        "0202" "4600"
    )  # fmt: skip


def test_long_lived_graceful_restart_on_the_wire() -> None:
    announced = Capabilities(long_lived=(LongLivedFamily(VPNV6, 86400, True),))
    assert announced.encode() == [bytes.fromhex("4707 0002 80 80 015180")]
    assert Capabilities(long_lived=()).encode() == [b"\x47\x00"]


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(parameter(MP_VPNV4, MP_VPNV6, AS4), id="many capabilities in a parameter"),
        pytest.param(parameter(MP_VPNV4) + parameter(MP_VPNV6) + parameter(AS4), id="one each"),
        pytest.param(parameter() + parameter(MP_VPNV4, MP_VPNV4, MP_VPNV6, AS4, MP_VPNV6), id="empty and repeated"),
    ],
)
def test_capabilities_are_grouped_as_the_peer_likes(parameters: bytes) -> None:
    assert decode_open(raw(parameters)).capabilities == Capabilities((VPNV4, VPNV6), 64512)


def test_extended_optional_parameters() -> None:
    """RFC 9072: read whatever the old length octet says, written when the parameters are too long for it."""
    extended = bytes((2,)) + (len(MP_VPNV4)).to_bytes(2, "big") + MP_VPNV4
    for octet in (255, 1, len(extended) + 3):
        data = struct.pack("!BHH4sBBH", 4, 64512, 9, ROUTER, octet, 255, len(extended)) + extended
        assert decode_open(data).capabilities.families == (VPNV4,)
    many = tuple(UnknownCapability(code, bytes(40)) for code in range(200, 210))
    message = Open(64512, 9, ROUTER, Capabilities(unknown=many))
    encoded = message.encode()
    assert encoded[28:30] == b"\xff\xff"
    assert decode_open(body(encoded)) == message


def test_parameters_of_exactly_254_bytes_have_the_short_form() -> None:
    message = Open(64512, 9, ROUTER, Capabilities(unknown=(UnknownCapability(200, bytes(250)),)))
    assert message.encode()[28] == 254
    assert decode_open(body(message.encode())) == message
    longer = Open(64512, 9, ROUTER, Capabilities(unknown=(UnknownCapability(200, bytes(251)),)))
    assert longer.encode()[28] == 255
    assert decode_open(body(longer.encode())) == longer


def test_without_the_four_octet_capability_the_two_octets_count() -> None:
    assert decode_open(raw(asn=65001)).asn == 65001
    assert decode_open(raw(parameter(bytes.fromhex("4104fa56ea00")), asn=23456)).asn == 4200000000


def test_families_of_a_peer_without_multiprotocol() -> None:
    assert decode_open(raw()).capabilities.effective_families == {IPV4_UNICAST}
    assert decode_open(raw(parameter(MP_VPNV4))).capabilities.effective_families == {VPNV4}


def test_the_last_graceful_restart_counts() -> None:
    first, last = bytes.fromhex("4002 8078"), bytes.fromhex("4006 4014 0001 80 80")
    found = decode_open(raw(parameter(first, last))).capabilities.graceful_restart
    assert found == GracefulRestart(20, (RestartFamily(VPNV4, True),), False, True)


def test_unknown_capabilities_are_kept_and_mean_nothing() -> None:
    found = decode_open(raw(parameter(b"\x49\x03abc", b"\x08\x00"))).capabilities
    assert found == Capabilities(unknown=(UnknownCapability(73, b"abc"), UnknownCapability(8, b"")))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(raw(version=3), (2, 1, b"\x00\x04"), id="version"),
        pytest.param(raw(asn=0), (2, 2, b""), id="AS 0"),
        pytest.param(raw(parameter(bytes.fromhex("410400000000"))), (2, 2, b""), id="four-octet AS 0"),
        pytest.param(raw(router=bytes(4)), (2, 3, b""), id="router id 0"),
        pytest.param(raw(b"\x01\x00"), (2, 4, b""), id="authentication"),
        pytest.param(raw(hold=1), (2, 6, b""), id="hold time 1"),
        pytest.param(raw(hold=2), (2, 6, b""), id="hold time 2"),
        pytest.param(raw()[:9] + b"\x05", (2, 0, b""), id="length beyond the message"),
        pytest.param(raw() + b"\x00", (2, 0, b""), id="bytes behind the parameters"),
        pytest.param(raw(b"\x02"), (2, 0, b""), id="parameter cut in its header"),
        pytest.param(raw(b"\x02\x05\x01"), (2, 0, b""), id="parameter cut in its value"),
        pytest.param(raw(b"\x02\x01\x01"), (2, 0, b""), id="capability cut in its header"),
        pytest.param(raw(b"\x02\x03\x01\x04\x00"), (2, 0, b""), id="capability cut in its value"),
        pytest.param(raw(parameter(b"\x01\x03\x00\x01\x80")), (2, 0, b""), id="family of 3 bytes"),
        pytest.param(raw(parameter(b"\x41\x02\xfc\x00")), (2, 0, b""), id="AS of 2 bytes"),
        pytest.param(raw(parameter(b"\x40\x00")), (2, 0, b""), id="empty graceful restart"),
        pytest.param(raw(parameter(b"\x40\x03\x00\x00\x00")), (2, 0, b""), id="graceful restart of 3 bytes"),
        pytest.param(raw(parameter(b"\x47\x06" + bytes(6))), (2, 0, b""), id="long-lived of 6 bytes"),
        pytest.param(raw(b"\xff"), (2, 0, b""), id="extended without length"),
        pytest.param(raw(b"\xff\x00\x09\x02"), (2, 0, b""), id="extended length beyond the message"),
    ],
)
def test_what_is_refused(data: bytes, error: tuple[int, int, bytes]) -> None:
    assert refused(data) == error


@pytest.mark.parametrize(
    "message",
    [
        Open(4200000000, 9, ROUTER),
        Open(64512, 9, ROUTER, Capabilities(four_octet_as=64513)),
        Open(0, 9, ROUTER),
        Open(64512, 70000, ROUTER),
        Open(64512, 9, b""),
        Open(64512, 9, ROUTER, Capabilities(graceful_restart=GracefulRestart(4096))),
        Open(64512, 9, ROUTER, Capabilities(families=(Family(65536, 1),))),
        Open(64512, 9, ROUTER, Capabilities(long_lived=(LongLivedFamily(VPNV4, 2**24),))),
        Open(64512, 9, ROUTER, Capabilities(unknown=(UnknownCapability(200, bytes(256)),))),
    ],
)
def test_what_does_not_fit_is_not_sent(message: Open) -> None:
    with pytest.raises(EncodeError):
        message.encode()


@given(st.binary(min_size=10, max_size=120), st.booleans())
def test_garbage_is_refused_with_a_bgp_error_and_nothing_else(data: bytes, plausible: bool) -> None:
    if plausible:
        data = raw()[:9] + bytes((min(len(data), 255),)) + data[:255]
    try:
        found = decode_open(data)
    except BgpError as error:
        assert error.code == 2
    else:
        # What can be read can be written, and says the same.
        assert decode_open(body(replace(found).encode())) == found
