"""Routes that need judgement, at the real daemon: labels, sizes, targets, a prefix of a host and of a PE; silence."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bgp.errors import ErrorCode
from bgp.family import VPNV4, VPNV6
from bgp.message import KEEPALIVE, MAX_LENGTH, MessageType, frame
from bgp.nlri import encode_vpn, pack_labels
from lab.speakers.raw import RawSpeaker
from lab.speakers.raw_values import many, opening, route_attributes, route_key
from tests.interop.raw_lab import HEALTHY, HEALTHY_ROUTES, RawLab
from tests.interop.site import Site
from tests.unit.bgp.codec_wire import unreach, update

PE = "64512:14"
LABELS = {
    "0x800000": bytes.fromhex("800000"),
    "0x000000": bytes(3),
    "the label itself": pack_labels([1014]),
    "another label": pack_labels([77]),
    "a stack of two": pack_labels([77, 1014]),
}


@pytest.fixture(scope="module")
def lab(module_site: Site) -> RawLab:
    return RawLab(module_site, 20)


@pytest.fixture
def pe(lab: RawLab) -> Iterator[RawSpeaker]:
    """A peer with a session."""
    speaker = lab.speaker().establish()
    yield speaker
    lab.check()
    lab.wait_gone(speaker)


def test_the_label_of_a_withdrawal_means_nothing(lab: RawLab, pe: RawSpeaker) -> None:
    prefixes = {label: (f"10.60.{n}.0/24", f"2001:db8:60:{n}::/64") for n, label in enumerate(LABELS, 1)}
    stays = "10.61.0.0/24"
    pe.announce(PE, stays, 1014)
    for pair in prefixes.values():
        for prefix in pair:
            pe.announce(PE, prefix, 1014)
    lab.wait_routes(dict.fromkeys((stays, *(prefix for pair in prefixes.values() for prefix in pair)), 1014))
    for label, pair in prefixes.items():
        for family, prefix in zip((VPNV4, VPNV6), pair, strict=True):
            (nlri,) = encode_vpn([(route_key(PE, prefix), LABELS[label])])
            pe.send(frame(MessageType.UPDATE, update(unreach(nlri, family=family))))
    lab.wait_routes({stays: 1014})
    lab.healthy.wait(lambda: lab.healthy.prefixes() == {stays}, "all but one to go")
    # What isn't there can be withdrawn, too.
    pe.withdraw(PE, "10.62.0.0/24")
    pe.announce(PE, "10.61.1.0/24", 1015)
    lab.wait_routes({stays: 1014, "10.61.1.0/24": 1015})


def test_another_label_replaces(lab: RawLab, pe: RawSpeaker) -> None:
    """The label is no part of the key, nor is a stack of them."""
    prefix = "10.63.0.0/24"
    pe.announce(PE, prefix, 1001)
    lab.wait_routes({prefix: 1001})
    pe.announce(PE, prefix, 1002)
    lab.wait_routes({prefix: 1002})
    pe.announce_all([(route_key(PE, prefix), pack_labels([1003, 1004]))])
    lab.healthy.wait(lambda: lab.healthy.table()[PE, prefix].label == 1003, "the stack")
    pe.withdraw(PE, prefix)
    lab.healthy.wait(lambda: not lab.healthy.table(), "the route to go")


def test_unknown_targets(lab: RawLab, pe: RawSpeaker) -> None:
    """They go to other peers, and into no VPN; with one that is known beside them, into that one."""
    pe.announce(PE, "10.64.0.0/24", 1, route_attributes(["64999:1", "192.0.2.1:7", "4200000000:9"]))
    pe.announce(PE, "10.64.1.0/24", 1014, route_attributes(["64999:1", "64512:1"]))
    lab.healthy.wait(lambda: lab.healthy.prefixes() == {"10.64.0.0/24", "10.64.1.0/24"}, "both")
    assert lab.healthy.table()[PE, "10.64.0.0/24"].targets == ("192.0.2.1:7", "4200000000:9", "64999:1")
    lab.wait_routes({"10.64.1.0/24": 1014})
    # It loses the target that is known.
    pe.announce(PE, "10.64.1.0/24", 1014, route_attributes(["64999:1"]))
    lab.wait_routes({})


def test_a_label_that_no_packet_may_have(lab: RawLab, pe: RawSpeaker) -> None:
    """Reserved labels are no reason to lose a session, or to hand the route to a host."""
    pe.announce(PE, "10.65.0.0/24", 3)
    pe.announce(PE, "10.65.1.0/24", 1014)
    lab.healthy.wait(lambda: lab.healthy.prefixes() == {"10.65.0.0/24", "10.65.1.0/24"}, "both")
    lab.wait_routes({"10.65.1.0/24": 1014})


def test_a_prefix_of_a_host_and_of_a_pe(lab: RawLab, pe: RawSpeaker) -> None:
    """At the same LOCAL_PREF the host's own counts, whatever comes first; a PE's higher one counts more."""
    prefix = "10.66.0.1/32"
    host = lab.site.host(lab.gateway, "hv2", "192.0.2.102")
    of_pe, of_host = [("192.0.2.99", 1014)], [("192.0.2.102", 102)]
    pe.announce(PE, prefix, 1014)
    lab.host.wait_routes("blue", HEALTHY_ROUTES | {prefix: of_pe})
    host.publish("blue", {prefix: 102})
    lab.host.wait_routes("blue", HEALTHY_ROUTES | {prefix: of_host})
    # Other peers have both, for the route distinguishers differ.
    lab.healthy.wait(lambda: len(lab.healthy.table()) == 2, "both")
    pe.announce(PE, prefix, 1014, route_attributes(local_pref=200))
    lab.host.wait_routes("blue", HEALTHY_ROUTES | {prefix: of_pe})
    pe.announce(PE, prefix, 1014)
    lab.host.wait_routes("blue", HEALTHY_ROUTES | {prefix: of_host})
    host.retract("blue", prefix)
    lab.host.wait_routes("blue", HEALTHY_ROUTES | {prefix: of_pe})
    pe.withdraw(PE, prefix)
    lab.host.wait_routes("blue", HEALTHY_ROUTES)
    host.close()


def test_extended_messages(lab: RawLab) -> None:
    """Agreed on with one peer, both ways; with another the messages stay short (RFC 8654)."""
    addresses = [lab.address() for _ in range(2)]
    source, sink = (lab.speaker(opening(address, extended_message=True), address) for address in addresses)
    for speaker in (source, sink):
        speaker.establish()
    routes = list(many(3000, PE, 1014))
    attributes = route_attributes(["64999:1"])
    source.announce_all(routes, attributes)
    keys = {key for key, _ in routes}
    sink.wait(lambda: sink.routes[VPNV4].keys() >= keys, "all routes")
    lab.healthy.wait(lambda: lab.healthy.routes[VPNV4].keys() >= keys, "all routes")
    assert lab.healthy.largest <= MAX_LENGTH < sink.largest
    assert sink.received[MessageType.UPDATE] < lab.healthy.received[MessageType.UPDATE]
    assert lab.gateway.peer(sink.address)["connection"]["max_length"] == 65535
    assert lab.gateway.peer(HEALTHY)["connection"]["max_length"] == MAX_LENGTH
    lab.check()
    sink.close()
    lab.wait_gone(source)


def test_silence(lab: RawLab) -> None:
    """Whoever sends no KEEPALIVE loses the session after the hold time, 4/0, at any point; others have theirs."""
    hold = 3
    quiet, mute, alive = (
        lab.speaker(opening(address, hold_time=hold), address) for address in (lab.address() for _ in range(3))
    )
    quiet.answering = mute.answering = False
    quiet.connect()
    quiet.send(quiet.opened.encode())
    began = time.monotonic()
    quiet.wait_open()
    for speaker in (mute, alive):
        speaker.establish()
    mute.announce(PE, "10.67.0.0/24", 1014)
    lab.wait_routes({"10.67.0.0/24": 1014})

    def over() -> bool:
        quiet.pump()
        mute.pump()
        return bool(quiet.ended and mute.ended)

    alive.wait(over, "the hold time to end both")
    assert time.monotonic() - began >= hold
    for speaker in (quiet, mute):
        notification = speaker.wait_notification()
        assert (notification.code, notification.subcode) == (ErrorCode.HOLD_TIMER_EXPIRED, 0)
    assert alive.received[MessageType.KEEPALIVE] > 2
    assert lab.peer(alive)["state"] == "established" and lab.peer(alive)["hold_time"] == hold
    lab.check()
    lab.wait_gone(alive)


def test_updates_are_signs_of_life(lab: RawLab) -> None:
    """Any complete message is one, and a peer may send KEEPALIVEs as often as it likes."""
    address = lab.address()
    busy = lab.speaker(opening(address, hold_time=3), address).establish()
    busy.answering = False
    number = 0

    def said() -> bool:
        nonlocal number
        number += 1
        busy.announce(PE, "10.68.0.0/24", 1000 + number % 2)
        busy.send(KEEPALIVE) if number % 10 == 0 else None
        return busy.received[MessageType.KEEPALIVE] >= 6

    busy.wait(said, "KEEPALIVEs of more than the hold time")
    assert not busy.ended
    lab.check()
    lab.wait_gone(busy)
