"""Objects in an operator's words, for logs and for what the control socket answers."""

from __future__ import annotations

import re

from datapath.values import Key, Kind, NextHop, NextHopGroup
from vpn.prefix import Prefix, PrefixError, format_address, parse_address

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
    return f"{NOUNS[kind]} {name_of(key)}"


def complaint(kind: Kind, key: Key, error: str) -> str:
    """What is wrong with an object, which may be named by the error already."""
    name = describe(kind, key)
    return error if error.startswith(f"{name}: ") else f"{name}: {error}"


def journal_fields(kind: Kind, key: Key) -> dict[str, object]:
    """What an object can be looked for by in a journal: its kind, and its device or prefix."""
    found: dict[str, object] = {"kind": kind.name.lower()}
    if isinstance(key, str):
        found["device"] = key
    elif isinstance(key, NextHop):
        found["device"] = key.device
    elif isinstance(key, tuple) and not isinstance(key, NextHopGroup):
        first, second = key
        found.update({"prefix": second} if isinstance(second, Prefix) else {"device": first})
    return found


def name_of(key: Key) -> str:
    """The name of an object without what it is: "10.1.1.1 dev tap-web", "10.1.2.0/24 table 10000", "1000"."""
    if isinstance(key, str | int):
        return str(key)
    if isinstance(key, NextHop):
        labels = f" label {'/'.join(map(str, key.labels))}" if key.labels else ""
        # What is only half right has a next hop without gateway (see nexthops.odd_next_hop()).
        gateway = format_address(key.gateway) if key.gateway else "none"
        return f"{gateway} dev {key.device}{labels}"
    if isinstance(key, NextHopGroup):
        return ", ".join(map(name_of, key.members))
    first, second = key
    if isinstance(second, Prefix):
        return f"{second} table {first}"
    return f"{format_address(second)} dev {first}"


_ON_DEVICE = re.compile(r"(\S+) dev (\S+)(?: label ([0-9]+(?:/[0-9]+)*))?")
_IN_TABLE = re.compile(r"(\S+) table ([0-9]{1,10})")


def key_of(kind: Kind, name: str) -> Key | None:
    """The key of an object of a kind by its name (name_of()); None for what can't be one's name."""
    try:
        if kind is Kind.MPLS_ROUTE:
            return int(name) if name.isdecimal() and len(name) < 9 else None
        if kind is Kind.VRF_ROUTE:
            found = _IN_TABLE.fullmatch(name)
            return None if found is None else (int(found[2]), Prefix.parse(found[1]))
        if kind is Kind.NEIGHBOUR:
            found = _ON_DEVICE.fullmatch(name)
            return None if found is None or found[3] else (found[2], parse_address(found[1]))
        if kind is Kind.NEXT_HOP:
            return _next_hop(name)
        if kind is Kind.NEXT_HOP_GROUP:
            members = [_next_hop(part) for part in name.split(", ")]
            known = tuple(member for member in members if member is not None)
            return NextHopGroup(known) if len(known) == len(members) else None
    except PrefixError:
        return None
    return name


def _next_hop(name: str) -> NextHop | None:
    found = _ON_DEVICE.fullmatch(name)
    if found is None:
        return None
    labels = tuple(int(label) for label in found[3].split("/")) if found[3] else ()
    return NextHop(found[2], parse_address(found[1]), labels)
