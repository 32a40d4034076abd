"""A small IP stack for a VM on a tap: frames in, frames out. No I/O.

It behaves as a guest does that knows nothing of the network behind its interface: it asks for its first hop by ARP or
neighbour solicitation, answers questions for its own addresses, answers pings, and tells its name over UDP.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from lab import craft
from lab.echo import IDENTITY_PORT
from lab.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ETH_ARP,
    ETH_IPV6,
    IP,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    UDP,
    Arp,
    Ethernet,
    Icmp,
    Icmp6,
    IPv4,
    IPv6,
    Packet,
    Ports,
)

FIRST_HOP4 = IPv4Address("169.254.1.1")
FIRST_HOP6 = IPv6Address("fe80::1")
UNSPECIFIED6 = IPv6Address("::")


class Stack:
    """State of one VM's interface: its addresses and the neighbours that it has learnt."""

    def __init__(
        self,
        name: str,
        mac: bytes,
        addresses: Iterable[IP],
        first_hop4: IPv4Address = FIRST_HOP4,
        first_hop6: IPv6Address = FIRST_HOP6,
    ) -> None:
        self.name = name
        self.mac = mac
        self.addresses = tuple(addresses)
        self.first_hops: dict[int, IP] = {4: first_hop4, 6: first_hop6}
        self.neighbours: dict[IP, bytes] = {}

    def source(self, destination: IP) -> IP:
        """Own address to send from: the first of the family. Raises ValueError without one."""
        for address in self.addresses:
            if address.version == destination.version:
                return address
        raise ValueError(f"{self.name} has no address of the family of {destination}")

    def question(self, target: IP) -> bytes:
        """The frame that asks for the MAC address of a neighbour."""
        if isinstance(target, IPv4Address):
            sender = next((a for a in self.addresses if isinstance(a, IPv4Address)), IPv4Address(0))
            body = craft.arp(ARP_REQUEST, self.mac, sender, bytes(6), target)
            return craft.ethernet(BROADCAST, self.mac, ETH_ARP, body)
        source = next((a for a in self.addresses if isinstance(a, IPv6Address)), UNSPECIFIED6)
        return craft.neighbour_solicitation(source, self.mac, target)

    def frame(self, destination: IP, packet: bytes, lladdr: bytes) -> bytes:
        """Put an IP packet into a frame."""
        return craft.ethernet(lladdr, self.mac, craft.ethertype(destination), packet)

    def receive(self, packet: Packet) -> list[bytes]:
        """Learn from a received frame; returns the frames to send in answer."""
        header = packet.get(Ethernet)
        if header is None or (header.dst != self.mac and not header.dst[0] & 1):
            return []
        arp = packet.get(Arp)
        if arp is not None:
            return self._arp(arp)
        ip = packet.ip
        if ip is None:
            return []
        icmp6 = packet.get(Icmp6)
        if icmp6 is not None and icmp6.target is not None:
            return self._discovery(header, ip, icmp6, icmp6.target)
        if ip.dst not in self.addresses:
            return []
        return self._answer(header, ip, packet)

    def _arp(self, arp: Arp) -> list[bytes]:
        if arp.operation == ARP_REPLY:
            self.neighbours[arp.sender] = arp.sender_mac
        elif arp.operation == ARP_REQUEST and arp.target in self.addresses:
            body = craft.arp(ARP_REPLY, self.mac, arp.target, arp.sender_mac, arp.sender)
            return [craft.ethernet(arp.sender_mac, self.mac, ETH_ARP, body)]
        return []

    def _discovery(self, header: Ethernet, ip: IPv4 | IPv6, icmp: Icmp6, target: IPv6Address) -> list[bytes]:
        if icmp.type == NEIGHBOUR_ADVERTISEMENT and icmp.lladdr:
            self.neighbours[target] = icmp.lladdr
        elif icmp.type == NEIGHBOUR_SOLICITATION and target in self.addresses and isinstance(ip.src, IPv6Address):
            answer = craft.neighbour_advertisement(target, ip.src, target, self.mac)
            return [craft.ethernet(header.src, self.mac, ETH_IPV6, answer)]
        return []

    def _answer(self, header: Ethernet, ip: IPv4 | IPv6, packet: Packet) -> list[bytes]:
        """Answers go back to where the question came from, as those of a host with one router do."""
        icmp = packet.get(Icmp) or packet.get(Icmp6)
        if icmp is not None and icmp.type == (ECHO_REQUEST if ip.dst.version == 4 else ECHO_REQUEST6):
            message = craft.echo(ip.dst, ip.src, icmp.identifier, icmp.sequence, packet.payload, reply=True)
            protocol = craft.echo_protocol(ip.src)
        else:
            ports = packet.get(Ports)
            if ports is None or ports.protocol != UDP or ports.destination != IDENTITY_PORT:
                return []
            message = craft.udp(ip.dst, ip.src, IDENTITY_PORT, ports.source, self.name.encode())
            protocol = UDP
        return [self.frame(ip.src, craft.packet(ip.dst, ip.src, protocol, message), header.src)]
