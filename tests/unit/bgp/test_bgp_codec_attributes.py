"""Attribute sets: equality, communities, next hops (bgp.attributes, bgp.communities, bgp.next_hop, bgp.recent)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import OPTIONAL, PARTIAL, TRANSITIVE, Attributes, UnknownAttribute
from bgp.communities import (
    MacMobility,
    colours,
    encapsulations,
    format_community,
    format_extended,
    format_large,
    format_router_id,
    is_transitive,
    mac_mobility,
    pack_colour,
    pack_encapsulation,
    pack_mac_mobility,
    pack_route_target,
    route_target,
)
from bgp.family import FAMILY_NAMES, RTC, VPNV4, VPNV6, Family
from bgp.next_hop import address, decode_next_hop, encode_next_hop, is_usable
from bgp.recent import Recent
from tests.unit.bgp.codec_strategies import attribute_sets, next_hops
from vpn.community import RouteTarget
from vpn.prefix import parse_address

RT1 = pack_route_target(RouteTarget.parse("64512:100"))
RT2 = pack_route_target(RouteTarget.parse("192.0.2.1:5"))
RT3 = pack_route_target(RouteTarget.parse("4200000000:7"))
SOO = bytes.fromhex("0003fc0000000001")


@given(attribute_sets())
def test_order_on_the_wire_makes_no_difference(attributes: Attributes) -> None:
    shuffled = replace(
        attributes,
        communities=attributes.communities[::-1],
        extended_communities=attributes.extended_communities[::-1] + attributes.extended_communities,
        large_communities=attributes.large_communities[::-1],
        unknown=attributes.unknown[::-1],
    )
    assert shuffled == attributes
    assert hash(shuffled) == hash(attributes)


def test_the_order_of_a_cluster_list_makes_one() -> None:
    ids = (bytes((0, 0, 0, 1)), bytes((0, 0, 0, 2)))
    assert Attributes(cluster_list=ids) != Attributes(cluster_list=ids[::-1])


def test_route_targets_are_picked_out() -> None:
    attributes = Attributes(extended_communities=(RT3, SOO, RT1, pack_encapsulation(2), RT2))
    assert set(attributes.route_targets) == {RT1, RT2, RT3}
    assert replace(attributes, extended_communities=(SOO,)).route_targets == ()
    assert [str(route_target(one)) for one in (RT1, RT2, RT3)] == ["64512:100", "192.0.2.1:5", "4200000000:7"]
    assert route_target(SOO) is None
    assert route_target(bytes.fromhex("0302000000000000")) is None


def test_bytes_of_communities() -> None:
    assert RT1.hex() == "0002fc0000000064"
    assert RT2.hex() == "0102c00002010005"
    assert RT3.hex() == "0202fa56ea000007"
    assert pack_encapsulation(2).hex() == "030c000000000002"
    assert pack_mac_mobility(MacMobility(7)).hex() == "0600000000000007"
    assert pack_mac_mobility(MacMobility(1, True)).hex() == "0600010000000001"
    assert pack_colour(9).hex() == "030b000000000009"


def test_communities_are_read_back() -> None:
    packed = (pack_encapsulation(13), pack_encapsulation(2), pack_mac_mobility(MacMobility(7)), pack_colour(9))
    attributes = Attributes(extended_communities=packed)
    assert encapsulations(attributes) == (2, 13)
    assert mac_mobility(attributes) == MacMobility(7)
    assert colours(attributes) == (9,)
    assert mac_mobility(Attributes()) is None
    several = (pack_mac_mobility(MacMobility(9)), pack_mac_mobility(MacMobility(2, True)))
    assert mac_mobility(Attributes(extended_communities=several)) == MacMobility(9)


@pytest.mark.parametrize(
    ("community", "text"),
    [
        (RT1, "rt:64512:100"),
        (SOO, "soo:64512:1"),
        (pack_encapsulation(2), "encap:2"),
        (pack_mac_mobility(MacMobility(7)), "mac-mobility:7"),
        (pack_colour(9), "colour:9"),
        (bytes.fromhex("4302000000000001"), "0x4302000000000001"),
    ],
)
def test_communities_for_people(community: bytes, text: str) -> None:
    assert format_extended(community) == text
    assert is_transitive(community) == (not text.startswith("0x4"))


def test_other_texts() -> None:
    assert format_community(64512 << 16 | 1) == "64512:1"
    assert format_community(0xFFFF0006) == "llgr-stale"
    assert format_large(bytes.fromhex("0000fc000000000100000002")) == "64512:1:2"
    assert format_router_id(bytes((192, 0, 2, 1))) == "192.0.2.1"
    assert [str(family) for family in (VPNV4, VPNV6, RTC, Family(25, 70))] == ["vpnv4", "vpnv6", "rtc", "25/70"]
    assert FAMILY_NAMES["vpnv6"] == VPNV6


def test_unknown_attributes_count() -> None:
    one = UnknownAttribute(40, OPTIONAL | TRANSITIVE | PARTIAL, b"a")
    assert Attributes(unknown=(one,)) != Attributes(unknown=(one._replace(value=b"b"),))


@given(st.sampled_from([VPNV4, VPNV6]).flatmap(lambda family: st.tuples(st.just(family), next_hops(family))))
def test_a_next_hop_comes_as_it_went(case: tuple[Family, bytes]) -> None:
    family, next_hop = case
    assert decode_next_hop(family, encode_next_hop(family, next_hop)) == next_hop
    assert is_usable(next_hop)


@pytest.mark.parametrize(
    ("family", "field", "next_hop"),
    [
        (VPNV4, "0000000000000000 c0000201", "192.0.2.1"),
        (VPNV4, "0001c00002010001 c0000201", "192.0.2.1"),
        (VPNV6, "0000000000000000 00000000000000000000ffff c0000201", "192.0.2.1"),
        (VPNV6, "0000000000000000 20010db8000000000000000000000001", "2001:db8::1"),
        (VPNV4, "0000000000000000 20010db8000000000000000000000001", "2001:db8::1"),
        (
            VPNV6,
            "0000000000000000 20010db8000000000000000000000001 0000000000000000 fe800000000000000000000000000001",
            "2001:db8::1",
        ),
        (RTC, "c0000201", "192.0.2.1"),
        (RTC, "20010db8000000000000000000000001", "2001:db8::1"),
    ],
)
def test_forms_of_next_hops(family: Family, field: str, next_hop: str) -> None:
    decoded = decode_next_hop(family, bytes.fromhex(field))
    assert decoded is not None
    assert address(decoded) == parse_address(next_hop)


@pytest.mark.parametrize("size", [0, 1, 4, 5, 8, 11, 13, 16, 23, 25, 32, 47, 49])
def test_lengths_that_no_vpn_next_hop_has(size: int) -> None:
    assert decode_next_hop(VPNV4, bytes(size)) is None
    assert decode_next_hop(VPNV6, bytes(size)) is None
    assert decode_next_hop(VPNV6, bytes(12)) is None


def test_an_ipv4_host_in_vpnv6_is_mapped() -> None:
    assert encode_next_hop(VPNV6, parse_address("192.0.2.1")).hex() == "00" * 8 + "00" * 10 + "ffff" + "c0000201"


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("::ffff:239.0.0.1", False),
        ("ff02::1", False),
        ("192.0.2.1", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:192.0.2.1", True),
    ],
)
def test_next_hops_nothing_can_be_sent_to(text: str, usable: bool) -> None:
    assert is_usable(parse_address(text)) is usable


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 10))
def test_recent_keeps_the_last_ones_and_not_many_more(keys: list[int], limit: int) -> None:
    recent: Recent[int, str] = Recent(limit)
    for key in keys:
        assert recent.get(key) in (None, str(key))
        recent.put(key, str(key))
        assert len(recent) <= 2 * limit
    last = list(dict.fromkeys(reversed(keys)))[:limit]
    assert [recent.get(key) for key in reversed(last)] == [str(key) for key in reversed(last)]
