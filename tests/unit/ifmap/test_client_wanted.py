"""The subscriptions that a client wants: what is asked for when."""

from __future__ import annotations

import pytest

from ifmap.client_wanted import Trouble, WantedSubscriptions
from ifmap.endpoint import STEADY
from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Identifier, IdentifierKind, SearchSpec, Subscription, Unsubscription

ROOT = Identifier(IdentifierKind.DEVICE, "root")
WIDE = SearchSpec(ROOT, max_depth=3)
NARROW = SearchSpec(ROOT, max_depth=1)
BAD_FILTER = IfmapError(ErrorCode.FAILURE, "bad filter")
TOO_BIG = IfmapError(ErrorCode.SEARCH_RESULTS_TOO_BIG, "too big")
POLL_TOO_BIG = IfmapError(ErrorCode.POLL_RESULTS_TOO_BIG, "too big")


@pytest.fixture
def wanted() -> WantedSubscriptions:
    """Waits are as long as they can be: 0.5, 1, 2, ... seconds."""
    return WantedSubscriptions(lambda: 1.0, 0.5, 30.0)


def test_all_of_them_are_asked_for_in_every_session(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.subscribe("b", NARROW)
    both = (Subscription("a", WIDE), Subscription("b", NARROW))
    for _ in range(2):
        wanted.session_started()
        assert wanted.next(0.0) == both
        wanted.accepted(both)
        assert wanted.next(0.0) == ()
        assert wanted.timer() is None


def test_a_changed_one_is_asked_for_again_and_only_it(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.subscribe("b", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.subscribe("a", WIDE)
    assert wanted.next(0.0) == ()
    wanted.subscribe("a", NARROW)
    assert wanted.next(0.0) == (Subscription("a", NARROW),)


def test_one_that_changes_while_it_is_asked_for(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    first = wanted.next(0.0)
    wanted.subscribe("a", NARROW)
    wanted.accepted(first)
    assert wanted.next(0.0) == (Subscription("a", NARROW),)


def test_ending_one(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.subscribe("never sent", WIDE)
    wanted.unsubscribe("never sent")
    wanted.accepted(wanted.next(0.0))
    wanted.unsubscribe("a")
    wanted.unsubscribe("unknown")
    assert "a" not in wanted
    assert wanted.next(0.0) == (Unsubscription("a"),)
    assert wanted.next(0.0) == ()


def test_one_that_is_wanted_again_before_its_end_was_sent_is_replaced(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.unsubscribe("a")
    wanted.subscribe("a", WIDE)
    assert wanted.next(0.0) == (Subscription("a", WIDE),)


def test_an_end_that_was_not_sent_is_not_needed_in_a_new_session(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.unsubscribe("a")
    wanted.session_started()
    assert wanted.next(0.0) == ()


def test_what_is_refused_together_is_tried_alone_and_one_is_to_blame(wanted: WantedSubscriptions) -> None:
    for name in ("good", "bad", "fine"):
        wanted.subscribe(name, WIDE)
    assert wanted.refused(wanted.next(0.0), BAD_FILTER, 0.0) == []
    good, bad, fine = (wanted.next(0.0) for _ in range(3))
    assert [[one.name for one in request] for request in (good, bad, fine)] == [["good"], ["bad"], ["fine"]]
    wanted.accepted(good)
    wanted.accepted(fine)
    assert wanted.refused(bad, BAD_FILTER, 10.0) == [Trouble("bad", BAD_FILTER, fresh=True)]
    assert (wanted.next(10.4), wanted.timer()) == ((), 10.5)
    again = wanted.next(10.5)
    assert again == bad
    assert wanted.refused(again, BAD_FILTER, 10.5) == [Trouble("bad", BAD_FILTER, fresh=False)]
    assert wanted.timer() == 11.5
    assert wanted.states() == {"good": "waiting", "bad": "bad filter", "fine": "waiting"}


def test_an_end_that_is_refused_with_others_is_sent_again_and_alone_given_up(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.unsubscribe("a")
    wanted.subscribe("bad", WIDE)
    both = wanted.next(0.0)
    assert both == (Unsubscription("a"), Subscription("bad", WIDE))
    wanted.refused(both, BAD_FILTER, 0.0)
    end = wanted.next(0.0)
    assert end == (Unsubscription("a"),)
    assert wanted.refused(end, BAD_FILTER, 0.0) == []
    assert wanted.next(0.0) == (Subscription("bad", WIDE),)


def test_a_new_one_does_not_wait_for_one_that_does(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("bad", WIDE)
    wanted.refused(wanted.next(0.0), BAD_FILTER, 0.0)
    wanted.subscribe("new", NARROW)
    assert wanted.next(0.1) == (Subscription("new", NARROW),)


def test_a_changed_one_does_not_wait(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("bad", WIDE)
    wanted.refused(wanted.next(0.0), BAD_FILTER, 0.0)
    wanted.subscribe("bad", NARROW)
    assert wanted.next(0.1) == (Subscription("bad", NARROW),)


def test_one_that_is_given_up_is_asked_for_again_later(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.subscribe("b", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.delivered("a", 1.0)
    wanted.delivered("b", 1.0)
    assert wanted.states() == {"a": "complete", "b": "complete"}
    assert wanted.given_up("a", TOO_BIG, 2.0) == [Trouble("a", TOO_BIG, fresh=True)]
    assert wanted.states() == {"a": "too big", "b": "complete"}
    assert wanted.given_up("unknown", TOO_BIG, 2.0) == []
    assert wanted.next(2.4) == ()
    assert wanted.next(2.5) == (Subscription("a", WIDE),)


def test_all_are_given_up(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.subscribe("b", WIDE)
    wanted.accepted(wanted.next(0.0))
    wanted.subscribe("c", WIDE)
    troubles = wanted.all_given_up(POLL_TOO_BIG, 1.0)
    assert [trouble.name for trouble in troubles] == ["a", "b"]
    assert [one.name for one in wanted.next(1.0)] == ["c"]
    assert [one.name for one in wanted.next(1.5)] == ["a", "b"]


def test_waits_grow_until_one_has_lasted(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    now, waits = 0.0, []
    for lasts in (1.0, 1.0, 1.0, STEADY):
        wanted.accepted(wanted.next(now))
        wanted.delivered("a", now)
        now += lasts
        wanted.given_up("a", TOO_BIG, now)
        due = wanted.timer()
        assert due is not None
        waits.append(due - now)
        now = due
    assert waits == [0.5, 1.0, 2.0, 0.5]


def test_a_new_session_waits_for_nothing(wanted: WantedSubscriptions) -> None:
    wanted.subscribe("a", WIDE)
    wanted.refused(wanted.next(0.0), BAD_FILTER, 0.0)
    wanted.session_started()
    assert wanted.next(0.0) == (Subscription("a", WIDE),)
    # The result of one that is not asked for any more says nothing of the new one.
    wanted.session_started()
    wanted.delivered("a", 0.0)
    assert wanted.states() == {"a": "bad filter"}
