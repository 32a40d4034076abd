"""The lab itself on a real kernel: namespaces, underlay, taps with the guest stack, namespace VMs, capture."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from lab import craft
from lab.capture import Capture, write_pcap
from lab.daemon import Daemon
from lab.errors import LabError
from lab.frames import Arp, Icmp, IPv4, Packet, mac_bytes
from lab.guest import Guest
from lab.namespace import Namespace, names
from lab.netns_guest import NamespaceGuest
from lab.topology import Lab
from lab.wait import wait_until

MakeNamespace = Callable[[str], Namespace]

MAC = mac_bytes("02:00:00:00:00:01")
FOUR, SIX = IPv4Address("10.1.1.1"), IPv6Address("fd00:1::1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two hosts on an underlay, nothing started."""
    with Lab(hosts=["hv1", "hv2"], mtu=1400) as made:
        yield made


@pytest.fixture
def guest(namespace: MakeNamespace) -> Iterator[Guest]:
    """A guest on a tap of a plain host that routes for it, with the usual first hop."""
    host = namespace("host")
    with Guest("blue-1", "tap0", host, MAC, [FOUR, SIX]) as made:
        host.write("/proc/sys/net/ipv6/conf/tap0/accept_dad", "0")
        host.ip(
            "address add 169.254.1.1/32 dev tap0",
            "address add 10.9.9.9/32 dev lo",
            "link set tap0 up",
            "address add fe80::1/64 dev tap0 nodad",
            "address add fd00:9::9/128 dev lo nodad",
            "route add 10.1.1.1 dev tap0",
            "route add fd00:1::1 dev tap0",
        )
        yield made


def test_runs_natively_where_the_kernel_has_everything() -> None:
    """This kernel does. TMPDIR is below /run here, which the environment covers with its own."""
    script = "ip link add red type vrf table 5 && ip -br link show type vrf; exit 7"
    done = subprocess.run(
        [sys.executable, "-m", "lab", "run", "--native", "--", "sh", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("red ")


def test_namespace_is_found_by_name_and_gone_after() -> None:
    with Namespace("one") as one:
        assert "one" in names()
        assert one.interfaces() == ["lo"]
        assert "lo" in one.output("ip", "-n", "one", "link")
        with pytest.raises(LabError, match="one exists already"):
            Namespace("one")
        with pytest.raises(LabError, match="Cannot find device"):
            one.ip("link set nothing up")
    assert "one" not in names()


def test_namespace_is_entered_by_one_thread_alone(namespace: MakeNamespace) -> None:
    one = namespace("one")

    def where() -> int:
        return Path("/proc/thread-self/ns/net").stat().st_ino

    outside = where()
    seen: list[int] = []
    look = threading.Event()
    thread = threading.Thread(target=lambda: seen.append(where() if look.wait(10) else 0))
    thread.start()
    with one.entered():
        assert where() != outside
        look.set()
        thread.join()
    assert where() == outside
    assert seen == [outside]


def test_underlay_connects_the_nodes_with_its_mtu(lab: Lab) -> None:
    hv1, hv2 = lab.hosts["hv1"], lab.hosts["hv2"]
    assert [lab.gateway.address, hv1.address, hv2.address] == ["192.0.2.1", "192.0.2.11", "192.0.2.12"]
    for address in (hv2.address, lab.gateway.address):
        done = hv1.namespace.output("ping", "-c1", "-W2", "-M", "do", "-s", str(1400 - 28), address)
        assert "1 received" in done
    with pytest.raises(LabError, match="exit status"):
        hv1.namespace.output("ping", "-c1", "-W1", "-M", "do", "-s", str(1400 - 27), hv2.address)


def test_underlay_link_goes_down_and_up(lab: Lab) -> None:
    host = lab.hosts["hv1"]

    def carrier() -> bool:
        return "LOWER_UP" in host.namespace.output("ip", "-o", "link", "show", "eth0")

    assert carrier()
    host.link(up=False)
    wait_until(lambda: not carrier(), 5, "no carrier")
    host.link(up=True)
    wait_until(carrier, 5, "carrier")


def test_configuration_is_written_and_certificates_carry_the_names(lab: Lab) -> None:
    host = lab.hosts["hv1"]
    host.write_config()
    text = (host.directory / "daemon.toml").read_text()
    assert 'name = "hv1"' in text and "[[gateway]]" in text and "underlay_mtu = 1400" in text
    shown = host.namespace.output("openssl", "x509", "-noout", "-text", "-in", host.settings["tls"]["certificate"])
    assert "DNS:hv1" in shown and "IP Address:192.0.2.11" in shown and "hv1@vpn.example.net" in shown
    verified = host.namespace.output(
        "openssl", "verify", "-CAfile", host.settings["tls"]["ca"], lab.gateway.settings["tls"]["certificate"]
    )
    assert "OK" in verified


def test_guest_is_reached_and_reaches(guest: Guest) -> None:
    host = guest.namespace
    for address in (FOUR, SIX):
        assert "1 received" in host.output("ping", "-c1", "-W2", str(address))
    assert guest.ping("10.9.9.9", count=3).ok
    six = guest.ping("fd00:9::9", count=3)
    assert six.ok and six.rtt < 1
    assert {reply.source for reply in six.replies} == {IPv6Address("fd00:9::9")}


def test_guest_sees_errors_and_losses(guest: Guest) -> None:
    guest.namespace.write("/proc/sys/net/ipv4/ip_forward", "1")
    unreachable = guest.ping("203.0.113.1")
    assert not unreachable.ok and "unreachable" in unreachable.errors[0].text
    guest.namespace.ip("route add blackhole 203.0.113.2")
    lost = guest.ping("203.0.113.2", timeout=0.2)
    assert lost.lost == 1
    assert not lost.replies


def test_guest_asks_for_its_neighbours(guest: Guest) -> None:
    first_hop = guest.resolve("169.254.1.1")
    assert first_hop is not None
    assert guest.resolve("fe80::1") == first_hop
    guest.forget()
    assert guest.resolve("10.66.66.66", timeout=0.2) is None


def test_guest_sends_what_it_should_not(guest: Guest) -> None:
    with Capture(guest.namespace, "tap0") as capture:
        guest.send_udp("10.9.9.9", b"spoofed", source="10.1.1.66", mac=mac_bytes("02:00:00:00:00:66"))

        def spoofed(packet: Packet) -> bool:
            ip = packet.get(IPv4)
            return ip is not None and ip.src == IPv4Address("10.1.1.66")

        packet = capture.wait(spoofed)
    assert packet is not None
    assert packet.path == "Ethernet/IPv4/UDP" and packet.payload.startswith(b"spoofed")


def test_guest_collects_what_it_received(guest: Guest) -> None:
    mark = guest.mark()
    guest.resolve("169.254.1.1")
    answers = guest.received(lambda packet: packet.get(Arp) is not None, since=mark)
    arp = answers[0].get(Arp)
    assert arp is not None and arp.target == FOUR
    assert guest.received(lambda packet: False, deadline=0.05) == []


def test_guest_survives_its_tap_going_down_and_away(guest: Guest) -> None:
    assert guest.ping("10.9.9.9").ok
    guest.namespace.ip("link set tap0 down")
    assert not guest.ping("10.9.9.9", timeout=0.1).ok
    guest.namespace.ip("link set tap0 up", "route add 10.1.1.1 dev tap0")
    assert guest.ping("10.9.9.9", timeout=5).ok
    guest.namespace.ip("link delete tap0")
    guest.send(craft.ethernet(b"\xff" * 6, MAC, 0x0800, b""))
    guest.close()


def test_namespace_guests_and_guest_talk(namespace: MakeNamespace) -> None:
    host = namespace("host")
    with NamespaceGuest("one", [FOUR, SIX]) as one, NamespaceGuest("two", [IPv4Address("10.1.1.2")]) as two:
        host.ip(
            "link add v1 type veth peer name eth0 netns one",
            "link add v2 type veth peer name eth0 netns two",
            "link add bridge0 type bridge",
            "link set v1 master bridge0 up",
            "link set v2 master bridge0 up",
            "link set bridge0 up",
        )
        one.namespace.ip("address add 10.1.1.1/24 dev eth0", "link set eth0 up")
        two.namespace.ip("address add 10.1.1.2/24 dev eth0", "link set eth0 up")
        pings = one.ping("10.1.1.2", count=3)
        assert pings.ok and pings.lost == 0
        assert one.ask("10.1.1.2") == "two"
        assert two.ask("10.1.1.1") == "one"
        assert two.senders() == {"one"}
        assert one.ask("10.1.1.3", timeout=0.2) is None
        assert one.ping("203.0.113.1").errors[0].text == "Network is unreachable"
        one.namespace.ip("route add 203.0.113.0/24 mtu 1280 dev eth0")
        assert one.ping("10.1.1.2", size=1472, df=True).ok


def test_capture_decodes_and_writes_pcap(guest: Guest, tmp_path: Path) -> None:
    with Capture(guest.namespace, "tap0") as capture:
        assert guest.ping("10.9.9.9").ok
        frames = capture.drain()
        assert capture.drain() == []
    echoes = [frame for frame in frames if frame.packet.get(Icmp)]
    assert [frame.outgoing for frame in echoes] == [False, True]
    assert echoes[0].packet.path == "Ethernet/IPv4/ICMP"
    write_pcap(tmp_path / "x.pcap", frames)
    assert (tmp_path / "x.pcap").stat().st_size == 24 + sum(16 + len(frame.data) for frame in frames)


def test_daemon_is_started_paused_killed_and_stopped(namespace: MakeNamespace, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    script = f"echo up; ip -o link | wc -l; trap 'echo bye; exit 3' TERM; touch {ready}; while :; do sleep 0.05; done"
    daemon = Daemon("test", ["sh", "-c", script], namespace("one"), tmp_path / "log", ready.exists)
    with pytest.raises(LabError, match="is not running"):
        daemon.pause()
    daemon.start()
    daemon.pause()
    wait_until(lambda: Path(f"/proc/{daemon.pid}/stat").read_text().split()[2] == "T", 5, "it to be stopped")
    assert daemon.stop() == 3
    assert daemon.tail().splitlines() == ["--- test ---", "up", "1", "bye"]
    daemon.start()
    daemon.kill()
    assert not daemon.alive
    assert daemon.stop() == 0


def test_daemon_that_ends_at_once_shows_its_log(namespace: MakeNamespace, tmp_path: Path) -> None:
    daemon = Daemon("test", ["sh", "-c", "echo why; exit 9"], namespace("one"), tmp_path / "log", lambda: False)
    with pytest.raises(LabError, match="ended with status 9 instead of serving") as caught:
        daemon.start()
    assert "why" in caught.value.log
