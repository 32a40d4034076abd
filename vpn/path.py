"""Paths of a VPN prefix as signalled between host and gateway (draft-ietf-l3vpn-end-system-06, section 6)."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

DEFAULT_LOCAL_PREFERENCE = 100
"""LOCAL_PREF of a path whose entry has none (the usual BGP default)."""


class Encapsulation(enum.StrEnum):
    """Tunnel encapsulations of the entry schema."""

    GRE = "gre"
    UDP = "udp"
    VXLAN = "vxlan"


class NextHop(NamedTuple):
    """Where packets of a prefix go: packed underlay address (4 or 16 bytes), label (16..1048575), encapsulations."""

    address: bytes
    label: int
    encapsulations: tuple[Encapsulation, ...] = (Encapsulation.GRE,)


@dataclass(frozen=True, slots=True)
class Path:
    """One source's answer for one prefix; more than one next hop means multipath.

    sequence_number: 0..2**32-1, grows when a VM moves (MAC mobility, RFC 7432 section 7.7). tie_break: compared after
    that, greater is better: what a gateway knows of the route's way to it. It isn't signalled, and paths that differ in
    nothing else are equal.
    """

    next_hops: tuple[NextHop, ...]
    local_preference: int = DEFAULT_LOCAL_PREFERENCE
    sequence_number: int = 0
    tie_break: int = field(default=0, compare=False)
