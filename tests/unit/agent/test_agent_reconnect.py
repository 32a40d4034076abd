"""Waits between sessions, by how the last one ended."""

from __future__ import annotations

import random

import pytest

from agent.reconnect import STEADY, Loss, Reconnect, loss_of

ALL, NONE = (lambda: 1.0), (lambda: 0.0)


def test_waits_double_up_to_the_longest() -> None:
    reconnect = Reconnect(0.5, 30.0, 5.0, ALL)
    assert [reconnect.wait(Loss.FAILED) for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_waits_stay_bounded_for_ever() -> None:
    reconnect = Reconnect(0.5, 30.0, 5.0, ALL)
    assert {reconnect.wait(Loss.CUT) for _ in range(5000)} == {0.5 * 2**n for n in range(6)} | {30.0}


def test_a_session_that_lasted_was_a_success() -> None:
    reconnect = Reconnect(0.5, 30.0, 5.0, ALL)
    for _ in range(4):
        reconnect.wait(Loss.FAILED)
    assert reconnect.wait(Loss.CUT, STEADY / 2) == 8.0, "a gateway that takes hosts and loses them is failing"
    assert reconnect.wait(Loss.CUT, STEADY) == 0.5
    assert reconnect.failures == 1


@pytest.mark.parametrize("loss", [Loss.CUT, Loss.FAILED, Loss.SLOW, Loss.SHUTDOWN])
def test_the_whole_wait_is_drawn_at_random(loss: Loss) -> None:
    """The first one, too: half of a wait that all have in common would be a storm that comes later."""
    assert Reconnect(0.5, 30.0, 5.0, NONE).wait(loss) == 0.0


def test_ten_thousand_hosts_of_a_gateway_that_was_stopped() -> None:
    """In no tenth of the time do many more come than in another."""
    draw = random.Random(6)
    waits = [Reconnect(0.5, 30.0, 5.0, draw.random).wait(Loss.SHUTDOWN, 3600.0) for _ in range(10_000)]
    counts = [sum(start <= wait < start + 0.5 for wait in waits) for start in (n * 0.5 for n in range(10))]
    assert sum(counts) == 10_000
    assert max(counts) < 1150


def test_the_spread_is_no_more_than_the_longest_wait() -> None:
    assert Reconnect(0.02, 0.1, 5.0, ALL).wait(Loss.SHUTDOWN) == 0.1


def test_who_was_told_to_stay_away_does() -> None:
    for jitter, wait in ((NONE, 15.0), (ALL, 30.0)):
        reconnect = Reconnect(0.5, 30.0, 5.0, jitter)
        assert [reconnect.wait(Loss.AWAY, 100.0) for _ in range(3)] == [wait] * 3


def test_two_hosts_of_one_name_throw_each_other_out_ever_more_rarely() -> None:
    reconnect = Reconnect(0.5, 30.0, 5.0, ALL)
    assert [reconnect.wait(Loss.CONFLICT, 60.0) for _ in range(4)] == [60.0, 120.0, 240.0, 300.0]
    assert reconnect.conflicts == 4
    reconnect.wait(Loss.CUT, 299.0)
    assert reconnect.conflicts == 4, "the other one may be waiting"
    reconnect.wait(Loss.CUT, 300.0)
    assert reconnect.conflicts == 0
    assert Reconnect(0.5, 30.0, 5.0, NONE).wait(Loss.CONFLICT) == 30.0, "half of it is sure"


def test_a_login_that_takes_too_long_is_given_more_time() -> None:
    reconnect = Reconnect(0.5, 30.0, 5.0, ALL)
    times = []
    for _ in range(4):
        times.append(reconnect.patience(15.0))
        reconnect.wait(Loss.SLOW)
    assert times == [15.0, 30.0, 60.0, 60.0]
    reconnect.wait(Loss.FAILED)
    assert reconnect.patience(15.0) == 60.0, "a refusal says nothing of the time of a login"
    reconnect.wait(Loss.CUT, 1.0)
    assert reconnect.patience(15.0) == 15.0


@pytest.mark.parametrize(
    ("condition", "loss"),
    [
        ("system-shutdown", Loss.SHUTDOWN),
        ("conflict", Loss.CONFLICT),
        ("policy-violation", Loss.AWAY),
        ("resource-constraint", Loss.AWAY),
        ("see-other-host", Loss.AWAY),
        ("not-authorized", Loss.FAILED),
        ("what-nobody-has-heard-of", Loss.FAILED),
    ],
)
def test_what_a_stream_error_means(condition: str, loss: Loss) -> None:
    assert loss_of(condition) is loss
