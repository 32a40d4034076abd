"""The stream of changes with short segments and steps, so that a small table takes as many calls as a large one."""

from __future__ import annotations

from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpn.cursor import Cursor
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from vpn.stream import _AT_ONCE, Births, Node
from vpn.table import VrfTable, multipath


def path(label: int = 100) -> Path:
    return Path((NextHop(parse_address("192.0.2.11"), label),))


def numbered(number: int) -> Prefix:
    return Prefix(number.to_bytes(4, "big"), 32)


def tiny(steps: int = 1) -> mock._patch:  # type: ignore[type-arg]
    """Segments of three entries, sweeps of so many entries for each change and read."""
    return mock.patch.multiple(
        "vpn.stream", SEGMENT=3, SLACK=0, STEP=steps, _SLACK_IN_SEGMENT=0, _BY_CHANGE=1, _BY_READ=1, _AT_ONCE=0
    )


@pytest.fixture
def short() -> Iterator[None]:
    with tiny(), mock.patch.multiple("vpn.log", SEGMENT=3, _SLACK=0):
        yield


class Reader:
    """What a cursor has told."""

    def __init__(self, table: VrfTable[str]) -> None:
        self.cursor: Cursor[str] = table.cursor()
        self.view: dict[Prefix, Path] = {}

    def read(self, limit: int) -> None:
        for prefix, selected in self.cursor.read(limit):
            if selected is None:
                self.view.pop(prefix, None)
            else:
                self.view[prefix] = selected


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.integers(0, 9), st.integers(16, 18)),
        st.tuples(st.just("withdraw"), st.integers(0, 9)),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("begin"), st.integers(0, 2)),
        st.tuples(st.just("sweep")),
    ),
    max_size=80,
)


@settings(deadline=None, max_examples=300)
@given(OPERATIONS, st.integers(1, 4))
def test_whatever_is_swept_and_when_every_reader_has_the_table_in_the_end(operations: list[tuple], steps: int) -> None:  # type: ignore[type-arg]
    with tiny(steps), mock.patch.multiple("vpn.log", SEGMENT=3, _SLACK=0):
        table: VrfTable[str] = VrfTable(multipath)
        readers = [Reader(table) for _ in range(3)]
        for name, *arguments in operations:
            if name == "update":
                table.update("a", numbered(arguments[0]), path(arguments[1]))
            elif name == "withdraw":
                table.withdraw("a", numbered(arguments[0]))
            elif name == "read":
                readers[arguments[0]].read(arguments[1])
            elif name == "begin":
                readers[arguments[0]].cursor.close()
                readers[arguments[0]] = Reader(table)
            else:
                table._stream.sweep()
        routes = dict(table.routes())
        for reader in readers:
            while reader.cursor.pending:
                reader.read(2)
            assert reader.view == routes
            reader.cursor.close()
        # Nobody reads any more: what is left of the tombstones goes with the changes that come.
        for _ in range(100):
            table.update("a", numbered(0), path(16))
            table.update("a", numbered(0), path(17))
        stream = table._stream
        assert stream.tombstones == len(table._nodes) - len(table) <= len(table) // 2
        assert len(stream.births) <= 2 * len(table._nodes) + 3
        assert stream._behind == 0


@pytest.mark.usefixtures("short")
def test_a_sweep_that_is_under_way_keeps_what_a_reader_needs_that_came_to_know_of_it() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    for n in range(20):
        table.update("a", numbered(n), path())
    reader = Reader(table)
    table._stream.sweep()
    while reader.cursor.pending:
        reader.read(1)
    for n in range(20):
        table.withdraw("a", numbered(n))
    while reader.cursor.pending:
        reader.read(1)
    assert reader.view == {}


@pytest.mark.usefixtures("short")
def test_tombstones_that_were_needed_when_the_sweep_began_go_by_the_next_one() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    for n in range(60):
        table.update("a", numbered(n), path())
    reader = Reader(table)
    reader.read(100)
    for n in range(50):
        table.withdraw("a", numbered(n))
    assert table._stream.tombstones == 50
    reader.read(100)
    for _ in range(200):
        table.update("a", numbered(55), path(16))
        table.update("a", numbered(55), path(17))
    assert table._stream.tombstones == 0 and len(table._nodes) == 10


def test_no_single_change_or_read_of_a_large_table_looks_at_much_of_it() -> None:
    """Counted, not timed: entries of the log that a sweep looks at in one call."""
    table: VrfTable[str] = VrfTable(multipath)
    for n in range(20_000):
        table.update("a", numbered(n), path())
    looked: list[int] = []
    read = table._stream.log.read

    def counted(after: int, limit: int) -> tuple[list[Node[str]], int]:
        found, reached = read(after, limit)
        looked.append(len(found))
        return found, reached

    with mock.patch.object(type(table._stream.log), "read", side_effect=counted):
        for n in range(20_000):
            table.withdraw("a", numbered(n))
            assert sum(looked) <= _AT_ONCE, "in one change"
            looked.clear()
    assert table._stream.tombstones < 10_000


class TestBirths:
    def node(self, number: int) -> Node[str]:
        node: Node[str] = Node(numbered(number))
        node.path, node.revision, node.born = path(), number, number
        return node

    @settings(deadline=None)
    @given(
        st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
        st.integers(0, 70),
        st.integers(0, 70),
        st.integers(1, 5),
    )
    def test_reading_in_pieces_visits_what_is_there_once(
        self, steps: list[tuple[bool, int]], after: int, until: int, limit: int
    ) -> None:
        with tiny():
            births: Births[str] = Births()
            there: list[Node[str]] = []
            count = 0
            for comes, which in steps:
                if comes or not there:
                    count += 1
                    there.append(self.node(count))
                    births.append(there[-1])
                else:
                    gone = there.pop(which % len(there))
                    gone.revision, gone.path = 0, None
                    births.forget(gone)
            assert len(births) <= 2 * len(there) + 3
            found: list[Node[str]] = []
            at = after
            while at < until:
                piece, reached = births.read(at, until, limit)
                assert at < reached <= until and len(piece) <= limit
                found, at = found + piece, reached
            assert found == [node for node in there if after < node.born <= until]
