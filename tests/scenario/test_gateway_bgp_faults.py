"""Gateways and peers that die, hang, or send too much: others go on, and routes survive where they should."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from bgp.errors import CeaseSubcode, ErrorCode
from bgp.family import VPNV4
from bgp.message import KEEPALIVE
from bgp.update import UpdateOptions
from bgp.update_encoder import UpdateEncoder
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import many, opening, route_attributes
from tests.interop.site import Gateway, Host, Site, peer
from tests.scenario.bgp_sites import ALL, ONE, QUICK, RAW, TWO, lines, meet, pair, site, wait

__all__ = ["site"]

GRACEFUL: dict[str, Any] = {**QUICK, "graceful_restart": True, "deferral_time": 10}
THIRD = "127.0.0.22"


def counts(gateway: Gateway, name: str) -> tuple[int, int]:
    """Routes received from a peer, and how many of them are stale."""
    row = next(row for row in gateway.ask("peer.list")["items"] if row["name"] == name)
    return row["received"], row["stale"]


def retracted(host: Host) -> set[str]:
    """Whatever was ever taken from a host."""
    return {found[1].decode() for found in re.finditer(rb"""<retract id=['"]([^'"]+)""", bytes(host.raw.received))}


def test_routes_outlive_a_killed_gateway_that_comes_back(site: Site) -> None:
    one, two = meet(pair(site, **GRACEFUL, restart_time=60))
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101, "10.1.1.2/32": 102})
    both = {"10.1.1.1/32": [("127.0.0.1", 101)], "10.1.1.2/32": [("127.0.0.1", 102)]}
    far.wait_routes("blue", both)
    one.wait_recorded({"hv1": 2})
    one.kill()
    wait(lambda: counts(two, ONE)[1] == 2, "its routes to be stale")
    assert two.routes("blue") == both
    one.start()
    # One of the two VMs has gone meanwhile.
    near.connect()
    near.publish("blue", {"10.1.1.1/32": 101})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})
    wait(lambda: lines(one, "peers are told routes"), "the end of the deferral")
    assert counts(two, ONE) == (1, 0)
    # Nothing but the route that is gone was ever taken from the far host.
    assert retracted(far) == {"10.1.1.2/32"}


def test_routes_of_a_gateway_that_stays_away_are_swept(site: Site) -> None:
    one, two = meet(pair(site, **GRACEFUL, restart_time=1))
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})
    one.kill()
    far.wait_routes("blue", {})
    assert lines(two, ONE, "are stale") and lines(two, ONE, "old routes", "are gone")


def flap(one: Gateway, two: Gateway) -> None:
    """Reset the session of two gateways, and wait for the next one."""

    def sessions() -> int:
        return int(two.peer(ONE)["counters"]["established"])

    before = sessions()
    one.ask("peer.reset", {"name": TWO})
    wait(lambda: sessions() > before, "another session")


def test_a_lost_session_keeps_routes_until_they_come_again(site: Site) -> None:
    one, two = meet(pair(site, **GRACEFUL))
    near, far = site.host(one, "hv1", "127.0.0.1"), site.host(two, "hv2", "127.0.0.2")
    far.subscribe("blue")
    near.publish("blue", {"10.1.1.1/32": 101})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})
    for _ in range(2):
        flap(one, two)
        wait(lambda: counts(two, ONE) == (1, 0), "the End-of-RIB")
    far.raw.ping()
    assert far.raw.events["blue"] == {"10.1.1.1/32": [("127.0.0.1", 101)]}
    assert retracted(far) == set()
    one.ask("peer.reset", {"name": TWO, "hard": True})
    far.wait_routes("blue", {})
    far.wait_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)]})


def test_too_many_prefixes(site: Site) -> None:
    one = site.gateway("one", ONE, [peer(RAW, passive=True, max_prefixes=10)], **QUICK)
    one.start()
    with RawSpeaker(RAW, ONE, namespace=site.namespace) as raw:
        raw.establish()
        raw.announce_all(list(many(8)))
        wait(lambda: lines(one, RAW, "8 routes of vpnv4, the limit is 10"), "the warning")
        raw.announce_all(list(many(11)))
        notification = raw.wait_notification()
        assert (notification.code, notification.subcode) == (ErrorCode.CEASE, CeaseSubcode.MAXIMUM_PREFIXES)
        assert notification.data == VPNV4.packed + (10).to_bytes(4, "big")
        row = one.peer(RAW)
        assert "max_prefixes" in row["problem"] and row["state"] == "idle"
        one.ask("peer.reset", {"name": RAW})
        raw.establish()
        assert one.peer(RAW)["problem"] == ""


def test_too_many_prefixes_and_a_rest(site: Site) -> None:
    one = site.gateway("one", ONE, [peer(RAW, passive=True, max_prefixes=10, max_prefixes_restart=1)], **QUICK)
    one.start()
    with RawSpeaker(RAW, ONE, namespace=site.namespace) as raw:
        raw.establish()
        raw.announce_all(list(many(11)))
        raw.wait_notification()
        raw.establish()
        assert lines(one, RAW, "the session rests for 1 s")


def test_a_peer_that_does_not_read_keeps_nobody_waiting(site: Site) -> None:
    hanging, reading = RAW, THIRD
    clients = [peer(address, passive=True, reflector_client=True, hold_time=0) for address in (hanging, reading, TWO)]
    one = site.gateway("one", ONE, clients, **QUICK)
    one.start()
    count = 60_000
    with (
        RawSpeaker(hanging, ONE, opening(hanging, hold_time=0), namespace=site.namespace, receive_buffer=4096) as slow,
        RawSpeaker(reading, ONE, opening(reading, hold_time=0), namespace=site.namespace) as fast,
        RawSpeaker(TWO, ONE, opening(TWO, hold_time=0), namespace=site.namespace) as source,
    ):
        for raw in (slow, fast, source):
            raw.establish()
        host = site.host(one, "hv1", "127.0.0.1")
        routes = list(many(count))
        # Every route twice, with other attributes the second time: more than all buffers hold.
        for tunnels in ((2,), (13,)):
            source.announce_all(routes, route_attributes(tunnels=tunnels))
            fast.wait(lambda: len(fast.routes[VPNV4]) == count, "all routes", 60.0)
        host.subscribe("blue")
        host.raw.ping()
        last = list(many(count + 1))[-1:]
        source.announce_all(last)
        fast.wait(lambda: len(fast.routes[VPNV4]) == count + 1, "one more")
        assert one.peer_states()[hanging] == "established"
        # It has never been told what was replaced while it hung.
        slow.wait(lambda: len(slow.routes[VPNV4]) == count + 1, "what it missed", 60.0)
        assert sum(slow.announced.values()) < 2 * count
        assert slow.routes[VPNV4] == fast.routes[VPNV4]


def test_hold_times_are_kept_while_many_routes_load(site: Site) -> None:
    """A keepalive is due every second here, and routes in UPDATEs of their own keep the gateway busy for longer."""
    addresses = (RAW, THIRD)
    peers = [peer(address, passive=True, reflector_client=True, hold_time=3) for address in addresses]
    one = site.gateway("one", ONE, peers, **QUICK)
    one.start()
    loader = RawSpeaker(RAW, ONE, opening(RAW, hold_time=3), namespace=site.namespace)
    other = RawSpeaker(THIRD, ONE, opening(THIRD, hold_time=3), namespace=site.namespace)
    count = 200_000
    with loader, other:
        loader.establish()
        other.establish()
        host = site.host(one, "hv1", "127.0.0.1")
        host.subscribe("red")
        encoder, attributes = UpdateEncoder(UpdateOptions(frozenset((VPNV4,)))), route_attributes()
        messages = [encoder.announce(VPNV4, attributes, bytes((192, 0, 2, 99)), [route])[0] for route in many(count)]
        sent = threading.Event()

        def load() -> None:
            for start in range(0, count, 500):
                loader.send(b"".join(messages[start : start + 500]) + KEEPALIVE)
            sent.set()

        thread = threading.Thread(target=load)
        thread.start()
        slowest = 0.0
        try:
            while not sent.is_set():
                other.pump()
                asked = time.monotonic()
                host.raw.ping()
                slowest = max(slowest, time.monotonic() - asked)
        finally:
            thread.join()
        other.wait(lambda: len(other.routes[VPNV4]) == count, "all routes", 60.0)
        assert slowest < 2.0, "a host was kept waiting"
        loader.pump()
        assert set(one.peer_states().values()) == {"established"}
        assert not lines(one, "is down")


@pytest.mark.parametrize("word", ["loses", "returns"])
def test_a_peer_that_vanishes_in_the_middle_of_a_message(site: Site, word: str) -> None:
    one = site.gateway("one", ONE, [peer(RAW, passive=True, families=ALL)], **QUICK)
    one.start()
    with RawSpeaker(RAW, ONE, namespace=site.namespace) as raw:
        raw.establish()
        raw.announce("64512:99", "10.1.1.1/32")
        raw.send(b"\xff" * 16 + b"\x00\x50\x02")
        if word == "loses":
            raw.abort()
        else:
            raw.finish()
        one.wait_peer(RAW, lambda row: row["state"] != "established", "to be lost")
        wait(lambda: counts(one, RAW) == (0, 0), "its routes to go")
        raw.establish()
