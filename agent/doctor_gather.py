"""Doctor: reads what the checks of a host judge. Blocking, and it may hang: see runtime/doctor_gather.py."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

from agent.doctor_firewall import Chain, Firewall, parse_iptables, parse_nft
from agent.doctor_foreign import Foreign
from agent.doctor_kernel import MODULES, Modules, Value
from agent.doctor_networkd import (
    NETWORK_MANAGER_DIRECTORIES,
    NETWORKD_DIRECTORIES,
    Directory,
    File,
    Networkd,
    NetworkManager,
)
from agent.doctor_underlay import Underlay, Way
from datapath import vrf
from datapath.attributes import number, parse
from datapath.devices import AF_INET, AF_INET6, Device, Devices
from datapath.driver import DumpInterrupted
from datapath.kernel import TUNNEL_DEVICE
from datapath.rtnetlink import Rtnetlink
from datapath.sysctls import Sysctls, host_settings
from datapath.values import DEVICE_PREFIX, PROTOCOL
from runtime.bounded import Output, run
from runtime.doctor_gather import service_runs

COMMAND_TIME = 5.0
"""Seconds that a program may take to print rules of a firewall."""
MOST_HOSTS = 256
"""Remote hosts that are looked at."""
MOST_ROUTES = 100_000
"""Routes of the kernel that are looked at."""

_MODULE = re.compile(r"^(?:\S*/)?([\w-]+)\.ko", re.MULTILINE)
_SYSTEMD_VERSION = re.compile(r"systemd (\d+)")
_RTM_GETADDR, _RTM_GETROUTE, _RTM_GETNEIGH, _RTM_GETRULE = 22, 26, 30, 34
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=8BI")
_NDMSG = struct.Struct("=BBHiHBB")
_IFA_LOCAL, _NDA_DST = 2, 1
_RTA_DST, _RTA_TABLE = 1, 15
_FRA_PRIORITY, _FRA_TABLE, _FRA_PROTOCOL = 6, 15, 21
_AF_MPLS = 28
_IP_MTU = 14
_ANY_PORT = 9


# -- programs that manage the network


def gather_networkd(root: Path = Path("/")) -> Networkd:
    """systemd-networkd: its files, whether it runs, what of ours it manages. Raises OSError."""
    return Networkd(
        service_runs("systemd-networkd.service", "systemd-network", root),
        _systemd_version(),
        tuple(_directory(root, place, "networkd.conf") for place in NETWORKD_DIRECTORIES),
        tuple(_managed(root)),
    )


def gather_network_manager(root: Path = Path("/")) -> NetworkManager:
    """NetworkManager: its files, and whether it runs. Raises OSError."""
    directories = []
    for place in NETWORK_MANAGER_DIRECTORIES:
        main = "NetworkManager.conf" if place == NETWORK_MANAGER_DIRECTORIES[-1] else ""
        directories.append(_directory(root, place, main, "conf.d"))
    return NetworkManager(service_runs("NetworkManager.service", "NetworkManager", root), tuple(directories))


def _directory(root: Path, place: str, main: str, drop_ins: str = "") -> Directory:
    directory = root / place.lstrip("/")
    found = {}
    for path in sorted((directory / (drop_ins or f"{main}.d")).glob("*.conf")):
        # One that is masked by a link to /dev/null counts as an empty one: it hides others of its name.
        text = path.read_text(errors="replace") if path.is_file() else ""
        found[path.name] = File(_shown(path, root), text)
    path = directory / main
    if not main or not path.is_file():
        return Directory(None, found)
    return Directory(File(_shown(path, root), path.read_text(errors="replace")), found)


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"


def _systemd_version() -> int:
    try:
        found = _SYSTEMD_VERSION.match(run(["systemctl", "--version"], seconds=COMMAND_TIME).text)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def _managed(root: Path) -> Iterator[str]:
    """Devices of ours that systemd-networkd has taken in hand (sd-network keeps a file for each by its index)."""
    links = root / "run/systemd/netif/links"
    if not links.is_dir():
        return
    for index, name in socket.if_nameindex():
        if name.startswith(DEVICE_PREFIX):
            with contextlib.suppress(OSError):
                text = (links / str(index)).read_text()
                if "ADMIN_STATE=" in text and "ADMIN_STATE=unmanaged" not in text:
                    yield name


# -- the kernel


def gather_settings(labels: int, root: Path = Path("/")) -> tuple[Value, ...]:
    """What the settings are that the daemon raises. labels: the first one beyond those of this host."""
    sysctls = Sysctls(root / "proc/sys")
    return tuple(
        Value(setting.name, setting.least, sysctls.read(setting.name), setting.why) for setting in host_settings(labels)
    )


def gather_modules(root: Path = Path("/")) -> Modules:
    """Which of the modules are there."""
    directory = root / "lib/modules" / os.uname().release
    loaded = frozenset(name for name in MODULES if (root / "sys/module" / name).exists())
    return Modules(loaded, _listed(directory / "modules.builtin"), _listed(directory / "modules.dep"))


def _listed(path: Path) -> frozenset[str] | None:
    """Modules in a list of depmod; None without one."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    return frozenset(found.replace("-", "_") for found in _MODULE.findall(text))


# -- firewall

_NO_PROGRAM = "install it, or make sure by other means that GRE (IP protocol 47) comes in from other hosts"
_NO_RIGHTS = "`vrfwire doctor` asks the daemon, which has the rights; without it, run it as root"


def gather_firewall(device: str, root: Path = Path("/")) -> Firewall:
    """Rules of nftables and of the older iptables, as far as their programs are there. Nothing is asked that would make
    the kernel load what it hasn't. Raises OSError."""
    chains: list[Chain] = []
    unread: list[tuple[str, str]] = []

    def take(name: str, output: Output | None, read: Callable[[str], Iterable[Chain]], lacking: str) -> None:
        if output is None:
            unread.append((f"{name} {lacking} to read its rules", _NO_PROGRAM))
        elif output.status != 0:
            unread.append((f"rules of {name} can't be read: {output.complaint}", _NO_RIGHTS))
        else:
            chains.extend(read(output.text))

    if _has_nftables(root):
        output = _ask("nft", "--json", "list", "ruleset")
        take("nftables", output, parse_nft, "is in use, or could be, and there is no `nft`")
    if _has_iptables(root):
        output = _ask("iptables-legacy-save") or _ask("iptables-save")
        take("iptables", output, parse_iptables, "is in use, and there is no `iptables-save`")
    return Firewall(tuple(chains), tuple(unread), device)


def _ask(*argv: str) -> Output | None:
    """What a program prints; None when it isn't there."""
    try:
        return run(argv, seconds=COMMAND_TIME, limit=8 << 20)
    except FileNotFoundError:
        return None


def _has_nftables(root: Path) -> bool:
    """Whether the kernel has it loaded; asking would load it."""
    return (root / "sys/module/nf_tables").exists()


def _has_iptables(root: Path) -> bool:
    """Whether there is a table of the older iptables."""
    try:
        return bool((root / "proc/net/ip_tables_names").read_text().strip())
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


# -- the underlay


def underlay_device(address: IPv4Address) -> Device | None:
    """The device that has the underlay address. Raises OSError."""
    with contextlib.closing(Rtnetlink()) as netlink:
        wanted = None
        for body in _dump(netlink, _RTM_GETADDR, _IFADDRMSG.pack(AF_INET, 0, 0, 0, 0)):
            if parse(body, _IFADDRMSG.size).get(_IFA_LOCAL) == address.packed:
                wanted = _IFADDRMSG.unpack_from(body)[4]
        return next((device for device in Devices(netlink).dump() if device.ifindex == wanted), None)


def gather_underlay(
    address: IPv4Address, configured_mtu: int | None, told_mtu: int | None, hosts: Iterable[IPv4Address] | None
) -> Underlay:
    """The way to every host. hosts: that were announced; None: those that the kernel knows. Raises OSError."""
    known = sorted(set(hosts) if hosts is not None else _neighbours())
    device = underlay_device(address)
    return Underlay(
        address,
        _unusable(address),
        "" if device is None else device.name,
        0 if device is None else device.mtu,
        configured_mtu,
        told_mtu,
        tuple(_way(address, host) for host in known[:MOST_HOSTS]),
        max(0, len(known) - MOST_HOSTS),
    )


def _unusable(address: IPv4Address) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            return "no device has it" if error.errno == errno.EADDRNOTAVAIL else error.strerror or str(error)
    return ""


def _way(address: IPv4Address, host: IPv4Address) -> Way:
    """What the kernel would do: a datagram socket that is connected looks its route up, and nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            with contextlib.suppress(OSError):
                probe.bind((str(address), 0))
            probe.connect((str(host), _ANY_PORT))
            return Way(host, probe.getsockopt(socket.IPPROTO_IP, _IP_MTU))
        except OSError as error:
            return Way(host, error=error.strerror or str(error))


def _neighbours() -> set[IPv4Address]:
    """Hosts that the tunnel has neighbours for."""
    try:
        index = socket.if_nametoindex(TUNNEL_DEVICE)
    except OSError:
        return set()
    with contextlib.closing(Rtnetlink()) as netlink:
        found = set()
        for body in _dump(netlink, _RTM_GETNEIGH, _NDMSG.pack(AF_INET, 0, 0, 0, 0, 0, 0)):
            destination = parse(body, _NDMSG.size).get(_NDA_DST, b"")
            if _NDMSG.unpack_from(body)[3] == index and len(destination) == 4:
                found.add(IPv4Address(destination))
        return found


# -- other programs


def gather_foreign(tables: range, labels: range) -> Foreign:
    """Objects of others in the ranges that are ours. Raises OSError."""
    with contextlib.closing(Rtnetlink()) as netlink:
        routes: Counter[tuple[int, int]] = Counter()
        label_routes: Counter[tuple[int, int]] = Counter()
        looked = 0
        for family in (AF_INET, AF_INET6, _AF_MPLS):
            for body in _dump(netlink, _RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
                looked += 1
                if looked > MOST_ROUTES:
                    break
                protocol = body[5]
                # A family that the kernel lacks is answered with the routes of all others.
                if protocol == PROTOCOL or body[0] != family:
                    continue
                found = parse(body, _RTMSG.size)
                if family == _AF_MPLS:
                    label_routes[int.from_bytes(found.get(_RTA_DST, b"")[:4], "big") >> 12, protocol] += 1
                else:
                    routes[number(found.get(_RTA_TABLE), body[4]), protocol] += 1
        devices = Devices(netlink).dump()
        others = [(one.name, vrf.table_of(one)) for one in devices if one.kind == "vrf" and not vrf.is_owned(one)]
        rules = tuple(_rules(netlink))
    return Foreign(tables, labels, routes, label_routes, rules, tuple(others), looked > MOST_ROUTES)


def _rules(netlink: Rtnetlink) -> Iterator[tuple[int, int]]:
    for family in (AF_INET, AF_INET6):
        for body in _dump(netlink, _RTM_GETRULE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)):
            found = parse(body, _RTMSG.size)
            if number(found.get(_FRA_PROTOCOL)) != PROTOCOL:
                yield number(found.get(_FRA_PRIORITY)), number(found.get(_FRA_TABLE), body[4])


def _dump(netlink: Rtnetlink, kind: int, header: bytes) -> Iterator[bytes]:
    """A dump that was disturbed shows enough; a family that the kernel lacks has no objects."""
    try:
        yield from netlink.dump(kind, header)
    except DumpInterrupted:
        return
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENOENT):
            raise
