"""Which objects stand on which: devices carry next hops, next hops carry routes.

The kernel deletes what stands on a thing that goes away, and tells nobody. The reconciler asks here what that was.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from datapath.values import (
    AntiSpoofing,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)

DEVICE_KINDS = (Kind.TUNNEL, Kind.VRF, Kind.PORT)
"""Kinds whose objects are devices, with the device's name as key."""

LOST_WHEN_DOWN = (Kind.NEIGHBOUR, Kind.NEXT_HOP)
"""Kinds whose objects the kernel drops when their device loses IFF_UP."""

LOST_WITHOUT_CARRIER = (Kind.NEXT_HOP,)
"""Kinds whose objects the kernel drops when their device loses its carrier, as at every start and end of a VM."""

LOST_WHEN_GONE = (Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds whose objects the kernel drops when their device is deleted."""

REFERRERS: dict[Kind, tuple[Kind, ...]] = {
    Kind.TUNNEL: (),
    Kind.NEIGHBOUR: (Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP, Kind.VRF_ROUTE),
    Kind.NEXT_HOP: (Kind.NEXT_HOP_GROUP, Kind.VRF_ROUTE),
    Kind.NEXT_HOP_GROUP: (Kind.VRF_ROUTE,),
}
"""Kinds whose objects are lost or cut off when one of this kind is deleted. A stray is swept only when the desired
state of these is complete too: the next hop that nobody has asked for yet may carry routes that are about to be
wanted."""


SUPPORTS_ALL = (Kind.TUNNEL, Kind.VRF)
"""Kinds whose success may cure any failure above: settings and rules of the host come with them."""
SUPPORTS_SOME = (Kind.PORT, Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP)
"""Kinds whose success may cure a failure of what stands on that very object."""


def device_of(value: Value) -> str | None:
    """Name of the device that a value is, or stands on directly; None for what names none (groups, VRF routes)."""
    if isinstance(value, Tunnel | Vrf | Port):
        return value.name
    if isinstance(value, Neighbour | NextHop | AntiSpoofing | MplsRoute):
        return value.device
    return None


def uses_next_hop(value: Value, lost: Container[object]) -> bool:
    """Whether a group has one of the lost next hops as a member, or a VRF route goes by a lost next hop or group."""
    if isinstance(value, VrfRoute):
        return value.via in lost
    if isinstance(value, NextHopGroup):
        return any(member in lost for member in value.members)
    return False


def users_of(lost: Container[object], devices: Container[str]) -> Callable[[Value], bool]:
    """uses_next_hop() for all VRF routes of a large table: devices are those of the lost next hops."""

    def uses(value: Value) -> bool:
        if isinstance(value, VrfRoute):
            via = value[2]
            # The device first: hashing a next hop costs more, and nearly no route has the device of a port.
            return (via[0] in devices or isinstance(via, NextHopGroup)) and via in lost
        return uses_next_hop(value, lost)

    return uses


def stands_on(value: Value, made: Container[object]) -> bool:
    """Whether a value is, or stands directly on, one of these devices (by name), next hops or groups."""
    return device_of(value) in made or uses_next_hop(value, made)
