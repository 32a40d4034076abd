"""Asking the kernel which route it would take: the request, and the route and next hops in its answers. Pure.

The answer is of the moment: it comes from the kernel's own look-up (RTM_F_FIB_MATCH, as `ip route get fibmatch`), not
from a dump or from what is believed to be there.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from datapath.attributes import attr, message, number, parse, u32
from datapath.devices import AF_INET, AF_INET6
from datapath.wire import RTM_GETNEXTHOP, Message
from datapath.wire_nexthop import RawNextHop, decode
from vpn.prefix import Prefix

RTM_GETROUTE: Final = 26
_RTM_F_LOOKUP_TABLE: Final = 0x1000
_RTM_F_FIB_MATCH: Final = 0x2000
_RTMSG = struct.Struct("=BBBBBBBBI")
_NHMSG = struct.Struct("=BBBBI")
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE, _RTA_NH_ID = 1, 4, 5, 6, 15, 30
_NHA_ID: Final = 1

_TYPES: Final = {1: "unicast", 2: "local", 3: "broadcast", 6: "blackhole", 7: "unreachable", 8: "prohibit"}


@dataclass(frozen=True, slots=True)
class RawRoute:
    """A route as the kernel tells it. table, protocol: numbers; kind: "unicast", "unreachable", ...; oif and gateway
    (packed) of a route without nexthop object; next_hop: id of the nexthop object or group, 0 for none."""

    prefix: Prefix
    table: int
    protocol: int
    kind: str
    metric: int
    oif: int
    gateway: bytes
    next_hop: int


def route_request(address: bytes, oif: int) -> bytes:
    """RTM_GETROUTE for the route to an address (packed). oif: interface index of the VRF to look in, 0 for the main
    tables."""
    family = AF_INET if len(address) == 4 else AF_INET6
    # IPv6 tells the table in any case, and takes no flag for it.
    flags = _RTM_F_FIB_MATCH | (_RTM_F_LOOKUP_TABLE if family == AF_INET else 0)
    header = _RTMSG.pack(family, len(address) * 8, 0, 0, 0, 0, 0, 0, flags)
    return message(RTM_GETROUTE, 0, header, attr(_RTA_DST, address), *([u32(_RTA_OIF, oif)] if oif else []))


def decode_route(body: bytes) -> RawRoute:
    """The route of an RTM_NEWROUTE. Raises WireError."""
    family, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
    found = parse(body, _RTMSG.size)
    size = 4 if family == AF_INET else 16
    return RawRoute(
        Prefix(found.get(_RTA_DST, bytes(size))[:size].ljust(size, b"\0"), length),
        number(found.get(_RTA_TABLE), table),
        protocol,
        _TYPES.get(kind, f"type {kind}"),
        number(found.get(_RTA_PRIORITY)),
        number(found.get(_RTA_OIF)),
        found.get(_RTA_GATEWAY, b""),
        number(found.get(_RTA_NH_ID)),
    )


def next_hop_request(identity: int) -> bytes:
    """RTM_GETNEXTHOP for one nexthop object or group."""
    return message(RTM_GETNEXTHOP, 0, _NHMSG.pack(0, 0, 0, 0, 0), u32(_NHA_ID, identity))


def decode_next_hop(body: bytes) -> RawNextHop:
    """The object of an RTM_NEWNEXTHOP. Raises WireError."""
    return decode(body, Message(0, 0, 0, 0, len(body)))
