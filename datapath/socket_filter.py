"""The classic BPF program on the event monitor's socket: what doesn't concern us never wakes us.

A host with a full BGP table announces 30,000 routes to everyone who listens; our own batches are as large. Containers
and VMs of others come and go with their devices. A datagram of notifications holds one message, so its header, its
fixed part and a few attributes decide.

What is told of a device passes when it is known to be ours, or carries our mark (ifalias): so a new one is noticed, and
one whose mark somebody takes away, too.
"""

from __future__ import annotations

import functools
import struct
import sys
from collections.abc import Collection, Sequence
from typing import Final

from datapath.filters import OUR_PRIORITIES, RTM_DELTFILTER, RTM_NEWTFILTER, TC_H_CLSACT
from datapath.values import ALIAS_PREFIX, ICMP_SOURCE6, PROTOCOL

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_DELADDR: Final = 21
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_NEWNEIGH: Final = 28
RTM_DELNEIGH: Final = 29
RTM_DELRULE: Final = 33
RTM_DELQDISC: Final = 37
RTM_NEWNETCONF: Final = 80
RTM_NEWNEXTHOP: Final = 104
RTM_DELNEXTHOP: Final = 105
NLM_F_REPLACE: Final = 0x100
AF_MPLS: Final = 28
RT_TABLE_COMPAT: Final = 252
"""rtm_table of every table above 255; the number itself is in an attribute."""

_LOAD_WORD: Final = 0x20
_LOAD_HALF: Final = 0x28
_LOAD_BYTE: Final = 0x30
_LOAD_WORD_AT_X: Final = 0x40
_LOAD_BYTE_AT_X: Final = 0x50
_LOAD_NUMBER: Final = 0x00
_LOAD_X_NUMBER: Final = 0x01
_LOAD_X_KEPT: Final = 0x61
_KEEP: Final = 0x02
_KEEP_X: Final = 0x03
_ADD_X: Final = 0x0C
_SHIFT_LEFT: Final = 0x64
_A_TO_X: Final = 0x07
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_JUMP_BITS: Final = 0x45
_RETURN: Final = 0x06
_FIND_ATTRIBUTE: Final = 0xFFFFF000 + 12
"""SKF_AD_NLATTR: A = offset of the attribute of type X behind offset A, or 0."""

_TYPE, _FLAGS, _PORT = 4, 6, 12
_FAMILY = _IFI_FAMILY = 16
_RTM_TABLE, _RTM_PROTOCOL = 20, 21
_NH_PROTOCOL = 18
_IFINDEX = 20
"""Of links."""
_LINK_ATTRIBUTES = 32
_IFLA_IFALIAS = 20
_MARK = int.from_bytes(ALIAS_PREFIX.encode()[:4], "big")
"""Start of our ifaliases."""
_ADDRESS_ATTRIBUTES = 24
_IFA_ADDRESS = 1
_ICMP_SOURCE6_ENDS = struct.unpack("!I8xI", ICMP_SOURCE6)
"""First and last word."""
_SETTING_ATTRIBUTES = 20
_NETCONFA_IFINDEX = 1
_ALL_DEVICES = 0xFFFFFFFF
_ROUTE_ATTRIBUTES = 28
_RTA_TABLE = 15
_NEIGHBOUR_ATTRIBUTES = 28
_NDA_PROTOCOL = 12
_TCM_PARENT = 28
_TCM_PRIORITY_HIGH = 35 if sys.byteorder == "little" else 32

Instruction = tuple[int, int, str | None, str | None]
"""Code, number, label to go to when true, when false; None is the next instruction."""

_FILTER = struct.Struct("=HBBI")
_EVERYTHING = 0xFFFFFFFF
_ACCEPT = _FILTER.pack(_RETURN, 0, 0, _EVERYTHING)
_DROP = _FILTER.pack(_RETURN, 0, 0, 0)


def _find(attributes: int, kind: int, missing: str) -> list[Instruction]:
    """X = offset of the attribute of a kind; attributes: where the first one is."""
    return [
        (_LOAD_NUMBER, attributes, None, None),
        (_LOAD_X_NUMBER, kind, None, None),
        (_LOAD_WORD, _FIND_ATTRIBUTE, None, None),
        (_JUMP_EQUAL, 0, missing, None),
        (_A_TO_X, 0, None, None),
    ]


def _host_word_at_x() -> list[Instruction]:
    """A = the number in the attribute at X. A load reads network order, and there is no swap of octets."""
    if sys.byteorder == "big":
        return [(_LOAD_WORD_AT_X, 4, None, None)]
    offset, total = 0, 1
    code: list[Instruction] = [
        (_KEEP_X, offset, None, None),
        (_LOAD_BYTE_AT_X, 4, None, None),
        (_KEEP, total, None, None),
    ]
    for octet in (1, 2, 3):
        code += [
            (_LOAD_X_KEPT, offset, None, None),
            (_LOAD_BYTE_AT_X, 4 + octet, None, None),
            (_SHIFT_LEFT, 8 * octet, None, None),
            (_LOAD_X_KEPT, total, None, None),
            (_ADD_X, 0, None, None),
            (_KEEP, total, None, None),
        ]
    return code


def _one_of(devices: Collection[int]) -> bytes:
    """The end of the program: whether A is one of these."""
    numbers = sorted(devices)
    code = []
    for start in range(0, len(numbers), _CHUNK):
        chunk = numbers[start : start + _CHUNK]
        last = len(chunk) - 1
        code += [_FILTER.pack(_JUMP_EQUAL, last - n, n == last, _w(number)) for n, number in enumerate(chunk)]
        code.append(_ACCEPT)
    return b"".join([*code, _DROP])


MAX_DEVICES = 500
"""Devices beyond which those of others pass as well. The kernel keeps the old program until the new one is there, and
both together in net.core.optmem_max, which was 20 kB until Linux 6.8."""
_CHUNK = 200
"""Comparisons that share a return: jumps reach 255 instructions."""


def monitor_filter(own_ports: Sequence[int], tables: range, devices: Collection[int] | None = None) -> bytes:
    """The program, 8 octets an instruction (struct sock_filter).

    own_ports: port ids of the sockets whose changes are our own. tables: those that are ours. devices: indices of ours;
    None: what is told of any device passes.
    """
    program = _start(tuple(own_ports), tables)
    return program + (_ACCEPT if devices is None or len(devices) > MAX_DEVICES else _one_of(devices))


@functools.cache
def _start(own_ports: tuple[int, ...], tables: range) -> bytes:
    """What stays the same when devices come and go."""
    return _assemble(_blocks(own_ports, tables))


def _blocks(own_ports: Sequence[int], tables: range) -> dict[str, list[Instruction]]:
    """All but the comparison with our devices, which follows it. The kernel knows jumps forward only."""
    return {
        "start": [
            (_LOAD_HALF, _TYPE, None, None),
            *((_JUMP_EQUAL, _h(kind), "link", None) for kind in (RTM_NEWLINK, RTM_DELLINK)),
            (_JUMP_EQUAL, _h(RTM_NEWNETCONF), "setting", None),
            (_LOAD_WORD, _PORT, None, None),
            *((_JUMP_EQUAL, _w(port), "drop", None) for port in own_ports),
            (_LOAD_HALF, _TYPE, None, None),
            *((_JUMP_EQUAL, _h(kind), "route", None) for kind in (RTM_NEWROUTE, RTM_DELROUTE)),
            *((_JUMP_EQUAL, _h(kind), "next hop", None) for kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP)),
            *((_JUMP_EQUAL, _h(kind), "neighbour", None) for kind in (RTM_NEWNEIGH, RTM_DELNEIGH)),
            *((_JUMP_EQUAL, _h(kind), "filter", None) for kind in (RTM_NEWTFILTER, RTM_DELTFILTER)),
            (_JUMP_EQUAL, _h(RTM_DELRULE), "accept", None),
            (_JUMP_EQUAL, _h(RTM_DELADDR), "address", None),
            (_JUMP_EQUAL, _h(RTM_DELQDISC), "qdisc", "drop"),
        ],
        # Bridges send RTM_NEWLINK of their own family.
        "link": [
            (_LOAD_BYTE, _IFI_FAMILY, None, None),
            (_JUMP_EQUAL, 0, None, "drop"),
            *_find(_LINK_ATTRIBUTES, _IFLA_IFALIAS, "known"),
            (_LOAD_WORD_AT_X, 4, None, None),
            (_JUMP_EQUAL, _MARK, "accept", "known"),
        ],
        "setting": [
            *_find(_SETTING_ATTRIBUTES, _NETCONFA_IFINDEX, "accept"),
            (_LOAD_WORD_AT_X, 4, None, None),
            (_JUMP_EQUAL, _ALL_DEVICES, "accept", "device"),
        ],
        # A route of ours, or one that has replaced another: it may have been ours.
        "route": [
            (_LOAD_BYTE, _RTM_PROTOCOL, None, None),
            (_JUMP_EQUAL, PROTOCOL, "accept", None),
            (_LOAD_HALF, _FLAGS, None, None),
            (_JUMP_BITS, _h(NLM_F_REPLACE), None, "drop"),
            (_LOAD_BYTE, _FAMILY, None, None),
            (_JUMP_EQUAL, AF_MPLS, "accept", None),
            (_LOAD_BYTE, _RTM_TABLE, None, None),
            (_JUMP_EQUAL, RT_TABLE_COMPAT, None, "drop"),
            *_find(_ROUTE_ATTRIBUTES, _RTA_TABLE, "drop"),
            *_host_word_at_x(),
            (_JUMP_AT_LEAST, tables.start, None, "drop"),
            (_JUMP_AT_LEAST, tables.stop, "drop", "accept"),
        ],
        "next hop": [(_LOAD_BYTE, _NH_PROTOCOL, None, None), (_JUMP_EQUAL, PROTOCOL, "accept", "drop")],
        "neighbour": [
            *_find(_NEIGHBOUR_ATTRIBUTES, _NDA_PROTOCOL, "drop"),
            (_LOAD_BYTE_AT_X, 4, None, None),
            (_JUMP_EQUAL, PROTOCOL, "accept", "drop"),
        ],
        "filter": [
            (_LOAD_BYTE, _TCM_PRIORITY_HIGH, None, None),
            (_JUMP_EQUAL, OUR_PRIORITIES.start >> 8, "accept", "drop"),
        ],
        # Of any device: with its clsact a port loses the filters that close it, and few others have one.
        "qdisc": [(_LOAD_WORD, _TCM_PARENT, None, None), (_JUMP_EQUAL, _w(TC_H_CLSACT), "accept", "drop")],
        # Ours is one that nobody else has; the device may be too new to be known by its index.
        "address": [
            *_find(_ADDRESS_ATTRIBUTES, _IFA_ADDRESS, "drop"),
            (_LOAD_WORD_AT_X, 4, None, None),
            (_JUMP_EQUAL, _ICMP_SOURCE6_ENDS[0], None, "drop"),
            (_LOAD_WORD_AT_X, 16, None, None),
            (_JUMP_EQUAL, _ICMP_SOURCE6_ENDS[1], "accept", "drop"),
        ],
        "known": [(_LOAD_WORD, _IFINDEX, None, None), (_JUMP_EQUAL, 0, "drop", "device")],
        "accept": [(_RETURN, _EVERYTHING, None, None)],
        "drop": [(_RETURN, 0, None, None)],
        "device": [],
    }


def _h(value: int) -> int:
    """A 16-bit number in host order, as the program's network-order load sees it."""
    return int.from_bytes(value.to_bytes(2, sys.byteorder), "big")


def _w(value: int) -> int:
    """The same for 32 bits."""
    return int.from_bytes(value.to_bytes(4, sys.byteorder), "big")


def _assemble(blocks: dict[str, list[Instruction]]) -> bytes:
    starts: dict[str, int] = {}
    place = 0
    for name, block in blocks.items():
        starts[name] = place
        place += len(block)
    out: list[bytes] = []
    for code, value, if_true, if_false in (one for block in blocks.values() for one in block):
        following = len(out) + 1
        jumps = [0 if label is None else starts[label] - following for label in (if_true, if_false)]
        out.append(_FILTER.pack(code, *jumps, value))
    return b"".join(out)
