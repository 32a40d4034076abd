"""The main job, shown: VMs of two VPNs with overlapping addresses, on three hosts, over MPLS in GRE on a real kernel.
Two gateways that meet over BGP through a route reflector, and a PE router of somebody else, share the routes. What VPNs
there are, and which VM belongs to which, the gateways have from a MAP server, which is told how it is by them.

Runs inside the lab (`python -m lab demo` brings it there). Prints progress with the seconds since the start, then
tables, then one JSON document in one line. Exits with 0 only if everything held.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from lab.capture import Capture
from lab.demo_bgp import BgpPhases
from lab.demo_map import MapPhases
from lab.environment import MARK, STARTED
from lab.errors import LabError
from lab.frames import IPv4, IPv6, Mpls, Packet
from lab.node import Host
from lab.report import Findings, Machine, is_tunnelled, matrix, packet_lines
from lab.topology import Lab
from lab.wait import wait_until
from runtime.errors import OperatorError

HOSTS = ("hv1", "hv2", "hv3")
GATEWAYS = ("gw1", "gw2")
CONNECTS = {"hv1": ("gw1",), "hv2": ("gw2",), "hv3": GATEWAYS}
"""hv1 and hv2 have no gateway in common, so that BGP alone carries routes between them. hv3 connects to both."""
PLACES = (
    ("blue", 1, "hv1", False),
    ("blue", 2, "hv1", True),
    ("blue", 3, "hv2", False),
    ("red", 1, "hv3", False),
    ("red", 2, "hv3", True),
    ("red", 3, "hv2", True),
)
"""(VPN, number, host, whether on a tap). Both VPNs have a pair on one host and pairs across; hv2 has the same
addresses in both. Blue is on a host of each gateway, red on one of gw2 and on the one of both."""
CONVERGENCE = 40.0
"""Seconds for the routes of all attachments to be everywhere."""
MAX_PROBLEMS = 8
"""After that many the demo stops: each costs a timeout, and they mostly have one cause."""
PING_TIMEOUT = 3.0
PROBE_TIMEOUT = 0.5
"""Seconds to wait for an answer that must not come."""


def machines() -> list[Machine]:
    """The six VMs."""
    made = []
    for vpn, number, host, tap in PLACES:
        own = 2 if vpn == "blue" else 3
        made.append(
            Machine(
                f"{vpn}-{number}",
                vpn,
                host,
                tap,
                (f"10.1.1.{number}", f"fd00:1::{number}"),
                (f"10.{own}.1.{number}", f"fd00:{own}::{number}"),
            )
        )
    return made


class Demo:
    """One run. findings: grows with every step."""

    def __init__(self, lab: Lab, start: float) -> None:
        self.lab = lab
        self.start = start
        self.machines = machines()
        self.findings = Findings()
        self.labels: dict[str, int] = {}
        """VM -> label of its port."""
        self.bgp = BgpPhases(lab, self.machines, self.findings, self.say, self.fail)
        self.map = MapPhases(lab, self.machines, self.findings, self.say, self.fail)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.time() - self.start

    def say(self, text: str) -> None:
        """One line of progress."""
        print(f"[{self.seconds:5.1f} s] {text}", flush=True)

    def fail(self, problem: str) -> None:
        """Note what does not hold. Raises LabError when there is no point in going on."""
        self.findings.problems.append(problem)
        if len(self.findings.problems) >= MAX_PROBLEMS:
            raise LabError("too many problems; stopped")

    def run(self) -> None:
        """All steps; what does not hold is added to the findings. Raises LabError, OperatorError when stuck."""
        self.start_daemons()
        self.map.provision()
        self.attach()
        self.wait_for_routes()
        with self.lab.hosts["hv1"].capture() as capture:
            self.ping_all()
            self.look_at_packet(capture)
        self.ask_all()
        self.probe_isolation()
        self.bgp.reach_site()
        self.bgp.kill_gateways()
        self.map.revoke()
        self.show_tables()

    def start_daemons(self) -> None:
        """Route reflector, PE, gateways and agents, all at once."""
        lab = self.lab
        lab.launch()
        if lab.map is not None:
            lab.map.daemon.wait_ready()
            self.say(f"vrfwire-map on {lab.map.name} ({lab.map.address}) is ready")
        for reflector in lab.reflectors:
            reflector.wait_ready()
            self.say(f"FRR as route reflector on {reflector.name} ({reflector.address}) is ready")
        for pe in lab.pes:
            pe.wait_ready()
            self.say(f"FRR as PE on {pe.name} ({pe.address}) is ready: {', '.join(pe.prefixes)} in blue")
        for node in (*lab.gateways, *lab.hosts.values()):
            node.daemon.wait_ready()
            connects = f", connects to {' and '.join(g.name for g in node.gateways)}" if isinstance(node, Host) else ""
            self.say(f"{node.program} on {node.name} ({node.address}) is ready{connects}")
        lab.wait_connected()
        lab.wait_established()
        self.say("every agent has its sessions with its gateways, and they have theirs with the route reflector")

    def attach(self) -> None:
        """The six VMs, each by the command line of its host."""
        for machine in self.machines:
            self.lab.attach(machine.host, machine.name, machine.vpn, machine.addresses, tap=machine.tap, cli=True)
            reply = self.lab.replies[machine.name]
            self.labels[machine.name] = int(reply["label"])
            self.findings.attach_ms.append(float(reply["elapsed_ms"]))
            where = f"tap {reply['interface']}" if machine.tap else f"namespace {machine.name}"
            self.say(
                f"vrfwire port attach {machine.name} --vpn {machine.vpn} on {machine.host}, {where}: "
                f"{reply['state']} in {reply['elapsed_ms']:.0f} ms, label {reply['label']}, "
                f"announced: {reply['announced']}"
            )

    def wait_for_routes(self) -> None:
        """Until each host has every route of the VPNs that it takes part in."""
        for host in self.lab.hosts.values():
            vpns = {machine.vpn for machine in self.machines if machine.host == host.name}
            wanted = {(m.vpn, address) for m in self.machines if m.vpn in vpns for address in m.addresses}
            if "blue" in vpns:
                wanted |= {("blue", prefix.split("/")[0]) for pe in self.lab.pes for prefix in pe.prefixes}

            def complete(host_name: str = host.name, wanted: frozenset[tuple[str, str]] = frozenset(wanted)) -> bool:
                items = self.lab.hosts[host_name].items("route.list")
                have = {(i["vpn"], i["prefix"].split("/")[0]) for i in items if i["state"] == "programmed"}
                return wanted <= have

            wait_until(complete, CONVERGENCE, f"{len(wanted)} routes on {host.name}", 0.1, self.lab.tails)
        self.bgp.wait_for_pe()
        self.say("every host has the routes of its VPNs, the PE those of blue")

    # -- what must work, and what must not

    def pairs(self, same_vpn: bool) -> Iterator[tuple[Machine, Machine]]:
        """Ordered pairs of different VMs within a VPN, or across."""
        for source in self.machines:
            for target in self.machines:
                if source is not target and (source.vpn == target.vpn) is same_vpn:
                    yield source, target

    def ping_all(self) -> None:
        """Every VM pings every address of every other VM of its VPN."""
        found = self.findings
        for source, target in self.pairs(same_vpn=True):
            for address in target.addresses:
                pings = self.lab.vms[source.name].ping(address, count=1, timeout=PING_TIMEOUT)
                found.pings += pings.sent
                found.pings_answered += len(pings.replies)
                if not pings.ok:
                    self.fail(f"{source.name} can't ping {target.name} at {address}: {pings}")
                elif address in target.shared:
                    found.rtt[source.name, target.name, 6 if ":" in address else 4] = pings.rtt
        self.say(f"{found.pings_answered} of {found.pings} pings within the VPNs answered")

    def ask_all(self) -> None:
        """Addresses that both VPNs use are told apart by who answers at them."""
        found = self.findings
        for source, target in self.pairs(same_vpn=True):
            for address in target.shared:
                found.identities += 1
                name = self.lab.vms[source.name].ask(address)
                if name == target.name:
                    found.identities_right += 1
                else:
                    self.fail(f"{source.name} found {name or 'nobody'} at {address}, not {target.name}")
        self.say(
            f"{found.identities_right} of {found.identities} overlapping addresses belong to the VM of the own VPN"
        )

    def probe_isolation(self) -> None:
        """No VM reaches an address that exists in the other VPN alone, and no ping of a stranger has come in."""

        def probe(source: Machine) -> list[str]:
            vm = self.lab.vms[source.name]
            targets = [target for one, target in self.pairs(same_vpn=False) if one is source]
            leaks = []
            for target in targets:
                for address in target.own:
                    if vm.ping(address, timeout=PROBE_TIMEOUT).replies:
                        leaks.append(f"{source.name} reaches {target.name} at {address} across VPNs")
            return leaks

        found = self.findings
        found.isolation_probes = 2 * sum(1 for _ in self.pairs(same_vpn=False))
        with ThreadPoolExecutor(len(self.machines)) as pool:
            leaks = [leak for result in pool.map(probe, self.machines) for leak in result]
        vpn_of = {machine.name: machine.vpn for machine in self.machines}
        for machine in self.machines:
            senders = self.lab.vms[machine.name].senders()
            strangers = sorted(name for name in senders if vpn_of[name] != machine.vpn)
            leaks += [f"a ping of {stranger} has come to {machine.name}" for stranger in strangers]
            if not senders:
                self.fail(f"{machine.name} has seen no ping at all, so it proves nothing")
        found.leaks = len(leaks)
        found.problems += leaks
        self.say(f"{found.isolation_probes} probes across the VPNs: {found.leaks} leaks")

    def look_at_packet(self, capture: Capture) -> None:
        """One packet of the underlay, held against the port tables."""
        packets = [packet for frame in capture.drain() if is_tunnelled(packet := frame.packet)]
        wanted = [packet for packet in packets if packet.path.startswith("Ethernet/IPv4/GRE/MPLS/IP")]
        if not wanted:
            self.fail("no Ethernet/IPv4/GRE/MPLS/IP packet was seen on hv1's underlay")
            return
        for packet in wanted:
            problem = self.wrong_with(packet)
            if problem:
                self.fail(problem)
                break
        self.findings.packet = wanted[0]
        self.say(f"captured {len(packets)} MPLS-in-GRE packets on hv1's underlay, labels as the port tables say")

    def wrong_with(self, packet: Packet) -> str | None:
        """Why a packet isn't one of blue, tunnelled to the right host with the label of the right port; or None."""
        outer, inner, mpls = packet.get(IPv4), packet.ip, packet.all(Mpls)
        if outer is None or not isinstance(inner, IPv4 | IPv6) or len(mpls) != 1:
            return f"{packet.path} is not IP in one label in GRE in IPv4"
        # hv1 has VMs of blue alone, so the inner address tells the VM.
        machine = next((m for m in self.machines if m.vpn == "blue" and str(inner.dst) in m.addresses), None)
        if machine is None:
            return f"a tunnelled packet is for {inner.dst}, no address of blue"
        host = self.lab.hosts[machine.host]
        if (str(outer.dst), mpls[0].label) != (host.address, self.labels[machine.name]):
            return f"a packet for {machine.name} went to {outer.dst} with label {mpls[0].label}"
        return None

    # -- what is shown

    def show_tables(self) -> None:
        """Ports and routes as the command line shows them, the packet, the matrix."""
        for title, command in (("Ports", ("port", "list")), ("Routes", ("route", "list"))):
            for host in self.lab.hosts.values():
                print(f"\n{title} of {host.name}: vrfwire {' '.join(command)}")
                print(host.cli(*command).stdout.rstrip(), flush=True)
        self.bgp.show()
        self.map.show()
        if self.findings.packet is not None:
            names = {node.address: node.name for node in self.lab.hosts.values()}
            print("\nA packet on the underlay, captured on hv1")
            print("\n".join(packet_lines(self.findings.packet, names)))
        print("\nRound trip times in ms, IPv4/IPv6")
        print(matrix(self.machines, self.findings), flush=True)


def main() -> int:
    """Run the demo in this environment."""
    start = float(os.environ.get(STARTED, time.time()))
    demo = None
    findings = Findings()
    try:
        with Lab(HOSTS, (), GATEWAYS, reflectors=["rr"], pes=["pe"], connects=CONNECTS, provisioned=True) as lab:
            demo = Demo(lab, start)
            findings = demo.findings
            machines_of_lab = ", ".join([*GATEWAYS, *HOSTS, *(router.name for router in (*lab.reflectors, *lab.pes))])
            demo.say(f"underlay with {machines_of_lab}: network namespaces, MTU {lab.mtu}")
            try:
                demo.run()
            finally:
                if findings.problems:
                    print(lab.tails(), file=sys.stderr, flush=True)
    except (LabError, OperatorError) as error:
        findings.problems.append(str(error))
        print(getattr(error, "log", "") or getattr(error, "hint", ""), file=sys.stderr, flush=True)
    print()
    for problem in findings.problems:
        print(f"failed: {problem}")
    seconds = time.time() - start
    print(json.dumps(findings.as_json(machines(), os.environ.get(MARK, "none"), seconds)), flush=True)
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
