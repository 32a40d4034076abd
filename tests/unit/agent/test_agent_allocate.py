"""Labels: kept, rested, given back; and what happens when there are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.allocate import LabelPool, Owner, Quarantined, lowest_free
from runtime.errors import ExitCode, OperatorError

A, B, C = Owner("a", "blue"), Owner("b", "blue"), Owner("c", "blue")


def test_labels_are_given_in_turn() -> None:
    pool = LabelPool(100, 4, 300.0)
    assert [pool.allocate(owner, 0.0) for owner in (A, B)] == [100, 101]
    pool.release(Quarantined(100, A, 0.0))
    assert pool.allocate(C, 1000.0) == 102


def test_a_freed_label_rests_and_only_its_owner_gets_it_back() -> None:
    pool = LabelPool(100, 1, 300.0)
    assert pool.allocate(A, 0.0) == 100
    pool.release(Quarantined(100, A, 10.0))
    with pytest.raises(OperatorError) as caught:
        pool.allocate(B, 309.0)
    assert caught.value.code is ExitCode.CONFLICT
    assert "label_count" in caught.value.hint
    assert pool.allocate(A, 20.0) == 100
    pool.release(Quarantined(100, A, 20.0))
    assert pool.allocate(B, 320.0) == 100


def test_a_label_that_nobody_was_told_of_needs_no_rest() -> None:
    pool = LabelPool(100, 1, 300.0)
    pool.give_back(pool.allocate(A, 0.0), pool.resting_of(A))
    assert (pool.used, pool.resting) == (0, 0)
    assert pool.allocate(B, 0.0) == 100
    pool.release(Quarantined(100, B, 10.0))
    before = pool.resting_of(B)
    pool.give_back(pool.allocate(B, 20.0), before)
    with pytest.raises(OperatorError):
        pool.allocate(A, 309.0)
    assert pool.allocate(B, 309.0) == 100


def test_the_same_name_in_another_vpn_is_another_owner() -> None:
    pool = LabelPool(100, 2, 300.0)
    pool.allocate(A, 0.0)
    pool.release(Quarantined(100, A, 0.0))
    assert pool.allocate(Owner("a", "red"), 0.0) == 101


def test_a_restart_knows_what_was_given_and_what_rests() -> None:
    pool = LabelPool(100, 4, 300.0, [100, 5000], [Quarantined(101, B, 0.0)])
    assert (pool.used, pool.resting) == (2, 1)
    assert pool.allocate(C, 0.0) == 102
    assert pool.allocate(B, 0.0) == 101


def test_expired_labels_are_reported_once() -> None:
    pool = LabelPool(100, 4, 300.0, [], [Quarantined(101, B, 0.0), Quarantined(102, C, 100.0)])
    assert pool.expired(299.0) == []
    assert pool.expired(300.0) == [101]
    assert pool.expired(300.0) == []


@pytest.mark.parametrize(("base", "size"), [(15, 10), (1048570, 10), (100, 0)])
def test_the_range_must_be_of_labels(base: int, size: int) -> None:
    with pytest.raises(OperatorError, match="label_base"):
        LabelPool(base, size, 300.0)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 120)), max_size=60))
def test_no_label_has_two_owners_nor_changes_owner_while_it_rests(steps: list[tuple[int, int]]) -> None:
    pool = LabelPool(1000, 5, 100.0)
    now = 0.0
    held: dict[Owner, int] = {}
    freed: dict[int, tuple[Owner, float]] = {}
    for number, wait in steps:
        now += wait
        owner = Owner(str(number), "blue")
        if owner in held:
            label = held.pop(owner)
            pool.release(Quarantined(label, owner, now))
            freed[label] = (owner, now + 100.0)
            continue
        try:
            label = pool.allocate(owner, now)
        except OperatorError:
            resting = [entry for entry in freed.values() if entry[1] > now]
            assert len(held) + len(resting) >= 5
            continue
        assert label not in held.values()
        previous, until = freed.pop(label, (owner, 0.0))
        assert previous == owner or until <= now
        held[owner] = label


def test_lowest_free() -> None:
    assert lowest_free(range(1, 4), {1, 3}, "x", "") == 2
    with pytest.raises(OperatorError, match=r"1\.\.3"):
        lowest_free(range(1, 4), {1, 2, 3}, "x", "")
