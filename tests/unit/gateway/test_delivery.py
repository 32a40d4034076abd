"""Rounds of deliveries, on a loop whose clock stands still unless it is told otherwise."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gateway.delivery import COALESCE, COALESCE_MAX, TURN, Delivery


class Clock:
    """The part of an event loop that a delivery uses. Callbacks run by run(); time passes by that, and by work."""

    def __init__(self) -> None:
        self.now = 100.0
        self._soon: list[asyncio.Handle] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = 0
        self.turns: list[float] = []

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[[], None]) -> asyncio.Handle:
        handle = asyncio.Handle(callback, (), self)  # type: ignore[arg-type]
        self._soon.append(handle)
        return handle

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def turn(self) -> bool:
        """One turn of the loop; whether there was anything to do."""
        soon, self._soon = [handle for handle in self._soon if not handle.cancelled()], []
        if not soon:
            while self._timers and not soon:
                when, _, timer = heapq.heappop(self._timers)
                if not timer.cancelled():
                    self.now = max(self.now, when)
                    soon = [timer]
        if soon:
            self.turns.append(self.now)
        for handle in soon:
            handle._run()
        return bool(soon)

    def run(self) -> None:
        """Until there is nothing to do."""
        for _ in range(10_000):
            if not self.turn():
                return
        raise AssertionError("it never comes to rest")


class Host:
    """Notes when it is pulled; each time takes `cost` seconds. more: how often it has more than one pull takes."""

    def __init__(self, site: Site, name: str, cost: float = 0.0) -> None:
        self.site = site
        self.name = name
        self.cost = cost
        self.more = 0

    def pull(self) -> None:
        self.site.pulled.append((self.name, self.site.clock.now))
        self.site.clock.now += self.cost
        if self.more:
            self.more -= 1
            self.site.delivery.wake(self)


class Site:
    """A delivery with hosts. listeners: who is owed something by each change."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pulled: list[tuple[str, float]] = []
        self.listeners: list[Host] = []
        self.announced: list[float] = []
        self.finished = 0
        self.delivery = Delivery(self._announce, self._finish)

    def _announce(self) -> list[Host]:
        self.announced.append(self.clock.now)
        return self.listeners

    def _finish(self) -> None:
        self.finished += 1

    def names(self) -> list[str]:
        return [name for name, _ in self.pulled]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    clock: Any = Clock()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    yield Site(clock)


def test_a_lone_change_is_told_at_once(site: Site) -> None:
    site.listeners = [Host(site, "a"), Host(site, "b")]
    site.delivery.changed()
    site.delivery.changed()
    site.clock.run()
    assert site.pulled == [("a", 100.0), ("b", 100.0)]
    assert len(site.announced) == 1 and site.finished == 1 and site.delivery.turns == 1


@pytest.mark.parametrize(
    ("cost", "rest"), [(0.0, COALESCE), (0.004, 0.004), (1.0, COALESCE_MAX)], ids=["light", "as long", "at most"]
)
def test_the_next_round_rests_as_long_as_the_last_one_took(site: Site, cost: float, rest: float) -> None:
    site.listeners = [Host(site, "a", cost)]
    site.delivery.changed()
    site.clock.run()
    site.delivery.changed()
    site.clock.run()
    assert site.announced == pytest.approx([100.0, 100.0 + cost + rest])


def test_what_changes_while_a_round_lasts_is_the_next_one(site: Site) -> None:
    """Everybody of a round is told the same, and its turns leave the loop to others."""
    site.listeners = [Host(site, str(number), TURN / 4) for number in range(40)]
    site.delivery.changed()
    turns = 0
    while site.finished == 0:
        assert site.clock.turn()
        site.delivery.changed()
        turns += 1
    assert turns == 10 and len(site.announced) == 1, "the clock is looked at after each pull"
    assert site.names() == [str(number) for number in range(40)]
    site.clock.run()
    assert len(site.announced) == 2 and len(site.pulled) == 80


def test_who_has_more_is_pulled_again_when_everybody_was_and_without_a_rest(site: Site) -> None:
    site.listeners = [Host(site, "much"), Host(site, "little")]
    site.listeners[0].more = 3
    site.delivery.changed()
    site.clock.run()
    assert site.names() == ["much", "little", "much", "much", "much"]
    assert site.clock.now == 100.0 and site.finished == 4


def test_who_is_woken_all_the_time_keeps_no_change_back(site: Site) -> None:
    """A transfer that goes on and on delays the next announcement by no more than the rest."""
    busy = Host(site, "busy", 0.003)
    busy.more = 20
    site.listeners = [busy]
    site.delivery.changed()
    site.clock.turn()
    site.listeners = [Host(site, "waits")]
    site.delivery.changed()
    while "waits" not in site.names():
        assert site.clock.turn()
    assert dict(site.pulled)["waits"] - 100.0 < 0.010 and busy.more > 15


def test_who_is_woken_in_the_midst_of_a_round_comes_behind_it(site: Site) -> None:
    site.listeners = [Host(site, str(number), TURN / 4) for number in range(20)]
    site.delivery.changed()
    site.clock.turn()
    late = Host(site, "late")
    site.delivery.wake(late)
    site.delivery.wake(late)
    site.clock.run()
    assert site.names() == [*map(str, range(20)), "late"]


def test_who_is_gone_is_not_pulled_and_nothing_is_left_to_do(site: Site) -> None:
    host = Host(site, "gone")
    site.delivery.wake(host)
    site.delivery.forget(host)
    site.clock.run()
    assert site.pulled == [] and site.announced == []
    site.delivery.wake(host)
    site.delivery.close()
    assert not site.clock.turn()


def test_a_wake_does_not_wait_for_the_rest_of_a_change(site: Site) -> None:
    site.listeners = [Host(site, "slow", 0.010)]
    site.delivery.changed()
    site.clock.run()
    site.delivery.changed()
    woken = Host(site, "woken")
    site.delivery.wake(woken)
    site.clock.turn()
    assert site.pulled[1:] == [("woken", 100.010)], "before the change that rests"
    site.clock.run()
    assert len(site.announced) == 2
