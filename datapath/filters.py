"""The tc filters of a port: from an AntiSpoofing value to filters and back. Pure.

    priority  protocol  filter                                            verdict
    0x5600    IPv6      -                                                 mark with the number of the VRF's table
                                                                          (datapath/vrf.py says why), and go on
    0x5601    ARP       source MAC, sender MAC and sender address are     the responder answers or drops
                        the VM's; one filter a host prefix
    0x5602    IPv6      source MAC is the VM's, neighbour solicitation    the responder answers or drops
    0x5603    IPv6      other ND (router and neighbour messages,          drop: a guest must not fill the kernel's
                        redirects) and multicast listener reports         neighbour tables
    0x5604    IPv4      source MAC and source address are the VM's;       pass
                        one filter a prefix
    0x5605    IPv6      the same                                          pass
    0x5606    802.1Q    -                                                 drop: a tagged frame
    0x5607    802.1ad   -                                                 drop: the same
    0x5608    any       source MAC is the VM's; one filter each for       drop: the source address isn't the VM's
                        IPv4, IPv6 and ARP
    0x5609    any       source MAC is the VM's                            drop: no IPv4, IPv6 or ARP
    0x560f    any       -                                                 drop: the source MAC isn't the VM's

Those from 0x5606 on let nothing pass that the last wouldn't stop: they are there for their counters, so that an
operator is told why packets are dropped (agent/drops.py).

The first and the last belong to the port and are there as long as it is; those between make up the AntiSpoofing value,
with the last. A priority of the range is ours, any other isn't. The handle of a filter follows from its content, so
that a new one can be added before the old one is deleted, and a process without memory knows which is which. Link-local
sources are admitted for solicitations only: nothing else on the link listens.
"""

from __future__ import annotations

import enum
import struct
import sys
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from datapath.attributes import NLM_F_CREATE, NLM_F_EXCL, attr, message, nest, number, parse, string, text, u32
from datapath.responder import NAME
from datapath.values import AntiSpoofing
from vpn.prefix import AFI_IPV4, Prefix

RTM_NEWQDISC: Final = 36
RTM_NEWTFILTER: Final = 44
RTM_DELTFILTER: Final = 45
RTM_GETTFILTER: Final = 46

TC_H_CLSACT: Final = 0xFFFFFFF1
CLSACT_HANDLE: Final = 0xFFFF0000
INGRESS: Final = 0xFFFFFFF2

TCA_KIND: Final = 1
TCA_OPTIONS: Final = 2
ETH_SRC: Final = 6
_ETH_TYPE: Final = 8
_IP_PROTO: Final = 9
IPV4_SRC: Final = 10
IPV6_SRC: Final = 14
_ICMPV6_TYPE: Final = 55
_ARP_SIP: Final = 57
_ARP_SHA: Final = 63
"""Keys of the flower classifier (TCA_FLOWER_KEY_*); the mask of a key is the next number."""

_FLOWER_ACT: Final = 3
_FLOWER_KEYS: Final = range(4, 86)
_FLOWER_NO_KEYS: Final = (22,)  # TCA_FLOWER_FLAGS
_MATCHALL_ACT: Final = 2

_ETH_P_ALL: Final = 0x0003
_ETH_P_IP: Final = 0x0800
_ETH_P_ARP: Final = 0x0806
_ETH_P_IPV6: Final = 0x86DD
_ETH_P_8021Q: Final = 0x8100
_ETH_P_8021AD: Final = 0x88A8

PRIORITY_MARK: Final = 0x5600
PRIORITY_ARP: Final = 0x5601
PRIORITY_SOLICITATION: Final = 0x5602
PRIORITY_OTHER_ND: Final = 0x5603
PRIORITY_IPV4: Final = 0x5604
PRIORITY_IPV6: Final = 0x5605
PRIORITY_TAGGED: Final = 0x5606
PRIORITY_TAGGED_TWICE: Final = 0x5607
PRIORITY_SOURCE: Final = 0x5608
PRIORITY_PROTOCOL: Final = 0x5609
PRIORITY_DROP: Final = 0x560F
OUR_PRIORITIES: Final = range(0x5600, 0x5610)
EVERY_PRIORITY: Final = (
    (PRIORITY_MARK, _ETH_P_IPV6),
    (PRIORITY_ARP, _ETH_P_ARP),
    (PRIORITY_SOLICITATION, _ETH_P_IPV6),
    (PRIORITY_OTHER_ND, _ETH_P_IPV6),
    (PRIORITY_IPV4, _ETH_P_IP),
    (PRIORITY_IPV6, _ETH_P_IPV6),
    (PRIORITY_TAGGED, _ETH_P_8021Q),
    (PRIORITY_TAGGED_TWICE, _ETH_P_8021AD),
    (PRIORITY_SOURCE, _ETH_P_ALL),
    (PRIORITY_PROTOCOL, _ETH_P_ALL),
    (PRIORITY_DROP, _ETH_P_ALL),
)
"""(priority, protocol) of every group of filters that a port can have."""

TC_ACT_UNSPEC: Final = -1
TC_ACT_OK: Final = 0
TC_ACT_SHOT: Final = 2

_TCMSG = struct.Struct("=BxxxiIII")
_PARAMETERS = struct.Struct("=IIiii")
_ACT_OPTIONS: Final = 2
_ACT_STATS: Final = 4
_STATS_BASIC: Final = 1
_STATS_QUEUE: Final = 3
_TIMES: Final = {"gact": 1, "bpf": 1}
"""Number of the attribute with the times of an action (TCA_GACT_TM, TCA_ACT_BPF_TM)."""
_TIMES_LAYOUT = struct.Struct("=QQ")
"""Of struct tcf_t: ticks since the action was made, and since it was last used."""
_TICKS: Final = 100
"""Ticks of the kernel's interface a second (USER_HZ)."""


class Action(enum.Enum):
    """What is done with a packet that a filter matches."""

    PASS = "pass"
    DROP = "drop"
    ANSWER = "answer"


class Filter(NamedTuple):
    """A filter on the ingress of a port. protocol: EtherType; keys: (number, octets) of flower in order of number,
    None for matchall; action: None for one that isn't ours or is ours no more."""

    priority: int
    protocol: int
    handle: int
    keys: tuple[tuple[int, bytes], ...] | None
    action: Action | None


class Responder(NamedTuple):
    """The loaded program that answers: its file descriptor and its tag."""

    fd: int
    tag: bytes


def wanted_filters(value: AntiSpoofing) -> list[Filter]:
    """The filters that make up the value, the last one first: closed before it is opened."""
    mac = _exact(ETH_SRC, value.mac)
    icmp6 = [(_IP_PROTO, b"\x3a")]
    filters = [
        Filter(PRIORITY_DROP, _ETH_P_ALL, 1, None, Action.DROP),
        _flower(PRIORITY_OTHER_ND, _ETH_P_IPV6, 1, [*icmp6, *_masked(_ICMPV6_TYPE, b"\x84", b"\xfc")], Action.DROP),
        _flower(PRIORITY_OTHER_ND, _ETH_P_IPV6, 2, [*icmp6, *_masked(_ICMPV6_TYPE, b"\x88", b"\xf8")], Action.DROP),
        _flower(
            PRIORITY_SOLICITATION, _ETH_P_IPV6, None, [*mac, *icmp6, *_exact(_ICMPV6_TYPE, b"\x87")], Action.ANSWER
        ),
        Filter(PRIORITY_TAGGED, _ETH_P_8021Q, 1, None, Action.DROP),
        Filter(PRIORITY_TAGGED_TWICE, _ETH_P_8021AD, 1, None, Action.DROP),
        *(_of_any_protocol(PRIORITY_SOURCE, i, [_ether_type(kind), *mac]) for i, kind in enumerate(_NAMED, 1)),
        _of_any_protocol(PRIORITY_PROTOCOL, 1, mac),
    ]
    for prefix in value.prefixes:
        if prefix.afi == AFI_IPV4:
            if prefix.is_host:
                sender = [*mac, *_exact(_ARP_SIP, prefix.packed), *_exact(_ARP_SHA, value.mac)]
                filters.append(_flower(PRIORITY_ARP, _ETH_P_ARP, None, sender, Action.ANSWER))
            source = _masked(IPV4_SRC, prefix.packed, _mask(prefix))
            filters.append(_flower(PRIORITY_IPV4, _ETH_P_IP, None, [*mac, *source], Action.PASS))
        else:
            source = _masked(IPV6_SRC, prefix.packed, _mask(prefix))
            filters.append(_flower(PRIORITY_IPV6, _ETH_P_IPV6, None, [*mac, *source], Action.PASS))
    return filters


def read_filters(device: str, found: Iterable[Filter]) -> AntiSpoofing | None:
    """The value that filters of ours make up; one without MAC and prefixes if they aren't as they should be; None if
    there is nothing, or nothing but the drop with which a port starts."""
    filters = set(found)
    if all(one.priority == PRIORITY_DROP for one in filters):
        return None
    macs = {octets for one in filters for key, octets in one.keys or () if key == ETH_SRC}
    prefixes = [prefix for one in filters if (prefix := _source(one)) is not None]
    if len(macs) == 1:
        value = AntiSpoofing(device, macs.pop(), tuple(prefixes))
        if filters == set(wanted_filters(value)):
            return value
    return AntiSpoofing(device, b"", ())


def _source(one: Filter) -> Prefix | None:
    """The prefix that a filter passes."""
    if one.priority not in (PRIORITY_IPV4, PRIORITY_IPV6) or one.keys is None:
        return None
    keys = dict(one.keys)
    base, size = (IPV4_SRC, 4) if one.priority == PRIORITY_IPV4 else (IPV6_SRC, 16)
    packed, mask = keys.get(base, bytes(size)), keys.get(base + 1, bytes(size))
    return Prefix(packed, int.from_bytes(mask, "big").bit_count()) if len(packed) == size else None


def _mask(prefix: Prefix) -> bytes:
    size = len(prefix.packed)
    return ((1 << size * 8) - (1 << size * 8 - prefix.length)).to_bytes(size, "big")


def _exact(key: int, octets: bytes) -> list[tuple[int, bytes]]:
    return _masked(key, octets, b"\xff" * len(octets))


def _masked(key: int, octets: bytes, mask: bytes) -> list[tuple[int, bytes]]:
    """A key and its mask; nothing for a mask of zeros, which the kernel doesn't show."""
    return [(key, octets), (key + 1, mask)] if any(mask) else []


_NAMED: Final = (_ETH_P_IP, _ETH_P_IPV6, _ETH_P_ARP)
"""Protocols whose drops by PRIORITY_SOURCE are told apart: handles 1, 2 and 3."""


def _of_any_protocol(priority: int, handle: int, keys: list[tuple[int, bytes]]) -> Filter:
    """A filter that drops, in a group for all protocols. What is in such a group has one mask and so no order."""
    return Filter(priority, _ETH_P_ALL, handle, tuple(sorted(keys)), Action.DROP)


def _ether_type(protocol: int) -> tuple[int, bytes]:
    return _ETH_TYPE, protocol.to_bytes(2, "big")


def _flower(priority: int, protocol: int, handle: int | None, keys: list[tuple[int, bytes]], action: Action) -> Filter:
    every = tuple(sorted([_ether_type(protocol), *keys]))
    if handle is None:
        handle = zlib.crc32(b"".join(octets for _, octets in every)) & 0x7FFFFFFF or 1
    return Filter(priority, protocol, handle, every, action)


def make_clsact(index: int) -> bytes:
    """Request for the qdisc that carries filters; EEXIST when there is one."""
    body = _TCMSG.pack(0, index, CLSACT_HANDLE, TC_H_CLSACT, 0)
    return message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, text(TCA_KIND, "clsact"))


def closed(index: int, table: int) -> list[bytes]:
    """Requests that let nothing in by the port, and mark what is let in later with the number of the VRF's table: what
    a port gets before it is up for the first time. EEXIST of the first two is as good as success."""
    mark = _flower(PRIORITY_MARK, _ETH_P_IPV6, 1, [], Action.PASS)
    action = nest(1, text(1, "skbedit"), nest(2, attr(2, _parameters(TC_ACT_UNSPEC)), u32(5, table)))
    return [
        make_clsact(index),
        encode(Filter(PRIORITY_DROP, _ETH_P_ALL, 1, None, Action.DROP), index, None),
        _encode(mark, index, action),
    ]


def encode(one: Filter, index: int, responder: Responder | None) -> bytes:
    """Request to make or replace a filter. Without a responder, what it would answer goes to the kernel, which then
    answers by proxy ARP for what it has a route to."""
    if one.action is Action.ANSWER and responder is not None:
        # The verdict in the parameters counts for packets that the program leaves alone: none should come here.
        parts = [attr(2, _parameters(TC_ACT_SHOT)), u32(5, responder.fd), text(6, NAME)]
        action = nest(1, text(1, "bpf"), nest(2, *parts))
    else:
        verdict = TC_ACT_SHOT if one.action is Action.DROP else TC_ACT_OK
        action = nest(1, text(1, "gact"), nest(2, attr(2, _parameters(verdict))))
    return _encode(one, index, action)


def _encode(one: Filter, index: int, action: bytes) -> bytes:
    if one.keys is None:
        kind, options = "matchall", nest(TCA_OPTIONS, nest(_MATCHALL_ACT, action))
    else:
        kind = "flower"
        options = nest(TCA_OPTIONS, nest(_FLOWER_ACT, action), *(attr(key, octets) for key, octets in one.keys))
    return message(RTM_NEWTFILTER, NLM_F_CREATE, _header(one, index), text(TCA_KIND, kind), options)


def encode_delete(one: Filter, index: int) -> bytes:
    """Request to delete one filter."""
    kind = "matchall" if one.keys is None else "flower"
    return message(RTM_DELTFILTER, 0, _header(one, index), text(TCA_KIND, kind))


def encode_delete_priority(group: tuple[int, int], index: int) -> bytes:
    """Request to delete all filters of a (priority, protocol)."""
    return message(RTM_DELTFILTER, 0, _header(Filter(*group, 0, None, None), index))


def dump_request(index: int) -> bytes:
    """Body of a dump request for the ingress filters of a device."""
    return _TCMSG.pack(0, index, 0, INGRESS, 0)


def decode(body: bytes, responder: Responder | None) -> Filter | None:
    """A filter of ours from an RTM_NEWTFILTER; None for others. Raises WireError."""
    found = _decode(body)
    if found is None:
        return None
    priority, protocol, handle, kind, options = found
    if kind == "matchall":
        return Filter(priority, protocol, handle, None, _action(options.get(_MATCHALL_ACT, b""), responder))
    keys = tuple(
        sorted((key, octets) for key, octets in options.items() if key in _FLOWER_KEYS and key not in _FLOWER_NO_KEYS)
    )
    action = _action(options.get(_FLOWER_ACT, b""), responder)
    if responder is None and action is Action.PASS and priority in (PRIORITY_ARP, PRIORITY_SOLICITATION):
        action = Action.ANSWER
    return Filter(priority, protocol, handle, keys, action)


class Hits(NamedTuple):
    """What a filter has counted. packets: matched; dropped: of these, by its action; age, idle: seconds since it was
    made, and since the last match (None: there was none)."""

    priority: int
    handle: int
    packets: int
    dropped: int
    age: float
    idle: float | None


def decode_hits(body: bytes) -> Hits | None:
    """The counters of a filter of ours from an RTM_NEWTFILTER; None for others. Raises WireError."""
    found = _decode(body)
    if found is None:
        return None
    priority, _, handle, kind, options = found
    action = parse(parse(options.get(_MATCHALL_ACT if kind == "matchall" else _FLOWER_ACT, b"")).get(1, b""))
    counters = parse(action.get(_ACT_STATS, b""))
    packets = number(counters.get(_STATS_BASIC, b"")[8:12])
    # Behind the length of the queue and its backlog (struct gnet_stats_queue).
    dropped = number(counters.get(_STATS_QUEUE, b"")[8:12])
    times = parse(action.get(_ACT_OPTIONS, b"")).get(_TIMES.get(string(action.get(1)), 0), b"")
    age, idle = (0, 0) if len(times) < _TIMES_LAYOUT.size else _TIMES_LAYOUT.unpack_from(times)
    return Hits(priority, handle, packets, dropped, age / _TICKS, idle / _TICKS if packets else None)


def _decode(body: bytes) -> tuple[int, int, int, str, dict[int, bytes]] | None:
    _, _, handle, parent, info = _TCMSG.unpack_from(body)
    priority = info >> 16
    if parent != INGRESS or priority not in OUR_PRIORITIES or priority == PRIORITY_MARK or handle == 0:
        # Handle 0 is the head that the kernel lists before the filters of a priority.
        return None
    found = parse(body, _TCMSG.size)
    kind = string(found.get(TCA_KIND))
    protocol = int.from_bytes((info & 0xFFFF).to_bytes(2, sys.byteorder), "big")
    return priority, protocol, handle, kind, parse(found.get(TCA_OPTIONS, b""))


def _action(actions: bytes, responder: Responder | None) -> Action | None:
    """The one action of a filter, if it is one of ours and, for the responder, runs the program of this version."""
    found = parse(actions)
    if set(found) != {1}:
        return None
    action = parse(found[1])
    options = parse(action.get(2, b""))
    parameters = options.get(2, b"")
    if len(parameters) < _PARAMETERS.size:
        return None
    verdict = _PARAMETERS.unpack_from(parameters)[2]
    match string(action.get(1)), verdict:
        case "gact", 0:
            return Action.PASS
        case "gact", 2:
            return Action.DROP
        case "bpf", 2 if responder is not None and options.get(8) == responder.tag:
            return Action.ANSWER
    return None


def _header(one: Filter, index: int) -> bytes:
    info = one.priority << 16 | int.from_bytes(one.protocol.to_bytes(2, "big"), sys.byteorder)
    return _TCMSG.pack(0, index, one.handle, INGRESS, info)


def _parameters(verdict: int) -> bytes:
    """struct tc_gact / tc_act_bpf: index, capabilities, verdict, two reference counts."""
    return _PARAMETERS.pack(0, 0, verdict, 0, 0)
