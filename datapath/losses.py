"""What an event in the kernel took away: from one deleted object to all that stood on it.

Linux deletes the neighbours and next hops of a device that goes down, and the routes of a next hop that is deleted,
without a notification. So the reconciler's view of them is dropped here, and they are put again.

A group that loses a member goes on with the others: it has become another one, under the same id. Only a dump can tell,
and it has time. First the lost member is tried again: if the kernel refuses it, whoever plans may want other groups
without it (agent/planner.py), and traffic shall not wait for the dump of a large table. What then still is believed to
be there with the lost member is looked at when there is nothing else to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from datapath.describe import describe
from datapath.drift import CHANGED, DELETED, DriftLog
from datapath.events import KernelEvent, LinkChanged, LinkDown, LinkGone, ObjectChanged, ObjectRemoved
from datapath.layer import Layer, Layers
from datapath.relations import (
    DEVICE_KINDS,
    LOST_WHEN_DOWN,
    LOST_WHEN_GONE,
    LOST_WITHOUT_CARRIER,
    REFERRERS,
    users_of,
    uses_next_hop,
)
from datapath.values import Key, Kind, NextHop, NextHopGroup, Value

_REPLACEABLE = (Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP, Kind.MPLS_ROUTE, Kind.VRF_ROUTE)
"""Kinds that can be put whether they are there or not, if the driver is told that they were: a report may be out of
date."""

Lost = set[NextHop | NextHopGroup]


class Losses:
    """Applies events to the layers. resync(kinds, reason) asks for dumps; changed(layer, key) reports a status; drift
    takes up what was lost."""

    def __init__(
        self,
        layers: Layers,
        resync: Callable[[Iterable[Kind], str], None],
        changed: Callable[[Layer, Key], None],
        drift: DriftLog,
    ) -> None:
        self._layers = layers
        self._resync = resync
        self._changed = changed
        self._drift = drift
        self._removed_devices: set[str] = set()
        """Devices that we deleted and whose LinkGone is still to come."""
        self._torn: set[Key] = set()
        """Groups that have lost a member since they were made, removed or dumped."""

    def handle(self, events: Iterable[KernelEvent]) -> None:
        """Take note of what others did."""
        lost: Lost = set()
        for event in events:
            match event:
                case LinkGone(name):
                    self._link_lost(name, True, lost)
                case LinkDown(name, True):
                    self._lose_on(name, LOST_WITHOUT_CARRIER, lost, f"{name} lost its carrier")
                case LinkDown(name):
                    self._link_lost(name, False, lost)
                case LinkChanged(name):
                    for layer in self._layers:
                        layer.note_improved((name,))
                case ObjectRemoved(kind, key):
                    if (one := self._layers.get(kind)) is not None:
                        self._doubt(one, [key], DELETED)
                    if isinstance(key, NextHop | NextHopGroup):
                        lost.add(key)
                case ObjectChanged(kind, key, value):
                    self._object_changed(kind, key, value)
                case _:
                    for layer in self._layers:
                        layer.kicked = True
                    self._resync(tuple(Kind), "notifications were lost")
        if lost:
            self._next_hops_lost(lost)

    def devices_made(self, keys: Iterable[Key]) -> None:
        """These devices were put by us."""
        self._removed_devices.difference_update(str(key) for key in keys)

    def devices_removed(self, keys: Iterable[Key]) -> None:
        """These devices were deleted by us: what stood on them was taken away before, but for strays."""
        names = [str(key) for key in keys]
        self._removed_devices.update(names)
        if any(layer.tracker.strays for layer in self._layers if layer.kind in LOST_WHEN_GONE):
            # Now, and not when the deletion is told: until then one of them may have become wanted.
            lost: Lost = set()
            for name in names:
                self._lose_on(name, LOST_WHEN_GONE, lost, f"{name} was {DELETED}")
            if lost:
                self._next_hops_lost(lost)

    def groups_made(self, keys: Iterable[Key]) -> None:
        """These groups were put by us, with all of their members."""
        if self._torn:
            self._torn.difference_update(keys)

    def groups_read(self) -> None:
        """The groups were dumped."""
        self._torn.clear()

    def look_at_groups(self) -> bool:
        """Ask for a dump if there is a group that has lost a member. Returns whether."""
        if not self._torn:
            return False
        self._torn.clear()
        routes = self._layers.get(Kind.VRF_ROUTE)
        # A stray that goes by such a group goes by another one now; what is wanted has been doubted already.
        strays = routes is not None and routes.tracker.strays
        kinds = [Kind.NEXT_HOP_GROUP, Kind.VRF_ROUTE] if strays else [Kind.NEXT_HOP_GROUP]
        self._resync(kinds, "a next-hop group lost a member")
        return True

    def next_hops_removed(self, kind: Kind, keys: Sequence[Key]) -> None:
        """These next hops or groups were deleted by us, and the kernel deleted with them whatever still went by them.
        That can only be what waits to be changed, and strays."""
        if self._torn and kind is Kind.NEXT_HOP_GROUP:
            self._torn.difference_update(keys)
        lost: Lost = {key for key in keys if isinstance(key, NextHop | NextHopGroup)}
        for referrer in REFERRERS[kind]:
            if (layer := self._layers.get(referrer)) is None:
                continue
            tracker = layer.tracker
            for key in [*tracker.updates, *tracker.aside, *tracker.strays]:
                have = tracker.other.get(key)
                if have is not None and uses_next_hop(have, lost):
                    tracker.kernel_doubt(key)
                    if referrer is Kind.NEXT_HOP_GROUP:
                        self._torn.add(key)

    def _link_lost(self, name: str, gone: bool, lost: Lost) -> None:
        """A device went away or down; lost takes up the next hops that went with it."""
        if name in self._removed_devices:
            if gone:
                self._removed_devices.discard(name)
            return
        for kind in DEVICE_KINDS:
            layer = self._layers.get(kind)
            if layer is None or layer.tracker.kernel_value(name) is None:
                continue
            if gone:
                self._doubt(layer, [name], DELETED)
                if kind is Kind.VRF:
                    self._resync([Kind.PORT], f"{name} is gone")
            else:
                self._resync([kind], f"{name} went down")

        if gone:
            self._lose_on(name, LOST_WHEN_GONE, lost, f"{name} was {DELETED}")
        else:
            self._lose_on(name, LOST_WHEN_DOWN, lost, f"{name} went down")

    def _lose_on(self, name: str, kinds: Iterable[Kind], lost: Lost, why: str) -> None:
        """What stood on a device is gone, as far as it is of these kinds (of relations.LOST_WHEN_GONE)."""

        def stands_on_it(value: Value) -> bool:
            return value.device == name  # type: ignore[union-attr]  # all of these kinds have it

        for kind in kinds:
            layer = self._layers.get(kind)
            if layer is None:
                continue
            tracker = layer.tracker
            keys = tracker.keys_in_kernel(stands_on_it)
            if kind is Kind.NEXT_HOP:
                # Those too that wait to be put: while a device loses its carrier, the kernel already refuses new next
                # hops and still has the old ones, by which a route may have been put meanwhile.
                waiting = (*keys, *tracker.updates, *tracker.aside)
                lost.update(key for key in waiting if isinstance(key, NextHop) and key.device == name)
            self._doubt(layer, keys, f"lost: {why}")

    def _next_hops_lost(self, lost: Lost) -> None:
        """Next hops are gone, and with them their routes and their places in groups."""
        groups = self._layers.get(Kind.NEXT_HOP_GROUP)
        if groups is not None:
            self._torn.update(groups.tracker.keys_in_kernel(lambda value: uses_next_hop(value, lost)))
        routes = self._layers.get(Kind.VRF_ROUTE)
        if routes is not None:
            devices = {one.device for one in lost if isinstance(one, NextHop)}
            self._doubt(routes, routes.tracker.keys_in_kernel(users_of(lost, devices)), "lost with its next hop")

    def _doubt(self, layer: Layer, keys: Sequence[Key], what: str) -> None:
        """The kernel has lost these objects, or may have: put those that are wanted again."""
        tracker = layer.tracker
        for key in keys:
            right = tracker.is_right(key)
            if layer.kind in _REPLACEABLE:
                tracker.kernel_doubt(key)
            else:
                tracker.kernel_remove(key)
            if right:
                layer.repaired += 1
                self._drift.found(layer.kind, key, what)
                self._changed(layer, key)

    def _object_changed(self, kind: Kind, key: Key, value: Value | None) -> None:
        layer = self._layers.get(kind)
        if layer is None:
            return
        if value is None:
            self._resync([kind], f"{describe(kind, key)} was changed by another program")
            return
        right = layer.tracker.is_right(key)
        layer.tracker.kernel_put(key, value)
        if right and not layer.tracker.is_right(key):
            layer.repaired += 1
            self._drift.found(kind, key, CHANGED)
        self._changed(layer, key)
