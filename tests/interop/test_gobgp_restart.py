"""Graceful restart with GoBGP, which keeps our routes while the gateway is away, and whose routes the gateway keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.gobgp import GoBgp
from tests.interop.site import Gateway, Host, Site, announcement, peer

GATEWAY, PE = "127.0.0.15", "127.0.0.17"
ALL = ("vpnv4", "vpnv6", "rtc")
FOUR, SIX = announcement(17, "10.17.0.0/24", 1017), announcement(17, "2001:db8:17::/64", 1018)
PE_ROUTES = {FOUR.prefix: [("192.0.2.17", 1017)], SIX.prefix: [("192.0.2.17", 1018)]}
STAYS, GOES, SIXTH = "10.1.0.1/32", "10.1.0.2/32", "2001:db8:1::1/128"


@dataclass(slots=True)
class Lab:
    """A gateway with a host, and GoBGP."""

    site: Site
    gateway: Gateway
    host: Host
    gobgp: GoBgp

    def paths(self) -> dict[str, bool]:
        """The prefixes that GoBGP has from the gateway, and whether they are stale."""
        found = [*self.gobgp.received("vpnv4"), *self.gobgp.received("vpnv6")]
        return {path.prefix: path.stale for path in found}


@pytest.fixture(scope="module")
def lab(module_site: Site) -> Iterator[Lab]:
    site = module_site
    neighbour = Neighbour(GATEWAY, passive=True, families=ALL, graceful_restart=True, restart_time=60)
    gobgp = site.speaker(GoBgp, "pe", PE, [neighbour], [FOUR, SIX])
    gobgp.start()
    # That GoBGP wants routes of blue.
    gobgp.add_vrf("blue", "64512:17", "64512:1")
    # GoBGP that restarts waits for our End-of-RIB of all families before it says anything, its memberships included,
    # and the gateway waits for those: the membership time ends that.
    settings = {"graceful_restart": True, "restart_time": 60, "deferral_time": 10, "membership_time": 1}
    gateway = site.gateway("gw", GATEWAY, [peer(PE, name="pe", families=ALL)], **settings)
    gateway.start()
    host = site.host(gateway, "hv1", "192.0.2.101")
    host.subscribe("blue")
    host.publish("blue", {STAYS: 101, GOES: 102, SIXTH: 103})
    gobgp.wait_established()
    yield Lab(site, gateway, host, gobgp)


def test_the_gateway_dies_and_comes_back(lab: Lab) -> None:
    site = lab.site
    lab.host.wait_routes(
        "blue", PE_ROUTES | {STAYS: [("192.0.2.101", 101)], GOES: [("192.0.2.101", 102)], SIXTH: [("192.0.2.101", 103)]}
    )
    site.wait(lambda: lab.paths() == {STAYS: False, GOES: False, SIXTH: False}, "GoBGP to have all routes")
    lab.gateway.kill()
    site.wait(lambda: lab.paths() == {STAYS: True, GOES: True, SIXTH: True}, "all of them to be stale")
    lab.gateway.start()
    lab.host.connect()
    lab.host.publish("blue", {STAYS: 101, SIXTH: 103})
    lab.host.subscribe("blue")
    # GoBGP rests for 5 s. The gateway waits for its host, tells what it has, then that this is all.
    site.wait(lambda: lab.paths() == {STAYS: False, SIXTH: False}, "what is left to be told again")
    lab.gateway.wait_log("peers are told routes from now on")
    lab.host.wait_routes("blue", PE_ROUTES | {STAYS: [("192.0.2.101", 101)], SIXTH: [("192.0.2.101", 103)]})


def test_gobgp_dies_and_comes_back(lab: Lab) -> None:
    lab.gobgp.kill()
    lab.gateway.wait_peer("pe", lambda shown: shown["stale"] == len(PE_ROUTES), "to have stale routes alone")
    seen = len(lab.host.raw.received)
    lab.gobgp.announcements.remove(SIX)
    lab.gobgp.start()
    lab.gobgp.wait_established()
    wanted = {STAYS: [("192.0.2.101", 101)], SIXTH: [("192.0.2.101", 103)], FOUR.prefix: PE_ROUTES[FOUR.prefix]}
    lab.host.wait_routes("blue", wanted)
    assert b"10.17.0.0/24" not in bytes(lab.host.raw.received[seen:])
