"""What becomes of a peer's routes when its session is lost: helper of graceful restart (RFC 4724, RFC 8538) and of
long-lived graceful restart (RFC 9494).

    session lost -- stale --+-- restart time -- no session yet --+-- long-lived stale -- its time over --> gone
                            |                                    +-- (not agreed on) -----------------> gone
                            +-- session up --+-- forwarding kept -- End-of-RIB, or stale time over --> stale ones gone
                                             +-- not kept ------------------------------------> all gone

When the session is lost again before the End-of-RIB, what was stale already goes (RFC 4724, section 4.2), unless both
sides set the N bit (RFC 8538, section 4.1) or it is long-lived stale (RFC 9494, section 4.2): then it stays as long as
its own timer runs, and what the second session has brought is stale beside it.

Decides, and touches no route: the caller carries the actions out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import NamedTuple

from bgp.family import Family
from bgp.negotiation import Negotiated
from bgp.timers import Timers

STALE_TIME = 360.0
"""Seconds from the new session to the end of stale routes if the peer never says End-of-RIB."""


class ActionKind(enum.Enum):
    """What is to be done with the stale routes of a family."""

    SWEEP = enum.auto()
    """Withdraw them."""
    DEGRADE = enum.auto()
    """Make them long-lived stale."""


class Action(NamedTuple):
    """Something to be done with the routes of a family that are older than a generation (bgp.rib.table); None: with
    all that are stale now."""

    kind: ActionKind
    family: Family
    generation: int | None = None


class _Timer(enum.Enum):
    RESTART = enum.auto()
    STALE = enum.auto()
    LONG_LIVED = enum.auto()


class _Key(NamedTuple):
    """What a timer is about. generation: routes older than this one, for STALE."""

    timer: _Timer
    family: Family | None = None
    generation: int = 0


_RESTART = _Key(_Timer.RESTART)


def _sweep(families: Iterable[Family]) -> list[Action]:
    return [Action(ActionKind.SWEEP, family) for family in sorted(families)]


class RestartHelper:
    """The stale families of one peer. stale_time: seconds, see STALE_TIME.

    generations: tell the present generation of a family's routes.
    """

    __slots__ = ("_expired", "_long_lived", "_refreshing", "_restarting", "_stale", "_timers", "_up", "stale_time")

    def __init__(self, stale_time: float = STALE_TIME) -> None:
        self.stale_time = stale_time
        self._up = True
        self._stale: set[Family] = set()
        self._refreshing: set[Family] = set()
        """Families that the peer sends again, between the marks of RFC 7313."""
        self._restarting: set[Family] = set()
        """Families that wait for the end of the restart time."""
        self._expired: set[Family] = set()
        """Families whose long-lived time was over before the peer had sent everything."""
        self._long_lived: dict[Family, int] = {}
        """Seconds that a family may be long-lived stale."""
        self._timers: Timers[_Key] = Timers()

    @property
    def stale(self) -> frozenset[Family]:
        """Families that have stale routes, or may have."""
        return frozenset(self._stale)

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        return self._timers.next()

    def fails_again(self, negotiated: Negotiated) -> list[Action]:
        """The session is lost, and routes of the one before may still be stale: which of them go at once.

        To be carried out before the routes of this session are marked stale.
        """
        long_lived = {family for family in self._stale if self._is_long_lived(family)}
        for family in long_lived:
            # RFC 9494, section 4.2: not before the long-lived time is over, however often the session is lost.
            self._clear_stale_timers(family)
        return [] if negotiated.notification_restart else self._gone(self._stale - long_lived)

    def went_down(self, negotiated: Negotiated, preserved: frozenset[Family], now: float) -> list[Action]:
        """The session is lost; its routes of `preserved` families are stale now, all others are to be swept."""
        self._up = False
        self._refreshing.clear()
        preserved -= self._expired
        self._expired.clear()
        actions = self._gone(negotiated.families - preserved)
        self._stale |= preserved
        self._long_lived = {one.family: one.stale_time for one in negotiated.long_lived if one.stale_time}
        restart = negotiated.graceful_restart
        brief = {one.family for one in restart.families} & preserved if restart is not None else set()
        if restart is not None and restart.restart_time and brief:
            self._restarting = brief
            self._timers.set(_RESTART, now + restart.restart_time)
            return actions + self._restart_over(preserved - brief, now)
        return actions + self._restart_over(preserved, now)

    def _restart_over(self, families: Iterable[Family], now: float) -> list[Action]:
        actions = []
        for family in sorted(families):
            seconds = self._long_lived.get(family)
            if seconds or self._is_long_lived(family):
                if not self._is_long_lived(family):
                    self._timers.set(_Key(_Timer.LONG_LIVED, family), now + (seconds or 0))
                actions.append(Action(ActionKind.DEGRADE, family))
            else:
                actions += self._gone({family})
        return actions

    def came_up(self, negotiated: Negotiated, now: float, generations: Callable[[Family], int]) -> list[Action]:
        """There is a session again."""
        self._up = True
        self._timers.clear(_RESTART)
        self._restarting.clear()
        restart = negotiated.graceful_restart
        briefly = {one.family for one in restart.families if one.forwarding} if restart is not None else set()
        for_long = {one.family for one in negotiated.long_lived if one.forwarding}
        kept = {
            family
            for family in self._stale & negotiated.families
            if family in (for_long if self._is_long_lived(family) else briefly)
        }
        for family in kept:
            self._timers.set(_Key(_Timer.STALE, family, generations(family)), now + self.stale_time)
        return self._gone(self._stale - kept)

    def refresh_began(self, family: Family, now: float, generation: int) -> None:
        """The peer sends everything of a family again, and says when it is done (RFC 7313, section 4.1)."""
        self._stale.add(family)
        self._refreshing.add(family)
        self._timers.set(_Key(_Timer.STALE, family, generation), now + self.stale_time)

    def refresh_ended(self, family: Family) -> list[Action]:
        """What the peer hasn't sent again since refresh_began() is gone; without that it means nothing."""
        return self._gone({family} & self._refreshing)

    def all_sent(self, family: Family) -> list[Action]:
        """End-of-RIB: what the peer hasn't sent again is gone; in a refresh its own end is waited for."""
        self._expired.discard(family)
        return self._gone({family} & self._stale - self._refreshing)

    def forget(self) -> list[Action]:
        """The peer isn't the one that it was, or no peer any more."""
        self._expired.clear()
        return self._gone(set(self._stale))

    def _gone(self, families: Iterable[Family]) -> list[Action]:
        """All stale routes of families."""
        found = sorted(families)
        for family in found:
            self._timers.clear(_Key(_Timer.LONG_LIVED, family))
            self._clear_stale_timers(family)
            self._restarting.discard(family)
            self._refreshing.discard(family)
            self._stale.discard(family)
        return _sweep(found)

    def _is_long_lived(self, family: Family) -> bool:
        return self._timers.deadline(_Key(_Timer.LONG_LIVED, family)) is not None

    def _clear_stale_timers(self, family: Family) -> None:
        keys = [key for key in self._timers.names() if key.timer is _Timer.STALE and key.family == family]
        if keys:
            self._timers.clear(*keys)

    def handle_timer(self, now: float) -> list[Action]:
        """Fire what is due."""
        actions: list[Action] = []
        swept: set[Family] = set()
        for timer, family, generation in self._timers.pop_due(now):
            if family is None:
                waiting, self._restarting = self._restarting, set()
                actions += self._restart_over(waiting, now)
            elif timer is _Timer.LONG_LIVED:
                if self._up:
                    self._expired.add(family)
                actions += self._gone({family})
            elif family in self._stale:
                actions.append(Action(ActionKind.SWEEP, family, generation))
                swept.add(family)
        if self._up:
            # Only now: several timers of a family may have been due at once.
            swept -= {key.family for key in self._timers.names() if key.family is not None}
            self._stale -= swept
            self._refreshing -= swept
        return actions
