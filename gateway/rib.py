"""What the hosts have published, and the VRF tables made of it; no I/O.

An item belongs to the host that published it. It is kept here once, and its path is in the table of every VPN that
imports it (policy). The source of a path in a table is its *publisher*: VPN, host, and the part of the item id in front
of the prefix, i.e. the route distinguisher in text form. Two items of one host for the same prefix (two instances, two
underlay addresses) are then two paths of that prefix, as two NLRIs with different RDs would be. Paths that came by BGP
are put into the same tables by gateway.exchange; their source is the route distinguisher.

When a session ends, the items that it was the last to publish are kept, marked stale, for `stale_time` seconds. A
new session of the host starts that time anew, and what it publishes again is no longer stale; what is still stale when
the time is up is deleted. A host that says that it has published everything (xmpp.end_of_items) has the rest deleted at
once.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from gateway.policy import Policy
from vpn.community import RouteDistinguisher
from vpn.path import Path
from vpn.prefix import Prefix
from vpn.table import VrfTable, multipath


class Publisher(NamedTuple):
    """Source of a path in a VRF table. instance: "ADDRESS:INSTANCE-ID", or "=ITEM-ID" of an id not in that form."""

    vpn: str
    host: str
    instance: str


class Learnt(NamedTuple):
    """Source of a path in a VRF table that came by BGP, from whichever peer."""

    distinguisher: RouteDistinguisher


Source = Publisher | Learnt

ITEM_ID = re.compile(
    r"(?P<address>\d+\.\d+\.\d+\.\d+|\[[0-9A-Fa-f:.]+\]):(?P<instance>\d{1,5}):(?P<prefix>.+)", re.ASCII
)
"""The draft's form of an item id: ADDRESS:INSTANCE-ID:PREFIX, the text of the VPN NLRI."""

ItemRef = tuple[str, str]
"""VPN and item id."""


class Item(NamedTuple):
    """A published item.

    instance: the host's instance id of the VPN, from the item id or the subscription, or None. attachment: which one
    the host says the prefix is behind, "" when it doesn't say.
    """

    publisher: Publisher
    prefix: Prefix
    path: Path
    instance: int | None = None
    attachment: str = ""


class _HostItems:
    """The items of one host in one VPN. sessions: which session was the last to publish the item."""

    __slots__ = ("publishers", "sessions", "stale")

    def __init__(self) -> None:
        self.sessions: dict[str, int] = {}
        self.publishers: dict[Publisher, int] = {}
        """Publishers with their number of items."""
        self.stale: set[str] = set()


_NONE = _HostItems()


class Rib:
    """Items by VPN and host, VRF tables by VPN, stale timers by host. Times are seconds of any monotonic clock."""

    def __init__(self, policy: Policy, *, stale_time: float = 60.0) -> None:
        self.policy = policy
        self.reloads = 0
        """Number of policies taken since the first."""
        self.stale_time = stale_time
        self.changes: dict[ItemRef, None] | None = None
        """Items that have come, gone or changed in what they say to others, for gateway.exchange to take; None: nobody
        wants to know."""
        self.moves: dict[ItemRef, None] | None = None
        """The same for gateway.admission."""
        self.touched: set[str] | None = None
        """Hosts that have published, retracted, begun or ended a session, for gateway.roster_keeper to take."""
        self.tables: dict[str, VrfTable[Source]] = {name: VrfTable(multipath) for name in policy.vpns}
        self._items: dict[str, dict[str, Item]] = {name: {} for name in policy.vpns}
        self._hosts: dict[str, dict[str, _HostItems]] = {}
        self._publishing: dict[str, set[str]] = {}
        """Hosts with items by VPN."""
        self._deadlines: dict[str, float] = {}

    # -- reading

    def item(self, vpn: str, item_id: str) -> Item | None:
        """The item of this id in a VPN, whoever published it."""
        items = self._items.get(vpn)
        return None if items is None else items.get(item_id)

    def items(self, vpn: str) -> Iterator[tuple[str, Item]]:
        """All items published in a known VPN, by item id."""
        return iter(self._items[vpn].items())

    def hosts(self) -> tuple[str, ...]:
        """Hosts that have items."""
        return tuple(self._hosts)

    def count(self, host: str) -> int:
        """Number of items of a host, stale ones included."""
        return sum(len(entry.sessions) for entry in self._hosts.get(host, {}).values())

    def stale(self, host: str) -> int:
        """Number of stale items of a host."""
        return sum(len(entry.stale) for entry in self._hosts.get(host, {}).values())

    def is_stale(self, vpn: str, host: str, item_id: str) -> bool:
        """Whether an item is stale."""
        return item_id in self._hosts.get(host, {}).get(vpn, _NONE).stale

    def session(self, vpn: str, host: str, item_id: str) -> int:
        """Number of the session that was the last to publish an item of the host."""
        return self._hosts[host][vpn].sessions[item_id]

    def vpns(self, host: str) -> list[str]:
        """VPNs in which the host has items, sorted."""
        return sorted(self._hosts.get(host, ()))

    def publishing(self, vpn: str) -> list[str]:
        """Hosts that have items in a VPN, sorted."""
        return sorted(self._publishing.get(vpn, ()))

    # -- changing

    def publish(
        self,
        vpn: str,
        host: str,
        item_id: str,
        prefix: Prefix,
        path: Path,
        session: int = 0,
        instance: int | None = None,
        attachment: str = "",
    ) -> None:
        """Store an item in a known VPN, replacing the host's item of that id. The caller has checked ownership.

        instance: the instance id for an item id without one. attachment: as of Item.
        """
        if self.touched is not None:
            self.touched.add(host)
        items = self._items[vpn]
        known = items.get(item_id)
        entries = self._hosts.setdefault(host, {})
        entry = entries.get(vpn)
        if entry is None:
            entry = entries[vpn] = _HostItems()
            self._publishing.setdefault(vpn, set()).add(host)
        if known is not None and known.prefix == prefix:
            publisher = known.publisher
            if instance is None:
                instance = known.instance
        else:
            if known is not None:
                self._forget(vpn, known)
            publisher = Publisher(vpn, host, _instance(item_id, prefix))
            entry.publishers[publisher] = entry.publishers.get(publisher, 0) + 1
        entry.sessions[item_id] = session
        named = ITEM_ID.fullmatch(item_id)
        number = instance if named is None else int(named["instance"])
        item = items[item_id] = Item(publisher, prefix, path, number, attachment)
        if item != known or item_id in entry.stale:
            self._changed(vpn, item_id)
        entry.stale.discard(item_id)
        for name in self.policy.importers(vpn):
            self.tables[name].update(publisher, prefix, item.path)

    def retract(self, vpn: str, item_id: str) -> bool:
        """Delete an item of a known VPN; whether there was one."""
        item = self._items[vpn].pop(item_id, None)
        if item is None:
            return False
        self._changed(vpn, item_id)
        host = item.publisher.host
        if self.touched is not None:
            self.touched.add(host)
        self._forget(vpn, item)
        entry = self._hosts[host][vpn]
        del entry.sessions[item_id]
        entry.stale.discard(item_id)
        if not entry.sessions:
            del self._hosts[host][vpn]
            self._publishing[vpn].discard(host)
            if not self._publishing[vpn]:
                del self._publishing[vpn]
            if not self._hosts[host]:
                del self._hosts[host]
        return True

    def _changed(self, vpn: str, item_id: str) -> None:
        if self.changes is not None:
            self.changes[vpn, item_id] = None
        if self.moves is not None:
            self.moves[vpn, item_id] = None

    def _forget(self, vpn: str, item: Item) -> None:
        """Take an item's path out of the tables."""
        for name in self.policy.importers(vpn):
            self.tables[name].withdraw(item.publisher, item.prefix)
        publishers = self._hosts[item.publisher.host][vpn].publishers
        publishers[item.publisher] -= 1
        if not publishers[item.publisher]:
            del publishers[item.publisher]

    def set_instance(self, vpn: str, host: str, instance: int) -> None:
        """The host said its instance id of a VPN: for its items with ids that don't."""
        entry = self._hosts.get(host, {}).get(vpn)
        if entry is None:
            return
        items = self._items[vpn]
        for item_id in entry.sessions:
            item = items[item_id]
            if item.instance != instance and ITEM_ID.fullmatch(item_id) is None:
                items[item_id] = item._replace(instance=instance)
                self._changed(vpn, item_id)

    # -- sessions and timers

    def session_started(self, host: str, now: float) -> None:
        """The host has a new session, and stale_time from now to publish its stale items again."""
        if self.touched is not None:
            self.touched.add(host)
        if host in self._deadlines:
            self._deadlines[host] = now + self.stale_time

    def session_ended(self, host: str, session: int, now: float) -> int:
        """A session of the host is over: what it was the last to publish is stale; how many items that are."""
        if self.touched is not None:
            self.touched.add(host)
        count = 0
        for vpn, entry in self._hosts.get(host, {}).items():
            tables = [self.tables[name] for name in self.policy.importers(vpn)]
            for item_id, publishing in entry.sessions.items():
                if publishing == session and item_id not in entry.stale:
                    entry.stale.add(item_id)
                    self._changed(vpn, item_id)
                    item = self._items[vpn][item_id]
                    for table in tables:
                        table.mark_path_stale(item.publisher, item.prefix)
                    count += 1
        if count:
            self._deadlines[host] = now + self.stale_time
        return count

    def session_resumed(self, host: str, session: int, now: float) -> None:
        """A session of the host that had ended goes on: what it was the last to publish isn't stale any more."""
        self.session_started(host, now)
        for vpn, entry in self._hosts.get(host, {}).items():
            tables = [self.tables[name] for name in self.policy.importers(vpn)]
            for item_id in [item_id for item_id in entry.stale if entry.sessions[item_id] == session]:
                entry.stale.remove(item_id)
                self._changed(vpn, item_id)
                item = self._items[vpn][item_id]
                for table in tables:
                    table.update(item.publisher, item.prefix, item.path)

    def publishers(self, host: str) -> set[int]:
        """Numbers of the sessions that were the last to publish an item of the host."""
        return {session for entry in self._hosts.get(host, {}).values() for session in entry.sessions.values()}

    def purge(self, host: str, sessions: Container[int]) -> int:
        """Delete at once what these sessions of the host were the last to publish; how many items."""
        gone = [
            (vpn, item_id)
            for vpn, entry in self._hosts.get(host, {}).items()
            for item_id, session in entry.sessions.items()
            if session in sessions
        ]
        for vpn, item_id in gone:
            self.retract(vpn, item_id)
        return len(gone)

    def end_of_items(self, vpn: str, host: str) -> int:
        """The host has published all that it has in a VPN: delete what is stale of it there; returns how many items."""
        entry = self._hosts.get(host, {}).get(vpn)
        if entry is None or not entry.stale:
            return 0
        gone = list(entry.stale)
        for item_id in gone:
            self.retract(vpn, item_id)
        if not self.stale(host):
            self._deadlines.pop(host, None)
        return len(gone)

    def timer(self) -> float | None:
        """When expire() is to be called next."""
        return min(self._deadlines.values(), default=None)

    def expire(self, now: float) -> list[tuple[str, int]]:
        """Delete what is stale for too long: (host, number of items deleted) of every host whose time is up."""
        expired = []
        for host in [host for host, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[host]
            gone = [(vpn, item_id) for vpn, entry in self._hosts.get(host, {}).items() for item_id in entry.stale]
            for vpn, item_id in gone:
                self.retract(vpn, item_id)
            expired.append((host, len(gone)))
        return expired

    # -- policy

    def reload(self, policy: Policy) -> None:
        """Take a new policy: routes appear in and vanish from the tables in place.

        What was published in a VPN that is gone is deleted, and its table forgotten; who has a cursor of that table
        can still read the withdrawals.
        """
        old = self.policy
        for name in policy.vpns:
            if name not in self.tables:
                self.tables[name] = VrfTable(multipath)
                self._items[name] = {}
        for vpn, items in self._items.items():
            before, after = old.importers(vpn), policy.importers(vpn)
            if self.changes is not None and old.exports(vpn) != policy.exports(vpn):
                self.changes.update(((vpn, item_id), None) for item_id in items)
            if before == after:
                continue
            for item_id, item in items.items():
                for name in before - after:
                    self.tables[name].withdraw(item.publisher, item.prefix)
                stale = self.is_stale(vpn, item.publisher.host, item_id)
                for name in after - before:
                    self.tables[name].update(item.publisher, item.prefix, item.path, stale=stale)
        self.policy = policy
        self.reloads += 1
        for name in [name for name in self.tables if name not in policy.vpns]:
            for item_id in list(self._items[name]):
                self.retract(name, item_id)
            del self.tables[name], self._items[name]


def _instance(item_id: str, prefix: Prefix) -> str:
    """The publisher's instance: what precedes ":PREFIX" in the item id, or the whole id when it has another form."""
    suffix = f":{prefix}"
    return item_id.removesuffix(suffix) if item_id.endswith(suffix) else f"={item_id}"
