"""Making frames. No I/O. All functions return bytes, checksums filled in."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from lab.frames import (
    ECHO_REPLY,
    ECHO_REPLY6,
    ECHO_REQUEST,
    ECHO_REQUEST6,
    ETH_IPV4,
    ETH_IPV6,
    ICMP,
    ICMPV6,
    IP,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    UDP,
)


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(dst: bytes, src: bytes, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet II frame, padded to the minimum of 60 bytes."""
    return (dst + src + ethertype.to_bytes(2, "big") + payload).ljust(60, b"\0")


def arp(operation: int, sender_mac: bytes, sender: IPv4Address, target_mac: bytes, target: IPv4Address) -> bytes:
    """An ARP packet (RFC 826)."""
    return struct.pack(
        "!HHBBH6s4s6s4s", 1, ETH_IPV4, 6, 4, operation, sender_mac, sender.packed, target_mac, target.packed
    )


def ipv4(src: IPv4Address, dst: IPv4Address, protocol: int, payload: bytes, ttl: int = 64, df: bool = False) -> bytes:
    """An IPv4 packet (RFC 791)."""
    fields = (0x45, 0, 20 + len(payload), 0, 0x4000 if df else 0, ttl, protocol)
    header = struct.pack("!BBHHHBBH4s4s", *fields, 0, src.packed, dst.packed)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + payload


def ipv6(src: IPv6Address, dst: IPv6Address, protocol: int, payload: bytes, hop_limit: int = 64) -> bytes:
    """An IPv6 packet (RFC 8200)."""
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, hop_limit, src.packed, dst.packed) + payload


def packet(src: IP, dst: IP, protocol: int, payload: bytes, df: bool = False, ttl: int = 64) -> bytes:
    """An IP packet of the family of its addresses, which must be the same. Raises TypeError."""
    if isinstance(src, IPv4Address) and isinstance(dst, IPv4Address):
        return ipv4(src, dst, protocol, payload, ttl, df)
    if isinstance(src, IPv6Address) and isinstance(dst, IPv6Address):
        return ipv6(src, dst, protocol, payload, ttl)
    raise TypeError(f"{src} and {dst} are of different families")


def ethertype(address: IP) -> int:
    """EtherType of packets to an address."""
    return ETH_IPV4 if address.version == 4 else ETH_IPV6


def _pseudo(src: IP, dst: IP, protocol: int, length: int) -> bytes:
    if src.version == 4:
        return struct.pack("!4s4sBBH", src.packed, dst.packed, 0, protocol, length)
    return struct.pack("!16s16sII", src.packed, dst.packed, length, protocol)


def icmp6(src: IPv6Address, dst: IPv6Address, kind: int, code: int, body: bytes) -> bytes:
    """An ICMPv6 message (RFC 4443): body is everything after the checksum."""
    message = struct.pack("!BBH", kind, code, 0) + body
    total = checksum(_pseudo(src, dst, ICMPV6, len(message)) + message)
    return message[:2] + total.to_bytes(2, "big") + message[4:]


def icmp(kind: int, code: int, body: bytes) -> bytes:
    """An ICMP message (RFC 792): body is everything after the checksum."""
    message = struct.pack("!BBH", kind, code, 0) + body
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


def echo(src: IP, dst: IP, identifier: int, sequence: int, payload: bytes, reply: bool = False) -> bytes:
    """An ICMP or ICMPv6 echo message for an IP packet from src to dst."""
    body = struct.pack("!HH", identifier, sequence) + payload
    if isinstance(src, IPv6Address) and isinstance(dst, IPv6Address):
        return icmp6(src, dst, ECHO_REPLY6 if reply else ECHO_REQUEST6, 0, body)
    return icmp(ECHO_REPLY if reply else ECHO_REQUEST, 0, body)


def echo_protocol(address: IP) -> int:
    """IP protocol number of echo messages to an address."""
    return ICMP if address.version == 4 else ICMPV6


def udp(src: IP, dst: IP, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """A UDP datagram for an IP packet from src to dst."""
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", source_port, destination_port, length, 0) + payload
    total = checksum(_pseudo(src, dst, UDP, length) + datagram) or 0xFFFF
    return datagram[:6] + total.to_bytes(2, "big") + payload


def solicited_node(target: IPv6Address) -> IPv6Address:
    """The multicast address that owners of `target` listen on (RFC 4291, section 2.7.1)."""
    return IPv6Address(bytes.fromhex("ff0200000000000000000001ff") + target.packed[13:])


def multicast_mac(group: IPv6Address) -> bytes:
    """Ethernet address of an IPv6 multicast group (RFC 2464, section 7)."""
    return b"\x33\x33" + group.packed[12:]


def neighbour_solicitation(src: IPv6Address, mac: bytes, target: IPv6Address) -> bytes:
    """An Ethernet frame asking for `target` (RFC 4861, section 4.3); src `::` asks as duplicate detection does."""
    group = solicited_node(target)
    option = b"" if src == IPv6Address("::") else b"\x01\x01" + mac
    body = bytes(4) + target.packed + option
    message = icmp6(src, group, NEIGHBOUR_SOLICITATION, 0, body)
    return ethernet(multicast_mac(group), mac, ETH_IPV6, ipv6(src, group, ICMPV6, message, hop_limit=255))


def neighbour_advertisement(src: IPv6Address, dst: IPv6Address, target: IPv6Address, mac: bytes) -> bytes:
    """An IPv6 packet answering a solicitation: solicited, override (RFC 4861, section 4.4)."""
    body = struct.pack("!I", 0x60000000) + target.packed + b"\x02\x01" + mac
    return ipv6(src, dst, ICMPV6, icmp6(src, dst, NEIGHBOUR_ADVERTISEMENT, 0, body), hop_limit=255)
