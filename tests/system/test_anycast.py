"""One address on a VM here and on one elsewhere, while other VMs talk to it: the one here is switched off and on, and
its host is drained and taken into service again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any, Self

import pytest

from lab.frames import Packet, Ports
from lab.guest import Guest
from lab.node import Host
from lab.topology import Lab
from lab.wait import wait_until

PORT = 7
FLOWS = 32
ADDRESSES = ("10.1.1.9", "fd00:1::9")
ALONE = ("10.1.1.2", "fd00:1::2")
"""Of a VM on hv1 that has no other elsewhere."""
PREFIXES = ("10.1.1.9/32", "fd00:1::9/128")


class Flows:
    """Numbered datagrams of many flows of both families from a VM, until the block is left.

    sent: times by number, from 0 on.
    """

    def __init__(self, source: Guest, addresses: tuple[str, str] = ADDRESSES) -> None:
        self._source = source
        self._addresses = addresses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self.sent: list[float] = []

    def _run(self) -> None:
        while not self._stop.wait(0.004):
            number = len(self.sent)
            self.sent.append(time.monotonic())
            ports = (20000 + number // len(self._addresses) % FLOWS, PORT)
            self._source.send_udp(self._addresses[number % len(self._addresses)], b"flow %d" % number, ports)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def numbers(guest: Guest, since: int = 0) -> set[int]:
    """Those of the datagrams that a VM has received."""

    def ours(packet: Packet) -> bool:
        ports = packet.get(Ports)
        return ports is not None and ports.destination == PORT and packet.payload.startswith(b"flow ")

    return {int(packet.payload.split()[1]) for packet in guest.frames(ours, since)}


def told(host: Host) -> bool:
    """Whether a gateway has told a host of the shared prefixes."""
    return {item["prefix"] for item in host.items("route.list")} >= set(PREFIXES)


def route(host: Host, prefix: str) -> dict[str, Any]:
    """A route as the operator sees it."""
    return next(item for item in host.items("route.list") if item["prefix"] == prefix)


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    with Lab(hosts=["hv1", "hv2", "hv3"]) as made:
        made.start()
        for host in ("hv1", "hv2"):
            made.attach(host, f"any-{host}", "blue", ADDRESSES, tap=True)
        made.attach("hv1", "client", "blue", ["10.1.1.1", "fd00:1::1"], tap=True)
        made.attach("hv1", "alone", "blue", ALONE, tap=True)
        made.attach("hv3", "far", "blue", ["10.1.1.3", "fd00:1::3"], tap=True)
        yield made


def tap(lab: Lab, name: str) -> Guest:
    vm = lab.vms[name]
    assert isinstance(vm, Guest)
    return vm


def test_a_vm_that_is_switched_off_leaves_its_flows_to_the_other(lab: Lab) -> None:
    hv1, here, there, client = lab.hosts["hv1"], tap(lab, "any-hv1"), tap(lab, "any-hv2"), tap(lab, "client")

    def shared(flows: Flows) -> bool:
        """Whether both VMs get flows of both families from now on."""
        marks = [guest.mark() for guest in (here, there)]
        first = len(flows.sent)
        wait_until(lambda: len(flows.sent) >= first + 100, 10, "traffic", detail=lab.tails)
        parities = [{n % 2 for n in numbers(guest, mark)} for guest, mark in zip((here, there), marks, strict=True)]
        return parities == [{0, 1}, {0, 1}]

    with Flows(client) as flows:
        wait_until(lambda: shared(flows), 20, "both to share the flows", detail=lab.tails)
        off = time.monotonic()
        here.close()
        waiting = ["tap-any-hv1: waiting for the VM (no carrier)"] * 2
        wait_until(lambda: [route(hv1, prefix)["error"] for prefix in PREFIXES] == waiting, 10, "the VM to leave")
        left = time.monotonic()
        assert {route(hv1, prefix)["state"] for prefix in PREFIXES} == {"programmed"}
        port = hv1.call("port.show", {"name": "any-hv1"})
        assert (port["state"], port["carrier"]) == ("programmed", False)
        assert hv1.call("status")["state"] == "ok"
        settled = len(flows.sent)
        hv1.daemon.kill()
        hv1.daemon.start()
        wait_until(hv1.connected, 30, "hv1 to have its session", detail=lab.tails)
        wait_until(lambda: told(hv1), 10, "hv1 to be told its routes", detail=lab.tails)
        restarted = len(flows.sent)
        here.open()
        wait_until(lambda: [route(hv1, prefix)["error"] for prefix in PREFIXES] == ["", ""], 10, "the VM to join")
        assert shared(flows)
    lost = set(range(len(flows.sent))) - numbers(here) - numbers(there)
    # The last one may be under way.
    lost -= {len(flows.sent) - 1}
    assert all(off - 0.1 <= flows.sent[number] < left for number in lost), sorted(lost)
    assert restarted - settled > 50, "it was tried with traffic"


def test_drain_and_undrain_lose_nothing(lab: Lab) -> None:
    hv1, here, there, far = lab.hosts["hv1"], tap(lab, "any-hv1"), tap(lab, "any-hv2"), tap(lab, "far")
    first = [guest.mark() for guest in (here, there)]

    def received(flows: Flows) -> list[bool]:
        """Which of the two VMs get something of what is sent from now on."""
        marks = [guest.mark() for guest in (here, there)]
        start = len(flows.sent)
        wait_until(lambda: len(flows.sent) >= start + 100, 10, "traffic", detail=lab.tails)
        return [bool(numbers(guest, mark)) for guest, mark in zip((here, there), marks, strict=True)]

    with Flows(far) as flows:
        wait_until(lambda: received(flows) == [True, True], 20, "both to share the flows", detail=lab.tails)
        shown = hv1.cli("drain", "--settle", "1").stdout
        assert shown == "host: drained, 3 ports\n"
        assert received(flows) == [False, True]
        assert (hv1.call("status")["state"], hv1.cli("status").status) == ("drained", 0)
        assert hv1.cli("undrain").stdout == "host: active, 3 ports\n"
        wait_until(lambda: received(flows) == [True, True], 20, "both to share the flows again", detail=lab.tails)
    last = len(flows.sent)
    everything = set(range(last - 1))  # the last one may be under way
    got = [numbers(guest, mark) for guest, mark in zip((here, there), first, strict=True)]
    assert everything - got[0] - got[1] == set(), f"of {last}"


def test_a_vm_that_is_alone_is_cut_off_after_the_gateway_has_confirmed_and_not_before(lab: Lab) -> None:
    hv1, alone, far = lab.hosts["hv1"], tap(lab, "alone"), tap(lab, "far")

    def arrives(flows: Flows) -> bool:
        """Whether the next hundred do, all of them."""
        mark, start = alone.mark(), len(flows.sent)
        wait_until(lambda: len(flows.sent) >= start + 120, 10, "traffic", detail=lab.tails)
        return set(range(start + 1, start + 100)) <= numbers(alone, mark)

    with Flows(far, ALONE) as flows:
        wait_until(lambda: arrives(flows), 20, "the VM to be reached", detail=lab.tails)
        alone.send_udp("10.1.1.3", b"from an active host", (7, 7))  # it knows its first hop from here on
        lab.gateway.daemon.pause()
        try:
            assert hv1.call("drain", {"wait": False, "settle": 0})["step"] == "waiting for gateway 192.0.2.1"
            assert arrives(flows), "nobody has heard of the withdrawal"
        finally:
            lab.gateway.daemon.resume()
        hv1.call("drain", {"timeout": 20})
        # The last one that was sent before may be under way.
        mark, drained = alone.mark(), len(flows.sent)
        assert not arrives(flows)
        assert {number for number in numbers(alone, mark) if number > drained} == set()
        # Its own packets don't leave either.
        mark = far.mark()
        alone.send_udp("10.1.1.3", b"from a drained host", (7, 7))
        hv1.call("undrain", {"timeout": 20})
        wait_until(lambda: arrives(flows), 20, "the VM to be reached again", detail=lab.tails)
        alone.send_udp("10.1.1.3", b"from an active host", (7, 7))
        wait_until(lambda: bool(far.frames(lambda packet: b"active host" in packet.payload, mark)), 5, "a packet of it")
        assert not far.frames(lambda packet: b"drained host" in packet.payload, mark)


def test_nothing_is_warned_of_it(lab: Lab) -> None:
    log = lab.hosts["hv1"].daemon.log.read_text()
    assert "tap-any-hv1 has no carrier, next hops waiting for it: 2" in log
    levels = [(line.split()[1], line) for line in log.splitlines() if "tap-any" in line]
    assert levels and {level for level, _ in levels} == {"info"}, levels
