"""What operators and faults do to a session with FRR: refresh, texts, silence, too many prefixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.speakers.base import Neighbour
from lab.speakers.frr import Frr
from tests.interop.site import Gateway, Host, Site, announcement, peer

GATEWAY, PE = "127.0.0.15", "127.0.0.11"
HOLD_TIME = 4
LIMIT = 3
"""Routes that either side takes."""
ROUTE = announcement(11, "10.11.0.0/24", 1011)
PE_ROUTES = {"10.11.0.0/24": [("192.0.2.11", 1011)]}
MORE = [announcement(11, f"10.11.{number}.0/24", 1011 + number) for number in range(1, LIMIT + 1)]


@dataclass(slots=True)
class Session:
    """A gateway with a host, and FRR."""

    site: Site
    frr: Frr
    gateway: Gateway
    host: Host

    def messages(self) -> dict[str, int]:
        """How many messages of each kind FRR has sent and received."""
        found: dict[str, int] = self.frr.neighbour(GATEWAY)["messageStats"]
        return found

    def received(self) -> dict[str, int]:
        """How many messages of each kind the gateway has received."""
        found: dict[str, int] = self.gateway.peer("pe")["counters"]["received"]
        return found

    def wait_down(self, code: int, subcode: int, reason: str) -> dict[str, Any]:
        """Wait until the session has ended like this; what is known of it."""

        def ended(shown: dict[str, Any]) -> bool:
            down = shown["last_down"]
            return down is not None and (down["code"], down["subcode"], down["reason"]) == (code, subcode, reason)

        found: dict[str, Any] = self.gateway.wait_peer("pe", ended, f"to end with {code}/{subcode}")["last_down"]
        return found


@pytest.fixture(scope="module")
def session(module_site: Site) -> Iterator[Session]:
    site = module_site
    neighbour = Neighbour(GATEWAY, hold_time=HOLD_TIME, max_prefixes=LIMIT)
    frr = site.speaker(Frr, "pe", PE, [neighbour], [ROUTE])
    limits = {"max_prefixes": LIMIT, "max_prefixes_restart": 1}
    # FRR says End-of-RIB, and answers a refresh, only where graceful restart has been agreed on.
    gateway = site.gateway(
        *("gw", GATEWAY, [peer(PE, name="pe", **limits)]), hold_time=HOLD_TIME, graceful_restart=True
    )
    frr.launch()
    gateway.start()
    host = site.host(gateway, "hv1", "192.0.2.101")
    host.subscribe("blue")
    yield Session(site, frr, gateway, host)


@pytest.fixture(autouse=True)
def up(session: Session) -> None:
    """The session is up, and has the route of FRR."""
    session.gateway.wait_established()
    session.gateway.wait_routes("blue", PE_ROUTES)


def test_refresh_in_both_directions(session: Session) -> None:
    site, gateway, host = session.site, session.gateway, session.host
    prefix = "10.1.0.4/32"
    host.publish("blue", {prefix: 601})
    site.wait(lambda: session.frr.received("vpnv4") == [host.route("blue", prefix, 601)], "the route at FRR")
    gateway.wait_peer("pe", lambda shown: all(one["ended"] for one in shown["per_family"]), "to have ended")

    asked, heard = session.messages()["routeRefreshRecv"], session.received()
    assert "vpnv4" in gateway.control("peer", "refresh", "pe", "--family", "vpnv4")
    site.wait(lambda: session.messages()["routeRefreshRecv"] == asked + 1, "FRR to be asked")
    # Begin and end (RFC 7313), and the route between them.
    site.wait(
        lambda: session.received().get("route-refresh", 0) == heard.get("route-refresh", 0) + 2,
        "borders of the refresh",
    )
    assert session.received()["update"] > heard["update"]
    gateway.wait_routes("blue", PE_ROUTES | {prefix: [("192.0.2.101", 601)]})

    before = session.messages()
    session.frr.vty(f"clear bgp ipv4 vpn {GATEWAY} soft in")
    site.wait(lambda: session.messages()["routeRefreshRecv"] == before["routeRefreshRecv"] + 2, "our borders")
    assert session.messages()["updatesRecv"] > before["updatesRecv"]
    assert session.frr.received("vpnv4") == [host.route("blue", prefix, 601)]
    host.retract("blue", prefix)
    site.wait(lambda: not session.frr.received("vpnv4"), "the route to go")


def test_the_text_of_an_operator_in_both_directions(session: Session) -> None:
    """RFC 9003."""
    neighbour = f"neighbor {GATEWAY}"
    session.frr.configure("router bgp 64512", f"{neighbour} shutdown message moving to another rack")
    down = session.wait_down(6, 2, "notification received")
    assert down["text"] == "moving to another rack"
    session.gateway.wait_log("moving to another rack")
    session.gateway.wait_routes("blue", {})
    session.frr.configure("router bgp 64512", f"no {neighbour} shutdown")
    session.gateway.wait_established()

    session.gateway.control("peer", "reset", "pe", "--text", "back in a moment")

    # FRR knows it until the session is up again.
    session.site.wait(
        lambda: session.frr.neighbour(GATEWAY).get("lastShutdownDescription") == "back in a moment",
        "FRR to have the text",
    )


def test_a_peer_that_hangs_is_given_up_after_the_hold_time(session: Session) -> None:
    session.frr.pause()
    try:
        session.wait_down(4, 0, "notification sent")
        session.gateway.wait_routes("blue", {})
    finally:
        session.frr.resume()


def test_our_limit_of_prefixes(session: Session) -> None:
    """The session rests, and is tried again: in vain at first."""
    session.frr.announce(MORE[0], MORE[1])
    session.gateway.wait_log("pe", f"routes of vpnv4, the limit is {LIMIT}")
    assert session.gateway.peer_states() == {"pe": "established"}
    session.frr.announce(MORE[2])
    down = session.wait_down(6, 1, "notification sent")
    assert "vpnv4" in down["text"] + down["detail"], down
    session.gateway.wait_routes("blue", {})
    session.frr.withdraw(*MORE)
    session.gateway.wait_established()


def test_their_limit_of_prefixes(session: Session) -> None:
    """FRR says which family, and waits for its operator."""
    # Of what comes in one message it takes one more than that.
    routes = {f"10.1.1.{number}/32": 700 + number for number in range(LIMIT + 3)}
    session.host.publish("blue", routes)
    down = session.wait_down(6, 1, "notification received")
    assert "maximum prefixes (00018000000003)" in down["notification"], down
    session.host.retract("blue", *routes)
    session.frr.vty(f"clear bgp {GATEWAY}")
    session.gateway.wait_established()
