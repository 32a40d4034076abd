"""What subscriptions cost and share, and what becomes of those that get too much.

What they mean is in the scripts (test_subscription_scripts) and in the model (test_subscription_model)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from ifmap.errors import IfmapError
from ifmap.results import ResultQueue
from ifmap.slices import finish
from ifmap.values import Delete, Metadata, MetadataName, PublishOperation, SearchSpec, Subscription, Update
from tests.unit.ifmap.graph_world import ENOUGH, World, edge, identifier, name, names_filter, new


def update(where: str, *locals_: str) -> Update:
    return Update(edge(where), tuple(new(local, "1") for local in locals_))


def hub(spokes: int) -> World:
    """A start, two ways of the same length to a hub, and its spokes; some subscriptions that see all of it, and one
    that has the hub as its border."""
    world = World()
    world.publish(*[update(where, "x") for where in ("start-m", "start-n", "m-hub", "n-hub", "hub")])
    world.publish(*[update(f"hub-s{number}", "x") for number in range(spokes)])
    world.publish(*[update(f"s{number}", "y") for number in range(spokes)])
    world.subscribe("all", SearchSpec(identifier("start"), 255))
    world.subscribe("border", SearchSpec(identifier("start"), 2))
    world.subscribe("names", SearchSpec(identifier("hub"), 1, names_filter("x"), names_filter("y")))
    return world


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's."""
    count = 0

    def counted(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "operations",
    [
        [update("hub-new", "x"), update("new", "y")],
        [Delete(edge("hub-s3"))],
        [update("hub-s3", "x", "y")],
        [update("s3", "y"), update("hub", "z")],
        [Delete(edge("m-hub"))],
        [Delete(edge("m-hub")), update("o-hub", "x"), update("start-o", "x")],
        [update("hub", "z"), Delete(edge("hub"), names_filter("x"))],
    ],
    ids=["join", "leave", "replace", "identifiers", "way", "other way", "hub"],
)
def test_a_publish_costs_what_it_touches(operations: list[PublishOperation]) -> None:
    """Whatever the size of the hub, the number of results that wait."""
    costs = []
    for spokes in (20, 1000):
        world = hub(spokes)
        if spokes == 20:
            world.poll()
        costs.append(calls(lambda world=world: world.publish(*operations)))  # type: ignore[misc]
    small, large = costs
    assert abs(large - small) <= 20, costs


def test_what_does_not_see_a_change_does_not_cost() -> None:
    world = World()
    world.publish(update("a", "x"))
    world.subscribe("s", SearchSpec(identifier("a"), 1), "first")
    alone = calls(lambda: world.publish(update("a", "x")))
    for number in range(100):
        world.subscribe("s", SearchSpec(identifier(f"b{number}"), 5), f"c{number}")
    assert abs(calls(lambda: world.publish(update("a", "x"))) - alone) <= 20


def test_subscriptions_alike_share_their_work_and_the_bytes() -> None:
    world = World()
    world.publish(update("a-b", "x"), update("b", "y"))
    clients = [f"c{number}" for number in range(50)]
    for client in clients:
        # Filters that are equal, not the same.
        world.subscribe("s", SearchSpec(identifier("a"), 2, names_filter("x")), client)
        world.poll(client)
    costs = calls(lambda: world.publish(update("b", "y"), update("b-c", "x")))
    results = [list(world.queue(client)._parts.values()) for client in clients]
    assert all(told is results[0][0][1] for ((_, told),) in results)
    one = World()
    one.publish(update("a-b", "x"), update("b", "y"))
    one.subscribe("s", SearchSpec(identifier("a"), 2, names_filter("x")))
    alone = calls(lambda: one.publish(update("b", "y"), update("b-c", "x")))
    assert costs < alone + 20 * len(clients)


def test_overlapping_subscriptions_share_the_bytes_of_items() -> None:
    world = World()
    world.publish(update("a-b", "x"))
    for client in "ab":
        world.subscribe("s", SearchSpec(identifier(client), 1), client)
        world.poll(client)
    world.publish(update("b", "x"))
    first, second = (next(iter(world.queue(client)._parts.values()))[1] for client in "ab")
    assert first is not second
    assert first.items[0] is second.items[0]


def test_a_filter_is_asked_once_of_each_metadatum() -> None:
    asked: list[int] = []

    class Asking:
        names: frozenset[MetadataName] | None = None

        def matches(self, metadata: Metadata) -> bool:
            asked.append(metadata.key)
            return True

    world = World()
    world.publish(*[update(where, "x") for where in ("a-b", "b-c", "a-c", "c-d", "b-d", "d-e")])
    world.subscribe("s", SearchSpec(identifier("a"), 9, Asking()))
    assert sorted(asked) == [1, 2, 3, 4, 5, 6]
    asked.clear()
    world.publish(update("d-f", "x"), update("f", "x"))
    assert asked == [7]


def test_a_region_that_would_swallow_all_is_given_up_early() -> None:
    """Whoever links a small subscription to a large part of the graph doesn't make the server go through that."""
    costs = []
    for size in (100, 2000):
        world = World()
        world.publish(*[update(f"n{number}-n{number + 1}", "x") for number in range(size)])
        world.subscribe("small", SearchSpec(identifier("a"), 1 << 31), "c", 3000)
        world.subscribe("large", SearchSpec(identifier("a"), 1 << 31), "d")
        world.subscriptions.unsubscribe(world.queue("d"), "large")
        world.subscribe("other", SearchSpec(identifier("a"), 1), "d")
        assert [part.kind for part in world.poll()] == ["searchResult"]
        world.poll("d")
        costs.append(calls(lambda world=world: world.publish(update("a-n0", "x"))))  # type: ignore[misc]
        (error,) = world.poll()
        assert (error.kind, error.name, error.text) == ("errorResult", "small", "SearchResultsTooBig")
        assert [part.kind for part in world.poll("d")] == ["updateResult"]
        assert list(world.subscriptions.names(world.queue())) == []
        # From the start, too.
        world.subscribe("small", SearchSpec(identifier("a"), 1 << 31), "c", 3000)
        assert [part.kind for part in world.poll()] == ["errorResult"]
        assert world.subscriptions.count == 1
        world.subscriptions.drop(world.queue("d"))
        assert [vertex for vertex in world.graph._vertices.values() if vertex.marks is not None] == []
    assert abs(costs[1] - costs[0]) <= 20, costs


def test_limits_of_subscriptions_alike_are_their_own() -> None:
    world = World()
    for client, size in (("small", 300), ("large", ENOUGH)):
        world.subscribe("s", SearchSpec(identifier("a")), client, size)
        world.poll(client)
    world.publish(update("a", "x", "y", "z"))
    assert [part.kind for part in world.poll("small")] == ["errorResult"]
    assert [part.kind for part in world.poll("large")] == ["updateResult"]
    world.publish(update("a", "x"))
    assert world.poll("small") == []
    assert [part.kind for part in world.poll("large")] == ["updateResult"]


def test_a_full_queue_takes_all_its_subscriptions_along_and_nobody_elses() -> None:
    world = World()
    world.queue("full").limit = 900
    for client in ("full", "other"):
        for title in ("s", "t"):
            world.subscribe(title, SearchSpec(identifier("a")), client)
        world.subscribe("u", SearchSpec(identifier("b")), client)
    touched = world.apply(world.plan(lambda planner: finish(planner.publish([update("a", *"xyz")], "p", "s", "t"))))
    assert touched == {world.queue("full"), world.queue("other")}
    assert world.subscriptions.count == 3
    assert list(world.subscriptions.names(world.queue("full"))) == []
    assert world.queue("full").pending
    assert world.apply(world.plan(lambda planner: finish(planner.publish([update("b", "x")], "p", "s", "t")))) == {
        world.queue("other")
    }
    with pytest.raises(IfmapError):
        world.poll("full")
    assert [part.name for part in world.poll("other")] == ["s", "t", "u", "s", "t", "u"]


def test_the_first_result_may_be_too_much_for_the_queue() -> None:
    world = World()
    world.publish(update("a", *"xyz"))
    queue = ResultQueue(300)
    world.subscriptions.subscribe(queue, Subscription("s", SearchSpec(identifier("b"))), ENOUGH)
    world.subscriptions.subscribe(queue, Subscription("t", SearchSpec(identifier("a"))), ENOUGH)
    assert world.subscriptions.count == 0
    with pytest.raises(IfmapError):
        queue.take()
    assert not queue.pending


def test_nothing_is_left_of_a_subscription_that_ends() -> None:
    world = World()
    world.publish(update("a-b", "x"), update("b-c", "x"))
    before = world.graph.identifier_count
    for number in range(12):
        world.subscribe(f"s{number}", SearchSpec(identifier("a"), number % 4, names_filter("x", f"n{number}")))
        world.subscribe(f"t{number}", SearchSpec(identifier(f"nowhere-{number}"), 1))
    assert world.subscriptions.count == 24
    vertex = world.graph.vertex(identifier("b"))
    assert vertex is not None
    assert len(vertex.marks or ()) == 9
    for number in range(12):
        world.subscriptions.unsubscribe(world.queue(), f"s{number}")
    assert vertex.marks is None
    world.subscriptions.drop(world.queue())
    assert world.graph.identifier_count == before
    assert name("x") in world.graph.cardinality


def test_members_cost_next_to_nothing() -> None:
    """All vertices with the same place in the same regions hold the same marks."""
    world = hub(100)
    marks = {id(vertex.marks) for vertex in world.graph._vertices.values()}
    assert len(marks) <= 5
