"""The part of the demo that is about BGP: a PE router of somebody else, and gateways that are killed while all talk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.converged import wait_settled
from lab.flows import Flows, Vm
from lab.report import Findings, Machine, Outage
from lab.topology import Lab
from lab.wait import wait_until

FLOW_INTERVAL = 0.04
"""Seconds between two packets of a flow; there are 20."""
WITHOUT = 10
"""Packets of each flow that are sent while a gateway is gone, and again when all is back."""
CONVERGENCE = 40.0
PING_TIMEOUT = 3.0
PROBE_TIMEOUT = 0.5
STREAMS = (
    ("blue-1", "blue-3"),
    ("blue-1", "pe-site"),
    ("blue-2", "pe-site"),
    ("blue-3", "pe-site"),
    ("red-1", "red-3"),
)
"""Who talks while gateways are killed: VMs of all hosts, on taps and in namespaces, across gateways, with the site."""


class BgpPhases:
    """say: prints a line; fail: notes what doesn't hold."""

    def __init__(
        self,
        lab: Lab,
        machines: Sequence[Machine],
        findings: Findings,
        say: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        self.lab = lab
        self.machines = machines
        self.findings = findings
        self.say = say
        self.fail = fail
        (self.pe,) = lab.pes

    def vm(self, name: str) -> Vm:
        """A VM, or the PE's site."""
        return self.pe.site if name == self.pe.site.name else self.lab.vms[name]

    def wait_for_pe(self) -> None:
        """Until the PE has the addresses of blue's VMs, and nothing else."""
        blue = {address for machine in self.machines if machine.vpn == "blue" for address in machine.addresses}
        wanted = {f"{address}/{128 if ':' in address else 32}" for address in blue}

        def complete() -> bool:
            return set(self.pe.routes()) == wanted

        wait_until(complete, CONVERGENCE, f"the {len(wanted)} routes of blue at {self.pe.name}", 0.1, self.lab.tails)

    def reach_site(self) -> None:
        """Blue and the site behind the PE reach each other, red and the site don't."""
        found, site = self.findings, self.pe.site
        for source, name, address in self._pairs():
            pings = source.ping(address, timeout=PING_TIMEOUT)
            answered = bool(pings.replies)
            found.site_pings += 1
            found.site_pings_answered += answered
            if not answered:
                self.fail(f"{source.name} can't ping {name} at {address}: {pings}")
            elif (who := source.ask(address)) != name:
                self.fail(f"{source.name} found {who or 'nobody'} at {address}, not {name}")
        red = [machine for machine in self.machines if machine.vpn != "blue"]
        probes: list[tuple[Vm, str, str]] = []
        for machine in red:
            probes += [(self.lab.vms[machine.name], site.name, str(address)) for address in site.addresses]
            probes += [(site, machine.name, address) for address in machine.own]

        def reaches(probe: tuple[Vm, str, str]) -> bool:
            source, _, address = probe
            return bool(source.ping(address, timeout=PROBE_TIMEOUT).replies)

        with ThreadPoolExecutor(len(probes)) as pool:
            for (source, name, address), leak in zip(probes, pool.map(reaches, probes), strict=True):
                if leak:
                    self._leak(f"{source.name} reaches {name} at {address}")
        for stranger in sorted(site.senders() & {machine.name for machine in red}):
            self._leak(f"a ping of {stranger} has come to {site.name}")
        self.say(
            f"{found.site_pings_answered} of {found.site_pings} pings between blue and {site.name} behind "
            f"{self.pe.name} answered; none between red and {site.name}: {found.site_leaks} leaks"
        )

    def _pairs(self) -> Iterator[tuple[Vm, str, str]]:
        """Who pings whom, at which address."""
        site = self.pe.site
        for machine in self.machines:
            if machine.vpn == "blue":
                for address in map(str, site.addresses):
                    yield self.lab.vms[machine.name], site.name, address
                for address in machine.shared:
                    yield site, machine.name, address

    def _leak(self, text: str) -> None:
        self.findings.site_leaks += 1
        self.fail(text)

    def kill_gateways(self) -> None:
        """Each gateway in turn, with SIGKILL, and start it again, while packets flow."""
        wait_settled(self.lab)
        pairs = [(self.vm(one), self.vm(two)) for one, two in STREAMS]
        for gateway in self.lab.gateways:
            began = time.monotonic()
            with Flows(*pairs, interval=FLOW_INTERVAL) as flows:
                gateway.daemon.kill()
                flows.progress(WITHOUT)
                gateway.start()
                wait_settled(self.lab)
                self.wait_for_pe()
                flows.progress(WITHOUT)
            outage = Outage(gateway.name, flows.sent, flows.lost, time.monotonic() - began)
            self.findings.outages.append(outage)
            if flows.lost:
                self.fail(f"{gateway.name} killed: {flows}")
            self.say(
                f"{gateway.name} killed (SIGKILL) and started again, sessions and routes are back, nothing is stale: "
                f"{flows.lost} of {flows.sent} packets lost in {outage.seconds:.1f} s"
            )

    def show(self) -> None:
        """Sessions and routes of BGP, as the commands show them."""
        for gateway in self.lab.gateways:
            print(f"\nBGP peers of {gateway.name}: vrfwire-gateway-ctl peer list")
            print(gateway.cli("peer", "list").stdout.rstrip(), flush=True)
        first = self.lab.gateway
        print(f"\nBGP routes of {first.name}: vrfwire-gateway-ctl route list --rd all")
        print(first.cli("route", "list", "--rd", "all").stdout.rstrip(), flush=True)
        print(f"\nWhat {self.pe.name} sends into blue: prefix, label, host")
        for prefix, via in self.pe.routes().items():
            print(f"{prefix:18}  {via.label}  {via.next_hop}", flush=True)
