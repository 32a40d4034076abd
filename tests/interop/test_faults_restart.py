"""Sessions that flap during graceful restart (RFC 4724, RFC 8538) at the real daemon: what stays, what goes, when."""

from __future__ import annotations

import re
import time

import pytest

from bgp.errors import CeaseSubcode
from bgp.family import VPNV4, VPNV6
from bgp.notification import Notification
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import opening
from tests.interop.raw_lab import RawLab
from tests.interop.site import Site

PE = "64512:14"


@pytest.fixture(scope="module")
def lab(module_site: Site) -> RawLab:
    return RawLab(module_site, 20, graceful_restart=True, deferral_time=0.5, stale_time=1)


def graceful(lab: RawLab, restart_time: int = 60, *, notification: bool = False) -> RawSpeaker:
    """A peer that keeps forwarding while it is away."""
    address = lab.address()
    return lab.speaker(opening(address, restart_time=restart_time, notification=notification), address)


def prefixes(lab: RawLab) -> tuple[str, str, str, str]:
    """Three and an IPv6 one that no test has used yet."""
    number = lab.number()
    return f"10.{number}.1.0/24", f"10.{number}.2.0/24", f"10.{number}.3.0/24", f"2001:db8:{number}::/64"


def returns(speaker: RawSpeaker, *, forwarding: bool = True) -> None:
    """It comes back after a restart; forwarding: the F bit."""
    speaker.opened = opening(speaker.address, restart_time=60, restarting=forwarding, notification=True)
    speaker.establish()


def announce(lab: RawLab, speaker: RawSpeaker, *wanted: str) -> None:
    """Announce routes, and wait until the host has exactly these."""
    for prefix in wanted:
        speaker.announce(PE, prefix, 1014)
    lab.wait_routes(dict.fromkeys(wanted, 1014))


def stays(lab: RawLab, *wanted: str) -> None:
    """The host has these, and was never told otherwise."""
    lab.wait_routes(dict.fromkeys(wanted, 1014))
    for prefix in wanted:
        assert not re.search(rf"""<retract id=['"]{prefix}""", lab.host.raw.received.decode()), prefix


def wait_stale(lab: RawLab, speaker: RawSpeaker, count: int) -> None:
    """Wait until so many of its routes are stale."""
    lab.gateway.wait_peer(
        speaker.address,
        lambda shown: shown["state"] != "established" and shown["stale"] == count,
        f"to have {count} stale routes",
    )


def test_flaps_during_a_restart(lab: RawLab) -> None:
    one, two, three, six = prefixes(lab)
    speaker = graceful(lab)
    speaker.establish()
    announce(lab, speaker, one, two, three, six)
    speaker.end(VPNV4, VPNV6)

    speaker.abort()
    wait_stale(lab, speaker, 4)
    stays(lab, one, two, three, six)

    # Back for a moment, with two of the four; gone before it says that those are all.
    returns(speaker)
    speaker.announce(PE, one, 1014)
    speaker.announce(PE, two, 1014)
    lab.gateway.wait_peer(speaker.address, lambda shown: shown["stale"] == 2, "to have said two again")
    stays(lab, one, two, three, six)
    speaker.abort()
    # What was stale already is gone with the second failure, what was said again is stale now (RFC 4724, 4.2).
    wait_stale(lab, speaker, 2)
    stays(lab, one, two)

    # It opens connections that come to nothing, and comes back in the end.
    for _ in range(2):
        speaker.connect()
        speaker.abort()
    returns(speaker)
    speaker.announce(PE, two, 1014)
    speaker.announce(PE, three, 1014)
    lab.gateway.wait_peer(speaker.address, lambda shown: shown["stale"] == 1, "to have one stale route")
    lab.wait_routes(dict.fromkeys((one, two, three), 1014))
    speaker.end(VPNV4, VPNV6)
    lab.wait_routes(dict.fromkeys((two, three), 1014))
    assert lab.peer(speaker)["stale"] == 0
    lab.check()
    _leave_for_good(lab, speaker)


def _leave_for_good(lab: RawLab, speaker: RawSpeaker) -> None:
    """End a session so that nothing of it is kept: by a restart after which nothing was kept."""
    speaker.abort()
    returns(speaker, forwarding=False)
    lab.wait_quiet()
    speaker.close()


def test_nothing_was_kept(lab: RawLab) -> None:
    """Without the F bit, stale routes are gone with the new session."""
    one, *_ = prefixes(lab)
    speaker = graceful(lab)
    speaker.establish()
    announce(lab, speaker, one)
    speaker.close()
    wait_stale(lab, speaker, 1)
    returns(speaker, forwarding=False)
    lab.wait_quiet()
    lab.check()
    speaker.close()


def test_it_never_comes_back(lab: RawLab) -> None:
    one, *_ = prefixes(lab)
    speaker = graceful(lab, restart_time=1)
    speaker.establish()
    announce(lab, speaker, one)
    left = time.monotonic()
    speaker.abort()
    wait_stale(lab, speaker, 1)
    lab.wait_quiet()
    assert time.monotonic() - left >= 1
    lab.check()


def test_it_never_says_that_it_is_done(lab: RawLab) -> None:
    """Stale routes wait for the End-of-RIB of a peer that is back, for bgp.stale_time."""
    one, two, *_ = prefixes(lab)
    speaker = graceful(lab)
    speaker.establish()
    announce(lab, speaker, one, two)
    speaker.abort()
    wait_stale(lab, speaker, 2)
    back = time.monotonic()
    returns(speaker)
    speaker.announce(PE, one, 1014)
    lab.wait_routes({one: 1014})
    assert time.monotonic() - back >= 1
    _leave_for_good(lab, speaker)


def test_a_new_connection_in_place_of_a_dead_one(lab: RawLab) -> None:
    """The peer has lost its side of the session; ours is replaced once its OPEN is good, and not by a mere SYN."""
    one, *_ = prefixes(lab)
    speaker = graceful(lab)
    speaker.establish()
    announce(lab, speaker, one)
    knocking = lab.speaker(speaker.opened, speaker.address)
    knocking.connect()
    knocking.wait_open()
    assert lab.peer(speaker)["state"] == "established"
    knocking.abort()

    again = lab.speaker(opening(speaker.address, restart_time=60, restarting=True), speaker.address)
    again.establish()
    speaker.wait(lambda: speaker.ended, "the end of the old connection")
    stays(lab, one)
    again.announce(PE, one, 1014)
    again.end(VPNV4, VPNV6)
    lab.gateway.wait_peer(speaker.address, lambda shown: shown["stale"] == 0, "to have no stale routes")
    stays(lab, one)
    lab.check()
    _leave_for_good(lab, again)


@pytest.mark.parametrize(
    ("agreed", "hard", "kept"),
    [(True, False, True), (True, True, False), (False, False, False)],
    ids=["N bit", "hard reset", "no N bit"],
)
def test_a_notification(lab: RawLab, agreed: bool, hard: bool, kept: bool) -> None:
    """With the N bit of both sides it starts a restart too, unless it is a hard reset (RFC 8538)."""
    one, *_ = prefixes(lab)
    speaker = graceful(lab, notification=agreed)
    speaker.establish()
    announce(lab, speaker, one)
    notification = Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, "maintenance")
    speaker.send((notification.hard_reset() if hard else notification).encode())
    speaker.wait(lambda: speaker.ended, "the end")
    assert "maintenance" in lab.peer(speaker)["last_error"]
    if kept:
        wait_stale(lab, speaker, 1)
        stays(lab, one)
        _leave_for_good(lab, speaker)
    else:
        lab.wait_quiet()
    lab.check()


def test_a_malformed_message_ends_a_session_for_all(lab: RawLab) -> None:
    """Our NOTIFICATION keeps the peer's routes where both have the N bit, as a loss does."""
    one, *_ = prefixes(lab)
    speaker = graceful(lab, notification=True)
    speaker.establish()
    announce(lab, speaker, one)
    speaker.send(bytes(19))
    assert speaker.wait_notification().code == 1
    wait_stale(lab, speaker, 1)
    stays(lab, one)
    lab.check()
    _leave_for_good(lab, speaker)
