"""The graph itself: what is found where, counts, loading, and changes that come twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ifmap.delta import Change, Delta
from ifmap.graph import Graph
from ifmap.places import Place
from ifmap.slices import finish
from ifmap.values import Metadata
from tests.unit.ifmap.graph_world import edge, identifier, name, names_filter, new


def metadatum(key: int, local: str = "m", publisher: str = "p", session: str = "") -> Metadata:
    made = new(local, str(key))
    return Metadata(key, made.name, made.single, publisher, session, made.head + made.tail)


def test_what_is_loaded_is_found() -> None:
    graph = Graph()
    first, second, third = metadatum(1), metadatum(2, session="s"), metadatum(3, publisher="q")
    graph.load([(edge("a"), first), (edge("b-a"), second), (edge("a-b"), third)])
    assert dict(graph.contents(edge("a"))) == {1: first}
    assert list(graph.contents(edge("a-b")).items()) == [(2, second), (3, third)]
    assert graph.contents(edge("b")) == graph.contents(edge("c")) == graph.contents(edge("a-c")) == {}
    assert list(graph.links(identifier("b"))) == [edge("a-b")]
    assert graph.links(identifier("c")) == ()
    assert {key: place.edge for key, place in graph.of_publisher("p").items()} == {1: edge("a"), 2: edge("a-b")}
    assert list(graph.of_session("s")) == [2]
    assert graph.of_publisher("nobody") == graph.of_session("") == {}
    assert (graph.metadata_count, graph.link_count, graph.identifier_count) == (3, 1, 2)
    assert set(graph.edges()) == {edge("a"), edge("a-b")}


def test_nothing_is_left_of_what_goes() -> None:
    graph = Graph()
    places = [edge("a"), edge("a-b"), edge("a-a"), edge("a-c")]
    held = [metadatum(number, session="s") for number in range(4)]
    graph.load(zip(places, held, strict=True))
    assert graph.link_count == 3
    for where, one in zip(places, held, strict=True):
        graph.apply(Delta((Change(where, (), (one,)),)))
    assert (graph.metadata_count, graph.link_count, graph.identifier_count) == (0, 0, 0)
    assert graph.of_publisher("p") == graph.of_session("s") == {}
    assert list(graph.edges()) == []


def test_an_end_of_a_link_may_go_and_come_in_one_delta() -> None:
    graph = Graph()
    graph.load([(edge("a-b"), metadatum(1))])
    graph.apply(Delta((Change(edge("a-b"), (), (metadatum(1),)), Change(edge("a"), (metadatum(2),)))))
    assert list(graph.contents(edge("a"))) == [2]
    assert not graph.links(identifier("a"))
    assert graph.identifier_count == 1


def test_changes_that_are_known_already_are_passed_over() -> None:
    """Another server's record may come again, or be about what is gone."""
    graph = Graph()
    delta = Delta((Change(edge("a"), (metadatum(1), metadatum(2))),), (), ((name("m"), True),))
    graph.apply(delta)
    graph.apply(delta)
    assert list(graph.contents(edge("a"))) == [1, 2]
    assert graph.metadata_count == 2
    gone = Delta((Change(edge("a"), (), (metadatum(1), metadatum(7))), Change(edge("x-y"), (), (metadatum(8),))))
    changed = finish(graph.change(gone))
    assert [(change.edge, [one.key for one in change.removed]) for _, change in changed] == [
        (edge("a"), [1]),
        (edge("x-y"), []),
    ]
    finish(graph.sweep(changed))
    assert (graph.metadata_count, graph.link_count, graph.identifier_count) == (1, 0, 1)


def test_a_type_stays_what_it_is() -> None:
    graph = Graph({name("m"): False})
    graph.apply(Delta(types=((name("m"), True), (name("x"), True))))
    assert graph.cardinality == {name("m"): False, name("x"): True}


@given(st.lists(st.tuples(st.sampled_from("mnox"), st.booleans()), max_size=40))
def test_a_place_answers_the_same_with_few_and_many(steps: list[tuple[str, bool]]) -> None:
    place = Place(edge("a"))
    held: list[Metadata] = []
    for key, (local, goes) in enumerate(steps, 1):
        if goes and held:
            place.remove(held.pop(key % len(held)))
        else:
            held.append(metadatum(key, local))
            place.add(held[-1])
        assert list(place.all()) == list(place.by_key().values()) == held
        assert len(place) == len(held)
        assert bool(place) is bool(held)
        for locals_ in ("m", "mx", ""):
            wanted = names_filter(*locals_)
            matching = [one for one in held if wanted.matches(one)]
            assert place.matching(wanted) == place.named(wanted.names) == matching
            assert place.count_named(wanted.names) == len(matching)
        assert place.single(name("m")) is next((one for one in held if one.name.local == "m"), None)
        assert all(place.get(one.key) is one for one in held)
        assert place.get(1000) is None
