"""The pure parts of the agent's benchmark."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benchmarks.agent_lab import percentile, spread
from benchmarks.publisher import ITEMS, Settings, payloads
from xmpp import namespaces as ns
from xmpp.entry import decode


@pytest.mark.parametrize(
    ("count", "percent", "rank"), [(1, 99, 1), (1, 0, 1), (100, 99, 99), (200, 99, 198), (40, 99, 40), (10, 50, 5)]
)
def test_percentile_is_the_nearest_rank(count: int, percent: float, rank: int) -> None:
    assert percentile([float(number) for number in range(count, 0, -1)], percent) == rank


def test_spread_is_in_milliseconds() -> None:
    assert spread("x", [0.001, 0.002, 0.003]) == {"x_p50_ms": 2.0, "x_p99_ms": 3.0, "x_max_ms": 3.0}


def test_the_publisher_sends_every_route_once_with_a_label_of_its_own() -> None:
    hops = ["198.18.0.1", "198.18.0.2", "198.18.0.3"]
    settings = Settings("192.0.2.1", 5222, "gw", "pub", "green", 2 * ITEMS + 5, "10.64.0.0", hops, "", "", "")
    requests = [ElementTree.fromstring(payload) for payload in payloads(settings)]
    items = [list(request.iter(f"{{{ns.PUBSUB}}}item")) for request in requests]
    assert [len(found) for found in items] == [ITEMS, ITEMS, 5]
    entries = [decode(item[0]) for found in items for item in found]
    ids = [item.get("id", "") for found in items for item in found]
    assert len({entry.prefix for entry in entries}) == settings.routes
    assert len({entry.path.next_hops[0].label for entry in entries}) == settings.routes
    assert len({entry.path.next_hops[0].address for entry in entries}) == 3
    assert ids == [f"198.18.0.1:1:{entry.prefix}" for entry in entries]
