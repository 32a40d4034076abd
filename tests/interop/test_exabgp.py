"""ExaBGP as a speaker and as a listener, one that calls and one that is called; the gateway reflects between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.exabgp import ExaBgp
from tests.interop.site import Gateway, Host, Site, announcement, peer

GATEWAY, CALLING, CALLED = "127.0.0.15", "127.0.0.14", "127.0.0.24"
PASSWORD = "s3cret"
FOUR, SIX = announcement(14, "10.14.0.0/24", 1014, encapsulations=(2, 13)), announcement(14, "2001:db8:14::/64", 1016)
PE_ROUTES = {FOUR.prefix: [("192.0.2.14", 1014)], SIX.prefix: [("192.0.2.14", 1016)]}


@dataclass(slots=True)
class Lab:
    """A gateway with a host, and its two clients."""

    site: Site
    gateway: Gateway
    host: Host
    calling: ExaBgp
    called: ExaBgp


@pytest.fixture(scope="module")
def lab(module_site: Site) -> Iterator[Lab]:
    site = module_site
    calling = site.speaker(ExaBgp, "calling", CALLING, [Neighbour(GATEWAY, password=PASSWORD)], [FOUR, SIX])
    called = site.speaker(ExaBgp, "called", CALLED, [Neighbour(GATEWAY, passive=True)])
    peers = [
        peer(CALLING, name="calling", passive=True, password=PASSWORD, reflector_client=True),
        peer(CALLED, name="called", reflector_client=True),
    ]
    gateway = site.gateway("gw", GATEWAY, peers)
    for speaker in (calling, called):
        speaker.launch()
    gateway.start()
    host = site.host(gateway, "hv1", "192.0.2.101")
    host.subscribe("blue")
    gateway.wait_established()
    yield Lab(site, gateway, host, calling, called)


def test_its_routes_reach_hosts_and_other_peers(lab: Lab) -> None:
    lab.host.wait_routes("blue", PE_ROUTES)
    lab.gateway.wait_routes("blue", PE_ROUTES)
    lab.site.wait(lambda: lab.called.received("vpnv4") and lab.called.received("vpnv6"), "both reflected")
    (four,), (six,) = lab.called.received("vpnv4"), lab.called.received("vpnv6")
    for route, of in ((four, FOUR), (six, SIX)):
        assert (route.rd, route.prefix, route.label, route.targets) == (of.rd, of.prefix, of.label, of.targets)
        assert route.encapsulations == of.encapsulations
        assert (route.next_hop, route.originator, route.clusters) == ("192.0.2.14", CALLING, (GATEWAY,))


def test_it_changes_and_withdraws_routes(lab: Lab) -> None:
    new = announcement(14, "10.14.1.0/24", 1015)
    lab.calling.announce(new)
    lab.host.wait_routes("blue", PE_ROUTES | {new.prefix: [("192.0.2.14", 1015)]})
    lab.calling.withdraw(new)
    lab.host.wait_routes("blue", PE_ROUTES)
    lab.site.wait(lambda: len(lab.called.received("vpnv4")) == 1, "the withdrawal to be reflected")


def test_routes_of_a_host(lab: Lab) -> None:
    four, six = "10.1.0.1/32", "2001:db8:1::1/128"
    lab.host.publish("blue", {four: 101, six: 102})
    for speaker in (lab.calling, lab.called):
        for family, prefix, label in (("vpnv4", four, 101), ("vpnv6", six, 102)):
            wanted = lab.host.route("blue", prefix, label)
            lab.site.wait(lambda s=speaker, f=family, w=wanted: w in s.received(f), f"{prefix} at {speaker.name}")  # type: ignore[misc]
    lab.host.publish("blue", {four: 103})
    wanted = lab.host.route("blue", four, 103)
    lab.site.wait(lambda: wanted in lab.called.received("vpnv4"), "the new label")
    lab.host.retract("blue", four, six)
    for speaker in (lab.calling, lab.called):
        lab.site.wait(
            lambda s=speaker: not {four, six} & {path.prefix for path in s.received("vpnv4") + s.received("vpnv6")},  # type: ignore[misc]
            "the routes to go",
        )


def test_it_dies_and_comes_back(lab: Lab) -> None:
    lab.calling.kill()
    lab.host.wait_routes("blue", {})
    lab.calling.start()
    lab.host.wait_routes("blue", PE_ROUTES)
