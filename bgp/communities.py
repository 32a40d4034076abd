"""Extended communities (RFC 4360): route targets, encapsulation, MAC mobility, colour."""

from __future__ import annotations

import struct
from typing import NamedTuple

from bgp.attributes import Attributes
from vpn.community import RouteTarget
from vpn.prefix import format_address

NON_TRANSITIVE = 0x40
"""Bit of the first byte: the community doesn't leave the AS (RFC 4360, section 2)."""

_ROUTE_TARGET = 2
_ENCAPSULATION = bytes((0x03, 0x0C, 0, 0, 0, 0))
_MAC_MOBILITY = bytes((0x06, 0x00))
_COLOUR = bytes((0x03, 0x0B))

TUNNEL_GRE = 2
TUNNEL_VXLAN = 8
TUNNEL_MPLS_IN_UDP = 13
"""Tunnel types (IANA, BGP Tunnel Encapsulation Attribute Tunnel Types)."""


class MacMobility(NamedTuple):
    """RFC 7432, section 7.7. sequence_number: 0..2**32-1; static: the address must not move."""

    sequence_number: int
    static: bool = False


def pack_route_target(target: RouteTarget) -> bytes:
    """The transitive extended community of a route target (8 bytes)."""
    return bytes((target.kind, _ROUTE_TARGET)) + target.value


def route_target(community: bytes) -> RouteTarget | None:
    """The route target that an extended community is, or None."""
    if community[1] == _ROUTE_TARGET and community[0] <= 2:
        return RouteTarget(community[0], community[2:])
    return None


def pack_encapsulation(tunnel_type: int) -> bytes:
    """Encapsulation extended community (RFC 9012, section 4.1)."""
    return _ENCAPSULATION + tunnel_type.to_bytes(2, "big")


def encapsulations(attributes: Attributes) -> tuple[int, ...]:
    """Tunnel types of the encapsulation extended communities, ascending."""
    return tuple(
        int.from_bytes(one[6:], "big") for one in attributes.extended_communities if one[:2] == _ENCAPSULATION[:2]
    )


def pack_mac_mobility(mobility: MacMobility) -> bytes:
    """MAC mobility extended community."""
    return struct.pack("!2sBxI", _MAC_MOBILITY, mobility.static, mobility.sequence_number)


def mac_mobility(attributes: Attributes) -> MacMobility | None:
    """MAC mobility of a route; the highest where there are several, None where there is none."""
    found = [one for one in attributes.extended_communities if one[:2] == _MAC_MOBILITY]
    if not found:
        return None
    best = max(found, key=lambda one: one[4:])
    return MacMobility(int.from_bytes(best[4:], "big"), bool(best[2] & 1))


def pack_colour(colour: int) -> bytes:
    """Colour extended community (RFC 9012, section 4.3)."""
    return struct.pack("!2sHI", _COLOUR, 0, colour)


def colours(attributes: Attributes) -> tuple[int, ...]:
    """Colours of a route, ascending."""
    return tuple(int.from_bytes(one[4:], "big") for one in attributes.extended_communities if one[:2] == _COLOUR)


def is_transitive(community: bytes) -> bool:
    """Whether an extended community may go to another AS."""
    return not community[0] & NON_TRANSITIVE


def format_extended(community: bytes) -> str:
    """For people: "rt:64512:1", "encap:2", "mac-mobility:7", "soo:64512:1", else "0x" and 16 digits."""
    kind, subtype = community[0], community[1]
    if (target := route_target(community)) is not None:
        return f"rt:{target}"
    if kind <= 2 and subtype == 3:
        return f"soo:{RouteTarget(kind, community[2:])}"
    number = int.from_bytes(community[4:], "big")
    match community[:2]:
        case b"\x03\x0c":
            return f"encap:{number & 0xFFFF}"
        case b"\x06\x00":
            return f"mac-mobility:{number}"
        case b"\x03\x0b":
            return f"colour:{number}"
    return f"0x{community.hex()}"


_WELL_KNOWN = {
    0xFFFF0000: "graceful-shutdown",
    0xFFFF0006: "llgr-stale",
    0xFFFF0007: "no-llgr",
    0xFFFF029A: "blackhole",
    0xFFFFFF01: "no-export",
    0xFFFFFF02: "no-advertise",
    0xFFFFFF03: "no-export-subconfed",
    0xFFFFFF04: "no-peer",
}


def format_community(community: int) -> str:
    """A community (RFC 1997) for people: "64512:1" or the name of a well-known one."""
    return _WELL_KNOWN.get(community) or f"{community >> 16}:{community & 0xFFFF}"


def format_large(community: bytes) -> str:
    """A large community (RFC 8092) for people: "64512:1:2"."""
    return ":".join(map(str, struct.unpack("!III", community)))


def format_router_id(router_id: bytes) -> str:
    """A BGP identifier or cluster id for people."""
    return format_address(router_id)
