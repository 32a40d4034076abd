"""The counter of packets tells what the kernel dropped, one by one: two VMs on one wire, without the product."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from lab.counter import PORT, RATE, Counter
from lab.errors import LabError
from lab.netns_guest import NamespaceGuest

Pair = tuple[NamespaceGuest, NamespaceGuest]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two VMs, east and west, with a veth between them."""
    with (
        NamespaceGuest("west", [ip_address("10.1.1.1"), ip_address("fd00:1::1")]) as west,
        NamespaceGuest("east", [ip_address("10.1.1.2"), ip_address("fd00:1::2")]) as east,
    ):
        west.namespace.ip("link add eth0 type veth peer name eth0 netns east")
        for vm in (west, east):
            four, six = vm.addresses
            vm.namespace.ip(
                f"address add {four}/24 dev eth0", f"address add {six}/64 dev eth0 nodad", "link set eth0 up"
            )
        yield west, east


def test_quiet_wire_loses_nothing_at_full_rate(pair: Pair) -> None:
    with Counter(pair) as counter:
        counter.progress(RATE // 2)
    assert counter.flawless, str(counter)
    assert counter.sent >= 4 * RATE // 2
    assert counter.broken == []


def test_every_dropped_packet_is_counted(pair: Pair) -> None:
    """One flow loses each seventh packet, by the kernel's own count; of the others none is lost."""
    _, east = pair
    east.namespace.output("tc", "qdisc", "add", "dev", "eth0", "clsact")
    drop = f"protocol ip flower ip_proto udp dst_port {PORT + 1} action pass random determ drop 7"
    east.namespace.output("tc", "filter", "add", "dev", "eth0", "ingress", *drop.split())
    with Counter(pair) as counter:
        counter.progress(RATE // 4)
    (rule,) = [one for one in filters(east) if "options" in one]
    dropped = rule["options"]["actions"][0]["stats"]["drops"]
    assert dropped > RATE // 4 // 7 - 1
    assert counter.lost == dropped, str(counter)
    assert {outage.flow for outage in counter.outages} == {"west to east, IPv4"}
    assert not counter.flawless


def filters(vm: NamespaceGuest) -> list[dict[str, dict[str, list[dict[str, dict[str, int]]]]]]:
    shown = vm.namespace.output("tc", "-j", "-s", "filter", "show", "dev", "eth0", "ingress")
    found: list[dict[str, dict[str, list[dict[str, dict[str, int]]]]]] = json.loads(shown)
    return found


def test_outage_is_told_with_its_times_and_tcp_sends_again(pair: Pair) -> None:
    _, east = pair
    east.namespace.output("tc", "qdisc", "add", "dev", "eth0", "clsact")
    with Counter(pair) as counter:
        away = time.monotonic()
        east.namespace.output("tc", "filter", "add", "dev", "eth0", "ingress", "matchall", "action", "drop")
        counter.progress(RATE // 2)
        east.namespace.output("tc", "filter", "delete", "dev", "eth0", "ingress")
        back = time.monotonic()
        counter.progress(RATE // 4)
    assert counter.lost > 2 * RATE // 3, str(counter)
    assert {outage.flow for outage in counter.outages} == {"west to east, IPv4", "west to east, IPv6"}
    assert away - 0.1 <= min(outage.first for outage in counter.outages), str(counter)
    assert counter.last_loss <= back, str(counter)
    assert counter.retransmissions > 0, str(counter)
    assert counter.broken == [], str(counter)
    assert counter.stalled > 0.3, str(counter)


def test_stream_that_breaks_is_told(pair: Pair) -> None:
    _, east = pair
    for vm in pair:
        vm.namespace.write("/proc/sys/net/ipv4/tcp_retries2", "1")
    east.namespace.output("tc", "qdisc", "add", "dev", "eth0", "clsact")
    with Counter(pair) as counter:
        drop = "protocol ip flower ip_proto tcp action drop"
        east.namespace.output("tc", "filter", "add", "dev", "eth0", "ingress", *drop.split())
        counter.progress(RATE)
    assert "TCP west to east, IPv4: Connection timed out" in counter.broken, str(counter)
    assert counter.lost == 0, str(counter)
    assert not counter.flawless


def test_no_connection_is_an_error_at_once(pair: Pair) -> None:
    west, _ = pair
    west.namespace.ip("route add unreachable 10.1.1.2/32")
    with pytest.raises(LabError, match=r"no connection: .*No route to host"), Counter(pair):
        pass
