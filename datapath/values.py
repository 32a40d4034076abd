"""What the kernel should hold: one frozen value type per kind of object, each with the key it is found by.

A value names other objects by value (a route holds its next hop, not a kernel id), so that a plan can be made and
compared without a kernel. The drivers translate to ids and interface indices.

Kinds and their layer, made in this order and broken in the reverse one (docs/design/datapath.md says why the next hops
come after the ports: a next hop towards a VM names the port's device):

    tunnel < vrf < port < neighbour < next hop < next-hop group < anti-spoofing < MPLS route < VRF route
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from vpn.prefix import Prefix

VRRP_MAC = bytes.fromhex("00005e000101")
"""MAC of the first hop on every port: VRRP virtual router 1 (RFC 5798, section 7.3), the draft's default."""

PROTOCOL = 108
"""rtm_protocol, nh_protocol and NDA_PROTOCOL of everything that is ours (`proto vrfwire` in rt_protos)."""

ICMP_SOURCE6 = bytes.fromhex("01000000000000010000000000000008")
"""100:0:0:1::8, of the dummy prefix (RFC 9780): never a destination, so the same in every VRF of every host."""

DEVICE_PREFIX = "vw-"
"""Devices made by us have this prefix (taps get the name the user gave)."""

ALIAS_PREFIX = "vrfwire:"
"""ifalias of every device that we made or adopted: "vrfwire:KIND:NAME[:adopted]"."""


class Kind(enum.IntEnum):
    """Kinds of kernel objects; the number is the layer.

    What belongs to a port comes before what comes by the hundred thousand: a VM that is attached in the middle of a
    large table's intake doesn't wait for the rest of that.
    """

    TUNNEL = 1
    VRF = 2
    PORT = 3
    NEIGHBOUR = 4
    ANTI_SPOOFING = 5
    MPLS_ROUTE = 6
    NEXT_HOP = 7
    NEXT_HOP_GROUP = 8
    VRF_ROUTE = 9


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A multipoint GRE device with MPLS input enabled. key: device name."""

    name: str
    local: bytes
    """Underlay address of this host, packed."""

    kind = Kind.TUNNEL

    @property
    def key(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Vrf:
    """A VRF device, its table and the unreachable defaults in it. key: device name."""

    name: str
    table: int
    vpn: str
    """VPN identifier, kept in the ifalias."""

    kind = Kind.VRF

    @property
    def key(self) -> str:
        return self.name


class PortKind(enum.StrEnum):
    """How a VM is connected."""

    TAP = "tap"
    VETH = "veth"


@dataclass(frozen=True, slots=True)
class Port:
    """The host side of a VM interface, a member of a VRF. key: device name."""

    name: str
    """Device name on the host: the tap's as the user gave it, or "vw-..." for a veth."""
    port_kind: PortKind
    vrf: str
    """Name of the VRF device."""
    attachment: str
    """Name of the attachment, kept in the ifalias."""
    netns: str | None = None
    """VETH: name (in /run/netns) or absolute path of the namespace that holds the other end."""
    guest_name: str = "eth0"
    """VETH: interface name in the namespace."""
    guest_mac: bytes = b""
    """MAC of the VM (6 bytes); set on the other end of a veth."""
    guest_addresses: tuple[bytes, ...] = ()
    """VETH: packed addresses put on the other end, with a default route by the link-local first hop."""

    kind = Kind.PORT

    @property
    def key(self) -> str:
        return self.name


class Neighbour(NamedTuple):
    """A permanent neighbour on the tunnel (lladdr = underlay address) or on a port (lladdr = the VM's MAC)."""

    device: str
    address: bytes
    lladdr: bytes

    @property
    def kind(self) -> Kind:
        return Kind.NEIGHBOUR

    @property
    def key(self) -> tuple[str, bytes]:
        return (self.device, self.address)


class NextHop(NamedTuple):
    """A nexthop object; content is identity, so it is made and deleted but never changed.

    gateway: packed; family AF_INET or AF_INET6 follows from its length (for IPv6 payload over the tunnel it is the
    IPv4-mapped address of the remote host); for a VM behind a port, an address that has a Neighbour there. labels:
    outermost first; empty for delivery to a port.
    """

    device: str
    gateway: bytes
    labels: tuple[int, ...] = ()

    @property
    def kind(self) -> Kind:
        return Kind.NEXT_HOP

    @property
    def key(self) -> NextHop:
        return self


class NextHopGroup(NamedTuple):
    """An ECMP group of nexthop objects of one family, sorted; content is identity."""

    members: tuple[NextHop, ...]

    @property
    def kind(self) -> Kind:
        return Kind.NEXT_HOP_GROUP

    @property
    def key(self) -> NextHopGroup:
        return self


@dataclass(frozen=True, slots=True)
class AntiSpoofing:
    """What a VM may send, and the ARP/ND answers it gets: filters on the port's ingress. key: device name."""

    device: str
    mac: bytes
    prefixes: tuple[Prefix, ...]
    """Source addresses allowed; ARP and ND only for the host prefixes among them. Kept sorted and without doubles: the
    kernel has them in no order."""

    kind = Kind.ANTI_SPOOFING

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefixes", tuple(sorted(set(self.prefixes))))

    @property
    def key(self) -> str:
        return self.device


class MplsRoute(NamedTuple):
    """Label to a VM: pop and deliver via gateway (packed) on device, without a second look-up."""

    label: int
    device: str
    gateway: bytes

    @property
    def kind(self) -> Kind:
        return Kind.MPLS_ROUTE

    @property
    def key(self) -> int:
        return self.label


class VrfRoute(NamedTuple):
    """A route of a VRF table by a nexthop object or group."""

    table: int
    prefix: Prefix
    via: NextHop | NextHopGroup

    @property
    def kind(self) -> Kind:
        return Kind.VRF_ROUTE

    @property
    def key(self) -> tuple[int, Prefix]:
        return (self.table, self.prefix)


Value = Tunnel | Vrf | Port | Neighbour | NextHop | NextHopGroup | AntiSpoofing | MplsRoute | VrfRoute
"""Any desired object."""

Key = str | int | tuple[str, bytes] | tuple[int, Prefix] | NextHop | NextHopGroup
"""Any key; unique within its kind."""
