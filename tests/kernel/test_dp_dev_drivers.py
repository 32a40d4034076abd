"""Tunnel, VRF, port and anti-spoofing drivers on a real kernel, without memory, next to foreign objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datapath.antispoofing import AntiSpoofingDriver
from datapath.driver import Operation, Verb
from datapath.values import VRRP_MAC, AntiSpoofing, Kind, Port, PortKind, Value, Vrf
from lab.namespace import Namespace
from tests.kernel.dp_dev_support import BLUE, FILTERS, MAC, RED, TAP, TUNNEL, Host, host, text_of
from vpn.prefix import Prefix, parse_address

VETH = Port(
    "vw-web2",
    PortKind.VETH,
    "vw-blue",
    "web:2",
    netns="guest",
    guest_mac=MAC,
    guest_addresses=(parse_address("10.1.1.2"), parse_address("fd00:1::2")),
)


@pytest.fixture
def hv() -> Iterator[Host]:
    with host() as opened:
        yield opened


@pytest.fixture
def guest() -> Iterator[Namespace]:
    with Namespace("guest") as made:
        yield made


def again(hv: Host) -> Host:
    """A process without memory on the same host."""
    return Host(hv.namespace)


def shown(hv: Host, *argv: str) -> str:
    return hv.namespace.output(*argv)


# Tunnel


def test_tunnel_is_made_with_what_it_needs_and_found_again(hv: Host) -> None:
    hv.make(TUNNEL)
    assert hv.dump(Kind.TUNNEL) == {"vw-gre": TUNNEL}
    line = shown(hv, "ip", "-d", "link", "show", "vw-gre")
    assert "gre remote any local 192.0.2.11" in line and "ttl 64" in line and "alias vrfwire:tunnel:vw-gre" in line
    for name, value in [
        ("net/mpls/conf/vw-gre/input", 1),
        ("net/mpls/platform_labels", 2000),
        ("net/ipv4/ip_forward", 1),
        ("net/ipv6/conf/all/forwarding", 1),
        ("net/ipv4/fib_multipath_hash_policy", 1),
        ("net/ipv6/fib_multipath_hash_policy", 1),
    ]:
        assert int(Path("/proc/sys", name).read_text()) == value, name
    changed = {change.name for change in hv.kernel.sysctls.changes}
    assert "net.mpls.platform_labels" in changed
    with again(hv) as fresh:
        assert fresh.dump(Kind.TUNNEL) == {"vw-gre": TUNNEL}


def test_settings_are_raised_only_where_they_are_too_low(hv: Host) -> None:
    Path("/proc/sys/net/mpls/platform_labels").write_text("5000")
    Path("/proc/sys/net/ipv4/fib_multipath_hash_policy").write_text("2")
    hv.make(TUNNEL)
    assert int(Path("/proc/sys/net/mpls/platform_labels").read_text()) == 5000
    assert int(Path("/proc/sys/net/ipv4/fib_multipath_hash_policy").read_text()) == 2
    assert "net.mpls.platform_labels" not in {change.name for change in hv.kernel.sysctls.changes}


@pytest.mark.parametrize(
    "damage",
    [
        ["link set vw-gre down"],
        ["link delete vw-gre"],
        ["link delete vw-gre", "link add vw-gre type gre local 192.0.2.11 remote 192.0.2.99", "link set vw-gre up"],
    ],
)
def test_damaged_tunnel_is_seen_and_put_right(hv: Host, damage: list[str]) -> None:
    hv.make(TUNNEL)
    hv.namespace.ip(*damage)
    assert hv.dump(Kind.TUNNEL).get("vw-gre") != TUNNEL
    assert hv.converge(TUNNEL) == TUNNEL


@pytest.mark.parametrize("name", ["net/mpls/conf/vw-gre/input", "net/ipv4/ip_forward"])
def test_setting_taken_back_is_seen_and_put_right(hv: Host, name: str) -> None:
    hv.make(TUNNEL)
    Path("/proc/sys", name).write_text("0")
    assert hv.dump(Kind.TUNNEL) != {"vw-gre": TUNNEL}
    assert hv.converge(TUNNEL) == TUNNEL
    assert int(Path("/proc/sys", name).read_text()) == 1


def test_tunnel_changes_its_address_and_goes(hv: Host) -> None:
    hv.make(TUNNEL)
    other = replace(TUNNEL, local=parse_address("192.0.2.12"))
    assert hv.converge(other) == other
    assert hv.remove(other) is None
    assert hv.remove(other) is None
    assert "vw-gre" not in hv.namespace.interfaces()


def test_foreign_tunnel_is_left_alone(hv: Host) -> None:
    hv.namespace.ip("link add vw-gre type dummy", "link add other type gre local 192.0.2.11")
    assert hv.dump(Kind.TUNNEL) == {}
    assert "vw-gre exists already" in text_of(hv.put(TUNNEL))
    assert hv.remove(TUNNEL) is None
    assert "vw-gre" in hv.namespace.interfaces()
    hv.namespace.ip("link delete vw-gre")
    assert "another GRE device has the same local address" in text_of(hv.put(TUNNEL))


# VRF


def test_vrf_is_made_and_found_again(hv: Host) -> None:
    hv.make(BLUE, RED)
    assert hv.dump(Kind.VRF) == {"vw-blue": BLUE, "vw-red": RED}
    assert "unreachable default proto 108 metric 4278198272" in shown(hv, "ip", "route", "show", "table", "10001")
    assert "unreachable default" in shown(hv, "ip", "-6", "route", "show", "table", "10001")
    assert "1000:\tfrom all lookup [l3mdev-table]" in shown(hv, "ip", "rule")
    with again(hv) as fresh:
        assert fresh.dump(Kind.VRF) == {"vw-blue": BLUE, "vw-red": RED}


@pytest.mark.parametrize(
    "damage",
    [
        "link set vw-blue down",
        "link delete vw-blue",
        "route delete unreachable default table 10001",
        "-6 route delete unreachable default table 10001",
        "link set vw-blue alias vrfwire:vrf:green",
    ],
)
def test_damaged_vrf_is_seen_and_put_right(hv: Host, damage: str) -> None:
    hv.make(BLUE, RED)
    shown(hv, "ip", *damage.split())
    assert hv.dump(Kind.VRF).get("vw-blue") != BLUE
    assert hv.dump(Kind.VRF)["vw-red"] == RED
    assert hv.converge(BLUE) == BLUE


def test_vrf_changes_its_table_and_goes_with_its_defaults(hv: Host) -> None:
    hv.make(BLUE)
    moved = replace(BLUE, table=10003)
    assert hv.converge(moved) == moved
    assert shown(hv, "ip", "route", "show", "table", "10003") != ""
    hv.namespace.ip("route add 203.0.113.0/24 dev lo table 10003")
    assert hv.remove(moved) is None
    assert hv.remove(moved) is None
    assert "unreachable" not in shown(hv, "ip", "route", "show", "table", "all")


def test_foreign_vrf_is_left_alone(hv: Host) -> None:
    hv.namespace.ip(
        "link add vrf-x type vrf table 10", "link set vrf-x up", "link add vw-blue type dummy", "link set vw-blue up"
    )
    assert hv.dump(Kind.VRF) == {}
    assert "vw-blue exists already" in text_of(hv.put(BLUE))
    assert hv.remove(BLUE) is None
    assert {"vrf-x", "vw-blue"} <= set(hv.namespace.interfaces())


def test_vrf_whose_making_was_cut_short_is_ours(hv: Host) -> None:
    hv.namespace.ip("link add vw-blue type vrf table 10001")
    assert hv.dump(Kind.VRF) == {"vw-blue": Vrf("vw-blue", 0, "")}
    assert hv.converge(BLUE) == BLUE


# Port


def test_tap_is_made_and_found_again(hv: Host) -> None:
    hv.make(BLUE, TAP)
    assert hv.dump(Kind.PORT) == {"tap0": TAP}
    line = shown(hv, "ip", "-d", "link", "show", "tap0")
    assert "master vw-blue" in line and "tun type tap" in line and "persist on" in line
    assert VRRP_MAC.hex(":") in line and "addrgenmode none" in line
    assert int(Path("/proc/sys/net/ipv4/conf/tap0/proxy_arp").read_text()) == 1
    assert int(Path("/proc/sys/net/ipv4/neigh/tap0/proxy_delay").read_text()) == 0
    assert int(Path("/proc/sys/net/ipv6/neigh/tap0/proxy_delay").read_text()) == 0
    assert "fe80" not in shown(hv, "ip", "-6", "address", "show", "dev", "tap0")
    with again(hv) as fresh:
        assert fresh.dump(Kind.PORT) == {"tap0": TAP}


def test_port_is_closed_until_it_is_opened(hv: Host) -> None:
    hv.make(BLUE, TAP)
    assert "matchall" in shown(hv, "tc", "filter", "show", "dev", "tap0", "ingress")
    assert hv.dump(Kind.ANTI_SPOOFING) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "link set tap0 down",
        "link set tap0 nomaster",
        "link set tap0 master vw-red",
        "link set tap0 address 02:00:00:00:00:99",
        "link delete tap0",
    ],
)
def test_damaged_port_is_seen_and_put_right(hv: Host, damage: str) -> None:
    hv.make(BLUE, RED, TAP)
    hv.namespace.ip(damage)
    assert hv.dump(Kind.PORT).get("tap0") != TAP
    assert hv.converge(TAP) == TAP


def test_setting_of_a_port_taken_back_is_seen(hv: Host) -> None:
    hv.make(BLUE, TAP)
    Path("/proc/sys/net/ipv4/conf/tap0/rp_filter").write_text("2")
    assert hv.dump(Kind.PORT) != {"tap0": TAP}
    assert hv.converge(TAP) == TAP


def test_made_tap_is_deleted_and_adopted_one_given_back(hv: Host) -> None:
    hv.namespace.ip("tuntap add vnet0 mode tap", "link set vnet0 address fe:54:00:00:00:01")
    adopted = replace(TAP, name="vnet0", attachment="web-2")
    hv.make(BLUE, TAP, adopted)
    assert hv.dump(Kind.PORT) == {"tap0": TAP, "vnet0": adopted}
    with again(hv) as fresh:
        for port in (TAP, adopted):
            assert fresh.remove(port) is None
            assert fresh.remove(port) is None
    assert "tap0" not in hv.namespace.interfaces()
    line = shown(hv, "ip", "-d", "link", "show", "vnet0")
    assert "master" not in line and "alias" not in line
    assert "matchall" not in shown(hv, "tc", "filter", "show", "dev", "vnet0", "ingress")


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (["link add tap0 type dummy"], "is no tap"),
        (["tuntap add tap0 mode tun"], "is no tap"),
        (["tuntap add tap0 mode tap", "link set tap0 alias somebody"], "with the alias 'somebody'"),
        (["tuntap add tap0 mode tap", "link add br0 type bridge", "link set tap0 master br0"], "member of a bridge"),
        (["tuntap add tap0 mode tap", "link set tap0 alias vrfwire:port:db-1"], "belongs to attachment db-1"),
    ],
)
def test_device_of_somebody_else_is_refused(hv: Host, setup: list[str], reason: str) -> None:
    hv.namespace.ip(*setup)
    before = shown(hv, "ip", "-d", "link", "show", "tap0")
    hv.make(BLUE)
    assert reason in text_of(hv.put(TAP))
    assert shown(hv, "ip", "-d", "link", "show", "tap0") == before


def test_what_a_port_needs_and_lacks_is_named(hv: Host) -> None:
    assert text_of(hv.put(TAP)) == "there is no VRF device vw-blue"
    hv.make(BLUE)
    assert text_of(hv.put(VETH)) == "namespace guest: No such file or directory"
    assert "can't be the name of an interface" in text_of(hv.put(replace(TAP, name="a-name-that-is-too-long")))


def test_veth_gets_a_guest_with_addresses_and_routes(hv: Host, guest: Namespace) -> None:
    hv.make(BLUE, VETH)
    assert hv.dump(Kind.PORT) == {"vw-web2": VETH}
    assert MAC.hex(":") in guest.output("ip", "link", "show", "eth0")
    assert "169.254.1.1 dev eth0" in guest.output("ip", "route", "show", "default")
    assert "fe80::1 dev eth0" in guest.output("ip", "-6", "route", "show", "default")
    addresses = guest.output("ip", "address", "show", "dev", "eth0")
    assert "10.1.1.2/32" in addresses and "fd00:1::2/128" in addresses and "tentative" not in addresses.split("fe80")[0]
    with again(hv) as fresh:
        assert fresh.dump(Kind.PORT) == {"vw-web2": VETH}
        assert fresh.remove(VETH) is None
    assert guest.interfaces() == ["lo"]


def test_veth_changes_its_guest_in_place(hv: Host, guest: Namespace) -> None:
    hv.make(BLUE, VETH)
    before = guest.output("ip", "-o", "link", "show", "eth0").split(":")[0]
    changed = replace(VETH, guest_addresses=(parse_address("10.1.1.3"),), guest_mac=bytes.fromhex("020000000003"))
    assert hv.converge(changed) == changed
    shown_addresses = guest.output("ip", "address", "show", "dev", "eth0")
    assert "10.1.1.3/32" in shown_addresses and "10.1.1.2" not in shown_addresses and "fd00" not in shown_addresses
    assert guest.output("ip", "-o", "link", "show", "eth0").split(":")[0] == before


def test_veth_moves_to_another_name(hv: Host, guest: Namespace) -> None:
    hv.make(BLUE, VETH)
    renamed = replace(VETH, guest_name="net0")
    assert hv.converge(renamed) == renamed
    assert set(guest.interfaces()) == {"lo", "net0"}


def test_interface_name_in_use_in_the_guest_is_told(hv: Host, guest: Namespace) -> None:
    guest.ip("link add eth0 type dummy")
    hv.make(BLUE)
    assert text_of(hv.put(VETH)) == "namespace guest has an interface eth0 already"
    assert "vw-web2" not in hv.namespace.interfaces()


def test_port_with_more_than_an_alias_holds(hv: Host, guest: Namespace) -> None:
    many = replace(VETH, guest_addresses=tuple(parse_address(f"fd00:1::{n:x}") for n in range(1, 20)))
    hv.make(BLUE, many)
    assert hv.dump(Kind.PORT) == {"vw-web2": many}
    with again(hv) as fresh:
        assert fresh.dump(Kind.PORT) != {"vw-web2": many}
        assert fresh.converge(many) == many


# Anti-spoofing


def test_filters_are_made_and_found_again(hv: Host) -> None:
    hv.make(BLUE, TAP, FILTERS)
    assert hv.dump(Kind.ANTI_SPOOFING) == {"tap0": FILTERS}
    with again(hv) as fresh:
        assert fresh.dump(Kind.ANTI_SPOOFING) == {"tap0": FILTERS}


def test_filters_change_in_place(hv: Host) -> None:
    hv.make(BLUE, TAP, FILTERS)
    wanted: Value = replace(FILTERS, prefixes=(*FILTERS.prefixes[:1], Prefix.parse("10.2.0.0/16")))
    assert hv.converge(wanted) == wanted
    wanted = AntiSpoofing("tap0", bytes.fromhex("020000000002"), (Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")))
    assert hv.converge(wanted) == wanted
    assert hv.remove(wanted) is None
    assert hv.remove(wanted) is None
    assert hv.dump(Kind.ANTI_SPOOFING) == {}
    assert "matchall" in shown(hv, "tc", "filter", "show", "dev", "tap0", "ingress")


@pytest.mark.parametrize(
    "damage",
    [
        "qdisc delete dev tap0 clsact",
        "filter delete dev tap0 ingress",
        "filter delete dev tap0 ingress priority 22017 protocol arp",
        "filter delete dev tap0 ingress priority 22031",
        "filter add dev tap0 ingress priority 22020 protocol ip flower src_ip 10.9.9.9 action pass",
    ],
)
def test_damaged_filters_are_seen_and_put_right(hv: Host, damage: str) -> None:
    hv.make(BLUE, TAP, FILTERS)
    shown(hv, "tc", *damage.split())
    assert hv.dump(Kind.ANTI_SPOOFING) != {"tap0": FILTERS}
    assert hv.converge(FILTERS) == FILTERS


def test_foreign_filters_are_left_alone(hv: Host) -> None:
    hv.make(BLUE, TAP)
    foreign = "filter add dev tap0 ingress priority 7 protocol ip flower ip_proto udp action pass"
    shown(hv, "tc", *foreign.split())
    hv.make(FILTERS)
    assert hv.dump(Kind.ANTI_SPOOFING) == {"tap0": FILTERS}
    assert hv.remove(FILTERS) is None
    assert "pref 7" in shown(hv, "tc", "filter", "show", "dev", "tap0", "ingress")


def test_one_device_missing_does_not_stop_the_others(hv: Host) -> None:
    hv.make(BLUE, TAP)
    gone = replace(FILTERS, device="tap9")
    outcomes = hv.apply(Operation(Verb.PUT, gone), Operation(Verb.PUT, FILTERS), Operation(Verb.REMOVE, gone))
    assert text_of(outcomes[0]) == "there is no device tap9"
    assert outcomes[1:] == [None, None]


def test_device_made_anew_has_another_index(hv: Host) -> None:
    hv.make(BLUE, TAP, FILTERS)
    hv.namespace.ip("link delete tap0", "tuntap add tap0 mode tap", "link set tap0 alias vrfwire:port:web-1")
    assert hv.put(FILTERS) is None
    assert hv.dump(Kind.ANTI_SPOOFING) == {"tap0": FILTERS}


def test_filters_without_a_responder_are_replaced_once_there_is_one(hv: Host) -> None:
    hv.make(BLUE, TAP)
    without = AntiSpoofingDriver(hv.kernel.devices, None)
    assert without.apply([Operation(Verb.PUT, FILTERS)]) == [None]
    assert without.dump() == {"tap0": FILTERS}
    assert "bpf" not in shown(hv, "tc", "filter", "show", "dev", "tap0", "ingress")
    assert hv.dump(Kind.ANTI_SPOOFING) != {"tap0": FILTERS}
    assert hv.converge(FILTERS) == FILTERS
    assert "vrfwire_nd" in shown(hv, "tc", "filter", "show", "dev", "tap0", "ingress")
