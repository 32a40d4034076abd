"""The monitor's socket filter, run by this kernel: a pair of datagram sockets has the same filter as netlink."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from datapath.attributes import attr, u8
from datapath.channel import attach_filter
from datapath.filters import INGRESS, OUR_PRIORITIES, RTM_DELTFILTER, RTM_NEWTFILTER, TC_H_CLSACT
from datapath.socket_filter import (
    AF_MPLS,
    MAX_DEVICES,
    NLM_F_REPLACE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELNEXTHOP,
    RTM_DELQDISC,
    RTM_DELROUTE,
    RTM_DELRULE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWNETCONF,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    monitor_filter,
)
from datapath.values import ICMP_SOURCE6
from datapath.wire import HEADER

OWN = (1234, 0x80001234)
OURS, KERNEL = 108, 2
TABLES = range(10000, 75536)
DEVICES = (3, 5, 200, 0x12345)
"""Of ours: one octet with its high bit clear, one with it set, and more octets than one."""


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach_filter(receiver, monitor_filter(OWN, TABLES, DEVICES))
        yield sender, receiver


def passes(pair: tuple[socket.socket, socket.socket], raw: bytes) -> bool:
    sender, receiver = pair
    sender.send(raw)
    try:
        received = receiver.recv(65536)
    except BlockingIOError:
        return False
    assert received == raw
    return True


def notification(kind: int, body: bytes, port: int = 0, flags: int = 0) -> bytes:
    return HEADER.pack(16 + len(body), kind, flags, 1, port) + body


def route(protocol: int, family: int = 2, table: int = 252, number: int = 0) -> bytes:
    """number: RTA_TABLE."""
    head = struct.pack("=BBBBBBBBI", family, 32, 0, 0, table, protocol, 0, 1, 0) + attr(1, bytes(4))
    return head + attr(15, struct.pack("=I", number))


def link(ifindex: int, alias: str = "", family: int = 0) -> bytes:
    head = struct.pack("=BxHiII", family, 1, ifindex, 0, 0) + attr(3, b"dev0\0")
    return head + (attr(20, alias.encode() + b"\0") if alias else b"")


def setting(ifindex: int) -> bytes:
    return b"\2\0\0\0" + attr(1, struct.pack("=i", ifindex)) + attr(2, bytes(4))


def address(ifindex: int, value: bytes = ICMP_SOURCE6) -> bytes:
    return struct.pack("=BBBBI", 10, 128, 0, 0, ifindex) + attr(1, value)


def neighbour(protocol: int | None) -> bytes:
    head = struct.pack("=BxxxiHBB", 2, 3, 0x80, 0, 1) + attr(1, bytes(4)) + attr(2, bytes(6))
    return head + (u8(12, protocol) if protocol is not None else b"")


def next_hop(protocol: int) -> bytes:
    return struct.pack("=BBBBI", 2, 0, protocol, 0, 0) + attr(1, bytes(4))


def tc(parent: int, priority: int, ifindex: int = DEVICES[0]) -> bytes:
    return struct.pack("=BxxxiIII", 0, ifindex, 1, parent, priority << 16 | 8)


PASSED = {
    "clsact gone of a device that may be new": notification(RTM_DELQDISC, tc(TC_H_CLSACT, 0, 4)),
    **{f"link {number}": notification(RTM_NEWLINK, link(number)) for number in DEVICES},
    "link gone": notification(RTM_DELLINK, link(DEVICES[0])),
    "own link change": notification(RTM_NEWLINK, link(DEVICES[0]), OWN[0]),
    "link with another mark": notification(RTM_NEWLINK, link(DEVICES[1], "other")),
    "new link with our mark": notification(RTM_NEWLINK, link(6, "vrfwire:port:web-1")),
    "setting": notification(RTM_NEWNETCONF, setting(DEVICES[2])),
    "setting of all": notification(RTM_NEWNETCONF, setting(-1)),
    "setting of nobody": notification(RTM_NEWNETCONF, b"\2\0\0\0"),
    "our route": notification(RTM_NEWROUTE, route(OURS)),
    "our route gone": notification(RTM_DELROUTE, route(OURS), 77),
    "our IPv6 route gone": notification(RTM_DELROUTE, route(OURS, 10)),
    "foreign route in place of another": notification(RTM_NEWROUTE, route(KERNEL, 2, 252, 10000), 77, NLM_F_REPLACE),
    "the same in the last table": notification(RTM_NEWROUTE, route(KERNEL, 10, 252, 75535), 77, NLM_F_REPLACE),
    "foreign label in place of another": notification(RTM_NEWROUTE, route(KERNEL, AF_MPLS, 0), 77, NLM_F_REPLACE),
    "our next hop": notification(RTM_NEWNEXTHOP, next_hop(OURS)),
    "our next hop gone": notification(RTM_DELNEXTHOP, next_hop(OURS)),
    "our neighbour": notification(RTM_NEWNEIGH, neighbour(OURS)),
    "our neighbour gone": notification(RTM_DELNEIGH, neighbour(OURS)),
    "our filter": notification(RTM_NEWTFILTER, tc(INGRESS, OUR_PRIORITIES[1])),
    "our filter gone": notification(RTM_DELTFILTER, tc(INGRESS, OUR_PRIORITIES[-1])),
    "clsact gone": notification(RTM_DELQDISC, tc(TC_H_CLSACT, 0)),
    "rule gone": notification(RTM_DELRULE, route(0)),
    "address gone": notification(RTM_DELADDR, address(DEVICES[3])),
    "address gone of a device not yet known": notification(RTM_DELADDR, address(4)),
}
DROPPED = {
    "link of a bridge": notification(RTM_NEWLINK, link(DEVICES[0], family=7)),
    **{f"foreign link {number}": notification(RTM_NEWLINK, link(number)) for number in (0, 4, 6, 3 << 8, 0x345, 201)},
    "foreign link gone": notification(RTM_DELLINK, link(7, "vrf")),
    "foreign link with a mark": notification(RTM_NEWLINK, link(7, "vrfs of another program")),
    "foreign setting": notification(RTM_NEWNETCONF, setting(4)),
    "setting of new devices": notification(RTM_NEWNETCONF, setting(-2)),
    "foreign address gone": notification(RTM_DELADDR, address(DEVICES[3], bytes(16))),
    "foreign IPv4 address gone": notification(RTM_DELADDR, address(DEVICES[3], bytes(4))),
    "foreign address gone, like ours at one end": notification(
        RTM_DELADDR, address(DEVICES[3], ICMP_SOURCE6[:15] + b"\x09")
    ),
    "foreign route": notification(RTM_NEWROUTE, route(KERNEL)),
    "foreign route gone": notification(RTM_DELROUTE, route(KERNEL)),
    "foreign route replaced in main": notification(RTM_NEWROUTE, route(KERNEL, 2, 254), 77, NLM_F_REPLACE),
    **{
        f"foreign route replaced in {table}": notification(
            RTM_NEWROUTE, route(KERNEL, 2, 252, table), 77, NLM_F_REPLACE
        )
        for table in (256, 9999, 75536, 0x2710_0000, 0xFFFFFFFF)
    },
    "foreign next hop": notification(RTM_NEWNEXTHOP, next_hop(KERNEL)),
    "foreign neighbour": notification(RTM_NEWNEIGH, neighbour(None)),
    "neighbour of another owner": notification(RTM_DELNEIGH, neighbour(KERNEL)),
    "foreign filter": notification(RTM_NEWTFILTER, tc(INGRESS, 5)),
    "other qdisc gone": notification(RTM_DELQDISC, tc(0xFFFFFFFF, 0)),
    "qdisc": notification(36, tc(TC_H_CLSACT, 0)),
    "rule": notification(32, route(0)),
    "address": notification(20, bytes(8)),
    "cut": notification(RTM_NEWROUTE, b""),
    **{
        f"own {name}": HEADER.pack(*HEADER.unpack_from(PASSED[name])[:4], OWN[1]) + PASSED[name][16:]
        for name in (
            "our route",
            "our route gone",
            "our next hop gone",
            "our neighbour",
            "our filter gone",
            "rule gone",
        )
    },
}


@pytest.mark.parametrize("raw", PASSED.values(), ids=list(PASSED))
def test_passed(pair: tuple[socket.socket, socket.socket], raw: bytes) -> None:
    assert passes(pair, raw)


@pytest.mark.parametrize("raw", DROPPED.values(), ids=list(DROPPED))
def test_dropped(pair: tuple[socket.socket, socket.socket], raw: bytes) -> None:
    assert not passes(pair, raw)


def loaded(devices: tuple[int, ...] | None) -> tuple[socket.socket, socket.socket]:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.setblocking(False)
    attach_filter(receiver, monitor_filter(OWN, TABLES, devices))
    return sender, receiver


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 400, MAX_DEVICES])
def test_any_number_of_devices(count: int) -> None:
    """Each passes, and nobody else's, however many there are."""
    devices = tuple(range(10, 10 + count))
    sender, receiver = loaded(devices)
    with sender, receiver:
        found = [n for n in range(5, 15 + count) if passes((sender, receiver), notification(RTM_NEWLINK, link(n)))]
    assert found == list(devices)


@pytest.mark.parametrize("devices", [None, tuple(range(1, MAX_DEVICES + 2))], ids=["not known", "too many"])
def test_all_devices_pass_when_ours_can_not_be_told(devices: tuple[int, ...] | None) -> None:
    sender, receiver = loaded(devices)
    with sender, receiver:
        assert passes((sender, receiver), notification(RTM_NEWLINK, link(1_000_000)))
        assert not passes((sender, receiver), notification(RTM_NEWROUTE, route(KERNEL)))
