"""The work on a message grows no faster than the message, however it looks: counted in lines that are run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest

from bgp.capabilities import UnknownCapability, decode_capabilities, split_capabilities
from bgp.errors import BgpError
from bgp.family import RTC, VPNV6
from bgp.nlri import rtc_key
from bgp.update import UpdateDecoder, UpdateOptions
from tests.unit.bgp.codec_wire import EXTERNAL, GOOD, OPTIONS, ORIGIN, attribute, reach, unreach, update, vpn

SMALL, LARGE = 100, 1000
MORE = 1.2
"""By how much more than in proportion it may grow, for what is done once."""

SEGMENT = bytes.fromhex("0201 0000fde9")
MESSAGES: dict[str, Callable[[int], bytes]] = {
    "attributes that are twice": lambda count: update(GOOD, *[ORIGIN] * count),
    "attributes that nobody knows": lambda count: update(
        GOOD, reach(vpn("10.0.0.0/8")), *[attribute(0xC0, 100 + number % 100, b"") for number in range(count)]
    ),
    "attributes that are empty": lambda count: update(*[b"\x40\xc8\0"] * count),
    "labels without a bottom": lambda count: update(unreach(b"".join([b"\xf0" + bytes((0, 0, 2)) * 10] * count))),
    "memberships in everything": lambda count: update(
        GOOD, reach(rtc_key(None) * count, family=RTC, next_hop=bytes(4))
    ),
    "prefixes of all lengths": lambda count: update(
        GOOD, reach(b"".join([vpn(f"10.0.0.0/{8 + number % 20}") for number in range(count)]))
    ),
    "routes that are withdrawn with any label": lambda count: update(
        unreach(vpn("2001:db8::/64", b"\0\x01\x02") * count, family=VPNV6)
    ),
    "segments of one AS": lambda count: update(ORIGIN, attribute(0x40, 2, SEGMENT * count), reach(vpn("10.0.0.0/8"))),
    "communities": lambda count: update(GOOD, attribute(0xC0, 8, bytes(4) * count), reach(vpn("10.0.0.0/8"))),
    "prefixes of plain unicast": lambda count: update(withdrawn=b"\0" * count, nlri=b"\0" * count),
}


def lines(work: Callable[[], Any]) -> int:
    """How many lines of Python a piece of work takes; what it raises doesn't matter."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except BgpError:
        pass
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("options", [OPTIONS, EXTERNAL])
def test_updates(name: str, options: UpdateOptions) -> None:
    small, large = (lines(partial(UpdateDecoder(options).decode, MESSAGES[name](count))) for count in (SMALL, LARGE))
    assert large <= MORE * small * LARGE / SMALL


def test_capabilities() -> None:
    def read(count: int) -> Callable[[], Any]:
        return lambda: decode_capabilities(
            [*split_capabilities(b"\1\4\0\1\0\x80" * count), *[UnknownCapability(200, b"")] * count]
        )

    small, large = lines(read(SMALL)), lines(read(LARGE))
    assert large <= MORE * small * LARGE / SMALL
