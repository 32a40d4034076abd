"""UPDATEs put together by hand, right or wrong."""

from __future__ import annotations

from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.nlri import pack_labels, vpn_key
from bgp.update import UpdateOptions
from vpn.community import RouteDistinguisher
from vpn.prefix import Prefix

OPTIONS = UpdateOptions(frozenset((VPNV4, VPNV6, RTC)))
EXTERNAL = UpdateOptions(frozenset((VPNV4, VPNV6, RTC)), internal=False)

RD = RouteDistinguisher.parse("64512:14")
LABEL = pack_labels([1014])
NEXT_HOP = bytes((192, 0, 2, 14))


def key(text: str) -> bytes:
    """Key of a prefix in the VPN of the tests."""
    return vpn_key(RD, Prefix.parse(text))


def vpn(text: str, labels: bytes = LABEL) -> bytes:
    """An NLRI."""
    one = key(text)
    return bytes((8 * len(labels) + 64 + one[-1],)) + labels + one[:-1]


def attribute(flags: int, code: int, value: bytes, length: int | None = None) -> bytes:
    """An attribute, with the length that is said to be its own; in two octets where it needs them."""
    size = len(value) if length is None else length
    if size > 255:
        return bytes((flags | 0x10, code)) + size.to_bytes(2, "big") + value
    return bytes((flags, code, size)) + value


ORIGIN = attribute(0x40, 1, b"\0")
AS_PATH = attribute(0x40, 2, b"")
LOCAL_PREF = attribute(0x40, 5, (100).to_bytes(4, "big"))
EXTENDED = attribute(0xC0, 16, bytes.fromhex("0002fc0000000064"))
GOOD = ORIGIN + AS_PATH + LOCAL_PREF + EXTENDED


def reach(nlri: bytes, *, family: Family = VPNV4, next_hop: bytes = bytes(8) + NEXT_HOP, flags: int = 0x80) -> bytes:
    """MP_REACH_NLRI."""
    value = family.packed + bytes((len(next_hop),)) + next_hop + b"\0" + nlri
    return attribute(flags, 14, value)


def unreach(nlri: bytes, *, family: Family = VPNV4, flags: int = 0x80) -> bytes:
    """MP_UNREACH_NLRI."""
    return attribute(flags, 15, family.packed + nlri)


ROUTE = reach(vpn("10.14.0.0/24"))


def update(*attributes: bytes, withdrawn: bytes = b"", nlri: bytes = b"", total: int | None = None) -> bytes:
    """The body of an UPDATE, with the total length of attributes that is said to be its own."""
    joined = b"".join(attributes)
    size = len(joined) if total is None else total
    return b"".join((len(withdrawn).to_bytes(2, "big"), withdrawn, size.to_bytes(2, "big"), joined, nlri))
