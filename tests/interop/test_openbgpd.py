"""OpenBGPD as the route reflector of two gateways, with TCP-MD5 towards one. It originates no VPN routes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour, Received
from lab.speakers.openbgpd import OpenBgpd
from tests.interop.site import Gateway, Host, Site, peer

RR = "127.0.0.23"
PASSWORD = "s3cret with spaces"


@dataclass(slots=True)
class Pair:
    """Two gateways with a host each, and their reflector."""

    site: Site
    reflector: OpenBgpd
    gateways: tuple[Gateway, Gateway]
    hosts: tuple[Host, Host]


@pytest.fixture(scope="module")
def pair(module_site: Site) -> Iterator[Pair]:
    site = module_site
    neighbours = [
        # To one it connects itself, the other one has to call and to know the password.
        Neighbour("127.0.0.15", client=True, graceful_restart=True),
        Neighbour("127.0.0.16", client=True, passive=True, password=PASSWORD, graceful_restart=True),
    ]
    reflector = site.speaker(OpenBgpd, "rr", RR, neighbours)
    one = site.gateway("gw15", "127.0.0.15", [peer(RR, name="rr", passive=True)])
    two = site.gateway("gw16", "127.0.0.16", [peer(RR, name="rr", password=PASSWORD)])
    reflector.launch()
    for gateway in (one, two):
        gateway.start()
    hosts = site.host(one, "hv1", "192.0.2.101"), site.host(two, "hv2", "192.0.2.102")
    for host in hosts:
        host.subscribe("blue")
    reflector.wait_established()
    yield Pair(site, reflector, (one, two), hosts)


def reflected(route: Received) -> Received:
    """As OpenBGPD shows it."""
    return route._replace(label=None, clusters=(RR,))


def test_routes_cross_over(pair: Pair) -> None:
    """Both families by an IPv4 session, next hop and label as the host has said."""
    one, two = pair.hosts
    one.publish("blue", {"10.1.0.1/32": 101, "2001:db8:1::1/128": 102})
    two.publish("blue", {"10.1.0.2/32": 201, "2001:db8:1::2/128": 202})
    wanted = {
        "10.1.0.1/32": [("192.0.2.101", 101)],
        "2001:db8:1::1/128": [("192.0.2.101", 102)],
        "10.1.0.2/32": [("192.0.2.102", 201)],
        "2001:db8:1::2/128": [("192.0.2.102", 202)],
    }
    for host, gateway in zip(pair.hosts, pair.gateways, strict=True):
        host.wait_routes("blue", wanted)
        gateway.wait_routes("blue", wanted)
    four = [
        reflected(one.route("blue", "10.1.0.1/32", 101, originator="127.0.0.15")),
        reflected(two.route("blue", "10.1.0.2/32", 201, originator="127.0.0.16")),
    ]
    assert pair.reflector.received("vpnv4") == four
    six = [
        reflected(one.route("blue", "2001:db8:1::1/128", 102, originator="127.0.0.15")),
        reflected(two.route("blue", "2001:db8:1::2/128", 202, originator="127.0.0.16")),
    ]
    assert pair.reflector.received("vpnv6") == six


def test_a_withdrawal_and_the_end_of_a_session(pair: Pair) -> None:
    """OpenBGPD 7.7 counts the withdrawal of a VPN route and keeps the route all the same (docs/interop.md), until the
    session ends."""
    one, two = pair.hosts
    before = pair.reflector.statistics("127.0.0.15")["received"]
    one.retract("blue", "10.1.0.1/32")
    pair.site.wait(lambda: pair.reflector.statistics("127.0.0.15")["received"] == before + 1, "OpenBGPD to count")
    assert set(pair.reflector.sessions().values()) == {"established"}
    one.close()
    assert pair.gateways[0].stop() == 0
    two.wait_routes("blue", {"10.1.0.2/32": [("192.0.2.102", 201)], "2001:db8:1::2/128": [("192.0.2.102", 202)]})
    assert "received notification: Cease, administratively down" in pair.reflector.text()
