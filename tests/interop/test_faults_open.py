"""Sessions that don't come up as they should: OPENs, messages at the wrong time, peers that vanish, two connections."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from bgp.as_path import Segment, SegmentKind
from bgp.capabilities import Capabilities, UnknownCapability
from bgp.errors import CeaseSubcode, ErrorCode, FsmSubcode, OpenSubcode
from bgp.family import IPV4_UNICAST, VPNV4, VPNV6
from bgp.message import HEADER_LENGTH, KEEPALIVE, MessageType, frame
from bgp.open import Open
from bgp.update_encoder import end_of_rib
from lab.speakers.raw_values import opening, route_attributes
from tests.interop.raw_lab import GATEWAY, RawLab
from tests.interop.site import Site
from vpn.prefix import parse_address

FOUR_OCTETS = 4200000001
EXTERNAL, OTHER_EXTERNAL = "127.2.0.1", "127.2.0.2"
LOW, HIGH = "127.0.0.3", "127.2.0.4"
"""Active peers with router ids below and above the gateway's."""
CLOSER, RESETTER = "127.2.0.5", "127.2.0.6"


@dataclass(frozen=True, slots=True)
class Case:
    """An OPEN of the peer at an address, and how the gateway refuses it."""

    name: str
    build: Callable[[str], bytes]
    subcode: OpenSubcode
    data: str = ""


def packed(
    parameters: bytes, *, version: int = 4, asn: int = 64512, hold: int = 9, router_id: str = "192.0.2.9"
) -> bytes:
    """An OPEN put together by hand."""
    head = struct.pack("!BHH4sB", version, asn, hold, parse_address(router_id), len(parameters))
    return frame(MessageType.OPEN, head + parameters)


CAPABILITIES = b"".join(opening("192.0.2.9").capabilities.encode())
"""Good ones, in a row."""
GOOD = bytes((2, len(CAPABILITIES))) + CAPABILITIES


CASES = [
    Case("another AS", lambda address: opening(address, asn=64999).encode(), OpenSubcode.BAD_PEER_AS),
    Case(
        "another AS of four octets", lambda address: opening(address, asn=FOUR_OCTETS).encode(), OpenSubcode.BAD_PEER_AS
    ),
    Case("AS 0", lambda _: packed(b"", asn=0), OpenSubcode.BAD_PEER_AS),
    Case("router id 0.0.0.0", lambda _: packed(GOOD, router_id="0.0.0.0"), OpenSubcode.BAD_BGP_IDENTIFIER),
    Case("our router id", lambda _: packed(GOOD, router_id=GATEWAY), OpenSubcode.BAD_BGP_IDENTIFIER),
    Case("hold time 1", lambda _: packed(GOOD, hold=1), OpenSubcode.UNACCEPTABLE_HOLD_TIME),
    Case("hold time 2", lambda _: packed(GOOD, hold=2), OpenSubcode.UNACCEPTABLE_HOLD_TIME),
    Case("version 3", lambda _: packed(GOOD, version=3), OpenSubcode.UNSUPPORTED_VERSION, "0004"),
    Case("version 5", lambda _: packed(GOOD, version=5), OpenSubcode.UNSUPPORTED_VERSION, "0004"),
    Case(
        "no family of ours",
        lambda address: opening(address, families=[IPV4_UNICAST]).encode(),
        OpenSubcode.UNSUPPORTED_CAPABILITY,
        "010400010080" + "010400020080",
    ),
    Case("no capability at all", lambda _: packed(b""), OpenSubcode.UNSUPPORTED_CAPABILITY, "010400010080"),
    Case("a capability longer than its parameter", lambda _: packed(b"\x02\x03\x01\x09\x00"), OpenSubcode.UNSPECIFIC),
    Case("a family of three bytes", lambda _: packed(b"\x02\x05\x01\x03\x00\x01\x00"), OpenSubcode.UNSPECIFIC),
    Case("a parameter longer than all", lambda _: packed(b"\x02\x40\x01\x04"), OpenSubcode.UNSPECIFIC),
    Case("one stray byte for parameters", lambda _: packed(b"\x02"), OpenSubcode.UNSPECIFIC),
    Case("authentication of RFC 4271", lambda _: packed(b"\x01\x01\x00"), OpenSubcode.UNSUPPORTED_OPTIONAL_PARAMETER),
]


def unusual(address: str) -> dict[str, bytes]:
    """OPENs that are unusual, and good."""
    plain = opening(address)
    strange = replace(plain.capabilities, unknown=(UnknownCapability(123, b"anything"), UnknownCapability(200, b"")))
    much = replace(plain.capabilities, unknown=tuple(UnknownCapability(240, bytes((n,)) * 200) for n in range(3)))
    extended = b"\xff" + (3 + len(CAPABILITIES)).to_bytes(2, "big") + b"\x02" + len(CAPABILITIES).to_bytes(2, "big")
    short = packed(b"", router_id=address)[HEADER_LENGTH:-1] + b"\xff" + extended + CAPABILITIES
    return {
        "all capabilities in one parameter": packed(GOOD, router_id=address),
        "each one twice": packed(GOOD * 2, router_id=address),
        "unknown capabilities": replace(plain, capabilities=strange).encode(),
        "a hold time of none": packed(GOOD, router_id=address, hold=0),
        "more capabilities than 255 bytes (RFC 9072)": replace(plain, capabilities=much).encode(),
        "extended parameters where none are needed (RFC 9072)": frame(MessageType.OPEN, short),
        "families of others too": opening(address, families=[IPV4_UNICAST, VPNV4, VPNV6]).encode(),
        "one family of two": opening(address, families=[VPNV4]).encode(),
    }


UNUSUAL = list(unusual("192.0.2.9"))


@pytest.fixture(scope="module")
def lab(module_site: Site) -> RawLab:
    special: dict[str, dict[str, object]] = {EXTERNAL: {"as": FOUR_OCTETS}, OTHER_EXTERNAL: {"as": 64513}}
    special |= {address: {"passive": False} for address in (LOW, HIGH, CLOSER, RESETTER)}
    return RawLab(module_site, len(CASES) + len(UNUSUAL) + 20, special)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_open_that_is_refused(lab: RawLab, case: Case) -> None:
    speaker = lab.speaker()
    speaker.connect()
    speaker.send(case.build(speaker.address))
    notification = speaker.wait_notification()
    assert (notification.code, notification.subcode) == (ErrorCode.OPEN_MESSAGE, case.subcode), str(notification)
    assert notification.data.hex().startswith(case.data)
    assert lab.peer(speaker)["last_down"]["subcode"] == case.subcode
    lab.check()


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_open(lab: RawLab, name: str) -> None:
    speaker = lab.speaker()
    speaker.connect()
    speaker.send(unusual(speaker.address)[name])
    speaker.wait_open()
    speaker.send(KEEPALIVE)
    speaker.wait_up()
    prefix = f"10.{lab.number()}.1.0/24"
    speaker.announce("64512:14", prefix, 1014)
    lab.healthy.wait(lambda: prefix in lab.healthy.prefixes(), "its route")
    lab.check()
    lab.wait_gone(speaker)


def test_an_as_number_of_four_octets(lab: RawLab) -> None:
    """A route of AS 4200000001 goes to a speaker that knows but two octets, by AS_TRANS and AS4_PATH (RFC 6793)."""
    new = lab.speaker(opening(EXTERNAL, asn=FOUR_OCTETS), EXTERNAL, internal=False).establish()
    capabilities = Capabilities(families=(VPNV4, VPNV6))
    opened = Open(64513, 90, parse_address(OTHER_EXTERNAL), capabilities)
    old = lab.speaker(opened, OTHER_EXTERNAL, internal=False).establish()
    prefix = f"10.{lab.number()}.1.0/24"
    path = (Segment(SegmentKind.SEQUENCE, (FOUR_OCTETS,)),)
    new.announce("64512:14", prefix, 1014, replace(route_attributes(local_pref=None), as_path=path))
    old.wait(lambda: prefix in old.prefixes(), "the route")
    (segment,) = old.table()["64512:14", prefix].attributes.as_path
    assert segment.numbers == (64512, FOUR_OCTETS)
    lab.healthy.wait(lambda: prefix in lab.healthy.prefixes(), "the route")
    (segment,) = lab.healthy.table()["64512:14", prefix].attributes.as_path
    assert segment.numbers == (FOUR_OCTETS,)
    lab.wait_routes({prefix: 1014})
    old.close()
    lab.wait_gone(new)


def test_messages_at_the_wrong_time(lab: RawLab) -> None:
    early = lab.speaker()
    early.connect()
    early.send(KEEPALIVE)
    notification = early.wait_notification()
    assert (notification.code, notification.subcode) == (ErrorCode.FINITE_STATE_MACHINE, FsmSubcode.IN_OPEN_SENT)

    hasty = lab.speaker()
    hasty.connect()
    hasty.send(hasty.opened.encode() + end_of_rib(VPNV4))
    notification = hasty.wait_notification()
    assert (notification.code, notification.subcode) == (ErrorCode.FINITE_STATE_MACHINE, FsmSubcode.IN_OPEN_CONFIRM)
    lab.check()


@pytest.mark.parametrize("abort", [False, True], ids=["FIN", "RST"])
def test_a_peer_that_vanishes_in_every_state(lab: RawLab, abort: bool) -> None:
    """After that each comes back, and has a session."""
    speakers = [lab.speaker() for _ in range(5)]
    _, halfway, confirming, new, talking = speakers
    prefix = f"10.{lab.number()}.1.0/24"
    for speaker in speakers:
        speaker.connect()
    halfway.send(halfway.opened.encode()[:25])
    confirming.send(confirming.opened.encode())
    confirming.wait_open()
    for speaker in (new, talking):
        speaker.handshake()
    talking.announce("64512:14", prefix, 1014)
    lab.healthy.wait(lambda: prefix in lab.healthy.prefixes(), "its route")
    talking.send(end_of_rib(VPNV4)[:21])
    for speaker in speakers:
        if abort:
            speaker.abort()
        else:
            speaker.close()
    lab.wait_quiet()
    for speaker in speakers:
        speaker.establish()
    lab.check()
    for speaker in speakers:
        speaker.close()
    lab.wait_quiet()


def test_a_peer_that_hangs_up_on_whoever_calls(lab: RawLab) -> None:
    """The gateway calls again, as often as it takes."""
    closer, resetter = lab.speaker(address=CLOSER), lab.speaker(address=RESETTER)
    for speaker in (closer, resetter):
        speaker.listen()
    for speaker, end in ((closer, closer.disconnect), (resetter, resetter.abort)):
        speaker.accept()
        end()
    for speaker in (closer, resetter):
        speaker.accept()
        speaker.handshake()
        assert lab.peer(speaker)["connection"]["opened_by"] == "gateway"
    lab.check()


@pytest.mark.parametrize("address", [LOW, HIGH])
def test_two_connections_at_a_time(lab: RawLab, address: str) -> None:
    """The one of the higher router id stays (RFC 4271, section 6.8)."""
    called, calling = lab.speaker(address=address), lab.speaker(address=address)
    called.listen()
    called.accept()
    calling.connect()
    for speaker in (called, calling):
        speaker.wait_open()
    winner, loser = (calling, called) if address == HIGH else (called, calling)
    for speaker in (loser, winner):
        speaker.send(speaker.opened.encode())
    winner.send(KEEPALIVE)
    winner.wait_up()
    notification = loser.wait_notification()
    assert notification.code == ErrorCode.CEASE and notification.subcode == CeaseSubcode.CONNECTION_COLLISION
    shown = lab.peer(winner)
    assert shown["connection"]["opened_by"] == ("peer" if address == HIGH else "gateway")

    # Without graceful restart one more is refused while the session is up.
    third = lab.speaker(address=address)
    third.connect()
    third.send(third.opened.encode())
    assert third.wait_notification().subcode == CeaseSubcode.CONNECTION_COLLISION
    assert lab.peer(winner)["state"] == "established"
    winner.pump()
    assert not winner.ended
    lab.check()
