"""How much clients may put into the map."""

from __future__ import annotations

import pytest

from ifmap.access import Access
from ifmap.answers import Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.metadata import STANDARD
from ifmap.plan import Planner
from ifmap.room import OVERHEAD, Room, size_of
from ifmap.service import ServiceSettings
from ifmap.slices import finish
from ifmap.values import Delete, Lifetime, Publish, PurgePublisher, Update, link, node
from tests.unit.ifmap.map_harness import D1, D2, D3, WALL, Bench, MapUser, multi, single

BIG = "x" * 1_000
ONE = OVERHEAD + 1_200
"""About what one of them counts."""


def bench(room: Room) -> tuple[Bench, MapUser, MapUser]:
    access = {"a": Access(), "b": Access(purge_others=True)}
    made = Bench(ServiceSettings(room=room), access)
    return made, MapUser(made, "a"), MapUser(made, "b")


def put(user: MapUser, count: int = 1) -> object:
    return user.publish(Update(node(D1), (multi("seen", BIG),) * count, Lifetime.FOREVER))


def full(outcome: object) -> bool:
    if isinstance(outcome, IfmapError):
        assert outcome.code is ErrorCode.SYSTEM_ERROR
        return True
    assert isinstance(outcome, Received)
    return False


def counted(site: Bench) -> int:
    """What all metadata counts, from the beginning."""
    places = (node(D1), node(D2), node(D3), link(D1, D2), link(D2, D3))
    return sum(size_of(place, metadata) for place in places for metadata in site.graph.contents(place).values())


def test_a_client_has_its_share_and_others_theirs() -> None:
    site, a, b = bench(Room(publisher=5 * ONE))
    assert not full(put(a, 4))
    assert full(put(a, 2))
    assert not full(put(b, 4))
    assert site.graph.sizes[a.publisher] == site.graph.sizes[b.publisher]
    a.delete(node(D1))
    assert not full(put(a, 4))
    assert site.graph.size == counted(site)


def test_the_map_has_an_end() -> None:
    site, a, b = bench(Room(total=5 * ONE))
    assert not full(put(a, 4))
    assert full(put(b, 2))
    assert site.graph.size == counted(site)


def test_who_is_over_may_still_replace_and_delete() -> None:
    """After a limit was lowered, or with a map of another server."""
    site, a, _ = bench(Room())
    a.publish(Update(node(D1), (single("state", BIG), multi("seen")), Lifetime.FOREVER))
    planner = Planner(site.graph, 1_000, Room(total=1, publisher=1))

    def plan(*operations: Update | Delete) -> object:
        return finish(planner.publish(operations, a.publisher, a.id, "t"))

    assert plan(Update(node(D1), (single("state", BIG[1:]),)))
    assert plan(Delete(node(D1)), Update(node(D1), (multi("other"),)))
    with pytest.raises(IfmapError):
        plan(Update(node(D1), (multi("other"),)))


def test_what_a_batch_has_planned_counts() -> None:
    site, a, b = bench(Room(total=5 * ONE))
    site.hold = True
    for user in (a, b):
        site.send(user.ssrc, user.client, Publish(user.id, (Update(node(D1), (multi("seen", BIG),) * 3),)))
    site.commit()
    assert [full(site.answers[user.ssrc][-1]) for user in (a, b)] == [False, True]
    # What a purge frees can be used in the same batch.
    site.send(a.ssrc, "a", PurgePublisher(a.id, a.publisher))
    site.send(b.ssrc, "b", Publish(b.id, (Update(node(D1), (multi("seen", BIG),) * 3),)))
    batch = site.service.begin(WALL)
    assert batch is not None and len(batch.records) == 2
    site.service.committed(batch, 0.0)
    site.collect()
    assert [full(site.answers[user.ssrc][-1]) for user in (a, b)] == [False, False]
    assert site.graph.size == counted(site)


def test_ends_of_sessions_make_room() -> None:
    site, a, b = bench(Room(total=5 * ONE))
    a.publish(Update(link(D1, D2), (multi("seen", BIG),) * 4))
    assert full(put(b, 2))
    a.end()
    assert not full(put(b, 2))
    assert site.graph.size == counted(site) > 0


def test_types_are_bounded_and_known_ones_go_on() -> None:
    _, a, _ = bench(Room(types=len(STANDARD) + 2))
    a.update(node(D1), multi("one"), multi("two"))
    outcome = a.publish(Update(node(D1), (multi("three"),)))
    assert full(outcome)
    a.update(node(D1), multi("one"), multi("two"))
