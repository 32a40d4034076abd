"""Another program on a host: what it has of its own, and how it breaks what is vrfwire's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lab.namespace import Namespace
from lab.node import Host
from tests.system.observe import batch, kernel_state

FOREIGN_LABEL = 100900
"""A label in vrfwire's range that is another program's."""


def make_foreign_objects(namespace: Namespace, table: int) -> set[str]:
    """One of each kind, many of them with numbers that look like vrfwire's. table: of a VPN. Returns their lines in
    kernel_state(), which are to stay as they are."""
    before = kernel_state(namespace)
    # Protocols by number (4 is static, 12 is BIRD): ip -batch takes a name that it has met for the last number.
    namespace.write("/proc/sys/net/mpls/platform_labels", "1048575")
    batch(
        namespace,
        ["ip"],
        [
            "link add foreign type dummy",
            "address add 198.51.100.1/24 dev foreign",
            "link set foreign up",
            "link add foreign-vrf type vrf table 10007",
            "link set foreign-vrf up",
            "tuntap add foreign-tap mode tap",
            f"route add 10.200.0.0/24 dev foreign table {table} proto 4",
            f"route add 10.1.1.200/32 via 198.51.100.2 dev foreign table {table} proto 12",
            f"route add fd00:200::/64 dev foreign table {table} proto 4",
            "route add 10.201.0.0/24 dev foreign proto 108",
            "nexthop add id 100000005 via 198.51.100.2 dev foreign proto 4",
            "nexthop add id 42 via 198.51.100.3 dev foreign proto 108",
            "neigh add 198.51.100.2 lladdr 02:00:00:00:f0:02 dev foreign nud permanent",
            f"rule add pref 500 from 198.51.100.0/24 lookup {table}",
        ],
    )
    batch(namespace, ["ip", "-6"], [f"rule add pref 501 fwmark 0x77 lookup {table}"])
    batch(
        namespace,
        ["ip", "-f", "mpls"],
        [
            f"route add {FOREIGN_LABEL} via inet 198.51.100.2 dev foreign",
            "route add 500 via inet 198.51.100.2 dev foreign proto 108",
        ],
    )
    batch(
        namespace,
        ["tc"],
        [
            "qdisc add dev foreign clsact",
            "filter add dev foreign ingress pref 22017 protocol ip flower src_ip 198.51.100.9 action drop",
            "qdisc add dev foreign-tap root tbf rate 10mbit burst 10k limit 10k",
        ],
    )
    made = kernel_state(namespace) - before
    kinds = (" foreign-vrf:", " foreign-tap:", f"table {table}", "id 42 ", "dev foreign lladdr", "flower", "tbf")
    assert all(any(kind in line for line in made) for kind in kinds), made
    return made


@dataclass(frozen=True, slots=True)
class View:
    """What there is on a host for a third party to break.

    host: seen from; table, vrf: of its VPN blue; remote: an address of a VM of the VPN behind underlay address `via`;
    tap, veth: its ports' devices; label: of the veth's port.
    """

    host: Host
    table: int
    vrf: str
    remote: str
    via: str
    tap: str
    tap_address: str
    veth: str
    label: int

    def run(self, *commands: str) -> None:
        """Commands of ip(8), in one process."""
        self.host.namespace.ip(*commands)

    def next_hop(self, address: str) -> str:
        """Number of the nexthop object that a route of the table goes by."""
        shown = self.host.namespace.output("ip", "route", "show", "table", str(self.table), address)
        found = re.search(r"nhid (\d+)", shown)
        assert found is not None, shown
        return found[1]


def _delete_label(view: View) -> None:
    view.host.namespace.output("ip", "-f", "mpls", "route", "delete", str(view.label))


def _delete_filters(view: View) -> None:
    view.host.namespace.output("tc", "qdisc", "delete", "dev", view.tap, "clsact")


def _delete_one_filter(view: View) -> None:
    view.host.namespace.output("tc", "filter", "delete", "dev", view.tap, "ingress", "pref", str(0x5604))


def _flush_addresses(view: View) -> None:
    view.host.namespace.output("ip", "-6", "address", "flush", "dev", view.vrf)


def _delete_rule_by_mark(view: View) -> None:
    view.host.namespace.output("ip", "-6", "rule", "delete", "table", str(view.table), "pref", "1001")


DAMAGE: dict[str, Callable[[View], None]] = {
    "route": lambda v: v.run(f"route delete {v.remote}/32 table {v.table}"),
    "route replaced": lambda v: v.run(f"route replace {v.remote}/32 dev lo table {v.table} proto 4"),
    "next hop": lambda v: v.run(f"nexthop delete id {v.next_hop(v.remote)}"),
    "label": _delete_label,
    "neighbour of a host": lambda v: v.run(f"neigh delete {v.via} dev vw-gre"),
    "neighbour of a VM": lambda v: v.run(f"neigh delete {v.tap_address} dev {v.tap}"),
    "filters": _delete_filters,
    "one filter": _delete_one_filter,
    "tap": lambda v: v.run(f"link delete {v.tap}"),
    "tap taken out of the VRF": lambda v: v.run(f"link set {v.tap} nomaster"),
    "tap down": lambda v: v.run(f"link set {v.tap} down"),
    "veth": lambda v: v.run(f"link delete {v.veth}"),
    "VRF": lambda v: v.run(f"link delete {v.vrf}"),
    "default of the VRF": lambda v: v.run(f"route delete unreachable default table {v.table} metric 4278198272"),
    "address of the VRF": _flush_addresses,
    "rule by mark": _delete_rule_by_mark,
}
"""What a third party may delete or bend of one VPN, each by a command of its own."""

SHARED_DAMAGE: dict[str, Callable[[View], None]] = {
    "tunnel": lambda v: v.run("link delete vw-gre"),
    "tunnel down": lambda v: v.run("link set vw-gre down"),
}
"""What all VPNs of the host share between hosts."""
