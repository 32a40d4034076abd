"""Signs of life of a peer: asked after thirds of the hold time, dead at its end, unless nothing was read from it."""

from __future__ import annotations

from xmpp.liveness import Liveness, Verdict


def test_a_silent_peer_is_asked_twice_and_is_dead_then() -> None:
    liveness = Liveness(30.0, 0.0)
    assert [liveness.judge(now) for now in (9.0, 10.0, 11.0, 20.0, 29.0)] == [
        *(Verdict.NOTHING, Verdict.PING, Verdict.NOTHING, Verdict.PING, Verdict.NOTHING)
    ]
    assert liveness.judge(30.0) is Verdict.DEAD


def test_who_is_not_read_from_is_not_dead_but_asked_on() -> None:
    liveness = Liveness(30.0, 0.0)
    liveness.deaf(55.0)
    assert {liveness.judge(now) for now in (10.0, 20.0, 30.0, 40.0, 50.0)} == {Verdict.PING}
    assert liveness.judge(60.0) is Verdict.DEAD, "what it had sent would have been read at 55"


def test_silence_counts_again_once_it_is_read_from() -> None:
    liveness = Liveness(30.0, 0.0)
    liveness.deaf(25.0)
    assert [liveness.judge(now) for now in (10.0, 20.0, 30.0)] == [Verdict.PING, Verdict.PING, Verdict.DEAD]


def test_no_hold_time_asks_nobody() -> None:
    liveness = Liveness(0.0, 0.0)
    assert (liveness.timer(), liveness.judge(1e6)) == (None, Verdict.NOTHING)
