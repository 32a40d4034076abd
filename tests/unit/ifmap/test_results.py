"""Queues of results: order, sizes, what is void, and too much."""

from __future__ import annotations

import pytest

from ifmap.errors import ErrorCode, IfmapError
from ifmap.results import ResultQueue, Told, too_big
from ifmap.values import ResultKind


def told(kind: ResultKind, *items: bytes) -> Told:
    return Told(kind, items, sum(map(len, items)))


def item(name: str, *metadata: str) -> bytes:
    inner = "".join(metadata)
    return f"<resultItem><device><name>{name}</name></device><metadata>{inner}</metadata></resultItem>".encode()


A, B = item("a", "<x/>"), item("b", "<x/>")
UPDATE = told(ResultKind.UPDATE, A)
DELETE = told(ResultKind.DELETE, A, B)


def test_results_come_in_order_and_once() -> None:
    queue = ResultQueue(10_000)
    assert not queue.pending
    assert queue.take() == []
    for name, result in (("a", DELETE), ("b", UPDATE), ("a", UPDATE)):
        assert queue.add(name, result)
    assert queue.pending
    assert queue.take() == [
        b'<deleteResult name="a">' + A + B + b"</deleteResult>",
        b'<updateResult name="b">' + A + b"</updateResult>",
        b'<updateResult name="a">' + A + b"</updateResult>",
    ]
    assert not queue.pending
    assert queue.size == 0


def test_neighbours_are_one_child_with_one_item_an_edge() -> None:
    queue = ResultQueue(10_000)
    queue.add("s", told(ResultKind.SEARCH, b"<resultItem><device><name>a</name></device></resultItem>"))
    queue.add("s", told(ResultKind.NOTIFY, A, B))
    # What looks like the item's own tag, but isn't.
    queue.add("s", told(ResultKind.NOTIFY, item("a&lt;metadata>", "<m/>")))
    queue.add("s", told(ResultKind.NOTIFY, item("c", "<metadata><y/></metadata>", "<z/>"), item("a", "<n/>", "<n/>")))
    queue.add("s", told(ResultKind.NOTIFY, item("c", "<metadata></metadata>")))
    queue.add("t", told(ResultKind.NOTIFY, A))
    queue.add("s", told(ResultKind.NOTIFY, A))
    assert queue.take() == [
        b'<searchResult name="s"><resultItem><device><name>a</name></device></resultItem></searchResult>',
        b'<notifyResult name="s">'
        + item("a", "<x/>", "<n/>", "<n/>")
        + B
        + item("a&lt;metadata>", "<m/>")
        + item("c", "<metadata><y/></metadata>", "<z/>", "<metadata></metadata>")
        + b"</notifyResult>",
        b'<notifyResult name="t">' + A + b"</notifyResult>",
        b'<notifyResult name="s">' + A + b"</notifyResult>",
    ]


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
    queue = ResultQueue(500)
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
    assert queue.take() == [b'<updateResult name="b">' + A + b"</updateResult>"]
    assert not queue.pending
