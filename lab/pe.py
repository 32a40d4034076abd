"""A PE router of somebody else, with a site of VPN "blue" behind it: FRR tells the routes, the kernel forwards.

FRR of this age can't resolve VPN routes over multipoint GRE. So bgpd only speaks BGP here, and what it has learnt is
put into the kernel from outside: a route of the VRF by label and next hop, as the gateways' hosts have it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from ipaddress import ip_interface
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import LabError
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest
from lab.node import Station
from lab.router import Router, neighbour
from lab.speakers.base import Announcement, Received
from lab.speakers.frr import AFI

if TYPE_CHECKING:
    from lab.topology import Lab

TARGET = "64512:1"
"""Route target of the site's VPN: "blue" of the lab's usual VPNs."""
LABEL = 9001
TABLE = 100
TUNNEL, VRF, SITE = "gre1", "blue", "site"
"""Names of the PE's devices."""
INTERVAL = 0.2
"""Seconds between two looks at whether the daemon has learnt something."""


class Via(NamedTuple):
    """Where the PE sends packets for a prefix: label and underlay address."""

    label: int
    next_hop: str


class Pe(Router):
    """A PE. site: the machine behind it, with addresses .1 of the prefixes that the PE announces."""

    def __init__(self, lab: Lab, name: str, address: str, number: int = 0) -> None:
        """number: tells several PEs of a lab apart; each has prefixes of its own."""
        super().__init__(lab, name, address)
        self.ends = (ip_interface(f"10.9.{number}.1/24"), ip_interface(f"fd00:9:0:{number:x}::1/64"))
        self.prefixes = tuple(str(end.network) for end in self.ends)
        self.rd = f"64512:{900 + number}"
        self.problem = ""
        self._routes: dict[str, Via] = {}
        self._neighbours: set[str] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: LabError | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(super().close)
            self.site = NamespaceGuest(f"{name}-site", [end.ip for end in self.ends])
            undo.callback(self.site.close)
            self._make_devices(self.site.namespace)
            self.site.open()
            undo.pop_all()

    def _make_devices(self, site: Namespace) -> None:
        """Tunnel, VRF, the link to the site, and the label that leads into the VRF."""
        for setting, value in {
            "mpls/platform_labels": "1048575",
            "ipv4/ip_forward": "1",
            "ipv4/conf/all/rp_filter": "0",
            "ipv4/conf/default/rp_filter": "0",
            "ipv6/conf/all/forwarding": "1",
        }.items():
            self.namespace.write(f"/proc/sys/net/{setting}", value)
        four, six = self.ends
        gateway4, gateway6 = (end.network.broadcast_address - 1 for end in self.ends)
        self.namespace.ip(
            f"link add {TUNNEL} type gre local {self.address} ttl 64",
            f"link set {TUNNEL} up",
            f"link add {VRF} type vrf table {TABLE}",
            f"link set {VRF} up",
            f"route add unreachable default table {TABLE} metric 4278198272",
            f"route add unreachable ::/0 table {TABLE} metric 4278198272",
            f"link add {SITE} type veth peer name eth0 netns {site.name}",
            f"link set {SITE} master {VRF} up",
            f"address add {gateway4}/{four.network.prefixlen} dev {SITE}",
            f"address add {gateway6}/{six.network.prefixlen} dev {SITE} nodad",
        )
        site.ip(
            f"address add {four} dev eth0",
            f"address add {six} dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {gateway4}",
            f"route add default via {gateway6}",
        )
        self.namespace.write(f"/proc/sys/net/mpls/conf/{TUNNEL}/input", "1")
        self.namespace.output("ip", "-f", "mpls", "route", "add", str(LABEL), "dev", VRF)

    def meet(self, peers: Iterable[Station]) -> None:
        """Say who the BGP peers are."""
        self.configure(
            (neighbour(peer) for peer in peers),
            [Announcement(self.rd, prefix, LABEL, (TARGET,), self.address) for prefix in self.prefixes],
        )

    def launch(self) -> None:
        """Start the daemon, and follow what it learns."""
        super().launch()
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._follow, name=f"routes of {self.name}", daemon=True)
            self._thread.start()

    def routes(self) -> dict[str, Via]:
        """Routes of the VPN in the kernel, but for the site's own."""
        return dict(self._routes)

    def _follow(self) -> None:
        seen: list[str] = []
        while not self._stop.wait(INTERVAL):
            # While the daemon is being started, or is gone, what is in the kernel stays: as with a real router.
            try:
                if not self.speaker.alive:
                    seen = []
                    continue
                # Has all that counts, but for reading by a program; received() asks for each route alone.
                tables = [self.speaker.vty(f"show bgp {afi} vpn") for afi in AFI.values()]
                if tables == seen:
                    continue
                received = [path for family in AFI for path in self.speaker.received(family)]
                seen, self.problem = tables, ""
            except (OSError, LabError) as error:
                self.problem = f"{self.name}: {error}"
                continue
            try:
                self._program(wanted(received))
            except LabError as error:
                self._error = error
                return

    def _program(self, routes: Mapping[str, Via]) -> None:
        """Bring the kernel from the routes that it has to these."""
        before = self._routes
        commands = []
        for via in routes.values():
            if via.next_hop not in self._neighbours:
                self._neighbours.add(via.next_hop)
                for address in (via.next_hop, f"::ffff:{via.next_hop}"):
                    commands.append(f"neighbour replace {address} lladdr {via.next_hop} dev {TUNNEL} nud permanent")
        for prefix, via in routes.items():
            if before.get(prefix) != via:
                gateway = f"inet6 ::ffff:{via.next_hop}" if ":" in prefix else f"inet {via.next_hop}"
                encapsulation = f"encap mpls {via.label} via {gateway} dev {TUNNEL} onlink"
                commands.append(f"route replace {prefix} table {TABLE} {encapsulation}")
        commands += [f"route delete {prefix} table {TABLE}" for prefix in before if prefix not in routes]
        if commands:
            self.namespace.ip(*commands)
            self._routes = dict(routes)

    def unfollow(self) -> None:
        """Leave the kernel as it is from now on. Raises LabError if it couldn't be made to follow. Again: does
        nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(filter(None, (super().tail(), self.problem)))

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(LabError):
            self.unfollow()
        self.site.close()
        super().close()


def wanted(received: Iterable[Received], target: str = TARGET) -> dict[str, Via]:
    """Routes of a VPN from what a BGP speaker has: for each prefix the path with the highest local preference, a
    fresh one before a stale one, then by next hop."""
    best: dict[str, tuple[tuple[int, bool, str], Via]] = {}
    for path in received:
        if path.label is None or path.targets is None or target not in path.targets:
            continue
        via = Via(path.label, path.next_hop)
        rank = (-(path.local_pref if path.local_pref is not None else 100), path.stale, via.next_hop)
        if path.prefix not in best or rank < best[path.prefix][0]:
            best[path.prefix] = (rank, via)
    return {prefix: via for prefix, (_, via) in sorted(best.items())}
