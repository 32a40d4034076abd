"""BIRD as the route reflector of two gateways, both families over IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.bird import Bird
from tests.interop.site import GRE, Gateway, Host, Site, announcement, peer

RR = "127.0.0.19"
PE4 = announcement(19, "10.19.0.0/24", 1901, encapsulations=(GRE,))
PE6 = announcement(19, "2001:db8:19::/64", 1906, encapsulations=(GRE,))
PE_ROUTES = {"10.19.0.0/24": [("192.0.2.19", 1901)], "2001:db8:19::/64": [("192.0.2.19", 1906)]}


@dataclass(slots=True)
class Pair:
    """Two gateways with a host each, and their reflector."""

    site: Site
    bird: Bird
    gateways: tuple[Gateway, Gateway]
    hosts: tuple[Host, Host]

    def wait_bird(self, *hosts_routes: object) -> None:
        """Wait until BIRD has exactly these routes."""
        self.site.wait(
            lambda: [*self.bird.received("vpnv4"), *self.bird.received("vpnv6")] == list(hosts_routes),
            f"BIRD to have {hosts_routes}",
        )


@pytest.fixture(scope="module")
def pair(module_site: Site) -> Iterator[Pair]:
    site = module_site
    # The second has to wait for BIRD, so that there is a session of either direction.
    bird = site.speaker(
        *(Bird, "rr", RR),
        [Neighbour("127.0.0.15", client=True, passive=True), Neighbour("127.0.0.16", client=True)],
        [PE4, PE6],
    )
    one = site.gateway("gw15", "127.0.0.15", [peer(RR, name="rr")])
    two = site.gateway("gw16", "127.0.0.16", [peer(RR, name="rr", passive=True)])
    bird.launch()
    one.start()
    two.start()
    hosts = site.host(one, "hv1", "192.0.2.101"), site.host(two, "hv2", "192.0.2.102")
    for host in hosts:
        host.subscribe("blue")
    bird.wait_established()
    yield Pair(site, bird, (one, two), hosts)


def test_sessions_of_either_direction(pair: Pair) -> None:
    directions = [gateway.peer("rr")["connection"]["opened_by"] for gateway in pair.gateways]
    assert directions == ["gateway", "peer"]


def test_routes_of_a_pe_reach_hosts(pair: Pair) -> None:
    for gateway, host in zip(pair.gateways, pair.hosts, strict=True):
        gateway.wait_routes("blue", PE_ROUTES)
        host.wait_routes("blue", PE_ROUTES)
        assert gateway.routes("red") == {}


def test_routes_of_a_host_reach_the_reflector_and_the_other_gateway(pair: Pair) -> None:
    one, two = pair.hosts
    four, six = "10.1.0.1/32", "2001:db8:1::1/128"
    one.publish("blue", {four: 101, six: 102})
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.101", 101)], six: [("192.0.2.101", 102)]})
    pair.wait_bird(one.route("blue", four, 101), one.route("blue", six, 102))
    one.publish("blue", {four: 103, six: 104})
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.101", 103)], six: [("192.0.2.101", 104)]})
    pair.wait_bird(one.route("blue", four, 103), one.route("blue", six, 104))
    one.retract("blue", four, six)
    two.wait_routes("blue", PE_ROUTES)
    pair.wait_bird()


def test_a_pe_changes_and_withdraws_routes(pair: Pair) -> None:
    two = pair.hosts[1]
    four, six = "10.12.0.0/24", "2001:db8:12::/64"
    pair.bird.announce(announcement(12, four, 301), announcement(12, six, 302))
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.12", 301)], six: [("192.0.2.12", 302)]})
    pair.bird.announce(announcement(12, four, 303), announcement(12, six, 304))
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.12", 303)], six: [("192.0.2.12", 304)]})
    pair.bird.withdraw(announcement(12, four, 303), announcement(12, six, 304))
    for gateway, host in zip(pair.gateways, pair.hosts, strict=True):
        host.wait_routes("blue", PE_ROUTES)
        gateway.wait_routes("blue", PE_ROUTES)


def test_the_default_route_and_several_route_distinguishers(pair: Pair) -> None:
    """The same prefix of two PEs is a multipath; 0.0.0.0/0 is a prefix as others are."""
    routes = [announcement(number, "0.0.0.0/0", 500 + number) for number in (31, 32)]
    pair.bird.announce(*routes)
    pair.hosts[0].wait_routes("blue", PE_ROUTES | {"0.0.0.0/0": [("192.0.2.31", 531), ("192.0.2.32", 532)]})
    pair.bird.withdraw(*routes)
    pair.hosts[0].wait_routes("blue", PE_ROUTES)


def test_refresh_in_both_directions(pair: Pair) -> None:
    gateway, host = pair.gateways[0], pair.hosts[0]
    prefix = "10.1.0.4/32"
    host.publish("blue", {prefix: 601})
    pair.wait_bird(host.route("blue", prefix, 601))

    def received() -> dict[str, int]:
        counters: dict[str, int] = gateway.peer("rr")["counters"]["received"]
        return counters

    before = received()
    assert "vpnv4" in gateway.control("peer", "refresh", "rr")
    pair.site.wait(lambda: received()["update"] > before["update"], "the routes of BIRD once more")
    # BIRD speaks of enhanced refresh: it says where its routes begin and end (RFC 7313), for each family.
    pair.site.wait(
        lambda: received().get("route-refresh", 0) >= before.get("route-refresh", 0) + 4, "the borders of the refresh"
    )
    gateway.wait_routes("blue", PE_ROUTES | {prefix: [("192.0.2.101", 601)]})

    before = received()
    session = pair.bird.protocol("127.0.0.15")
    pair.bird.birdc(f"reload in {session}")
    pair.site.wait(lambda: received()["route-refresh"] >= before["route-refresh"] + 2, "BIRD to ask for both families")
    # Refreshed and swept: nothing is lost and nothing else comes.
    gateway.wait_peer("rr", lambda shown: all(one["waiting"] == 0 for one in shown["per_family"]), "to be told all")
    pair.wait_bird(host.route("blue", prefix, 601))
    host.retract("blue", prefix)
    pair.wait_bird()


def test_the_text_of_an_operator_in_both_directions(pair: Pair) -> None:
    """RFC 9003."""
    gateway = pair.gateways[0]
    session = pair.bird.protocol("127.0.0.15")
    pair.bird.birdc(f'disable {session} "moving to another rack"')
    shown = gateway.wait_peer("rr", lambda shown: shown["last_down"] is not None, "to be down")
    assert (shown["last_down"]["code"], shown["last_down"]["subcode"]) == (6, 2)
    assert shown["last_down"]["text"] == "moving to another rack"
    assert "moving to another rack" in gateway.control("peer", "show", "rr")
    gateway.wait_log("moving to another rack")
    gateway.wait_routes("blue", {})
    pair.bird.birdc(f"enable {session}")
    gateway.wait_established()
    gateway.wait_routes("blue", PE_ROUTES)

    gateway.control("peer", "reset", "rr", "--text", "back in a moment")
    pair.site.wait(lambda: "back in a moment" in pair.bird.text(), "BIRD to log the text")
    gateway.wait_established()
    gateway.wait_routes("blue", PE_ROUTES)
