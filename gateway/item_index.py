"""Finds published items by the attachment that they name, or by prefix when they name none; no I/O."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator

from gateway.rib import ItemRef
from vpn.prefix import Prefix

_Entry = tuple[bytes, int, str]
_NONE: frozenset[ItemRef] = frozenset()


class ItemIndex:
    """Items by reference. Prefixes of items without an attachment are kept in order, since those within a prefix are
    then one run."""

    def __init__(self) -> None:
        self._items: dict[ItemRef, tuple[str, Prefix]] = {}
        self._named: dict[str, set[ItemRef]] = {}
        self._unnamed: dict[tuple[str, int], list[_Entry]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, ref: object) -> bool:
        return ref in self._items

    def put(self, ref: ItemRef, attachment: str, prefix: Prefix) -> None:
        """An item is there. attachment: "" when it names none."""
        if self._items.get(ref) == (attachment, prefix):
            return
        self.drop(ref)
        self._items[ref] = attachment, prefix
        if attachment:
            self._named.setdefault(attachment, set()).add(ref)
        else:
            vpn, item_id = ref
            insort(self._unnamed.setdefault((vpn, len(prefix.packed)), []), (*prefix, item_id))

    def drop(self, ref: ItemRef) -> None:
        """An item is gone, if it was there."""
        known = self._items.pop(ref, None)
        if known is None:
            return
        attachment, prefix = known
        vpn, item_id = ref
        if attachment:
            refs = self._named[attachment]
            refs.remove(ref)
            if not refs:
                del self._named[attachment]
            return
        key = (vpn, len(prefix.packed))
        entries = self._unnamed[key]
        del entries[bisect_left(entries, (*prefix, item_id))]
        if not entries:
            del self._unnamed[key]

    def named(self, attachment: str) -> Collection[ItemRef]:
        """Items that name this attachment."""
        return self._named.get(attachment, _NONE)

    def unnamed_within(self, vpn: str, prefix: Prefix) -> Iterator[ItemRef]:
        """Items of a VPN that name no attachment and have this prefix or one within it."""
        entries = self._unnamed.get((vpn, len(prefix.packed)))
        if entries is None:
            return
        bits = len(prefix.packed) * 8
        last = (int.from_bytes(prefix.packed, "big") | (1 << (bits - prefix.length)) - 1).to_bytes(bits // 8, "big")
        for at in range(bisect_left(entries, (*prefix, "")), len(entries)):
            packed, _, item_id = entries[at]
            if packed > last:
                return
            yield vpn, item_id
