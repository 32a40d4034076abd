"""Memory held for connections."""

from __future__ import annotations

import random

from gateway.holdings import HIGH, LITTLE, Holdings

KIB = 1024


def test_the_largest_goes_when_there_is_too_much() -> None:
    held: Holdings[str] = Holdings(200 * KIB)
    assert not held.note("a", 90 * KIB)
    assert not held.note("b", 100 * KIB)
    assert held.note("c", 50 * KIB)
    assert held.largest() == "b"
    assert not held.note("b", 0)
    assert (held.total, len(held)) == (140 * KIB, 2)


def test_what_changes_is_not_counted_twice() -> None:
    held: Holdings[str] = Holdings(0)
    for octets in (20 * KIB, 40 * KIB, LITTLE - 1, 30 * KIB, 30 * KIB):
        held.note("a", octets)
    assert held.total == 30 * KIB
    held.note("a", 100)
    assert (held.total, len(held)) == (100, 1), "a little of each of ten thousand is much"
    held.note("a", 0)
    assert (held.total, len(held)) == (0, 0)


def test_of_several_the_last_goes() -> None:
    held: Holdings[str] = Holdings(100)
    for key in ("a", "b", "c"):
        held.note(key, LITTLE)
    held.note("a", LITTLE)
    assert held.largest() == "a"


def test_new_ones_are_refused_before_old_ones_go() -> None:
    held: Holdings[str] = Holdings(1000 * KIB)
    held.note("a", int(1000 * KIB * HIGH))
    assert not held.high
    assert not held.note("b", LITTLE)
    assert held.high


def test_without_a_ceiling_nobody_goes() -> None:
    held: Holdings[str] = Holdings(0)
    assert not held.note("a", 1 << 50)
    assert not held.high


def test_the_sum_is_right_whatever_happens() -> None:
    chance = random.Random(6)
    held: Holdings[int] = Holdings(5_000_000)
    plain: dict[int, int] = {}
    for _ in range(2000):
        key, octets = chance.randrange(20), chance.choice((0, 100, LITTLE, 100_000, 400_000))
        plain[key] = octets
        assert held.note(key, octets) == (sum(plain.values()) > 5_000_000)
        assert held.total == sum(plain.values())
        if held.total:
            assert plain[held.largest()] == max(plain.values())
