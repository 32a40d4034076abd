"""Notifications become events; what isn't ours becomes nothing."""

from __future__ import annotations

import struct

import pytest

from datapath.attributes import attr, u8, u32
from datapath.events import KernelEvent, ObjectChanged, ObjectRemoved
from datapath.filters import INGRESS, PRIORITY_ARP, PRIORITY_MARK, RTM_DELTFILTER, RTM_NEWTFILTER
from datapath.notifications import Names, decode
from datapath.socket_filter import (
    AF_MPLS,
    RTM_DELNEIGH,
    RTM_DELNEXTHOP,
    RTM_DELQDISC,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWNEIGH,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
)
from datapath.values import Kind, Neighbour, NextHop, NextHopGroup
from vpn.prefix import Prefix, parse_address

HOP = NextHop("vw-gre", parse_address("192.0.2.12"), (1004,))
GROUP = NextHopGroup((HOP,))
NAMES = Names(range(10000, 10010), range(1000, 1010), {3: "tap0"}.get, {10001: "vw-blue"}.get, {7: HOP, 8: GROUP})
PREFIX = Prefix.parse("10.1.1.2")
MAC = bytes.fromhex("020000000001")


def route(protocol: int = 108, table: int = 10001, kind: int = 1, length: int = 32, *more: bytes) -> bytes:
    head = struct.pack("=BBBBBBBBI", 2, length, 0, 0, 252, protocol, 0, kind, 0)
    return head + u32(15, table) + (attr(1, PREFIX.packed) if length else b"") + b"".join(more)


def label(value: int, protocol: int = 108) -> bytes:
    head = struct.pack("=BBBBBBBBI", AF_MPLS, 20, 0, 0, 0, protocol, 0, 1, 0)
    return head + attr(1, (value << 12 | 0x100).to_bytes(4, "big"))


def rule(*attributes: bytes) -> bytes:
    return struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 0, 0, 0, 1, 0) + b"".join(attributes)


def neighbour(state: int = 0x80, ifindex: int = 3, protocol: int = 108) -> bytes:
    head = struct.pack("=BxxxiHBB", 2, ifindex, state, 0, 1)
    return head + attr(1, PREFIX.packed) + attr(2, MAC) + u8(12, protocol)


def next_hop(identity: int) -> bytes:
    return struct.pack("=BBBBI", 2, 0, 108, 0, 0) + u32(1, identity)


def tc(priority: int, ifindex: int = 3) -> bytes:
    return struct.pack("=BxxxiIII", 0, ifindex, 1, INGRESS, priority << 16 | 8)


BY_ID = u32(30, 7)
CASES: dict[str, tuple[int, bytes, list[KernelEvent]]] = {
    "route deleted": (RTM_DELROUTE, route(108, 10001, 1, 32, BY_ID), [ObjectRemoved(Kind.VRF_ROUTE, (10001, PREFIX))]),
    "route written": (RTM_NEWROUTE, route(108, 10001, 1, 32, BY_ID), [ObjectChanged(Kind.VRF_ROUTE, (10001, PREFIX))]),
    "route taken over": (RTM_NEWROUTE, route(2), [ObjectRemoved(Kind.VRF_ROUTE, (10001, PREFIX))]),
    "route of another table": (RTM_DELROUTE, route(108, 99, 1, 32, BY_ID), []),
    "route without a next hop id": (RTM_NEWROUTE, route(108), []),
    "unreachable default deleted": (RTM_DELROUTE, route(108, 10001, 7, 0), [ObjectChanged(Kind.VRF, "vw-blue")]),
    "unreachable default of no VRF": (RTM_DELROUTE, route(108, 10002, 7, 0), []),
    "unreachable default made": (RTM_NEWROUTE, route(108, 10001, 7, 0), []),
    "label deleted": (RTM_DELROUTE, label(1004), [ObjectRemoved(Kind.MPLS_ROUTE, 1004)]),
    "label written": (RTM_NEWROUTE, label(1004), [ObjectChanged(Kind.MPLS_ROUTE, 1004)]),
    "label taken over": (RTM_NEWROUTE, label(1004, 2), [ObjectRemoved(Kind.MPLS_ROUTE, 1004)]),
    "label of others": (RTM_DELROUTE, label(5000), []),
    "rule of all VRFs": (RTM_DELRULE, rule(u8(19, 1), u8(21, 2)), [ObjectChanged(Kind.VRF, "*")]),
    "rule by mark": (RTM_DELRULE, rule(u32(10, 10001), u8(21, 108)), [ObjectChanged(Kind.VRF, "vw-blue")]),
    "rule by mark of others": (RTM_DELRULE, rule(u32(10, 10001), u8(21, 4)), []),
    "neighbour deleted": (RTM_DELNEIGH, neighbour(), [ObjectRemoved(Kind.NEIGHBOUR, ("tap0", PREFIX.packed))]),
    "neighbour changed": (
        RTM_NEWNEIGH,
        neighbour(),
        [ObjectChanged(Kind.NEIGHBOUR, ("tap0", PREFIX.packed), Neighbour("tap0", PREFIX.packed, MAC))],
    ),
    "neighbour no longer permanent": (
        RTM_NEWNEIGH,
        neighbour(0x04),
        [ObjectChanged(Kind.NEIGHBOUR, ("tap0", PREFIX.packed), Neighbour("tap0", PREFIX.packed, b""))],
    ),
    "neighbour on an unknown device": (RTM_DELNEIGH, neighbour(ifindex=9), []),
    "neighbour of others": (RTM_DELNEIGH, neighbour(protocol=2), []),
    "next hop deleted": (RTM_DELNEXTHOP, next_hop(7), [ObjectRemoved(Kind.NEXT_HOP, HOP)]),
    "group changed": (RTM_NEWNEXTHOP, next_hop(8), [ObjectChanged(Kind.NEXT_HOP_GROUP, GROUP)]),
    "unknown next hop": (RTM_DELNEXTHOP, next_hop(9), []),
    "filter deleted": (RTM_DELTFILTER, tc(PRIORITY_ARP), [ObjectRemoved(Kind.ANTI_SPOOFING, "tap0")]),
    "filter added": (RTM_NEWTFILTER, tc(PRIORITY_ARP), [ObjectChanged(Kind.ANTI_SPOOFING, "tap0")]),
    "filter of others": (RTM_DELTFILTER, tc(5), []),
    "filter on an unknown device": (RTM_DELTFILTER, tc(PRIORITY_ARP, 9), []),
    "mark deleted": (
        RTM_DELTFILTER,
        tc(PRIORITY_MARK),
        [ObjectRemoved(Kind.PORT, "tap0"), ObjectRemoved(Kind.ANTI_SPOOFING, "tap0")],
    ),
    "clsact deleted": (
        RTM_DELQDISC,
        tc(0),
        [ObjectRemoved(Kind.PORT, "tap0"), ObjectRemoved(Kind.ANTI_SPOOFING, "tap0")],
    ),
    "something else": (20, bytes(8), []),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_events(case: tuple[int, bytes, list[KernelEvent]]) -> None:
    kind, body, expected = case
    assert decode(kind, body, NAMES) == expected
