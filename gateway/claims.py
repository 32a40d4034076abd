"""Which item has an NLRI that several items are; no I/O.

An NLRI has no room for the VPN or the item id: where a host gives two VPNs the same instance id, or names one route by
two item ids, two items are one NLRI. The first that claims it owns it, and the next one takes over when that one goes.
"""

from __future__ import annotations

from gateway.rib import ItemRef


class Claims:
    """Claims of items to the NLRIs of one family, by key (bgp.nlri)."""

    __slots__ = ("_owners", "_rivals")

    def __init__(self) -> None:
        self._owners: dict[bytes, ItemRef] = {}
        self._rivals: dict[bytes, dict[ItemRef, None]] = {}
        """Who waits, in the order in which they came."""

    def __len__(self) -> int:
        """Number of NLRIs that have an owner."""
        return len(self._owners)

    def owner(self, key: bytes) -> ItemRef | None:
        """The item that an NLRI is announced for."""
        return self._owners.get(key)

    def claim(self, key: bytes, item: ItemRef) -> bool:
        """An item is this NLRI; whether it owns it. Claiming again changes nothing."""
        owner = self._owners.setdefault(key, item)
        if owner == item:
            return True
        self._rivals.setdefault(key, {})[item] = None
        return False

    def release(self, key: bytes, item: ItemRef) -> tuple[bool, ItemRef | None]:
        """An item isn't this NLRI any more: whether it owned it, and who does now instead."""
        rivals = self._rivals.get(key)
        if self._owners.get(key) != item:
            if rivals is not None:
                rivals.pop(item, None)
                if not rivals:
                    del self._rivals[key]
            return False, None
        if rivals is None:
            del self._owners[key]
            return True, None
        heir = self._owners[key] = next(iter(rivals))
        del rivals[heir]
        if not rivals:
            del self._rivals[key]
        return True, heir
