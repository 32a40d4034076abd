"""The responder, run by the kernel on packets that scapy made, against answers that scapy made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether

from datapath import responder
from datapath.bpf import Program
from datapath.values import VRRP_MAC
from tests.unit.datapath_dev.support import needs_bpf

pytestmark = needs_bpf

VM = "02:00:00:00:00:01"
FIRST_HOP = VRRP_MAC.hex(":")
REDIRECT, SHOT, UNSPEC = responder.ACT_REDIRECT, responder.ACT_SHOT, responder.ACT_UNSPEC

addresses4 = st.ip_addresses(v=4).filter(lambda a: int(a) != 0).map(str)
addresses6 = st.ip_addresses(v=6).filter(lambda a: int(a) != 0 and not a.is_multicast).map(str)
macs = st.binary(min_size=6, max_size=6).map(lambda b: bytes([b[0] & 0xFE]) + b[1:]).map(lambda b: b.hex(":"))


@pytest.fixture(scope="module")
def program() -> Iterator[Program]:
    loaded = responder.load()
    yield loaded
    loaded.close()


def run(program: Program, packet: Any) -> tuple[int, bytes]:
    return program.test_run(bytes(packet))


def arp(**fields: Any) -> Any:
    known = {"op": 1, "hwsrc": VM, "psrc": "10.1.1.1", "hwdst": "00:00:00:00:00:00", "pdst": "10.1.1.2", **fields}
    return Ether(src=VM, dst="ff:ff:ff:ff:ff:ff") / ARP(**known)


def solicitation(source: str = "fd00::1", target: str = "fd00::2", hlim: int = 255, code: int = 0) -> Any:
    packet = IPv6(src=source, dst="ff02::1:ff00:2", hlim=hlim) / ICMPv6ND_NS(tgt=target, code=code)
    return Ether(src=VM, dst="33:33:ff:00:00:02") / packet


@given(addresses4, addresses4, macs, st.integers(0, 30))
def test_arp_request_is_answered_with_the_virtual_mac(
    program: Program, source: str, target: str, mac: str, padding: int
) -> None:
    question = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(op=1, hwsrc=mac, psrc=source, pdst=target)
    verdict, answer = program.test_run(bytes(question) + bytes(padding))
    if source == target:
        assert verdict == SHOT
        return
    expected = Ether(src=FIRST_HOP, dst=mac) / ARP(op=2, hwsrc=FIRST_HOP, psrc=target, hwdst=mac, pdst=source)
    assert verdict == REDIRECT
    assert answer == bytes(expected) + bytes(padding)


@given(addresses6, addresses6, macs, st.booleans(), st.binary(max_size=40))
def test_solicitation_is_answered_with_the_virtual_mac(
    program: Program, source: str, target: str, mac: str, multicast: bool, options: bytes
) -> None:
    destination = "ff02::1:ff00:1" if multicast else target
    question = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=source, dst=destination, hlim=255)
    verdict, answer = run(program, question / ICMPv6ND_NS(tgt=target) / options)
    if source == target:
        assert verdict == SHOT
        return
    expected = (
        Ether(src=FIRST_HOP, dst=mac)
        / IPv6(src=target, dst=source, hlim=255)
        / ICMPv6ND_NA(R=1, S=1, O=1, tgt=target)
        / ICMPv6NDOptDstLLAddr(lladdr=FIRST_HOP)
    )
    assert verdict == REDIRECT
    assert answer == bytes(expected)


def test_solicitation_with_source_link_layer_option(program: Program) -> None:
    verdict, answer = run(program, solicitation() / ICMPv6NDOptSrcLLAddr(lladdr=VM))
    assert verdict == REDIRECT
    reply = Ether(answer)
    assert reply[ICMPv6ND_NA].tgt == "fd00::2"
    assert len(answer) == 86


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(arp(psrc="0.0.0.0"), id="ARP probe of RFC 5227"),
        pytest.param(arp(pdst="10.1.1.1"), id="gratuitous ARP"),
        pytest.param(arp(op=2), id="ARP reply"),
        pytest.param(arp(hwtype=6), id="ARP over something else"),
        pytest.param(bytes(arp())[:41], id="ARP cut"),
        pytest.param(solicitation("::"), id="duplicate address detection"),
        pytest.param(solicitation("fd00::2"), id="solicitation of oneself"),
        pytest.param(solicitation("ff02::1"), id="multicast source"),
        pytest.param(solicitation(target="ff02::2"), id="multicast target"),
        pytest.param(solicitation(hlim=254), id="solicitation through a router"),
        pytest.param(solicitation(code=1), id="wrong code"),
        pytest.param(bytes(solicitation())[:77], id="solicitation cut"),
        pytest.param(bytes(solicitation())[:57], id="solicitation cut in ICMPv6"),
    ],
)
def test_dropped(program: Program, packet: Any) -> None:
    assert run(program, packet)[0] == SHOT


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(Ether(src=VM) / IP(dst="10.1.1.2") / b"data", id="IPv4"),
        pytest.param(Ether(src=VM) / IPv6(dst="fd00::2") / ICMPv6EchoRequest(), id="echo request"),
        pytest.param(Ether(src=VM) / IPv6(dst="fd00::2") / ICMPv6ND_NA(tgt="fd00::2"), id="advertisement"),
        pytest.param(Ether(src=VM, type=0x88CC) / bytes(40), id="LLDP"),
    ],
)
def test_left_to_the_filter_unchanged(program: Program, packet: Any) -> None:
    assert run(program, packet) == (UNSPEC, bytes(packet))
