"""Frames as bytes: what the lab's guests send, and a decoder for everything vrfwire puts on the wire. No I/O.

Addresses are `ipaddress` objects, MAC addresses six bytes. The decoder reads as far as it understands and leaves the
rest as payload; it raises nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

IP = IPv4Address | IPv6Address

BROADCAST = b"\xff" * 6
ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_MPLS = 0x0800, 0x0806, 0x86DD, 0x8847
ICMP, TCP, UDP, GRE, ICMPV6 = 1, 6, 17, 47, 58
ARP_REQUEST, ARP_REPLY = 1, 2
ECHO_REQUEST, ECHO_REPLY, UNREACHABLE, TIME_EXCEEDED = 8, 0, 3, 11
ECHO_REQUEST6, ECHO_REPLY6, UNREACHABLE6, TOO_BIG6, TIME_EXCEEDED6 = 128, 129, 1, 2, 3
NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 135, 136


def mac_text(mac: bytes) -> str:
    """b"\\x00..." -> "00:..."."""
    return mac.hex(":")


def mac_bytes(text: str) -> bytes:
    """ "00:..." -> six bytes. Raises ValueError."""
    mac = bytes.fromhex(text.replace(":", ""))
    if len(mac) != 6:
        raise ValueError(f"{text!r} is no MAC address")
    return mac


@dataclass(frozen=True, slots=True)
class Ethernet:
    """Ethernet II header."""

    dst: bytes
    src: bytes
    type: int

    def __str__(self) -> str:
        return f"{mac_text(self.src)} > {mac_text(self.dst)} type {self.type:#06x}"


@dataclass(frozen=True, slots=True)
class Arp:
    """ARP for IPv4 over Ethernet (RFC 826)."""

    operation: int
    sender_mac: bytes
    sender: IPv4Address
    target_mac: bytes
    target: IPv4Address

    def __str__(self) -> str:
        if self.operation == ARP_REQUEST:
            return f"who has {self.target}, tell {self.sender}"
        return f"{self.sender} is at {mac_text(self.sender_mac)}"


@dataclass(frozen=True, slots=True)
class IPv4:
    """IPv4 header (RFC 791)."""

    src: IPv4Address
    dst: IPv4Address
    protocol: int
    ttl: int
    df: bool
    length: int

    def __str__(self) -> str:
        return f"{self.src} > {self.dst} protocol {self.protocol} ttl {self.ttl} length {self.length}{' DF' * self.df}"


@dataclass(frozen=True, slots=True)
class IPv6:
    """IPv6 header (RFC 8200). protocol: next header; ttl: hop limit; length: of the payload."""

    src: IPv6Address
    dst: IPv6Address
    protocol: int
    ttl: int
    length: int

    def __str__(self) -> str:
        return f"{self.src} > {self.dst} next header {self.protocol} hop limit {self.ttl} payload {self.length}"


@dataclass(frozen=True, slots=True)
class Gre:
    """GRE header (RFC 2784). type: EtherType of the payload."""

    flags: int
    type: int

    def __str__(self) -> str:
        return f"flags {self.flags:#06x} protocol {self.type:#06x}"


@dataclass(frozen=True, slots=True)
class Mpls:
    """One label stack entry (RFC 3032)."""

    label: int
    traffic_class: int
    bottom: bool
    ttl: int

    def __str__(self) -> str:
        return f"label {self.label} tc {self.traffic_class} bottom {int(self.bottom)} ttl {self.ttl}"


@dataclass(frozen=True, slots=True)
class Icmp:
    """ICMP header. mtu: of "fragmentation needed"; identifier and sequence: of echoes, else 0."""

    type: int
    code: int
    identifier: int = 0
    sequence: int = 0
    mtu: int = 0

    def __str__(self) -> str:
        return _icmp_text(self, {ECHO_REQUEST: "echo request", ECHO_REPLY: "echo reply"})


@dataclass(frozen=True, slots=True)
class Icmp6:
    """ICMPv6 header (RFC 4443). mtu: of "packet too big"; target: of neighbour discovery (RFC 4861)."""

    type: int
    code: int
    identifier: int = 0
    sequence: int = 0
    mtu: int = 0
    target: IPv6Address | None = None
    lladdr: bytes = b""
    """The source or target link-layer address option."""

    def __str__(self) -> str:
        if self.target is not None:
            name = "solicitation" if self.type == NEIGHBOUR_SOLICITATION else "advertisement"
            return f"neighbour {name} {self.target} {mac_text(self.lladdr)}"
        return _icmp_text(self, {ECHO_REQUEST6: "echo request", ECHO_REPLY6: "echo reply"})


def _icmp_text(layer: Icmp | Icmp6, echoes: dict[int, str]) -> str:
    if layer.type in echoes:
        return f"{echoes[layer.type]} id {layer.identifier} seq {layer.sequence}"
    return f"type {layer.type} code {layer.code}" + (f" mtu {layer.mtu}" if layer.mtu else "")


@dataclass(frozen=True, slots=True)
class Ports:
    """UDP, or the start of TCP."""

    protocol: int
    source: int
    destination: int

    def __str__(self) -> str:
        return f"port {self.source} > {self.destination}"


Layer = Ethernet | Arp | IPv4 | IPv6 | Gre | Mpls | Icmp | Icmp6 | Ports
L = TypeVar("L", Ethernet, Arp, IPv4, IPv6, Gre, Mpls, Icmp, Icmp6, Ports)

NAMES: dict[type[Layer], str] = {
    Ethernet: "Ethernet",
    Arp: "ARP",
    IPv4: "IPv4",
    IPv6: "IPv6",
    Gre: "GRE",
    Mpls: "MPLS",
    Icmp: "ICMP",
    Icmp6: "ICMPv6",
}


@dataclass(frozen=True, slots=True)
class Packet:
    """A decoded frame: its layers from the outermost, and the bytes after the last of them."""

    layers: tuple[Layer, ...]
    payload: bytes

    def all(self, kind: type[L]) -> list[L]:
        """Every layer of a kind, outermost first."""
        return [layer for layer in self.layers if isinstance(layer, kind)]

    def get(self, kind: type[L]) -> L | None:
        """The outermost layer of a kind, or None."""
        return next(iter(self.all(kind)), None)

    @property
    def ip(self) -> IPv4 | IPv6 | None:
        """The innermost IP header."""
        return next((layer for layer in reversed(self.layers) if isinstance(layer, IPv4 | IPv6)), None)

    @property
    def path(self) -> str:
        """Names of the layers: "Ethernet/IPv4/GRE/MPLS/IPv4/ICMP"."""
        return "/".join(layer_name(layer) for layer in self.layers)

    def lines(self) -> Iterator[str]:
        """One line a layer, for people."""
        for layer in self.layers:
            yield f"{layer_name(layer):<9}{layer}"
        yield f"{'payload':<9}{len(self.payload)} bytes"


def layer_name(layer: Layer) -> str:
    """Name of a layer as people say it."""
    if isinstance(layer, Ports):
        return "UDP" if layer.protocol == UDP else "TCP"
    return NAMES[type(layer)]


def decode(frame: bytes) -> Packet:
    """Decode an Ethernet frame as far as it is understood."""
    layers: list[Layer] = []
    rest = frame
    if len(frame) >= 14:
        layer = Ethernet(frame[:6], frame[6:12], int.from_bytes(frame[12:14], "big"))
        layers.append(layer)
        rest = _payload(layer.type, frame[14:], layers)
    return Packet(tuple(layers), rest)


def decode_ip(data: bytes) -> Packet:
    """Decode an IP packet without a link layer."""
    layers: list[Layer] = []
    rest = _ip(data, layers)
    return Packet(tuple(layers), rest)


def decode_icmp6(data: bytes) -> Packet:
    """Decode an ICMPv6 message without its IPv6 header, as a raw socket gives it."""
    layers: list[Layer] = []
    rest = _upper(ICMPV6, data, layers)
    return Packet(tuple(layers), rest)


def _payload(ethertype: int, data: bytes, layers: list[Layer]) -> bytes:
    """Decode what an EtherType announces; returns what is left."""
    if ethertype in (ETH_IPV4, ETH_IPV6):
        return _ip(data, layers)
    if ethertype == ETH_MPLS:
        return _mpls(data, layers)
    if ethertype == ETH_ARP and len(data) >= 28 and data[:6] == b"\x00\x01\x08\x00\x06\x04":
        operation, sha, sip, tha, tip = struct.unpack_from("!H6s4s6s4s", data, 6)
        layers.append(Arp(operation, sha, IPv4Address(sip), tha, IPv4Address(tip)))
        return b""
    return data


def _mpls(data: bytes, layers: list[Layer]) -> bytes:
    while len(data) >= 4:
        word = int.from_bytes(data[:4], "big")
        bottom = bool(word & 0x100)
        layers.append(Mpls(word >> 12, (word >> 9) & 7, bottom, word & 0xFF))
        data = data[4:]
        if bottom:
            # RFC 3032, section 2.2: nothing says what follows but the label; the IP version is what there is to see.
            return _ip(data, layers)
    return data


def _ip(data: bytes, layers: list[Layer]) -> bytes:
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        header = (data[0] & 15) * 4
        length, _, fragment, ttl, protocol = struct.unpack_from("!HHHBB", data, 2)
        if header < 20 or length < header or len(data) < header:
            return data
        src, dst = IPv4Address(data[12:16]), IPv4Address(data[16:20])
        layers.append(IPv4(src, dst, protocol, ttl, bool(fragment & 0x4000), length))
        body = data[header:length]
        return body if fragment & 0x1FFF else _upper(protocol, body, layers)
    if version == 6 and len(data) >= 40:
        length, protocol, hops = struct.unpack_from("!HBB", data, 4)
        layers.append(IPv6(IPv6Address(data[8:24]), IPv6Address(data[24:40]), protocol, hops, length))
        return _upper(protocol, data[40 : 40 + length], layers)
    return data


def _upper(protocol: int, data: bytes, layers: list[Layer]) -> bytes:
    if protocol == GRE and len(data) >= 4:
        flags, ethertype = struct.unpack_from("!HH", data)
        layers.append(Gre(flags, ethertype))
        # Checksum, key and sequence number each take four bytes when present (RFC 2784, RFC 2890).
        header = 4 + 4 * sum(bool(flags & bit) for bit in (0x8000, 0x2000, 0x1000))
        return _payload(ethertype, data[header:], layers)
    if protocol in (UDP, TCP) and len(data) >= (8 if protocol == UDP else 20):
        source, destination = struct.unpack_from("!HH", data)
        layers.append(Ports(protocol, source, destination))
        return data[8:] if protocol == UDP else data[(data[12] >> 4) * 4 :]
    if protocol == ICMP and len(data) >= 8:
        kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", data)
        if kind in (ECHO_REQUEST, ECHO_REPLY):
            layers.append(Icmp(kind, code, identifier, sequence))
        else:
            layers.append(Icmp(kind, code, mtu=sequence if (kind, code) == (UNREACHABLE, 4) else 0))
        return data[8:]
    if protocol == ICMPV6 and len(data) >= 8:
        return _icmp6(data, layers)
    return data


def _icmp6(data: bytes, layers: list[Layer]) -> bytes:
    kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", data)
    if kind in (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT) and len(data) >= 24:
        wanted = 1 if kind == NEIGHBOUR_SOLICITATION else 2
        option = data[24:32]
        lladdr = option[2:8] if option[:2] == bytes((wanted, 1)) else b""
        layers.append(Icmp6(kind, code, target=IPv6Address(data[8:24]), lladdr=lladdr))
        return b""
    if kind in (ECHO_REQUEST6, ECHO_REPLY6):
        layers.append(Icmp6(kind, code, identifier, sequence))
    else:
        layers.append(Icmp6(kind, code, mtu=int.from_bytes(data[4:8], "big") if kind == TOO_BIG6 else 0))
    return data[8:]
