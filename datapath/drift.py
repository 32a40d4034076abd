"""What others did to our objects, by name, and when it was put right: for the monitor and for introspection.

Counting every repair is the layers' business (Layer.repaired). This keeps names, and only so many: whoever deletes a
device takes a hundred thousand routes with it, and nobody reads their names. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from datapath.values import Key, Kind

DELETED = "deleted by another program"
CHANGED = "changed by another program"

MOST = 1024
"""Objects that are named at a time, and whose repairs are remembered."""


class Drift(NamedTuple):
    """An object isn't any more as it should be, or is again. what: how it came about, "" when repaired."""

    kind: Kind
    key: Key
    what: str
    repaired: bool = False


class Repairs(NamedTuple):
    """How often an object was repaired, and when last (seconds of the clock that the caller has)."""

    times: int
    last: float


class DriftLog:
    """Objects that are not as they should be, since when they were found so until they are put right."""

    def __init__(self) -> None:
        self._open: dict[tuple[Kind, Key], None] = {}
        self._news: list[Drift] = []
        self._unnamed = 0
        self._repairs: dict[tuple[Kind, Key], Repairs] = {}

    def __bool__(self) -> bool:
        """Whether anything is open, or there is news."""
        return bool(self._open or self._news or self._unnamed)

    def found(self, kind: Kind, key: Key, what: str) -> None:
        """An object that was right isn't any more."""
        if (kind, key) in self._open:
            return
        if len(self._open) >= MOST or len(self._news) >= MOST:
            self._unnamed += 1
            return
        self._open[kind, key] = None
        self._news.append(Drift(kind, key, what))

    def settled(self, kind: Kind, keys: Iterable[Key]) -> None:
        """These objects are as they should be."""
        if not self._open:
            return
        for key in keys:
            if self._open.pop((kind, key), self) is None:
                self._news.append(Drift(kind, key, "", repaired=True))

    def forget(self, kind: Kind, key: Key) -> None:
        """An object isn't wanted any more."""
        self._open.pop((kind, key), None)

    def open(self, kind: Kind) -> list[Key]:
        """The objects of a kind that wait to be put right, as far as they are named."""
        return [key for which, key in self._open if which is kind]

    def take(self, now: float) -> tuple[list[Drift], int]:
        """What is new since the last call, in order; and how many objects more are gone that aren't named."""
        news, self._news = self._news, []
        more, self._unnamed = self._unnamed, 0
        for one in news:
            if one.repaired:
                before = self._repairs.pop((one.kind, one.key), None)
                self._repairs[one.kind, one.key] = Repairs(1 if before is None else before.times + 1, now)
        while len(self._repairs) > MOST:
            # The one whose last repair is longest ago.
            del self._repairs[next(iter(self._repairs))]
        return news, more

    def repairs(self, kind: Kind, key: Key) -> Repairs | None:
        """Of one object; None when it has never been repaired, or that was forgotten."""
        return self._repairs.get((kind, key))
