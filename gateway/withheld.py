"""Items that hosts have published and may not, as the map stands: kept, so that they come in when they may; no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from gateway.rib import ItemRef
from vpn.path import Path
from vpn.prefix import Prefix


class WithheldItem(NamedTuple):
    """An item that isn't in the tables. session: number of the session that published it; its end is the item's end.

    reason: why it is withheld. revoked: it was in the tables before, or the map has permitted it before.
    """

    host: str
    session: int
    prefix: Prefix
    path: Path
    attachment: str
    reason: str
    revoked: bool = False


class Withheld:
    """The items, by VPN and id. Bounded by who adds: what a host has published is counted, withheld or not."""

    def __init__(self) -> None:
        self._items: dict[ItemRef, WithheldItem] = {}
        self._sessions: dict[int, dict[ItemRef, None]] = {}
        self._hosts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, ref: ItemRef) -> WithheldItem | None:
        """The item of this VPN and id."""
        return self._items.get(ref)

    def items(self) -> Iterable[tuple[ItemRef, WithheldItem]]:
        """All of them."""
        return self._items.items()

    def count(self, host: str) -> int:
        """Number of items of a host."""
        return self._hosts[host]

    def put(self, ref: ItemRef, item: WithheldItem) -> None:
        """Withhold an item, in the place of the one of that id."""
        self.pop(ref)
        self._items[ref] = item
        self._sessions.setdefault(item.session, {})[ref] = None
        self._hosts[item.host] += 1

    def pop(self, ref: ItemRef) -> WithheldItem | None:
        """Forget an item; returns it, None when there was none."""
        item = self._items.pop(ref, None)
        if item is None:
            return None
        refs = self._sessions[item.session]
        del refs[ref]
        if not refs:
            del self._sessions[item.session]
        self._hosts[item.host] -= 1
        if not self._hosts[item.host]:
            del self._hosts[item.host]
        return item

    def of_session(self, session: int) -> list[ItemRef]:
        """What a session has published."""
        return list(self._sessions.get(session, ()))
