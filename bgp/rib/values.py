"""What a table holds of a route: where it came from, its attributes ready for comparison, its labels."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import NamedTuple
from weakref import WeakValueDictionary

from bgp.as_path import first_as, path_length
from bgp.attributes import WELL_KNOWN_LLGR_STALE, WELL_KNOWN_NO_LLGR, Attributes
from bgp.communities import mac_mobility

DEFAULT_LOCAL_PREF = 100
"""Of a route that comes without (RFC 4271, section 9.1.1, leaves it to us)."""


class SourceKind(enum.IntEnum):
    """Where routes come from, the more preferred first, and how they may go on (RFC 4456, section 6)."""

    LOCAL = 0
    """The gateway itself."""
    HOST = 1
    """A host of this gateway, by XMPP."""
    EXTERNAL = 2
    """A peer of another AS."""
    CLIENT = 3
    """A peer of our AS that we reflect for."""
    INTERNAL = 4
    """Any other peer of our AS."""

    @property
    def is_peer(self) -> bool:
        """Whether it is learnt by BGP."""
        return self >= SourceKind.EXTERNAL

    @property
    def is_internal(self) -> bool:
        """Whether it is learnt by iBGP."""
        return self >= SourceKind.CLIENT


class Source:
    """Who sent a route. name: for people and for the shell; address: the peer's (4 or 16 bytes), b"" for ourselves.

    router_id is that of the present or last session (RFC 4271, section 9.1.2.2 f). bit: the peer's in the masks of
    who is told what, 0 without a session.
    """

    __slots__ = ("address", "bit", "is_peer", "kind", "name", "order", "router_id")

    def __init__(self, name: str, kind: SourceKind, address: bytes = b"", router_id: bytes = bytes(4)) -> None:
        self.name = name
        self.kind = kind
        self.address = address
        self.router_id = router_id
        self.bit = 0
        self.order = min(kind, SourceKind.EXTERNAL)
        """The gateway before hosts before BGP."""
        self.is_peer = kind.is_peer
        """Whether its routes are learnt by BGP."""

    def __repr__(self) -> str:
        return f"Source({self.name!r}, {self.kind.name})"


class AttributeSet:
    """Attributes and next hop of routes, one object for equal ones (AttributeSets), with what the decision reads.

    next_hop: 4, 16 or 32 bytes, see bgp.next_hop. rank: what is compared before MED, smaller is better: long-lived
    stale (RFC 9494, section 4.2: least preferred), LOCAL_PREF, static and sequence number of MAC mobility (RFC 7432,
    section 15.1), length of AS_PATH, ORIGIN.
    """

    __slots__ = ("__weakref__", "attributes", "cluster_length", "med", "neighbour", "next_hop", "rank", "targets")

    def __init__(self, attributes: Attributes, next_hop: bytes) -> None:
        self.attributes = attributes
        self.next_hop = next_hop
        mobility = mac_mobility(attributes)
        local_pref = DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref
        self.rank = (
            WELL_KNOWN_LLGR_STALE in attributes.communities,
            -local_pref,
            mobility is None or not mobility.static,
            -mobility.sequence_number if mobility is not None else 0,
            path_length(attributes.as_path),
            int(attributes.origin),
        )
        self.med = attributes.med or 0
        """0 when there is none (RFC 4271, section 9.1.2.2 c)."""
        self.neighbour = first_as(attributes.as_path)
        """The AS that MEDs are comparable within; None: our own."""
        self.cluster_length = len(attributes.cluster_list)
        self.targets = attributes.route_targets

    @property
    def is_long_lived_stale(self) -> bool:
        """Whether it has the community LLGR_STALE (RFC 9494)."""
        return self.rank[0]

    @property
    def forbids_long_lived(self) -> bool:
        """Whether it has the community NO_LLGR (RFC 9494)."""
        return WELL_KNOWN_NO_LLGR in self.attributes.communities


class AttributeSets:
    """Makes one object of equal attributes and next hop, as long as somebody uses it."""

    __slots__ = ("_sets",)

    def __init__(self) -> None:
        self._sets: WeakValueDictionary[tuple[Attributes, bytes], AttributeSet] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._sets)

    def of(self, attributes: Attributes, next_hop: bytes) -> AttributeSet:
        """The set for attributes and next hop."""
        key = (attributes, next_hop)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = AttributeSet(attributes, next_hop)
        return found

    def long_lived_stale(self, known: AttributeSet) -> AttributeSet:
        """The same with the community LLGR_STALE."""
        said = known.attributes
        return self.of(replace(said, communities=(*said.communities, WELL_KNOWN_LLGR_STALE)), known.next_hop)


class Path(NamedTuple):
    """A way to a destination, as one source says it.

    labels: three bytes each (bgp.nlri), empty for membership; generation: of the adj-rib-in when the route came
    (bgp.rib.table): smaller than that of the adj-rib-in now means stale.
    """

    source: Source
    attributes: AttributeSet
    labels: bytes
    generation: int
