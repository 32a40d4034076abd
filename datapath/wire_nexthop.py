"""Packed messages of nexthop objects and groups (Linux uapi/linux/nexthop.h, lwtunnel.h, mpls_iptunnel.h)."""

from __future__ import annotations

import socket
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from datapath.values import PROTOCOL
from datapath.wire import (
    DELETE,
    HEADER,
    NLA_F_NESTED,
    NLM_F_DUMP,
    NLM_F_MULTI,
    NLM_F_REQUEST,
    RTM_DELNEXTHOP,
    RTM_GETNEXTHOP,
    RTM_NEWNEXTHOP,
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

NHA_ID = 1
NHA_GROUP = 2
NHA_BLACKHOLE = 4
NHA_OIF = 5
NHA_GATEWAY = 6
NHA_ENCAP_TYPE = 7
NHA_ENCAP = 8
NHA_GROUPS = 9
NHA_FDB = 11
LWTUNNEL_ENCAP_MPLS = 1
MPLS_IPTUNNEL_DST = 1
RTNH_F_ONLINK = 4

_NHMSG = struct.Struct("=BBBBI")
_ID = struct.Struct("=I")
_MEMBER = struct.Struct("=IBBH")
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
_HEAD = HEADER.size + _NHMSG.size

# One layout per (gateway size, number of labels); the constants around the variable fields are made once.
_LAYOUTS: dict[tuple[int, int], tuple[struct.Struct, bytes, bytes, bytes, bytes]] = {}


class RawNextHop(NamedTuple):
    """A nexthop object as the kernel tells it.

    members: ids of a group's members, None for a single next hop. gateway, labels and oif are empty or 0 where the
    object has none. plain: whether it has nothing but what the others say (no blackhole, FDB, weights, other
    encapsulation)."""

    id: int
    protocol: int
    oif: int
    gateway: bytes
    labels: bytes
    members: tuple[int, ...] | None
    plain: bool


def _layout(gateway_size: int, labels: int) -> tuple[struct.Struct, bytes, bytes, bytes, bytes]:
    """Struct and constant parts of a message: head..id, oif header, gateway header, encapsulation in front of
    labels."""
    packed = _LAYOUTS.get((gateway_size, labels))
    if packed is not None:
        return packed
    encapsulation = b""
    if labels:
        nested = 4 + 4 * labels
        encapsulation = (
            attribute(NHA_ENCAP_TYPE, struct.pack("=H", LWTUNNEL_ENCAP_MPLS))
            + attribute_header(NHA_ENCAP | NLA_F_NESTED, nested)
            + attribute_header(MPLS_IPTUNNEL_DST, 4 * labels)
        )
    head = (
        bytes(4)  # port id: the kernel fills it in
        + _NHMSG.pack(_FAMILY[gateway_size], 0, PROTOCOL, 0, RTNH_F_ONLINK)
        + attribute_header(NHA_ID, 4)
    )
    stack = 4 * labels
    layout = struct.Struct(f"=IHHI{len(head)}sI4sI4s{gateway_size}s{len(encapsulation)}s{stack}s")
    packed = (layout, head, attribute_header(NHA_OIF, 4), attribute_header(NHA_GATEWAY, gateway_size), encapsulation)
    _LAYOUTS[gateway_size, labels] = packed
    return packed


def encode_next_hop(sequence: int, identity: int, oif: int, gateway: bytes, stack: bytes, flags: int = SET) -> bytes:
    """RTM_NEWNEXTHOP. oif: interface index. gateway: packed. stack: see wire.encode_labels(), empty for none."""
    layout, head, oif_header, gateway_header, encapsulation = _layout(len(gateway), len(stack) >> 2)
    return layout.pack(
        layout.size,
        RTM_NEWNEXTHOP,
        flags,
        sequence,
        head,
        identity,
        oif_header,
        oif,
        gateway_header,
        gateway,
        encapsulation,
        stack,
    )


_TEMPLATES: dict[tuple[int, int, int, int], Template] = {}


def encode_next_hops(
    sequences: Sequence[int],
    identities: Sequence[int],
    oif: int,
    gateways: Sequence[bytes],
    labels: Sequence[tuple[int, ...]],
    flags: int,
) -> bytearray:
    """encode_next_hop() for many with gateways of one size and as many labels each."""
    size, depth = len(gateways[0]), len(labels[0])
    shape = (size, depth, oif, flags)
    template = _TEMPLATES.get(shape)
    if template is None:
        if len(_TEMPLATES) >= _MOST_TEMPLATES:
            _TEMPLATES.clear()
        template = _TEMPLATES[shape] = Template(encode_next_hop(0, 0, oif, bytes(size), bytes(4 * depth), flags))
    columns: list[tuple[int, bytes | array[int]]] = [
        (2, array("I", sequences)),
        (7, array("I", identities)),
        (11, b"".join(gateways)),
    ]
    if depth:
        # Behind the gateway: the encapsulation's type, its header and the stack's header.
        columns.append((11 + (size >> 2) + 4, _encode_stacks(labels)))
    return template.render(len(gateways), columns, b"", 0)


def _encode_stacks(labels: Sequence[tuple[int, ...]]) -> bytes | array[int]:
    """encode_labels() for many of one depth, end to end."""
    if len(labels[0]) > 1 or sys.byteorder != "little":
        return b"".join(map(encode_labels, labels))
    entries = array("I", [(label << 12) | 0x100 for (label,) in labels])
    entries.byteswap()
    return entries


_MOST_TEMPLATES = 1024


def encode_group(sequence: int, identity: int, members: tuple[int, ...], flags: int = SET) -> bytes:
    """RTM_NEWNEXTHOP of a group; members: ids, each of weight 1."""
    payload = (
        _NHMSG.pack(socket.AF_UNSPEC, 0, PROTOCOL, 0, 0)
        + attribute(NHA_ID, _ID.pack(identity))
        # The weight is sent less one.
        + attribute(NHA_GROUP, b"".join(_MEMBER.pack(member, 0, 0, 0) for member in members))
    )
    return message(RTM_NEWNEXTHOP, flags, sequence, payload)


_DELETE = struct.Struct("=IHHI16sI")
_DELETE_HEAD = bytes(4) + _NHMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attribute_header(NHA_ID, 4)


def encode_delete(sequence: int, identity: int) -> bytes:
    """RTM_DELNEXTHOP of a next hop or group."""
    return _DELETE.pack(_DELETE.size, RTM_DELNEXTHOP, DELETE, sequence, _DELETE_HEAD, identity)


def encode_dump(groups: bool, sequence: int) -> bytes:
    """RTM_GETNEXTHOP of everything, or of the groups only."""
    payload = _NHMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + (attribute(NHA_GROUPS, b"") if groups else b"")
    return message(RTM_GETNEXTHOP, NLM_F_REQUEST | NLM_F_DUMP, sequence, payload)


# The layouts of the kernel's answers (net/ipv4/nexthop.c, nh_fill_node) by message length: with one label, and without.


def _header_number(kind: int, size: int) -> int:
    return int(_ID.unpack(attribute_header(kind, size))[0])


_H_ID = _header_number(NHA_ID, 4)
_H_OIF = _header_number(NHA_OIF, 4)
_H_ENCAP = _header_number(NHA_ENCAP, 8)
_H_STACK = _header_number(MPLS_IPTUNNEL_DST, 4)
_LABELLED = {
    layout.size: (layout.unpack_from, (_H_ID, _H_OIF, _header_number(NHA_GATEWAY, size), _H_ENCAP, _H_STACK))
    for size in (4, 16)
    for layout in [struct.Struct(f"=IHHIIBBBBIIIIII{size}sII4sIHH")]
}
_UNLABELLED = {
    layout.size: (layout.unpack_from, (_H_ID, _H_OIF, _header_number(NHA_GATEWAY, size)))
    for size in (4, 16)
    for layout in [struct.Struct(f"=IHHIIBBBBIIIIII{size}s")]
}
_H_TYPE = _header_number(NHA_ENCAP_TYPE, 2)


def decode_dump(buffer: bytes | bytearray, size: int, others: list[Message]) -> list[RawNextHop]:
    """The nexthop objects in a received buffer; messages that are none, or are marked in some way, go to others.

    The buffer must be at least 80 bytes longer than size. Raises WireError.
    """
    objects: list[RawNextHop] = []
    append = objects.append
    header = HEADER.unpack_from
    new = tuple.__new__
    offset = 0
    while offset < size:
        length, kind, flags, _, _ = header(buffer, offset)
        if kind == RTM_NEWNEXTHOP and flags == NLM_F_MULTI and offset + length <= size:
            if length in _LABELLED:
                unpack, fixed = _LABELLED[length]
                (
                    _, _, _, _, _, _, _, protocol, _, bits, f0, identity, f1, oif, f2, gateway,
                    f3, f4, stack, f5, encap, _,
                ) = unpack(buffer, offset)  # fmt: skip
                good = (f0, f1, f2, f3, f4) == fixed and f5 == _H_TYPE and encap == LWTUNNEL_ENCAP_MPLS
                if good and bits & RTNH_F_ONLINK:
                    append(new(RawNextHop, (identity, protocol, oif, gateway, stack, None, True)))
                    offset += length
                    continue
            elif length in _UNLABELLED:
                unpack, plain = _UNLABELLED[length]
                (_, _, _, _, _, _, _, protocol, _, bits, f0, identity, f1, oif, f2, gateway) = unpack(buffer, offset)
                if (f0, f1, f2) == plain and bits & RTNH_F_ONLINK:
                    append(new(RawNextHop, (identity, protocol, oif, gateway, b"", None, True)))
                    offset += length
                    continue
        found = next(messages(buffer, size, offset))
        if found.type == RTM_NEWNEXTHOP:
            append(decode(buffer, found))
        if found.flags != NLM_F_MULTI or found.type != RTM_NEWNEXTHOP:
            others.append(found)
        offset = found.start - HEADER.size + align(length)
    return objects


def decode(buffer: bytes | bytearray, found: Message) -> RawNextHop:
    """A RTM_NEWNEXTHOP or RTM_DELNEXTHOP message of any layout. Raises WireError."""
    if found.end - found.start < _NHMSG.size:
        raise WireError("nexthop message too short")
    family, _, protocol, _, flags = _NHMSG.unpack_from(buffer, found.start)
    have = attributes(buffer, found.start + _NHMSG.size, found.end)
    identity = number(have.get(NHA_ID))
    if NHA_GROUP in have:
        group = have[NHA_GROUP]
        if len(group) % _MEMBER.size:
            raise WireError(f"nexthop group of {len(group)} bytes")
        entries = list(_MEMBER.iter_unpack(group))
        plain = all(weight == 0 and high == 0 for _, weight, high, _ in entries)
        return RawNextHop(identity, protocol, 0, b"", b"", tuple(entry[0] for entry in entries), plain)
    gateway = have.get(NHA_GATEWAY, b"")
    stack = b""
    plain = bool(flags & RTNH_F_ONLINK) and NHA_BLACKHOLE not in have and NHA_FDB not in have
    plain = plain and _FAMILY.get(len(gateway)) == family
    if NHA_ENCAP in have:
        nested = attributes(have[NHA_ENCAP], 0, len(have[NHA_ENCAP]))
        stack = nested.get(MPLS_IPTUNNEL_DST, b"")
        decode_labels(stack)
        plain = plain and number(have.get(NHA_ENCAP_TYPE)) == LWTUNNEL_ENCAP_MPLS and set(nested) == {MPLS_IPTUNNEL_DST}
    return RawNextHop(identity, protocol, number(have.get(NHA_OIF)), gateway, stack, None, plain)
