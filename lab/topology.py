"""A lab: one gateway and some hosts on an underlay, each a network namespace with its daemon, and the hosts' VMs.

    with Lab(hosts=["hv1", "hv2"], vpns=[Vpn("blue", ["64512:1"])]) as lab:
        lab.start()
        one = lab.attach("hv1", "blue-1", "blue", ["10.1.1.1"])
        two = lab.attach("hv2", "blue-2", "blue", ["10.1.1.2"], tap=True)
        assert one.ping("10.1.1.2").ok

Everything is on the path: real daemons, certificates, devices. When the block is left the daemons are stopped and all
namespaces are gone; a daemon that had crashed, or doesn't end, is an error there.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.daemon import START, Daemon
from lab.echo import parse
from lab.errors import LabError
from lab.frames import mac_bytes
from lab.guest import Guest
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest
from lab.node import Gateway, Host, Node, Vpn
from lab.pki import Authority
from lab.wait import wait_until

__all__ = ["BLUE_AND_RED", "DOMAIN", "Gateway", "Host", "Lab", "Vm", "Vpn", "tap_name"]

DOMAIN = "vpn.example.net"
UNDERLAY = "192.0.2"
"""First octets of the underlay's addresses: TEST-NET-1 (RFC 5737). The gateway is .1, the hosts .11 and on."""

Vm = Guest | NamespaceGuest

BLUE_AND_RED = (Vpn("blue", ["64512:1"]), Vpn("red", ["64512:2"]))


class Lab:
    """See the module.

    Attributes: hosts and vms by name; replies (what attach was answered, by VM); gateways in order; underlay (the
    namespace of the bridge); directory (configuration, state, logs; gone afterwards); authority (makes certificates).
    """

    def __init__(
        self,
        hosts: Sequence[str] = ("hv1", "hv2"),
        vpns: Iterable[Vpn] = BLUE_AND_RED,
        gateways: Sequence[str] = ("gw",),
        mtu: int = 1500,
        domain: str = DOMAIN,
    ) -> None:
        """mtu: of the underlay, in bytes of IP. Nothing is made before the block is entered."""
        self.mtu = mtu
        self.domain = domain
        self.hosts: dict[str, Host] = {}
        self.gateways: list[Gateway] = []
        self.vms: dict[str, Vm] = {}
        self.replies: dict[str, dict[str, Any]] = {}
        self.directory: Path
        self.authority: Authority
        self.underlay: Namespace
        self._host_names = tuple(hosts)
        self._gateway_names = tuple(gateways)
        self._vpns = tuple(vpns)
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
        for number, name in enumerate(self._gateway_names, start=1):
            gateway = Gateway(self, name, f"{UNDERLAY}.{number}", self._vpns)
            self._stack.callback(gateway.namespace.delete)
            self.gateways.append(gateway)
        for name in self._host_names:
            self.add_host(name)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        problems: list[LabError] = []
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
        """All daemons, those of the hosts first."""
        return [node.daemon for node in (*self.hosts.values(), *self.gateways)]

    def add_host(self, name: str) -> Host:
        """One more host, its daemon not yet started."""
        host = Host(self, name, f"{UNDERLAY}.{11 + len(self.hosts)}")
        self._stack.callback(host.namespace.delete)
        self.hosts[name] = host
        return host

    def plug_in(self, node: Node) -> None:
        """Connect a node's eth0 to the bridge; the other end in the underlay has the node's name."""
        name, mtu = node.name, self.mtu
        self.underlay.ip(
            f"link add {name} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {node.name}",
            f"link set {name} master bridge up",
        )
        node.namespace.ip(f"address add {node.address}/24 dev eth0", "link set eth0 up")

    def start(self, deadline: float = START) -> None:
        """Start every daemon and wait until every host has its sessions. Raises LabError."""
        for gateway in self.gateways:
            gateway.launch()
        for host in self.hosts.values():
            host.launch()
        for daemon in reversed(self.daemons()):
            daemon.wait_ready(deadline)
        self.wait_connected(deadline)

    def wait_connected(self, deadline: float = START) -> None:
        """Wait until every host has a synchronised session with every gateway."""
        for host in self.hosts.values():
            wait_until(host.connected, deadline, f"{host.name} to have its sessions", 0.05, self.tails)

    def tails(self) -> str:
        """The ends of all daemons' logs."""
        return "\n".join(daemon.tail() for daemon in self.daemons())

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
