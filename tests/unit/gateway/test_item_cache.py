"""Serialised routes that are kept for newcomers."""

from __future__ import annotations

import pytest

from gateway import item_cache
from gateway.item_cache import ItemCache, Serialised, serialise
from tests.unit.gateway.harness import Bench
from vpn.cursor import Change
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp.entry import Entry, encode


def change(number: int, label: int = 100) -> Change:
    """A route."""
    return Change(Prefix.parse(f"10.0.0.{number}/32"), Path((NextHop(parse_address("192.0.2.1"), label),)))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Change]:
    """What has been serialised."""
    found: list[Change] = []

    def noted(one: Change) -> Serialised:
        found.append(one)
        return serialise(one)

    monkeypatch.setattr(item_cache, "serialise", noted)
    return found


def test_a_route_is_serialised_once(made: list[Change]) -> None:
    cache = ItemCache()
    prefix, path = change(1)
    assert path is not None
    assert [cache.get(change(1)) for _ in range(3)] == [("10.0.0.1/32", encode(Entry(prefix, path)))] * 3
    assert made == [change(1)]


def test_another_path_of_a_prefix_is_another_route(made: list[Change]) -> None:
    cache = ItemCache()
    assert cache.get(change(1, 100)) != cache.get(change(1, 101))
    assert made == [change(1, 100), change(1, 101)]


def test_a_withdrawal_has_no_entry() -> None:
    assert ItemCache().get(Change(Prefix.parse("10.0.0.1/32"), None)) == ("10.0.0.1/32", None)


def test_what_nobody_asks_for_goes_in_time(made: list[Change]) -> None:
    cache = ItemCache(keep=10.0)
    cache.tick(100.0)
    cache.get(change(1))
    cache.get(change(2))
    cache.tick(109.9)
    cache.tick(110.0)
    cache.get(change(1))
    assert len(cache) == 2
    cache.tick(120.0)
    assert len(cache) == 1
    cache.get(change(1))
    cache.get(change(2))
    assert made == [change(1), change(2), change(2)]
    cache.tick(130.0)
    cache.tick(140.0)
    assert len(cache) == 0


def test_there_is_a_most(made: list[Change]) -> None:
    cache = ItemCache(most=10)
    for number in range(100):
        cache.get(change(number))
        assert len(cache) <= 10
    cache.get(change(99))
    cache.get(change(95))
    assert len(made) == 100


def test_newcomers_share_what_was_serialised(made: list[Change]) -> None:
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
    assert len(made) == len(set(made)) == 5
