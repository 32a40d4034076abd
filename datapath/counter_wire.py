"""Counters of the kernel as it tells them: messages of rtnetlink and files under /proc/net, as numbers by name. Pure.

Names of fields are those of the kernel (Linux uapi/linux/if_link.h, snmp.h, mpls.h, neighbour.h), so that what is shown
can be compared with `ip -s link`, `nstat` and `tc -s`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from datapath.attributes import number, parse, string
from datapath.devices import AF_INET, AF_INET6, IFLA_AF_SPEC, IFLA_IFNAME
from datapath.filters import CLSACT_HANDLE
from datapath.socket_filter import AF_MPLS

RTM_GETQDISC: Final = 38
RTM_GETNEIGHTBL: Final = 66
RTM_GETSTATS: Final = 94

_IFINFOMSG_SIZE: Final = 16
_IFLA_STATS64: Final = 23
_IFLA_INET6_STATS: Final = 3
_IFLA_STATS_AF_SPEC: Final = 5
_MPLS_STATS_LINK: Final = 1
_TCMSG = struct.Struct("=BxxxiIII")
_TCA_STATS2: Final = 7
_TCA_STATS_QUEUE: Final = 3
_TC_H_ROOT: Final = 0xFFFFFFFF
_STATS_MSG = struct.Struct("=BxHII")
_NDTMSG_SIZE: Final = 4
_NDTA_STATS: Final = 7
_NEIGHBOUR_FULL, _NEIGHBOUR_FAILED = 10, 3
_SOFTNET_DROPPED: Final = 1

LINK_FIELDS: Final = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    *("multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors"),
    *("rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors"),
)
"""The first fields of struct rtnl_link_stats64."""

MPLS_FIELDS: Final = (
    *("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"),
    "rx_noroute",
)
"""struct mpls_link_stats."""

IP6_FIELDS: Final = {
    7: "InHdrErrors",
    8: "InTooBigErrors",
    9: "InNoRoutes",
    10: "InAddrErrors",
    11: "InUnknownProtos",
    12: "InTruncatedPkts",
    13: "InDiscards",
    14: "OutDiscards",
    15: "OutNoRoutes",
    19: "ReasmFails",
    21: "FragFails",
}
"""Those of IPSTATS_MIB_* that count losses, with the names of /proc/net/snmp6."""


class LinkCounters(NamedTuple):
    """What a device counts. link, ip6: by LINK_FIELDS and IP6_FIELDS."""

    ifindex: int
    name: str
    link: Mapping[str, int]
    ip6: Mapping[str, int]


class QueueDrops(NamedTuple):
    """Packets that a device's queueing discipline has dropped. clsact: this is the one that carries filters."""

    ifindex: int
    clsact: bool
    dropped: int


def decode_link(body: bytes, wanted: Iterable[str]) -> LinkCounters | None:
    """The counters of a device from an RTM_NEWLINK, if its name is a wanted one. Raises WireError."""
    found = parse(body, _IFINFOMSG_SIZE)
    name = string(found.get(IFLA_IFNAME))
    if name not in wanted:
        return None
    families = parse(found.get(IFLA_AF_SPEC, b""))
    ip6 = _numbers(parse(families.get(AF_INET6, b"")).get(_IFLA_INET6_STATS, b""))
    return LinkCounters(
        struct.unpack_from("=4xi", body)[0],
        name,
        dict(zip(LINK_FIELDS, _numbers(found.get(_IFLA_STATS64, b"")), strict=False)),
        {field: ip6[place] for place, field in IP6_FIELDS.items() if place < len(ip6)},
    )


def stats_request() -> bytes:
    """Body of a dump of what address families count by device."""
    return _STATS_MSG.pack(0, 0, 0, 1 << (_IFLA_STATS_AF_SPEC - 1))


def decode_mpls(body: bytes) -> tuple[int, dict[str, int]] | None:
    """Interface index, and counts by MPLS_FIELDS, from an RTM_NEWSTATS; None without MPLS. Raises WireError."""
    _, _, ifindex, _ = _STATS_MSG.unpack_from(body)
    families = parse(parse(body, _STATS_MSG.size).get(_IFLA_STATS_AF_SPEC, b""))
    values = _numbers(parse(families.get(AF_MPLS, b"")).get(_MPLS_STATS_LINK, b""))
    return (ifindex, dict(zip(MPLS_FIELDS, values, strict=False))) if values else None


def queue_request() -> bytes:
    """Body of a dump of all queueing disciplines."""
    return _TCMSG.pack(0, 0, 0, 0, 0)


def decode_queue(body: bytes) -> QueueDrops | None:
    """What a device's root or clsact discipline has dropped; None for one that is within another. Raises WireError."""
    _, ifindex, handle, parent, _ = _TCMSG.unpack_from(body)
    clsact = handle == CLSACT_HANDLE
    if not clsact and parent != _TC_H_ROOT:
        return None
    queue = parse(parse(body, _TCMSG.size).get(_TCA_STATS2, b"")).get(_TCA_STATS_QUEUE, b"")
    return QueueDrops(ifindex, clsact, number(queue[8:12]))


def decode_neighbours(body: bytes) -> dict[str, int]:
    """Counts of one neighbour table, by "neighbour.FAMILY.FIELD"; nothing from a message about a device's part of it.
    Raises WireError."""
    family = {AF_INET: "ipv4", AF_INET6: "ipv6"}.get(body[0])
    values = _numbers(parse(body, _NDTMSG_SIZE).get(_NDTA_STATS, b""))
    if family is None or len(values) <= _NEIGHBOUR_FULL:
        return {}
    return {
        f"neighbour.{family}.table_fulls": values[_NEIGHBOUR_FULL],
        f"neighbour.{family}.res_failed": values[_NEIGHBOUR_FAILED],
    }


def parse_snmp(text: str) -> dict[str, int]:
    """/proc/net/snmp or /proc/net/netstat: a line of names and a line of numbers for each protocol; by "Ip.InDiscards".
    What can't be read is left out."""
    found: dict[str, int] = {}
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        protocol, _, rest = names.partition(":")
        for name, value in zip(rest.split(), values.partition(":")[2].split(), strict=False):
            if value.isdecimal():
                found[f"{protocol}.{name}"] = int(value)
    return found


def parse_snmp6(text: str) -> dict[str, int]:
    """/proc/net/snmp6: a name and a number a line. What can't be read is left out."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name and value.strip().isdecimal():
            found[name.strip()] = int(value)
    return found


def parse_softnet(text: str) -> int:
    """/proc/net/softnet_stat, a line of hexadecimal numbers for each processor: packets dropped because the backlog was
    full."""
    dropped = 0
    for line in text.splitlines():
        fields = line.split()
        try:
            dropped += int(fields[_SOFTNET_DROPPED], 16)
        except (ValueError, IndexError):
            continue
    return dropped


def parse_boot_time(text: str) -> float | None:
    """Seconds since the epoch at which the machine was started, of /proc/stat; None when it isn't told."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "btime" and value.strip().isdecimal():
            return float(value)
    return None


def _numbers(payload: bytes) -> tuple[int, ...]:
    """Unsigned 64-bit numbers, end to end."""
    return struct.unpack(f"={len(payload) // 8}Q", payload[: len(payload) // 8 * 8])
