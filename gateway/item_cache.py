"""Serialised routes, kept while hosts come; no I/O.

What changes is serialised once for all subscribers of a VPN (gateway.session.Feed). A newcomer is sent the whole table,
and no two of them come when it looks the same: after a restart each route would be serialised once for each host of
its VPN. So while newcomers come, routes are kept as they were serialised for any of them, and for all the others as
well when they changed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Protocol

from vpn.path import Path
from vpn.prefix import Prefix
from xmpp.entry import Entry, encode
from xmpp.notification import item

MOST = 250_000
"""Routes kept at most, of some 700 bytes each: those of ten thousand hosts. No more are taken then: all are as likely
to be asked for again, so to put one in the place of another would only cost."""
KEEP = 20.0
"""Seconds that a route is kept at least after it was last asked for, and at most twice that."""


class Place(Hashable, Protocol):
    """Of a prefix in a table (vpn.stream.Node). path: None when it was withdrawn."""

    @property
    def prefix(self) -> Prefix: ...

    @property
    def path(self) -> Path | None: ...


def serialise(place: Place) -> bytes:
    """A route, or its withdrawal, as an event has it."""
    path = place.path
    return item(str(place.prefix), None if path is None else encode(Entry(place.prefix, path)))


class ItemCache:
    """Two generations: what isn't asked for while it is in the older one goes with that. Times are in seconds."""

    def __init__(self, most: int = MOST, keep: float = KEEP) -> None:
        self._most = most
        self._keep = keep
        self._young: dict[Place, tuple[Path | None, bytes]] = {}
        self._old: dict[Place, tuple[Path | None, bytes]] = {}
        self._due = 0.0
        self._asked = False
        """Since time was let pass, by a newcomer."""
        self._wanted = False
        """Before that."""

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def table(self, places: Iterable[Place]) -> list[bytes]:
        """What a newcomer is sent. See serialise()."""
        self._asked = True
        return self._get(places)

    def changes(self, places: Iterable[Place]) -> list[bytes]:
        """What those are sent who have read all before. See serialise()."""
        return self._get(places) if self._asked or self._wanted else [serialise(place) for place in places]

    def _get(self, places: Iterable[Place]) -> list[bytes]:
        found = []
        young = self._young
        for place in places:
            known = young.get(place)
            if known is None or known[0] is not place.path:
                known = self._make(place)
            found.append(known[1])
        return found

    def _make(self, place: Place) -> tuple[Path | None, bytes]:
        path = place.path
        known = self._old.pop(place, None)
        if known is None or known[0] is not path:
            known = (path, serialise(place))
        if path is None:
            self._young.pop(place, None)
        elif place in self._young or len(self) < self._most:
            self._young[place] = known
        return known

    def tick(self, now: float) -> None:
        """Let time pass. Cheap; call it as often as anything happens."""
        if now >= self._due:
            self._due = now + self._keep
            self._wanted, self._asked = self._asked, False
            if self._young or self._old:
                self._young, self._old = {}, self._young
