"""The event monitor: what others do to the kernel's objects, as values of datapath/events.py."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Mapping, Sequence, Set
from typing import NamedTuple

from datapath import port, tunnel, vrf
from datapath.attributes import WireError, message, messages, number, parse, u32
from datapath.channel import attach_filter
from datapath.devices import AF_INET, Device, Devices, decode_device
from datapath.events import KernelEvent, LinkChanged, LinkDown, LinkGone, ObjectChanged, Overrun
from datapath.notifications import Names, decode
from datapath.socket_filter import AF_MPLS, RTM_DELADDR, RTM_DELLINK, RTM_NEWLINK, RTM_NEWNETCONF, monitor_filter
from datapath.values import ICMP_SOURCE6, Kind, NextHop, NextHopGroup

_SOL_NETLINK = 270
_NETLINK_ADD_MEMBERSHIP = 1
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 4 << 20
_READ_SIZE = 1 << 16
_IFADDRMSG = struct.Struct("=BBBBI")
_IFA_ADDRESS = 1
_RTM_GETNETCONF = 82
_NETCONFMSG = struct.Struct("=Bxxx")
_NETCONFA_IFINDEX, _NETCONFA_FORWARDING, _NETCONFA_RP_FILTER, _NETCONFA_INPUT = 1, 2, 3, 7
_NETCONFA_IFINDEX_ALL = 0xFFFFFFFF

GROUPS = (1, 3, 4, 7, 8, 9, 11, 19, 24, 25, 27, 29, 32)
"""RTNLGRP_LINK, NEIGH, TC, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF,
MPLS_ROUTE, MPLS_NETCONF and NEXTHOP."""


class KernelMonitor:
    """A socket of notifications. Links are compared with what was known of them; what is in order is not told.
    Devices of others are known as they were when the links were read: nothing is heard of them.

    tables and labels: the numbers that are ours. next_hops: known next hops by kernel id. own_ports: port ids of the
    sockets that our own changes go through.
    """

    def __init__(
        self,
        devices: Devices,
        tables: range,
        labels: range,
        next_hops: Mapping[int, NextHop | NextHopGroup],
        own_ports: Sequence[int],
    ) -> None:
        self._reader = devices
        self._devices: dict[int, Device] = {}
        self._dark: set[str] = set()
        self._good: dict[int, tuple[Kind, _Look]] = {}
        self._told: dict[int, _Look] = {}
        self._ours: set[int] = set()
        self._heard: frozenset[int] = frozenset()
        self._own_ports = tuple(own_ports)
        self._names = Names(tables, labels, self._device_name, self._vrf_of_table, next_hops)
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        attach_filter(self._socket, monitor_filter(own_ports, tables))
        self._socket.bind((0, 0))
        for group in GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)
        self._start_over()

    def limit_buffer(self, size: int) -> None:
        """Let the kernel keep no more than `size` octets of notifications; for tests of what happens then."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def fileno(self) -> int:
        """See events.Monitor."""
        return self._socket.fileno()

    def drain(self) -> list[KernelEvent]:
        """See events.Monitor."""
        events: dict[KernelEvent, None] = {}
        touched: set[int] = set()
        bare: set[int] = set()
        while True:
            try:
                data = self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return self._overrun()
            try:
                for found in messages(data, len(data)):
                    kind, body = found.type, data[found.start : found.end]
                    if kind in (RTM_NEWLINK, RTM_DELLINK):
                        events.update(dict.fromkeys(self._link(kind, body, touched)))
                    elif kind == RTM_DELADDR:
                        if parse(body, _IFADDRMSG.size).get(_IFA_ADDRESS) == ICMP_SOURCE6:
                            bare.add(_IFADDRMSG.unpack_from(body)[-1])
                    elif kind == RTM_NEWNETCONF:
                        events.update(dict.fromkeys(self._settings(body)))
                    else:
                        events.update(dict.fromkeys(decode(kind, body, self._names)))
            except WireError:
                return self._overrun()
        # Only now: a driver changes a device by several messages, and what is between them concerns nobody.
        for ifindex in touched:
            event = self._judge(ifindex)
            if event is not None:
                events[event] = None
        # The address goes with its device, too; then that is told already.
        for device in map(self._devices.get, bare):
            if device is not None and vrf.is_owned(device):
                events[ObjectChanged(Kind.VRF, device.name)] = None
        return list(events)

    def without_carrier(self) -> Set[str]:
        """See events.Monitor."""
        return self._dark

    def _overrun(self) -> list[KernelEvent]:
        """Drop what is waiting, know the links again, and say so."""
        while True:
            try:
                self._socket.recv(_READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
        self._start_over()
        return [Overrun()]

    def _start_over(self) -> None:
        self._devices = {device.ifindex: device for device in self._reader.dump()}
        self._dark = {device.name for device in self._devices.values() if device.up and not device.carries}
        self._good.clear()
        self._told.clear()
        self._ours.clear()
        for ifindex in self._devices:
            self._judge(ifindex)
        self._listen()

    def _listen(self) -> None:
        """Let the kernel wake us for our own devices, and for what looks like one."""
        self._heard = frozenset(self._ours)
        attach_filter(self._socket, monitor_filter(self._own_ports, self._names.tables, self._heard))

    @property
    def untidy(self) -> bool:
        """See events.Monitor: there are devices of ours that are heard of only as long as they carry our mark."""
        return not self._ours <= self._heard

    def tidy(self) -> list[KernelEvent]:
        """See events.Monitor. Replacing the socket's program takes half as long as an attach in user-mode Linux, where
        memory for it is slow to get."""
        new = {ifindex: self._devices[ifindex].name for ifindex in self._ours - self._heard}
        self._listen()
        # They may have lost the mark in between, or been given other settings, and nothing was heard of it.
        try:
            return self._look_again(new)
        except OSError:
            return [Overrun()]

    def _look_again(self, new: Mapping[int, str]) -> list[KernelEvent]:
        """At devices by index and name. Raises OSError."""
        found = self._reader.get(new.values())
        events: list[KernelEvent] = []
        touched: set[int] = set()
        for ifindex, name in new.items():
            device = found.get(name)
            if device is None:
                events += self._gone(ifindex, name, touched)
            elif device.alias != self._devices[ifindex].alias:
                events += self._seen(device, touched)
            elif tunnel.is_owned(device):
                events += self._mpls_settings(ifindex)
            elif (kind := _kind_of(device)) is not None and not _HAS_SETTINGS[kind](device):
                events.append(ObjectChanged(kind, name))
            # One that still has its mark was heard of all the time. What was read is newer than the notifications that
            # wait, which would look like changes back.
        events += [event for ifindex in touched if (event := self._judge(ifindex)) is not None]
        return events

    def _link(self, kind: int, body: bytes, touched: set[int]) -> list[KernelEvent]:
        new = decode_device(body)
        return self._gone(new.ifindex, new.name, touched) if kind == RTM_DELLINK else self._seen(new, touched)

    def _gone(self, ifindex: int, name: str, touched: set[int]) -> list[KernelEvent]:
        """A device isn't there any more."""
        if (old := self._devices.pop(ifindex, None)) is not None:
            self._dark.discard(old.name)
        self._good.pop(ifindex, None)
        self._told.pop(ifindex, None)
        touched.discard(ifindex)
        self._ours.discard(ifindex)
        self._reader.forget(name)
        return [LinkGone(name)]

    def _seen(self, new: Device, touched: set[int]) -> list[KernelEvent]:
        """A device is as this says."""
        old = self._devices.get(new.ifindex)
        # By the new name, too: another device may have had it, of which nothing was heard.
        self._dark.discard(new.name)
        if old is not None:
            self._dark.discard(old.name)
        self._devices[new.ifindex] = new
        if new.up and not new.carries:
            self._dark.add(new.name)
        touched.add(new.ifindex)
        events: list[KernelEvent] = []
        if old is not None and old.name != new.name:
            self._reader.forget(old.name)
            events.append(LinkGone(old.name))
            old = None
        if old is not None and not new.carries and old.flags != new.flags:
            # Told twice for a tap that loses its carrier: IFF_LOWER_UP goes at once, IFF_RUNNING up to a second later,
            # and only then does the kernel drop what stands on it.
            events.append(LinkDown(new.name, new.up))
        if old is None or (new.up and not old.up) or (new.carries and not old.carries):
            events.append(LinkChanged(new.name))
        return events

    def _judge(self, ifindex: int) -> KernelEvent | None:
        """Compare a device of ours with how it was when it was last in order."""
        device = self._devices.get(ifindex)
        if device is None:
            return None
        look = _Look.at(device)
        good = self._good.get(ifindex)
        kind = _kind_of(device)
        if kind is not None or good is not None:
            self._ours.add(ifindex)
        if kind is not None and self._in_order(kind, device):
            self._good[ifindex] = kind, look
            self._told.pop(ifindex, None)
            changed = good is not None and good[1] != look
        else:
            changed = good is not None and self._told.get(ifindex) != look
            self._told[ifindex] = look
        return ObjectChanged(good[0], device.name) if good is not None and changed else None

    def _settings(self, body: bytes) -> list[KernelEvent]:
        """Settings of a device were changed; those that would stop traffic matter."""
        found = parse(body, _NETCONFMSG.size)
        family = body[0]
        ifindex = number(found.get(_NETCONFA_IFINDEX))
        everywhere = ifindex == _NETCONFA_IFINDEX_ALL
        forwards = number(found.get(_NETCONFA_FORWARDING), 1) != 0
        if family == AF_INET:
            wrong = not forwards or number(found.get(_NETCONFA_RP_FILTER)) != 0
        elif family == AF_MPLS:
            wrong = number(found.get(_NETCONFA_INPUT), 1) == 0
        else:
            # Of a single device it says only whether that takes router advertisements.
            wrong = everywhere and not forwards
        if not wrong:
            return []
        if everywhere:
            # The tunnel driver keeps what is set for the host.
            return [ObjectChanged(Kind.TUNNEL, d.name) for d in self._devices.values() if tunnel.is_owned(d)]
        device = self._devices.get(ifindex)
        if device is None:
            return []
        return [
            ObjectChanged(kind, device.name)
            for kind, owned in _OWNED
            if owned(device) and (kind is Kind.TUNNEL) == (family == AF_MPLS)
        ]

    def _mpls_settings(self, ifindex: int) -> list[KernelEvent]:
        """Whether the tunnel takes MPLS, which isn't told with the device. Raises OSError."""
        question = message(_RTM_GETNETCONF, 0, _NETCONFMSG.pack(AF_MPLS), u32(_NETCONFA_IFINDEX, ifindex))
        _, (answer,) = self._reader.netlink.exchange([question])
        return [] if answer is None else self._settings(answer)

    def _in_order(self, kind: Kind, device: Device) -> bool:
        if kind is Kind.PORT:
            master = self._devices.get(device.master)
            return port.is_healthy(device) and master is not None and vrf.is_owned(master)
        return vrf.is_healthy(device) if kind is Kind.VRF else device.up

    def _device_name(self, ifindex: int) -> str | None:
        device = self._devices.get(ifindex)
        return None if device is None else device.name

    def _vrf_of_table(self, table: int) -> str | None:
        return next((d.name for d in self._devices.values() if vrf.is_owned(d) and vrf.table_of(d) == table), None)


_HAS_SETTINGS: dict[Kind, Callable[[Device], bool]] = {Kind.PORT: port.has_settings, Kind.VRF: vrf.has_settings}


def _kind_of(device: Device) -> Kind | None:
    return next((kind for kind, owned in _OWNED if owned(device)), None)


class _Look(NamedTuple):
    """What of a device its driver has made."""

    name: str
    up: bool
    master: int
    mac: bytes
    alias: str

    @classmethod
    def at(cls, device: Device) -> _Look:
        return cls(device.name, device.up, device.master, device.mac, device.alias)


_OWNED: tuple[tuple[Kind, Callable[[Device], bool]], ...] = (
    (Kind.PORT, port.is_owned),
    (Kind.VRF, vrf.is_owned),
    (Kind.TUNNEL, tunnel.is_owned),
)
