"""What can be looked at in a kernel without changing it: counters, and the route it would take at this moment.

`Observer` is what the agent needs; datapath/kernel_observer.py asks a real kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from datapath.filters import Hits
from datapath.values import NextHop
from vpn.prefix import Prefix


@dataclass(frozen=True, slots=True)
class DeviceCounters:
    """What the kernel counts for a device. link, ip6, mpls: by name (datapath/counter_wire.py). queue: packets dropped
    by its queue. filtered: packets that filters on its ingress have dropped."""

    ifindex: int
    link: Mapping[str, int]
    ip6: Mapping[str, int] = field(default_factory=dict)
    mpls: Mapping[str, int] = field(default_factory=dict)
    queue: int = 0
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters at one moment. devices: by name; host: by name, as "Ip.InDiscards", "Ip6InNoRoutes",
    "softnet.dropped". boot: seconds since the epoch at which the host's counters began, None if it isn't known."""

    devices: Mapping[str, DeviceCounters]
    host: Mapping[str, int]
    boot: float | None


@dataclass(frozen=True, slots=True)
class FoundRoute:
    """The route that the kernel takes. kind: "unicast", "unreachable", ...; protocol: number of who made it; next_hops:
    empty unless unicast, their labels and gateways as in values.NextHop."""

    prefix: Prefix
    table: int
    protocol: int
    kind: str
    next_hops: tuple[NextHop, ...]


class Observer(Protocol):
    """A kernel that is looked at. Everything raises DumpInterrupted and OSError."""

    def underlay_device(self) -> str | None:
        """Name of the device that has the underlay address; None when there is none."""
        ...

    def counters(self, names: Collection[str]) -> Counters:
        """Counters of the devices of these names, as far as they exist, and of the host."""
        ...

    def hits(self, ifindex: int) -> list[Hits]:
        """What the filters of a device have counted."""
        ...

    def route(self, address: bytes, device: str | None) -> FoundRoute | None:
        """The route to an address (packed) in a VRF (its device), or in the main tables; None when there is none."""
        ...
