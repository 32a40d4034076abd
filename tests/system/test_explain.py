"""What a host says about itself, against a real kernel: lost packets by cause, explanations, objects, events; and the
commands of docs/troubleshooting.md about them."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from agent import cli
from lab import craft
from lab.frames import mac_bytes
from lab.guest import Guest
from lab.node import PROGRAMS, Host
from lab.topology import Lab, Vpn
from lab.wait import wait_until
from tests.guide import block, lines

FOUR, SIX = IPv4Address("10.1.1.1"), IPv6Address("fd00:1::1")
STRANGE_MAC = bytes.fromhex("020000000066")
LABEL_OF_NOBODY = 199_999
DEADLINE = 10.0


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    """web-1 on hv1, db-1 on hv2, both in blue, on taps."""
    with Lab(hosts=["hv1", "hv2"], vpns=[Vpn("blue", ["64512:1"])]) as made:
        made.start()
        made.attach("hv1", "web-1", "blue", [str(FOUR), str(SIX)], tap=True)
        made.attach("hv2", "db-1", "blue", ["10.1.1.2", "fd00:1::2"], tap=True)
        hv1 = made.hosts["hv1"]
        wait_until(lambda: explain(hv1, "fd00:1::2")["state"] == "programmed", DEADLINE, "the routes", 0.05, made.tails)
        yield made


@pytest.fixture
def hv1(lab: Lab) -> Host:
    return lab.hosts["hv1"]


@pytest.fixture
def web(lab: Lab) -> Guest:
    guest = lab.vms["web-1"]
    assert isinstance(guest, Guest)
    return guest


def explain(host: Host, address: str) -> dict[str, Any]:
    return host.call("route.explain", {"vpn": "blue", "address": address})


def lost(host: Host) -> dict[tuple[str, str], int]:
    """Counters by name and place."""
    return {(row["name"], row["where"]): row["value"] for row in host.items("drops")}


def grown(before: Mapping[tuple[str, str], int], host: Host) -> dict[tuple[str, str], int]:
    return {key: more for key, value in lost(host).items() if (more := value - before.get(key, 0))}


def test_lost_packets_are_named_by_cause(lab: Lab, hv1: Host, web: Guest) -> None:
    mac = mac_bytes(lab.replies["web-1"]["mac"])
    before = lost(hv1)
    broadcast = b"\xff" * 6
    other, remote = IPv4Address("10.1.1.66"), IPv4Address("10.1.1.2")
    frames = [
        craft.ethernet(broadcast, mac, 0x0800, craft.ipv4(other, remote, 17, bytes(8))),
        craft.ethernet(broadcast, mac, 0x86DD, craft.ipv6(IPv6Address("fd00:1::66"), SIX, 17, bytes(8))),
        craft.ethernet(broadcast, STRANGE_MAC, 0x0800, craft.ipv4(FOUR, remote, 17, bytes(8))),
        craft.ethernet(broadcast, mac, 0x0806, craft.arp(1, mac, other, bytes(6), remote)),
        craft.ethernet(broadcast, mac, 0x8100, b"\0\5\x08\0" + bytes(46)),
        craft.ethernet(broadcast, mac, 0x88CC, bytes(46)),
    ]
    for frame in frames:
        web.send(frame)
    web.send_udp("fd00:9::9", b"nobody")
    web.send_udp("10.9.9.9", b"nobody")
    virtual = web.resolve("10.1.1.2")
    assert virtual is not None
    web.send(craft.ethernet(virtual, mac, 0x0800, craft.ipv4(FOUR, remote, 17, bytes(8), ttl=1)))
    web.send(craft.ethernet(virtual, mac, 0x0800, craft.ipv4(FOUR, remote, 17, bytes(1460), df=True)))
    send_label(lab.hosts["hv2"], "192.0.2.11", LABEL_OF_NOBODY)
    expected = {
        ("port-spoofed-ipv4", "port web-1"): 1,
        ("port-spoofed-ipv6", "port web-1"): 1,
        ("port-spoofed-mac", "port web-1"): 1,
        ("port-foreign-arp", "port web-1"): 1,
        ("port-tagged", "port web-1"): 1,
        ("port-other-protocol", "port web-1"): 1,
        ("port-ipv6-no-route", "port web-1"): 1,
        ("host-ipv4-ttl", "host"): 1,
        ("host-ipv4-too-big", "host"): 1,
        ("tunnel-unknown-label", "tunnel vw-gre"): 1,
    }

    def counted() -> bool:
        found = grown(before, hv1)
        return {key: found.get(key) for key in expected} == expected

    wait_until(counted, DEADLINE, "every loss to be counted", 0.05, lambda: str(grown(before, hv1)))
    assert grown(before, hv1)["host-ipv4-unreachable", "host"] >= 1
    # Nothing else is blamed.
    assert {key for key in grown(before, hv1) if key[0].startswith(("port-", "tunnel-"))} <= {*expected}
    shown = hv1.cli("drops", "--port", "web-1").stdout
    assert "hint: port-spoofed-mac at port web-1: give the VM the MAC that `vrfwire port show web-1` prints" in shown
    assert "port-foreign-arp" in shown
    assert "hint: port-foreign-arp" not in shown, "what is usual needs no advice"
    assert "tunnel" not in shown


def send_label(host: Host, to: str, label: int) -> None:
    """One labelled packet in GRE (RFC 4023), from a host to another one."""
    packet = craft.ipv4(IPv4Address("10.1.1.2"), FOUR, 17, bytes(8))
    with host.namespace.entered(), socket.socket(socket.AF_INET, socket.SOCK_RAW, 47) as raw:
        raw.sendto(b"\0\0\x88\x47" + (label << 12 | 0x100 | 64).to_bytes(4, "big") + packet, (to, 0))


def test_packets_for_a_vm_that_does_not_run(lab: Lab, web: Guest) -> None:
    hv2 = lab.hosts["hv2"]
    before = lost(hv2)
    lab.vms["db-1"].close()
    try:
        wait_until(lambda: not hv2.call("port.show", {"name": "db-1"})["carrier"], DEADLINE, "the carrier to go")
        assert not web.ping("10.1.1.2", timeout=0.3).ok
        found = grown(before, hv2)
        assert found.get(("port-no-carrier", "port db-1"), 0) >= 1, found
    finally:
        reply = lab.replies["db-1"]
        addresses = (IPv4Address("10.1.1.2"), IPv6Address("fd00:1::2"))
        lab.vms["db-1"] = Guest("db-1", reply["interface"], hv2.namespace, mac_bytes(reply["mac"]), addresses).open()
    wait_until(lambda: web.ping("10.1.1.2", timeout=0.3).ok, DEADLINE, "the VM to be back", 0.05, lab.tails)


@pytest.mark.parametrize("address", ["10.1.1.2", "fd00:1::2"])
def test_route_to_another_host(hv1: Host, address: str) -> None:
    found = explain(hv1, address)
    hop = {"address": "192.0.2.12", "label": found["desired"]["next_hops"][0]["label"], "local": False}
    assert found["kernel"]["next_hops"] == [hop | {"interface": "vw-gre"}]
    assert (found["kernel"]["type"], found["kernel"]["protocol"]) == ("unicast", "vrfwire")
    assert found["underlay"] == [{"host": "192.0.2.12", "device": "eth0", "gateway": None}]
    assert [row["reason"] for row in found["per_gateway"]] == ["the only one"]
    assert found["here"] is None


@pytest.mark.parametrize("address", [str(FOUR), str(SIX)])
def test_route_to_a_vm_here(lab: Lab, hv1: Host, address: str) -> None:
    found = explain(hv1, address)
    assert [hop["interface"] for hop in found["kernel"]["next_hops"]] == ["tap-web-1"]
    assert "port web-1 is on this host: delivered there, not sent through the tunnel" in found["why"]
    here = {"port": "web-1", "label": lab.replies["web-1"]["label"], "state": "programmed", "announced": "yes"}
    assert {key: found["here"][key] for key in here} == here


@pytest.mark.parametrize("address", ["10.1.99.2", "fd00:9::9"])
def test_no_route(hv1: Host, address: str) -> None:
    found = explain(hv1, address)
    assert (found["state"], found["desired"]) == ("absent", None)
    assert found["kernel"] is None or found["kernel"]["type"] == "unreachable"
    assert "the kernel answers such packets with ICMP unreachable" in found["why"]


def test_routes_of_other_programs_are_told(hv1: Host) -> None:
    table = hv1.call("vpn.show", {"name": "blue"})["table"]
    hv1.namespace.ip(
        f"route add 10.1.60.0/24 dev tap-web-1 table {table}", f"route add blackhole 10.1.50.0/24 table {table}"
    )
    try:
        found = explain(hv1, "10.1.60.1")
        assert "the kernel's route 10.1.60.0/24 was made by another program (protocol 3)" in found["why"]
        assert "a blackhole route of another program stops such packets" in explain(hv1, "10.1.50.1")["why"]
    finally:
        hv1.namespace.ip(f"route del 10.1.60.0/24 table {table}", f"route del blackhole 10.1.50.0/24 table {table}")


def test_repairs_are_told_and_remembered(lab: Lab, hv1: Host) -> None:
    name = f"10.1.1.2/32 table {hv1.call('vpn.show', {'name': 'blue'})['table']}"
    before = hv1.call("object.show", {"kind": "vrf-route", "name": name})["repaired"]
    with monitor(hv1, "--kind", "repair", "--vpn", "blue", "--count", "2") as process:
        hv1.namespace.ip(f"route del {name}")
        out, err = process.communicate(timeout=DEADLINE)
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["event"], event["object"], event["vpn"]) for event in events] == [
        ("drift", f"route {name}", "blue"),
        ("repaired", f"route {name}", "blue"),
    ], (out, err)
    assert "deleted by another program" in events[0]["text"]
    assert process.returncode == 0
    shown = hv1.call("object.show", {"kind": "vrf-route", "name": name})
    assert (shown["state"], shown["repaired"]) == ("programmed", before + 1)
    assert shown["last_repair"]
    assert shown["needs"][0]["kind"] == "next-hop"


@contextlib.contextmanager
def monitor(host: Host, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`vrfwire monitor --json` that has begun to listen; killed if it still runs at the end of the block."""
    argv = [str(PROGRAMS / "vrfwire"), "--socket", str(host.socket), "monitor", "--json", *arguments]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert '"began"' in first, first
        yield process
    finally:
        process.kill()
        process.communicate()


def test_events_of_a_port_from_attach_to_detach(lab: Lab, hv1: Host) -> None:
    with monitor(hv1, "--port", "tmp-1") as process:
        lab.attach("hv1", "tmp-1", "blue", ["10.1.1.9"], tap=True)
        lab.detach("hv1", "tmp-1")
        assert process.stdout is not None
        events: list[tuple[str, str]] = []
        while not events or events[-1] != ("port", "detached"):
            event = json.loads(process.stdout.readline())
            events.append((event["kind"], event["event"]))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE)
        assert (process.returncode, err) == (130, "")
    mile_stones = [("port", "attached"), ("kernel", "made"), ("port", "announced"), ("port", "detaching")]
    places = [events.index(stone) for stone in mile_stones]
    assert places == sorted(places)
    assert ("route", "selected") in events


def test_commands_of_the_guide(hv1: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/troubleshooting.md, "Packets are lost" and "What goes on just now"."""
    drops = lines(block("docs/troubleshooting.md", "vrfwire drops"))
    objects = lines(block("docs/troubleshooting.md", "vrfwire object list"))
    for command in (*drops, *objects):
        program, *arguments = command.split()
        assert program == "vrfwire"
        # In this process: one of its own takes half a second here.
        assert cli.main(["--socket", str(hv1.socket), *arguments]) == 0
        assert capsys.readouterr().out
    for command in lines(block("docs/troubleshooting.md", "vrfwire monitor")):
        _, _, *arguments = command.split()
        with monitor(hv1, *[argument for argument in arguments if argument != "--json"]) as process:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE)
            assert (process.returncode, err) == (130, "")
