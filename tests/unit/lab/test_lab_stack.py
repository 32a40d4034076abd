"""The guest's stack on frames in memory."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from lab import craft, echo
from lab.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    ETH_ARP,
    IP,
    UDP,
    Arp,
    Ethernet,
    Icmp6,
    Packet,
    Ports,
    decode,
    decode_ip,
    mac_bytes,
)
from lab.stack import FIRST_HOP4, FIRST_HOP6, Stack

MINE, HOP = mac_bytes("02:00:00:00:00:01"), mac_bytes("00:00:5e:00:01:01")
FOUR, SIX = IPv4Address("10.1.1.1"), IPv6Address("fd00::1")
PEERS: dict[int, IP] = {4: IPv4Address("10.1.1.2"), 6: IPv6Address("fd00::2")}


@pytest.fixture
def stack() -> Stack:
    return Stack("blue-1", MINE, [FOUR, SIX])


def answers(stack: Stack, frame: bytes) -> list[Packet]:
    return [decode(answer) for answer in stack.receive(decode(frame))]


def incoming(src: IP, dst: IP, protocol: int, message: bytes, mac: bytes = MINE) -> bytes:
    return craft.ethernet(mac, HOP, craft.ethertype(dst), craft.packet(src, dst, protocol, message))


def test_asks_for_its_first_hop_and_learns_it(stack: Stack) -> None:
    question = decode(stack.question(FIRST_HOP4))
    assert question.layers == (Ethernet(BROADCAST, MINE, ETH_ARP), Arp(ARP_REQUEST, MINE, FOUR, bytes(6), FIRST_HOP4))
    answer = craft.ethernet(MINE, HOP, ETH_ARP, craft.arp(ARP_REPLY, HOP, FIRST_HOP4, MINE, FOUR))
    assert answers(stack, answer) == []
    assert stack.neighbours == {FIRST_HOP4: HOP}


def test_asks_for_its_ipv6_first_hop_and_learns_it(stack: Stack) -> None:
    question = decode(stack.question(FIRST_HOP6)).get(Icmp6)
    assert question is not None and question.target == FIRST_HOP6
    packet = craft.neighbour_advertisement(FIRST_HOP6, SIX, FIRST_HOP6, HOP)
    assert answers(stack, craft.ethernet(MINE, HOP, craft.ethertype(SIX), packet)) == []
    assert stack.neighbours == {FIRST_HOP6: HOP}


def test_answers_arp_for_its_own_address_alone(stack: Stack) -> None:
    def ask(target: IPv4Address) -> list[Packet]:
        question = craft.arp(ARP_REQUEST, HOP, FIRST_HOP4, bytes(6), target)
        return answers(stack, craft.ethernet(BROADCAST, HOP, ETH_ARP, question))

    (answer,) = ask(FOUR)
    assert answer.layers == (Ethernet(HOP, MINE, ETH_ARP), Arp(ARP_REPLY, MINE, FOUR, HOP, FIRST_HOP4))
    assert ask(IPv4Address("10.1.1.9")) == []


def test_answers_neighbour_solicitation_for_its_own_address_alone(stack: Stack) -> None:
    (answer,) = answers(stack, craft.neighbour_solicitation(FIRST_HOP6, HOP, SIX))
    icmp = answer.get(Icmp6)
    assert icmp is not None and (icmp.target, icmp.lladdr) == (SIX, MINE)
    assert answers(stack, craft.neighbour_solicitation(FIRST_HOP6, HOP, IPv6Address("fd00::9"))) == []


@pytest.mark.parametrize("own", [FOUR, SIX])
def test_answers_pings_to_where_they_came_from(stack: Stack, own: IP) -> None:
    peer = PEERS[own.version]
    ping = craft.echo(peer, own, 7, 3, echo.payload("blue-2", 40))
    frame = incoming(peer, own, craft.echo_protocol(own), ping)
    (reply,) = answers(stack, frame)
    assert echo.match(reply, 7) == (3, None)
    assert reply.ip is not None and (reply.ip.src, reply.ip.dst) == (own, peer)
    assert reply.layers[0] == Ethernet(HOP, MINE, craft.ethertype(own))
    assert echo.senders([decode(frame)]) == {"blue-2"}
    assert echo.senders([reply]) == set()


@pytest.mark.parametrize("own", [FOUR, SIX])
def test_tells_its_name(stack: Stack, own: IP) -> None:
    peer = PEERS[own.version]
    question = craft.udp(peer, own, 4000, echo.IDENTITY_PORT, b"?")
    (answer,) = answers(stack, incoming(peer, own, UDP, question))
    assert answer.payload == b"blue-1"
    assert answer.layers[-1] == Ports(UDP, echo.IDENTITY_PORT, 4000)
    assert answers(stack, incoming(peer, own, UDP, craft.udp(peer, own, 4000, 1, b"?"))) == []


def test_frames_for_others_are_not_its_business(stack: Stack) -> None:
    peer = PEERS[4]
    ping = craft.echo(peer, FOUR, 7, 3, b"")
    assert answers(stack, incoming(peer, FOUR, 1, ping, mac=HOP)) == []
    assert answers(stack, incoming(peer, IPv4Address("10.1.1.9"), 1, ping)) == []
    assert stack.receive(decode(b"")) == []


def test_source_needs_an_address_of_the_family() -> None:
    stack = Stack("x", MINE, [FOUR])
    assert stack.source(PEERS[4]) == FOUR
    with pytest.raises(ValueError, match="no address of the family"):
        stack.source(PEERS[6])


def test_errors_are_matched_to_their_ping() -> None:
    peer = PEERS[4]
    ping = craft.packet(FOUR, peer, 1, craft.echo(FOUR, peer, 7, 3, bytes(1400)), df=True)
    error = craft.icmp(3, 4, b"\x00\x00\x05\xc0" + ping[:28])
    packet = decode_ip(craft.packet(IPv4Address("192.0.0.8"), FOUR, 1, error))
    matched = echo.match(packet, 7)
    assert matched is not None and matched[1] is not None
    assert (matched[0], matched[1].mtu, str(matched[1].source)) == (3, 1472, "192.0.0.8")
    assert echo.match(packet, 8) is None


def test_pings_in_words() -> None:
    from lab.echo import EchoError, Pings, Reply

    good = Pings(2, (Reply(FOUR, 1, 0.004), Reply(FOUR, 2, 0.002)))
    assert (good.ok, good.lost, good.rtt, str(good)) == (True, 0, 0.002, "2/2 in 2.0 ms")
    bad = Pings(1, (), (EchoError(None, 1, "packet too big, mtu 1472", 1472),))
    assert (bad.ok, bad.lost, bad.mtu) == (False, 1, 1472)
    assert str(bad) == "1 sent, no reply (packet too big, mtu 1472)"
    assert not Pings(0, ()).ok
