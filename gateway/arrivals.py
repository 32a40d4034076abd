"""Connections that aren't sessions yet: who is served when, and who has to go; no I/O.

    arrived -> SILENT --its first byte is here--> WAITING --its turn--> SERVED --logged in--> (a session)

When ten thousand hosts come back at once, only a few log in at a time: all of them at once would take so long that each
gives up and begins anew. The others wait with their first bytes unread, which costs a file descriptor. The oldest is
served first, of the address that has fewest under way, so a newcomer doesn't wait for a crowd from one other address.

Served is a place for GRACE seconds: who is slower than that takes no processor time either, and holds nobody up. It,
and who is SILENT for so long, is *idle*; idle connections are few by address and in total, and the oldest one of the
address with most of them makes room for the next.
"""

from __future__ import annotations

import enum
import heapq
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.limits import site

K = TypeVar("K", bound=Hashable)

GRACE = 1.0
"""Seconds after which a connection that hasn't spoken, or hasn't logged in since it is served, is idle."""
PASSED_OVER = 64
"""Entries that don't count any more which the heap of turns may hold before it is cleared of them."""
SHARE = 0.75
"""Part of the places that one address may take, so that there is always one for another."""


@dataclass(frozen=True, slots=True)
class ArrivalSettings:
    """under_way: logins at a time; idle: connections that dawdle, in total, and of one address; silence: seconds that
    one may stay SILENT."""

    under_way: int = 64
    idle: int = 2000
    idle_of_address: int = 1000
    silence: float = 10.0


class _State(enum.Enum):
    SILENT = enum.auto()
    WAITING = enum.auto()
    SERVED = enum.auto()
    IDLE_SILENT = enum.auto()
    IDLE_SERVED = enum.auto()


_IDLE = (_State.IDLE_SILENT, _State.IDLE_SERVED)


class _Arrival(Generic[K]):
    __slots__ = ("key", "since", "site", "state")

    def __init__(self, key: K, where: str, now: float) -> None:
        self.key = key
        self.site = where
        self.state = _State.SILENT
        self.since = now
        """When it came to its state; of an idle one, to the state before."""


class _Group(Generic[K]):
    """Arrivals by site, of each site in their order; the site that has most is found at once."""

    def __init__(self) -> None:
        self.count = 0
        self.sites: dict[str, dict[_Arrival[K], None]] = {}
        self._sizes: dict[int, dict[str, None]] = {}
        self._most = 0

    def add(self, arrival: _Arrival[K]) -> None:
        of_site = self.sites.setdefault(arrival.site, {})
        of_site[arrival] = None
        self.count += 1
        self._resized(arrival.site, len(of_site) - 1, len(of_site))

    def remove(self, arrival: _Arrival[K]) -> None:
        of_site = self.sites[arrival.site]
        del of_site[arrival]
        self.count -= 1
        self._resized(arrival.site, len(of_site) + 1, len(of_site))
        if not of_site:
            del self.sites[arrival.site]

    def _resized(self, where: str, old: int, new: int) -> None:
        if old:
            del self._sizes[old][where]
            if not self._sizes[old]:
                del self._sizes[old]
        if new:
            self._sizes.setdefault(new, {})[where] = None
        # Sizes change by one, so that the greatest one does, too.
        self._most = new if new > self._most or self._most not in self._sizes else self._most

    def crowd(self) -> str:
        """A site that has most."""
        return next(iter(self._sizes[self._most]))


class Arrivals(Generic[K]):
    """Keeps them by a key of the caller's. Times are seconds of any monotonic clock."""

    def __init__(self, settings: ArrivalSettings) -> None:
        self.settings = settings
        self._all: dict[K, _Arrival[K]] = {}
        self._present: _Group[K] = _Group()
        self._waiting: _Group[K] = _Group()
        self._idle: _Group[K] = _Group()
        self._watched: dict[_Arrival[K], None] = {}
        """SILENT and SERVED, by the time when they came to that: who becomes idle next is first."""
        self._silent: dict[_Arrival[K], None] = {}
        """All that are silent, likewise."""
        self._under_way: Counter[str] = Counter()
        self._places = 0
        """Taken."""
        self._turns: list[tuple[int, float, int, str]] = []
        """Heap of sites with somebody waiting: places taken, time of the first that waits, a number, site. An entry
        that isn't the newest of its site is passed over."""
        self._turn_of: dict[str, int] = {}
        self._turn_number = 0

    def __len__(self) -> int:
        return len(self._all)

    @property
    def waiting(self) -> int:
        """Connections that wait for their turn."""
        return self._waiting.count

    @property
    def under_way(self) -> int:
        """Places taken."""
        return self._places

    @property
    def idle(self) -> int:
        """Connections that dawdle."""
        return self._idle.count

    def arrived(self, key: K, address: str, now: float) -> None:
        """A connection was accepted."""
        arrival = self._all[key] = _Arrival(key, site(address), now)
        self._present.add(arrival)
        self._watched[arrival] = self._silent[arrival] = None

    def crowded_out(self, address: str) -> K | None:
        """There is no room for another connection, of this address. Who has to go for it, and is forgotten already: the
        newest of the address that has most; None when that is this one."""
        if not self._all:
            return None
        crowd = self._present.sites[self._present.crowd()]
        if len(self._present.sites.get(site(address), ())) + 1 >= len(crowd):
            return None
        newest = next(reversed(crowd)).key
        self.done(newest)
        return newest

    def spoke(self, key: K, now: float) -> None:
        """The first byte of a connection is here: it waits for its turn."""
        arrival = self._all[key]
        self._leave(arrival)
        arrival.state, arrival.since = _State.WAITING, now
        self._waiting.add(arrival)
        if len(self._waiting.sites[arrival.site]) == 1:
            self._queue(arrival.site)

    def next(self, now: float) -> K | None:
        """Whose turn it is, None when all places are taken or nobody waits. It is under way from now on."""
        self._look(now)
        if self._places >= self.settings.under_way:
            return None
        while self._turns and self._turn_of.get(self._turns[0][3]) != self._turns[0][2]:
            heapq.heappop(self._turns)
        most = max(1, int(self.settings.under_way * SHARE))
        if not self._turns or self._turns[0][0] >= most:
            return None
        where = heapq.heappop(self._turns)[3]
        arrival = next(iter(self._waiting.sites[where]))
        self._leave(arrival)
        arrival.state, arrival.since = _State.SERVED, now
        self._watched[arrival] = None
        self._take_place(where, 1)
        return arrival.key

    def done(self, key: K) -> bool:
        """A connection has logged in or ended. Whether it was known: once it was told to go it isn't."""
        arrival = self._all.pop(key, None)
        if arrival is None:
            return False
        self._leave(arrival)
        self._present.remove(arrival)
        return True

    def silent(self, now: float) -> list[K]:
        """Who has been silent for too long: it has to go, and is forgotten."""
        gone: list[K] = []
        while self._silent and now - (first := next(iter(self._silent))).since >= self.settings.silence:
            gone.append(first.key)
            self.done(first.key)
        return gone

    def superfluous(self, now: float) -> list[K]:
        """Of the idle ones those that are too many: they have to go, and are forgotten."""
        self._look(now)
        gone: list[K] = []
        while self._idle.count:
            idle = self._idle.sites[self._idle.crowd()]
            if len(idle) <= self.settings.idle_of_address and self._idle.count <= self.settings.idle:
                break
            oldest = next(iter(idle))
            gone.append(oldest.key)
            self.done(oldest.key)
        return gone

    def timer(self) -> float | None:
        """When silent(), superfluous() and next() are to be asked again, if nothing happens before."""
        due = [next(iter(self._watched)).since + GRACE] if self._watched else []
        due += [next(iter(self._silent)).since + self.settings.silence] if self._silent else []
        return min(due, default=None)

    def _look(self, now: float) -> None:
        """Who has dawdled for too long becomes idle."""
        while self._watched and now - (arrival := next(iter(self._watched))).since >= GRACE:
            del self._watched[arrival]
            if arrival.state is _State.SERVED:
                self._take_place(arrival.site, -1)
                arrival.state = _State.IDLE_SERVED
            else:
                arrival.state = _State.IDLE_SILENT
            self._idle.add(arrival)

    def _leave(self, arrival: _Arrival[K]) -> None:
        """Takes it out of where its state has it."""
        self._watched.pop(arrival, None)
        self._silent.pop(arrival, None)
        if arrival.state is _State.WAITING:
            self._waiting.remove(arrival)
            self._queue(arrival.site)
        elif arrival.state is _State.SERVED:
            self._take_place(arrival.site, -1)
        elif arrival.state in _IDLE:
            self._idle.remove(arrival)

    def _take_place(self, where: str, places: int) -> None:
        self._places += places
        self._under_way[where] += places
        if not self._under_way[where]:
            del self._under_way[where]
        self._queue(where)

    def _queue(self, where: str) -> None:
        """What says when it is a site's turn has changed."""
        waiting = self._waiting.sites.get(where)
        if not waiting:
            self._turn_of.pop(where, None)
            return
        self._turn_number += 1
        self._turn_of[where] = self._turn_number
        heapq.heappush(self._turns, (self._under_way[where], next(iter(waiting)).since, self._turn_number, where))
        if len(self._turns) > 2 * len(self._turn_of) + PASSED_OVER:
            # While all places are taken nobody comes by to pass over what has been overtaken.
            self._turns = [turn for turn in self._turns if self._turn_of.get(turn[3]) == turn[2]]
            heapq.heapify(self._turns)
