"""What a VM experiences: first hop, spoofing, path MTU, VM to VM over MPLS-in-GRE. Raw values and drivers, no agent."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import pytest

from datapath.filters import PRIORITY_DROP
from datapath.values import (
    VRRP_MAC,
    AntiSpoofing,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    Port,
    PortKind,
    Tunnel,
    VrfRoute,
)
from lab import craft
from lab.capture import Capture
from lab.frames import ETH_ARP, ETH_IPV6, Arp, Icmp6, IPv4, Packet, Ports
from lab.guest import Guest
from lab.netns_guest import NamespaceGuest
from lab.topology import Lab
from lab.wait import wait_until
from tests.kernel.dp_dev_support import BLUE, FILTERS, MAC, TAP, TUNNEL, Host, host
from vpn.prefix import Prefix, parse_address

FOUR, SIX = IPv4Address("10.1.1.1"), IPv6Address("fd00:1::1")
OTHER_MAC = bytes.fromhex("020000000066")
PROMPT = 0.5
"""Seconds within which a first hop must have answered; the kernel's own proxies would take up to 0.8 s."""


@pytest.fixture
def hv() -> Iterator[Host]:
    with host() as opened:
        assert opened.kernel.responder_error == ""
        opened.make(TUNNEL, BLUE, TAP, FILTERS)
        yield opened


@pytest.fixture
def guest(hv: Host) -> Iterator[Guest]:
    with Guest("web-1", "tap0", hv.namespace, MAC, [FOUR, SIX]) as made:
        yield made


# First hop


@pytest.mark.parametrize("target", ["169.254.1.1", "10.1.1.77", "8.8.8.8", "fe80::1", "fd00:1::77", "2001:db8::1"])
def test_every_neighbour_has_the_virtual_mac_at_once(hv: Host, guest: Guest, target: str) -> None:
    # Nothing of ours runs any more: the answer comes from the kernel alone.
    hv.close()
    start = time.monotonic()
    assert guest.resolve(target) == VRRP_MAC
    assert time.monotonic() - start < PROMPT


def test_address_with_a_route_has_the_virtual_mac_too(hv: Host, guest: Guest) -> None:
    hv.namespace.ip("link add d0 type dummy", "link set d0 master vw-blue", "link set d0 up")
    hv.namespace.ip("route add 10.1.1.77 dev d0 table 10001", "route add fd00:1::77 dev d0 table 10001")
    assert guest.resolve("10.1.1.77") == VRRP_MAC
    assert guest.resolve("fd00:1::77") == VRRP_MAC


def test_duplicate_address_detection_finds_no_duplicate(guest: Guest) -> None:
    since = guest.mark()
    probe = craft.arp(1, MAC, IPv4Address(0), bytes(6), FOUR)
    guest.send(craft.ethernet(b"\xff" * 6, MAC, ETH_ARP, probe))
    announcement = craft.arp(1, MAC, FOUR, bytes(6), FOUR)
    guest.send(craft.ethernet(b"\xff" * 6, MAC, ETH_ARP, announcement))
    guest.send(craft.neighbour_solicitation(IPv6Address("::"), MAC, SIX))
    # Frames are handled in order: with these two answered, the others have been dropped.
    assert guest.resolve("10.1.1.77") == VRRP_MAC
    assert guest.resolve("fd00:1::77") == VRRP_MAC

    def claims_own_address(packet: Packet) -> bool:
        arp, icmp = packet.get(Arp), packet.get(Icmp6)
        return (arp is not None and arp.sender == FOUR) or (icmp is not None and icmp.target == SIX)

    assert guest.frames(claims_own_address, since) == []


def test_nothing_is_learnt_from_a_guest(hv: Host, guest: Guest) -> None:
    assert guest.resolve("10.1.1.77") == VRRP_MAC
    routers = IPv6Address("ff02::2")
    source_address = b"\x01\x01" + OTHER_MAC
    guest.send(
        craft.ethernet(
            VRRP_MAC,
            MAC,
            ETH_IPV6,
            craft.ipv6(SIX, routers, 58, craft.icmp6(SIX, routers, 133, 0, bytes(4) + source_address), 255),
        )
    )
    advertisement = craft.neighbour_advertisement(SIX, IPv6Address("fe80::1"), SIX, OTHER_MAC)
    guest.send(advertisement)
    assert guest.resolve("fd00:1::77") == VRRP_MAC
    assert hv.namespace.output("ip", "neighbour", "show", "dev", "tap0") == ""


# Spoofing


class Spoof(NamedTuple):
    """A packet of the VM: its Ethernet source and its IP source."""

    mac: bytes
    source: str
    destination: str
    passes: bool


SPOOFS = {
    "own addresses": Spoof(MAC, "10.1.1.1", "10.9.9.9", True),
    "own addresses, IPv6": Spoof(MAC, "fd00:1::1", "fd00:9::9", True),
    "another IPv4 source": Spoof(MAC, "10.1.1.2", "10.9.9.9", False),
    "another IPv6 source": Spoof(MAC, "fd00:1::2", "fd00:9::9", False),
    "another MAC": Spoof(OTHER_MAC, "10.1.1.1", "10.9.9.9", False),
    "another MAC, IPv6": Spoof(OTHER_MAC, "fd00:1::1", "fd00:9::9", False),
    "link-local source": Spoof(MAC, "fe80::2", "fd00:9::9", False),
}


@pytest.mark.parametrize("spoof", SPOOFS.values(), ids=list(SPOOFS))
def test_only_own_addresses_get_in(hv: Host, guest: Guest, spoof: Spoof) -> None:
    hv.namespace.ip("link add d0 type dummy", "link set d0 master vw-blue", "link set d0 up")
    hv.namespace.ip(
        "neighbour add 10.9.9.9 lladdr 02:00:00:00:00:99 dev d0",
        "neighbour add fd00:9::9 lladdr 02:00:00:00:00:99 dev d0",
        "route add 10.9.9.9 dev d0 table 10001",
        "route add fd00:9::9 dev d0 table 10001",
    )

    def payload(packet: Packet) -> bool:
        return packet.get(Ports) is not None

    with Capture(hv.namespace, "d0") as capture:
        guest.send_udp(spoof.destination, b"one", source=spoof.source, mac=spoof.mac)
        # In order again: what comes after the spoofed one tells that it was dealt with.
        own = FOUR if ip_address(spoof.destination).version == 4 else SIX
        guest.send_udp(spoof.destination, b"two", source=str(own))
        got = capture.wait(payload)
        assert got is not None
        assert got.payload.startswith(b"one" if spoof.passes else b"two")


@pytest.mark.parametrize("mac", [MAC, OTHER_MAC])
def test_arp_for_an_address_of_another_is_not_answered(hv: Host, guest: Guest, mac: bytes) -> None:
    sender = IPv4Address("10.1.1.2") if mac == MAC else FOUR
    question = craft.arp(1, mac, sender, bytes(6), IPv4Address("10.1.1.99"))
    guest.send(craft.ethernet(b"\xff" * 6, mac, ETH_ARP, question))
    assert guest.resolve("10.1.1.77") == VRRP_MAC
    answers = guest.frames(lambda packet: (arp := packet.get(Arp)) is not None and str(arp.sender) == "10.1.1.99")
    assert answers == []


@pytest.mark.parametrize(
    ("frame", "priority", "handle"),
    [
        (craft.ethernet(VRRP_MAC, MAC, 0x0800, craft.ipv4(IPv4Address("10.1.1.66"), FOUR, 17, bytes(8))), 0x5608, 1),
        (craft.ethernet(VRRP_MAC, MAC, ETH_IPV6, craft.ipv6(IPv6Address("fd00:1::66"), SIX, 17, bytes(8))), 0x5608, 2),
        (
            craft.ethernet(b"\xff" * 6, MAC, ETH_ARP, craft.arp(1, MAC, IPv4Address("10.1.1.66"), bytes(6), FOUR)),
            0x5608,
            3,
        ),
        (craft.ethernet(VRRP_MAC, MAC, 0x88CC, bytes(46)), 0x5609, 1),
        (craft.ethernet(VRRP_MAC, MAC, 0x8100, b"\0\5\x08\0" + bytes(46)), 0x5606, 1),
        (craft.ethernet(VRRP_MAC, MAC, 0x88A8, b"\0\5\x81\0" + bytes(46)), 0x5607, 1),
        (craft.ethernet(VRRP_MAC, OTHER_MAC, 0x0800, craft.ipv4(FOUR, FOUR, 17, bytes(8))), PRIORITY_DROP, 1),
    ],
    ids=["IPv4 source", "IPv6 source", "ARP sender", "protocol", "tagged", "tagged twice", "MAC"],
)
def test_drops_are_counted_by_cause(hv: Host, guest: Guest, frame: bytes, priority: int, handle: int) -> None:
    index = hv.kernel.devices.get(["tap0"])["tap0"].ifindex

    def dropped() -> dict[tuple[int, int], int]:
        return {(hit.priority, hit.handle): hit.dropped for hit in hv.kernel.anti_spoofing.hits(index) if hit.dropped}

    assert dropped() == {}
    for _ in range(3):
        guest.send(frame)
    wait_until(lambda: dropped() == {(priority, handle): 3}, 5, "three drops", detail=lambda: str(dropped()))
    (hit,) = [hit for hit in hv.kernel.anti_spoofing.hits(index) if hit.dropped]
    assert hit.idle is not None
    assert 0 <= hit.idle <= hit.age < 60


def test_change_of_addresses_cuts_nothing(hv: Host, guest: Guest) -> None:
    hv.namespace.ip("address add 10.9.9.9/32 dev vw-blue", "neighbour add 10.1.1.1 lladdr 02:00:00:00:00:01 dev tap0")
    hv.namespace.ip("route add 10.1.1.1 dev tap0 table 10001")
    assert guest.ping("10.9.9.9").ok
    held = FILTERS
    for last in range(2, 12):
        wanted = replace(FILTERS, prefixes=(FILTERS.prefixes[0], Prefix.parse(f"10.1.1.{last}")))
        assert hv.put(wanted, held) is None
        held = wanted
        assert guest.ping("10.9.9.9", timeout=1).ok
    assert hv.dump(Kind.ANTI_SPOOFING) == {"tap0": held}


# VM to VM


class Site(NamedTuple):
    """A VM of the blue VPN and its host."""

    host: Host
    guest: Guest | NamespaceGuest
    addresses: tuple[str, str]


LABEL4, LABEL6 = 1004, 1006


def _mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address


def _connect(site: Host, port: Port, addresses: tuple[str, str]) -> None:
    four, six = (parse_address(address) for address in addresses)
    site.make(
        BLUE,
        port,
        Neighbour(port.name, four, port.guest_mac),
        Neighbour(port.name, six, port.guest_mac),
        AntiSpoofing(port.name, port.guest_mac, (Prefix(four, 32), Prefix(six, 128))),
        MplsRoute(LABEL4, port.name, four),
        MplsRoute(LABEL6, port.name, six),
    )


def _route_to(site: Host, remote: bytes, addresses: tuple[str, str]) -> None:
    four, six = (parse_address(address) for address in addresses)
    via4, via6 = NextHop("vw-gre", remote, (LABEL4,)), NextHop("vw-gre", _mapped(remote), (LABEL6,))
    site.make(Neighbour("vw-gre", remote, remote), Neighbour("vw-gre", via6.gateway, remote), via4, via6)
    site.make(VrfRoute(BLUE.table, Prefix(four, 32), via4), VrfRoute(BLUE.table, Prefix(six, 128), via6))


def _announced(site: Host, port: Port, addresses: tuple[str, str]) -> None:
    """What the agent adds once the gateway has announced the VM's own prefixes."""
    for text in addresses:
        address = parse_address(text)
        hop = NextHop(port.name, address)
        site.make(hop, VrfRoute(BLUE.table, Prefix(address, len(address) * 8), hop))


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """web-1 on a tap of hv1, web-2 in a namespace on hv2."""
    here, there = ("10.1.1.1", "fd00:1::1"), ("10.1.1.2", "fd00:1::2")
    with contextlib.ExitStack() as stack:
        lab = stack.enter_context(Lab(hosts=["hv1", "hv2"]))
        locals_ = [parse_address(lab.hosts[name].address) for name in ("hv1", "hv2")]
        one, two = (
            stack.enter_context(Host(lab.hosts[name].namespace, local))
            for name, local in zip(("hv1", "hv2"), locals_, strict=True)
        )
        for site, local in zip((one, two), locals_, strict=True):
            site.make(Tunnel("vw-gre", local))
        addresses = [ip_address(address) for address in there]
        far = stack.enter_context(NamespaceGuest("web-2", addresses))
        veth = Port(
            "vw-web2",
            PortKind.VETH,
            "vw-blue",
            "web-2",
            netns="web-2",
            guest_mac=bytes.fromhex("020000000002"),
            guest_addresses=tuple(parse_address(address) for address in there),
        )
        _connect(one, TAP, here)
        _connect(two, veth, there)
        near = stack.enter_context(Guest("web-1", "tap0", lab.hosts["hv1"].namespace, MAC, [FOUR, SIX]))
        _route_to(one, locals_[1], there)
        _route_to(two, locals_[0], here)
        _announced(one, TAP, here)
        _announced(two, veth, there)
        yield Site(one, near, here), Site(two, far, there)


def test_vms_reach_each_other_in_both_families(sites: tuple[Site, Site]) -> None:
    one, two = sites
    for here, there in ((one, two), (two, one)):
        for address in there.addresses:
            pings = here.guest.ping(address, count=3)
            assert pings.ok, f"{here.addresses} -> {address}: {pings}"
    assert two.guest.senders() == {"web-1"} if isinstance(two.guest, NamespaceGuest) else False


def test_first_ping_is_answered_within_milliseconds(sites: tuple[Site, Site]) -> None:
    one, two = sites
    for address in two.addresses:
        assert one.guest.ping(address).rtt < PROMPT


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_packet_too_large_is_answered_with_the_path_mtu(sites: tuple[Site, Site], family: int) -> None:
    one, two = sites
    mtu = one.host.kernel.overlay_mtu()
    assert mtu == 1472
    headers = (28, 48)[family]
    for here, there in ((one, two), (two, one)):
        target = there.addresses[family]
        answer = here.guest.ping(target, size=1500 - headers, df=True)
        assert answer.mtu == mtu, f"{target}: {answer}"
        assert here.guest.ping(target, size=mtu - headers, df=True).ok


def test_unknown_destination_is_answered_unreachable(sites: tuple[Site, Site]) -> None:
    one, _ = sites
    sources = [one.guest.ping(address).errors[0].source for address in ("10.9.9.9", "fd00:9::9")]
    assert sources == [IPv4Address("192.0.0.8"), IPv6Address("100:0:0:1::8")]


def test_forwarding_goes_on_without_us(sites: tuple[Site, Site]) -> None:
    one, two = sites
    one.host.close()
    two.host.close()
    for address in two.addresses:
        assert one.guest.ping(address, count=2).ok


def test_what_goes_over_the_wire(sites: tuple[Site, Site]) -> None:
    one, two = sites

    def labelled(packet: Packet) -> bool:
        return "GRE" in packet.path.upper()

    with Capture(one.host.namespace, "eth0") as capture:
        assert one.guest.ping(two.addresses[0]).ok
        packet = capture.wait(labelled)
    assert packet is not None
    outer = packet.get(IPv4)
    assert outer is not None and outer.ttl == 64
    assert packet.path == "Ethernet/IPv4/GRE/MPLS/IPv4/ICMP"
