"""The frame codec: against known bytes, against itself, and against rubbish."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import craft
from lab.frames import (
    ARP_REQUEST,
    BROADCAST,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_MPLS,
    GRE,
    IP,
    UDP,
    Arp,
    Ethernet,
    Gre,
    Icmp,
    Icmp6,
    IPv4,
    IPv6,
    Mpls,
    Ports,
    decode,
    decode_icmp6,
    decode_ip,
    mac_bytes,
    mac_text,
)

A, B = mac_bytes("02:00:00:00:00:0a"), mac_bytes("02:00:00:00:00:0b")
V4 = IPv4Address("10.1.1.1"), IPv4Address("10.1.1.2")
V6 = IPv6Address("fd00::1"), IPv6Address("fd00::2")

addresses4 = st.integers(0, 2**32 - 1).map(IPv4Address)
addresses6 = st.integers(0, 2**128 - 1).map(IPv6Address)


def mpls_in_gre(inner: bytes, label: int = 100001) -> bytes:
    """A packet of the underlay as the product sends it."""
    entry = (label << 12 | 1 << 8 | 255).to_bytes(4, "big")
    gre = b"\x00\x00" + ETH_MPLS.to_bytes(2, "big") + entry + inner
    outer = craft.ipv4(IPv4Address("192.0.2.11"), IPv4Address("192.0.2.12"), GRE, gre)
    return craft.ethernet(B, A, ETH_IPV4, outer)


def test_mac_text_and_bytes() -> None:
    assert mac_text(A) == "02:00:00:00:00:0a"
    with pytest.raises(ValueError, match="no MAC"):
        mac_bytes("02:00")


def test_known_ipv4_header() -> None:
    """Checksum of the example of RFC 1071's usual test packet."""
    header = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
    assert craft.checksum(header) == 0
    made = craft.ipv4(IPv4Address("192.168.0.1"), IPv4Address("192.168.0.199"), UDP, bytes(0x73 - 20), df=True)
    assert made[:20] == header


@pytest.mark.parametrize("pair", [V4, V6])
def test_tunnelled_packet_layer_by_layer(pair: tuple[IP, IP]) -> None:
    src, dst = pair
    message = craft.echo(src, dst, 7, 1, b"payload")
    inner = craft.packet(src, dst, craft.echo_protocol(src), message)
    packet = decode(mpls_in_gre(inner))
    name = "IPv4/ICMP" if src.version == 4 else "IPv6/ICMPv6"
    assert packet.path == f"Ethernet/IPv4/GRE/MPLS/{name}"
    assert packet.get(Gre) == Gre(0, ETH_MPLS)
    assert packet.all(Mpls) == [Mpls(100001, 0, True, 255)]
    outer = packet.get(IPv4)
    assert outer is not None and str(outer.dst) == "192.0.2.12"
    assert packet.ip is not None and (packet.ip.src, packet.ip.dst) == pair
    assert packet.payload == b"payload"
    assert list(packet.lines())[3] == "MPLS     label 100001 tc 0 bottom 1 ttl 255"


def test_gre_options_are_skipped() -> None:
    inner = craft.ipv4(*V4, UDP, craft.udp(*V4, 1, 2, b"x"))
    gre = (0x3000).to_bytes(2, "big") + ETH_IPV4.to_bytes(2, "big") + bytes(8) + inner
    packet = decode_ip(craft.ipv4(*V4, GRE, gre))
    assert packet.layers[-1] == Ports(UDP, 1, 2) and packet.payload == b"x"


def test_arp() -> None:
    frame = craft.ethernet(BROADCAST, A, ETH_ARP, craft.arp(ARP_REQUEST, A, V4[0], bytes(6), V4[1]))
    packet = decode(frame)
    assert len(frame) == 60
    assert packet.layers == (Ethernet(BROADCAST, A, ETH_ARP), Arp(ARP_REQUEST, A, V4[0], bytes(6), V4[1]))
    assert "who has 10.1.1.2, tell 10.1.1.1" in "\n".join(packet.lines())


def test_neighbour_discovery() -> None:
    packet = decode(craft.neighbour_solicitation(V6[0], A, V6[1]))
    solicitation = packet.get(Icmp6)
    assert solicitation is not None and (solicitation.target, solicitation.lladdr) == (V6[1], A)
    assert packet.layers[0] == Ethernet(mac_bytes("33:33:ff:00:00:02"), A, ETH_IPV6)
    probe = decode(craft.neighbour_solicitation(IPv6Address("::"), A, V6[1])).get(Icmp6)
    assert probe is not None and probe.lladdr == b""
    answer = decode_ip(craft.neighbour_advertisement(V6[1], V6[0], V6[1], B)).get(Icmp6)
    assert answer is not None and (answer.target, answer.lladdr) == (V6[1], B)


def test_errors_carry_the_mtu() -> None:
    four = decode_ip(craft.ipv4(*V4, 1, craft.icmp(3, 4, b"\x00\x00\x05\xc0" + bytes(28))))
    assert four.get(Icmp) == Icmp(3, 4, mtu=1472)
    six = decode_icmp6(craft.icmp6(*V6, 2, 0, (1472).to_bytes(4, "big") + bytes(48)))
    assert six.get(Icmp6) == Icmp6(2, 0, mtu=1472)


@given(addresses4 | addresses6, st.data(), st.binary(max_size=80), st.integers(0, 65535), st.integers(0, 65535))
def test_udp_comes_back_as_it_was_made(src: IP, data: st.DataObject, body: bytes, sport: int, dport: int) -> None:
    dst: IP = data.draw(addresses4) if src.version == 4 else data.draw(addresses6)
    made = craft.packet(src, dst, UDP, craft.udp(src, dst, sport, dport, body), ttl=9)
    packet = decode(craft.ethernet(B, A, craft.ethertype(src), made))
    ip = packet.ip
    assert ip is not None and (ip.src, ip.dst, ip.protocol, ip.ttl) == (src, dst, UDP, 9)
    assert packet.layers[-1] == Ports(UDP, sport, dport)
    assert packet.payload == body


@given(addresses6, addresses6, st.binary(max_size=41))
def test_icmp6_checksum_holds(src: IPv6Address, dst: IPv6Address, body: bytes) -> None:
    message = craft.echo(src, dst, 1, 2, body)
    pseudo = src.packed + dst.packed + len(message).to_bytes(4, "big") + (58).to_bytes(4, "big")
    assert craft.checksum(pseudo + message) == 0


@given(st.binary(max_size=120))
def test_rubbish_is_decoded_as_far_as_it_goes(data: bytes) -> None:
    decode(data)
    decode_ip(data)
    decode_icmp6(data)
    for ethertype in (ETH_IPV4, ETH_IPV6, ETH_ARP, ETH_MPLS):
        packet = decode(B + A + ethertype.to_bytes(2, "big") + data)
        assert packet.layers[0] == Ethernet(B, A, ethertype)


def test_families_do_not_mix() -> None:
    with pytest.raises(TypeError):
        craft.packet(V4[0], V6[0], UDP, b"")


def test_ipv6_layer() -> None:
    packet = decode_ip(craft.ipv6(*V6, 59, b""))
    assert packet.layers == (IPv6(*V6, 59, 64, 0),)
