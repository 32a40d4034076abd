"""What becomes of a peer's routes when its session is lost: helper of graceful restart (RFC 4724, RFC 8538) and of
long-lived graceful restart (RFC 9494).

    session lost -- stale --+-- restart time -- no session yet --+-- long-lived stale -- its time over --> gone
                            |                                    +-- (not agreed on) -----------------> gone
                            +-- session up --+-- forwarding kept -- End-of-RIB, or stale time over --> stale ones gone
                                             +-- not kept ------------------------------------> all gone

Decides, and touches no route: the caller carries the actions out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
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
    """Something to be done."""

    kind: ActionKind
    family: Family


class _Timer(enum.Enum):
    RESTART = enum.auto()
    STALE = enum.auto()
    LONG_LIVED = enum.auto()


def _sweep(families: Iterable[Family]) -> list[Action]:
    return [Action(ActionKind.SWEEP, family) for family in sorted(families)]


class RestartHelper:
    """The stale families of one peer. stale_time: seconds, see STALE_TIME."""

    __slots__ = ("_long_lived", "_stale", "_timers", "stale_time")

    def __init__(self, stale_time: float = STALE_TIME) -> None:
        self.stale_time = stale_time
        self._stale: set[Family] = set()
        self._long_lived: dict[Family, int] = {}
        """Seconds that a family may be long-lived stale."""
        self._timers: Timers[tuple[_Timer, Family | None]] = Timers()

    @property
    def stale(self) -> frozenset[Family]:
        """Families that have stale routes, or may have."""
        return frozenset(self._stale)

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        return self._timers.next()

    def went_down(self, negotiated: Negotiated, preserved: frozenset[Family], now: float) -> list[Action]:
        """The session is lost; routes of `preserved` families are stale now, all others are to be swept.

        What was stale before already is gone with the second failure (RFC 4724, section 4.2); the caller sweeps that
        before it marks the rest.
        """
        self._timers.clear()
        actions = _sweep(negotiated.families - preserved)
        self._stale = set(preserved)
        self._long_lived = {one.family: one.stale_time for one in negotiated.long_lived if one.stale_time}
        restart = negotiated.graceful_restart
        brief = {one.family for one in restart.families} & preserved if restart is not None else set()
        if restart is not None and restart.restart_time and brief:
            self._timers.set((_Timer.RESTART, None), now + restart.restart_time)
            return actions + self._restart_over(sorted(preserved - brief), now)
        return actions + self._restart_over(sorted(preserved), now)

    def _restart_over(self, families: Iterable[Family], now: float) -> list[Action]:
        actions = []
        for family in families:
            seconds = self._long_lived.get(family)
            if seconds:
                self._timers.set((_Timer.LONG_LIVED, family), now + seconds)
                actions.append(Action(ActionKind.DEGRADE, family))
            else:
                self._stale.discard(family)
                actions.append(Action(ActionKind.SWEEP, family))
        return actions

    def came_up(self, negotiated: Negotiated, now: float) -> list[Action]:
        """There is a session again."""
        self._timers.clear((_Timer.RESTART, None))
        restart = negotiated.graceful_restart
        kept = {one.family for one in restart.families if one.forwarding} if restart is not None else set()
        kept |= {one.family for one in negotiated.long_lived if one.forwarding}
        lost = self._stale - (kept & negotiated.families)
        for family in self._stale - lost:
            self._timers.set((_Timer.STALE, family), now + self.stale_time)
        return self._gone(lost)

    def refresh_began(self, family: Family, now: float) -> None:
        """The peer sends everything of a family again, and says when it is done (RFC 7313, section 4.1)."""
        self._stale.add(family)
        self._timers.set((_Timer.STALE, family), now + self.stale_time)

    def all_sent(self, family: Family) -> list[Action]:
        """End-of-RIB, or the end of a refresh: what the peer hasn't sent again is gone."""
        return self._gone({family} & self._stale)

    def forget(self) -> list[Action]:
        """The peer isn't the one that it was, or no peer any more."""
        return self._gone(set(self._stale))

    def _gone(self, families: set[Family]) -> list[Action]:
        for family in families:
            self._timers.clear((_Timer.STALE, family), (_Timer.LONG_LIVED, family))
        self._stale -= families
        return _sweep(families)

    def handle_timer(self, now: float) -> list[Action]:
        """Fire what is due."""
        actions: list[Action] = []
        for _, family in self._timers.pop_due(now):
            if family is None:
                waiting = {one for one in self._stale if self._timers.deadline((_Timer.LONG_LIVED, one)) is None}
                actions += self._restart_over(sorted(waiting), now)
            elif family in self._stale:
                actions += self._gone({family})
        return actions
