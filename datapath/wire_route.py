"""Packed messages of VRF routes, MPLS routes and neighbours (Linux uapi/linux/rtnetlink.h, mpls.h, neighbour.h)."""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from datapath.values import PROTOCOL
from datapath.wire import (
    DELETE,
    HEADER,
    NEW,
    NLM_F_DUMP,
    NLM_F_DUMP_FILTERED,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_GETNEIGH,
    RTM_GETROUTE,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTN_UNICAST,
    SET,
    Message,
    Template,
    WireError,
    align,
    attribute,
    attribute_header,
    attributes,
    decode_labels,
    encode_labels,
    message,
    messages,
    number,
)

RTA_DST = 1
RTA_OIF = 4
RTA_PRIORITY = 6
RTA_METRICS = 8
RTA_TABLE = 15
RTA_VIA = 18
RTA_NEWDST = 19
RTA_NH_ID = 30
NDA_DST = 1
NDA_LLADDR = 2
NDA_PROTOCOL = 12
NUD_PERMANENT = 0x80
AF_MPLS = 28

METRIC = {4: 0, 16: 1024}
"""Metric of every route of ours, by the size of an address: what the kernel takes for none given. A route of another
metric is another route, and not ours."""

_RTMSG = struct.Struct("=BBBBBBBBI")
_NDMSG = struct.Struct("=BBHiHBB")
_NUMBER = struct.Struct("=I")
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}


# VRF routes


class RawRoute(NamedTuple):
    """A unicast route as the kernel tells it, of our METRIC and without type of service. next_hop: nexthop id, 0 when
    it goes by none. plain: whether it has nothing but that (no metrics such as an MTU)."""

    protocol: int
    table: int
    packed: bytes
    length: int
    next_hop: int
    plain: bool


def _route_parts(size: int) -> tuple[struct.Struct, bytes, bytes]:
    layout = struct.Struct(f"=IHHI4sBB10s4sI4s{size}s12sI")
    fixed = struct.pack("=BBBBBBI", 0, 0, 0, PROTOCOL, 0, RTN_UNICAST, 0)
    metric = attribute_header(RTA_PRIORITY, 4) + _NUMBER.pack(METRIC[size]) + attribute_header(RTA_NH_ID, 4)
    return layout, fixed, metric


_TABLE = attribute_header(RTA_TABLE, 4)
_PORT = bytes(4)  # port id: the kernel fills it in
_ROUTE4, _FIXED, _METRIC4 = _route_parts(4)
_ROUTE6, _, _METRIC6 = _route_parts(16)
_DST4 = attribute_header(RTA_DST, 4)
_DST6 = attribute_header(RTA_DST, 16)


def encode_route(sequence: int, table: int, packed: bytes, length: int, next_hop: int, flags: int = NEW) -> bytes:
    """RTM_NEWROUTE of a prefix by a nexthop id."""
    if len(packed) == 4:
        return _ROUTE4.pack(
            _ROUTE4.size, RTM_NEWROUTE, flags, sequence, _PORT, socket.AF_INET, length, _FIXED,
            _TABLE, table, _DST4, packed, _METRIC4, next_hop,
        )  # fmt: skip
    return _ROUTE6.pack(
        _ROUTE6.size, RTM_NEWROUTE, flags, sequence, _PORT, socket.AF_INET6, length, _FIXED,
        _TABLE, table, _DST6, packed, _METRIC6, next_hop,
    )  # fmt: skip


_TEMPLATES = {
    (size, flags): Template(encode_route(0, 0, bytes(size), 0, 0, flags)) for size in (4, 16) for flags in (NEW, SET)
}


def encode_routes(
    sequences: Sequence[int],
    tables: Sequence[int],
    packed: Sequence[bytes],
    lengths: Sequence[int],
    next_hops: Sequence[int],
    flags: int,
) -> bytearray:
    """encode_route() for many prefixes of one family; flags: NEW or SET."""
    size = len(packed[0])
    columns: list[tuple[int, bytes | array[int]]] = [
        (2, array("I", sequences)),
        (8, array("I", tables)),
        (10, b"".join(packed)),
        (10 + (size >> 2) + 3, array("I", next_hops)),
    ]
    return _TEMPLATES[size, flags].render(len(packed), columns, bytes(lengths), 17)


def encode_route_delete(sequence: int, table: int, packed: bytes, length: int) -> bytes:
    """RTM_DELROUTE of our unicast route of a prefix, and of no other program's."""
    size = len(packed)
    payload = (
        _RTMSG.pack(_FAMILY[size], length, 0, 0, 0, PROTOCOL, _SCOPE_ANY, RTN_UNICAST, 0)
        + attribute(RTA_TABLE, _NUMBER.pack(table))
        + attribute(RTA_DST, packed)
        + attribute(RTA_PRIORITY, _NUMBER.pack(METRIC[size]))
    )
    return message(RTM_DELROUTE, DELETE, sequence, payload)


_SCOPE_ANY = 255


def encode_route_dump(family: int, sequence: int) -> bytes:
    """RTM_GETROUTE of the unicast routes of our protocol; the kernel filters (NETLINK_GET_STRICT_CHK)."""
    kind = 0 if family == AF_MPLS else RTN_UNICAST
    payload = _RTMSG.pack(family, 0, 0, 0, 0, PROTOCOL, 0, kind, 0)
    return message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload)


# The layout of the kernel's answers (fib_dump_info, rt6_fill_node) up to the nexthop id; what follows repeats the next
# hop.
_FAST4 = struct.Struct("=IHHIIBBBBBBBBIIII4sII")
_FAST6 = struct.Struct("=IHHIIBBBBBBBBIIII16sIIII")


def _header_number(kind: int, size: int) -> int:
    return int(_NUMBER.unpack(attribute_header(kind, size))[0])


_H_TABLE = _header_number(RTA_TABLE, 4)
_H_DST4 = _header_number(RTA_DST, 4)
_H_DST6 = _header_number(RTA_DST, 16)
_H_PRIORITY = _header_number(RTA_PRIORITY, 4)
_H_NH_ID = _header_number(RTA_NH_ID, 4)
_FIXED4 = (0, 0, RTN_UNICAST, _H_TABLE, _H_DST4, _H_NH_ID)
_FIXED6 = (0, 0, RTN_UNICAST, _H_TABLE, _H_DST6, _H_PRIORITY, METRIC[16], _H_NH_ID)
_MULTI = (NLM_F_MULTI, NLM_F_MULTI | NLM_F_DUMP_FILTERED)


def decode_route_dump(buffer: bytes | bytearray, size: int, others: list[Message]) -> list[RawRoute]:
    """The IPv4 and IPv6 routes in a received buffer; messages that are none, or are marked in some way, go to others.

    The buffer must be at least 80 bytes longer than size. Raises WireError.
    """
    routes: list[RawRoute] = []
    append = routes.append
    header = HEADER.unpack_from
    new = tuple.__new__
    offset = 0
    while offset < size:
        length, kind, flags, _, _ = header(buffer, offset)
        if kind == RTM_NEWROUTE and flags in _MULTI and offset + length <= size:
            if length >= _FAST4.size and buffer[offset + 16] == socket.AF_INET:
                (
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    bits,
                    source,
                    tos,
                    _,
                    protocol,
                    _,
                    unicast,
                    _,
                    f0,
                    table,
                    f1,
                    packed,
                    f2,
                    next_hop,
                ) = _FAST4.unpack_from(buffer, offset)
                if (source, tos, unicast, f0, f1, f2) == _FIXED4:
                    append(new(RawRoute, (protocol, table, packed, bits, next_hop, True)))
                    offset += (length + 3) & ~3
                    continue
            elif length >= _FAST6.size and buffer[offset + 16] == socket.AF_INET6:
                (
                    _, _, _, _, _, _, bits, source, tos, _, protocol, _, unicast, _,
                    f0, table, f1, packed, f2, metric, f3, next_hop,
                ) = _FAST6.unpack_from(buffer, offset)  # fmt: skip
                if (source, tos, unicast, f0, f1, f2, metric, f3) == _FIXED6:
                    append(new(RawRoute, (protocol, table, packed, bits, next_hop, True)))
                    offset += (length + 3) & ~3
                    continue
        found = next(messages(buffer, size, offset))
        if found.type == RTM_NEWROUTE and (route := decode_route(buffer, found)) is not None:
            append(route)
        if found.flags not in _MULTI or found.type != RTM_NEWROUTE:
            others.append(found)
        offset = found.start - HEADER.size + align(length)
    return routes


def decode_route(buffer: bytes | bytearray, found: Message) -> RawRoute | None:
    """A RTM_NEWROUTE or RTM_DELROUTE message of any layout; None when it can't be one of ours: no unicast IP route, or
    one of another metric, type of service or source. Raises WireError."""
    if found.end - found.start < _RTMSG.size:
        raise WireError("route message too short")
    family, bits, source, tos, _, protocol, _, kind, _ = _RTMSG.unpack_from(buffer, found.start)
    size = {socket.AF_INET: 4, socket.AF_INET6: 16}.get(family)
    if size is None or kind != RTN_UNICAST:
        return None
    have = attributes(buffer, found.start + _RTMSG.size, found.end)
    packed = have.get(RTA_DST, b"").ljust(size, b"\0")
    if len(packed) != size or bits > 8 * size:
        raise WireError(f"route to {len(packed)} bytes /{bits}")
    if source or tos or number(have.get(RTA_PRIORITY)) != METRIC[size]:
        return None
    plain = RTA_METRICS not in have
    return RawRoute(protocol, number(have.get(RTA_TABLE)), packed, bits, number(have.get(RTA_NH_ID)), plain)


# MPLS routes


class RawMplsRoute(NamedTuple):
    """An MPLS route as the kernel tells it. via: packed address, b"" for none. plain: pops the label and goes one
    way."""

    label: int
    protocol: int
    oif: int
    via: bytes
    plain: bool


_LABEL_BITS = 20


def encode_mpls_route(sequence: int, label: int, oif: int, via: bytes, flags: int = NEW) -> bytes:
    """RTM_NEWROUTE: pop the label, deliver to via (packed; b"" on a VRF device: look up again) on an interface
    index."""
    payload = (
        _RTMSG.pack(AF_MPLS, _LABEL_BITS, 0, 0, _RT_TABLE_MAIN, PROTOCOL, 0, RTN_UNICAST, 0)
        + attribute(RTA_DST, encode_labels((label,)))
        + (attribute(RTA_VIA, struct.pack("=H", _FAMILY[len(via)]) + via) if via else b"")
        + attribute(RTA_OIF, _NUMBER.pack(oif))
    )
    return message(RTM_NEWROUTE, flags, sequence, payload)


_RT_TABLE_MAIN = 254


def encode_mpls_route_delete(sequence: int, label: int) -> bytes:
    """RTM_DELROUTE of a label."""
    payload = _RTMSG.pack(AF_MPLS, _LABEL_BITS, 0, 0, _RT_TABLE_MAIN, PROTOCOL, 0, RTN_UNICAST, 0)
    return message(RTM_DELROUTE, DELETE, sequence, payload + attribute(RTA_DST, encode_labels((label,))))


def decode_mpls_route_dump(buffer: bytes | bytearray, size: int, others: list[Message]) -> list[RawMplsRoute]:
    """The MPLS routes in a received buffer; messages other than of routes, or marked, go to others. Raises
    WireError."""
    routes = []
    for found in messages(buffer, size):
        if found.type == RTM_NEWROUTE and (route := decode_mpls_route(buffer, found)) is not None:
            routes.append(route)
        if found.flags not in _MULTI or found.type != RTM_NEWROUTE:
            others.append(found)
    return routes


def decode_mpls_route(buffer: bytes | bytearray, found: Message) -> RawMplsRoute | None:
    """A RTM_NEWROUTE or RTM_DELROUTE message; None when it is no MPLS route. Raises WireError."""
    if found.end - found.start < _RTMSG.size:
        raise WireError("route message too short")
    family, _, _, _, _, protocol, _, _, _ = _RTMSG.unpack_from(buffer, found.start)
    if family != AF_MPLS:
        return None
    have = attributes(buffer, found.start + _RTMSG.size, found.end)
    labels = decode_labels(have.get(RTA_DST, b""))
    if len(labels) != 1:
        raise WireError(f"MPLS route of {len(labels)} labels")
    via = have.get(RTA_VIA, b"")[2:]
    plain = RTA_NEWDST not in have and RTA_OIF in have and len(via) in (0, 4, 16)
    return RawMplsRoute(labels[0], protocol, number(have.get(RTA_OIF)), via, plain)


# Neighbours


class RawNeighbour(NamedTuple):
    """A neighbour as the kernel tells it; state: NUD_*."""

    ifindex: int
    address: bytes
    lladdr: bytes
    protocol: int
    state: int


def encode_neighbour(sequence: int, ifindex: int, address: bytes, lladdr: bytes, flags: int = SET) -> bytes:
    """RTM_NEWNEIGH of a permanent neighbour."""
    payload = (
        _NDMSG.pack(_FAMILY[len(address)], 0, 0, ifindex, NUD_PERMANENT, 0, 0)
        + attribute(NDA_DST, address)
        + attribute(NDA_LLADDR, lladdr)
        + attribute(NDA_PROTOCOL, bytes([PROTOCOL]))
    )
    return message(RTM_NEWNEIGH, flags, sequence, payload)


def encode_neighbour_delete(sequence: int, ifindex: int, address: bytes) -> bytes:
    """RTM_DELNEIGH."""
    payload = _NDMSG.pack(_FAMILY[len(address)], 0, 0, ifindex, 0, 0, 0) + attribute(NDA_DST, address)
    return message(RTM_DELNEIGH, DELETE, sequence, payload)


def encode_neighbour_dump(family: int, sequence: int) -> bytes:
    """RTM_GETNEIGH of a family; the kernel can't filter by protocol."""
    return message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, sequence, _NDMSG.pack(family, 0, 0, 0, 0, 0, 0))


def decode_neighbour_dump(buffer: bytes | bytearray, size: int, others: list[Message]) -> list[RawNeighbour]:
    """The neighbours in a received buffer; other messages, or marked ones, go to others. Raises WireError."""
    neighbours = []
    for found in messages(buffer, size):
        if found.type == RTM_NEWNEIGH:
            neighbours.append(decode_neighbour(buffer, found))
        if found.flags not in _MULTI or found.type != RTM_NEWNEIGH:
            others.append(found)
    return neighbours


def decode_neighbour(buffer: bytes | bytearray, found: Message) -> RawNeighbour:
    """A RTM_NEWNEIGH or RTM_DELNEIGH message. Raises WireError."""
    if found.end - found.start < _NDMSG.size:
        raise WireError("neighbour message too short")
    _, _, _, ifindex, state, _, _ = _NDMSG.unpack_from(buffer, found.start)
    have = attributes(buffer, found.start + _NDMSG.size, found.end)
    return RawNeighbour(
        ifindex, have.get(NDA_DST, b""), have.get(NDA_LLADDR, b""), number(have.get(NDA_PROTOCOL)), state
    )
