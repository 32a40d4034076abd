"""Everything that talks to one kernel, opened together: drivers, event monitor, settings."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass

from datapath import responder
from datapath.antispoofing import AntiSpoofingDriver
from datapath.attributes import parse
from datapath.bpf import BpfError, Program
from datapath.channel import Channel
from datapath.devices import AF_INET, Devices
from datapath.driver import Driver
from datapath.filters import Responder
from datapath.monitor import KernelMonitor
from datapath.nexthops import NextHopDriver, NextHopGroupDriver, NextHopIds
from datapath.port import PortDriver
from datapath.routes import MplsRouteDriver, NeighbourDriver, VrfRouteDriver
from datapath.rtnetlink import Rtnetlink
from datapath.sysctls import Sysctls
from datapath.tunnel import TunnelDriver
from datapath.vrf import VrfDriver

TUNNEL_DEVICE = "vw-gre"
GRE_OVERHEAD = 24
"""Octets of IPv4 and GRE header (RFC 4023, without key and checksum)."""
LABEL_OVERHEAD = 4

_RTM_GETADDR = 22
_IFADDRMSG = struct.Struct("=BBBBI")
_IFA_LOCAL = 2


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """What in the kernel is ours to use.

    local: packed underlay address; tables and labels: the numbers that are ours; tunnel: name of the tunnel device.
    """

    local: bytes
    tables: range
    labels: range
    tunnel: str = TUNNEL_DEVICE


@dataclass(slots=True)
class Kernel:
    """An open kernel.

    drivers: one per kind, in order of layer. responder_error: why the BPF responder isn't in use, "" if it is; without
    it ports are answered by the kernel's proxy ARP, for what it has a route to.
    """

    config: KernelConfig
    drivers: tuple[Driver, ...]
    anti_spoofing: AntiSpoofingDriver
    monitor: KernelMonitor
    sysctls: Sysctls
    devices: Devices
    responder_error: str
    _cleanup: contextlib.ExitStack

    def close(self) -> None:
        """Close sockets and the program's descriptor. What is in the kernel stays and goes on forwarding."""
        self._cleanup.close()

    def overlay_mtu(self) -> int | None:
        """Octets of the largest packet that a VM can send to another host in one piece; None while no device has the
        underlay address. The MTU of that device less IPv4, GRE and one label. Raises OSError."""
        name = self.underlay_device()
        device = self.devices.get([name]).get(name) if name is not None else None
        return None if device is None else device.mtu - GRE_OVERHEAD - LABEL_OVERHEAD

    def underlay_device(self) -> str | None:
        """The device that has the underlay address. Raises OSError."""
        wanted = None
        for body in self.devices.netlink.dump(_RTM_GETADDR, _IFADDRMSG.pack(AF_INET, 0, 0, 0, 0)):
            found = parse(body, _IFADDRMSG.size)
            if found.get(_IFA_LOCAL) == self.config.local:
                wanted = _IFADDRMSG.unpack_from(body)[4]
        if wanted is None:
            return None
        return next((device.name for device in self.devices.dump() if device.ifindex == wanted), None)


def open_kernel(config: KernelConfig) -> Kernel:
    """Open the kernel of the network namespace that the calling thread is in. Raises OSError."""
    with contextlib.ExitStack() as cleanup:
        netlink = Rtnetlink()
        cleanup.callback(netlink.close)
        channel = Channel()
        cleanup.callback(channel.close)
        program, error = _load_responder()
        if program is not None:
            cleanup.callback(program.close)
        answers = None if program is None else Responder(program.fileno(), program.tag())
        devices = Devices(netlink)
        sysctls = Sysctls()
        ids = NextHopIds()
        anti_spoofing = AntiSpoofingDriver(devices, answers)
        drivers: tuple[Driver, ...] = (
            TunnelDriver(devices, sysctls, config.labels.stop),
            VrfDriver(devices),
            PortDriver(devices),
            NeighbourDriver(channel),
            anti_spoofing,
            MplsRouteDriver(channel, config.labels),
            NextHopDriver(channel, ids),
            NextHopGroupDriver(channel, ids),
            VrfRouteDriver(channel, ids, config.tables),
        )
        monitor = KernelMonitor(devices, config.tables, config.labels, ids.by_id, (netlink.port, channel.port_id))
        cleanup.callback(monitor.close)
        return Kernel(config, drivers, anti_spoofing, monitor, sysctls, devices, error, cleanup.pop_all())


def _load_responder() -> tuple[Program | None, str]:
    """The program; or why there is none."""
    try:
        return responder.load(), ""
    except BpfError as error:
        return None, str(error.strerror)
