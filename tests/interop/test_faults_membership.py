"""Route-target constraint (RFC 4684) with raw speakers at the real daemon: who is told what, when, and how often."""

from __future__ import annotations

import time

import pytest

from bgp.family import RTC, VPNV4, VPNV6
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import route_attributes, route_key
from tests.interop.raw_lab import HEALTHY_ROUTES, RawLab
from tests.interop.site import Site

ALL = ["vpnv4", "vpnv6", "rtc"]
MEMBERSHIP_TIME = 1
LINGER = 0.5
PLAIN = [f"127.3.0.{number}" for number in range(1, 6)]
"""Peers that are no clients: what the gateway wants is told to them."""
CLIENTS = [f"127.3.1.{number}" for number in range(1, 9)]
PE = "64512:14"


@pytest.fixture(scope="module")
def lab(module_site: Site) -> RawLab:
    special: dict[str, dict[str, object]] = {one: {"families": ALL} for one in CLIENTS}
    special |= {one: {"families": ALL, "reflector_client": False} for one in PLAIN}
    return RawLab(module_site, 5, special, membership_time=MEMBERSHIP_TIME, host_stale_time=LINGER)


@pytest.fixture
def pe(lab: RawLab) -> RawSpeaker:
    """A client without RTC that announces routes of both VPNs, one with two targets, one with none of ours."""
    speaker = lab.speaker().establish()
    speaker.announce(PE, "10.70.1.0/24", 1014, route_attributes(["64512:1"]))
    speaker.announce(PE, "10.70.2.0/24", 1014, route_attributes(["64512:2"]))
    speaker.announce(PE, "10.70.3.0/24", 1014, route_attributes(["64512:1", "64512:2"]))
    speaker.announce(PE, "2001:db8:70::/64", 1014, route_attributes(["64512:2"]))
    speaker.announce(PE, "10.70.4.0/24", 1014, route_attributes(["64512:400"]))
    lab.healthy.wait(lambda: len(lab.healthy.table()) == 5, "its routes")
    return speaker


BLUE = {"10.70.1.0/24", "10.70.3.0/24", *HEALTHY_ROUTES}
RED = {"10.70.2.0/24", "10.70.3.0/24", "2001:db8:70::/64"}
EVERYTHING = BLUE | RED | {"10.70.4.0/24"}


def key(prefix: str) -> bytes:
    return route_key("64512:99" if prefix in HEALTHY_ROUTES else PE, prefix)


def test_what_is_wanted_is_told_once(lab: RawLab, pe: RawSpeaker) -> None:
    nothing, one, default, partial, later = (lab.rtc(address).establish() for address in CLIENTS[:5])
    one.want("64512:1")
    default.want("")
    partial.want("64512:2", "64999:7")
    later.want("64512:2")
    for speaker in (nothing, one, default, partial, later):
        speaker.end(RTC)
    one.wait(lambda: one.prefixes() == BLUE, "what it wants")
    default.wait(lambda: default.prefixes() == EVERYTHING, "everything")
    partial.wait(lambda: partial.prefixes() == RED, "what it wants")
    later.wait(lambda: later.prefixes() == RED, "what it wants")

    # A second membership brings what the first one hasn't; a route with both targets isn't told again.
    later.want("64512:1")
    later.wait(lambda: later.prefixes() == BLUE | RED, "both")
    # It stays when one of the two goes, and the other routes of that one go.
    later.unwant("64512:2")
    later.wait(lambda: later.prefixes() == BLUE, "one")
    later.unwant("64512:1")
    later.wait(lambda: not later.prefixes(), "none")

    counts = {prefix: (later.announced[key(prefix)], later.withdrawn[key(prefix)]) for prefix in EVERYTHING}
    assert counts == dict.fromkeys(BLUE | RED, (1, 1)) | {"10.70.4.0/24": (0, 0)}
    for speaker, prefixes in ((one, BLUE), (default, EVERYTHING), (partial, RED)):
        speaker.pump()
        assert {prefix: speaker.announced[key(prefix)] for prefix in prefixes} == dict.fromkeys(prefixes, 1)
        assert not any(speaker.withdrawn[key(prefix)] for prefix in EVERYTHING)
    # End-of-RIB of all families, and not one route, for who wants none.
    nothing.wait(lambda: set(nothing.ends) == {VPNV4, VPNV6, RTC}, "the ends")
    assert nothing.prefixes() == set()
    # The default in a client's place: a reflector wants everything of its clients.
    assert "" in one.memberships()
    lab.check()
    for speaker in (nothing, one, default, partial, later):
        speaker.close()
    lab.wait_gone(pe)


def test_routes_wait_for_the_end_of_the_memberships(lab: RawLab, pe: RawSpeaker) -> None:
    """RFC 4684, section 6; for the membership time at most."""
    speaker = lab.rtc(CLIENTS[5])
    began = time.monotonic()
    speaker.establish()
    speaker.want("64512:1")
    lab.gateway.wait_peer(speaker.address, lambda shown: shown["memberships"] == 1, "to have a membership")
    assert lab.peer(speaker)["waiting_for_memberships"] is True
    speaker.wait(speaker.prefixes, "routes")
    assert time.monotonic() - began >= MEMBERSHIP_TIME
    speaker.wait(lambda: speaker.prefixes() == BLUE, "all that it wants")
    assert lab.peer(speaker)["waiting_for_memberships"] is False
    speaker.close()
    lab.wait_gone(pe)


def test_memberships_follow_subscriptions(lab: RawLab) -> None:
    """Of hosts; those of the last subscriber linger, and a host that is back in time isn't noticed."""
    peers = [lab.rtc(address).establish() for address in PLAIN[:2]]
    for speaker in peers:
        speaker.wait(lambda speaker=speaker: speaker.memberships() == {"64512:1"}, "blue alone")  # type: ignore[misc]
    first, second = peers
    one = lab.site.host(lab.gateway, "hv3", "192.0.2.103")
    two = lab.site.host(lab.gateway, "hv4", "192.0.2.104")
    one.subscribe("red")
    first.wait(lambda: first.memberships() == {"64512:1", "64512:2"}, "red too")
    two.subscribe("red")
    one.close()
    lab.gateway.wait_log("host hv3 disconnected")
    two.raw.ping()
    first.pump()
    assert first.memberships() == {"64512:1", "64512:2"}
    before = time.monotonic()
    two.close()
    first.wait(lambda: first.memberships() == {"64512:1"}, "red to go")
    assert time.monotonic() - before >= LINGER
    second.wait(lambda: any(second.withdrawn.values()), "red to go")
    for speaker in peers:
        (red,) = (one for one, count in speaker.withdrawn.items() if count)
        assert (speaker.announced[red], speaker.withdrawn[red]) == (1, 1)
    lab.check()
    for speaker in peers:
        speaker.close()


def test_a_peer_that_sends_only_what_is_wanted(lab: RawLab) -> None:
    """Whatever comes late after a membership has gone does no harm."""
    speaker = lab.rtc(PLAIN[2]).establish()
    speaker.wait(lambda: speaker.memberships() == {"64512:1"}, "blue")
    speaker.end(RTC)
    speaker.announce(PE, "10.71.0.0/24", 1014)
    speaker.announce(PE, "10.71.1.0/24", 1014, route_attributes(["64512:2"]))
    lab.wait_routes({"10.71.0.0/24": 1014})
    assert lab.gateway.routes("red") == {"10.71.1.0/24": [("192.0.2.99", 1014)]}
    lab.check()
    lab.wait_gone(speaker)
