"""Which attachments are up where, as published items tell it: what a gateway says in the map; no I/O.

An attachment is *up* at a host when an item of it is in the tables, *down* when all of them are stale (the host is
away), *adminDown* when the host still publishes some but the map no longer permits any. Without items nothing is said.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from gateway.admission import Admission
from gateway.rib import ItemRef, Rib
from vpn.path import Path
from vpn.prefix import Prefix, format_address


class Condition(enum.IntEnum):
    """Of an item, and of an attachment at a host: the greatest of its items."""

    ADMIN_DOWN = 1
    DOWN = 2
    UP = 3


class Presence(NamedTuple):
    """An attachment at a host. address: the host's underlay address, text; host: its name."""

    attachment: str
    address: str
    host: str


class Statement(NamedTuple):
    """What is said of a presence. routes: prefixes of the items that make its condition, in order."""

    condition: Condition
    routes: tuple[Prefix, ...]


class AttachmentStates:
    """Follows the items of an admission; a call costs what was touched."""

    def __init__(self, rib: Rib, admission: Admission) -> None:
        self._rib = rib
        self._admission = admission
        self._items: dict[Presence, dict[ItemRef, tuple[Prefix, Condition]]] = {}
        self._where: dict[ItemRef, Presence] = {}
        self._pending: list[ItemRef] = []

    def __len__(self) -> int:
        """Number of presences of which something is said."""
        return len(self._items)

    def counts(self) -> dict[Condition, int]:
        """Number of presences by condition."""
        found = dict.fromkeys(Condition, 0)
        for items in self._items.values():
            found[max(condition for _, condition in items.values())] += 1
        return found

    def presences(self) -> dict[Presence, Statement]:
        """All that is said."""
        return {presence: self._statement(presence) for presence in self._items}

    @property
    def pending(self) -> bool:
        """Whether update() has something to look at."""
        return bool(self._pending) or self._admission.has_touched

    def update(self, limit: int) -> list[tuple[Presence, Statement | None]]:
        """Look at items that were touched, at most so many; returns of whom something else is to be said (None:
        nothing)."""
        self._pending += self._admission.take_touched()
        refs, self._pending = self._pending[:limit], self._pending[limit:]
        changed: dict[Presence, None] = {}
        for ref in refs:
            before = self._where.pop(ref, None)
            if before is not None:
                items = self._items[before]
                del items[ref]
                if not items:
                    del self._items[before]
                changed[before] = None
            found = self._look(ref)
            if found is not None:
                presence, prefix, condition = found
                self._where[ref] = presence
                self._items.setdefault(presence, {})[ref] = prefix, condition
                changed[presence] = None
        return [(presence, self._statement(presence) if presence in self._items else None) for presence in changed]

    def _look(self, ref: ItemRef) -> tuple[Presence, Prefix, Condition] | None:
        vpn, item_id = ref
        held = self._admission.withheld.get(ref)
        if held is not None:
            # What was never permitted is nobody's: a host could speak of any attachment otherwise.
            if not (held.revoked and held.attachment):
                return None
            return Presence(held.attachment, _address(held.path), held.host), held.prefix, Condition.ADMIN_DOWN
        item = self._rib.item(vpn, item_id)
        if item is None:
            return None
        attachment = self._admission.attribute(vpn, item.prefix, item.attachment)
        if not attachment:
            return None
        host = item.publisher.host
        condition = Condition.DOWN if self._rib.is_stale(vpn, host, item_id) else Condition.UP
        return Presence(attachment, _address(item.path), host), item.prefix, condition

    def _statement(self, presence: Presence) -> Statement:
        items = self._items[presence].values()
        condition = max(condition for _, condition in items)
        routes = {prefix for prefix, of in items if of is condition}
        return Statement(condition, tuple(sorted(routes, key=lambda prefix: (prefix.afi, prefix))))


def _address(path: Path) -> str:
    return format_address(path.next_hops[0].address)
