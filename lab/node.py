"""The machines of a lab: what all have, and those that run a daemon of ours, gateways and hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import toml
from lab.capture import Capture
from lab.daemon import Daemon
from lab.errors import LabError
from lab.namespace import Namespace
from runtime.client import ControlClient
from runtime.errors import OperatorError

if TYPE_CHECKING:
    from lab.topology import Lab

PORT = 5222
AS = 64512
BGP_PORT = 179
UNDERLAY6 = "2001:db8:ffff:"
"""Start of the underlay's IPv6 addresses (RFC 3849), for the BGP sessions: FRR as a reflector keeps the next hops of
VPNv6 routes on those alone. On an IPv4 session it puts itself there (FRR issue 15610)."""
PROGRAMS = Path(sys.executable).parent
"""Where `vrfwire` and the daemons are: beside this Python."""


@dataclass(frozen=True, slots=True)
class Vpn:
    """A VPN at the gateway. exports: the imports unless given."""

    name: str
    imports: Sequence[str]
    exports: Sequence[str] | None = None

    def table(self) -> dict[str, object]:
        """As a [[vpn]] table of gateway.toml."""
        exports = self.imports if self.exports is None else self.exports
        return {"name": self.name, "import": list(self.imports), "export": list(exports)}


@dataclass(slots=True)
class Result:
    """Outcome of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """stdout as a JSON document."""
        return json.loads(self.stdout)


def address6(address: str) -> str:
    """The IPv6 address of a machine of the underlay, by its IPv4 address."""
    return f"{UNDERLAY6}:{address.rpartition('.')[2]}"


class Station:
    """A machine on the underlay: a namespace with eth0. address6: it has it when the lab speaks BGP."""

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        self.lab = lab
        self.name = name
        self.address = address
        self.address6 = address6(address)
        self.directory = lab.directory / name
        self.directory.mkdir()
        self.namespace = Namespace(name)
        try:
            lab.plug_in(self)
        except LabError:
            self.namespace.delete()
            raise

    def link(self, up: bool) -> None:
        """Plug the underlay's cable in or pull it out: the machine sees its carrier go."""
        self.lab.underlay.ip(f"link set {self.name} {'up' if up else 'down'}")

    def capture(self, interface: str | None = "eth0") -> Capture:
        """Capture on an interface of the machine, by default the underlay's; None: on all."""
        return Capture(self.namespace, interface)


class Node(Station):
    """A machine with one daemon of ours. settings: the daemon's configuration, free to be changed before it is
    started."""

    program = ""
    control_program = ""
    command: tuple[str, ...] = ()
    """Of a program that does other things as well: what starts the daemon."""

    def __init__(self, lab: Lab, name: str, address: str) -> None:
        super().__init__(lab, name, address)
        self.socket = self.directory / "control.sock"
        self.settings: dict[str, Any] = {}
        config = self.directory / "daemon.toml"
        argv = [str(PROGRAMS / self.program), *self.command, "--config", str(config)]
        self.daemon = Daemon(f"{self.program} {name}", argv, self.namespace, self.directory / "log", self.answers)

    def write_config(self) -> None:
        """Write the settings where the daemon reads them."""
        (self.directory / "daemon.toml").write_text(toml.dumps(self.settings), encoding="utf-8")

    def answers(self) -> bool:
        """Whether the daemon serves."""
        try:
            self.call("version", timeout=5.0)
        except OperatorError:
            return False
        return True

    def launch(self) -> None:
        """Write the configuration and start the daemon, without waiting."""
        self.write_config()
        self.daemon.launch()

    def start(self) -> None:
        """Write the configuration, start the daemon, wait until it serves."""
        self.launch()
        self.daemon.wait_ready()

    def call(self, method: str, params: Mapping[str, object] | None = None, timeout: float = 30.0) -> dict[str, Any]:
        """Ask the daemon by its control socket. Raises OperatorError."""
        with ControlClient(str(self.socket), self.program) as client:
            return client.call(method, params, timeout)

    def items(self, method: str, **params: object) -> list[dict[str, Any]]:
        """The items of a list that the daemon gives by its control socket."""
        found: list[dict[str, Any]] = self.call(method, params)["items"]
        return found

    def cli(self, *arguments: str, check: bool = True, timeout: float = 60.0) -> Result:
        """Run the node's command line program. check: raise LabError unless it exits with 0."""
        argv = [str(PROGRAMS / self.control_program), "--socket", str(self.socket), *arguments]
        with self.namespace.entered():
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
            )
        if check and done.returncode != 0:
            raise LabError(
                f"{self.name}: {self.control_program} {' '.join(arguments)}: exit status {done.returncode}",
                log="\n".join([done.stdout + done.stderr, self.daemon.tail()]),
            )
        return Result(done.returncode, done.stdout, done.stderr)


class Gateway(Node):
    """The node with vrfwire-gateway. peers: the other ends of its BGP sessions, by name; () without BGP."""

    program = "vrfwire-gateway"
    control_program = "vrfwire-gateway-ctl"

    def __init__(self, lab: Lab, name: str, address: str, vpns: Iterable[Vpn]) -> None:
        super().__init__(lab, name, address)
        self.settings = {
            "gateway": {"domain": lab.domain, "listen": [f"{address}:{PORT}"], "router_id": address, "as": AS},
            "tls": lab.authority.gateway(lab.domain, [address], stem=name).table(),
            "control": {"socket": str(self.socket)},
            "state": {"directory": str(self.directory / "state")},
        }
        if lab.map is None:
            self.settings["vpn"] = [vpn.table() for vpn in vpns]
        else:
            self.settings["map"] = lab.map.admit(name)
        self.peers: tuple[str, ...] = ()

    def meet(self, peers: Iterable[Station]) -> None:
        """Configure a BGP session with each of these machines. A pair dials each other when both are told so."""
        peers = tuple(peers)
        self.peers = tuple(peer.name for peer in peers)
        tables = [{"address": peer.address6, "name": peer.name, "local_address": self.address6} for peer in peers]
        section = {"listen": [f"[{self.address6}]:{BGP_PORT}"], "connect_retry": 1}
        self.settings["bgp"] = section | ({"peer": tables} if tables else {})

    def established(self) -> bool:
        """Whether all of its BGP sessions are up."""
        found = {peer["name"]: peer["state"] for peer in self.items("peer.list")}
        return found == dict.fromkeys(self.peers, "established")

    def unheard(self) -> str:
        """What peers have still to tell, one thing: the session, the End-of-RIB of a family, routes that are stale."""
        for name in self.peers:
            peer = self.call("peer.show", {"name": name})
            if peer["state"] != "established":
                return f"session with {name} is {peer['state']}"
            for family in peer["per_family"]:
                if not family["ended"] or family["stale"]:
                    return f"{name} hasn't told all of {family['family']}, stale: {family['stale']}"
        return ""


class Host(Node):
    """A hypervisor: the node with vrfwire-agent. gateways: those that it connects to."""

    program = "vrfwire-agent"
    control_program = "vrfwire"

    def __init__(self, lab: Lab, name: str, address: str, gateways: Iterable[Gateway] | None = None) -> None:
        """gateways: by default all of the lab."""
        super().__init__(lab, name, address)
        self.gateways = tuple(lab.gateways if gateways is None else gateways)
        self.settings = {
            "host": {"name": name, "address": address},
            "gateway": [{"address": g.address, "port": PORT, "domain": lab.domain} for g in self.gateways],
            "tls": lab.authority.host(name, lab.domain, [address]).table(),
            "control": {"socket": str(self.socket)},
            "state": {"directory": str(self.directory / "state")},
        }
        if lab.mtu != 1500:
            self.settings["datapath"] = {"underlay_mtu": lab.mtu}
        (self.directory / "state").mkdir()

    def connected(self) -> bool:
        """Whether the agent has a synchronised session with every gateway."""
        found = self.items("gateway.list")
        return bool(found) and all(g["state"] == "connected" for g in found)
