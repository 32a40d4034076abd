"""Serialised routes that are kept for newcomers."""

from __future__ import annotations

import pytest

from gateway import item_cache
from gateway.item_cache import ItemCache, Place, serialise
from gateway.rib import Source
from tests.unit.gateway.harness import Bench
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from vpn.stream import Node
from xmpp.entry import Entry, encode


def path(label: int = 100) -> Path:
    """To a host."""
    return Path((NextHop(parse_address("192.0.2.1"), label),))


def node(number: int, label: int = 100) -> Node[Source]:
    """A route."""
    found: Node[Source] = Node(Prefix.parse(f"10.0.0.{number}/32"))
    found.path = path(label)
    return found


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been serialised."""
    found: list[str] = []

    def noted(place: Place) -> bytes:
        found.append(f"{place.prefix}" if place.path is None else f"{place.prefix} {place.path.next_hops[0].label}")
        return serialise(place)

    monkeypatch.setattr(item_cache, "serialise", noted)
    return found


def test_a_route_is_serialised_once(made: list[str]) -> None:
    cache, one = ItemCache(), node(1)
    expected = b"<item id='10.0.0.1/32'>%b</item>" % encode(Entry(one.prefix, path()))
    assert [cache.table([one]) for _ in range(3)] == [[expected]] * 3
    assert made == ["10.0.0.1/32 100"]


def test_what_has_changed_is_serialised_anew(made: list[str]) -> None:
    cache, one = ItemCache(), node(1)
    before = cache.table([one])
    one.path = path(101)
    assert cache.table([one]) == cache.changes([one]) != before
    one.path = path(100)
    assert cache.table([one]) == before
    assert made == ["10.0.0.1/32 100", "10.0.0.1/32 101", "10.0.0.1/32 100"]


def test_a_withdrawal_is_a_retraction_and_not_kept() -> None:
    cache, one = ItemCache(), node(1)
    cache.table([one])
    one.path = None
    assert cache.changes([one]) == [b"<retract id='10.0.0.1/32'/>"]
    assert len(cache) == 0


def test_changes_are_kept_while_newcomers_come(made: list[str]) -> None:
    cache = ItemCache(keep=10.0)
    cache.tick(100.0)
    first, second, third = node(1), node(2), node(3)
    cache.changes([first])
    assert len(cache) == 0
    cache.table([first])
    cache.changes([second])
    cache.tick(110.0)
    cache.changes([third])
    assert cache.table([first, second, third]) == list(map(serialise, (first, second, third)))
    assert made == ["10.0.0.1/32 100", "10.0.0.1/32 100", "10.0.0.2/32 100", "10.0.0.3/32 100"]
    for now in (120.0, 130.0, 140.0):
        cache.tick(now)
        cache.changes([first])
    assert len(cache) == 0


def test_what_nobody_asks_for_goes_in_time(made: list[str]) -> None:
    cache = ItemCache(keep=10.0)
    cache.tick(100.0)
    first, second = node(1), node(2)
    cache.table([first, second])
    cache.tick(109.9)
    cache.tick(110.0)
    cache.table([first])
    assert len(cache) == 2
    cache.tick(120.0)
    assert len(cache) == 1
    cache.table([first, second])
    assert made == ["10.0.0.1/32 100", "10.0.0.2/32 100", "10.0.0.2/32 100"]
    cache.tick(130.0)
    cache.tick(140.0)
    assert len(cache) == 0


def test_there_is_a_most(made: list[str]) -> None:
    cache = ItemCache(most=10, keep=10.0)
    cache.tick(0.0)
    nodes = [node(number) for number in range(20)]
    for _ in range(2):
        assert cache.table(nodes) == list(map(serialise, nodes))
        assert len(cache) == 10
    assert len(made) == 20 + 10
    # Those that are kept go on being known by their newest path; there is room again when they aren't asked for.
    nodes[0].path = path(101)
    assert cache.table(nodes[:1]) == cache.table(nodes[:1]) == [serialise(nodes[0])]
    assert len(made) == 31
    cache.tick(10.0)
    cache.table(nodes[:5])
    cache.tick(20.0)
    cache.table(nodes[10:20])
    assert len(cache) == 10
    cache.tick(30.0)
    cache.tick(40.0)
    cache.table(nodes[10:20])
    assert len(made) == 31 + 10 + 10


def test_newcomers_and_others_share_what_was_serialised(made: list[str]) -> None:
    bench = Bench()
    publisher = bench.connect("hv1", "192.0.2.1")
    publisher.announce("blue", "10.0.0.1/32", "10.0.0.2/32")
    for number in range(2, 6):
        newcomer = bench.connect(f"hv{number}", f"192.0.2.{number}")
        newcomer.subscribe("blue")
        bench.service.forget_serialised()
        assert set(newcomer.routes["blue"]) >= {"10.0.0.1/32", "10.0.0.2/32"}
        # The table looks different to each.
        publisher.announce("blue", f"10.0.1.{number}/32")
        newcomer.pull()
        assert f"10.0.1.{number}/32" in newcomer.routes["blue"]
    assert len(made) == len(set(made)) == 6
