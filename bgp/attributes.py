"""Path attributes of a route (RFC 4271, section 5), all but next hop and NLRI."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from bgp.as_path import AsPath


class AttributeCode(enum.IntEnum):
    """Type codes that mean something to us."""

    ORIGIN = 1
    AS_PATH = 2
    NEXT_HOP = 3
    MULTI_EXIT_DISC = 4
    LOCAL_PREF = 5
    ATOMIC_AGGREGATE = 6
    AGGREGATOR = 7
    COMMUNITIES = 8
    ORIGINATOR_ID = 9
    CLUSTER_LIST = 10
    MP_REACH_NLRI = 14
    MP_UNREACH_NLRI = 15
    EXTENDED_COMMUNITIES = 16
    AS4_PATH = 17
    AS4_AGGREGATOR = 18
    LARGE_COMMUNITIES = 32


OPTIONAL = 0x80
TRANSITIVE = 0x40
PARTIAL = 0x20
EXTENDED_LENGTH = 0x10
"""Attribute flags (RFC 4271, section 4.3)."""


class Origin(enum.IntEnum):
    """RFC 4271, section 4.3."""

    IGP = 0
    EGP = 1
    INCOMPLETE = 2


class Aggregator(NamedTuple):
    """AS number and router id (4 bytes) of who aggregated."""

    asn: int
    router_id: bytes


class UnknownAttribute(NamedTuple):
    """An optional transitive attribute that we pass on and don't read (prefix SID, tunnel encapsulation, ...).

    flags: OPTIONAL, TRANSITIVE and, since we don't know it, PARTIAL; never EXTENDED_LENGTH.
    """

    code: int
    flags: int
    value: bytes


WELL_KNOWN_NO_EXPORT = 0xFFFFFF01
WELL_KNOWN_NO_ADVERTISE = 0xFFFFFF02
WELL_KNOWN_NO_EXPORT_SUBCONFED = 0xFFFFFF03
WELL_KNOWN_LLGR_STALE = 0xFFFF0006
WELL_KNOWN_NO_LLGR = 0xFFFF0007
"""Communities with a meaning (RFC 1997; RFC 9494, section 4)."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that routes have in common; equal when they say the same, whatever the order on the wire.

    Communities of all kinds and unknown attributes are sorted and without duplicates. med and local_pref: 0..2**32-1,
    None when absent; originator_id: 4 bytes; cluster_list: ids of 4 bytes each, the latest first; communities: numbers
    of 32 bits; extended_communities: 8 bytes each (bgp.communities reads them); large_communities: 12 bytes each.
    Derive others with dataclasses.replace.
    """

    origin: Origin = Origin.IGP
    as_path: AsPath = ()
    med: int | None = None
    local_pref: int | None = None
    atomic_aggregate: bool = False
    aggregator: Aggregator | None = None
    communities: tuple[int, ...] = ()
    originator_id: bytes | None = None
    cluster_list: tuple[bytes, ...] = ()
    extended_communities: tuple[bytes, ...] = ()
    large_communities: tuple[bytes, ...] = ()
    unknown: tuple[UnknownAttribute, ...] = ()
    route_targets: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    """Those of extended_communities that are route targets (RFC 4360, section 4)."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        if len(self.communities) > 1:
            put(self, "communities", tuple(sorted(set(self.communities))))
        if len(self.extended_communities) > 1:
            put(self, "extended_communities", tuple(sorted(set(self.extended_communities))))
        if len(self.large_communities) > 1:
            put(self, "large_communities", tuple(sorted(set(self.large_communities))))
        if len(self.unknown) > 1:
            put(self, "unknown", tuple(sorted(self.unknown)))
        targets = tuple([one for one in self.extended_communities if one[1] == 2 and one[0] <= 2])
        put(self, "route_targets", targets)
        scalars = (self.origin, self.as_path, self.med, self.local_pref, self.atomic_aggregate, self.aggregator)
        put(
            self,
            "_hash",
            hash(
                (
                    scalars,
                    self.communities,
                    self.originator_id,
                    self.cluster_list,
                    self.extended_communities,
                    self.large_communities,
                    self.unknown,
                )
            ),
        )

    def __hash__(self) -> int:
        return self._hash
