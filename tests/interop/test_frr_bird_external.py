"""eBGP: a gateway between two FRR and a BIRD of other autonomous systems, one of whose numbers has 4 octets, and a BIRD
of its own. A BIRD of another one only listens: it can't put a label to a route of its own there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour, Speaker
from lab.speakers.bird import Bird
from lab.speakers.frr import Frr
from tests.interop.site import ASN, GRE, TARGETS, Gateway, Host, Site, announcement, peer, told

GATEWAY, NEAR, FAR, BIRD, INNER = (f"127.0.0.{number}" for number in (15, 11, 13, 14, 17))
NEAR_AS, FAR_AS, BIRD_AS = 64513, 4_200_000_013, 64514
WHAT = ("prefix", "label", "targets", "next_hop", "as_path")


@dataclass(slots=True)
class Border:
    """A gateway with a host, eBGP with "near", "far" and "bird", iBGP with "inner"."""

    site: Site
    gateway: Gateway
    near: Frr
    far: Frr
    bird: Bird
    inner: Bird
    host: Host

    def wait_received(self, speaker: Speaker, *wanted: tuple[object, ...]) -> None:
        """Wait until a speaker has exactly these of VPNv4: (prefix, label, targets, next hop, AS path)."""
        self.site.wait(
            lambda: told(speaker.received("vpnv4"), *WHAT) == list(wanted), f"{speaker.name} to have {wanted}"
        )


@pytest.fixture(scope="module")
def border(module_site: Site) -> Iterator[Border]:
    site = module_site
    gateway = site.gateway(
        *("gw", GATEWAY),
        [
            peer(NEAR, name="near", **{"as": NEAR_AS}),
            peer(FAR, name="far", **{"as": FAR_AS}),
            peer(BIRD, name="bird", **{"as": BIRD_AS}),
            peer(INNER, name="inner"),
        ],
    )
    neighbours = [Neighbour(GATEWAY, asn=ASN)]
    near = site.speaker(Frr, "near", NEAR, neighbours, asn=NEAR_AS)
    far = site.speaker(Frr, "far", FAR, neighbours, asn=FAR_AS)
    bird = site.speaker(Bird, "bird", BIRD, neighbours, asn=BIRD_AS)
    inner = site.speaker(Bird, "inner", INNER, neighbours)
    for speaker in (near, far, bird, inner):
        speaker.launch()
    gateway.start()
    host = site.host(gateway, "hv1", "192.0.2.101")
    host.subscribe("blue")
    gateway.wait_established()
    yield Border(site, gateway, near, far, bird, inner, host)


def test_sessions(border: Border) -> None:
    rows = {row["name"]: (row["type"], row["as"]) for row in border.gateway.ask("peer.list")["items"]}
    assert rows == {
        "near": ("ebgp", NEAR_AS),
        "far": ("ebgp", FAR_AS),
        "bird": ("ebgp", BIRD_AS),
        "inner": ("ibgp", ASN),
    }


def test_routes_of_a_host(border: Border) -> None:
    """Next hop and label stay: whoever is sent them forwards to the host itself."""
    prefix = "10.1.0.1/32"
    border.host.publish("blue", {prefix: 101})
    border.wait_received(border.near, (prefix, 101, (TARGETS["blue"],), "192.0.2.101", str(ASN)))
    [path] = border.near.received("vpnv4")
    assert (path.local_pref, path.encapsulations, path.originator, path.clusters) == (None, (GRE,), None, ())
    border.wait_received(border.far, (prefix, 101, (TARGETS["blue"],), "192.0.2.101", str(ASN)))
    border.wait_received(border.bird, (prefix, 101, (TARGETS["blue"],), "192.0.2.101", str(ASN)))
    border.wait_received(border.inner, (prefix, 101, (TARGETS["blue"],), "192.0.2.101", ""))
    border.host.retract("blue", prefix)
    for speaker in (border.near, border.far, border.bird, border.inner):
        border.wait_received(speaker)


def test_routes_from_one_system_to_others(border: Border) -> None:
    route = announcement(11, "10.11.0.0/24", 1011)
    border.near.announce(route)
    border.host.wait_routes("blue", {route.prefix: [(route.next_hop, route.label)]})
    told_on = (route.prefix, route.label, route.targets, route.next_hop)
    border.wait_received(border.inner, (*told_on, f"{NEAR_AS}"))
    assert border.inner.received("vpnv4")[0].local_pref == 100
    border.wait_received(border.far, (*told_on, f"{ASN} {NEAR_AS}"))
    border.wait_received(border.bird, (*told_on, f"{ASN} {NEAR_AS}"))
    border.near.withdraw(route)
    border.wait_received(border.far)

    route = announcement(13, "10.13.0.0/24", 1013)
    border.far.announce(route)
    border.host.wait_routes("blue", {route.prefix: [(route.next_hop, route.label)]})
    border.wait_received(border.near, (route.prefix, 1013, route.targets, route.next_hop, f"{ASN} {FAR_AS}"))
    border.wait_received(border.bird, (route.prefix, 1013, route.targets, route.next_hop, f"{ASN} {FAR_AS}"))
    border.far.withdraw(route)
    border.wait_received(border.near)

    route = announcement(14, "10.14.0.0/24", 1014)
    border.inner.announce(route)
    border.wait_received(border.near, (route.prefix, 1014, route.targets, route.next_hop, f"{ASN}"))
    border.inner.withdraw(route)
    border.wait_received(border.near)
    border.host.wait_routes("blue", {})


def test_the_shorter_path_is_better(border: Border) -> None:
    """The same NLRI from inside and from outside."""
    outside, inside = announcement(20, "10.20.0.0/24", 2001), announcement(20, "10.20.0.0/24", 2002)
    border.near.announce(outside)
    border.host.wait_routes("blue", {"10.20.0.0/24": [("192.0.2.20", 2001)]})
    border.inner.announce(inside)
    border.host.wait_routes("blue", {"10.20.0.0/24": [("192.0.2.20", 2002)]})
    border.wait_received(border.far, ("10.20.0.0/24", 2002, outside.targets, "192.0.2.20", f"{ASN}"))
    border.inner.withdraw(inside)
    border.host.wait_routes("blue", {"10.20.0.0/24": [("192.0.2.20", 2001)]})
    border.near.withdraw(outside)
    border.host.wait_routes("blue", {})


def test_a_path_that_leads_through_us_is_not_taken(border: Border) -> None:
    before = border.gateway.peer("near")["counters"]["looped"]
    map_name = f"neighbor {GATEWAY} route-map LOOP out"
    border.near.configure("route-map LOOP permit 10", f"set as-path prepend {ASN} 65000")
    border.near.configure(f"router bgp {NEAR_AS}", "address-family ipv4 vpn", map_name)
    looping, good = announcement(11, "10.11.1.0/24", 1111), announcement(13, "10.13.1.0/24", 1311)
    border.near.announce(looping)
    border.gateway.wait_peer("near", lambda shown: shown["counters"]["looped"] > before, "to have sent a loop")
    border.far.announce(good)
    border.host.wait_routes("blue", {good.prefix: [(good.next_hop, good.label)]})
    assert set(border.gateway.routes("blue")) == {good.prefix}
    border.near.configure(f"router bgp {NEAR_AS}", "address-family ipv4 vpn", f"no {map_name}")
    border.near.withdraw(looping)
    border.far.withdraw(good)
    border.host.wait_routes("blue", {})
