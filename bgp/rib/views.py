"""What commands show of the tables; reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bgp.as_path import format_as_path
from bgp.communities import format_community, format_extended, format_large, format_router_id
from bgp.family import RTC, Family
from bgp.next_hop import address
from bgp.nlri import split_rtc_key, split_vpn_key, unpack_labels
from bgp.rib import decision
from bgp.rib.peer import Peer
from bgp.rib.policy import may_send
from bgp.rib.rib import Rib
from bgp.rib.table import Destination
from bgp.rib.values import Path, SourceKind
from vpn.community import RouteDistinguisher
from vpn.prefix import format_address


def describe_key(family: Family, key: bytes) -> str:
    """A destination for people: "64512:1:10.0.0.0/24", "rtc default", "rtc 64512:64512:1/96"."""
    if family == RTC:
        membership = split_rtc_key(key)
        if membership.origin_as is None:
            return "rtc default"
        target = format_extended(membership.target).removeprefix("rt:")
        return f"rtc {membership.origin_as}:{target}/{membership.length}"
    distinguisher, prefix = split_vpn_key(family, key)
    return f"{distinguisher}:{prefix}"


def describe_path(path: Path) -> dict[str, object]:
    """A path as a JSON document; addresses and communities are text, what is absent isn't there."""
    said = path.attributes.attributes
    found: dict[str, object] = {
        "from": path.source.name,
        "kind": path.source.kind.name.lower(),
        "next_hop": format_address(address(path.attributes.next_hop)),
        "labels": list(unpack_labels(path.labels)),
        "origin": said.origin.name.lower(),
        "as_path": format_as_path(said.as_path),
    }
    if said.local_pref is not None:
        found["local_preference"] = said.local_pref
    if said.med is not None:
        found["med"] = said.med
    if said.originator_id is not None:
        found["originator_id"] = format_router_id(said.originator_id)
    if said.cluster_list:
        found["cluster_list"] = [format_router_id(one) for one in said.cluster_list]
    communities = [format_community(one) for one in said.communities]
    communities += [format_extended(one) for one in said.extended_communities]
    communities += [format_large(one) for one in said.large_communities]
    if communities:
        found["communities"] = communities
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """A path of a destination. reason: the step of the decision that it lost by, "" for the best one."""

    path: Path
    best: bool
    multipath: bool
    stale: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A destination: its paths, the best first; who was told of it; which VPNs have it."""

    family: Family
    key: bytes
    paths: tuple[Standing, ...]
    told: tuple[str, ...]
    imported_by: tuple[str, ...]


def explain(rib: Rib, family: Family, key: bytes) -> Explanation | None:
    """Everything about a destination; None when it has no path."""
    table = rib.tables[family]
    destination = table.get(key)
    if destination is None:
        return None
    standings = tuple(
        Standing(
            verdict.path,
            verdict.step is None,
            verdict.multipath,
            table.adj_rib_in(verdict.path.source).is_stale(verdict.path),
            "" if verdict.step is None else verdict.step.value,
        )
        for verdict in decision.explain(destination.paths)
    )
    told = sorted(peer.name for peer in rib.peers.values() if peer.source.bit & destination.advertised)
    imports = rib.imports.get(family)
    imported = sorted(imports.imported_by(key)) if imports is not None else []
    return Explanation(family, key, standings, tuple(told), tuple(imported))


def not_told(rib: Rib, family: Family, key: bytes) -> list[tuple[str, str]]:
    """Peers with a session that haven't been told of a destination, each with the reason, by name."""
    destination = rib.tables[family].get(key)
    if destination is None:
        return []
    return [
        (name, _why_not_told(peer, family, destination))
        for name, peer in sorted(rib.peers.items())
        if peer.negotiated is not None and not peer.source.bit & destination.advertised
    ]


def _why_not_told(peer: Peer, family: Family, destination: Destination) -> str:
    member = peer.members.get(family)
    if member is None:
        return f"{family} is not negotiated"
    best, profile = destination.paths[0], peer.groups[family].profile
    if best.source is peer.source:
        return "the best path came from there"
    if best.source.kind is SourceKind.INTERNAL and profile.kind is SourceKind.INTERNAL:
        return "iBGP routes go to reflector clients and other ASes alone"
    if best.attributes.is_long_lived_stale and not profile.long_lived:
        return "long-lived stale, and the peer does not know what that is"
    if not may_send(best, profile):
        return "its communities forbid it"
    if family != RTC and not peer.interest.wants(best.attributes.targets):
        return "its memberships (RTC) want none of the route targets"
    if member.held:
        awaited = peer.membership_deadline is not None
        return "its memberships (RTC) are awaited" if awaited else "we have restarted and wait for other peers' routes"
    if member.cursor < destination.revision or member.rechecking:
        return "it is about to be told"
    return "a message that the peer takes has no room for it"


def routes(rib: Rib, family: Family, distinguisher: RouteDistinguisher | None = None) -> Iterator[Destination]:
    """Destinations that have a path, in no particular order; with a route distinguisher only those.

    Use it up before the tables change; page() lets them change meanwhile.
    """
    start = b"" if distinguisher is None else distinguisher.kind.to_bytes(2, "big") + distinguisher.value
    return (destination for destination in rib.tables[family] if destination.key.startswith(start))


def page(rib: Rib, family: Family, after: int, limit: int) -> tuple[list[Destination], int]:
    """At most `limit` destinations behind a revision, and the revision to go on from; 0 begins.

    Going on until the list is empty visits everything once; what changes meanwhile is seen again.
    """
    found, reached = rib.tables[family].log.read(after, limit)
    return [destination for destination in found if destination.paths], reached


class FamilyStatus(NamedTuple):
    """A family of a peer: routes received and how many of these are stale; NLRI announced and withdrawn since the
    session came up; bytes that wait to be sent; whether its End-of-RIB has come."""

    received: int
    stale: int
    announced: int
    withdrawn: int
    waiting: int
    ended: bool


def peer_status(rib: Rib, peer: Peer) -> dict[Family, FamilyStatus]:
    """Counts by family; looks at every route of the peer for the stale ones."""
    found: dict[Family, FamilyStatus] = {}
    for family, table in rib.tables.items():
        adj = table.sources.get(peer.source)
        member = peer.members.get(family)
        if adj is None and member is None:
            continue
        found[family] = FamilyStatus(
            received=len(adj) if adj is not None else 0,
            stale=adj.count_stale() if adj is not None and family in peer.helper.stale else 0,
            announced=member.announced if member is not None else 0,
            withdrawn=member.withdrawn if member is not None else 0,
            waiting=member.size if member is not None else 0,
            ended=family in peer.ended,
        )
    return found
