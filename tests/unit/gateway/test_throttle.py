"""When nothing is read and handled of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.guard import EARLY_MAX, Guard, Reason
from gateway.limits import LimitSettings, Rate
from gateway.throttle import LAST_TURN, TURN, Throttle


class Handle:
    def __init__(self, loop: Loop, call: Callable[[], None], when: float) -> None:
        self.loop, self.call, self.when = loop, call, when

    def cancel(self) -> None:
        self.loop.handles.remove(self)


class Loop:
    """Keeps what is to be called."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def call_soon(self, call: Callable[[], None]) -> Handle:
        return self.call_later(0.0, call)

    def call_later(self, delay: float, call: Callable[[], None]) -> Handle:
        self.handles.append(Handle(self, call, delay))
        return self.handles[-1]

    def run(self) -> float:
        """Call the only one; the delay it was called after."""
        [handle] = self.handles
        self.handles.clear()
        handle.call()
        return handle.when


def throttle(**rates: Any) -> tuple[Throttle, Loop, Guard, list[str]]:
    loop, guard, released = Loop(), Guard(LimitSettings(**rates)), list[str]()
    of = Throttle(guard, cast(Any, loop), "192.0.2.1", lambda: released.append("released"))
    return of, loop, guard, released


def test_a_stranger_may_send_what_a_login_needs() -> None:
    of, _, _, _ = throttle()
    assert of.received(EARLY_MAX)
    assert not of.received(1)
    of.begin("hv1", 0.0)
    assert of.received(10 * EARLY_MAX), "a host has its rates"


def test_a_host_that_owes_is_held_until_it_has_repaid() -> None:
    of, loop, _, released = throttle(stanzas=Rate(10, 100))
    of.begin("hv1", 0.0)
    of.turn(0.0)
    of.received(1000)
    for _ in range(120):
        of.handled(100, 0.0)
    assert of.settle(0.0) == ""
    assert of.held
    assert loop.run() == pytest.approx(2.0)
    assert not of.held
    assert released == ["released"]


def test_answers_and_reads_count_and_nothing_counts_twice() -> None:
    of, loop, _, _ = throttle(octets=Rate(10, 100), stanzas=Rate(1, 4))
    of.begin("hv1", 0.0)
    of.turn(0.0)
    of.received(60)
    of.handled(50, 0.0)
    assert of.settle(0.0) == ""
    assert loop.run() == pytest.approx(1.0)
    of.settle(1.0)
    assert not of.held
    # Three more reads with nothing in them cost three stanzas; the fifth is one too many.
    for _ in range(3):
        of.received(0)
        of.settle(1.0)
    assert not of.held, "nothing came"
    for _ in range(4):
        of.received(1)
        of.settle(100.0)
    assert not of.held
    of.received(1)
    of.settle(100.0)
    assert of.held


def test_whoever_has_had_its_turn_waits_for_the_others() -> None:
    of, loop, _, released = throttle()
    of.begin("hv1", 0.0)
    of.turn(0.0)
    of.handled(0, TURN / 2)
    assert not of.held
    of.handled(0, TURN)
    of.handled(0, TURN)
    assert of.held
    assert loop.run() == 0.0
    assert released == ["released"]


def test_a_debt_is_not_forgotten_for_a_turn() -> None:
    of, loop, _, _ = throttle(work=Rate(0.5, 1.0))
    of.begin("hv1", 0.0)
    of.turn(0.0)
    of.received(10)
    of.handled(0, 3.0)
    of.settle(3.0)
    assert loop.run() == pytest.approx(4.0), "three seconds of work, one of them free"


def test_a_debt_of_an_earlier_session_comes_first() -> None:
    of, loop, guard, _ = throttle(stanzas=Rate(10, 10))
    earlier = guard.limiter.begin("hv1", 0.0)
    guard.limiter.charge(earlier, 30, 0, 0, 0.0)
    guard.limiter.end(earlier, 0.0)
    of.begin("hv1", 1.0)
    assert loop.run() == pytest.approx(1.0)


def test_what_waited_is_charged_when_it_is_handled() -> None:
    """A read was charged, its stanzas waited, and nothing more has come."""
    of, _, _, _ = throttle(stanzas=Rate(10, 10))
    of.begin("hv1", 0.0)
    of.turn(0.0)
    for _ in range(20):
        of.handled(0, 0.0)
    of.settle(0.0)
    assert of.held


def test_to_leave_at_once_is_no_way_around() -> None:
    of, _, guard, _ = throttle(stanzas=Rate(10, 10), work=Rate(0.5, 1.0))
    of.begin("hv1", 0.0)
    of.turn(5.0)
    of.received(100)
    for _ in range(20):
        of.handled(0, 5.0)
    of.end(6.0)
    assert [slowed.host for slowed in guard.limiter.slowed(6.0)] == ["hv1"]


def test_who_leaves_after_a_rest_owes_nothing_for_it() -> None:
    of, _, guard, _ = throttle(work=Rate(0.5, 1.0))
    of.begin("hv1", 0.0)
    of.turn(0.0)
    of.received(100)
    of.settle(0.0)
    of.end(1000.0)
    assert not guard.limiter.slowed(1000.0)
    assert len(guard.limiter) == 0


def test_the_last_turn_is_bounded_too() -> None:
    of, _, _, _ = throttle()
    of.turn(1.0)
    assert not of.overdue(1.0 + LAST_TURN / 2)
    assert of.overdue(1.0 + LAST_TURN)


def test_a_flood_ends_it() -> None:
    of, _, guard, _ = throttle(stanzas=Rate(10, 10), flood_time=5.0)
    of.begin("hv1", 0.0)
    now, why = 0.0, ""
    while not why and now < 60.0:
        of.turn(now)
        of.received(100)
        for _ in range(20):
            of.handled(0, now)
        why = of.settle(now)
        now += 1.0
    assert why == "more than allowed (stanzas) for 5 s"
    assert guard.counters == {Reason.SLOWED: 1, Reason.FLOOD: 1}


def test_nothing_is_called_after_the_end() -> None:
    of, loop, guard, _ = throttle(stanzas=Rate(10, 10))
    of.begin("hv1", 0.0)
    of.received(1)
    for _ in range(50):
        of.handled(0, 0.0)
    of.settle(0.0)
    assert of.held
    of.end(0.0)
    of.end(0.0)
    assert not of.held and loop.handles == []
    assert len(guard.limiter) == 1, "what it owes is kept"
