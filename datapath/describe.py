"""Objects in an operator's words, for logs and for what the control socket answers."""

from __future__ import annotations

from datapath.values import Key, Kind, NextHop, NextHopGroup
from vpn.prefix import Prefix, format_address

NOUNS = {
    Kind.TUNNEL: "tunnel",
    Kind.VRF: "VRF",
    Kind.PORT: "port",
    Kind.NEIGHBOUR: "neighbour",
    Kind.ANTI_SPOOFING: "anti-spoofing",
    Kind.MPLS_ROUTE: "MPLS route",
    Kind.NEXT_HOP: "next hop",
    Kind.NEXT_HOP_GROUP: "next hops",
    Kind.VRF_ROUTE: "route",
}
"""What an object of a kind is called."""


def describe(kind: Kind, key: Key) -> str:
    """An object, as "next hop 10.1.1.1 dev tap-web", "route 10.1.2.0/24 table 10000", "MPLS route 1000"."""
    return f"{NOUNS[kind]} {_name(key)}"


def complaint(kind: Kind, key: Key, error: str) -> str:
    """What is wrong with an object, which may be named by the error already."""
    name = describe(kind, key)
    return error if error.startswith(f"{name}: ") else f"{name}: {error}"


def _name(key: Key) -> str:
    if isinstance(key, str | int):
        return str(key)
    if isinstance(key, NextHop):
        labels = f" label {'/'.join(map(str, key.labels))}" if key.labels else ""
        # What is only half right has a next hop without gateway (see nexthops.odd_next_hop()).
        gateway = format_address(key.gateway) if key.gateway else "none"
        return f"{gateway} dev {key.device}{labels}"
    if isinstance(key, NextHopGroup):
        return ", ".join(map(_name, key.members))
    first, second = key
    if isinstance(second, Prefix):
        return f"{second} table {first}"
    return f"{format_address(second)} dev {first}"
