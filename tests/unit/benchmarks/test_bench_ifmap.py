"""The benchmark of the MAP server: what its clients send is what it says, and its arithmetic."""

from __future__ import annotations

import pytest

from benchmarks import ifmap as bench
from benchmarks.ifmap_raw import METADATA, NAMESPACE, Client, Node, body, identity, nodes
from ifmap.graph import Graph
from ifmap.plan import Planner
from ifmap.requests import read
from ifmap.slices import finish
from ifmap.values import MetadataName, Publish, PurgePublisher, Subscribe, Subscription

PROPERTY, MEMBER = MetadataName(NAMESPACE, "property"), MetadataName(NAMESPACE, "member")


class FakeClient(Client):
    """Makes requests without a server."""

    def __init__(self) -> None:
        self.session = "s" * 32
        self.publisher = "c0-1"
        self.requests = FakeChannel()  # type: ignore[assignment]


class FakeChannel:
    """Sends nothing, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def prepared(self, body: bytes) -> bytes:
        return body

    def ask(self, request: bytes) -> bytes:
        self.sent.append(request)
        return b""


def publish(request: bytes) -> Publish:
    found = read(request)
    assert isinstance(found, Publish)
    return found


def test_a_node_is_two_metadata_for_ever_and_its_delete_takes_both() -> None:
    client, graph = FakeClient(), Graph()
    some = list(nodes("n", 5))

    def done(request: bytes, next_key: int) -> None:
        graph.apply(finish(Planner(graph, next_key).publish(publish(request).operations, "p", "s", "")))

    done(client.publish(some), 1)
    assert (graph.metadata_count, graph.lasting[PROPERTY], graph.lasting[MEMBER]) == (5 * METADATA, 5, 5)
    done(client.delete(some[:3]), 100)
    assert (graph.metadata_count, graph.lasting[PROPERTY], graph.lasting[MEMBER]) == (2 * METADATA, 2, 2)


def test_a_single_publish_replaces_the_property_of_a_node() -> None:
    client, graph = FakeClient(), Graph()
    for key, request in enumerate([client.publish(nodes("held", 5)), bench._one(client, 3)]):
        operations = publish(request).operations
        graph.apply(finish(Planner(graph, 1 + 100 * key).publish(operations, "p", "s", "")))
    assert len(operations) == 1 and graph.metadata_count == 5 * METADATA


def test_the_other_requests_are_what_they_are_called() -> None:
    client = FakeClient()
    subscribe, purge = read(client.subscribe()), read(client.purge())
    assert isinstance(subscribe, Subscribe) and isinstance(purge, PurgePublisher)
    (subscription,) = subscribe.operations
    assert isinstance(subscription, Subscription)
    assert subscription.spec.max_depth == 255 and "root" in str(subscription.spec.start)
    assert purge.publisher_id == "c0-1"
    assert identity("root").encode() in client.subscribe() and body("x").endswith(b"x</s:Body></s:Envelope>")


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (100, [100]), (250, [100, 100, 50])])
def test_batches_hold_200_metadata(count: int, sizes: list[int]) -> None:
    found = list(nodes("n", count))
    batches = bench._batches(found)
    assert [len(batch) for batch in batches] == sizes
    assert [node for batch in batches for node in batch] == found
    assert all(len(batch) * METADATA <= bench.BATCH for batch in batches)


def test_filling_publishes_everything_once() -> None:
    client = FakeClient()
    assert bench._fill(client, "n", 500) > 0
    sent = client.requests.sent  # type: ignore[attr-defined]
    assert [len(publish(request).operations) for request in sent] == [200, 200, 100]


def test_nodes_are_told_apart() -> None:
    assert len({node.name for node in nodes("a", 50)} | {node.name for node in nodes("b", 50)}) == 100
    assert "<value>7</value>" in Node("n", 7).update("session") and 'lifetime="session"' in Node("n").update("session")
