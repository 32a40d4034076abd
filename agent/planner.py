"""The plan, change by change: the same as `agent.plan.plan`, at a cost that follows the change.

Next hops, groups and remote hosts' neighbours are shared by routes, so they are counted; everything else belongs to one
attachment, one VPN or one route. `take` gives what has changed since the last time; the last word on an object wins, so
that a route that flapped in between is written once or not at all.

A next hop is taken for usable until the datapath says otherwise (next_hop()), and again when nobody has wanted it for a
while. So nothing of that has to be kept: after a restart the first attempt tells.
"""

from __future__ import annotations

from typing import NamedTuple

from agent.attachment import Attached, VpnRecord
from agent.plan import Host, Resolution, attachment_values, host_values, parts, resolve, vpn_values
from datapath.values import Key, Kind, Neighbour, NextHop, NextHopGroup, Value, VrfRoute
from vpn.path import Path
from vpn.prefix import Prefix

_NONE = Resolution(None)


class Delta(NamedTuple):
    """Changes of the desired state. removes: the values as they were."""

    puts: list[Value]
    removes: list[Value]

    def __bool__(self) -> bool:
        return bool(self.puts or self.removes)


class _Vpn:
    """A VPN with at least one attachment here."""

    __slots__ = ("attachments", "record", "routes", "waiting")

    def __init__(self, record: VpnRecord) -> None:
        self.record = record
        self.attachments: set[str] = set()
        self.routes: dict[Prefix, VrfRoute] = {}
        self.waiting: dict[Prefix, tuple[NextHop, ...]] = {}
        """Next hops that a route will have when the kernel takes them; few routes have any."""


class Planner:
    """Desired state of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._vpns: dict[str, _Vpn] = {}
        self._attached: dict[str, Attached] = {}
        self.by_label: dict[int, Attached] = {}
        self.down: set[NextHop] = set()
        """Next hops towards ports here that are wanted, and that the kernel doesn't take at present."""
        self._by_device: dict[str, Attached] = {}
        self._counts: dict[NextHop | NextHopGroup | Neighbour, int] = {}
        # Paths with a next hop of this host: to be looked at again when a label comes or goes.
        self._own: dict[tuple[str, Prefix], Path] = {}
        self._own_labels: dict[int, set[tuple[str, Prefix]]] = {}
        self._puts: dict[tuple[Kind, Key], Value] = {}
        self._removes: dict[tuple[Kind, Key], Value] = {}
        for value in host_values(host):
            self._put(value)

    # -- changes

    def attach(self, attached: Attached, record: VpnRecord) -> bool:
        """Plan an attachment; again with the same name and content does nothing new. Returns whether the VPN is new."""
        name = attached.attachment.vpn
        vpn = self._vpns.get(name)
        new = vpn is None
        if vpn is None:
            vpn = self._vpns[name] = _Vpn(record)
            for value in vpn_values(record):
                self._put(value)
        vpn.attachments.add(attached.name)
        self._attached[attached.name] = attached
        self.by_label[attached.label] = attached
        self._by_device[attached.attachment.interface] = attached
        for value in attachment_values(attached, record):
            self._put(value)
        self._resolve_again(attached.label)
        return new

    def detach(self, name: str) -> bool:
        """Take an attachment out of the plan; with the last one of a VPN, the VPN and its routes go too.

        Returns whether the VPN is gone.
        """
        attached = self._attached.pop(name, None)
        if attached is None:
            return False
        vpn = self._vpns[attached.attachment.vpn]
        vpn.attachments.discard(name)
        del self.by_label[attached.label]
        del self._by_device[attached.attachment.interface]
        if not vpn.attachments:
            self._drop(vpn)
        self._resolve_again(attached.label)
        for value in attachment_values(attached, vpn.record):
            self._remove(value)
        return not vpn.attachments

    def change(self, attached: Attached) -> None:
        """Plan an attachment anew that is in the plan: other prefixes are blocked, or it was closed or opened."""
        record = self._vpns[attached.attachment.vpn].record
        former = self._attached[attached.name]
        self._attached[attached.name] = self.by_label[attached.label] = attached
        self._by_device[attached.attachment.interface] = attached
        values = attachment_values(attached, record)
        kept = {(value.kind, value.key) for value in values}
        for value in attachment_values(former, record):
            if (value.kind, value.key) not in kept:
                self._remove(value)
        for value in values:
            self._put(value)

    def route(self, name: str, prefix: Prefix, path: Path | None) -> None:
        """A VPN's selected path for a prefix changed; None: there is none. Without attachment in the VPN: ignored."""
        vpn = self._vpns.get(name)
        if vpn is not None:
            self._note_own(name, prefix, path)
            self._set(vpn, prefix, path)

    def next_hop(self, next_hop: NextHop, taken: bool) -> bool:
        """The kernel takes a next hop towards a port, or refuses it: a VM was switched on or off. The routes that have
        others as well go by those that can be used. Returns whether that changes anything."""
        attached = self._by_device.get(next_hop.device)
        if attached is None or next_hop not in self._counts or taken is (next_hop not in self.down):
            return False
        if taken:
            self.down.discard(next_hop)
        else:
            self.down.add(next_hop)
        self._resolve_again(attached.label)
        return True

    def take(self) -> Delta:
        """What has changed since the last take."""
        delta = Delta(list(self._puts.values()), list(self._removes.values()))
        self._puts, self._removes = {}, {}
        return delta

    # -- reading

    def values(self, attached: Attached) -> tuple[Value, ...]:
        """What an attachment in the plan needs, its VPN's part first."""
        record = self._vpns[attached.attachment.vpn].record
        return (*vpn_values(record), *attachment_values(attached, record))

    def vrf_route(self, name: str, prefix: Prefix) -> VrfRoute | None:
        """The route planned for a prefix of a VPN, or None."""
        vpn = self._vpns.get(name)
        return None if vpn is None else vpn.routes.get(prefix)

    def waiting(self, name: str, prefix: Prefix) -> tuple[NextHop, ...]:
        """Next hops that the route of a prefix has to do without until the kernel takes them."""
        vpn = self._vpns.get(name)
        return () if vpn is None else vpn.waiting.get(prefix, ())

    def port_on(self, device: str) -> Attached | None:
        """The attachment whose port a device is."""
        return self._by_device.get(device)

    def users(self, value: NextHop | NextHopGroup | Neighbour) -> int:
        """How many routes, groups and next hops want a shared object."""
        return self._counts.get(value, 0)

    def desired(self) -> set[Value]:
        """Everything planned; for tests and diagnosis, costs as much as there is."""
        values: set[Value] = {*host_values(self.host), *self._counts}
        for vpn in self._vpns.values():
            values.update(vpn_values(vpn.record))
            values.update(vpn.routes.values())
        for attached in self._attached.values():
            values.update(attachment_values(attached, self._vpns[attached.attachment.vpn].record))
        return values

    # -- routes

    def _set(self, vpn: _Vpn, prefix: Prefix, path: Path | None) -> None:
        old = vpn.routes.get(prefix)
        resolution = _NONE if path is None else resolve(self.host, prefix, path, self.by_label, self.down)
        via = resolution.via
        # The new next hops are taken before the old ones are given back: what both need stays.
        had = self._wait(vpn, prefix, resolution.waiting) if resolution.waiting or vpn.waiting else ()
        if via is None:
            if old is not None:
                del vpn.routes[prefix]
                self._remove(old)
                self._release(old.via)
        elif old is None or old.via != via:
            self._acquire(via)
            route = vpn.routes[prefix] = VrfRoute(vpn.record.table, prefix, via)
            self._put(route)
            if old is not None:
                self._release(old.via)
        for next_hop in had:
            self._release(next_hop)

    def _wait(self, vpn: _Vpn, prefix: Prefix, waiting: tuple[NextHop, ...]) -> tuple[NextHop, ...]:
        """Take the next hops that a route waits for; returns those it waited for before, to be given back."""
        for next_hop in waiting:
            self._acquire(next_hop)
        had = vpn.waiting.pop(prefix, ())
        if waiting:
            vpn.waiting[prefix] = waiting
        return had

    def _drop(self, vpn: _Vpn) -> None:
        name = vpn.record.name
        for key in [key for key in self._own if key[0] == name]:
            self._note_own(name, key[1], None)
        for prefix in list(vpn.routes):
            self._set(vpn, prefix, None)
        del self._vpns[name]
        for value in vpn_values(vpn.record):
            self._remove(value)

    def _note_own(self, name: str, prefix: Prefix, path: Path | None) -> None:
        """Remember the labels of this host in a path."""
        key = (name, prefix)
        previous = self._own.pop(key, None) if self._own else None
        for next_hop in previous.next_hops if previous is not None else ():
            keys = self._own_labels.get(next_hop.label)
            if keys is not None:
                keys.discard(key)
                if not keys:
                    del self._own_labels[next_hop.label]
        for next_hop in path.next_hops if path is not None else ():
            if path is not None and next_hop.address == self.host.address:
                self._own[key] = path
                self._own_labels.setdefault(next_hop.label, set()).add(key)

    def _resolve_again(self, label: int) -> None:
        for key in list(self._own_labels.get(label, ())):
            vpn = self._vpns.get(key[0])
            if vpn is not None:
                self._set(vpn, key[1], self._own[key])

    # -- counted objects

    def _acquire(self, value: NextHop | NextHopGroup | Neighbour) -> None:
        count = self._counts.get(value, 0)
        self._counts[value] = count + 1
        if not count:
            if not isinstance(value, Neighbour):
                for part in parts(self.host, value):
                    self._acquire(part)
            self._put(value)

    def _release(self, value: NextHop | NextHopGroup | Neighbour) -> None:
        count = self._counts[value] - 1
        if count:
            self._counts[value] = count
            return
        del self._counts[value]
        self._remove(value)
        if self.down and isinstance(value, NextHop):
            # Nobody tells any more how it is with this one.
            self.down.discard(value)
        if not isinstance(value, Neighbour):
            for part in parts(self.host, value):
                self._release(part)

    # -- the delta

    def _put(self, value: Value) -> None:
        key = (value.kind, value.key)
        self._removes.pop(key, None)
        self._puts[key] = value

    def _remove(self, value: Value) -> None:
        key = (value.kind, value.key)
        self._puts.pop(key, None)
        self._removes[key] = value
