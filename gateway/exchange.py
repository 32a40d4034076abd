"""Between the VRF tables of hosts and the tables of BGP, without I/O.

    Rib (items, policy)     --changes--> Exporter, Claims --> originate(), unoriginate() --+
    Service (subscribers)   --joined---> memberships, with linger -------------------------+--> bgp.rib.rib.Rib
    VrfTable (one a VPN)    <-- source Learnt(route distinguisher) -- step_imports() ---------+

Out: an item's routes as gateway.exporting makes them. What changed since the last call is looked at, whatever became of
it meanwhile, so a call costs what changed and says what holds.

In: what a VPN imports is a path of its table beside those of the hosts. The source is the route distinguisher, so that
hosts at other gateways, and PEs with the same prefix, are paths of their own and selected among as hosts are. Routes of
our own hosts aren't imported, unless what a peer says of the same NLRI is better: a host that has lost its session
here is fresh at the other gateway.

Memberships (RFC 4684) are the import targets of VPNs that have a subscriber. They stay for a while after the last one
has gone: hosts come back, and routes should be there then.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import NamedTuple

from bgp.attributes import Attributes
from bgp.communities import pack_route_target
from bgp.family import Family
from bgp.nlri import Route
from bgp.rib.rib import VPN_FAMILIES
from bgp.rib.rib import Rib as BgpRib
from gateway.claims import Claims
from gateway.exporting import Announcement, Exporter
from gateway.obstacles import Obstacle, Obstacles, Unannounced
from gateway.rib import Item, ItemRef, Learnt, Source
from gateway.service import Service
from vpn.table import VrfTable

_Nlri = tuple[Family, bytes]


class _Export(NamedTuple):
    """What was made of an item: the NLRIs that it claims, and what stood in the way."""

    host: str
    nlris: tuple[_Nlri, ...]
    obstacles: tuple[Obstacle, ...]


class Exchange:
    """Joins a service and BGP tables, which are new. linger: seconds that memberships outlive the last subscriber of a
    VPN. Times are seconds of any monotonic clock.
    """

    def __init__(self, service: Service, bgp: BgpRib, *, linger: float) -> None:
        self.linger = linger
        self._service = service
        self._items = service.rib
        self._bgp = bgp
        self._exporter = Exporter()
        self._exports: dict[ItemRef, _Export] = {}
        self._claims = {family: Claims() for family in VPN_FAMILIES}
        self._obstacles = Obstacles()
        self._reloads = -1
        self._tables: dict[str, VrfTable[Source]] = {}
        """Those that the BGP tables know the imports of."""
        self._joins = -1
        self._members: dict[str, float | None] = {}
        """VPNs with memberships: when these end, None as long as there are subscribers."""
        self._items.changes = {(vpn, name): None for vpn in self._items.tables for name, _ in self._items.items(vpn)}
        for table in self._items.tables.values():
            # Of former BGP tables.
            for source in table.sources():
                if isinstance(source, Learnt):
                    table.withdraw_source(source)

    @property
    def problems(self) -> Counter[str]:
        """Number of items, now, that aren't announced or not wholly, by what is in the way (Obstacle)."""
        return self._obstacles.counts

    def take_unannounced(self) -> list[Unannounced]:
        """Items that aren't announced, or not wholly: what has come up since the last call, for the log."""
        return self._obstacles.take_new()

    # -- out

    @property
    def has_work(self) -> bool:
        """Whether export() would do something."""
        items = self._items
        return bool(items.changes) or items.reloads != self._reloads or self._service.joins != self._joins

    def export(self, now: float, limit: int | None = None) -> int:
        """Tell the BGP tables what has changed: policy, subscribers, and items, of these at most `limit` (None: all).

        Returns how many items were looked at. Cheap when nothing has changed.
        """
        if self._items.reloads != self._reloads:
            self._take_policy()
            self._take_subscribers(now)
        elif self._service.joins != self._joins:
            self._take_subscribers(now)
        changes = self._items.changes
        if not changes:
            return 0
        items = list(islice(changes, limit))
        if len(items) == len(changes):
            self._items.changes = {}
        else:
            for item in items:
                del changes[item]
        count = len(items)
        self._export(items)
        return count

    def _export(self, items: list[ItemRef]) -> None:
        said: dict[_Nlri, Announcement | None] = {}
        """The last word on each NLRI."""
        for item in items:
            # More are appended on the way: who takes over an NLRI.
            self._export_item(item, said, items)
        routes: dict[tuple[Family, Attributes, bytes], list[Route]] = {}
        gone: dict[Family, list[bytes]] = {}
        for (family, key), announcement in said.items():
            if announcement is None:
                gone.setdefault(family, []).append(key)
            else:
                group = (family, announcement.attributes, announcement.next_hop)
                routes.setdefault(group, []).append((key, announcement.labels))
        for (family, attributes, next_hop), announced in routes.items():
            self._bgp.originate(family, attributes, next_hop, announced)
        for family, keys in gone.items():
            self._bgp.unoriginate(family, keys)

    def _export_item(self, ref: ItemRef, said: dict[_Nlri, Announcement | None], heirs: list[ItemRef]) -> None:
        vpn, item_id = ref
        item = self._items.item(vpn, item_id)
        before = self._exports.pop(ref, None)
        found: list[Announcement] = []
        obstacles: tuple[Obstacle, ...] = ()
        if item is not None:
            stale = self._items.is_stale(vpn, item.publisher.host, item_id)
            found, obstacles = self._exporter.announcements(item, self._items.policy.exports(vpn), stale=stale)
        nlris = tuple([(one.family, one.key) for one in found])
        for nlri in before.nlris if before is not None else ():
            if nlri not in nlris:
                family, key = nlri
                owned, heir = self._claims[family].release(key, ref)
                if owned:
                    said[nlri] = None
                if heir is not None:
                    heirs.append(heir)
        for nlri, one in zip(nlris, found, strict=True):
            if self._claims[one.family].claim(one.key, ref):
                said[nlri] = one
            elif Obstacle.CLAIMED not in obstacles:
                obstacles = (*obstacles, Obstacle.CLAIMED)
        self._note(ref, item, before, obstacles)
        if item is not None:
            self._exports[ref] = _Export(item.publisher.host, nlris, obstacles)

    def _note(self, ref: ItemRef, item: Item | None, before: _Export | None, obstacles: tuple[Obstacle, ...]) -> None:
        met = before.obstacles if before is not None else ()
        if before is not None and (item is None or item.publisher.host != before.host):
            self._obstacles.change(before.host, ref, met, ())
            met = ()
        if item is not None:
            self._obstacles.change(item.publisher.host, ref, met, obstacles)

    # -- interest

    def _take_policy(self) -> None:
        """Import targets of all VPNs, also of those without subscribers, whose routes are there when one comes."""
        vpns = self._items.policy.vpns.values()
        imports = {vpn.name: list(map(pack_route_target, vpn.imports)) for vpn in vpns}
        tables = self._items.tables
        remade = {name for name, table in self._tables.items() if tables.get(name, table) is not table}
        if remade:
            # Gone and back since the last call: their tables are empty, and the routes in them are to come again.
            self._bgp.set_imports({name: targets for name, targets in imports.items() if name not in remade})
        self._bgp.set_imports(imports)
        self._reloads, self._tables = self._items.reloads, dict(tables)

    def _take_subscribers(self, now: float) -> None:
        self._joins = self._service.joins
        joined = self._service.joined()
        vpns = self._items.policy.vpns
        members: dict[str, float | None] = {}
        for name in vpns:
            if name in joined:
                members[name] = None
            elif name in self._members:
                until = self._members[name]
                members[name] = now + self.linger if until is None else until
        self._members = members
        self._set_memberships()

    def _set_memberships(self) -> None:
        vpns = self._items.policy.vpns
        self._bgp.set_memberships(
            {pack_route_target(target) for name in self._members for target in vpns[name].imports}
        )

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        return min((until for until in self._members.values() if until is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """End memberships whose time is over."""
        over = [name for name, until in self._members.items() if until is not None and until <= now]
        if over:
            for name in over:
                del self._members[name]
            self._set_memberships()

    # -- in

    @property
    def has_imports(self) -> bool:
        """Whether take_in() would do something."""
        return self._bgp.has_imports

    def take_in(self, limit: int = 4000) -> int:
        """Put into the VRF tables what VPNs import, of at most about `limit` changed routes; returns how many were
        looked at, 0: nothing is left."""
        tables = self._items.tables
        count, imports = self._bgp.step_imports(limit)
        for vpn, distinguisher, prefix, path, stale in imports:
            table = tables.get(vpn)
            if table is None:
                continue  # the VPN has just gone
            if path is None:
                table.withdraw(Learnt(distinguisher), prefix)
            else:
                table.update(Learnt(distinguisher), prefix, path, stale=stale)
        return count
