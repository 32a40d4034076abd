"""Numbered packets: what is missing, and when it was sent."""

from __future__ import annotations

from lab.tally import Outage, Rounds, Tally


def rounds(*counts: int) -> Rounds:
    """One round each second from 100 on."""
    made = Rounds()
    for number, count in enumerate(counts):
        made.add(100.0 + number, count)
    return made


def test_time_of_a_number_is_that_of_its_round() -> None:
    made = rounds(3, 1, 2)
    assert [made.time_of(number) for number in range(6)] == [100, 100, 100, 101, 102, 102]
    assert made.total == 6


def test_nothing_is_missing_when_all_came_in_any_order() -> None:
    tally = Tally("flow")
    tally.add([5, 4, 0, 1])
    tally.add([3, 2])
    assert (tally.outages(rounds(3, 3)), tally.received, tally.repeated) == ([], 6, 0)


def test_every_gap_is_an_outage_with_its_times() -> None:
    tally = Tally("flow")
    tally.add([0, 1, 4, 6])
    assert tally.outages(rounds(3, 2, 3)) == [
        Outage("flow", 2, 100.0, 101.0),
        Outage("flow", 1, 102.0, 102.0),
        Outage("flow", 1, 102.0, 102.0),
    ]


def test_what_never_came_at_all_is_one_outage() -> None:
    assert Tally("flow").outages(rounds(2, 2)) == [Outage("flow", 4, 100.0, 101.0)]
    assert Tally("flow").outages(rounds()) == []


def test_a_packet_that_comes_twice_is_counted_and_makes_good_for_nothing() -> None:
    tally = Tally("flow")
    tally.add([0, 0, 2, 2, 2])
    assert (tally.received, tally.repeated) == (2, 3)
    assert [outage.count for outage in tally.outages(rounds(3))] == [1]


def test_a_packet_sent_after_the_count_began_is_no_outage() -> None:
    tally = Tally("flow")
    tally.add([0, 1, 7])
    assert tally.outages(rounds(2)) == []
