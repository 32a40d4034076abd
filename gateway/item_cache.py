"""Serialised routes, kept while hosts come; no I/O.

What changes is serialised once for all subscribers of a VPN (gateway.session.Feed). A newcomer is sent the whole table,
and no two of them come when it looks the same: after a restart each route would be serialised once for each host of
its VPN. So routes that newcomers are sent are kept as they were serialised, for as long as newcomers ask for them.
"""

from __future__ import annotations

from vpn.cursor import Change
from xmpp.entry import Entry, encode

MOST = 200_000
"""Routes kept at most, of some 700 bytes each."""
KEEP = 20.0
"""Seconds that a route is kept at least after it was last asked for, if there is room, and at most twice that."""

Serialised = tuple[str, bytes | None]
"""Item id and encoded entry, None for a withdrawal."""


def serialise(change: Change) -> Serialised:
    """A change as an item."""
    prefix, path = change
    return str(prefix), None if path is None else encode(Entry(prefix, path))


class ItemCache:
    """Two generations: what isn't asked for while it is in the older one goes with that. Times are in seconds."""

    def __init__(self, most: int = MOST, keep: float = KEEP) -> None:
        self._most = most // 2
        self._keep = keep
        self._young: dict[Change, Serialised] = {}
        self._old: dict[Change, Serialised] = {}
        self._due = 0.0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, change: Change) -> Serialised:
        """See serialise()."""
        known = self._young.get(change)
        if known is None:
            known = self._old.pop(change, None) or serialise(change)
            if len(self._young) >= self._most:
                self._turn()
            self._young[change] = known
        return known

    def tick(self, now: float) -> None:
        """Let time pass. Cheap; call it as often as anything happens."""
        if now >= self._due:
            self._due = now + self._keep
            if self._young or self._old:
                self._turn()

    def _turn(self) -> None:
        self._young, self._old = {}, self._young
