"""Graceful restart with FRR and BIRD, either side restarting: by SIGKILL, or ended in an orderly way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from bgp.family import VPNV4, VPNV6
from lab.speakers.base import Announcement, Neighbour, Speaker
from lab.speakers.bird import Bird
from lab.speakers.frr import Frr
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from tests.interop.site import Gateway, Host, Site, announcement, peer

GATEWAY, FRR, BIRD, RAW = (f"127.0.0.{number}" for number in (15, 11, 13, 77))
RESTART_TIME = 4
"""Seconds that either side waits for the other. A daemon is back within one."""
KEPT = {"frr": announcement(11, "10.11.0.0/24", 1011), "bird": announcement(13, "10.13.0.0/24", 1013)}
DROPPED = {"frr": announcement(11, "10.11.1.0/24", 1111), "bird": announcement(13, "10.13.1.0/24", 1113)}
ONE, TWO = "10.1.0.1/32", "10.1.0.2/32"
OURS = {ONE: 101, TWO: 102}


def hops(*groups: Mapping[str, Announcement]) -> dict[str, list[tuple[str, int]]]:
    """Routes as hosts are told them."""
    return {route.prefix: [(route.next_hop, route.label)] for group in groups for route in group.values()}


@dataclass(slots=True)
class Sides:
    """A gateway with two hosts, and the speakers "frr" and "bird"; all restart gracefully."""

    site: Site
    gateway: Gateway
    speakers: dict[str, Speaker]
    host: Host
    watcher: Host

    def begin(self) -> None:
        """All are up and have two routes of each other."""
        for name, speaker in self.speakers.items():
            if not speaker.alive:
                speaker.announcements = [KEPT[name], DROPPED[name]]
                speaker.launch()
        if not self.gateway.alive:
            self.gateway.start()
            self.host.connect()
            self.watch_again()
            self.host.publish("blue", OURS)
        self.wait_theirs(KEPT, DROPPED)
        self.wait_stale(0)
        self.wait_ours({ONE: False, TWO: False})

    def watch_again(self) -> None:
        """Let the other host log in."""
        self.watcher.connect()
        self.watcher.subscribe("blue")

    def ours(self) -> dict[str, dict[str, bool]]:
        """Routes of the host at the speakers: whether they are stale."""
        return {
            name: {path.prefix: path.stale for path in speaker.received("vpnv4")}
            for name, speaker in self.speakers.items()
        }

    def wait_ours(self, wanted: dict[str, bool]) -> None:
        """Wait until both speakers have exactly these routes of the host: whether each is stale."""
        self.site.wait(lambda: self.ours() == {"frr": wanted, "bird": wanted}, f"both to have {wanted}")

    def wait_theirs(self, *groups: Mapping[str, Announcement]) -> None:
        """Wait until hosts have been told exactly these routes of the speakers, beside our own."""
        own = {prefix: [("192.0.2.101", label)] for prefix, label in OURS.items()}
        self.watcher.wait_routes("blue", hops(*groups) | own)

    def wait_stale(self, count: int) -> None:
        """Wait until so many routes of each speaker are stale at the gateway."""
        for name in self.speakers:
            self.gateway.wait_peer(name, lambda shown: shown["stale"] == count, f"has {count} stale routes")


@pytest.fixture(scope="module")
def sides(module_site: Site) -> Iterator[Sides]:
    site = module_site
    neighbours = [Neighbour(GATEWAY, graceful_restart=True, restart_time=RESTART_TIME)]
    kinds: dict[str, tuple[type[Frr | Bird], str]] = {"frr": (Frr, FRR), "bird": (Bird, BIRD)}
    speakers: dict[str, Speaker] = {}
    for name, (kind, address) in kinds.items():
        speakers[name] = site.speaker(kind, name, address, neighbours, [KEPT[name], DROPPED[name]])
        speakers[name].launch()
    peers = [peer(FRR, name="frr"), peer(BIRD, name="bird"), peer(RAW, name="raw", passive=True)]
    # The one that isn't there at first is waited for only so long before anybody is told anything.
    restart = {"graceful_restart": True, "restart_time": RESTART_TIME, "stale_time": 30, "deferral_time": 3}
    gateway = site.gateway("gw", GATEWAY, peers, **restart)
    gateway.start()
    host, watcher = site.host(gateway, "hv1", "192.0.2.101"), site.host(gateway, "hv2", "192.0.2.102")
    watcher.subscribe("blue")
    host.publish("blue", OURS)
    yield Sides(site, gateway, speakers, host, watcher)


def test_our_routes_survive_our_crash(sides: Sides) -> None:
    """What the hosts publish again stays as it was, what they don't goes at our End-of-RIB."""
    sides.begin()
    sides.gateway.kill()
    sides.wait_ours({ONE: True, TWO: True})
    sides.gateway.start()
    sides.gateway.wait_established("frr", "bird")
    sides.host.connect()
    # Only one of both.
    sides.host.publish("blue", {ONE: OURS[ONE]})
    assert {name: set(paths) for name, paths in sides.ours().items()} == {"frr": {ONE, TWO}, "bird": {ONE, TWO}}
    sides.wait_ours({ONE: False})
    # The routes of the peers have come back meanwhile.
    sides.host.publish("blue", {TWO: OURS[TWO]})
    sides.watch_again()
    sides.wait_theirs(KEPT, DROPPED)
    sides.wait_ours({ONE: False, TWO: False})


def test_their_routes_survive_their_crash(sides: Sides) -> None:
    sides.begin()
    for speaker in sides.speakers.values():
        speaker.kill()
    sides.wait_stale(2)
    sides.wait_theirs(KEPT, DROPPED)
    for name, speaker in sides.speakers.items():
        speaker.announcements = [KEPT[name]]
        speaker.start()
    sides.wait_theirs(KEPT)
    sides.wait_stale(0)
    sides.gateway.wait_log("frr", "1 old routes of vpnv4 are gone")
    sides.gateway.wait_log("bird", "1 old routes of vpnv4 are gone")
    sides.wait_ours({ONE: False, TWO: False})
    for name, speaker in sides.speakers.items():
        speaker.announce(DROPPED[name])
    sides.wait_theirs(KEPT, DROPPED)


def test_their_routes_go_when_they_stay_away(sides: Sides) -> None:
    sides.begin()
    for speaker in sides.speakers.values():
        speaker.kill()
    sides.wait_stale(2)
    sides.wait_theirs(KEPT, DROPPED)
    sides.wait_theirs()
    sides.wait_stale(0)


def test_a_second_failure_drops_what_is_left_of_the_first(sides: Sides) -> None:
    """RFC 4724, 4.2: routes that are stale when the session fails again before its End-of-RIB go at once."""
    sides.begin()
    route = announcement(77, "10.77.0.0/24", 1077)

    def raw(*, restarting: bool) -> RawSpeaker:
        opened = opening(RAW, restart_time=60, restarting=restarting)
        return RawSpeaker(RAW, GATEWAY, opened, namespace=sides.site.namespace)

    def stale() -> int:
        return int(sides.gateway.peer("raw")["stale"])

    with raw(restarting=False) as first:
        first.establish()
        first.announce(route.rd, route.prefix, route.label, next_hop=route.next_hop)
        first.end(VPNV4, VPNV6)
        sides.wait_theirs(KEPT, DROPPED, {"raw": route})
        first.abort()
    sides.site.wait(lambda: stale() == 1, "the route to be stale")
    sides.wait_theirs(KEPT, DROPPED, {"raw": route})
    with raw(restarting=True) as again:
        again.establish()
        sides.gateway.wait_established("raw")
        assert stale() == 1
        again.abort()
    sides.wait_theirs(KEPT, DROPPED)
    assert stale() == 0


def test_our_routes_go_when_we_stay_away(sides: Sides) -> None:
    """An orderly end is one without NOTIFICATION: the hosts forward on, and a new gateway may begin at once."""
    sides.begin()
    assert sides.gateway.stop() == 0
    sides.wait_ours({ONE: True, TWO: True})
    sides.wait_ours({})
