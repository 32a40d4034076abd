"""GoBGP with route-target constraint: as the reflector of two gateways, and as a PE that is told what it wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.gobgp import GoBgp
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import route_attributes
from tests.interop.site import Gateway, Host, Site, announcement, peer

RR, PE, RAW = "127.0.0.17", "127.0.0.18", "127.0.0.2"
ALL = ("vpnv4", "vpnv6", "rtc")
PASSWORD = "s3cret"
SETTINGS: dict[str, Any] = {"host_stale_time": 0.5, "membership_time": 0.5}
"""Without graceful restart GoBGP never says End-of-RIB, so the membership time is waited for."""
FOUR, SIX = announcement(17, "10.17.0.0/24", 1017), announcement(17, "2001:db8:17::/64", 1018)
RR_ROUTES = {FOUR.prefix: [("192.0.2.17", 1017)], SIX.prefix: [("192.0.2.17", 1018)]}


@dataclass(slots=True)
class Pair:
    """Two gateways with a host each; GoBGP as their reflector, another one as a PE at the first, and a raw client."""

    site: Site
    reflector: GoBgp
    pe: GoBgp
    raw: RawSpeaker
    gateways: tuple[Gateway, Gateway]
    hosts: tuple[Host, Host]

    def has(self, gateway: Gateway, prefix: str) -> bool:
        """Whether a gateway has a route from anywhere in its BGP tables."""
        items = gateway.ask("bgp.routes", {"limit": 1000})["items"]
        return any(item["prefix"] == prefix for item in items)


@pytest.fixture(scope="module")
def pair(module_site: Site) -> Iterator[Pair]:
    """GoBGP is passive: it takes some 8 s to connect itself, and a connection of the other side at once."""
    site = module_site
    clients = [
        Neighbour("127.0.0.15", client=True, passive=True, families=ALL, password=PASSWORD),
        Neighbour("127.0.0.16", client=True, passive=True, families=ALL),
    ]
    reflector = site.speaker(GoBgp, "rr", RR, clients, [FOUR, SIX])
    pe = site.speaker(GoBgp, "pe", PE, [Neighbour("127.0.0.15", passive=True, families=ALL)])
    for speaker in (reflector, pe):
        speaker.launch()
    for speaker in (reflector, pe):
        speaker.wait_ready()
    peers = [
        peer(RR, name="rr", families=ALL, password=PASSWORD),
        peer(PE, name="pe", families=ALL),
        peer(RAW, name="raw", passive=True, reflector_client=True, hold_time=90),
    ]
    one = site.gateway("gw15", "127.0.0.15", peers, **SETTINGS)
    two = site.gateway("gw16", "127.0.0.16", [peer(RR, name="rr", families=ALL)], **SETTINGS)
    for gateway in (one, two):
        gateway.start()
    raw = site.keep(RawSpeaker(RAW, "127.0.0.15", namespace=site.namespace)).establish()
    hosts = site.host(one, "hv1", "192.0.2.101"), site.host(two, "hv2", "192.0.2.102")
    for host in hosts:
        host.subscribe("blue")
    reflector.wait_established()
    pe.wait_established()
    yield Pair(site, reflector, pe, raw, (one, two), hosts)


def test_routes_both_ways(pair: Pair) -> None:
    one, two = pair.hosts
    for host in pair.hosts:
        host.wait_routes("blue", RR_ROUTES)
    four, six = "10.1.0.1/32", "2001:db8:1::1/128"
    one.publish("blue", {four: 101, six: 102})
    two.wait_routes("blue", RR_ROUTES | {four: [("192.0.2.101", 101)], six: [("192.0.2.101", 102)]})
    assert pair.reflector.received("vpnv4") == [one.route("blue", four, 101)]
    assert pair.reflector.received("vpnv6") == [one.route("blue", six, 102)]
    one.publish("blue", {four: 103})
    two.wait_routes("blue", RR_ROUTES | {four: [("192.0.2.101", 103)], six: [("192.0.2.101", 102)]})
    one.retract("blue", four, six)
    for host in pair.hosts:
        host.wait_routes("blue", RR_ROUTES)
    assert pair.reflector.received("vpnv4") == pair.reflector.received("vpnv6") == []


def test_it_changes_and_withdraws_routes(pair: Pair) -> None:
    """GoBGP withdraws with the label stack that it has announced."""
    new = announcement(17, "10.17.1.0/24", 1019)
    newer = announcement(17, "10.17.1.0/24", 1020, encapsulations=(2,))
    for route in (new, newer):
        pair.reflector.announce(route)
        for host in pair.hosts:
            host.wait_routes("blue", RR_ROUTES | {route.prefix: [("192.0.2.17", route.label)]})
    pair.reflector.withdraw(newer)
    for host in pair.hosts:
        host.wait_routes("blue", RR_ROUTES)


def test_memberships_follow_hosts(pair: Pair) -> None:
    """Routes of a VPN come with the first host that subscribes, and go some time after the last one has left."""
    site, (one, two) = pair.site, pair.gateways
    red, route = "64512:64512:2", "10.2.0.1/32"
    site.wait(lambda: pair.reflector.memberships() == {"64512:64512:1"}, "GoBGP to know of blue alone")
    publisher = site.host(two, "hv3", "192.0.2.103")
    publisher.publish("red", {route: 301})
    site.wait(lambda: pair.has(two, route), "the second gateway to have it")
    # Nobody wants it, so not even the reflector is told.
    assert pair.reflector.received("vpnv4") == [] and not pair.has(one, route)

    first, second = (site.host(one, name, f"192.0.2.{number}") for name, number in (("hv4", 104), ("hv5", 105)))
    first.subscribe("red")
    first.wait_routes("red", {route: [("192.0.2.103", 301)]})
    assert red in pair.reflector.memberships()
    second.subscribe("red")
    second.wait_routes("red", {route: [("192.0.2.103", 301)]})
    first.close()
    one.wait_log("host hv4 disconnected")
    second.raw.ping()
    assert pair.has(one, route) and red in pair.reflector.memberships()
    second.close()
    site.wait(lambda: red not in pair.reflector.memberships(), "the membership to go")
    site.wait(lambda: not pair.has(one, route), "the route to go")
    assert pair.has(two, route)
    publisher.retract("red", route)
    publisher.close()


def test_a_pe_is_told_what_it_wants(pair: Pair) -> None:
    """It has no VRF, then one, then two, then one again; a route with both targets survives, and comes but once."""
    site, one, pe = pair.site, pair.gateways[0], pair.pe
    blue, red, both = "10.1.0.4/32", "10.2.0.4/32", "10.3.0.0/24"
    pair.hosts[0].publish("blue", {blue: 401})
    pair.hosts[0].publish("red", {red: 402})
    pair.raw.announce("64512:2", both, 403, route_attributes(["64512:1", "64512:2"]))
    site.wait(lambda: pair.has(one, both), "the gateway to have it")

    def prefixes() -> set[str]:
        return {path.prefix for path in pe.received("vpnv4")}

    one.wait_peer("pe", lambda shown: not shown["waiting_for_memberships"], "to be waited for no longer")
    assert prefixes() == set()
    pe.add_vrf("red", "64512:18", "64512:2")
    site.wait(lambda: prefixes() == {red, both}, "routes of red")
    pe.add_vrf("blue", "64512:1800", "64512:1")
    site.wait(lambda: prefixes() >= {red, both, blue}, "routes of blue too")
    pe.delete_vrf("red")
    site.wait(lambda: red not in prefixes(), "routes of red to go")
    assert {both, blue} <= prefixes()
    # What GoBGP has been told, and how often.
    (shown,) = (row for row in one.peer("pe")["per_family"] if row["family"] == "vpnv4")
    told = prefixes() | {red}
    assert (shown["announced"], shown["withdrawn"]) == (len(told), 1)
    pe.delete_vrf("blue")
    site.wait(lambda: not prefixes(), "all to go")
    pair.hosts[0].retract("blue", blue)
    pair.hosts[0].retract("red", red)
    pair.raw.withdraw("64512:2", both)
    site.wait(lambda: not pair.has(one, both), "the route to go")


def test_it_dies_and_comes_back(pair: Pair) -> None:
    pair.reflector.kill()
    for host in pair.hosts:
        host.wait_routes("blue", {})
    pair.reflector.start()
    for host in pair.hosts:
        host.wait_routes("blue", RR_ROUTES)
