"""Searches in slices while the graph changes in slices: each is of one moment."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ifmap import graph as graph_module
from ifmap import search as search_module
from ifmap.delta import Delta
from ifmap.graph import Graph
from ifmap.plan import Planner
from ifmap.search import find
from ifmap.slices import Work, finish
from ifmap.values import Delete, Edge, Metadata, PublishOperation, SearchSpec, Update
from tests.unit.ifmap.graph_world import TIME, edge, identifier, new, searched

PLACES = [edge(text) for text in ("h", "a", "b", "c", "d", "h-a", "h-b", "h-c", "h-d", "a-b", "b-c", "c-d", "h-h")]
Contents = dict[Edge, list[Metadata]]


@pytest.fixture(autouse=True, params=[1, 4])
def tiny_slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that little takes long."""
    for module in (graph_module, search_module):
        monkeypatch.setattr(module, "SLICE", request.param)


def contents(graph: Graph) -> Contents:
    return {where: list(graph.contents(where).values()) for where in PLACES if graph.contents(where)}


def operations(rng: random.Random) -> Iterator[PublishOperation]:
    for place in rng.sample(PLACES, 5):
        if rng.random() < 0.5:
            yield Delete(place)
        else:
            yield Update(place, (new("x", str(rng.random())), *[new("m", "1", single=False)] * rng.randrange(4)))


class Running:
    """A search at work, and what it has to find."""

    def __init__(self, graph: Graph, spec: SearchSpec, held: Contents) -> None:
        self.expected = searched(held, spec)
        self.found: Contents = {}
        self._items = find(graph, spec)

    def slice(self) -> bool:
        """What is done until others have their turn. Returns whether there is more."""
        for item in self._items:
            if item is None:
                return True
            assert item.edge not in self.found
            self.found[item.edge] = list(item.metadata)
        return False


@pytest.mark.parametrize("seed", range(40))
def test_a_search_is_of_the_moment_when_it_began(seed: int) -> None:
    rng = random.Random(seed)
    graph, key = Graph(), 1
    changing: Work[None] | None = None
    held: Contents = {}
    searches: list[Running] = []
    longest = 0

    def apply(delta: Delta) -> Work[None]:
        nonlocal held
        changed = yield from graph.change(delta)
        # From here on the map is what it will be, though empty links are still there.
        held = contents(graph)
        yield
        yield from graph.sweep(changed)

    for _ in range(400):
        step = rng.randrange(5)
        if step == 0 and changing is None:
            planner = Planner(graph, key)
            changing = apply(finish(planner.publish(list(operations(rng)), "p", "s", TIME)))
            key = planner.next_key
        elif step == 1 and len(searches) < 4:
            running = Running(graph, SearchSpec(identifier(rng.choice("habcd")), rng.randrange(4)), held)
            searches.append(running)
            if not running.slice():
                searches.remove(running)
                assert running.found == running.expected
        elif step < 4 and searches:
            running = rng.choice(searches)
            longest = max(longest, len(running.expected))
            if not running.slice():
                searches.remove(running)
                assert running.found == running.expected
        elif changing is not None and next(changing, True) is True:
            changing = None
    assert longest > 2


def test_a_snapshot_that_nobody_holds_costs_nothing() -> None:
    graph = Graph()
    searching = find(graph, SearchSpec(identifier("a")))
    next(searching, None)
    searching = find(graph, SearchSpec(identifier("a")))
    del searching
    assert not graph._snapshots
