"""What a host's item is in BGP (draft-ietf-l3vpn-end-system-06, section 6); no I/O.

    route distinguisher   type 1, the address of the next hop and the host's instance id of the VPN
    next hop              the address; several addresses are several NLRIs, one each
    label                 the host's, untouched
    route targets         what the VPN exports
    encapsulation         a community for each that the next hop takes (RFC 9012, section 4.1)
    LOCAL_PREF            the item's; 0 when it is stale, so that a copy of another gateway wins everywhere
    MAC mobility          the sequence number, unless it is 0 (RFC 7432, section 7.7)

So every gateway that a host publishes to makes the same NLRI with the same attributes of it.
"""

from __future__ import annotations

from typing import NamedTuple

from bgp.attributes import Attributes
from bgp.communities import (
    TUNNEL_GRE,
    TUNNEL_MPLS_IN_UDP,
    TUNNEL_VXLAN,
    MacMobility,
    pack_encapsulation,
    pack_mac_mobility,
    pack_route_target,
)
from bgp.family import VPNV4, VPNV6, Family
from bgp.nlri import pack_label, vpn_key
from bgp.recent import Recent
from gateway.obstacles import Obstacle
from gateway.rib import Item
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.path import Encapsulation, NextHop

STALE_LOCAL_PREF = 0
"""LOCAL_PREF of an item whose host has no session."""

_INSTANCE_MAX = 0xFFFF
_TUNNELS = {
    Encapsulation.GRE: TUNNEL_GRE,
    Encapsulation.UDP: TUNNEL_MPLS_IN_UDP,
    Encapsulation.VXLAN: TUNNEL_VXLAN,
}
_ATTRIBUTES = 8192
"""Sets of attributes remembered."""
_RD_OF_ADDRESS = 1


class Announcement(NamedTuple):
    """A route to originate. key and labels: bgp.nlri; next_hop: 4 bytes."""

    family: Family
    key: bytes
    labels: bytes
    attributes: Attributes
    next_hop: bytes


class _Said(NamedTuple):
    """What attributes are made of."""

    exports: frozenset[RouteTarget]
    encapsulations: tuple[Encapsulation, ...]
    sequence_number: int
    local_preference: int


class Exporter:
    """Makes announcements of items; equal attributes are one object."""

    def __init__(self) -> None:
        self._attributes: Recent[_Said, Attributes] = Recent(_ATTRIBUTES)

    def announcements(
        self, item: Item, exports: frozenset[RouteTarget], *, stale: bool
    ) -> tuple[list[Announcement], tuple[Obstacle, ...]]:
        """The routes of an item, at most one an address, and what stands in the way of announcing all of it."""
        instance = item.instance
        if instance is None or instance > _INSTANCE_MAX:
            return [], (Obstacle.NO_INSTANCE,)
        path = item.path
        preference = STALE_LOCAL_PREF if stale else path.local_preference
        hops = path.next_hops
        obstacles: dict[Obstacle, None] = {}
        if len(hops) > 1:
            hops = _one_an_address(hops, obstacles)
        family = VPNV4 if len(item.prefix.packed) == 4 else VPNV6
        number = instance.to_bytes(2, "big")
        found = []
        for address, label, encapsulations in hops:
            if len(address) != 4:
                obstacles[Obstacle.IPV6_NEXT_HOP] = None
                continue
            said = _Said(exports, encapsulations, path.sequence_number, preference)
            attributes = self._attributes.get(said) or self._attributes.put(said, _attributes(said))
            key = vpn_key(RouteDistinguisher(_RD_OF_ADDRESS, address + number), item.prefix)
            found.append(Announcement(family, key, pack_label(label), attributes, address))
        return found, tuple(obstacles)


def _one_an_address(hops: tuple[NextHop, ...], obstacles: dict[Obstacle, None]) -> tuple[NextHop, ...]:
    """Of next hops with one address the one with the lowest label."""
    chosen: dict[bytes, NextHop] = {}
    for hop in sorted(hops):
        if chosen.setdefault(hop.address, hop).label != hop.label:
            obstacles[Obstacle.LABELS] = None
    return tuple(chosen.values())


def _attributes(said: _Said) -> Attributes:
    extended = [pack_route_target(target) for target in said.exports]
    extended += [pack_encapsulation(_TUNNELS[one]) for one in said.encapsulations]
    if said.sequence_number:
        extended.append(pack_mac_mobility(MacMobility(said.sequence_number)))
    return Attributes(local_pref=said.local_preference, extended_communities=tuple(extended))
