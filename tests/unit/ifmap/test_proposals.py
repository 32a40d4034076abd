"""Turns of clients, and connections whose requests are answered in order."""

from __future__ import annotations

from ifmap.channels import Arrived, Channels
from ifmap.proposals import Proposal, ProposalQueue
from ifmap.values import NewSession


def proposals(client: str, count: int) -> list[Proposal]:
    return [Proposal(client, None) for _ in range(count)]


def taken(queue: ProposalQueue) -> list[Proposal]:
    found = []
    while (proposal := queue.take()) is not None:
        found.append(proposal)
    return found


def test_one_clients_flood_leaves_others_their_turn() -> None:
    queue = ProposalQueue()
    flood, quiet = proposals("flood", 100), proposals("quiet", 2)
    for proposal in (*flood, *quiet):
        queue.put(proposal)
    assert len(queue) == queue.longest == 102
    assert taken(queue) == [flood[0], quiet[0], flood[1], quiet[1], *flood[2:]]
    assert len(queue) == 0


def test_turns_go_on_where_they_were() -> None:
    queue = ProposalQueue()
    a, b, c = proposals("a", 2), proposals("b", 2), proposals("c", 1)
    for proposal in (*a, *b):
        queue.put(proposal)
    assert queue.take() is a[0]
    queue.put(c[0])
    assert taken(queue) == [b[0], a[1], c[0], b[1]]


def test_what_was_taken_in_vain_comes_first_again() -> None:
    queue = ProposalQueue()
    a, b = proposals("a", 3), proposals("b", 1)
    for proposal in (*a, *b):
        queue.put(proposal)
    queue.put_back([queue.take() or a[0], queue.take() or b[0], queue.take() or a[1]])
    assert len(queue) == 4
    order = taken(queue)
    assert [proposal for proposal in order if proposal.client == "a"] == a
    assert b[0] in order


def arrived(client: str) -> Arrived:
    return Arrived(client, NewSession(), "")


def test_a_connection_has_one_request_at_a_time() -> None:
    channels = Channels()
    first, second = arrived("a"), arrived("b")
    assert not channels.arrived(1, first)
    assert channels.next() == (1, first)
    assert channels.arrived(1, second)
    assert channels.next() is None
    assert channels.answer(1, b"x")
    assert channels.next() == (1, second)
    assert channels.answer(1, b"y", close=True)
    assert [(output.channel, output.body, output.close) for output in channels.take_outputs()] == [
        (1, b"x", False),
        (1, b"y", True),
    ]
    assert channels.take_outputs() == []


def test_requests_that_come_together_are_taken_one_by_one() -> None:
    channels = Channels()
    first, second = arrived("a"), arrived("b")
    for one in (first, second):
        channels.arrived(1, one)
    assert channels.next() == (1, first)
    assert channels.next() is None
    channels.answer(1, b"")
    assert channels.next() == (1, second)


def test_connections_do_not_wait_for_each_other() -> None:
    channels = Channels()
    channels.arrived(1, arrived("a"))
    channels.arrived(2, arrived("a"))
    assert channels.next() == (1, arrived("a"))
    assert channels.next() == (2, arrived("a"))
    assert channels.answer(2, b"") and channels.answer(1, b"")


def test_nothing_goes_out_on_a_closed_connection() -> None:
    channels = Channels()
    channels.arrived(1, arrived("a"))
    channels.arrived(1, arrived("a"))
    assert channels.next() is not None
    channels.closed(1)
    assert 1 not in channels
    assert not channels.answer(1, b"")
    assert channels.next() is None
    assert channels.take_outputs() == []
    assert not channels.answer(None, b"")


def test_requests_of_a_connection_that_closes_before_their_turn_are_forgotten() -> None:
    channels = Channels()
    channels.arrived(1, arrived("a"))
    channels.closed(1)
    assert channels.next() is None
