"""Doctor: what other programs have put where this host's own numbers are. Pure, over what the kernel holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from datapath.values import PROTOCOL
from runtime.findings import Finding, good, warning

CHECK = "other programs"
PROTOCOLS = {
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    84: "ovn",
    99: "openr",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
"""rtm_protocol -> name, as in /etc/iproute2/rt_protos."""
KERNELS_OWN = frozenset({0, 1, 2})
"""Protocols of what the kernel makes by itself: unspecified, redirect, kernel."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Foreign:
    """Objects of others in the ranges that are ours.

    tables, labels: the ranges. routes: number of routes by (table, protocol). label_routes: by (label, protocol).
    rules: preference and table of rules that lead into our tables. vrfs: names and tables of VRF devices. partly:
    whether there were more routes than were looked at.
    """

    tables: range
    labels: range
    routes: Mapping[tuple[int, int], int]
    label_routes: Mapping[tuple[int, int], int]
    rules: tuple[tuple[int, int], ...] = ()
    vrfs: tuple[tuple[str, int], ...] = ()
    partly: bool = False


def check_foreign(facts: Foreign) -> Iterator[Finding]:
    """Routes, labels, rules and VRF devices of other programs in our ranges."""
    found = False
    move = "or choose another [datapath] table_base"
    by_table = Counter({key: count for key, count in facts.routes.items() if _of_others(key, facts.tables)})
    for (table, protocol), count in by_table.most_common(_SHOWN):
        found = True
        name = PROTOCOLS.get(protocol, str(protocol))
        detail = f"{_number(count, 'route')} of protocol {name} in table {table}, which is ours"
        yield warning(CHECK, detail, f"ip route show table {table} proto {name}; let that program use another, {move}")
    for table, number in sorted({(table, preference) for preference, table in facts.rules if table in facts.tables}):
        found = True
        detail = f"rule {number} leads into table {table}, which is ours"
        yield warning(CHECK, detail, f"ip rule show pref {number}; let that program use another table, {move}")
    for name, table in facts.vrfs:
        if table in facts.tables:
            found = True
            detail = f"VRF device {name} uses table {table}, which is ours"
            yield warning(CHECK, detail, f"ip -d link show {name}; give it another table, {move}")
    by_label = Counter({key: count for key, count in facts.label_routes.items() if _of_others(key, facts.labels)})
    for (label, protocol), _ in by_label.most_common(_SHOWN):
        found = True
        name = PROTOCOLS.get(protocol, str(protocol))
        hint = f"ip -f mpls route show {label}; let that program use another, or choose another [datapath] label_base"
        yield warning(CHECK, f"label {label}, which is ours, has a route of protocol {name}", hint)
    if not found:
        more = ", as far as was looked" if facts.partly else ""
        tables = f"{facts.tables.start}..{facts.tables.stop - 1}"
        labels = f"{facts.labels.start}..{facts.labels.stop - 1}"
        yield good(CHECK, f"nothing of theirs in tables {tables} and labels {labels}{more}")


def _of_others(key: tuple[int, int], ours: range) -> bool:
    number, protocol = key
    return number in ours and protocol != PROTOCOL and protocol not in KERNELS_OWN


def _number(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
