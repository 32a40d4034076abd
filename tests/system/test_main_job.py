"""The main job with everything real: VMs of two VPNs with the same addresses on three hosts; and what happens to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from datapath.values import VRRP_MAC
from lab.frames import IPv4, IPv6, Packet, mac_bytes
from lab.guest import Guest
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest
from lab.topology import Lab, Vm
from lab.traffic import Traffic
from lab.wait import wait_until

REPAIR = 1.0
"""Seconds in which what a third party has broken is repaired."""
SLACK = 2.0
"""Added to deadlines for this machine's slowness."""

ADDRESSES = {1: ("10.1.1.1", "fd00:1::1"), 2: ("10.1.1.2", "fd00:1::2"), 3: ("10.1.1.3", "fd00:1::3")}


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    """hv1: blue-1, blue-2, red-1. hv2: blue-3, red-3. hv3: none. red-3 has an address that blue has not."""
    with Lab(hosts=["hv1", "hv2", "hv3"]) as made:
        made.start()
        made.attach("hv1", "blue-1", "blue", ADDRESSES[1])
        made.attach("hv1", "blue-2", "blue", ADDRESSES[2], tap=True)
        made.attach("hv2", "blue-3", "blue", ADDRESSES[3], tap=True)
        made.attach("hv1", "red-1", "red", ADDRESSES[1], tap=True)
        made.attach("hv2", "red-3", "red", (*ADDRESSES[3], "10.3.3.3", "fd00:3::3"))
        wait_until(lambda: made.vms["blue-1"].ping(ADDRESSES[3][0]).ok, 20, "the first ping", detail=made.tails)
        wait_until(lambda: made.vms["red-1"].ping(ADDRESSES[3][0]).ok, 20, "the first ping", detail=made.tails)
        yield made


def tap(lab: Lab, name: str) -> Guest:
    vm = lab.vms[name]
    assert isinstance(vm, Guest)
    return vm


def reaches(lab: Lab, source: str, target: str) -> bool:
    """Whether a VM gets the other one's name at all its addresses."""
    vm: Vm = lab.vms[source]
    other: Vm = lab.vms[target]
    addresses = other.addresses if isinstance(other, NamespaceGuest) else other.stack.addresses
    return all(vm.ping(address, timeout=0.5).ok and vm.ask(address, 0.5) == target for address in addresses)


def restored(lab: Lab, deadline: float) -> float:
    """Wait until blue is whole again; returns the seconds it took."""
    start = time.monotonic()

    def whole() -> bool:
        pairs = (("blue-1", "blue-2"), ("blue-2", "blue-1"), ("blue-1", "blue-3"), ("blue-3", "blue-2"))
        return all(reaches(lab, *pair) for pair in pairs)

    wait_until(whole, deadline, "blue to be whole again", detail=lab.tails)
    return time.monotonic() - start


def test_vms_of_a_vpn_reach_each_other_on_one_host_and_across(lab: Lab) -> None:
    for source, target in (("blue-1", "blue-2"), ("blue-2", "blue-3"), ("blue-3", "blue-1"), ("red-3", "red-1")):
        assert reaches(lab, source, target), f"{source} to {target}"


def test_no_vm_reaches_the_other_vpn(lab: Lab) -> None:
    for address in ("10.3.3.3", "fd00:3::3"):
        assert tap(lab, "red-1").ping(address).ok
        for name in ("blue-1", "blue-2", "blue-3"):
            assert not lab.vms[name].ping(address, timeout=0.3).replies, name
    assert lab.vms["red-3"].senders() <= {"red-1"}
    assert tap(lab, "blue-3").senders() <= {"blue-1", "blue-2"}


def test_first_ping_takes_milliseconds_and_any_question_is_answered(lab: Lab) -> None:
    guest = tap(lab, "blue-2")
    guest.forget()
    start = time.monotonic()
    assert guest.ping(ADDRESSES[3][0]).ok
    assert time.monotonic() - start < 0.7
    for address in ("10.1.1.3", "10.1.1.77", "fd00:1::3", "fd00:1::77"):
        assert guest.resolve(address) == VRRP_MAC, address


def test_missing_destination_is_told(lab: Lab) -> None:
    for name in ("blue-1", "blue-2"):
        for address in ("10.1.1.77", "fd00:1::77"):
            pings = lab.vms[name].ping(address)
            assert "nreachable" in pings.errors[0].text or "No route" in pings.errors[0].text


@pytest.mark.parametrize(("address", "overhead"), [(ADDRESSES[3][0], 28), (ADDRESSES[3][1], 48)])
@pytest.mark.parametrize("name", ["blue-1", "blue-2"])
def test_packet_that_does_not_fit_gets_the_path_mtu(lab: Lab, name: str, address: str, overhead: int) -> None:
    vm = lab.vms[name]
    too_big = vm.ping(address, size=1500 - overhead, df=True)
    assert not too_big.replies
    assert too_big.mtu == 1472
    assert vm.ping(address, size=1472 - overhead, df=True).ok


def test_spoofed_packets_are_dropped(lab: Lab) -> None:
    guest, receiver = tap(lab, "blue-2"), tap(lab, "blue-3")
    mark = receiver.mark()
    guest.send_udp(ADDRESSES[3][0], b"spoofed", source="10.1.1.1")
    guest.send_udp(ADDRESSES[3][0], b"spoofed", source="10.66.66.66")
    guest.send_udp(ADDRESSES[3][1], b"spoofed", source="fd00:1::1")
    guest.send_udp(ADDRESSES[3][0], b"spoofed", mac=mac_bytes("02:00:00:00:66:66"))
    guest.send_udp(ADDRESSES[3][1], b"spoofed", mac=mac_bytes("02:00:00:00:66:66"))
    guest.send_udp(ADDRESSES[3][0], b"honest")
    guest.send_udp(ADDRESSES[3][1], b"honest")

    def ours(packet: Packet) -> bool:
        return packet.payload.startswith((b"spoofed", b"honest"))

    honest = receiver.received(lambda packet: packet.payload.startswith(b"honest"), count=2, since=mark)
    assert {type(packet.ip) for packet in honest} == {IPv4, IPv6}
    assert [packet for packet in receiver.frames(ours, mark) if packet.payload.startswith(b"spoofed")] == []


def test_detach_and_attach_again(lab: Lab) -> None:
    def gone() -> bool:
        return not any("10.1.1.9" in str(route["prefix"]) for route in lab.hosts["hv1"].items("route.list"))

    for _ in range(3):
        lab.attach("hv3", "blue-9", "blue", ["10.1.1.9", "fd00:1::9"], tap=True)
        wait_until(lambda: reaches(lab, "blue-2", "blue-9"), 5, "blue-9 to be reached", detail=lab.tails)
        lab.detach("hv3", "blue-9")
        wait_until(gone, 5, "blue-9 to be gone", detail=lab.tails)
        assert not tap(lab, "blue-2").ping("10.1.1.9", timeout=0.1).replies
    assert "tap-blue-9" not in lab.hosts["hv3"].namespace.interfaces()


def test_agent_killed_and_restarted_loses_no_packet(lab: Lab) -> None:
    hv1 = lab.hosts["hv1"]
    before = hv1.items("port.list")
    with Traffic(lab.vms["blue-1"], ADDRESSES[3][0]) as one, Traffic(tap(lab, "blue-3"), ADDRESSES[2][1]) as two:
        hv1.daemon.kill()
        hv1.daemon.start()
        wait_until(hv1.connected, 30, "hv1 to have its session", detail=lab.tails)
    assert (one.lost, two.lost) == (0, 0), f"{one}; {two}"
    assert min(one.sent, two.sent) > 10
    wait_until(lambda: [p["announced"] for p in hv1.items("port.list")] == ["yes"] * 3, 10, "ports to be announced")
    assert hv1.items("port.list") == before


def test_agent_stopped_leaves_forwarding(lab: Lab) -> None:
    hv2 = lab.hosts["hv2"]
    assert hv2.daemon.stop() == 0
    assert restored(lab, 5) < 5
    assert tap(lab, "blue-3").resolve("10.1.1.55") == VRRP_MAC
    hv2.daemon.start()
    wait_until(hv2.connected, 30, "hv2 to have its session", detail=lab.tails)


def test_gateway_restart_loses_no_packet(lab: Lab) -> None:
    with Traffic(lab.vms["blue-1"], ADDRESSES[3][0]) as traffic:
        lab.gateway.daemon.kill()
        lab.gateway.daemon.start()
        lab.wait_connected()
    assert traffic.lost == 0, str(traffic)
    assert restored(lab, 10) < 10


def _delete_device(host: Namespace, kind: str) -> None:
    listed = host.output("ip", "-o", "link", "show", "type", kind).splitlines()
    names = [line.split(":")[1].strip().split("@")[0] for line in listed if ": vw-" in line]
    assert names
    host.ip(*(f"link delete {name}" for name in names))


@pytest.mark.parametrize("kind", ["vrf", "gre"])
def test_deleted_device_is_made_again(lab: Lab, kind: str) -> None:
    _delete_device(lab.hosts["hv1"].namespace, kind)
    assert restored(lab, 15) < REPAIR + SLACK


def test_flushed_routes_are_made_again(lab: Lab) -> None:
    host = lab.hosts["hv1"].namespace
    tables = {str(vpn["table"]) for vpn in lab.hosts["hv1"].items("vpn.list")}
    for table in tables:
        for family in ("-4", "-6"):
            listed = host.output("ip", family, "route", "show", "table", table, "proto", "108").splitlines()
            prefixes = [line.split()[0] for line in listed if not line.startswith("unreachable")]
            assert prefixes
            host.ip(*(f"route delete {prefix} table {table}" for prefix in prefixes))
    assert restored(lab, 15) < REPAIR + SLACK


def test_flushed_label_routes_are_made_again(lab: Lab) -> None:
    host = lab.hosts["hv1"].namespace
    labels = [line.split()[0] for line in host.output("ip", "-f", "mpls", "route").splitlines()]
    assert labels
    for label in labels:
        host.output("ip", "-f", "mpls", "route", "delete", label)
    assert restored(lab, 15) < REPAIR + SLACK


def test_flushed_next_hops_are_made_again(lab: Lab) -> None:
    lab.hosts["hv1"].namespace.ip("nexthop flush protocol 108")
    assert restored(lab, 15) < REPAIR + SLACK


def test_removed_filters_are_made_again(lab: Lab) -> None:
    host = lab.hosts["hv1"].namespace
    host.output("tc", "qdisc", "delete", "dev", "tap-blue-2", "clsact")
    guest = tap(lab, "blue-2")

    def answered() -> bool:
        guest.forget()
        return guest.resolve("10.1.1.77", 0.2) == VRRP_MAC

    wait_until(answered, REPAIR + SLACK, "the responder to be back", detail=lab.tails)
    receiver, mark = tap(lab, "blue-3"), tap(lab, "blue-3").mark()
    guest.send_udp(ADDRESSES[3][0], b"spoofed", source="10.66.66.66")
    guest.send_udp(ADDRESSES[3][0], b"honest")
    receiver.received(lambda packet: packet.payload.startswith(b"honest"), since=mark)
    assert receiver.frames(lambda packet: packet.payload.startswith(b"spoofed"), mark) == []


def test_underlay_device_down_and_up(lab: Lab) -> None:
    host = lab.hosts["hv1"].namespace
    host.ip("link set eth0 down")
    assert not lab.vms["blue-1"].ping(ADDRESSES[3][0], timeout=0.2).ok
    host.ip("link set eth0 up")
    restored(lab, 20)


def test_tunnel_device_down_is_put_up(lab: Lab) -> None:
    host = lab.hosts["hv1"].namespace
    (line,) = [line for line in host.output("ip", "-o", "link", "show", "type", "gre").splitlines() if ": vw-" in line]
    host.ip(f"link set {line.split(':')[1].strip().split('@')[0]} down")
    assert restored(lab, 15) < REPAIR + SLACK


def test_cable_of_the_underlay_pulled_and_put_back(lab: Lab) -> None:
    lab.hosts["hv2"].link(up=False)
    assert not lab.vms["blue-1"].ping(ADDRESSES[3][0], timeout=0.2).ok
    lab.hosts["hv2"].link(up=True)
    restored(lab, 20)


def test_vm_on_a_tap_switched_off_and_on(lab: Lab) -> None:
    guest = tap(lab, "blue-2")
    guest.close()
    assert not lab.vms["blue-1"].ping(ADDRESSES[2][0], timeout=0.2).ok
    guest.open()
    restored(lab, 10)


def test_everything_is_well_at_the_end(lab: Lab) -> None:
    for host in lab.hosts.values():
        status = host.call("status")
        assert (status["state"], status["problems"]) == ("ok", []), host.name
        assert {port["state"] for port in host.items("port.list")} <= {"programmed"}
