"""Fuzzing of the BGP decoders: whatever comes, they give a value or raise BgpError, and soon (tests.fuzz.budget).

    python -m tests.fuzz.bgp_codec [--seconds N] [--seed N]

Mutates good streams of all message types: bytes, lengths, pieces cut out, doubled, moved. Each UPDATE is decoded by two
decoders, one of which has seen good ones and takes its short way: they must agree. What is read is written again and
must be read as the same. Prints the seed, so that a failure can be had again.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from dataclasses import replace

from bgp.capabilities import Capabilities, GracefulRestart, LongLivedFamily, RestartFamily
from bgp.communities import is_transitive
from bgp.errors import BgpError, EncodeError
from bgp.family import RTC, VPNV4, VPNV6
from bgp.framing import Framer
from bgp.message import EXTENDED_MAX_LENGTH, KEEPALIVE, MessageType, frame
from bgp.nlri import rtc_key
from bgp.notification import Notification, decode_notification
from bgp.open import Open, decode_open
from bgp.refresh import RouteRefresh, decode_route_refresh
from bgp.update import Update, UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from tests.fuzz.budget import Budget, begin
from tests.unit.bgp.codec_wire import (
    EXTERNAL,
    GOOD,
    NEXT_HOP,
    OPTIONS,
    ORIGIN,
    ROUTE,
    attribute,
    reach,
    unreach,
    update,
    vpn,
)

_IPV6_NEXT_HOP = bytes(8) + bytes.fromhex("20010db8" + "00" * 11 + "01")
_TWO_OCTETS = replace(OPTIONS, four_octet_as=False)


def corpus() -> list[bytes]:
    """Good messages."""
    announced = Capabilities(
        (VPNV4, VPNV6, RTC),
        4200000000,
        True,
        True,
        True,
        GracefulRestart(120, (RestartFamily(VPNV4, True), RestartFamily(VPNV6)), True, True),
        (LongLivedFamily(VPNV4, 3600, True),),
    )
    four = b"".join(vpn(f"10.0.{number}.1/32") for number in range(20))
    bodies = [
        update(ROUTE, GOOD),
        update(GOOD, reach(four)),
        update(reach(vpn("2001:db8::/64") + vpn("::/0"), family=VPNV6, next_hop=_IPV6_NEXT_HOP), GOOD),
        update(reach(rtc_key(None) + rtc_key(64512), family=RTC, next_hop=NEXT_HOP), GOOD),
        update(unreach(four)),
        update(ROUTE, GOOD, unreach(vpn("2001:db8::/64", b"\0\0\0\0\0\x11"), family=VPNV6)),
        update(
            ROUTE,
            ORIGIN,
            attribute(0x40, 2, bytes.fromhex("0202 5ba0 fde9")),
            attribute(0xC0, 17, bytes.fromhex("0202 fa56ea00 0000fde9")),
            attribute(0xC0, 18, bytes.fromhex("fa56ea00 c0000201")),
            attribute(0xC0, 7, bytes.fromhex("5ba0 c0000201")),
        ),
        update(
            ROUTE,
            GOOD,
            attribute(0x40, 2, bytes.fromhex("0202 0000fc00 fa56ea00 0101 0000fc00")),
            attribute(0xC0, 8, bytes.fromhex("fc000001 ffff0006")),
            attribute(0x80, 9, NEXT_HOP),
            attribute(0x80, 10, NEXT_HOP * 2),
            attribute(0xC0, 32, bytes(12)),
            attribute(0xC0, 40, b"prefix sid"),
            attribute(0x40, 6, b""),
        ),
        update(nlri=b"\x18\x0a\x01\x02", withdrawn=b"\x08\x0a"),
    ]
    return [
        Open(4200000000, 90, NEXT_HOP, announced).encode(),
        KEEPALIVE,
        *(frame(MessageType.UPDATE, body) for body in bodies),
        end_of_rib(VPNV4),
        RouteRefresh(VPNV6).encode(),
        Notification.maximum_prefixes(VPNV4, 10).hard_reset().encode(),
    ]


def mutations(chance: random.Random, messages: list[bytes]) -> Iterator[bytes]:
    """Without end: messages with something changed, their header's length mostly right."""
    interesting = (0, 1, 3, 14, 15, 32, 64, 88, 96, 120, 127, 128, 132, 192, 255)
    while True:
        message = chance.choice(messages)
        data = bytearray(message[19:])
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            if not data:
                break
            position = chance.randrange(len(data))
            match chance.randrange(6):
                case 0:
                    data[position] = chance.randrange(256)
                case 1:
                    data[position] = chance.choice(interesting)
                case 2:
                    data[position] ^= 1 << chance.randrange(8)
                case 3:
                    del data[position : position + chance.randrange(1, 8)]
                case 4:
                    data[position:position] = data[chance.randrange(len(data)) :][: chance.randrange(1, 40)]
                case 5:
                    other = chance.choice(messages)
                    data[position:position] = other[chance.randrange(len(other)) :][: chance.randrange(1, 60)]
        data = data[: EXTENDED_MAX_LENGTH - 19]
        length = 19 + len(data) if chance.random() < 0.95 else chance.randrange(65536)
        kind = message[18] if chance.random() < 0.95 else chance.randrange(256)
        yield message[:16] + length.to_bytes(2, "big") + bytes((kind,)) + data


def _outcome(decoder: UpdateDecoder, body: bytes) -> Update | str:
    try:
        return decoder.decode(body)
    except BgpError as error:
        return str(error)


class Fuzzer:
    """Gives messages to fresh and to long-running decoders of all kinds of session."""

    def __init__(self) -> None:
        self._options: list[UpdateOptions] = [OPTIONS, EXTERNAL, _TWO_OCTETS]
        self._running = [UpdateDecoder(options) for options in self._options]
        self._encoders = [UpdateEncoder(options, EXTENDED_MAX_LENGTH) for options in self._options]
        for message in corpus():
            if message[18] == MessageType.UPDATE:
                for decoder in self._running:
                    _outcome(decoder, message[19:])

    def check(self, message: bytes) -> None:
        """Raises AssertionError, or whatever a decoder shouldn't have raised."""
        framer = Framer()
        framer.allow_extended_messages()
        framer.receive_data(message)
        try:
            found = framer.next_message()
            if found is None:
                return
            kind, body = found
            if kind is MessageType.OPEN:
                opened = decode_open(body)
                assert decode_open(opened.encode()[19:]) == opened
            elif kind is MessageType.NOTIFICATION:
                assert str(decode_notification(body)).isprintable()
            elif kind is MessageType.ROUTE_REFRESH:
                refresh = decode_route_refresh(body)
                assert refresh is None or decode_route_refresh(refresh.encode()[19:]) == refresh
            elif kind is MessageType.UPDATE:
                for options, running, encoder in zip(self._options, self._running, self._encoders, strict=True):
                    self._update(options, running, encoder, body)
        except BgpError as error:
            assert len(Notification.of(error).encode()) <= 4096

    @staticmethod
    def _update(options: UpdateOptions, running: UpdateDecoder, encoder: UpdateEncoder, body: bytes) -> None:
        fresh = UpdateDecoder(options)
        got = _outcome(fresh, body)
        assert got == _outcome(running, body)
        if isinstance(got, str) or got.reach is None:
            return
        assert got.attributes is not None
        family, next_hop, routes = got.reach
        try:
            messages = encoder.announce(family, got.attributes, next_hop, routes)
        except EncodeError:
            return
        again = [fresh.decode(one[19:]) for one in messages]
        assert [route for one in again if one.reach for route in one.reach.routes] == routes
        attributes = got.attributes
        if not options.internal:
            extended = tuple(filter(is_transitive, attributes.extended_communities))
            attributes = replace(attributes, extended_communities=extended)
        assert all(one.attributes == attributes and not one.problems for one in again)


def fuzz(seed: int, *, seconds: float | None = None, count: int | None = None) -> int:
    """Check mutations until the time is over or that many are done; returns how many were checked."""
    chance = random.Random(seed)
    fuzzer = Fuzzer()
    with Budget(seconds) as budget:
        for number, message in enumerate(mutations(chance, corpus())):
            if number == count or budget.spent:
                return number
            begin()
            try:
                fuzzer.check(message)
            except BaseException:
                print(f"seed {seed}, message {number}: {message.hex()}", file=sys.stderr)
                raise
    raise AssertionError("mutations end")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fuzz the BGP decoders.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    print(f"{fuzz(options.seed, seconds=options.seconds)} messages")


if __name__ == "__main__":
    main()
