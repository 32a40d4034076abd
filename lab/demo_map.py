"""The part of the demo that is about the MAP server: VPNs and bindings by its commands, one of them taken back live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.errors import LabError
from lab.flows import Flows, Vm
from lab.report import Findings, Machine
from lab.topology import Lab
from lab.wait import wait_until

TARGETS = {"blue": "64512:1", "red": "64512:2"}
REVOKED = "red-1"
"""The VM whose binding is taken back; its host has another VM of the same VPN."""
BYSTANDERS = (("red-2", "red-3"), ("blue-1", "blue-3"))
"""Who talks meanwhile, and must not notice: the others of the VPN, on the same host too, and the other VPN."""
FLOW_INTERVAL = 0.04
PACKETS = 10
"""Packets of each flow between the steps."""
TAKES_EFFECT = 20.0
"""Seconds for a change in the map to be in force everywhere."""
PROBE_TIMEOUT = 0.5


class MapPhases:
    """say: prints a line; fail: notes what doesn't hold."""

    def __init__(
        self,
        lab: Lab,
        machines: Sequence[Machine],
        findings: Findings,
        say: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        if lab.map is None:
            raise LabError("this lab has no MAP server")
        self.lab = lab
        self.map = lab.map
        self.machines = machines
        self.findings = findings
        self.say = say
        self.fail = fail

    def provision(self) -> None:
        """The VPNs, and a binding with its addresses for every VM."""
        for vpn, target in TARGETS.items():
            self.map.operate("vpn", "create", vpn, "--route-target", target)
            self.say(f"vrfwire-map vpn create {vpn} --route-target {target}")
        for machine in self.machines:
            self._bind(machine)
        self.say(f"vrfwire-map bind ... : {len(self.machines)} attachments bound, with their addresses")

    def _bind(self, machine: Machine) -> None:
        addresses = [f"--address={address}" for address in machine.addresses]
        self.map.operate("bind", machine.name, machine.vpn, *addresses)

    def revoke(self) -> None:
        """Take one binding back while others talk: that VM is cut off, both ways, and only it. Then bind it again."""
        found, vms = self.findings, self.lab.vms
        machine = next(machine for machine in self.machines if machine.name == REVOKED)
        others = [other for other in self.machines if other.vpn == machine.vpn and other is not machine]
        with Flows(*((vms[one], vms[two]) for one, two in BYSTANDERS), interval=FLOW_INTERVAL) as flows:
            flows.progress(PACKETS)
            self.map.operate("unbind", machine.name, machine.vpn)
            self._wait_announced(machine, "refused")
            self._wait_routes(machine, present=False)
            still = self._reached(machine, others)
            if still:
                self.fail(f"{machine.name} isn't bound any more, and yet {', '.join(still)}")
            found.revoked_probes, found.revoked_leaks = 4 * len(others), len(still)
            flows.progress(PACKETS)
            self._bind(machine)
            self._wait_announced(machine, "yes")
            self._wait_routes(machine, present=True)
            flows.progress(PACKETS)
        found.revoke_sent, found.revoke_lost = flows.sent, flows.lost
        if flows.lost:
            self.fail(f"others noticed that {machine.name} was cut off: {flows}")
        back = self._reached(machine, others)
        if len(back) != found.revoked_probes:
            self.fail(f"{machine.name} is bound again, and of {found.revoked_probes} probes {len(back)} came through")
        self.say(
            f"vrfwire-map unbind {machine.name} {machine.vpn}: {found.revoked_leaks} of {found.revoked_probes} probes "
            f"from and to it came through, the others lost {flows.lost} of {flows.sent} packets; bound again, it has "
            f"{len(back)} of {found.revoked_probes}"
        )

    def _wait_announced(self, machine: Machine, wanted: str) -> None:
        host = self.lab.hosts[machine.host]

        def announced() -> bool:
            return bool(host.call("port.show", {"name": machine.name})["announced"] == wanted)

        what = f"{machine.name} to be announced: {wanted}"
        wait_until(announced, TAKES_EFFECT, what, 0.05, self.lab.tails)

    def _wait_routes(self, machine: Machine, present: bool) -> None:
        """Until every host of the VPN has its routes, or none of them."""
        for host in {other.host for other in self.machines if other.vpn == machine.vpn}:

            def settled(host: str = host) -> bool:
                items = self.lab.hosts[host].items("route.list", vpn=machine.vpn)
                have = {item["prefix"].split("/")[0] for item in items if item["state"] == "programmed"}
                return set(machine.addresses) <= have if present else not have & set(machine.addresses)

            what = f"the routes of {machine.name} {'on' if present else 'gone from'} {host}"
            wait_until(settled, TAKES_EFFECT, what, 0.05, self.lab.tails)

    def _reached(self, machine: Machine, others: Sequence[Machine]) -> list[str]:
        """Which of the probes between a VM and others come through: both ways, both families."""
        vm = self.lab.vms[machine.name]
        probes: list[tuple[Vm, str, str, str]] = []
        for other in others:
            probes += [(vm, machine.name, other.name, address) for address in other.shared]
            probes += [(self.lab.vms[other.name], other.name, machine.name, address) for address in machine.shared]

        def ping(probe: tuple[Vm, str, str, str]) -> str | None:
            source, name, target, address = probe
            answered = source.ping(address, timeout=PROBE_TIMEOUT).replies
            return f"{name} reaches {target} at {address}" if answered else None

        with ThreadPoolExecutor(len(probes)) as pool:
            return [reached for reached in pool.map(ping, probes) if reached]

    def show(self) -> None:
        """The operational state graph."""
        print("\nVPNs and attachments in the map: vrfwire-map state --graph")
        print(self.map.operate("state", "--graph").stdout.rstrip(), flush=True)
