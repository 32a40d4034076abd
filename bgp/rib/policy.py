"""Which routes of a peer count, and which go to whom and as what (RFC 4271, 4456, 9494).

On iBGP nothing that says where packets go is touched: next hop, labels, AS_PATH, LOCAL_PREF and MED pass as they came.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace

from bgp.as_path import contains, prepend
from bgp.attributes import WELL_KNOWN_NO_ADVERTISE, WELL_KNOWN_NO_EXPORT, WELL_KNOWN_NO_EXPORT_SUBCONFED, Attributes
from bgp.next_hop import address
from bgp.rib.values import DEFAULT_LOCAL_PREF, Path, SourceKind

_NOT_OUTSIDE = frozenset((WELL_KNOWN_NO_EXPORT, WELL_KNOWN_NO_EXPORT_SUBCONFED))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are to all peers.

    router_id, cluster_id: 4 bytes each; addresses: our own (4 or 16 bytes each), which are no next hops of others.
    """

    asn: int
    router_id: bytes
    cluster_id: bytes
    addresses: frozenset[bytes] = frozenset()


class Loop(enum.StrEnum):
    """Why an announced route isn't taken; it withdraws what the peer said before."""

    ORIGINATOR = "our own router id is the ORIGINATOR_ID"
    CLUSTER = "our cluster id is in the CLUSTER_LIST"
    AS_PATH = "our AS is in the AS_PATH"
    NEXT_HOP = "the next hop is our own address"


def find_loop(identity: Identity, attributes: Attributes, next_hop: bytes) -> Loop | None:
    """Why routes with these attributes can't be used; None: they can (RFC 4456, section 8; RFC 4271, 9.1.2)."""
    if attributes.originator_id == identity.router_id:
        return Loop.ORIGINATOR
    if identity.cluster_id in attributes.cluster_list:
        return Loop.CLUSTER
    if attributes.as_path and contains(attributes.as_path, identity.asn):
        return Loop.AS_PATH
    if identity.addresses and address(next_hop) in identity.addresses:
        return Loop.NEXT_HOP
    return None


@dataclass(frozen=True, slots=True)
class Profile:
    """What peers have in common that are sent the same bytes: one update group has one profile.

    kind: EXTERNAL, CLIENT or INTERNAL; max_length: bytes of a message; long_lived: the peer takes long-lived stale
    routes; next_hop_self: the address to set to other ASes (4 or 16 bytes), None: the next hop stays.
    """

    kind: SourceKind
    max_length: int
    four_octet_as: bool = True
    long_lived: bool = False
    next_hop_self: bytes | None = None


def may_send(path: Path, profile: Profile) -> bool:
    """Whether a best path goes to peers of the profile, other than the one that it came from."""
    kind, attributes = path.source.kind, path.attributes
    if kind is SourceKind.INTERNAL and profile.kind is SourceKind.INTERNAL:
        return False
    if attributes.is_long_lived_stale and not profile.long_lived:
        return False
    communities: Collection[int] = attributes.attributes.communities
    if not communities:
        return True
    if WELL_KNOWN_NO_ADVERTISE in communities:
        return False
    return profile.kind is not SourceKind.EXTERNAL or _NOT_OUTSIDE.isdisjoint(communities)


def sent_as(path: Path, profile: Profile, identity: Identity) -> tuple[Attributes, bytes]:
    """Attributes and next hop as peers of the profile see them."""
    attributes, next_hop = path.attributes.attributes, path.attributes.next_hop
    if profile.kind is SourceKind.EXTERNAL:
        path_with_us = prepend(attributes.as_path, identity.asn)
        # A MED is for the neighbouring AS alone (RFC 4271, section 5.1.4): a learnt one stops here.
        med = None if path.source.kind.is_peer else attributes.med
        outside = replace(
            attributes, as_path=path_with_us, med=med, local_pref=None, originator_id=None, cluster_list=()
        )
        return outside, next_hop if profile.next_hop_self is None else profile.next_hop_self
    if path.source.kind.is_internal:
        # Reflection (RFC 4456, section 8): whom the route came from is said once, each cluster puts its id in front.
        originator = attributes.originator_id or path.source.router_id
        clusters = (identity.cluster_id, *attributes.cluster_list)
        return replace(attributes, originator_id=originator, cluster_list=clusters), next_hop
    if attributes.local_pref is None:
        return replace(attributes, local_pref=DEFAULT_LOCAL_PREF), next_hop
    return attributes, next_hop
