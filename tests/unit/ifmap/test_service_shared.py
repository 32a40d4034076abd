"""Several servers on one store: each replays what the others committed, and a client has one session among them all."""

from __future__ import annotations

import pytest

from ifmap.answers import EndSessionResult, Received
from ifmap.errors import ErrorCode
from ifmap.graph import Graph
from ifmap.journal import Record
from ifmap.metadata import STANDARD
from ifmap.service import ServiceSettings
from ifmap.values import EndSession, Lifetime, Notify, RenewSession, ResultKind, Update
from tests.unit.ifmap.map_harness import D1, D2, WALL, Bench, MapUser, link, multi, node, single


class Servers:
    """Benches whose commits reach each other in one order, as a store that they share does."""

    def __init__(self, count: int) -> None:
        self.benches = [
            Bench(ServiceSettings(shared=True), prefix=f"server{number}-", settle=self.settle)
            for number in range(count)
        ]
        self.log: list[Record] = []

    def settle(self) -> None:
        """Commits everything everywhere."""
        for bench in self.benches:
            bench.collect()
        while any(bench.service.waiting for bench in self.benches):
            for bench in self.benches:
                self.commit(bench)

    def commit(self, bench: Bench) -> None:
        """One batch of a server; the others replay it before they plan anything themselves."""
        batch = bench.service.begin(WALL)
        if batch is not None:
            self.log.extend(batch.records)
            bench.service.committed(batch, bench.now)
            for other in self.benches:
                if other is not bench:
                    for record in batch.records:
                        other.service.foreign(record, other.now)
                    other.collect()
        bench.collect()

    def user(self, number: int, client: str) -> MapUser:
        """A client's session at a server."""
        return MapUser(self.benches[number], client)


@pytest.fixture
def servers() -> Servers:
    return Servers(2)


def test_what_one_server_commits_the_other_tells(servers: Servers) -> None:
    writer, reader = servers.user(0, "a"), servers.user(1, "b")
    reader.subscribe("s", D1, 1)
    reader.poll()
    reader.start_poll()
    writer.publish(Update(link(D1, D2), (single("binding"),)), Notify(node(D1), (single("seen"),)))
    assert [(kind, items) for kind, _, items in reader.polled()] == [
        (ResultKind.NOTIFY, {node(D1): ("seen",)}),
        (ResultKind.UPDATE, {link(D1, D2): ("binding",)}),
    ]
    assert reader.search(D1, 1) == writer.search(D1, 1)
    writer.end()
    assert reader.poll() == [(ResultKind.DELETE, "s", {link(D1, D2): ("binding",)})]


def test_keys_are_unique_among_the_servers(servers: Servers) -> None:
    users = [servers.user(0, "a"), servers.user(1, "b")]
    for _ in range(3):
        for user in users:
            user.update(node(D1), single(user.client), lifetime=Lifetime.FOREVER)
    keys = [metadata.key for record in servers.log for change in record.delta.changes for metadata in change.added]
    assert len(set(keys)) == len(keys) == 6


def test_types_are_fixed_for_all_servers(servers: Servers) -> None:
    servers.user(0, "a").update(node(D1), single("state"))
    user = servers.user(1, "b")
    outcome = user.publish(Update(node(D1), (multi("state"),)))
    assert getattr(outcome, "code", None) is ErrorCode.INVALID_METADATA


def test_a_client_has_one_session_among_all_servers(servers: Servers) -> None:
    old, watcher = servers.user(0, "a"), servers.user(0, "b")
    watcher.subscribe("s", D1)
    watcher.poll()
    old.update(node(D1), single("state", "up"))
    watcher.poll()
    old.start_poll()
    new = servers.user(1, "a")
    assert new.publisher == old.publisher and new.id != old.id
    assert servers.log[-1].ended == (old.id,)
    assert [type(answer) for answer in old.poll_answers()] == [EndSessionResult]
    assert watcher.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=up",)})]
    error = old.refused(RenewSession(old.id))
    assert error.code is ErrorCode.INVALID_SESSION_ID and "at another server took over" in str(error)
    assert isinstance(new.ask(RenewSession(new.id)), Received)
    back = servers.user(0, "a")
    assert servers.log[-1].ended == (new.id,)
    assert isinstance(back.ask(RenewSession(back.id)), Received)
    assert [bench.service.figures().elsewhere for bench in servers.benches] == [0, 2]


def test_a_session_that_ends_elsewhere_is_forgotten(servers: Servers) -> None:
    user = servers.user(1, "a")
    assert servers.benches[0].service.figures().elsewhere == 1
    user.ask(EndSession(user.id))
    assert servers.benches[0].service.figures().elsewhere == 0


def test_sessions_of_a_server_that_is_gone(servers: Servers) -> None:
    lost, watcher = servers.user(0, "a"), servers.user(1, "b")
    lost.update(node(D1), single("state", "up"))
    lost.update(node(D2), single("state", "up"), lifetime=Lifetime.FOREVER)
    watcher.subscribe("s", D1)
    watcher.poll()
    lost.start_poll()
    survivor = servers.benches[1]
    survivor.service.expired([lost.id, "unknown", watcher.id])
    servers.settle()
    assert servers.log[-1].ended == (lost.id, "unknown") and servers.log[-1].client == ""
    assert watcher.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=up",)})]
    assert isinstance(watcher.ask(RenewSession(watcher.id)), Received)
    assert watcher.search(D2) == {node(D2): ("state=up",)}
    # It wasn't gone, after all: its client is told.
    assert [type(answer) for answer in lost.poll_answers()] == [EndSessionResult]
    assert "took this one for gone" in str(lost.refused(RenewSession(lost.id)))


def test_the_end_of_lost_sessions_is_tried_until_it_is_stored(servers: Servers) -> None:
    bench = servers.benches[1]
    bench.service.expired(["lost"])
    bench.fail()
    assert bench.service.waiting == 1
    servers.settle()
    assert servers.log[-1].ended == ("lost",)
    bench.service.expired(["lost"])
    bench.service.expired([])
    servers.settle()
    assert [record.ended for record in servers.log] == [("lost",), ("lost",)]


def test_the_map_loaded_anew(servers: Servers) -> None:
    bench = servers.benches[0]
    user = servers.user(0, "a")
    user.update(node(D1), single("state", "up"))
    user.start_poll()
    graph = Graph(STANDARD)
    bench.service.reload(graph, publishers={"a": "a-1"}, next_key=50, elsewhere={"c": "there"}, reason="out of touch")
    bench.collect()
    assert [type(answer) for answer in user.poll_answers()] == [EndSessionResult]
    assert "out of touch" in str(user.refused(RenewSession(user.id)))
    again = servers.user(0, "a")
    assert again.publisher == "a-1"
    again.update(node(D1), single("state", "up"))
    assert [metadata.key for metadata in graph.contents(node(D1)).values()] == [50]
    servers.user(0, "c")
    assert servers.log[-1].ended == ("there",)
