"""NLRI of VPN routes and of route-target membership (bgp.nlri)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.errors import EncodeError
from bgp.family import VPNV4, VPNV6, Family
from bgp.nlri import (
    Membership,
    NlriError,
    Route,
    check_unicast,
    decode_rtc,
    decode_vpn,
    decode_vpn_withdrawn,
    encode_vpn,
    encode_vpn_withdrawn,
    pack_labels,
    rtc_key,
    split_rtc_key,
    split_vpn_key,
    unpack_labels,
    vpn_key,
)
from tests.unit.bgp.codec_strategies import distinguishers, memberships, one_label, prefixes, vpn_routes
from vpn.community import RouteDistinguisher
from vpn.prefix import Prefix

BITS = {VPNV4: 32, VPNV6: 128}
vpn_families = st.sampled_from([VPNV4, VPNV6])

RD = RouteDistinguisher.parse("192.0.2.1:7")
RD_HEX = "0001 c0000201 0007"


def key(text: str) -> bytes:
    return vpn_key(RD, Prefix.parse(text))


@given(vpn_families.flatmap(lambda family: st.tuples(st.just(family), distinguishers, prefixes(family))))
def test_a_key_is_its_parts(parts: tuple[Family, RouteDistinguisher, Prefix]) -> None:
    family, distinguisher, prefix = parts
    assert split_vpn_key(family, vpn_key(distinguisher, prefix)) == (distinguisher, prefix)


@given(st.lists(st.integers(0, 2**20 - 1), min_size=1, max_size=4))
def test_a_label_stack_is_its_labels(labels: list[int]) -> None:
    packed = pack_labels(labels)
    assert unpack_labels(packed) == tuple(labels)
    assert [packed[at] & 1 for at in range(2, len(packed), 3)] == [0] * (len(labels) - 1) + [1]


@pytest.mark.parametrize("labels", [[], [-1], [2**20]])
def test_labels_that_are_none(labels: list[int]) -> None:
    with pytest.raises(EncodeError):
        pack_labels(labels)


@given(
    vpn_families.flatmap(
        lambda family: st.tuples(
            st.just(family),
            st.lists(vpn_routes(family), max_size=12) | st.lists(vpn_routes(family, one_label), max_size=12),
        )
    )
)
def test_routes_come_as_they_went(case: tuple[Family, list[Route]]) -> None:
    family, routes = case
    try:
        pieces = encode_vpn(routes)
    except EncodeError:
        # Two labels and a long IPv6 prefix are more bits than the length octet says.
        assert any(8 * len(labels) + 64 + key[-1] > 255 for key, labels in routes)
        return
    data = b"".join(pieces)
    assert decode_vpn(data, BITS[family]) == routes
    # A peer may withdraw with the stack that was announced.
    assert decode_vpn_withdrawn(data, BITS[family]) == [key for key, _ in routes]
    assert decode_vpn_withdrawn(b"".join(encode_vpn_withdrawn(key for key, _ in routes)), BITS[family]) == [
        key for key, _ in routes
    ]


def test_bytes_of_a_route() -> None:
    assert encode_vpn([(key("10.1.0.0/16"), pack_labels([1011]))]) == [bytes.fromhex("68 003f31" + RD_HEX + "0a01")]
    assert encode_vpn_withdrawn([key("10.1.0.0/16")]) == [bytes.fromhex("68 800000" + RD_HEX + "0a01")]


@pytest.mark.parametrize(
    ("wire", "bits", "prefix"),
    [
        ("58 003f31" + RD_HEX, 32, "0.0.0.0/0"),
        ("78 003f31" + RD_HEX + "0a010203", 32, "10.1.2.3/32"),
        ("6c 003f31" + RD_HEX + "0a01ff", 32, "10.1.240.0/20"),
        ("59 003f31" + RD_HEX + "ff", 32, "128.0.0.0/1"),
        ("58 003f31" + RD_HEX, 128, "::/0"),
        ("d8 003f31" + RD_HEX + "20010db8" + "00" * 11 + "01", 128, "2001:db8::1/128"),
        ("7b 003f31" + RD_HEX + "20010db8ff", 128, "2001:db8:e000::/35"),
    ],
)
def test_prefix_lengths_and_host_bits(wire: str, bits: int, prefix: str) -> None:
    """What is behind the prefix in its last octet is irrelevant (RFC 4271, section 4.3)."""
    assert decode_vpn(bytes.fromhex(wire), bits) == [(key(prefix), pack_labels([1011]))]
    assert decode_vpn(bytes.fromhex(wire) * 3, bits) == [(key(prefix), pack_labels([1011]))] * 3
    assert decode_vpn_withdrawn(bytes.fromhex(wire) * 2, bits) == [key(prefix)] * 2


@pytest.mark.parametrize(
    "label",
    [
        pytest.param("800000", id="as RFC 8277 says"),
        pytest.param("000000", id="as FRR 8 does"),
        pytest.param("003f31", id="a real one"),
        pytest.param("003f3000 0641", id="a real stack of two"),
        pytest.param("003f30 0003e0 003f31", id="a real stack of three"),
        pytest.param("123450", id="anything"),
        pytest.param("fffffe", id="anything else"),
        pytest.param("ffffff", id="all ones"),
    ],
)
def test_withdrawals_with_any_label(label: str) -> None:
    labels = bytes.fromhex(label)
    for prefix, bits in (("10.1.2.3/32", 32), ("10.0.0.0/9", 32), ("2001:db8::/64", 128)):
        wire = bytes((8 * len(labels) + 64 + key(prefix)[-1],)) + labels + key(prefix)[:-1]
        assert decode_vpn_withdrawn(wire, bits) == [key(prefix)]
        assert decode_vpn_withdrawn(wire * 2, bits) == [key(prefix)] * 2


def test_one_label_without_bottom_of_stack_is_one_label() -> None:
    """RFC 8277, section 2.2: the bit is to be ignored where there can be only one label."""
    assert decode_vpn(bytes.fromhex("78 003f30" + RD_HEX + "0a010203"), 32) == [(key("10.1.2.3/32"), b"\x00\x3f\x30")]


def test_a_stack_with_explicit_null_on_top() -> None:
    labels = pack_labels([0, 100])
    wire = bytes((8 * 6 + 64 + 32,)) + labels + key("10.1.2.3/32")[:-1]
    assert decode_vpn(wire, 32) == [(key("10.1.2.3/32"), labels)]
    assert decode_vpn_withdrawn(wire, 32) == [key("10.1.2.3/32")]


def test_route_distinguishers_of_other_types_are_opaque() -> None:
    ((found, _),) = decode_vpn(bytes.fromhex("78 003f31 0009010203040506 0a010203"), 32)
    assert split_vpn_key(VPNV4, found)[0] == RouteDistinguisher(9, bytes.fromhex("010203040506"))


@pytest.mark.parametrize(
    ("wire", "bits"),
    [
        pytest.param("14 003f31", 32, id="20 bits"),
        pytest.param("00", 32, id="0 bits"),
        pytest.param("57 003f31" + RD_HEX, 32, id="less than label and route distinguisher"),
        pytest.param("79 003f31" + RD_HEX + "0a01020380", 32, id="33 bits of IPv4"),
        pytest.param("d9 003f31" + RD_HEX + "00" * 17, 128, id="129 bits of IPv6"),
        pytest.param("78 003f31" + RD_HEX + "0a0102", 32, id="cut off"),
        pytest.param("78", 32, id="only a length"),
        pytest.param("78 003f31" + RD_HEX + "0a010203 14 003f31", 32, id="the second bad"),
    ],
)
def test_what_is_no_vpn_route(wire: str, bits: int) -> None:
    with pytest.raises(NlriError):
        decode_vpn(bytes.fromhex(wire), bits)
    with pytest.raises(NlriError):
        decode_vpn_withdrawn(bytes.fromhex(wire), bits)


@given(st.binary(max_size=80), st.sampled_from([32, 128]))
def test_garbage_is_routes_or_an_nlri_error(data: bytes, bits: int) -> None:
    """The short way for NLRI of one length gives what the long way gives one by one."""
    try:
        routes = decode_vpn(data, bits)
    except NlriError:
        with pytest.raises(NlriError):
            decode_vpn_withdrawn(data, bits)
        return
    assert decode_vpn_withdrawn(data, bits) == [key for key, _ in routes]
    assert all(key[-1] <= bits and len(labels) % 3 == 0 for key, labels in routes)
    pieces = encode_vpn(routes)
    assert decode_vpn(b"".join(pieces), bits) == routes
    assert [decode_vpn(piece, bits)[0] for piece in pieces] == routes


def test_labels_leave_an_ipv6_prefix_too_little_room() -> None:
    with pytest.raises(EncodeError):
        encode_vpn([(key("2001:db8::1/128"), pack_labels([16, 17, 18]))])


@given(st.lists(memberships(), max_size=6))
def test_memberships_come_as_they_went(keys: list[bytes]) -> None:
    assert decode_rtc(b"".join(keys)) == keys


def test_memberships() -> None:
    target = bytes.fromhex("0002fc0000000064")
    assert rtc_key(64512, target).hex() == "600000fc000002fc0000000064"
    assert rtc_key(64512).hex() == "200000fc00"
    assert rtc_key(None).hex() == "00"
    assert split_rtc_key(rtc_key(64512, target)) == Membership(96, 64512, target)
    assert split_rtc_key(rtc_key(64512)) == Membership(32, 64512, bytes(8))
    assert split_rtc_key(rtc_key(None)) == Membership(0, None, bytes(8))
    assert decode_rtc(bytes.fromhex("29 0000fc00 00ff")) == [bytes.fromhex("29 0000fc00 0080")]


@pytest.mark.parametrize(
    ("wire", "covered", "others"),
    [
        ("00", ["0002fc0000000064", "4002000000000001"], []),
        ("20 0000fc00", ["0002fc0000000064", "0102c00002010001"], []),
        ("30 0000fc00 0002", ["0002fc0000000064", "0002000000000000"], ["0102fc0000000064"]),
        ("41 0000fc00 0002fc0000", ["0002fc0000000064", "0002fc007fffffff"], ["0002fc0080000000", "0002fc0100000064"]),
        ("60 0000fc00 0002fc0000000064", ["0002fc0000000064"], ["0002fc0000000065"]),
    ],
)
def test_a_membership_covers_by_prefix(wire: str, covered: list[str], others: list[str]) -> None:
    (found,) = decode_rtc(bytes.fromhex(wire))
    membership = split_rtc_key(found)
    assert all(membership.covers(bytes.fromhex(one)) for one in covered)
    assert not any(membership.covers(bytes.fromhex(one)) for one in others)


@pytest.mark.parametrize("wire", ["01 80", "1f 0000fc00", "61 0000fc00 0002fc000000006480", "20 0000fc", "60"])
def test_what_is_no_membership(wire: str) -> None:
    with pytest.raises(NlriError):
        decode_rtc(bytes.fromhex(wire))


def test_plain_prefixes_are_checked() -> None:
    check_unicast(bytes.fromhex("00 18 0a0102 20 0a010203"), 32)
    for wire in ("21 0a01020304", "18 0a01", "20"):
        with pytest.raises(NlriError):
            check_unicast(bytes.fromhex(wire), 32)
