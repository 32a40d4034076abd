"""Tables, their log and their index, against a model made from scratch."""

from __future__ import annotations

from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import WELL_KNOWN_LLGR_STALE, WELL_KNOWN_NO_LLGR
from bgp.family import VPNV4
from bgp.rib.decision import best
from bgp.rib.table import Table
from bgp.rib.values import AttributeSets, Source, SourceKind
from tests.unit.bgp.routes import NEXT_HOP, SETS, attributes, key, path, route, source, target
from vpn.log import ChangeLog

A = source("a", number=1)
B = source("b", SourceKind.CLIENT, number=2)
C = source("hosts", SourceKind.HOST, number=3)
PREFIXES = [f"10.0.{number}.0/24" for number in range(4)]
SAID = [attributes("64512:1"), attributes("64512:1", local_pref=200), attributes("64512:2", "64512:3"), attributes()]


class Entry:
    """Something in a log."""

    def __init__(self, name: int) -> None:
        self.name = name
        self.revision = 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["append", "append", "forget", "extend"])), max_size=60),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_a_reader_of_the_log_sees_the_newest_of_each_once(
    steps: list[tuple[int, str]], limit: int, segment: int
) -> None:
    with mock.patch.multiple("vpn.log", SEGMENT=segment, _SLACK=0):
        log: ChangeLog[Entry] = ChangeLog()
        entries = [Entry(number) for number in range(6)]
        behind = 0
        expected: dict[int, None] = {}
        for number, what in steps:
            expected.pop(number, None)
            if what == "forget":
                log.forget(entries[number])
            elif what == "append":
                log.append(entries[number])
                expected[number] = None
            else:
                log.forget(entries[number])
                more = [entries[number], Entry(len(entries)), Entry(len(entries) + 1)]
                entries += more[1:]
                log.extend(more)
                expected.update((one.name, None) for one in more)
    assert len(log) <= 2 * len(expected) + segment
    seen: list[int] = []
    while behind < log.revision:
        found, reached = log.read(behind, limit)
        assert reached > behind and len(found) <= limit
        seen += [entry.name for entry in found]
        behind = reached
    assert seen == list(expected)


def test_the_log_stays_small() -> None:
    log: ChangeLog[Entry] = ChangeLog()
    entries = [Entry(number) for number in range(10)]
    for turn in range(100_000):
        log.append(entries[turn % 10])
    assert len(log) < 2000
    assert [entry.name for entry in log.read(0, 100)[0]] == list(range(10))
    for entry in entries:
        log.forget(entry)
    assert log.read(0, 100)[0] == []


STEP = st.one_of(
    st.tuples(
        st.just("update"),
        st.sampled_from([A, B, C]),
        st.sampled_from(PREFIXES),
        st.sampled_from(SAID),
        st.integers(1, 2),
    ),
    st.tuples(st.just("withdraw"), st.sampled_from([A, B, C]), st.sampled_from(PREFIXES)),
    st.tuples(st.just("age"), st.sampled_from([A, B, C])),
    st.tuples(st.just("sweep"), st.sampled_from([A, B, C])),
    st.tuples(st.just("told"), st.sampled_from(PREFIXES)),
)


@given(st.lists(STEP, max_size=40))
def test_incremental_is_as_from_scratch(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    table = Table(VPNV4)
    table.dirty = {}
    for step in steps:
        match step:
            case ("update", of, prefix, said, label):
                table.update(table.adj_rib_in(of), SETS.of(said, NEXT_HOP), [route(prefix, label)])
            case ("withdraw", of, prefix):
                table.withdraw(table.adj_rib_in(of), [key(prefix)])
            case ("age", of):
                table.adj_rib_in(of).age()
            case ("sweep", of):
                adj = table.adj_rib_in(of)
                table.sweep(adj, list(adj.paths), adj.generation)
                assert adj.count_stale() == 0
            case ("told", prefix):
                destination = table.destinations.get(key(prefix))
                if destination is not None:
                    destination.advertised = 0 if destination.advertised and destination.paths else 1
    scratch = Table(VPNV4)
    for of in (C, B, A):
        for where, one in table.adj_rib_in(of).paths.items():
            scratch.update(scratch.adj_rib_in(of), one.attributes, [(where, one.labels)])
    assert {one.key for one in table} == {one.key for one in scratch}
    assert len(table) == len(scratch)
    for destination in scratch:
        mine = table.get(destination.key)
        assert mine is not None
        assert mine.paths[0][:3] == destination.paths[0][:3]
        assert mine.paths[0] is best(mine.paths)
        assert {one[:3] for one in mine.paths} == {one[:3] for one in destination.paths}
    for number in (1, 2, 3):
        rt = target(f"64512:{number}")
        assert {one.key for one in table.targets.of(rt)} == {one.key for one in scratch.targets.of(rt)}
    # What is gone stays only as long as somebody was told of it.
    assert all(one.paths or one.advertised for one in table.destinations.values())


@given(
    st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from(PREFIXES), st.integers(1, 2)), max_size=6),
    st.lists(st.tuples(st.sampled_from(PREFIXES), st.integers(1, 2)), max_size=8),
)
def test_many_routes_at_once_are_as_one_after_the_other(
    before: list[tuple[Source, str, int]], routes: list[tuple[str, int]]
) -> None:
    said = SETS.of(SAID[0], NEXT_HOP)
    tables = [Table(VPNV4), Table(VPNV4)]
    for table in tables:
        table.dirty = {}
        for of, prefix, label in before:
            table.update(table.adj_rib_in(of), SETS.of(SAID[2], NEXT_HOP), [route(prefix, label)])
    once, alone = tables
    once.update(once.adj_rib_in(A), said, [route(*one) for one in routes])
    for one in routes:
        alone.update(alone.adj_rib_in(A), said, [route(*one)])
    assert once.adj_rib_in(A).paths == alone.adj_rib_in(A).paths
    assert {one.key: one.paths for one in once} == {one.key: one.paths for one in alone}
    assert [one.key for one in once.log.read(0, 100)[0]] == [one.key for one in alone.log.read(0, 100)[0]]
    assert [one.key for one in once.dirty or ()] == [one.key for one in alone.dirty or ()]
    for number in (1, 2, 3):
        rt = target(f"64512:{number}")
        assert {one.key for one in once.targets.of(rt)} == {one.key for one in alone.targets.of(rt)}


def test_the_same_again_changes_nothing() -> None:
    table = Table(VPNV4)
    table.dirty = {}
    adj = table.adj_rib_in(A)
    said = SETS.of(attributes("64512:1"), NEXT_HOP)
    table.update(adj, said, [route("10.0.0.0/24")])
    revision = table.log.revision
    table.dirty.clear()
    adj.age()
    assert adj.count_stale() == 1 and adj.is_stale(adj.paths[key("10.0.0.0/24")])
    table.update(adj, said, [route("10.0.0.0/24")])
    assert (table.log.revision, table.dirty, adj.count_stale()) == (revision, {}, 0)
    table.update(adj, said, [route("10.0.0.0/24", 101)])
    assert table.log.revision == revision + 1


def test_a_worse_path_is_no_change_to_tell() -> None:
    table = Table(VPNV4)
    table.update(table.adj_rib_in(A), SETS.of(attributes(), NEXT_HOP), [route("10.0.0.0/24")])
    revision = table.log.revision
    table.update(table.adj_rib_in(B), SETS.of(attributes(local_pref=1), NEXT_HOP), [route("10.0.0.0/24")])
    assert table.log.revision == revision
    table.withdraw(table.adj_rib_in(B), [key("10.0.0.0/24")])
    assert table.log.revision == revision


def test_long_lived_stale_routes() -> None:
    """RFC 9494, section 4.2: marked, least preferred, and gone where NO_LLGR says so."""
    sets = AttributeSets()
    table = Table(VPNV4)
    adj, other = table.adj_rib_in(A), table.adj_rib_in(B)
    keep, forbid = attributes("64512:1", local_pref=200), attributes("64512:1", communities=(WELL_KNOWN_NO_LLGR,))
    table.update(adj, sets.of(keep, NEXT_HOP), [route("10.0.0.0/24"), route("10.0.1.0/24")])
    table.update(adj, sets.of(forbid, NEXT_HOP), [route("10.0.2.0/24")])
    table.update(other, sets.of(attributes("64512:1", local_pref=1), NEXT_HOP), [route("10.0.0.0/24")])
    generation = adj.age()
    table.update(adj, sets.of(keep, NEXT_HOP), [route("10.0.3.0/24")])
    table.degrade(adj, list(adj.paths), generation, sets)
    assert table.get(key("10.0.2.0/24")) is None
    overtaken, alone, fresh = (
        table.destinations[key(prefix)].paths for prefix in ("10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24")
    )
    assert overtaken[0].source is B
    assert WELL_KNOWN_LLGR_STALE in alone[0].attributes.attributes.communities
    assert not fresh[0].attributes.is_long_lived_stale
    assert adj.count_stale() == 2
    assert table.degrade(adj, list(adj.paths), generation, sets) == []


def test_equal_attributes_are_one_object_while_in_use() -> None:
    sets = AttributeSets()
    said = attributes("64512:1")
    first = sets.of(said, NEXT_HOP)
    assert sets.of(attributes("64512:1"), NEXT_HOP) is first
    assert sets.of(said, bytes(4)) is not first
    assert path(A, said).attributes is path(B, attributes("64512:1")).attributes
    del first
    assert len(sets) == 0
