"""What one host is still to be told about its own items: only the newest of each item, whatever came before; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from xmpp.jid import Jid
from xmpp.notices import MAX_ITEMS, Notice, NoticeKind, encode_notice

_Group = tuple[NoticeKind, str, str]
"""Kind, VPN and reason: what one message can say of several items."""


class HostNotices:
    """Notices of one session, pulled when its transport takes more. So a host that reads slowly costs no more than its
    items, however often the map changes its mind."""

    __slots__ = ("_groups", "_items", "_sender", "_to")

    def __init__(self, sender: Jid, to: Jid) -> None:
        self._sender = sender
        self._to = to
        self._groups: dict[_Group, dict[str, None]] = {}
        self._items: dict[tuple[str, str], _Group] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, kind: NoticeKind, vpn: str, item_id: str, reason: str = "") -> None:
        """Tell this of an item, instead of what it hasn't been told yet."""
        self.settle(vpn, (item_id,))
        group = self._items[vpn, item_id] = (kind, vpn, reason)
        self._groups.setdefault(group, {})[item_id] = None

    def settle(self, vpn: str, ids: Iterable[str]) -> None:
        """Tell nothing of these items: a request about them is answered, which is newer."""
        if not self._items:
            return
        for item_id in ids:
            group = self._items.pop((vpn, item_id), None)
            if group is not None:
                self._leave(group, (item_id,))

    def drop(self, vpn: str) -> None:
        """Tell nothing of the items of a VPN, which is gone."""
        self.settle(vpn, [item_id for of, item_id in self._items if of == vpn])

    def take(self) -> bytes:
        """The next message; b"" when there is none."""
        group = next(iter(self._groups), None)
        if group is None:
            return b""
        kind, vpn, reason = group
        ids = tuple(islice(self._groups[group], MAX_ITEMS))
        for item_id in ids:
            del self._items[vpn, item_id]
        self._leave(group, ids)
        return encode_notice(self._sender, self._to, Notice(kind, vpn, ids, reason))

    def _leave(self, group: _Group, ids: Iterable[str]) -> None:
        members = self._groups[group]
        for item_id in ids:
            del members[item_id]
        if not members:
            del self._groups[group]
