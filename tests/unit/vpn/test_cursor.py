"""Cursors that go back: whatever a reader has taken of what it was sent, in the end it has the table."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vpn.cursor import Change, ReplayCursor
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from vpn.table import VrfTable, multipath

P1 = Prefix.parse("10.1.1.1/32")
P2 = Prefix.parse("10.1.1.2/32")


def path(label: int = 100) -> Path:
    return Path((NextHop(parse_address("192.0.2.11"), label),))


def numbered(number: int) -> Prefix:
    return Prefix(number.to_bytes(4, "big"), 32)


def test_what_was_not_acknowledged_is_read_again_in_its_newest_state() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = ReplayCursor(table.cursor())
    table.update("a", P1, path(1))
    cursor.read(10)
    cursor.acknowledge(cursor.revision)
    table.update("a", P2, path(2))
    assert cursor.read(10) == [(P2, path(2))]
    table.update("a", P2, path(3))
    cursor.rewind()
    assert cursor.pending
    assert cursor.read(10) == [(P2, path(3))], "nothing twice that was acknowledged"
    assert not cursor.pending


def test_what_its_predecessor_has_read_counts_as_acknowledged() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    plain = table.cursor()
    table.update("a", P1, path())
    plain.read(10)
    cursor = ReplayCursor(plain)
    cursor.rewind()
    assert cursor.read(10) == []


def test_a_withdrawal_is_read_of_a_prefix_that_the_reader_may_have_been_told_of() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = ReplayCursor(table.cursor())
    table.update("a", P1, path())
    cursor.read(10)
    table.withdraw("a", P1)
    table._stream.sweep()
    cursor.rewind()
    table._stream.sweep()
    assert cursor.read(10) == [(P1, None)], "the reader may have taken it, though it has acknowledged nothing"
    table.update("a", P2, path())
    table.withdraw("a", P2)
    assert cursor.read(10) == [], "this one it can't know of"


def test_a_withdrawal_is_kept_even_when_both_it_and_the_prefix_were_read_and_perhaps_lost() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = ReplayCursor(table.cursor())
    table.update("a", P1, path())
    cursor.read(10)
    table.withdraw("a", P1)
    cursor.read(10)
    table._stream.sweep()
    cursor.rewind()
    assert cursor.read(10) == [(P1, None)]


def test_one_that_went_back_to_the_start_does_not_begin_anew() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    table.update("a", P1, path())
    cursor = ReplayCursor(table.cursor())
    cursor.read(10)
    cursor.rewind()
    table.withdraw("a", P1)
    cursor.renew()
    assert (P1, None) in cursor.read(10)
    fresh = ReplayCursor(table.cursor())
    table.update("a", P2, path())
    table.withdraw("a", P2)
    fresh.renew()
    assert fresh.read(10) == []


def test_acknowledged_withdrawals_are_let_go() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = ReplayCursor(table.cursor())
    for n in range(3000):
        table.update("a", numbered(n), path())
    cursor.read(5000)
    cursor.acknowledge(cursor.revision)
    table.withdraw_source("a")
    cursor.read(5000)
    assert len(table._nodes) >= 3000, "they may have to be told again"
    cursor.acknowledge(cursor.revision)
    assert len(table._nodes) <= 256


def test_a_reader_that_never_acknowledges_costs_no_more_than_it_was_told_of() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    ReplayCursor(table.cursor())
    reading = ReplayCursor(table.cursor())
    for n in range(1000):
        table.update("a", numbered(n), path())
    reading.read(2000)
    reading.rewind()
    for n in range(20_000):
        table.update("a", numbered(n + 1000), path())
        table.withdraw("a", numbered(n + 1000))
        assert len(table._stream.log) < 6000


def test_acknowledging_again_less_or_too_much_changes_nothing() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = ReplayCursor(table.cursor())
    table.update("a", P1, path())
    table.update("a", P2, path())
    cursor.read(1)
    cursor.acknowledge(1)
    for revision in (0, 1, 2):
        cursor.acknowledge(revision)
    assert cursor.acknowledged == 1
    cursor.close()
    cursor.close()
    table.withdraw_source("a")
    cursor.acknowledge(1)
    assert table._stream._behind == 0


READER = st.integers(0, 1)
SEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.integers(0, 4), st.integers(1, 3)),
        st.tuples(st.just("withdraw"), st.integers(0, 4)),
        st.tuples(st.just("compact")),
        st.tuples(st.just("send"), READER, st.integers(1, 3)),
        st.tuples(st.just("take"), READER, st.integers(1, 3)),
        st.tuples(st.just("acknowledge"), READER),
        st.tuples(st.just("lose"), READER, st.booleans()),
    ),
    max_size=60,
)


class Reader:
    """Takes messages one by one, the newest perhaps in part; a mark tells how far the cursor was after each."""

    def __init__(self, table: VrfTable[str]) -> None:
        self.cursor = ReplayCursor(table.cursor())
        self.view: dict[Prefix, Path] = {}
        self._sent: list[tuple[list[Change], int]] = []
        self._taken: list[int] = []

    def send(self, limit: int) -> None:
        self._sent.append((self.cursor.read(limit), self.cursor.revision))

    def take(self, changes: int) -> None:
        """Take so many changes of the oldest message, which leaves the wire when all of it was taken."""
        if not self._sent:
            return
        message, mark = self._sent[0]
        for prefix, selected in message[:changes]:
            if selected is None:
                self.view.pop(prefix, None)
            else:
                self.view[prefix] = selected
        if changes >= len(message):
            self._taken.append(mark)
            del self._sent[0]

    def acknowledge(self) -> None:
        for mark in self._taken:
            self.cursor.acknowledge(mark)
        self._taken.clear()

    def lose(self, told: bool) -> None:
        """The connection is lost; told: what was taken is said before it goes on."""
        if told:
            self.acknowledge()
        self._sent.clear()
        self._taken.clear()
        self.cursor.rewind()


@settings(deadline=None, max_examples=300)
@given(SEEDS)
def test_a_reader_that_was_lost_at_any_time_has_the_table_in_the_end(operations: list[tuple]) -> None:  # type: ignore[type-arg]
    table: VrfTable[str] = VrfTable(multipath)
    readers = [Reader(table), Reader(table)]
    plain = table.cursor()
    for name, *arguments in operations:
        if name == "update":
            table.update("a", numbered(arguments[0]), path(arguments[1]))
        elif name == "withdraw":
            table.withdraw("a", numbered(arguments[0]))
        elif name == "compact":
            table._stream.sweep()
        else:
            getattr(readers[arguments[0]], name)(*arguments[1:])
    routes = dict(table.routes())
    for reader in readers:
        reader.lose(told=False)
        while reader.cursor.pending:
            reader.send(2)
            reader.take(2)
        assert reader.view == routes
        reader.acknowledge()
    assert {prefix for prefix, selected in plain.read(100) if selected is not None} == set(routes)
    for cursor in (plain, *(reader.cursor for reader in readers)):
        cursor.close()
    table._stream.sweep()
    assert table._stream._behind == 0 and len(table._nodes) == len(routes)
