"""Looking at the kernel: datapath/observe.py by rtnetlink and /proc.

Each call is one round trip or a few, on the socket that the drivers use as well: calls block for some milliseconds, and
are made between two turns of the datapath.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection
from pathlib import Path

from datapath.antispoofing import AntiSpoofingDriver
from datapath.counter_wire import (
    RTM_GETNEIGHTBL,
    RTM_GETQDISC,
    RTM_GETSTATS,
    decode_link,
    decode_mpls,
    decode_neighbours,
    decode_queue,
    parse_boot_time,
    parse_snmp,
    parse_snmp6,
    parse_softnet,
    queue_request,
    stats_request,
)
from datapath.devices import RTM_GETLINK, Devices, ifinfo
from datapath.driver import DumpInterrupted
from datapath.filters import Hits
from datapath.kernel import Kernel
from datapath.lookup_wire import RawRoute, decode_next_hop, decode_route, next_hop_request, route_request
from datapath.observe import Counters, DeviceCounters, FoundRoute
from datapath.values import NextHop
from datapath.wire import decode_labels
from vpn.prefix import Prefix

_NET = Path("/proc/thread-self/net")
"""Of the namespace that the thread is in."""
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESRCH, errno.ENOENT)
_BARRED = {errno.EINVAL: "blackhole", errno.EACCES: "prohibit"}
"""What IPv4 answers instead of such a route."""
_TRIES = 3


class KernelObserver:
    """See Observer; of the kernel of the calling thread's namespace."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._anti_spoofing: AntiSpoofingDriver = kernel.anti_spoofing
        self._devices: Devices = kernel.devices
        self._netlink = kernel.devices.netlink

    def underlay_device(self) -> str | None:
        """See Observer."""
        return self._kernel.underlay_device()

    def counters(self, names: Collection[str]) -> Counters:
        """See Observer."""
        wanted = frozenset(names)
        links = [link for body in self._dump(RTM_GETLINK, ifinfo()) if (link := decode_link(body, wanted))]
        mpls = dict(found for body in self._dump(RTM_GETSTATS, stats_request()) if (found := decode_mpls(body)))
        queues: dict[tuple[int, bool], int] = {}
        for body in self._dump(RTM_GETQDISC, queue_request()):
            if (entry := decode_queue(body)) is not None:
                queues[entry.ifindex, entry.clsact] = entry.dropped
        devices = {
            link.name: DeviceCounters(
                link.ifindex,
                link.link,
                link.ip6,
                mpls.get(link.ifindex, {}),
                queues.get((link.ifindex, False), 0),
                queues.get((link.ifindex, True), 0),
            )
            for link in links
        }
        host = {**parse_snmp(_read("snmp")), **parse_snmp(_read("netstat")), **parse_snmp6(_read("snmp6"))}
        for body in self._dump(RTM_GETNEIGHTBL, bytes(4)):
            host.update(decode_neighbours(body))
        host["softnet.dropped"] = parse_softnet(_read("softnet_stat"))
        return Counters(devices, host, parse_boot_time(Path("/proc/stat").read_text(encoding="ascii")))

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        """A dump that is asked for again when the kernel's lists changed in the middle of it."""
        for _ in range(_TRIES):
            with contextlib.suppress(DumpInterrupted):
                return list(self._netlink.dump(kind, body))
        raise DumpInterrupted("the kernel's lists of devices change all the time")

    def hits(self, ifindex: int) -> list[Hits]:
        """See Observer."""
        return self._anti_spoofing.hits(ifindex)

    def route(self, address: bytes, device: str | None) -> FoundRoute | None:
        """See Observer."""
        oif = 0
        if device is not None:
            found = self._devices.get([device]).get(device)
            if found is None:
                return None
            oif = found.ifindex
        outcome, body = self._ask(route_request(address, oif))
        if outcome in _BARRED:
            return FoundRoute(Prefix(address, len(address) * 8), 0, 0, _BARRED[outcome], ())
        if body is None:
            return None
        raw = decode_route(body)
        return FoundRoute(raw.prefix, raw.table, raw.protocol, raw.kind, self._next_hops(raw))

    def _next_hops(self, raw: RawRoute) -> tuple[NextHop, ...]:
        if raw.kind != "unicast":
            return ()
        if not raw.next_hop:
            return (NextHop(self._name(raw.oif), raw.gateway),)
        members = [raw.next_hop]
        found = []
        while members:
            _, body = self._ask(next_hop_request(members.pop(0)))
            if body is None:
                continue
            one = decode_next_hop(body)
            if one.members is not None:
                # A group has next hops alone, no groups.
                members = list(one.members)
            else:
                found.append(NextHop(self._name(one.oif), one.gateway, decode_labels(one.labels)))
        return tuple(sorted(found))

    def _ask(self, request: bytes) -> tuple[int, bytes | None]:
        """The answer to one question, or the number of what is in the way: there is no such route or next hop."""
        (outcome,), (answer,) = self._netlink.exchange([request])
        if outcome is None:
            return 0, answer
        if outcome.errno not in _NO_ROUTE and outcome.errno not in _BARRED:
            raise OSError(outcome.errno, outcome.text)
        return outcome.errno, None

    @staticmethod
    def _name(ifindex: int) -> str:
        """Not by a dump: a group of many members on a host with many ports would take seconds."""
        try:
            return socket.if_indextoname(ifindex)
        except OSError:
            return f"if{ifindex}"


def _read(name: str) -> str:
    """A file of counters; one that this kernel hasn't got is empty."""
    try:
        return (_NET / name).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""
