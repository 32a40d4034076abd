"""Two gateways that meet by iBGP: what hosts at one of them see of the other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from tests.scenario.bgp_pair import BgpGateway, Peer, Site
from tests.scenario.conftest import Connect

ONE, TWO = "127.0.0.15", "127.0.0.16"
MakeSite = Callable[[Site], BgpGateway]


@pytest.fixture
def make_site(tmp_path: Path, authority: Authority) -> Iterator[MakeSite]:
    made: list[BgpGateway] = []

    def make(site: Site) -> BgpGateway:
        gateway = BgpGateway(tmp_path / f"site{len(made)}", authority, site)
        made.append(gateway)
        gateway.start()
        return gateway

    yield make
    for gateway in made:
        gateway.kill()
        assert "Traceback" not in gateway.text(), gateway.text()


def pair(make_site: MakeSite, settings: str = "") -> tuple[BgpGateway, BgpGateway]:
    one, two = make_site(Site(ONE, [Peer(TWO, settings)])), make_site(Site(TWO, [Peer(ONE, settings)]))
    one.wait_up(TWO)
    two.wait_up(ONE)
    return one, two


def test_a_route_crosses_and_goes(make_site: MakeSite, connect: Connect) -> None:
    one, two = pair(make_site)
    near, far = connect(one, "hv1"), connect(two, "hv2")
    far.subscribe("blue")
    near.announce("blue", "10.1.1.1/32", label=101)
    near.announce("blue", "2001:db8::1/128", label=102)
    far.read_routes("blue", {"10.1.1.1/32": [("127.0.0.1", 101)], "2001:db8::1/128": [("127.0.0.1", 102)]})
    near.retract("blue", "127.0.0.1:1:10.1.1.1/32")
    far.read_routes("blue", {"2001:db8::1/128": [("127.0.0.1", 102)]})
