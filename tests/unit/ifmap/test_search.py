"""Search: order, bytes and the limit. What is found is in the scripts; the model test compares it with an oracle."""

from __future__ import annotations

import pytest

from ifmap.errors import ErrorCode, IfmapError
from ifmap.items import item_xml
from ifmap.search import find, search
from ifmap.slices import finish
from ifmap.values import SearchSpec, Update
from tests.unit.ifmap.graph_world import World, edge, identifier, new, shown_edge


@pytest.fixture
def world() -> World:
    world = World()
    places = ("a-b", "b-c", "c-d", "a-a", "a", "c")
    world.publish(*[Update(edge(where), (new("x", "1"), new("m", "1", single=False))) for where in places])
    return world


def test_items_come_nearest_first(world: World) -> None:
    found = [shown_edge(item.edge) for item in find(world.graph, SearchSpec(identifier("a"), 3)) if item is not None]
    assert found[0] == "a"
    assert found.index("b") < found.index("c") < found.index("d")
    assert sorted(found) == ["a", "a-a", "a-b", "b", "b-c", "c", "c-d", "d"]


def test_a_search_is_the_items_in_bytes_up_to_the_limit(world: World) -> None:
    spec = SearchSpec(identifier("a"), 3)
    expected = [item_xml(*item) for item in find(world.graph, spec) if item is not None]
    size = sum(map(len, expected))
    assert finish(search(world.graph, spec, size)) == expected
    with pytest.raises(IfmapError) as error:
        finish(search(world.graph, spec, size - 1))
    assert error.value.code is ErrorCode.SEARCH_RESULTS_TOO_BIG


def test_an_identifier_that_nobody_knows_is_found(world: World) -> None:
    (item,) = finish(search(world.graph, SearchSpec(identifier("z"), 255), 1000))
    assert item == b"<resultItem><device><name>z</name></device></resultItem>"
    assert world.graph.vertex(identifier("z")) is None


def test_a_search_far_down_a_chain_takes_no_stack() -> None:
    world = World()
    world.publish(*[Update(edge(f"n{number}-n{number + 1}"), (new("x"),)) for number in range(3000)])
    assert len(finish(search(world.graph, SearchSpec(identifier("n0"), 1 << 31), 1 << 30))) == 6001
