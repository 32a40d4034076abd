"""A lab: gateways and hosts on an underlay, each a network namespace with its daemon, and the hosts' VMs.

    with Lab(hosts=["hv1", "hv2"], vpns=[Vpn("blue", ["64512:1"])]) as lab:
        lab.start()
        one = lab.attach("hv1", "blue-1", "blue", ["10.1.1.1"])
        two = lab.attach("hv2", "blue-2", "blue", ["10.1.1.2"], tap=True)
        assert one.ping("10.1.1.2").ok

Several gateways know of each other's hosts when they speak BGP: reflectors=["rr"] puts route reflectors in between,
bgp=True lets them speak with each other. pes=["pe"] adds PE routers with a site behind each. connects says which host
connects where. With provisioned=True the gateways have their VPNs from a MAP server instead: lab.map.operate("vpn",
"create", ...) and the like put them there.

Everything is on the path: real daemons, certificates, devices. When the block is left the daemons are stopped and all
namespaces are gone; a daemon that had crashed, or doesn't end, is an error there.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.daemon import START, Daemon
from lab.echo import parse
from lab.errors import LabError
from lab.frames import mac_bytes
from lab.guest import Guest
from lab.map_server import MapServer
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest
from lab.node import Gateway, Host, Node, Station, Vpn
from lab.pe import Pe
from lab.pki import Authority
from lab.router import Reflector, Router
from lab.wait import wait_until

__all__ = ["BLUE_AND_RED", "DOMAIN", "Gateway", "Host", "Lab", "Vm", "Vpn", "tap_name"]

DOMAIN = "vpn.example.net"
UNDERLAY = "192.0.2"
"""First octets of the underlay's addresses: TEST-NET-1 (RFC 5737). Gateways from .1 on, hosts from .11, PEs from .241,
route reflectors from .254 down."""

Vm = Guest | NamespaceGuest

BLUE_AND_RED = (Vpn("blue", ["64512:1"]), Vpn("red", ["64512:2"]))


class Lab:
    """See the module.

    Attributes: hosts and vms by name; replies (what attach was answered, by VM); gateways, reflectors, pes in order;
    bgp (whether the gateways speak it); underlay (the namespace of the bridge); directory (configuration, state, logs;
    gone afterwards); authority (makes certificates).
    """

    def __init__(
        self,
        hosts: Sequence[str] = ("hv1", "hv2"),
        vpns: Iterable[Vpn] = BLUE_AND_RED,
        gateways: Sequence[str] = ("gw",),
        mtu: int = 1500,
        domain: str = DOMAIN,
        *,
        bgp: bool = False,
        reflectors: Sequence[str] = (),
        pes: Sequence[str] = (),
        connects: Mapping[str, Sequence[str]] | None = None,
        provisioned: bool = False,
    ) -> None:
        """mtu: of the underlay, in bytes of IP. Nothing is made before the block is entered.

        reflectors: route reflectors, each with a session to each gateway and PE; bgp: without reflectors, every gateway
        with each other and with each PE. connects: names of gateways by host; a host not named connects to all.
        provisioned: there is a MAP server, and vpns have no meaning.
        """
        self.mtu = mtu
        self.domain = domain
        self.hosts: dict[str, Host] = {}
        self.gateways: list[Gateway] = []
        self.reflectors: list[Reflector] = []
        self.pes: list[Pe] = []
        self.map: MapServer | None = None
        self.bgp = bgp or bool(reflectors) or bool(pes)
        self.vms: dict[str, Vm] = {}
        self.replies: dict[str, dict[str, Any]] = {}
        self.directory: Path
        self.authority: Authority
        self.underlay: Namespace
        self._host_names = tuple(hosts)
        self._gateway_names = tuple(gateways)
        self._reflector_names = tuple(reflectors)
        self._pe_names = tuple(pes)
        self._connects = dict(connects or {})
        self._vpns = tuple(vpns)
        self._provisioned = provisioned
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _build(self) -> None:
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vrfwire-"))
        self.directory = Path(directory)
        self.authority = Authority(self.directory / "pki")
        self.underlay = self._stack.enter_context(Namespace("underlay"))
        self.underlay.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
        self.underlay.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
        self.underlay.ip(f"link add bridge mtu {self.mtu} type bridge mcast_snooping 0", "link set bridge up")
        if self._provisioned:
            self.map = MapServer(self, "map", f"{UNDERLAY}.9")
            self._stack.callback(self.map.namespace.delete)
        for number, name in enumerate(self._gateway_names, start=1):
            gateway = Gateway(self, name, f"{UNDERLAY}.{number}", self._vpns)
            self._stack.callback(gateway.namespace.delete)
            self.gateways.append(gateway)
        for name in self._host_names:
            self.add_host(name)
        if self.bgp:
            self._build_bgp()

    def _build_bgp(self) -> None:
        """The route reflectors and PEs, and who has a session with whom."""
        for number, name in enumerate(self._reflector_names):
            reflector = Reflector(self, name, f"{UNDERLAY}.{254 - number}")
            self._stack.callback(reflector.close)
            self.reflectors.append(reflector)
        for number, name in enumerate(self._pe_names):
            pe = Pe(self, name, f"{UNDERLAY}.{241 + number}", number)
            self._stack.callback(pe.close)
            self.pes.append(pe)
        edges: list[Gateway | Pe] = [*self.gateways, *self.pes]
        for edge in edges:
            edge.meet(self.reflectors or [other for other in edges if other is not edge])
        for reflector in self.reflectors:
            reflector.meet(edges)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        problems: list[LabError] = []
        for pe in self.pes:
            try:
                pe.unfollow()
            except LabError as error:
                problems.append(error)
        for daemon in self.daemons():
            try:
                status = daemon.stop()
                if status != 0:
                    problems.append(LabError(f"{daemon.name} ended with status {status}", log=daemon.tail()))
            except LabError as error:
                problems.append(error)
        for vm in self.vms.values():
            vm.close()
        self._stack.close()
        if problems and kind is None:
            raise LabError("; ".join(map(str, problems)), log="\n".join(problem.log for problem in problems))

    @property
    def gateway(self) -> Gateway:
        """The first gateway."""
        return self.gateways[0]

    def daemons(self) -> list[Daemon]:
        """All daemons of ours, those of the hosts first, the MAP server last."""
        return [node.daemon for node in self._nodes()]

    def _nodes(self) -> list[Node]:
        return [*self.hosts.values(), *self.gateways, *([self.map] if self.map is not None else [])]

    def add_host(self, name: str) -> Host:
        """One more host, its daemon not yet started."""
        chosen = self._connects.get(name, self._gateway_names)
        gateways = [gateway for gateway in self.gateways if gateway.name in chosen]
        host = Host(self, name, f"{UNDERLAY}.{11 + len(self.hosts)}", gateways)
        self._stack.callback(host.namespace.delete)
        self.hosts[name] = host
        return host

    def plug_in(self, station: Station) -> None:
        """Connect a machine's eth0 to the bridge; the other end in the underlay has the machine's name."""
        name, mtu = station.name, self.mtu
        self.underlay.ip(
            f"link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}",
            f"link set {name} master bridge up",
        )
        second = [f"address add {station.address6}/64 dev eth0 nodad"] if self.bgp else []
        station.namespace.ip(f"address add {station.address}/24 dev eth0", *second, "link set eth0 up")

    def start(self, deadline: float = START) -> None:
        """Start every daemon and wait until every host and every gateway has its sessions. Raises LabError."""
        self.launch()
        for speaker in (*self.reflectors, *self.pes):
            speaker.wait_ready()
        for daemon in reversed(self.daemons()):
            daemon.wait_ready(deadline)
        self.wait_connected(deadline)
        self.wait_established(deadline)

    def launch(self) -> None:
        """Start every daemon, without waiting."""
        everyone: list[Router | Node] = [*self.reflectors, *self.pes, *reversed(self._nodes())]
        for each in everyone:
            each.launch()

    def wait_established(self, deadline: float = START) -> None:
        """Wait until every gateway and PE has its BGP sessions."""
        for gateway in self.gateways if self.bgp else ():
            wait_until(gateway.established, deadline, f"{gateway.name} to have its BGP sessions", 0.1, self.tails)
        for pe in self.pes:
            wait_until(pe.established, deadline, f"{pe.name} to have its BGP sessions", 0.1, self.tails)

    def wait_connected(self, deadline: float = START) -> None:
        """Wait until every host has a synchronised session with every gateway."""
        for host in self.hosts.values():
            wait_until(host.connected, deadline, f"{host.name} to have its sessions", 0.05, self.tails)

    def tails(self) -> str:
        """The ends of all daemons' logs."""
        tails = [daemon.tail() for daemon in self.daemons()]
        return "\n".join([*tails, *(router.tail() for router in (*self.reflectors, *self.pes))])

    def attach(
        self,
        host: str,
        name: str,
        vpn: str,
        addresses: Sequence[str],
        tap: bool = False,
        prefixes: Sequence[str] = (),
        mac: str | None = None,
        wait: str = "announced",
        cli: bool = False,
    ) -> Vm:
        """A new VM, attached by the host's agent. tap: on a tap with our small stack, else a namespace behind a veth.

        wait: as of `vrfwire port attach --wait`. cli: by that command instead of the control socket, which a process
        of its own would reach no other way but slower. Raises OperatorError, LabError.
        """
        node = self.hosts[host]
        packed = [parse(address) for address in addresses]
        made = None if tap else NamespaceGuest(name, packed).open()
        try:
            reply = self._attach(node, name, vpn, addresses, prefixes, mac, tap, wait, cli)
            vm = made or Guest(name, reply["interface"], node.namespace, mac_bytes(reply["mac"]), packed).open()
        except BaseException:
            if made is not None:
                made.close()
            raise
        self.vms[name] = vm
        self.replies[name] = reply
        return vm

    @staticmethod
    def _attach(
        node: Host,
        name: str,
        vpn: str,
        addresses: Sequence[str],
        prefixes: Sequence[str],
        mac: str | None,
        tap: bool,
        wait: str,
        cli: bool,
    ) -> dict[str, Any]:
        device = tap_name(name)
        if cli:
            options = [f"--address={address}" for address in addresses] + [f"--prefix={prefix}" for prefix in prefixes]
            options += [f"--tap={device}"] if tap else [f"--netns={name}"]
            options += [f"--mac={mac}"] if mac else []
            command = ("port", "attach", name, "--vpn", vpn, *options, "--wait", wait, "--timeout", "30", "--json")
            answer: dict[str, Any] = node.cli(*command).json
            return answer
        place = {"kind": "tap", "interface": device} if tap else {"kind": "veth", "netns": name}
        params: dict[str, object] = {
            "name": name,
            "vpn": vpn,
            "addresses": list(addresses),
            "wait": wait,
            "timeout": 30,
        }
        params |= {"prefixes": list(prefixes), **place, **({"mac": mac} if mac else {})}
        return node.call("port.attach", params, timeout=40)

    def detach(self, host: str, name: str) -> None:
        """Detach a VM and switch it off."""
        self.hosts[host].call("port.detach", {"name": name, "timeout": 30}, timeout=40)
        self.vms.pop(name).close()


def tap_name(vm: str) -> str:
    """Name of a VM's tap: interface names have at most 15 characters."""
    return f"tap-{vm}"[:15]
