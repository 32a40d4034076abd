"""The end of a table: what a host has been told when the gateway answers its ping, whatever happens meanwhile."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.gateway.harness import Bench, Peer
from vpn.path import Path

PING = "<ping xmlns='urn:xmpp:ping'/>"
PIECE = 10
"""Items of one message here."""


@pytest.fixture(autouse=True)
def _short_messages() -> Iterator[None]:
    with mock.patch("gateway.session.MAX_ITEMS", PIECE):
        yield


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def source(bench: Bench) -> Peer:
    return bench.connect("hv1", "192.0.2.11")


@pytest.fixture
def reader(bench: Bench) -> Peer:
    return bench.connect("hv2", "192.0.2.12")


def prefixes(count: int) -> list[str]:
    return [f"10.1.{number >> 8}.{number & 255}/32" for number in range(count)]


def subscribe(peer: Peer, node: str) -> None:
    """Without reading anything."""
    peer.send(
        "set",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<subscribe node='{node}' jid='{peer.session.jid}'/></pubsub>",
    )


def answered(peer: Peer, ping: str) -> bool:
    """Take one piece; whether the pong was in it."""
    peer.pull(1)
    return ping in peer.answers


def test_a_prefix_that_changes_faster_than_it_is_read_comes_before_the_pong(source: Peer, reader: Peer) -> None:
    """In the order of changes it would always be further on than the pong."""
    table = prefixes(10 * PIECE + 1)
    source.announce("blue", *table)
    subscribe(reader, "blue")
    ping = reader.send("get", PING)
    label = 100
    while not answered(reader, ping):
        label += 1
        source.announce("blue", table[7 * PIECE], label=label)
    assert label < 120, "nor does it hold back the pong"
    assert set(reader.routes["blue"]) == set(table)
    reader.pull()
    assert reader.next_hops("blue")[table[7 * PIECE]] == [("192.0.2.11", label)]


def test_when_everything_changes_faster_than_it_is_read_all_of_it_comes_before_the_pong(
    source: Peer, reader: Peer
) -> None:
    table = prefixes(10 * PIECE)
    source.announce("blue", *table)
    subscribe(reader, "blue")
    ping = reader.send("get", PING)
    rounds = 0
    while not answered(reader, ping):
        rounds += 1
        source.announce("blue", *table, label=100 + rounds)
    assert rounds < 15
    assert set(reader.routes["blue"]) == set(table)
    reader.pull()
    assert set(map(tuple, reader.next_hops("blue").values())) == {(("192.0.2.11", 100 + rounds),)}


def test_what_comes_between_subscription_and_ping_is_of_the_table(source: Peer, reader: Peer) -> None:
    table = prefixes(5 * PIECE)
    first = table[0]
    source.announce("blue", *table[2 * PIECE :])
    subscribe(reader, "blue")
    source.announce("blue", first)
    source.announce("blue", *table[PIECE : 2 * PIECE])
    ping = reader.send("get", PING)
    label = 100
    while not answered(reader, ping):
        label += 1
        source.announce("blue", first, label=label)
    assert first in reader.routes["blue"]


def test_one_ping_ends_all_tables_that_were_subscribed_before_it_and_no_others(source: Peer, reader: Peer) -> None:
    source.announce("blue", *prefixes(3 * PIECE))
    source.announce("red", *prefixes(5 * PIECE))
    subscribe(reader, "red")
    first = reader.send("get", PING)
    subscribe(reader, "blue")
    second = reader.send("get", PING)
    while not answered(reader, first):
        assert second not in reader.answers
    assert len(reader.routes["red"]) == 5 * PIECE
    while not answered(reader, second):
        pass
    assert len(reader.routes["blue"]) == 3 * PIECE


def test_a_stopped_reader_that_subscribes_again_is_owed_the_whole_table(source: Peer, reader: Peer) -> None:
    table = prefixes(4 * PIECE)
    source.announce("blue", *table)
    subscribe(reader, "blue")
    reader.pull(4)
    first = reader.send("get", PING)
    reader.send(
        "set",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        f"<unsubscribe node='blue' jid='{reader.session.jid}'/></pubsub>",
    )
    subscribe(reader, "blue")
    second = reader.send("get", PING)
    reader.routes.clear()
    while not answered(reader, second):
        pass
    assert reader.order.index(f"result {first}") < reader.order.index(f"result {second}")
    assert set(reader.routes["blue"]) == set(table)


def test_readers_in_the_first_dump_share_what_is_serialised(bench: Bench, source: Peer) -> None:
    source.announce("blue", *prefixes(5 * PIECE))
    readers = [bench.connect(f"hv{number}", f"192.0.2.{number}") for number in range(20, 25)]
    for one in readers:
        subscribe(one, "blue")
    with mock.patch("gateway.item_cache.encode", side_effect=lambda entry: b"<entry/>") as encode:
        for one in readers:
            while one.session.next_output():
                pass
    assert encode.call_count == 5 * PIECE


def test_a_reader_in_the_dump_and_one_at_the_same_revision_read_different_things(
    bench: Bench, source: Peer, reader: Peer
) -> None:
    table = prefixes(2 * PIECE)
    subscribe(reader, "blue")
    source.announce("blue", *table[:PIECE])
    reader.pull()
    source.announce("blue", *table[PIECE:])
    source.announce("blue", *table[:PIECE], label=101)
    late = bench.connect("hv3", "192.0.2.13")
    subscribe(late, "blue")
    late.pull()
    reader.pull()
    assert late.routes == reader.routes


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("announce"), st.integers(0, 1), st.sampled_from(["blue", "red"]), st.integers(0, 5)),
        st.tuples(st.just("retract"), st.integers(0, 1), st.sampled_from(["blue", "red"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.integers(0, 1), st.sampled_from(["blue", "red"])),
        st.tuples(st.sampled_from(["ping", "reconnect"]), st.integers(0, 1)),
        st.tuples(st.just("read"), st.integers(0, 1), st.integers(1, 4)),
        st.tuples(st.just("read"), st.integers(0, 1), st.integers(1, 4)),
    ),
    max_size=80,
)


class Tables:
    """What the tables hold, and when each route came and changed; times are steps."""

    def __init__(self, bench: Bench) -> None:
        self.now = 0
        self.routes: dict[str, dict[str, Path]] = {"blue": {}, "red": {}}
        self.came: dict[tuple[str, str], int] = {}
        self.changed: dict[tuple[str, str], int] = {}
        self._tables = bench.service.rib.tables

    def look(self) -> None:
        """A step was made."""
        self.now += 1
        for node, before in self.routes.items():
            after = {str(prefix): path for prefix, path in self._tables[node].routes()}
            for prefix in before.keys() | after.keys():
                if before.get(prefix) != after.get(prefix):
                    self.changed[node, prefix] = self.now
                    if prefix not in before:
                        self.came[node, prefix] = self.now
            self.routes[node] = after


class Reader:
    """A host that reads now and then; checks every pong."""

    def __init__(self, bench: Bench, tables: Tables, number: int) -> None:
        self.bench = bench
        self.tables = tables
        self.name, self.address = f"hv{number}", f"192.0.2.{number}"
        self.peer = bench.connect(self.name, self.address)
        self.subscribed: dict[str, int] = {}
        self.pings: dict[str, tuple[int, dict[str, int], dict[str, dict[str, Path]]]] = {}

    def subscribe(self, node: str) -> None:
        if node not in self.subscribed:
            self.subscribed[node] = self.tables.now
            subscribe(self.peer, node)

    def unsubscribe(self, node: str) -> None:
        if self.subscribed.pop(node, None) is not None:
            self.peer.send(
                "set",
                "<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
                f"<unsubscribe node='{node}' jid='{self.peer.session.jid}'/></pubsub>",
            )
            self.peer.routes.pop(node, None)

    def reconnect(self) -> None:
        self.bench.disconnect(self.peer)
        self.peer = self.bench.connect(self.name, self.address)
        self.subscribed.clear()
        self.pings.clear()

    def ping(self) -> None:
        said = {node: dict(routes) for node, routes in self.tables.routes.items()}
        self.pings[self.peer.send("get", PING)] = self.tables.now, dict(self.subscribed), said

    def read(self, pieces: int) -> None:
        for _ in range(pieces):
            self.peer.pull(1)
            for ping in [ping for ping in self.pings if ping in self.peer.answers]:
                self._check(*self.pings.pop(ping))

    def _check(self, at: int, subscribed: dict[str, int], said: dict[str, dict[str, Path]]) -> None:
        for node, since in subscribed.items():
            if self.subscribed.get(node) != since:
                continue
            told = self.peer.routes.get(node, {})
            for prefix in said[node].keys() | told.keys():
                key = node, prefix
                if self.tables.changed[key] <= at:
                    assert told.get(prefix) == said[node].get(prefix), "nothing has happened to it since the ping"
                elif prefix in self.tables.routes[node] and self.tables.came[key] <= since:
                    assert prefix in told, "it was there all the time"


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_every_pong_is_the_end_of_the_tables(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    with mock.patch("gateway.session.MAX_ITEMS", 1):
        bench = Bench()
        tables = Tables(bench)
        sources = [bench.connect(f"hv{number}", f"192.0.2.{number}") for number in (11, 12)]
        readers = [Reader(bench, tables, number) for number in (21, 22)]
        label = 100
        for name, number, *arguments in steps:
            if name == "announce":
                label += 1
                node, prefix = arguments
                sources[number].announce(node, f"10.1.1.{prefix}/32", label=label)
            elif name == "retract":
                node, prefix = arguments
                sources[number].retract(node, f"192.0.2.1{number + 1}:1:10.1.1.{prefix}/32")
            else:
                getattr(readers[number], name)(*arguments)
            tables.look()
        for reader in readers:
            reader.read(200)
            assert not reader.pings, "every ping is answered in the end"
            for node in reader.subscribed:
                assert reader.peer.routes.get(node, {}) == tables.routes[node]


def test_memory_is_flat_while_readers_are_stopped_and_everything_flaps() -> None:
    """One reads, one has stopped in the middle of its first dump, one after it, one before it has read anything."""
    tracemalloc.start()
    try:
        bench = Bench()
        source, reader, *stopped = (bench.connect(f"hv{number}", f"192.0.2.{number}") for number in range(31, 36))
        table = prefixes(8 * PIECE)
        for node in ("blue", "red"):
            source.announce(node, *table)
            for one in (reader, *stopped):
                subscribe(one, node)
        stopped[0].pull()
        stopped[1].pull(4)
        for one in stopped:
            one.send("get", PING)

        def held(rounds: int) -> int:
            """Bytes that are in use after so many rounds more."""
            for turn in range(rounds):
                for node in ("blue", "red"):
                    if turn % 5 == 4:
                        source.retract(node, *[f"{source.address}:1:{prefix}" for prefix in table[::3]])
                    source.announce(node, *table, label=100 + turn % 7)
                reader.pull()
                bench.service.forget_serialised()
            for peer in (source, reader):
                peer.order.clear()
                peer.answers.clear()
                peer.messages.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        before = held(10)
        assert held(20) - before < 20_000, "of two megabytes that were sent to the one that reads"
    finally:
        tracemalloc.stop()
    for one in stopped:
        one.pull()
        assert one.routes == reader.routes
        assert sum(message.count(b"<item ") for message in one.messages) < 6 * len(table)
