"""FRR as the route reflector of two gateways: VPNv4 over IPv4, VPNv6 over IPv6, since FRR rewrites the next hop of
VPNv6 routes that it reflects over IPv4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.frr import Frr
from tests.interop.site import Gateway, Host, Site, announcement, peer

RR, RR6 = "127.0.0.11", "2001:db8::11"
PE4, PE6 = announcement(11, "10.11.0.0/24", 1011), announcement(11, "2001:db8:11::/64", 1016)
PE_ROUTES = {"10.11.0.0/24": [("192.0.2.11", 1011)], "2001:db8:11::/64": [("192.0.2.11", 1016)]}


@dataclass(slots=True)
class Pair:
    """Two gateways with a host each, and their reflector."""

    site: Site
    frr: Frr
    gateways: tuple[Gateway, Gateway]
    hosts: tuple[Host, Host]


@pytest.fixture(scope="module")
def pair(module_site: Site) -> Iterator[Pair]:
    site = module_site
    site.addresses(RR6, "2001:db8::15", "2001:db8::16")
    gateways = []
    neighbours = []
    for number in (15, 16):
        address, address6 = f"127.0.0.{number}", f"2001:db8::{number}"
        four = peer(RR, name="rr4", families=["vpnv4"])
        six = peer(RR6, name="rr6", families=["vpnv6"], local_address=address6)
        listen = [f"{address}:1790", f"[{address6}]:1790"]
        gateways.append(site.gateway(f"gw{number}", address, [four, six], listen=listen))
        neighbours += [
            Neighbour(address, client=True, families=("vpnv4",)),
            Neighbour(address6, client=True, families=("vpnv6",)),
        ]
    frr = site.speaker(Frr, "rr", RR, neighbours, [PE4, PE6], address6=RR6)
    frr.launch()
    for gateway in gateways:
        gateway.start()
    one, two = gateways
    hosts = site.host(one, "hv1", "192.0.2.101"), site.host(two, "hv2", "192.0.2.102")
    for host in hosts:
        host.subscribe("blue")
    frr.wait_established()
    yield Pair(site, frr, (one, two), hosts)


def test_routes_of_a_pe_reach_hosts(pair: Pair) -> None:
    for gateway, host in zip(pair.gateways, pair.hosts, strict=True):
        gateway.wait_routes("blue", PE_ROUTES)
        host.wait_routes("blue", PE_ROUTES)
        assert gateway.routes("red") == {}


def test_routes_of_a_host_reach_the_reflector_and_the_other_gateway(pair: Pair) -> None:
    one, two = pair.hosts
    four, six = "10.1.0.1/32", "2001:db8:1::1/128"
    one.publish("blue", {four: 101, six: 102})
    ours = {four: [("192.0.2.101", 101)], six: [("192.0.2.101", 102)]}
    two.wait_routes("blue", PE_ROUTES | ours)
    pair.gateways[1].wait_routes("blue", PE_ROUTES | ours)
    assert pair.frr.received("vpnv4") == [one.route("blue", four, 101)]
    assert pair.frr.received("vpnv6") == [one.route("blue", six, 102, peer="2001:db8::15")]

    # FRR sends a client's routes back to the client, which takes no notice.
    for name in ("rr4", "rr6"):
        pair.gateways[0].wait_peer(name, lambda shown: shown["counters"]["looped"] >= 1, "has sent our own route back")
    assert pair.gateways[0].routes("blue") == PE_ROUTES | ours

    one.retract("blue", four, six)
    two.wait_routes("blue", PE_ROUTES)
    pair.site.wait(lambda: pair.frr.received("vpnv4") == pair.frr.received("vpnv6") == [], "FRR to have no routes")


def test_a_route_that_changes_is_replaced(pair: Pair) -> None:
    one, two = pair.hosts
    four, six = "10.1.0.2/32", "2001:db8:1::2/128"
    one.publish("blue", {four: 201, six: 202})
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.101", 201)], six: [("192.0.2.101", 202)]})
    one.publish("blue", {four: 203, six: 204})
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.101", 203)], six: [("192.0.2.101", 204)]})
    assert pair.frr.received("vpnv4") == [one.route("blue", four, 203)]
    one.retract("blue", four, six)
    two.wait_routes("blue", PE_ROUTES)


def test_a_pe_changes_and_withdraws_routes(pair: Pair) -> None:
    """FRR 8.4 withdraws with the label 0 of a route that had another one."""
    two = pair.hosts[1]
    four, six = "10.12.0.0/24", "2001:db8:12::/64"
    pair.frr.announce(announcement(12, four, 301), announcement(12, six, 302))
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.12", 301)], six: [("192.0.2.12", 302)]})
    pair.frr.announce(announcement(12, four, 303), announcement(12, six, 304))
    two.wait_routes("blue", PE_ROUTES | {four: [("192.0.2.12", 303)], six: [("192.0.2.12", 304)]})
    pair.frr.withdraw(announcement(12, four, 303), announcement(12, six, 304))
    for gateway, host in zip(pair.gateways, pair.hosts, strict=True):
        host.wait_routes("blue", PE_ROUTES)
        gateway.wait_routes("blue", PE_ROUTES)


def test_a_route_goes_to_the_vpns_of_all_its_targets(pair: Pair) -> None:
    prefix = "10.13.0.0/24"
    route = announcement(13, prefix, 401, "red")
    pair.frr.announce(route)
    pair.gateways[0].wait_routes("red", {prefix: [("192.0.2.13", 401)]})
    assert pair.gateways[0].routes("blue") == PE_ROUTES
    both = announcement(13, prefix, 401)
    pair.frr.announce(both)
    pair.gateways[0].wait_routes("blue", PE_ROUTES | {prefix: [("192.0.2.13", 401)]})
    pair.gateways[0].wait_routes("red", {})
    pair.frr.withdraw(both)
    pair.gateways[0].wait_routes("blue", PE_ROUTES)


def test_both_gateways_tell_of_a_host_that_is_at_both(pair: Pair) -> None:
    """The same NLRI from two gateways: the host's own gateway goes by what the host says."""
    one = pair.hosts[0]
    again = pair.site.host(pair.gateways[1], "hv1", one.underlay)
    prefix = "10.1.0.3/32"
    one.publish("blue", {prefix: 501})
    again.publish("blue", {prefix: 501})
    pair.site.wait(lambda: len(pair.frr.received("vpnv4")) == 2, "FRR to have the route of both")
    assert {path.peer for path in pair.frr.received("vpnv4")} == {"127.0.0.15", "127.0.0.16"}
    wanted = PE_ROUTES | {prefix: [("192.0.2.101", 501)]}
    for gateway in pair.gateways:
        gateway.wait_routes("blue", wanted)
    one.retract("blue", prefix)
    pair.site.wait(lambda: len(pair.frr.received("vpnv4")) == 1, "FRR to have the route of one")
    pair.hosts[0].wait_routes("blue", wanted)
    again.retract("blue", prefix)
    for gateway in pair.gateways:
        gateway.wait_routes("blue", PE_ROUTES)
