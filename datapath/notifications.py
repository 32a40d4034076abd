"""Notifications of routes, next hops, neighbours and filters as events. Pure.

The socket filter has let through only what may concern us; here it is looked at closely.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from datapath.attributes import number, parse
from datapath.devices import AF_INET, AF_INET6
from datapath.events import KernelEvent, ObjectChanged, ObjectRemoved
from datapath.filters import OUR_PRIORITIES, PRIORITY_MARK, RTM_DELTFILTER, RTM_NEWTFILTER
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
from datapath.values import PROTOCOL, Kind, Neighbour, NextHop, NextHopGroup
from vpn.prefix import Prefix

_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_NHMSG = struct.Struct("=BBBBI")
_TCMSG = struct.Struct("=BxxxiIII")
_RTA_DST, _RTA_PRIORITY, _RTA_TABLE, _RTA_NH_ID = 1, 6, 15, 30
_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL = 1, 2, 12
_NHA_ID = 1
_FRA_FWMARK, _FRA_L3MDEV, _FRA_PROTOCOL = 10, 19, 21
_NUD_PERMANENT = 0x80
_RTN_UNREACHABLE = 7


class Names(NamedTuple):
    """What turns numbers of the kernel into names.

    tables, labels: those that are ours; device: name of a device by index; vrf: name of our VRF device of a table;
    next_hops: known next hops and groups by id.
    """

    tables: range
    labels: range
    device: Callable[[int], str | None]
    vrf: Callable[[int], str | None]
    next_hops: Mapping[int, NextHop | NextHopGroup]


def decode(kind: int, body: bytes, names: Names) -> list[KernelEvent]:
    """The events in one notification that isn't about a link. Raises WireError."""
    if kind in (RTM_NEWROUTE, RTM_DELROUTE):
        return _route(kind, body, names)
    if kind in (RTM_NEWNEIGH, RTM_DELNEIGH):
        return _neighbour(kind, body, names)
    if kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
        return _next_hop(kind, body, names)
    if kind == RTM_DELRULE:
        return _rule(body, names)
    if kind in (RTM_NEWTFILTER, RTM_DELTFILTER, RTM_DELQDISC):
        return _filter(kind, body, names)
    return []


def _route(kind: int, body: bytes, names: Names) -> list[KernelEvent]:
    family, length, _, _, _, protocol, _, route_type, _ = _RTMSG.unpack_from(body)
    found = parse(body, _RTMSG.size)
    # One of ours that was deleted or written by somebody, or one of another owner that has taken its place.
    removed = kind == RTM_DELROUTE or protocol != PROTOCOL
    if family == AF_MPLS:
        label = int.from_bytes(found.get(_RTA_DST, b"")[:4], "big") >> 12
        if label not in names.labels:
            return []
        return [ObjectRemoved(Kind.MPLS_ROUTE, label) if removed else ObjectChanged(Kind.MPLS_ROUTE, label)]
    table = number(found.get(_RTA_TABLE))
    if family not in (AF_INET, AF_INET6) or table not in names.tables:
        return []
    if route_type == _RTN_UNREACHABLE and length == 0 and protocol == PROTOCOL:
        vrf = names.vrf(table)
        return [ObjectChanged(Kind.VRF, vrf)] if vrf is not None and kind == RTM_DELROUTE else []
    if protocol == PROTOCOL and _RTA_NH_ID not in found:
        return []
    key = (table, Prefix(found.get(_RTA_DST, bytes(4 if family == AF_INET else 16)), length))
    return [ObjectRemoved(Kind.VRF_ROUTE, key) if removed else ObjectChanged(Kind.VRF_ROUTE, key)]


def _rule(body: bytes, names: Names) -> list[KernelEvent]:
    """A rule was deleted: the one that all VRFs need, or the one by mark of one."""
    found = parse(body, _RTMSG.size)
    if number(found.get(_FRA_L3MDEV)) == 1:
        return [ObjectChanged(Kind.VRF, "*")]
    vrf = names.vrf(number(found.get(_FRA_FWMARK))) if number(found.get(_FRA_PROTOCOL)) == PROTOCOL else None
    return [] if vrf is None else [ObjectChanged(Kind.VRF, vrf)]


def _neighbour(kind: int, body: bytes, names: Names) -> list[KernelEvent]:
    _, ifindex, state, _, _ = _NDMSG.unpack_from(body)
    found = parse(body, _NDMSG.size)
    device = names.device(ifindex)
    address = found.get(_NDA_DST)
    if number(found.get(_NDA_PROTOCOL)) != PROTOCOL or device is None or address is None:
        return []
    if kind == RTM_DELNEIGH:
        return [ObjectRemoved(Kind.NEIGHBOUR, (device, address))]
    lladdr = found.get(_NDA_LLADDR, b"") if state & _NUD_PERMANENT else b""
    return [ObjectChanged(Kind.NEIGHBOUR, (device, address), Neighbour(device, address, lladdr))]


def _next_hop(kind: int, body: bytes, names: Names) -> list[KernelEvent]:
    known = names.next_hops.get(number(parse(body, _NHMSG.size).get(_NHA_ID)))
    if known is None:
        return []
    which = Kind.NEXT_HOP if isinstance(known, NextHop) else Kind.NEXT_HOP_GROUP
    return [ObjectRemoved(which, known) if kind == RTM_DELNEXTHOP else ObjectChanged(which, known)]


def _filter(kind: int, body: bytes, names: Names) -> list[KernelEvent]:
    _, ifindex, _, _, info = _TCMSG.unpack_from(body)
    device = names.device(ifindex)
    if device is None or (kind != RTM_DELQDISC and info >> 16 not in OUR_PRIORITIES):
        return []
    if kind == RTM_NEWTFILTER:
        return [ObjectChanged(Kind.ANTI_SPOOFING, device)]
    events: list[KernelEvent] = [ObjectRemoved(Kind.ANTI_SPOOFING, device)]
    if kind == RTM_DELQDISC or info >> 16 == PRIORITY_MARK:
        # What belongs to the port itself can't be seen in its value.
        events.insert(0, ObjectRemoved(Kind.PORT, device))
    return events
