"""Planning: what a publish means, operation by operation, against an interpreter that does one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifmap.delta import Delta
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.plan import Planner
from ifmap.slices import finish
from ifmap.values import (
    Delete,
    Edge,
    Lifetime,
    Metadata,
    MetadataName,
    NewMetadata,
    Notify,
    PublishOperation,
    Update,
)
from tests.unit.ifmap.graph_world import TIME, ValueFilter, edge, name, names_filter, new, value

EDGES = [edge("a"), edge("b"), edge("a-b")]

places = st.sampled_from(EDGES)
metadata = st.builds(
    lambda local, text: new(local, text, single=local in "xy"), st.sampled_from("xym"), st.sampled_from("12")
)
filters = st.one_of(
    st.none(),
    st.sampled_from(["", "x", "m", "xm"]).map(lambda locals_: names_filter(*locals_)),
    st.builds(ValueFilter, st.sampled_from("xm"), st.sampled_from("12")),
)
operations: st.SearchStrategy[PublishOperation] = st.one_of(
    st.builds(Update, places, st.lists(metadata, min_size=1, max_size=12).map(tuple), st.sampled_from(list(Lifetime))),
    st.builds(Delete, places, filters),
    st.builds(Notify, places, st.tuples(metadata)),
)


class Steps:
    """The interpreter: contents by edge as (type, text, publisher, session), in order, each with the key it has."""

    def __init__(self) -> None:
        self.contents: dict[Edge, list[tuple[str, str, str, str]]] = {}

    def publish(self, each: list[PublishOperation], who: str) -> None:
        for operation in each:
            if isinstance(operation, Notify):
                continue
            mine = self.contents.setdefault(operation.edge, [])
            if isinstance(operation, Delete):
                wanted = operation.filter
                mine[:] = [one for one in mine if wanted is not None and not wanted.matches(_metadata(one))]
                continue
            session = f"s-{who}" if operation.lifetime is Lifetime.SESSION else ""
            for one in operation.metadata:
                if one.single:
                    mine[:] = [old for old in mine if old[0] != one.name.local]
                mine.append((one.name.local, value(one.head + one.tail), who, session))

    def remove(self, goes: Callable[[tuple[str, str, str, str]], bool]) -> None:
        for mine in self.contents.values():
            mine[:] = [one for one in mine if not goes(one)]

    def __eq__(self, graph: object) -> bool:
        if not isinstance(graph, Graph):
            return NotImplemented
        return {where: mine for where, mine in self.contents.items() if mine} == {
            where: [_described(one) for one in graph.contents(where).values()] for where in graph.edges()
        }


def _metadata(described: tuple[str, str, str, str]) -> Metadata:
    local, text, publisher, session = described
    made = new(local, text)
    return Metadata(1, made.name, True, publisher, session, made.head + made.tail)


def _described(one: Metadata) -> tuple[str, str, str, str]:
    return one.name.local, value(one.xml), one.publisher, one.session


proposals = st.one_of(
    st.tuples(st.sampled_from("pq"), st.lists(operations, min_size=1, max_size=4)),
    st.tuples(st.sampled_from("pq"), st.sampled_from(["purge", "end"])),
)


@settings(max_examples=150)
@given(st.lists(st.lists(proposals, min_size=1, max_size=4), min_size=1, max_size=4))
def test_batches_do_what_their_operations_say(
    batches: list[list[tuple[str, list[PublishOperation] | str]]],
) -> None:
    graph, steps, next_key = Graph(), Steps(), 1
    for batch in batches:
        planner = Planner(graph, next_key)
        deltas = []
        for who, what in batch:
            if what == "purge":
                deltas.append(planner.purge(who, 1_000, planner.next_key)[0])
                steps.remove(lambda one, who=who: one[2] == who)  # type: ignore[misc]
            elif what == "end":
                deltas.append(planner.end_sessions([f"s-{who}"], 1_000)[0])
                steps.remove(lambda one, who=who: one[3] == f"s-{who}")  # type: ignore[misc]
            elif isinstance(what, list):
                deltas.append(finish(planner.publish(what, who, f"s-{who}", TIME)))
                steps.publish(what, who)
        next_key = planner.next_key
        for delta in deltas:
            _check_net(graph, delta)
            graph.apply(delta)
        assert steps == graph
    count = sum(map(len, steps.contents.values()))
    assert graph.metadata_count == count
    assert sum(len(graph.of_publisher(who)) for who in "pq") == count


def _check_net(graph: Graph, delta: Delta) -> None:
    """A delta says what changes, and nothing else."""
    assert len({change.edge for change in delta.changes}) == len(delta.changes)
    for change in delta.changes:
        held = graph.contents(change.edge)
        assert change.added or change.removed or change.replaced
        assert all(held[one.key] is one for one in change.removed + change.replaced)
        assert not any(one.key in held for one in change.added)
        added = {one.name for one in change.added if one.single}
        assert all(one.single and one.name in added for one in change.replaced)
        assert not any(one.name in added for one in change.removed if one.single)
        keys = [one.key for one in change.added]
        assert keys == sorted(set(keys))


@pytest.fixture
def graph() -> Graph:
    graph = Graph({name("s"): True})
    planner = Planner(graph, 1)
    graph.apply(
        finish(planner.publish([Update(edge("a"), (new("x", "1"), new("m", "1", single=False)))], "p", "s-p", TIME))
    )
    return graph


def test_metadata_gets_what_the_server_knows(graph: Graph) -> None:
    held, many = graph.contents(edge("a")).values()
    assert (held.key, many.key) == (1, 2)
    assert b'ifmap-publisher-id="p"' in held.xml
    assert TIME.encode() in held.xml
    assert (held.publisher, held.session, held.single, many.single) == ("p", "s-p", True, False)
    forever = finish(Planner(graph, 3).publish([Update(edge("b"), (new("x"),), Lifetime.FOREVER)], "p", "s-p", TIME))
    assert forever.changes[0].added[0].session == ""


def test_replaced_is_told_apart_from_removed(graph: Graph) -> None:
    planner = Planner(graph, 3)
    (change,) = finish(planner.publish([Update(edge("a"), (new("x", "2"),))], "q", "s-q", TIME)).changes
    assert [one.key for one in change.replaced] == [1]
    assert change.removed == ()
    assert planner.next_key == 4
    # A later one of the batch replaces that of the earlier.
    (change,) = finish(planner.publish([Update(edge("a"), (new("x", "3"),))], "q", "s-q", TIME)).changes
    assert [one.key for one in change.replaced] == [3]
    # Deleted first, by the same publish, it's replaced all the same; what has no successor is deleted.
    both: list[PublishOperation] = [Delete(edge("a")), Update(edge("a"), (new("x", "4"),))]
    (change,) = finish(planner.publish(both, "q", "s-q", TIME)).changes
    assert ([one.key for one in change.removed], [one.key for one in change.replaced]) == ([2], [4])
    # And if the successor goes, too: so it was a deletion.
    (change,) = finish(planner.publish([*both, Delete(edge("a"))], "q", "s-q", TIME)).changes
    assert (change.added, [one.key for one in change.removed], change.replaced) == ((), [5], ())


def test_types_are_registered_by_what_is_applied(graph: Graph) -> None:
    assert graph.cardinality == {name("s"): True, name("x"): True, name("m"): False}
    planner = Planner(graph, 3)
    refused(planner, Update(edge("a"), (new("n"), new("x", single=False))))
    delta = finish(planner.publish([Notify(edge("a"), (new("n", single=False),))], "p", "s", TIME))
    assert delta.types == ((name("n"), False),)
    # The batch knows it, the graph not yet.
    refused(planner, Update(edge("a"), (new("n", single=True),)))
    assert name("n") not in graph.cardinality
    # Of the standard's types, what the standard says.
    refused(planner, Notify(edge("a"), (new("s", single=False),)))
    graph.apply(delta)
    assert graph.cardinality[name("n")] is False
    assert finish(Planner(graph, 3).publish([Update(edge("a"), (new("n", single=False),))], "p", "s", TIME)).types == ()


def refused(planner: Planner, *each: PublishOperation) -> None:
    with pytest.raises(IfmapError) as refusal:
        finish(planner.publish(each, "p", "s", TIME))
    assert refusal.value.code is ErrorCode.INVALID_METADATA


def test_nothing_of_a_refused_publish_remains(graph: Graph) -> None:
    planner = Planner(graph, 3)
    refused(planner, Delete(edge("a")), Update(edge("a"), (new("y"), new("x", single=False))))
    assert planner.next_key == 3
    assert finish(planner.publish([Delete(edge("a"), names_filter("y"))], "p", "s", TIME)) == Delta()
    delta = finish(planner.publish([Delete(edge("a"))], "p", "s", TIME))
    assert [one.key for one in delta.changes[0].removed] == [1, 2]


def test_permission_is_asked_for_all_that_is_written(graph: Graph) -> None:
    asked: list[str] = []

    def may(wanted: MetadataName) -> None:
        asked.append(wanted.local)
        if wanted.local == "y":
            raise IfmapError(ErrorCode.ACCESS_DENIED, "no")

    def publish(*each: PublishOperation) -> list[str]:
        asked.clear()
        finish(Planner(graph, 3).publish(each, "p", "s", TIME, may))
        return sorted(asked)

    assert publish(Update(edge("a"), (new("z"),)), Notify(edge("a"), (new("n"),))) == ["n", "z"]
    assert publish(Delete(edge("a"), names_filter("x", "y"))) == ["x"]
    assert publish(Delete(edge("a"))) == ["m", "x"]
    for denied in (Update(edge("a"), (new("y"),)), Notify(edge("a"), (new("y"),))):
        with pytest.raises(IfmapError, match="no"):
            publish(denied)
    graph.apply(finish(Planner(graph, 3).publish([Update(edge("a"), (new("y"),))], "p", "s", TIME)))
    with pytest.raises(IfmapError, match="no"):
        publish(Delete(edge("a")))


def test_several_sessions_end_in_one_step(graph: Graph) -> None:
    planner = Planner(graph, 3)
    finish(planner.publish([Update(edge("b"), (new("x"),))], "q", "s-q", TIME))
    finish(planner.publish([Update(edge("b"), (new("y"),), Lifetime.FOREVER)], "q", "s-q", TIME))
    delta, more = planner.end_sessions(["s-p", "s-q", "unknown", ""], 1_000)
    assert not more
    assert sorted(one.key for change in delta.changes for one in change.removed) == [1, 2, 3]
    assert not planner.end_sessions(["s-p", "s-q"], 1_000)[0]
    assert not planner.end_sessions([""], 1_000)[0]


def test_a_large_place_is_not_gone_through() -> None:
    """Filters of names look at what they find, whatever else there is."""
    graph = Graph()
    many = tuple(new("m", str(number), single=False) for number in range(1000))
    graph.apply(finish(Planner(graph, 1).publish([Update(edge("a"), (*many, new("x", "1")))], "p", "s", TIME)))

    class Counting:
        names = frozenset((name("x"),))

        def matches(self, one: Metadata) -> bool:
            raise AssertionError("a list of names is looked up")

    planner = Planner(graph, 2000)
    (change,) = finish(planner.publish([Delete(edge("a"), Counting())], "p", "s", TIME)).changes
    assert [one.name.local for one in change.removed] == ["x"]
    planner = Planner(graph, 2000)
    (change,) = finish(planner.publish([Update(edge("a"), (_new_x(),))], "p", "s", TIME)).changes
    assert [one.key for one in change.replaced] == [1001]


def _new_x() -> NewMetadata:
    return new("x", "2")
