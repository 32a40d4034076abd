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
from datapath.wire import HEADER

OWN = (1234, 0x80001234)
OURS, KERNEL = 108, 2


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        attach_filter(receiver, monitor_filter(OWN))
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


def route(protocol: int, family: int = 2, table: int = 252) -> bytes:
    return struct.pack("=BBBBBBBBI", family, 32, 0, 0, table, protocol, 0, 1, 0) + attr(1, bytes(4))


def neighbour(protocol: int | None) -> bytes:
    head = struct.pack("=BxxxiHBB", 2, 3, 0x80, 0, 1) + attr(1, bytes(4)) + attr(2, bytes(6))
    return head + (u8(12, protocol) if protocol is not None else b"")


def next_hop(protocol: int) -> bytes:
    return struct.pack("=BBBBI", 2, 0, protocol, 0, 0) + attr(1, bytes(4))


def tc(parent: int, priority: int) -> bytes:
    return struct.pack("=BxxxiIII", 0, 3, 1, parent, priority << 16 | 8)


PASSED = {
    "link": notification(RTM_NEWLINK, bytes(16)),
    "link gone": notification(RTM_DELLINK, bytes(16)),
    "own link change": notification(RTM_NEWLINK, bytes(16), OWN[0]),
    "setting": notification(RTM_NEWNETCONF, b"\2\0\0\0"),
    "our route": notification(RTM_NEWROUTE, route(OURS)),
    "our route gone": notification(RTM_DELROUTE, route(OURS), 77),
    "our IPv6 route gone": notification(RTM_DELROUTE, route(OURS, 10)),
    "foreign route in place of another": notification(RTM_NEWROUTE, route(KERNEL), 77, NLM_F_REPLACE),
    "foreign label in place of another": notification(RTM_NEWROUTE, route(KERNEL, AF_MPLS, 0), 77, NLM_F_REPLACE),
    "our next hop": notification(RTM_NEWNEXTHOP, next_hop(OURS)),
    "our next hop gone": notification(RTM_DELNEXTHOP, next_hop(OURS)),
    "our neighbour": notification(RTM_NEWNEIGH, neighbour(OURS)),
    "our neighbour gone": notification(RTM_DELNEIGH, neighbour(OURS)),
    "our filter": notification(RTM_NEWTFILTER, tc(INGRESS, OUR_PRIORITIES[1])),
    "our filter gone": notification(RTM_DELTFILTER, tc(INGRESS, OUR_PRIORITIES[-1])),
    "clsact gone": notification(RTM_DELQDISC, tc(TC_H_CLSACT, 0)),
    "rule gone": notification(RTM_DELRULE, route(0)),
    "address gone": notification(RTM_DELADDR, bytes(8)),
}
DROPPED = {
    "link of a bridge": notification(RTM_NEWLINK, b"\7" + bytes(15)),
    "foreign route": notification(RTM_NEWROUTE, route(KERNEL)),
    "foreign route gone": notification(RTM_DELROUTE, route(KERNEL)),
    "foreign route replaced in main": notification(RTM_NEWROUTE, route(KERNEL, 2, 254), 77, NLM_F_REPLACE),
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
