"""TCP-MD5 (RFC 2385), GTSM (RFC 5082) and connections that both sides open at once, with FRR and BIRD."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from lab.speakers.base import ESTABLISHED, Neighbour, Speaker
from lab.speakers.bird import Bird
from lab.speakers.frr import Frr
from tests.interop.site import Gateway, Site, announcement, peer

GATEWAY, GATEWAY6 = "127.0.0.15", "2001:db8::15"
CONNECT_RETRY = 1.0
"""Seconds from one attempt of the gateway to the next, at most."""
RIGHT: dict[str, dict[str, object]] = {
    "frr key": {"password": "s3cret"},
    "frr key 6": {"password": "s1x", "local_address": GATEWAY6, "families": ["vpnv6"]},
    "bird key": {"password": "b1rd"},
    "frr ttl": {"ttl_security": 1},
    "bird ttl": {"ttl_security": 2},
    "wrong key": {"password": "s3cret"},
    "no key here": {"password": "s3cret"},
}
"""What each session needs at the gateway."""
WRONG: dict[str, dict[str, object]] = {
    **RIGHT,
    "wrong key": {"password": "secret"},
    "no key here": {},
    "no ttl here": {},
    "no ttl there": {"ttl_security": 1},
}
GOOD = [name for name in RIGHT if RIGHT[name] == WRONG[name]]
NEVER: dict[str, dict[str, object]] = {"no ttl here": {}, "no ttl there": {"ttl_security": 1}}
"""A connection begins, and nothing that comes by it is taken; BIRD keeps what is left of it for long after a reload."""
ADDRESSES = {name: f"127.0.0.{21 + number}" for number, name in enumerate([*RIGHT, *NEVER])}
ADDRESSES["frr key 6"] = "2001:db8::21"


def peers(settings: Mapping[str, Mapping[str, object]]) -> list[dict[str, object]]:
    """The [[bgp.peer]] of all sessions."""
    return [peer(ADDRESSES[name], name=name, **values) for name, values in {**settings, **NEVER}.items()]


@dataclass(slots=True)
class Sessions:
    """A gateway with all sessions, four of which it has no right settings for at first."""

    site: Site
    gateway: Gateway


@pytest.fixture(scope="module")
def sessions(module_site: Site) -> Iterator[Sessions]:
    site = module_site
    site.addresses(GATEWAY6, ADDRESSES["frr key 6"])

    def frr(name: str, *more: Neighbour, password: str | None = None, ttl_security: int | None = None) -> Frr:
        neighbour = Neighbour(GATEWAY, password=password, ttl_security=ttl_security)
        address6 = ADDRESSES["frr key 6"] if more else None
        return site.speaker(Frr, name.replace(" ", "-"), ADDRESSES[name], [neighbour, *more], address6=address6)

    def bird(name: str, password: str | None = None, ttl_security: int | None = None) -> Bird:
        neighbour = Neighbour(GATEWAY, password=password, ttl_security=ttl_security)
        return site.speaker(Bird, name.replace(" ", "-"), ADDRESSES[name], [neighbour])

    speakers: list[Speaker] = [
        frr("frr key", Neighbour(GATEWAY6, password="s1x", families=("vpnv6",)), password="s3cret"),
        bird("bird key", password="b1rd"),
        frr("frr ttl", ttl_security=1),
        bird("bird ttl", ttl_security=2),
        frr("wrong key", password="s3cret"),
        frr("no key here", password="s3cret"),
        bird("no ttl here", ttl_security=1),
        bird("no ttl there"),
    ]
    listen = [f"{GATEWAY}:1790", f"[{GATEWAY6}]:1790"]
    gateway = site.gateway("gw", GATEWAY, peers(WRONG), listen=listen)
    for speaker in speakers:
        speaker.launch()
    gateway.start()
    yield Sessions(site, gateway)


def test_sessions_with_the_right_settings_come_up(sessions: Sessions) -> None:
    sessions.gateway.wait_established(*GOOD)


def test_a_wrong_key_is_named(sessions: Sessions) -> None:
    """It looks like a time-out from outside; the kernel counts what it drops."""
    gateway = sessions.gateway
    shown = gateway.wait_peer("wrong key", lambda shown: "TCPMD5Failure" in shown["problem"], "to have a problem")
    assert "password_file" in shown["problem"] and shown["state"] != "established"
    assert "TCPMD5Failure" in gateway.control("peer", "show", "wrong key")
    gateway.wait_log("wrong key", "TCPMD5Failure")
    shown = gateway.wait_peer("no key here", lambda shown: "MD5Unexpected" in shown["problem"], "to have a problem")
    assert shown["state"] != "established"


def test_segments_from_too_far_are_dropped(sessions: Sessions) -> None:
    """By either side: what has not a TTL of 255 may have come through a router."""
    gateway = sessions.gateway
    gateway.wait_established(*GOOD)
    # The others have come up at once; a reading of the kernel's counters later there is still nothing of these.
    gateway.wait_log("wrong key", "TCPMD5Failure")
    assert gateway.peer("no ttl there")["counters"]["established"] == 0
    # What we sent before BIRD took the connection counts, and may be enough for its answers, but never for a session.
    assert sessions.site.speakers["no-ttl-here"].sessions()[GATEWAY] != ESTABLISHED


def test_a_reload_mends_those_sessions_and_leaves_the_others_alone(sessions: Sessions) -> None:
    gateway = sessions.gateway
    gateway.wait_established(*GOOD)
    since = {name: gateway.peer(name)["since"] for name in GOOD}
    gateway.peers = peers(RIGHT)
    gateway.reload()
    gateway.wait_established(*RIGHT)
    assert {name: gateway.peer(name)["since"] for name in since} == since
    gateway.wait_peer("wrong key", lambda shown: shown["problem"] == "", "to have no problem any more")


@pytest.mark.parametrize("address", ["127.0.0.9", "127.0.0.40"], ids=["lower", "higher"])
@pytest.mark.parametrize("kind", [Frr, Bird], ids=["FRR", "BIRD"])
def test_of_two_connections_one_stays(site: Site, kind: type[Frr | Bird], address: str) -> None:
    """RFC 4271, 6.8, with a router id that is lower or higher than ours: the gateway has a connection to accept and an
    attempt due when it goes on."""
    route = announcement(9, "10.9.0.0/24", 900)
    speaker = site.speaker(kind, "other", address, [Neighbour(GATEWAY)], [route])
    gateway = site.gateway("gw", GATEWAY, [peer(address, name="other")])
    gateway.start()
    gateway.wait_peer("other", lambda shown: "refused" in shown["last_error"], "to have tried")
    gateway.signal(signal.SIGSTOP)
    paused = time.monotonic()
    speaker.start()
    site.wait(lambda: speaker.sessions()[GATEWAY] == "opensent", "the OPEN of the speaker")
    site.wait(lambda: time.monotonic() > paused + CONNECT_RETRY, "our next attempt to be due")
    gateway.signal(signal.SIGCONT)
    gateway.wait_established()
    speaker.wait_established()
    # Both take the same connection for the session.
    gateway.wait_routes("blue", {route.prefix: [(route.next_hop, route.label)]})
    host = site.host(gateway, "hv1", "192.0.2.101")
    host.publish("blue", {"10.1.0.1/32": 101})
    site.wait(lambda: speaker.received("vpnv4") == [host.route("blue", "10.1.0.1/32", 101)], "the route of the host")
    assert gateway.peer("other")["counters"]["established"] == 1
