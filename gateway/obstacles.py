"""What keeps items out of BGP: counted for the status, and noted once for the log; no I/O."""

from __future__ import annotations

import enum
from collections import Counter
from typing import NamedTuple, TypeVar

from gateway.rib import ItemRef

K = TypeVar("K")


class Obstacle(enum.StrEnum):
    """Why an item, or a part of it, is not announced by BGP. The values are for people."""

    NO_INSTANCE = "no instance id (0..65535) in the item id or the subscription"
    IPV6_NEXT_HOP = "an IPv6 next hop fits no route distinguisher"
    LABELS = "several labels at one next hop, of which the lowest is announced"
    CLAIMED = "another item has the same route distinguisher and prefix"


class Unannounced(NamedTuple):
    """Items of a host in a VPN are not announced by BGP, or not wholly. item_id: the first one that was met."""

    host: str
    vpn: str
    item_id: str
    obstacle: Obstacle


class Obstacles:
    """The obstacles of all items."""

    __slots__ = ("_items", "_new", "counts")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Number of items, now, by obstacle."""
        self._items: Counter[tuple[str, str, Obstacle]] = Counter()
        """The same by host, VPN and obstacle."""
        self._new: dict[tuple[str, str, Obstacle], Unannounced] = {}

    def change(self, host: str, item: ItemRef, before: tuple[Obstacle, ...], after: tuple[Obstacle, ...]) -> None:
        """An item of a host has met other obstacles than before."""
        if before == after:
            return
        vpn, item_id = item
        for obstacle in before:
            if obstacle not in after:
                _less(self.counts, obstacle)
                _less(self._items, (host, vpn, obstacle))
        for obstacle in after:
            if obstacle not in before:
                self.counts[obstacle] += 1
                index = (host, vpn, obstacle)
                self._items[index] += 1
                if self._items[index] == 1:
                    self._new[index] = Unannounced(host, vpn, item_id, obstacle)

    def take_new(self) -> list[Unannounced]:
        """What has come up since the last call; once for each host, VPN and obstacle as long as there is any."""
        found, self._new = list(self._new.values()), {}
        return found


def _less(counter: Counter[K], index: K) -> None:
    counter[index] -= 1
    if not counter[index]:
        del counter[index]
