"""Counters and look-ups as the kernel tells them: messages and files made by hand, whole, short and odd."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath import counter_wire as wire
from datapath.attributes import WireError, attr, nest, text, u32
from datapath.filters import (
    INGRESS,
    PRIORITY_ARP,
    PRIORITY_DROP,
    RTM_NEWTFILTER,
    Action,
    Filter,
    Hits,
    Responder,
    decode_hits,
    encode,
)
from datapath.lookup_wire import decode_next_hop, decode_route, route_request
from vpn.prefix import Prefix, parse_address


def numbers(*values: int) -> bytes:
    return struct.pack(f"={len(values)}Q", *values)


def link(name: str, *parts: bytes) -> bytes:
    return struct.pack("=BxHiII", 0, 1, 7, 0, 0) + text(3, name) + b"".join(parts)


def test_link() -> None:
    ip6 = numbers(*range(100, 130))
    body = link("tap0", attr(23, numbers(*range(1, 26))), nest(26, nest(10, attr(3, ip6))))
    found = wire.decode_link(body, {"tap0"})
    assert found is not None
    assert (found.ifindex, found.name) == (7, "tap0")
    assert (found.link["rx_packets"], found.link["tx_dropped"], found.link["tx_carrier_errors"]) == (1, 8, 18)
    assert (found.ip6["InNoRoutes"], found.ip6["FragFails"]) == (109, 121)
    assert wire.decode_link(body, {"tap1"}) is None


def test_link_without_ipv6_counts_what_there_is() -> None:
    found = wire.decode_link(link("tap0", attr(23, numbers(5, 6))), {"tap0"})
    assert found is not None
    assert found.link == {"rx_packets": 5, "tx_packets": 6}
    assert found.ip6 == {}


def test_mpls() -> None:
    head = struct.pack("=BxHII", 0, 0, 9, 16)
    body = head + nest(5, nest(28, attr(1, numbers(*range(10, 19)))))
    assert wire.decode_mpls(body) == (9, dict(zip(wire.MPLS_FIELDS, range(10, 19), strict=True)))
    assert wire.decode_mpls(head) is None


@pytest.mark.parametrize(
    ("handle", "parent", "expected"),
    [
        (0x80010000, 0xFFFFFFFF, wire.QueueDrops(3, False, 42)),
        (0xFFFF0000, 0xFFFFFFF1, wire.QueueDrops(3, True, 42)),
        (0x80020000, 0x80010001, None),
    ],
)
def test_queue(handle: int, parent: int, expected: wire.QueueDrops | None) -> None:
    body = struct.pack("=BxxxiIII", 0, 3, handle, parent, 2) + nest(7, attr(3, struct.pack("=5I", 1, 2, 42, 0, 0)))
    assert wire.decode_queue(body) == expected


def test_neighbour_tables() -> None:
    body = bytes((10, 0, 0, 0)) + attr(7, numbers(*range(11)))
    assert wire.decode_neighbours(body) == {"neighbour.ipv6.table_fulls": 10, "neighbour.ipv6.res_failed": 3}
    assert wire.decode_neighbours(bytes((2, 0, 0, 0)) + text(1, "arp_cache")) == {}


def test_files() -> None:
    snmp = "Ip: Forwarding InNoRoutes\nIp: 1 17\nIcmp: OutDestUnreachs\nIcmp: 3\n"
    assert wire.parse_snmp(snmp) == {"Ip.Forwarding": 1, "Ip.InNoRoutes": 17, "Icmp.OutDestUnreachs": 3}
    assert wire.parse_snmp6("Ip6InNoRoutes                   \t9\nodd\n") == {"Ip6InNoRoutes": 9}
    assert wire.parse_softnet("0000 0000000a 00\n0000 00000001 00\nodd\n\n") == 11
    assert wire.parse_boot_time("cpu 1 2\nbtime 1700000000\n") == 1700000000.0
    assert wire.parse_boot_time("cpu 1 2\n") is None


@given(st.binary(max_size=200))
def test_garbage_is_a_wire_error_or_nothing(garbage: bytes) -> None:
    for decode in (wire.decode_mpls, wire.decode_queue, wire.decode_neighbours, decode_hits, decode_route):
        try:
            decode(bytes(20) + garbage)
        except WireError:
            continue
    try:
        wire.decode_link(bytes(20) + garbage, {"tap0"})
        decode_next_hop(bytes(8) + garbage)
    except WireError:
        pass


@given(st.text(max_size=200))
def test_odd_files_count_nothing_they_do_not_say(content: str) -> None:
    for parse in (wire.parse_snmp, wire.parse_snmp6):
        assert all(value >= 0 for value in parse(content).values())
    assert wire.parse_softnet(content) >= 0


def counted(one: Filter, kind: str, packets: int, dropped: int, age: int, idle: int) -> bytes:
    """A filter as the kernel lists it: what was asked for, with counters and times in its action."""
    head = encode(one, 3, Responder(5, b"12345678"))[16:36]
    times = attr(1, struct.pack("=4Q", age, idle, 0, idle))
    statistics = nest(
        4, attr(1, struct.pack("=QI", 64 * packets, packets)), attr(3, struct.pack("=5I", 0, 0, dropped, 0, 0))
    )
    action = nest(1, text(1, kind), nest(2, times), statistics)
    return (
        head
        + text(1, "matchall" if one.keys is None else "flower")
        + nest(2, nest(2 if one.keys is None else 3, action))
    )


def test_hits_of_filters() -> None:
    drop = Filter(PRIORITY_DROP, 3, 1, None, Action.DROP)
    assert decode_hits(counted(drop, "gact", 5, 5, 1000, 200)) == Hits(PRIORITY_DROP, 1, 5, 5, 10.0, 2.0)
    assert decode_hits(counted(drop, "gact", 0, 0, 1000, 1000)) == Hits(PRIORITY_DROP, 1, 0, 0, 10.0, None)
    answer = Filter(PRIORITY_ARP, 0x0806, 77, ((8, b"\x08\x06"),), Action.ANSWER)
    assert decode_hits(counted(answer, "bpf", 9, 2, 300, 0)) == Hits(PRIORITY_ARP, 77, 9, 2, 3.0, 0.0)


def test_hits_without_counters_are_none() -> None:
    drop = Filter(PRIORITY_DROP, 3, 1, None, Action.DROP)
    assert decode_hits(encode(drop, 3, None)[16:]) == Hits(PRIORITY_DROP, 1, 0, 0, 0.0, None)
    assert (INGRESS, RTM_NEWTFILTER) == (0xFFFFFFF2, 44)


def test_question_for_a_route() -> None:
    request = route_request(parse_address("10.1.1.2"), 7)
    assert request[4:6] == struct.pack("=H", 26)
    # Family, length; nothing else is set, or a strict kernel refuses it; look-up of the table's entry itself.
    assert request[16:28] == struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 0, 0, 0, 0, 0x3000)
    assert request[28:] == attr(1, parse_address("10.1.1.2")) + u32(4, 7)
    request6 = route_request(parse_address("fd00::1"), 0)
    assert request6[16:28] == struct.pack("=BBBBBBBBI", 10, 128, 0, 0, 0, 0, 0, 0, 0x2000)
    assert request6[28:] == attr(1, parse_address("fd00::1"))


@pytest.mark.parametrize(("prefix", "family"), [("10.1.1.0/24", 2), ("fd00::/64", 10), ("0.0.0.0/0", 2)])
def test_route(prefix: str, family: int) -> None:
    wanted = Prefix.parse(prefix)
    head = struct.pack("=BBBBBBBBI", family, wanted.length, 0, 0, 252, 108, 0, 1, 0)
    destination = attr(1, wanted.packed) if wanted.length else b""
    found = decode_route(head + destination + u32(15, 10001) + u32(30, 77) + u32(6, 5))
    assert (found.prefix, found.table, found.protocol, found.kind) == (wanted, 10001, 108, "unicast")
    assert (found.next_hop, found.metric) == (77, 5)


def test_routes_that_go_nowhere_say_how() -> None:
    assert decode_route(struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 108, 0, 7, 0)).kind == "unreachable"
    assert decode_route(struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 108, 0, 99, 0)).kind == "type 99"


def test_next_hop_of_a_route() -> None:
    head = struct.pack("=BBBBI", 2, 0, 108, 0, 4)
    stack = attr(7, struct.pack("=H", 1)) + nest(8, attr(1, (100000 << 12 | 0x100).to_bytes(4, "big")))
    found = decode_next_hop(head + u32(1, 77) + u32(5, 3) + attr(6, parse_address("192.0.2.12")) + stack)
    assert (found.id, found.oif, found.gateway, found.members) == (77, 3, parse_address("192.0.2.12"), None)
    group = decode_next_hop(
        struct.pack("=BBBBI", 0, 0, 108, 0, 0) + u32(1, 78) + attr(2, struct.pack("=IBBHIBBH", 1, 0, 0, 0, 2, 0, 0, 0))
    )
    assert group.members == (1, 2)
