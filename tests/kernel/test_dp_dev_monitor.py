"""The event monitor: what others do is told, what we do ourselves and what concerns nobody is not."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from datapath.driver import Operation, Verb
from datapath.events import (
    KernelEvent,
    LinkChanged,
    LinkDown,
    LinkGone,
    ObjectChanged,
    ObjectRemoved,
    Overrun,
)
from datapath.values import Kind, MplsRoute, Neighbour, NextHop, NextHopGroup, VrfRoute
from lab.guest import open_tap
from lab.wait import wait_until
from tests.kernel.dp_dev_support import BLUE, FILTERS, MAC, RED, TAP, TUNNEL, Host, host
from vpn.prefix import Prefix, parse_address

VM = parse_address("10.1.1.1")
REMOTE = parse_address("192.0.2.12")
VM_NEIGHBOUR = Neighbour("tap0", VM, MAC)
MPLS = MplsRoute(1004, "tap0", VM)
REMOTE_NEIGHBOUR = Neighbour("vw-gre", REMOTE, REMOTE)
HOP = NextHop("vw-gre", REMOTE, (1004,))
HOP_TWO = NextHop("vw-gre", REMOTE, (1005,))
GROUP = NextHopGroup((HOP, HOP_TWO))
ROUTE = VrfRoute(10001, Prefix.parse("10.1.1.2"), HOP)
GROUP_ROUTE = VrfRoute(10001, Prefix.parse("10.1.1.3"), GROUP)


@pytest.fixture
def hv() -> Iterator[Host]:
    with host() as opened:
        tap = -1
        try:
            opened.make(TUNNEL, BLUE, RED, TAP)
            # With carrier, as a VM that runs.
            tap = open_tap("tap0", opened.namespace)
            opened.make(FILTERS, VM_NEIGHBOUR, REMOTE_NEIGHBOUR, MPLS, HOP, HOP_TWO, GROUP, ROUTE, GROUP_ROUTE)
            # The kernel tells of a carrier twice, up to a second apart.
            wait_until(lambda: _all_up(opened, BLUE.name, RED.name, TAP.name), 10, "the devices to be up")
            opened.kernel.monitor.drain()
            opened.kernel.monitor.tidy()
            yield opened
        finally:
            if tap >= 0:
                os.close(tap)


def _all_up(hv: Host, *names: str) -> bool:
    shown = json.loads(hv.namespace.output("ip", "-j", "link"))
    return {link["ifname"] for link in shown if link["operstate"] == "UP"} >= set(names)


def readable(hv: Host) -> bool:
    return bool(select.select([hv.kernel.monitor.fileno()], [], [], 0)[0])


def events(hv: Host, expected: KernelEvent) -> list[KernelEvent]:
    """Everything told until the expected event is."""
    told: list[KernelEvent] = []

    def there() -> bool:
        told.extend(hv.kernel.monitor.drain())
        return expected in told

    wait_until(there, 5, f"{expected}", detail=lambda: repr(told))
    return told


TABLE = "table 10001"
CHANGES: list[tuple[str, KernelEvent]] = [
    ("ip link set tap0 nomaster", ObjectChanged(Kind.PORT, "tap0")),
    ("ip link set tap0 master vw-red", ObjectChanged(Kind.PORT, "tap0")),
    ("ip link set tap0 address 02:00:00:00:00:77", ObjectChanged(Kind.PORT, "tap0")),
    ("ip link set tap0 alias other", ObjectChanged(Kind.PORT, "tap0")),
    ("ip link set tap0 down", LinkDown("tap0")),
    ("ip link delete tap0", LinkGone("tap0")),
    ("ip link set vw-gre down", LinkDown("vw-gre")),
    ("ip link delete vw-blue", LinkGone("vw-blue")),
    ("ip link set vw-blue alias other", ObjectChanged(Kind.VRF, "vw-blue")),
    (f"ip route delete unreachable default {TABLE}", ObjectChanged(Kind.VRF, "vw-blue")),
    (f"ip -6 route delete unreachable default {TABLE}", ObjectChanged(Kind.VRF, "vw-blue")),
    ("ip -6 address flush dev vw-blue", ObjectChanged(Kind.VRF, "vw-blue")),
    ("ip rule delete pref 1000", ObjectChanged(Kind.VRF, "*")),
    ("ip -6 rule delete pref 1001 fwmark 10001", ObjectChanged(Kind.VRF, "vw-blue")),
    ("sysctl -w net.ipv4.conf.vw-blue.rp_filter=1", ObjectChanged(Kind.VRF, "vw-blue")),
    ("sysctl -w net.ipv4.ip_forward=0", ObjectChanged(Kind.TUNNEL, "vw-gre")),
    (f"ip route delete 10.1.1.2 {TABLE}", ObjectRemoved(Kind.VRF_ROUTE, ROUTE.key)),
    (f"ip route replace 10.1.1.2 dev vw-gre {TABLE}", ObjectRemoved(Kind.VRF_ROUTE, ROUTE.key)),
    (f"ip route delete 10.1.1.3 {TABLE}", ObjectRemoved(Kind.VRF_ROUTE, GROUP_ROUTE.key)),
    ("ip -f mpls route delete 1004", ObjectRemoved(Kind.MPLS_ROUTE, 1004)),
    ("ip -f mpls route replace 1004 dev vw-gre", ObjectRemoved(Kind.MPLS_ROUTE, 1004)),
    ("ip neighbour delete 192.0.2.12 dev vw-gre", ObjectRemoved(Kind.NEIGHBOUR, REMOTE_NEIGHBOUR.key)),
    (
        "ip neighbour replace 10.1.1.1 dev tap0 lladdr 02:00:00:00:00:55",
        ObjectChanged(Kind.NEIGHBOUR, VM_NEIGHBOUR.key, VM_NEIGHBOUR._replace(lladdr=bytes.fromhex("020000000055"))),
    ),
    ("ip nexthop flush proto 108", ObjectRemoved(Kind.NEXT_HOP, HOP)),
    ("ip nexthop flush groups proto 108", ObjectRemoved(Kind.NEXT_HOP_GROUP, GROUP)),
    ("tc qdisc delete dev tap0 clsact", ObjectRemoved(Kind.ANTI_SPOOFING, "tap0")),
    ("tc filter delete dev tap0 ingress", ObjectRemoved(Kind.ANTI_SPOOFING, "tap0")),
    ("tc filter delete dev tap0 ingress priority 22016", ObjectRemoved(Kind.PORT, "tap0")),
    (
        "tc filter add dev tap0 ingress priority 22020 protocol ip flower src_ip 10.9.9.9 action pass",
        ObjectChanged(Kind.ANTI_SPOOFING, "tap0"),
    ),
]


@pytest.mark.parametrize(("command", "expected"), CHANGES, ids=[command for command, _ in CHANGES])
def test_what_others_do_is_told(hv: Host, command: str, expected: KernelEvent) -> None:
    hv.namespace.output(*command.split())
    events(hv, expected)


def test_what_we_do_ourselves_is_not_told(hv: Host) -> None:
    hv.apply(Operation(Verb.REMOVE, GROUP_ROUTE), Operation(Verb.REMOVE, ROUTE))
    hv.remove(GROUP)
    hv.remove(HOP)
    hv.remove(MPLS)
    hv.remove(VM_NEIGHBOUR)
    hv.remove(FILTERS)
    hv.make(FILTERS, VM_NEIGHBOUR, MPLS, HOP, GROUP, ROUTE, GROUP_ROUTE)
    # Who deleted a neighbour is the one thing that the kernel doesn't tell; to doubt it costs nothing.
    assert set(hv.kernel.monitor.drain()) <= {ObjectRemoved(Kind.NEIGHBOUR, VM_NEIGHBOUR.key)}


def test_device_of_ours_is_told_as_new_and_no_more(hv: Host) -> None:
    hv.make(type(BLUE)("vw-green", 10003, "green"))
    told = hv.kernel.monitor.drain()
    assert set(told) <= {LinkChanged("vw-green")}


def test_what_concerns_nobody_wakes_nobody(hv: Host) -> None:
    hv.namespace.ip(
        "link add d0 type dummy",
        "link set d0 up",
        "link set lo up",
    )
    wait_until(lambda: not hv.kernel.monitor.drain(), 5, "silence")
    hv.namespace.ip(
        *(f"route add 198.51.{n >> 8}.{n & 255} dev d0" for n in range(1000)),
        *(f"route add 198.51.{n >> 8}.{n & 255} dev d0 table 99" for n in range(1000)),
        "route add fd00:5::/64 dev d0",
        "neighbour add 198.51.100.9 lladdr 02:00:00:00:00:09 dev d0",
        "neighbour add 10.1.1.9 lladdr 02:00:00:00:00:09 dev tap0",
        "nexthop add id 5 dev d0",
        "nexthop delete id 5",
    )
    hv.namespace.output("tc", "qdisc", "add", "dev", "d0", "clsact")
    for device in ("d0", "tap0"):
        foreign = f"tc filter add dev {device} ingress priority 5 protocol ip flower action pass"
        hv.namespace.output(*foreign.split())
    assert not readable(hv), hv.kernel.monitor.drain()


def test_devices_of_others_wake_nobody(hv: Host) -> None:
    """They come, flap, change and go, with their settings, addresses and qdiscs (but for the end of a clsact)."""
    hv.namespace.ip(
        "link add br0 type bridge",
        "link add v0 type veth peer name v1",
        "link set v0 master br0",
        *(f"link set {device} {state}" for state in ("up", "down") * 3 for device in ("br0", "v0", "v1")),
        "link set v1 up",
        "address add fd00:7::1/64 dev v1 nodad",
        "address delete fd00:7::1/64 dev v1",
        "link set v1 alias vrf",
        "link set v1 down",
        "link set v1 name v2",
    )
    hv.namespace.output("tc", "qdisc", "add", "dev", "v2", "root", "pfifo")
    hv.namespace.output("tc", "qdisc", "delete", "dev", "v2", "root")
    hv.namespace.output("sysctl", "-w", "net.ipv4.conf.v2.rp_filter=2")
    hv.namespace.ip("link delete v2", "link delete br0")
    assert not readable(hv), hv.kernel.monitor.drain()


def test_what_was_known_of_another_device_is_not_believed_of_a_port_with_its_name(hv: Host) -> None:
    hv.namespace.ip("tuntap add tap1 mode tap", "link set tap1 up")
    with Host(hv.namespace) as fresh:
        assert fresh.kernel.monitor.without_carrier() == {"tap1"}
        hv.namespace.ip("link delete tap1")
        # Down, so that it isn't without carrier in the sense that matters.
        hv.make(type(TAP)("tap1", TAP.port_kind, "vw-blue", "web-9", guest_mac=MAC))
        hv.namespace.ip("link set tap1 down")
        assert LinkDown("tap1") in fresh.kernel.monitor.drain()
        assert fresh.kernel.monitor.without_carrier() == set()


def test_a_device_that_became_ours_is_heard_when_its_mark_is_gone(hv: Host) -> None:
    monitor = hv.kernel.monitor
    assert not monitor.untidy
    hv.make(type(BLUE)("vw-green", 10003, "green"))
    monitor.drain()
    assert monitor.untidy
    assert monitor.tidy() == []
    assert not monitor.untidy
    hv.namespace.ip("link set vw-green alias other")
    events(hv, ObjectChanged(Kind.VRF, "vw-green"))
    hv.namespace.ip("link delete vw-green")
    events(hv, LinkGone("vw-green"))


def test_a_mark_that_goes_before_the_device_is_known_by_its_index_is_missed(hv: Host) -> None:
    monitor = hv.kernel.monitor
    hv.make(type(BLUE)("vw-green", 10003, "green"), type(BLUE)("vw-black", 10004, "black"))
    monitor.drain()
    hv.namespace.ip("link set vw-green alias other", "link set vw-black alias other")
    assert not readable(hv), monitor.drain()
    hv.namespace.ip("link delete vw-black")
    # Its address is heard of.
    assert monitor.drain() == [ObjectChanged(Kind.VRF, "vw-black")]
    assert set(monitor.tidy()) == {ObjectChanged(Kind.VRF, "vw-green"), LinkGone("vw-black")}
    assert monitor.drain() == []


def test_settings_that_change_before_the_device_is_known_by_its_index_are_seen_then(hv: Host) -> None:
    monitor = hv.kernel.monitor
    hv.make(type(BLUE)("vw-green", 10003, "green"), type(BLUE)("vw-black", 10004, "black"))
    monitor.drain()
    hv.namespace.output("sysctl", "-w", "net.ipv4.conf.vw-green.rp_filter=1")
    assert not readable(hv), monitor.drain()
    assert monitor.tidy() == [ObjectChanged(Kind.VRF, "vw-green")]
    assert monitor.drain() == []


@pytest.mark.parametrize("value", [0, 1])
def test_whether_a_new_tunnel_takes_mpls_is_asked(value: int) -> None:
    with host() as hv:
        hv.make(TUNNEL)
        hv.kernel.monitor.drain()
        hv.namespace.output("sysctl", "-w", f"net.mpls.conf.vw-gre.input={value}")
        assert hv.kernel.monitor.tidy() == ([] if value else [ObjectChanged(Kind.TUNNEL, "vw-gre")])


def test_the_address_of_errors_is_heard_of_before_the_device_is_known_by_its_index(hv: Host) -> None:
    monitor = hv.kernel.monitor
    hv.make(type(BLUE)("vw-green", 10003, "green"))
    hv.namespace.output("ip", "-6", "address", "flush", "dev", "vw-green")
    events(hv, ObjectChanged(Kind.VRF, "vw-green"))
    assert monitor.untidy


def test_routes_replaced_in_a_vrf_of_others_wake_nobody(hv: Host) -> None:
    hv.namespace.ip(
        "link add other type vrf table 99999", "link set other up", "link add d0 type dummy", "link set d0 up"
    )
    hv.kernel.monitor.drain()
    commands = [f"{verb} 198.51.100.{n} dev d0 table 99999" for verb in ("add", "replace") for n in range(200)]
    hv.namespace.ip(*(f"route {command}" for command in commands))
    assert not readable(hv), hv.kernel.monitor.drain()


def test_carrier_comes_and_goes(hv: Host) -> None:
    hv.make(RED)
    other = type(TAP)("tap1", TAP.port_kind, "vw-blue", "web-9", guest_mac=MAC)
    hv.make(other)
    hv.kernel.monitor.drain()
    assert hv.kernel.monitor.without_carrier() == {"tap1"}
    tap = open_tap("tap1", hv.namespace)
    events(hv, LinkChanged("tap1"))
    assert hv.kernel.monitor.without_carrier() == set()
    os.close(tap)
    events(hv, LinkDown("tap1", up=True))
    assert hv.kernel.monitor.without_carrier() == {"tap1"}
    with Host(hv.namespace) as fresh:
        assert fresh.kernel.monitor.without_carrier() == {"tap1"}
    hv.namespace.ip("link delete tap1")
    events(hv, LinkGone("tap1"))
    assert hv.kernel.monitor.without_carrier() == set()


def test_next_hops_of_a_device_without_carrier_are_gone(hv: Host) -> None:
    other = type(TAP)("tap1", TAP.port_kind, "vw-blue", "web-9", guest_mac=MAC)
    hv.make(other)
    hop = NextHop("tap1", parse_address("10.1.1.9"))
    assert hv.put(hop) is not None
    tap = open_tap("tap1", hv.namespace)
    hv.make(hop)
    os.close(tap)
    events(hv, LinkDown("tap1", up=True))
    wait_until(lambda: hop not in hv.dump(Kind.NEXT_HOP), 5, "the kernel to drop the next hop")


def test_a_renamed_device_is_gone_and_new(hv: Host) -> None:
    hv.namespace.ip("link set tap0 down")
    hv.kernel.monitor.drain()
    hv.namespace.ip("link set tap0 name tap7")
    told = events(hv, LinkGone("tap0"))
    assert LinkChanged("tap7") in told


def test_lost_notifications_are_told(hv: Host) -> None:
    hv.kernel.monitor.limit_buffer(4096)
    hv.namespace.ip(*(f"link set tap0 group {n}" for n in range(40)))
    assert hv.kernel.monitor.drain() == [Overrun()]
    hv.namespace.ip("link set tap0 nomaster")
    events(hv, ObjectChanged(Kind.PORT, "tap0"))


def test_what_was_damaged_before_we_came_is_not_told_again(hv: Host) -> None:
    hv.namespace.ip("link set tap0 nomaster")
    with Host(hv.namespace) as fresh:
        Path("/proc/sys/net/ipv4/conf/tap0/proxy_arp").write_text("1")
        assert fresh.kernel.monitor.drain() == []
