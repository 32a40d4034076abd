"""Every malformed message at the real daemon: what becomes of the route, of the session, and that nobody else feels it.

The rows of the first table are those of docs/interop.md; BIRD is told the same and must do what it is known for, so
that a row is wrong in the way that it is meant to be. The good routes of a session must survive what it survives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bgp.errors import ErrorCode, HeaderSubcode, UpdateSubcode
from bgp.family import VPNV4, Family
from bgp.message import KEEPALIVE, MARKER, MessageType, frame
from lab.pki import Authority
from lab.speakers.base import Neighbour
from lab.speakers.bird import Bird
from lab.speakers.raw import RawSpeaker
from tests.interop.raw_lab import GATEWAY, RawLab
from tests.interop.site import Site
from tests.unit.bgp.codec_wire import AS_PATH, LOCAL_PREF, NEXT_HOP, ORIGIN, attribute, reach, unreach, update, vpn
from vpn.prefix import parse_address

BIRD = "127.0.0.13"
HOP = "192.0.2.14"
TARGET = attribute(0xC0, 16, bytes.fromhex("0002fc0000000001"))
GOOD = ORIGIN + AS_PATH + LOCAL_PREF + TARGET


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The session lives, and the route is gone. counter: of `peer show`, that says so."""

    counter: str = "treated_as_withdraw"


@dataclass(frozen=True, slots=True)
class Untouched:
    """The session lives, and the route is as it was. counter: of `peer show`, that says that there was something."""

    counter: str | None = None


@dataclass(frozen=True, slots=True)
class NotImported:
    """The session lives, and the route goes to other peers, but into no VPN."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The session ends with a NOTIFICATION. data: how its data begins."""

    code: ErrorCode
    subcode: int
    data: str = ""


Outcome = Withdrawn | Untouched | NotImported | Reset
Build = Callable[[bytes, str], bytes]
"""Makes the bytes of an NLRI and of the router id of who gets them."""
SESSION = None
"""BIRD keeps the session."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message. bird: code and subcode with which BIRD ends the session; trickle: one byte after the other."""

    name: str
    build: Build
    outcome: Outcome
    bird: tuple[int, int] | None = SESSION
    trickle: bool = False


def malformed(*attributes: bytes, total: int | None = None) -> bytes:
    """An UPDATE."""
    return frame(MessageType.UPDATE, update(*attributes, total=total))


def header(length: int, kind: int, marker: bytes = MARKER) -> bytes:
    """The header of a message, and as much behind it as a whole KEEPALIVE has."""
    return marker + length.to_bytes(2, "big") + bytes((kind,))


def changed(old: bytes, new: bytes) -> bytes:
    """The good attributes with one in place of another."""
    assert old in GOOD
    return GOOD.replace(old, new)


H, U = HeaderSubcode, UpdateSubcode
UPDATE = ErrorCode.UPDATE_MESSAGE
HEADER = ErrorCode.MESSAGE_HEADER
_MP = "800e"

TABLE = [
    Row("ORIGIN 9", lambda nlri, _: malformed(reach(nlri), changed(ORIGIN, attribute(0x40, 1, b"\x09"))), Withdrawn()),
    Row(
        "extended community of 7 bytes",
        lambda nlri, _: malformed(reach(nlri), changed(TARGET, attribute(0xC0, 16, TARGET[3:10]))),
        Withdrawn(),
    ),
    Row("no ORIGIN", lambda nlri, _: malformed(reach(nlri), changed(ORIGIN, b"")), Withdrawn()),
    Row(
        "MED of 3 bytes",
        lambda nlri, _: malformed(reach(nlri), changed(LOCAL_PREF, attribute(0x80, 4, b"123") + LOCAL_PREF)),
        Withdrawn(),
    ),
    Row(
        "unknown well-known attribute 77",
        lambda nlri, _: malformed(reach(nlri), GOOD, attribute(0x40, 77, b"x")),
        Reset(UPDATE, U.UNRECOGNISED_WELL_KNOWN_ATTRIBUTE, "404d0178"),
    ),
    Row(
        "NLRI longer than its attribute",
        lambda nlri, _: malformed(reach(nlri[:-1]), GOOD),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, _MP),
        (3, 1),
    ),
    Row(
        "VPN NLRI of 20 bits",
        lambda nlri, _: malformed(reach(bytes((20, 0, 1, 0x10))), GOOD),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, _MP),
        (3, 1),
    ),
    Row(
        "two MP_REACH_NLRI",
        lambda nlri, _: malformed(reach(nlri), reach(nlri), GOOD),
        Reset(UPDATE, U.MALFORMED_ATTRIBUTE_LIST),
        (3, 1),
    ),
    Row(
        "attribute longer than all of them, no NLRI",
        lambda nlri, _: malformed(attribute(0x40, 1, b"\0", length=50)),
        Reset(UPDATE, U.MALFORMED_ATTRIBUTE_LIST),
        (3, 1),
    ),
    Row(
        "next hop of 5 bytes",
        lambda nlri, _: malformed(reach(nlri, next_hop=NEXT_HOP + b"x"), GOOD),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, _MP),
        (3, 9),
    ),
    Row("next hop 0.0.0.0", lambda nlri, _: malformed(reach(nlri, next_hop=bytes(12)), GOOD), Withdrawn()),
    Row("no route target", lambda nlri, _: malformed(reach(nlri), changed(TARGET, b"")), NotImported()),
    Row(
        "own ORIGINATOR_ID",
        lambda nlri, ours: malformed(reach(nlri), changed(TARGET, attribute(0x80, 9, parse_address(ours)) + TARGET)),
        Withdrawn("looped"),
    ),
    Row(
        "family 25/70 that wasn't agreed on",
        lambda nlri, _: malformed(reach(nlri, family=Family(25, 70), next_hop=NEXT_HOP), GOOD),
        Untouched("attributes_discarded"),
    ),
    Row(
        "bad marker",
        lambda nlri, _: header(19, 4, b"\xff" * 15 + b"\xfe"),
        Reset(HEADER, H.CONNECTION_NOT_SYNCHRONISED),
        (1, 1),
    ),
    Row("length 18", lambda nlri, _: header(18, 4), Reset(HEADER, H.BAD_MESSAGE_LENGTH, "0012"), (1, 2)),
    Row("type 9", lambda nlri, _: header(19, 9), Reset(HEADER, H.BAD_MESSAGE_TYPE, "09"), (1, 3)),
    Row("length 4097", lambda nlri, _: header(4097, 2), Reset(HEADER, H.BAD_MESSAGE_LENGTH, "1001"), (1, 2)),
]

MORE = [
    Row("no AS_PATH", lambda nlri, _: malformed(reach(nlri), changed(AS_PATH, b"")), Withdrawn()),
    Row(
        "AS_PATH segment of type 9",
        lambda nlri, _: malformed(reach(nlri), changed(AS_PATH, attribute(0x40, 2, bytes.fromhex("09010000fc01")))),
        Withdrawn(),
    ),
    Row(
        "our own AS in AS_PATH",
        lambda nlri, _: malformed(reach(nlri), changed(AS_PATH, attribute(0x40, 2, bytes.fromhex("02010000fc00")))),
        Withdrawn("looped"),
    ),
    Row(
        "LOCAL_PREF of 5 bytes",
        lambda nlri, _: malformed(reach(nlri), changed(LOCAL_PREF, attribute(0x40, 5, bytes(5)))),
        Withdrawn(),
    ),
    Row(
        "ORIGIN said to be optional",
        lambda nlri, _: malformed(reach(nlri), changed(ORIGIN, attribute(0xC0, 1, b"\0"))),
        Withdrawn(),
    ),
    Row(
        "a second, other ORIGIN",
        lambda nlri, _: malformed(reach(nlri), GOOD, attribute(0x40, 1, b"\x02")),
        Untouched("attributes_discarded"),
    ),
    Row(
        "AGGREGATOR of 5 bytes",
        lambda nlri, _: malformed(reach(nlri), GOOD, attribute(0xC0, 7, bytes(5))),
        Untouched("attributes_discarded"),
    ),
    Row(
        "unknown transitive attribute",
        lambda nlri, _: malformed(reach(nlri), GOOD, attribute(0xC0, 99, b"anything")),
        Untouched(),
    ),
    Row(
        "CLUSTER_LIST of 3 bytes",
        lambda nlri, _: malformed(reach(nlri), changed(TARGET, attribute(0x80, 10, b"123") + TARGET)),
        Withdrawn(),
    ),
    Row(
        "our own CLUSTER_ID",
        lambda nlri, ours: malformed(reach(nlri), changed(TARGET, attribute(0x80, 10, parse_address(ours)) + TARGET)),
        Withdrawn("looped"),
    ),
    Row(
        "our own address as next hop",
        lambda nlri, ours: malformed(reach(nlri, next_hop=bytes(8) + parse_address(ours)), GOOD),
        Withdrawn("looped"),
    ),
    Row(
        "multicast next hop",
        lambda nlri, _: malformed(reach(nlri, next_hop=bytes(8) + bytes((224, 0, 0, 5))), GOOD),
        Withdrawn(),
    ),
    Row(
        "withdrawal of an NLRI that is cut off",
        lambda nlri, _: malformed(unreach(nlri[:-1])),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, "800f"),
    ),
    Row(
        "VPN prefix of 33 bits",
        lambda nlri, _: malformed(reach(bytes((nlri[0] + 9,)) + nlri[1:] + b"\0\0"), GOOD),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, _MP),
    ),
    Row(
        "MP_REACH_NLRI of 4 bytes",
        lambda nlri, _: malformed(attribute(0x80, 14, VPNV4.packed + b"\x0c"), GOOD),
        Reset(UPDATE, U.OPTIONAL_ATTRIBUTE, _MP),
    ),
    Row(
        "attributes longer than the UPDATE",
        lambda nlri, _: malformed(reach(nlri), GOOD, total=500),
        Reset(UPDATE, U.MALFORMED_ATTRIBUTE_LIST),
    ),
    Row(
        "the last attribute cut off behind good NLRI",
        lambda nlri, _: malformed(reach(nlri), GOOD, attribute(0xC0, 8, b"12", length=40)),
        Withdrawn(),
    ),
    Row(
        "KEEPALIVE of 20 bytes",
        lambda nlri, _: header(20, 4) + b"\0",
        Reset(HEADER, H.BAD_MESSAGE_LENGTH, "0014"),
    ),
    Row(
        "UPDATE of 22 bytes",
        lambda nlri, _: header(22, 2) + bytes(3),
        Reset(HEADER, H.BAD_MESSAGE_LENGTH, "0016"),
    ),
    Row("type 0", lambda nlri, _: header(19, 0), Reset(HEADER, H.BAD_MESSAGE_TYPE, "00")),
    Row("an OPEN in between", lambda nlri, _: RawSpeaker(BIRD, BIRD).opened.encode(), Reset(ErrorCode(5), 3)),
    Row(
        "ROUTE-REFRESH of 5 bytes",
        lambda nlri, _: header(24, 5) + VPNV4.packed + bytes(2),
        Reset(ErrorCode.ROUTE_REFRESH_MESSAGE, 1, MARKER.hex()),
    ),
    Row("ROUTE-REFRESH of an unknown kind", lambda nlri, _: header(23, 5) + bytes((0, 1, 9, 128)), Untouched()),
    Row("KEEPALIVEs without end", lambda nlri, _: KEEPALIVE * 3000, Untouched()),
    Row(
        "next hop 0.0.0.0, byte by byte",
        lambda nlri, _: malformed(reach(nlri, next_hop=bytes(12)), GOOD),
        Withdrawn(),
        trickle=True,
    ),
]


@pytest.fixture(scope="module")
def lab(module_site: Site) -> RawLab:
    return RawLab(module_site, len(TABLE) + len(MORE))


@pytest.fixture(scope="module")
def bird(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Bird]:
    """A neighbour of many, passive to all of them."""
    neighbours = [Neighbour(f"127.1.0.{number + 1}", passive=True, client=True) for number in range(len(TABLE))]
    directory: Path = tmp_path_factory.mktemp("bird")
    with Site(directory, authority) as site:
        made = site.speaker(Bird, "rr", BIRD, neighbours)
        made.start()
        yield made


def name(row: Row) -> str:
    return row.name


@pytest.mark.parametrize("row", TABLE + MORE, ids=name)
def test_a_malformed_message(lab: RawLab, row: Row) -> None:
    number = lab.number()
    good, bad, later = (f"10.{number}.{part}.0/24" for part in (1, 2, 3))
    speaker = lab.speaker().establish()
    try:
        # The route that the message is about is there, so that it is seen to go.
        speaker.send(malformed(reach(vpn(good) + vpn(bad)), GOOD))
        both = {good: 1014, bad: 1014}
        lab.wait_routes(both, HOP)
        lab.healthy.wait(lambda: lab.healthy.prefixes() == set(both), "both routes")

        message = row.build(vpn(bad), GATEWAY)
        for part in [bytes((byte,)) for byte in message] if row.trickle else [message]:
            speaker.send(part)

        if isinstance(row.outcome, Reset):
            _was_reset(lab, speaker, row.outcome)
        else:
            # The session lives: it can say more, and is heard.
            speaker.send(malformed(reach(vpn(later)), GOOD))
            lab.healthy.wait(lambda: later in lab.healthy.prefixes(), "a later route")
            _lives(lab, speaker, row.outcome, good, bad, later)
        lab.check()
    finally:
        lab.wait_gone(speaker)


def _was_reset(lab: RawLab, speaker: RawSpeaker, outcome: Reset) -> None:
    notification = speaker.wait_notification()
    assert (notification.code, notification.subcode) == (outcome.code, outcome.subcode), str(notification)
    if outcome.data:
        assert notification.data.hex().startswith(outcome.data), str(notification)
    lab.wait_quiet()
    down = lab.peer(speaker)["last_down"]
    assert (down["code"], down["subcode"]) == (outcome.code, outcome.subcode)


def _lives(lab: RawLab, speaker: RawSpeaker, outcome: Outcome, good: str, bad: str, later: str) -> None:
    match outcome:
        case Withdrawn():
            at_peers, at_host = {good, later}, {good, later}
        case NotImported():
            at_peers, at_host = {good, bad, later}, {good, later}
        case _:
            at_peers = at_host = {good, bad, later}
    assert lab.healthy.prefixes() == at_peers
    lab.wait_routes(dict.fromkeys(at_host, 1014), HOP)
    speaker.pump()
    assert not speaker.ended, str(speaker)
    shown = lab.peer(speaker)
    assert shown["state"] == "established"
    counted = {"treated_as_withdraw": 0, "attributes_discarded": 0, "looped": 0}
    if isinstance(outcome, Withdrawn | Untouched) and outcome.counter is not None:
        counted[outcome.counter] = 1
    assert {counter: shown["counters"][counter] for counter in counted} == counted
    assert bool(shown["last_malformation"]) == any(
        count for counter, count in counted.items() if counter != "looped"
    ), shown["last_malformation"]


@pytest.mark.parametrize("row", TABLE, ids=name)
def test_bird_and_the_same_message(bird: Bird, row: Row) -> None:
    """What the reference says of BIRD holds: the messages are wrong as they are meant to be."""
    speaker = RawSpeaker(f"127.1.0.{TABLE.index(row) + 1}", BIRD, namespace=bird.namespace)
    with speaker:
        speaker.establish()
        speaker.send(row.build(vpn("10.14.2.0/24"), BIRD))
        if row.bird is None:
            speaker.send(malformed(reach(vpn("10.14.1.0/24")), GOOD))
            speaker.wait(lambda: "10.14.1.0/24" in {path.prefix for path in bird.received("vpnv4")}, "a later route")
            assert not speaker.ended, str(speaker)
        else:
            notification = speaker.wait_notification()
            assert (notification.code, notification.subcode) == row.bird, str(notification)
