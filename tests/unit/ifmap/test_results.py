"""Queues of results: order, sizes, what is void, and too much."""

from __future__ import annotations

import pytest

from ifmap.errors import ErrorCode, IfmapError
from ifmap.results import ResultQueue, Told, too_big
from ifmap.values import ResultKind

UPDATE = Told(ResultKind.UPDATE, (b"<resultItem/>",), 13)
DELETE = Told(ResultKind.DELETE, (b"<resultItem/>", b"<resultItem/>"), 26)


def test_results_come_in_order_and_once() -> None:
    queue = ResultQueue(10_000)
    assert not queue.pending
    assert queue.take() == []
    for name, told in (("a", DELETE), ("b", UPDATE), ("a", UPDATE)):
        assert queue.add(name, told)
    assert queue.pending
    assert queue.take() == [
        b'<deleteResult name="a"><resultItem/><resultItem/></deleteResult>',
        b'<updateResult name="b"><resultItem/></updateResult>',
        b'<updateResult name="a"><resultItem/></updateResult>',
    ]
    assert not queue.pending
    assert queue.size == 0


def test_what_is_void_gives_room() -> None:
    queue = ResultQueue(10_000)
    queue.add("a", DELETE)
    before = queue.size
    queue.add("b", UPDATE)
    queue.add("a", UPDATE)
    queue.add("b", DELETE)
    queue.void("b")
    queue.void("unknown")
    queue.void("a")
    assert queue.size == 0
    assert not queue.pending
    queue.add("a", DELETE)
    assert queue.size == before


def test_an_error_of_one_subscription() -> None:
    queue = ResultQueue(10_000)
    queue.add("a", too_big(500))
    (part,) = queue.take()
    assert part.startswith(b'<errorResult errorCode="SearchResultsTooBig" name="a"><errorString>')
    assert b"500 bytes" in part


def test_the_limit_counts_what_goes_over_the_wire_and_more() -> None:
    queue = ResultQueue(1 << 20)
    for number in range(50):
        queue.add(f"name-{number}", DELETE)
    size = queue.size
    assert sum(map(len, queue.take())) <= size


def test_too_much_is_dropped_and_told_once() -> None:
    queue = ResultQueue(300)
    assert queue.add("a", UPDATE)
    assert queue.add("a", UPDATE)
    assert queue.add("a", UPDATE)
    assert not queue.add("a", UPDATE)
    assert queue.pending
    assert queue.size == 0
    # A new subscription meanwhile: the error comes first.
    assert queue.add("b", UPDATE)
    with pytest.raises(IfmapError) as error:
        queue.take()
    assert error.value.code is ErrorCode.POLL_RESULTS_TOO_BIG
    assert queue.pending
    assert queue.take() == [b'<updateResult name="b"><resultItem/></updateResult>']
    assert not queue.pending
