"""Next hops of MP_REACH_NLRI (RFC 4364, section 4.3.2; RFC 4659, section 3.2.1; RFC 8950).

A next hop is kept as its address, 4 or 16 bytes, or as a global and a link-local IPv6 address, 32 bytes. An IPv4
address mapped into IPv6 stays as it is, for it goes on unchanged to the next speaker; `address` looks through it.
"""

from __future__ import annotations

from bgp.family import RTC, VPNV4, VPNV6, Family

_MAPPED = bytes(10) + b"\xff\xff"
_RD = bytes(8)


def decode_next_hop(family: Family, field: bytes) -> bytes | None:
    """The addresses in a next-hop field; None when its length isn't one of the family.

    The route distinguishers in front of the addresses mean nothing. VPNv4 with an IPv6 next hop: RFC 8950.
    """
    size = len(field)
    if family == RTC:
        return field if size in (4, 16, 32) else None
    if size == 24:
        return field[8:]
    if size == 48:
        return field[8:24] + field[32:]
    if size == 12 and family == VPNV4:
        return field[8:]
    return None


def encode_next_hop(family: Family, next_hop: bytes) -> bytes:
    """The next-hop field. A 4-byte address is mapped into IPv6 for VPNv6 (RFC 4659, section 3.2.1.2)."""
    if family == RTC:
        return next_hop
    if family == VPNV6 and len(next_hop) == 4:
        next_hop = _MAPPED + next_hop
    if len(next_hop) == 32:
        return b"".join((_RD, next_hop[:16], _RD, next_hop[16:]))
    return _RD + next_hop


def address(next_hop: bytes) -> bytes:
    """The address (4 or 16 bytes) that packets go to: the global one, an IPv4-mapped one as IPv4."""
    if len(next_hop) == 4:
        return next_hop
    return next_hop[12:16] if next_hop.startswith(_MAPPED) else next_hop[:16]


def is_usable(next_hop: bytes) -> bool:
    """Whether packets can be sent there: it is neither all zero nor a multicast address, and not IPv4's class E."""
    packed = address(next_hop)
    if len(packed) == 4:
        return packed[0] < 224 and any(packed)
    return packed[0] != 0xFF and any(packed)
