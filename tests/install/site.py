"""What is in the machine beside the packages: a network, configuration, certificates, VMs, and a second host.

machine's own namespace     "underlay" 192.0.2.7 (host hv7), by systemd-networkd
      |                         "lo" 192.0.2.1 (gateway), 192.0.2.9 (MAP server)
      |  veth
namespace hv8               "eth0" 192.0.2.8: another vrfwire-agent of the same package
namespaces web-1, web-2     VMs, attached to hv7 and to hv8
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.machine import Done, Machine
from lab.machine_root import EXCHANGE, Root
from tests.guide import block

LAB = Path(__file__).resolve().parents[2] / "lab"
TRAFFIC = Path(__file__).with_name("traffic.py")
HERE = str(EXCHANGE)

QUICKSTART = "docs/quickstart.md"
OPERATIONS = "docs/operations.md"

HV8_SOCKET = "/run/hv8/agent.sock"
VMS = {"web-1": ("10.1.1.1", "fd00:1::1"), "web-2": ("10.1.1.2", "fd00:1::2")}
RATE = 250
"""Packets a second of each of four flows; two streams of TCP run beside them."""

NETWORK_UNIT = """[Unit]
Description=Namespaces of the test
DefaultDependencies=no
After=systemd-modules-load.service
Before=network-pre.target systemd-networkd.service
Wants=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip -batch /etc/site-network
ExecStart=ip -n hv8 -batch /etc/site-network.hv8
[Install]
WantedBy=multi-user.target
"""

NETWORK = """netns add hv8
netns add web-1
netns add web-2
link add underlay type veth peer name eth0 netns hv8
address add 192.0.2.1/32 dev lo
address add 192.0.2.9/32 dev lo
"""
NETWORK_HV8 = """address add 192.0.2.8/24 dev eth0
link set lo up
link set eth0 up
"""

UNDERLAY = """[Match]
Name=underlay
[Network]
Address=192.0.2.7/24
LinkLocalAddressing=no
IPv6AcceptRA=no
KeepConfiguration=static
"""

HV8_UNIT = """[Unit]
Description=A second host
After=site-network.service vrfwire-gateway.service
[Service]
Type=notify
ExecStart=/usr/sbin/vrfwire-agent --config /etc/hv8/agent.toml
NetworkNamespacePath=/run/netns/hv8
RuntimeDirectory=hv8
RuntimeDirectoryPreserve=yes
StateDirectory=hv8
Restart=on-failure
[Install]
WantedBy=multi-user.target
"""


APT = """APT::Get::Assume-Yes "true";
Dpkg::Use-Pty "false";
"""
"""Nobody is there to say yes, and there is no terminal."""

HV8 = f"""[control]
socket = "{HV8_SOCKET}"

[state]
directory = "/var/lib/hv8"
"""

GATEWAY_MAP = """[map]
url = "https://192.0.2.9:8443/"
ca = "ca.pem"
certificate = "gw1.pem"
key = "gw1.key"
"""
"""Instead of [[vpn]] in gateway.toml."""

MAP = """[map]
listen = ["0.0.0.0:8443"]

[tls]
certificate = "map.pem"
key = "map.key"
ca = "ca.pem"
crl = "crl.pem"

[[client]]
name = "ann"

[[client]]
name = "gw1"
read = ["vpn:*", "vrfwire:*"]
write = ["vpn:attachment-info", "vpn:attachment-state"]

[health]
require = ["vrfwire:provisioned"]
"""

MAP_CLIENT = """[map]
url = ["https://192.0.2.9:8443/"]
ca = "ca.pem"
certificate = "ann.pem"
key = "ann.key"
"""

ENROLMENTS = (
    "map --role map --address 192.0.2.9 --out /etc/vrfwire",
    "gw1 --role client --out /etc/vrfwire",
    "ann --role client --out /etc/vrfwire",
)


def lay_out(root: Root) -> None:
    """Before the first boot: the network, and the programs of the test."""
    root.write("/etc/systemd/system/site-network.service", NETWORK_UNIT)
    root.write("/etc/systemd/system/hv8.service", HV8_UNIT)
    root.write("/etc/systemd/network/underlay.network", UNDERLAY)
    root.write("/etc/apt/apt.conf.d/90site", APT)
    root.write("/etc/site-network", NETWORK)
    root.write("/etc/site-network.hv8", NETWORK_HV8)
    root.bring([TRAFFIC])
    (root.exchange / "lab").mkdir()
    for source in LAB.glob("*.py"):
        shutil.copy(source, root.exchange / "lab")
    root.run("systemctl", "enable", "--quiet", "systemd-networkd", "site-network")


def install(root: Root, packages: Iterable[Path]) -> str:
    """The quickstart's packages of gateway and host, installed as when an image is made. Returns what apt prints."""
    folder = root.path / "packages"
    folder.mkdir()
    for package in packages:
        shutil.copy(package, folder)
    commands = block(QUICKSTART, "apt-get install ./vrfwire-common_*.deb ./vrfwire-gateway")
    commands += block(QUICKSTART, "apt-get install ./vrfwire-common_*.deb ./vrfwire-agent")
    try:
        return root.run("sh", "-ec", f"cd /packages\n{commands}")
    finally:
        shutil.rmtree(folder)


def bring(root: Root, name: str, files: Iterable[Path]) -> str:
    """Copy files into a folder of their own; returns its path in the machine."""
    folder = root.exchange / name
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return str(EXCHANGE / name)


def shell(machine: Machine, commands: str, socket: str = "", deadline: float = 60.0) -> Done:
    """Commands as somebody types them; the first that fails ends them. socket: of the other host's agent."""
    environ = {"DEBIAN_FRONTEND": "noninteractive", **({"VRFWIRE_SOCKET": socket} if socket else {})}
    return machine.run("sh", "-ec", commands, environ=environ, deadline=deadline)


def set_up(machine: Machine) -> str:
    """The quickstart on gw1, hv7 and hv8, all of them this machine. Returns what the ping at the end prints."""
    shell(machine, block(QUICKSTART, "vrfwire-gateway-ctl pki init"))
    unpack = block(QUICKSTART, "tar -C")
    shell(machine, f"mkdir /etc/hv8\n{unpack}" + unpack.replace("/etc/vrfwire", "/etc/hv8").replace("hv7", "hv8"))
    machine.write("/etc/vrfwire/gateway.toml", block(QUICKSTART, "[gateway]"))
    assert machine.run("cat", "/etc/vrfwire/agent.toml").stdout == block(QUICKSTART, "[host]")
    machine.write("/etc/vrfwire/agent.toml.d/operators.toml", block(OPERATIONS, "[control]"))
    machine.write("/etc/hv8/agent.toml.d/hv8.toml", HV8)
    shell(machine, block(QUICKSTART, "vrfwire-gateway --check"))
    shell(machine, block(QUICKSTART, "vrfwire-agent --check") + "systemctl enable --now --quiet hv8")
    # These are there from the boot on, as they will be from the next one.
    shell(machine, "ip netns del web-1; ip netns del web-2")
    shell(machine, block(QUICKSTART, "ip netns add web-1"))
    return shell(machine, block(QUICKSTART, "ip netns add web-2"), HV8_SOCKET).stdout


def provision(machine: Machine) -> None:
    """A MAP server with VPN blue and who is bound to it; the gateway goes over to it while it runs."""
    for enrolment in ENROLMENTS:
        machine.run("vrfwire-gateway-ctl", "pki", "enroll", *enrolment.split())
    machine.write("/etc/vrfwire/map.toml", MAP)
    machine.write("/etc/vrfwire/map-client.toml", MAP_CLIENT)
    machine.run("systemctl", "start", "vrfwire-map")
    machine.run("vrfwire-map", "vpn", "create", "blue", "--route-target", "64512:1")
    for name, addresses in VMS.items():
        machine.run("vrfwire-map", "bind", name, "blue", *(f"--address={address}" for address in addresses))
    gateway = block(QUICKSTART, "[gateway]").partition("[[vpn]]")[0]
    machine.write("/etc/vrfwire/gateway.toml", gateway + GATEWAY_MAP)
    shell(machine, block(OPERATIONS, "vrfwire-gateway --config"))


@dataclass(slots=True)
class Traffic:
    """Packets between the two VMs, known after the block of counting(). longest: the longest outage, in seconds."""

    lost: int = -1
    longest: float = -1.0
    broken: tuple[str, ...] = ()
    text: str = ""

    def __str__(self) -> str:
        return self.text


@contextmanager
def counting(machine: Machine) -> Iterator[Traffic]:
    """Packets flow for the length of the block: UDP both ways in both families, and TCP."""
    vms = [f"{name}={','.join(addresses)}" for name, addresses in VMS.items()]
    command = ("/usr/bin/python3", f"{HERE}/traffic.py", str(RATE), *vms)
    running = machine.start(*command, environ={"PYTHONPATH": HERE})
    running.wait_output("counting")
    result = Traffic()
    try:
        yield result
    finally:
        running.signal(signal.SIGTERM)
        document = json.loads(running.wait().stdout.splitlines()[-1])
        result.lost = document["lost"]
        result.longest = max((outage["seconds"] for outage in document["outages"]), default=0.0)
        result.broken = tuple(document["broken"])
        result.text = document["text"]


def status(machine: Machine, program: str = "vrfwire", socket: str = "") -> dict[str, Any]:
    """`status` of a daemon, whatever its exit code."""
    environ = {"VRFWIRE_SOCKET": socket} if socket else {}
    document: dict[str, Any] = machine.run(program, "status", "-j", check=False, environ=environ).json()
    return document


def properties(machine: Machine, unit: str, *names: str) -> list[str]:
    """Properties of a unit as systemd has them, in the order asked for."""
    lines = machine.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return [found[name] for name in names]


def paths(machine: Machine) -> set[str]:
    """Every file and directory of the machine's disk."""
    return set(machine.run("find", "/", "-xdev", deadline=60).stdout.splitlines())
