"""VRF tables: sources, selection, stale marks, and the stream of changes against a model."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vpn.cursor import Cursor
from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix, parse_address
from vpn.table import MAX_NEXT_HOPS, Candidate, VrfTable, first, multipath

P1 = Prefix.parse("10.1.1.1/32")
P2 = Prefix.parse("2001:db8::1/128")


def path(host: str, label: int = 100, preference: int = 100, sequence: int = 0) -> Path:
    return Path((NextHop(parse_address(host), label),), preference, sequence)


A, B = path("192.0.2.11"), path("192.0.2.12")


def drain(cursor: Cursor[str], limit: int = 1000) -> dict[Prefix, Path | None]:
    changes = cursor.read(limit)
    assert not cursor.pending
    return dict(changes)


def test_losing_a_source_does_not_lose_the_prefix() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    assert table.update("a", P1, A)
    assert table.update("b", P1, B)
    assert table.get(P1) == Path(A.next_hops + B.next_hops)
    assert table.withdraw_source("a") == 1
    assert table.get(P1) == B
    assert table.withdraw("b", P1)
    assert table.get(P1) is None
    assert len(table) == 0 and list(table) == [] and P1 not in table and table.sources() == ()


def test_the_same_again_is_no_change() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    table.update("a", P1, A)
    revision = table.revision
    assert not table.update("a", P1, path("192.0.2.11"))
    assert not table.withdraw("b", P1)
    assert not table.withdraw("a", P2)
    assert table.withdraw_source("z") == table.mark_stale("z") == table.sweep("z") == 0
    assert table.revision == revision


def test_a_stale_path_is_less_preferred_and_swept() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    table.update("a", P1, path("192.0.2.11", preference=200))
    table.update("a", P2, A)
    table.update("b", P1, B)
    assert table.mark_stale("a") == 2
    assert table.get(P1) == B
    assert table.get(P2) == A, "the only path stays selected while stale"
    assert table.stale_size("a") == 2
    assert table.update("a", P1, path("192.0.2.11", preference=200)), "told again: preferred again"
    assert table.get(P1) == path("192.0.2.11", preference=200)
    assert table.sweep("a") == 1
    assert table.get(P2) is None
    assert table.source_size("a") == 1 and table.stale_size("a") == 0


def test_marking_stale_the_only_source_changes_nothing_for_readers() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    table.update("a", P1, A)
    cursor = table.cursor()
    drain(cursor)
    table.mark_stale("a")
    table.update("a", P1, A)
    assert not cursor.pending


def test_multipath_prefers_local_preference_then_sequence_then_merges() -> None:
    merged = multipath(
        [
            Candidate("c", path("192.0.2.13", sequence=1), False),
            Candidate("a", path("192.0.2.11", sequence=2), False),
            Candidate("b", path("192.0.2.10", sequence=2), False),
            Candidate("d", path("192.0.2.14", preference=99, sequence=9), False),
        ]
    )
    assert merged == Path(
        (NextHop(parse_address("192.0.2.10"), 100), NextHop(parse_address("192.0.2.11"), 100)), 100, 2
    )


def test_multipath_is_bounded_and_free_of_duplicates() -> None:
    hops = tuple(NextHop(bytes([192, 0, 2, n]), 100) for n in range(200, 0, -1))
    doubled = Path((*hops, NextHop(hops[0].address, 100, (Encapsulation.UDP,))))
    result = multipath([Candidate("a", doubled, False)]).next_hops
    assert result == tuple(sorted(hops))[:MAX_NEXT_HOPS]


def test_first_prefers_local_preference_then_sequence_then_the_lowest_source() -> None:
    candidates = [
        Candidate("192.0.2.2", B, False),
        Candidate("192.0.2.1", A, False),
        Candidate("192.0.2.0", path("192.0.2.10", preference=50), False),
    ]
    assert all(first(order) == A for order in itertools.permutations(candidates))
    newer = Candidate("192.0.2.9", path("192.0.2.19", sequence=1), False)
    assert first([*candidates, newer]) == newer.path
    assert first([Candidate("a", path("192.0.2.10", preference=500), True), Candidate("b", B, False)]) == B


def test_a_slow_reader_sees_only_the_newest_state() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = table.cursor()
    for sequence in range(1000):
        table.update("a", P1, path("192.0.2.11", sequence=sequence))
        table.update("a", P2, path("192.0.2.11", sequence=sequence))
    assert cursor.read(10) == [(P1, path("192.0.2.11", sequence=999)), (P2, path("192.0.2.11", sequence=999))]
    assert not cursor.pending
    assert len(table._stream.log) < 600, "superseded entries are compacted away"


def test_reading_goes_on_where_it_stopped() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    prefixes = [Prefix(bytes([10, 0, 0, n]), 32) for n in range(7)]
    for prefix in prefixes:
        table.update("a", prefix, A)
    cursor = table.cursor()
    assert [change.prefix for change in cursor.read(3)] == prefixes[:3]
    table.withdraw("a", prefixes[0])
    table.withdraw("a", prefixes[5])
    assert [change.prefix for change in cursor.read(3)] == [prefixes[3], prefixes[4], prefixes[6]]
    assert dict(cursor.read(9))[prefixes[0]] is None
    assert not cursor.pending


def test_a_reader_is_not_told_of_withdrawals_it_cannot_have_seen() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    cursor = table.cursor()
    table.update("a", P1, A)
    table.withdraw("a", P1)
    assert cursor.pending
    assert cursor.read(10) == []
    assert not cursor.pending


def test_a_reader_from_now_on_sees_no_first_dump_but_withdrawals_of_it() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    table.update("a", P1, A)
    cursor = table.cursor(from_start=False)
    assert not cursor.pending
    table.withdraw("a", P1)
    assert cursor.read(10) == [(P1, None)]


def _size(table: VrfTable[str]) -> int:
    return max(len(table._nodes), len(table._stream.log), len(table._stream.births))


def test_memory_is_bounded_whatever_a_stuck_reader_does() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    live, stuck = table.cursor(), table.cursor()
    for n in range(1000):
        table.update("a", Prefix(n.to_bytes(4, "big"), 32), A)
    drain(live, 2000)
    drain(stuck, 2000)
    for n in range(20_000):
        prefix = Prefix((n + 1000).to_bytes(4, "big"), 32)
        table.update("a", prefix, A)
        if n % 7 == 0:
            live.read(1000)
        table.withdraw("a", prefix)
        live.read(1000)
        assert _size(table) < 6000
    table.withdraw_source("a")
    assert len(drain(live, 50_000)) == 1000
    assert set(drain(stuck, 50_000)) >= {Prefix(n.to_bytes(4, "big"), 32) for n in range(1000)}
    assert _size(table) <= 2 * 256, "tombstones go when the last reader has been told"


def test_pages_visit_every_route_once() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    prefixes = [Prefix(bytes([10, 0, 0, n]), 32) for n in range(5)]
    for prefix in prefixes:
        table.update("a", prefix, A)
    assert table.page(None, 3) == [(prefix, A) for prefix in prefixes[:3]]
    table.update("a", prefixes[0], B)
    assert table.page(prefixes[2], 3) == [(prefixes[3], A), (prefixes[4], A), (prefixes[0], B)]
    assert table.newest(2) == [(prefixes[0], B), (prefixes[4], A)]
    table.withdraw("a", prefixes[2])
    with pytest.raises(KeyError):
        table.page(prefixes[2], 3)
    with pytest.raises(KeyError):
        table.page(P2, 3)
    for gone in (prefixes[2], P2):
        with pytest.raises(KeyError):
            table.newest(3, gone)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([A, B, None])), max_size=200),
    st.integers(1, 7),
)
def test_pages_backwards_are_those_forwards(changes: list[tuple[int, Path | None]], limit: int) -> None:
    table: VrfTable[str] = VrfTable(multipath)
    for number, changed in changes:
        prefix = Prefix(bytes([10, 0, 0, number]), 32)
        if changed is None:
            table.withdraw("a", prefix)
        else:
            table.update("a", prefix, changed)
    backwards = page = table.newest(limit)
    while page:
        assert len(page) <= limit
        page = table.newest(limit, page[-1][0])
        backwards = backwards + page
    assert backwards[::-1] == table.page(None, 1000)


def test_pages_backwards_through_a_large_table() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    prefixes = [Prefix(number.to_bytes(4, "big"), 32) for number in range(10_000)]
    for prefix in prefixes:
        table.update("a", prefix, A)
    for number in (0, 1, 4095, 4096, 4097, 9_999):
        found = [prefix for prefix, _ in table.newest(3, prefixes[number])]
        assert found == prefixes[max(0, number - 3) : number][::-1]


def test_a_reader_can_follow_another() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    one, other = table.cursor(), table.cursor()
    table.update("a", P1, A)
    one.read(10)
    other.advance(one.revision)
    assert not other.pending


def test_a_closed_reader_holds_nothing_back() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    stuck = table.cursor()
    for n in range(3000):
        table.update("a", Prefix(n.to_bytes(4, "big"), 32), A)
    assert len(stuck.read(5000)) == 3000
    table.withdraw_source("a")
    assert _size(table) >= 3000
    stuck.close()
    stuck.close()
    assert _size(table) <= 2 * 256


SOURCES = st.sampled_from(["a", "b", "c"])
PREFIXES = st.sampled_from([Prefix(bytes([10, 0, 0, n]), 32) for n in range(6)])
PATHS = st.builds(
    lambda host, label, preference, sequence: path(f"192.0.2.{host}", label, preference, sequence),
    st.integers(1, 3),
    st.integers(16, 18),
    st.sampled_from([100, 200]),
    st.integers(0, 1),
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), SOURCES, PREFIXES, PATHS),
        st.tuples(st.sampled_from(["withdraw", "mark_path_stale"]), SOURCES, PREFIXES),
        st.tuples(st.sampled_from(["withdraw_source", "mark_stale", "sweep"]), SOURCES),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 4)),
        st.tuples(st.just("compact")),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=300)
@given(OPERATIONS, st.sampled_from([multipath, first]))
def test_incremental_equals_from_scratch(operations: list[tuple], policy) -> None:  # type: ignore[no-untyped-def,type-arg]
    table: VrfTable[str] = VrfTable(policy)
    model: dict[Prefix, dict[str, tuple[Path, bool]]] = {}
    cursors = [table.cursor() for _ in range(3)]
    views: list[dict[Prefix, Path]] = [{} for _ in cursors]

    def read(reader: int, limit: int) -> None:
        for prefix, selected in cursors[reader].read(limit):
            if selected is None:
                views[reader].pop(prefix, None)
            else:
                views[reader][prefix] = selected

    for name, *arguments in operations:
        if name == "read":
            read(*arguments)
            continue
        if name == "compact":
            table._stream.sweep()
            continue
        getattr(table, name)(*arguments)
        source = arguments[0]
        if name == "update":
            model.setdefault(arguments[1], {})[source] = (arguments[2], False)
        elif name == "withdraw":
            model.get(arguments[1], {}).pop(source, None)
        elif name == "mark_path_stale":
            if source in (paths := model.get(arguments[1], {})):
                paths[source] = (paths[source][0], True)
        else:
            for paths in model.values():
                if source not in paths:
                    continue
                if name == "mark_stale":
                    paths[source] = (paths[source][0], True)
                elif name == "withdraw_source" or paths[source][1]:
                    del paths[source]

    expected = {
        prefix: policy([Candidate(source, *entry) for source, entry in sorted(paths.items())])
        for prefix, paths in model.items()
        if paths
    }
    assert dict(table.routes()) == expected
    assert len(table) == len(expected) == len(list(table))
    for source in "abc":
        assert table.source_size(source) == sum(source in paths for paths in model.values())
        assert table.stale_size(source) == sum(source in paths and paths[source][1] for paths in model.values())
    late = table.cursor()
    assert dict(late.read(100)) == expected
    for reader in range(len(cursors)):
        while cursors[reader].pending:
            read(reader, 2)
        assert views[reader] == expected
    for cursor in [*cursors, late]:
        cursor.close()
    table._stream.sweep()
    assert len(table._nodes) == len(expected)


def test_reading_by_revision_visits_every_route_once() -> None:
    table: VrfTable[str] = VrfTable(multipath)
    prefixes = [Prefix.parse(f"10.1.{number}.0/24") for number in range(10)]
    for prefix in prefixes:
        table.update("a", prefix, A)
    found, reached = table.read(0, 4)
    table.withdraw("a", prefixes[0])
    table.withdraw("a", prefixes[8])
    table.update("b", prefixes[1], B)
    seen = [prefix for prefix, _ in found]
    while reached < table.revision:
        found, reached = table.read(reached, 4)
        assert len(found) <= 4
        seen += [prefix for prefix, _ in found]
    assert seen[:4] == prefixes[:4]
    assert sorted(seen[4:]) == sorted([*prefixes[4:8], prefixes[9], prefixes[1]])
    assert table.read(reached, 4) == ([], table.revision)
