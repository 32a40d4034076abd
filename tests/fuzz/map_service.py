"""Fuzzing of the MAP service: whatever clients send, it answers each of them, and the map stays what it ought to be.

    python -m tests.fuzz.map_service [--seconds N] [--seed N] [--episodes N]

Several clients send requests of all kinds, good ones and mutated bytes, over connections that come and go, while what
they ask is worked on slice by slice, committed or refused by a store. At the end of an episode, everything is held
against what is simple: the counts of the graph against its contents, a store against the graph, what subscribers made
of the results that they polled against searches.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Generator
from typing import Any

from ifmap import graph, plan, region, search, subscriptions, telling
from ifmap.access import Access, parse_rules
from ifmap.answers import NewSessionResult, PollResult, read_answer
from ifmap.errors import IfmapError
from ifmap.filters import of_names
from ifmap.graph import Graph
from ifmap.journal import Record
from ifmap.metadata import STANDARD
from ifmap.replica import Replica
from ifmap.room import Room, size_of
from ifmap.service import Batch, MapService, ServiceSettings
from ifmap.sessions import Session
from ifmap.slices import Work
from ifmap.values import Edge, Filter, Metadata, SearchSpec
from tests.fuzz.budget import Budget, begin

CLIENTS = ("ann", "bob", "cy", "dee")
SLICED: tuple[Any, ...] = (graph, plan, region, search, subscriptions, telling)
STEPS = 150
"""Of an episode."""
_ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" xmlns:x="urn:x" '
    'xmlns:meta="http://www.trustedcomputinggroup.org/2010/IFMAP-METADATA/2"><s:Body>{}</s:Body></s:Envelope>'
)
_IDENTIFIERS = (
    "<device><name>d1</name></device>",
    "<device><name>d2</name></device>",
    '<ip-address value="192.0.2.1" type="IPv4"/>',
    '<ip-address value="2001:db8:0:0:0:0:0:1" type="IPv6" administrative-domain="x"/>',
    '<mac-address value="02:00:5e:00:00:07"/>',
    '<access-request name="ar &amp; &lt;1" administrative-domain="d"/>',
    '<identity name="bob" type="username"/>',
    '<identity name="&amp;lt;g xmlns=&amp;quot;urn:g&amp;quot; administrative-domain=&amp;quot;&amp;quot;&amp;gt;'
    '&amp;lt;/g&amp;gt;" type="other" other-type-definition="extended"/>',
)
_METADATA = (
    '<x:one ifmap-cardinality="singleValue">{}</x:one>',
    '<x:two ifmap-cardinality="singleValue" k="{}"/>',
    '<x:many ifmap-cardinality="multiValue"><a><b>{}</b></a></x:many>',
    '<meta:ip-mac ifmap-cardinality="multiValue"><dhcp-server>{}</dhcp-server></meta:ip-mac>',
    '<y:other xmlns:y="urn:y" ifmap-cardinality="multiValue" y:k="x:{}"/>',
)
_FILTERS = (
    "",
    "*",
    "x:one",
    "x:one or x:many",
    "x:two[@k &lt; 3]",
    "x:many[a/b = 2 or not(a)]",
    "//b",
    "[@ifmap-publisher-id]",
    "count(//*) &gt; 1",
    "meta:ip-mac[dhcp-server='1'] or x:one[. = 1]",
)
_TOKENS = re.compile(rb"<[^<>]*>|[^<>]+")


class Requests:
    """Requests by chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def operation(self, session: str, publishers: list[str]) -> str:
        """One operation of a session."""
        chance = self._chance
        kind = chance.choices(
            ("publish", "search", "subscribe", "poll", "renewSession", "purgePublisher", "endSession", "newSession"),
            (12, 4, 5, 8, 1, 1, 0.3, 0.5),
        )[0]
        inner = attributes = ""
        if kind == "newSession":
            size = chance.choice(("", ' max-poll-result-size="3000"', ' max-poll-result-size="1000000"'))
            return f"<m:newSession{size}/>"
        if kind == "publish":
            inner = "".join(self._publish() for _ in range(chance.randrange(1, 7)))
        elif kind == "search":
            attributes, inner = self._spec(), chance.choice(_IDENTIFIERS)
        elif kind == "subscribe":
            inner = "".join(self._subscription() for _ in range(chance.randrange(1, 3)))
        elif kind == "purgePublisher":
            attributes = f' ifmap-publisher-id="{chance.choice([*publishers, "nobody"])}"'
        return f'<m:{kind} session-id="{session}"{attributes}>{inner}</m:{kind}>'

    def body(self, operation: str) -> bytes:
        """The request, sometimes with something wrong in it."""
        body = _ENVELOPE.format(operation).encode()
        return self._mutated(body) if self._chance.random() < 0.2 else body

    def _publish(self) -> str:
        chance = self._chance
        kind = chance.choices(("update", "delete", "notify"), (6, 3, 1))[0]
        place = self._place()
        if kind == "delete":
            wanted = f' filter="{chance.choice(_FILTERS)}"' if chance.random() < 0.6 else ""
            return f"<delete{wanted}>{place}</delete>"
        some = "".join(chance.choice(_METADATA).format(chance.randrange(4)) for _ in range(chance.choice((1, 1, 2, 5))))
        lifetime = chance.choice(("", ' lifetime="forever"', ' lifetime="session"'))
        return f"<{kind}{lifetime}>{place}<metadata>{some}</metadata></{kind}>"

    def _place(self) -> str:
        return "".join(self._chance.choices(_IDENTIFIERS, k=self._chance.choice((1, 2, 2))))

    def _subscription(self) -> str:
        name = f"s{self._chance.randrange(3)}"
        if self._chance.random() < 0.15:
            return f'<delete name="{name}"/>'
        return f'<update name="{name}"{self._spec()}>{self._chance.choice(_IDENTIFIERS)}</update>'

    def _spec(self) -> str:
        chance = self._chance
        text = f' max-depth="{chance.choice((0, 1, 2, 3, 255))}"'
        for name in ("match-links", "result-filter"):
            if chance.random() < 0.4:
                text += f' {name}="{chance.choice(_FILTERS)}"'
        if chance.random() < 0.3:
            text += f' max-size="{chance.choice((0, 500, 2_000, 100_000))}"'
        if chance.random() < 0.2:
            terminal = chance.choice(("device", "ip-address,mac-address", "identity:other:extended", "urn:g#g"))
            text += f' terminal-identifier-type="{terminal}"'
        return text

    def _mutated(self, body: bytes) -> bytes:
        chance = self._chance
        for _ in range(chance.randrange(1, 4)):
            tokens = _TOKENS.findall(body)
            at = chance.randrange(len(tokens))
            match chance.randrange(6):
                case 0:
                    del tokens[at]
                case 1:
                    tokens.insert(at, chance.choice(tokens))
                case 2:
                    other = chance.randrange(len(tokens))
                    tokens[at], tokens[other] = tokens[other], tokens[at]
                case 3:
                    tokens[at] = chance.choice(
                        (b"&#0;", b"<!DOCTYPE a>", b"<![CDATA[<]]>", b"<!-- -->", b"\xff", b"&x;")
                    )
                case _:
                    mutable = bytearray(tokens[at])
                    mutable[chance.randrange(len(mutable))] = chance.randrange(256)
                    tokens[at] = bytes(mutable)
            body = b"".join(tokens)
            if not body:
                break
        return body


class Episode:
    """A service from its start to its end."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._requests = Requests(chance)
        numbers = itertools.count(1)
        self._access = {
            "ann": Access(purge_others=True),
            "bob": Access(),
            "cy": Access(read=parse_rules(["{urn:x}*"])),
            "dee": Access(write=parse_rules(["{urn:x}*", "{urn:y}*"])),
        }
        settings = ServiceSettings(room=Room(publisher=chance.choice((40_000, 1 << 30))), session_timeout=10.0)
        self.graph = Graph(STANDARD)
        self.service = MapService(
            settings, self._access, self.graph, random=lambda: f"{next(numbers):032x}", publishers={}, elsewhere={}
        )
        self._channels = itertools.count(1)
        self._open: dict[tuple[str, int], int] = {}
        self._owner: dict[int, str] = {}
        self._asked: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()
        self._sessions: dict[str, str] = dict.fromkeys(CLIENTS, "none")
        self._publishers: list[str] = []
        self._replicas: dict[str, dict[str, Replica]] = defaultdict(lambda: defaultdict(Replica))
        self._batch: Batch | None = None
        self._work: Work[None] | None = None
        self.stored: dict[int, tuple[Edge, Metadata]] = {}
        self.now = 0.0
        for client in CLIENTS:
            self._send(client, 0, _ENVELOPE.format("<m:newSession/>").encode())
        self.settle()

    # -- what happens

    def step(self) -> None:
        """Something happens."""
        chance = self._chance
        kind = chance.choices(("ask", "commit", "go on", "close", "time", "fail"), (10, 8, 6, 0.4, 0.2, 0.3))[0]
        if kind == "ask":
            client = chance.choice(CLIENTS)
            operation = self._requests.operation(self._sessions[client], self._publishers)
            polls = operation.startswith("<m:poll")
            number = chance.choices((0, 1, 2), (1, 60, 1) if polls else (60, 1, 1))[0]
            arc = self._open.get((client, 1), 0)
            if polls and self._asked[arc] > self._answered[arc] and chance.random() < 0.95:
                return
            self._send(client, number, self._requests.body(operation))
        elif kind == "commit":
            self._commit()
        elif kind == "go on":
            self.service.go_on()
        elif kind == "close":
            self._close(chance.choice(list(self._open)) if self._open else None)
        elif kind == "time":
            self.now += chance.choice((1.0, 20.0))
            self.service.handle_timer(self.now)
        elif self._batch is not None:
            batch, self._batch = self._batch, None
            self.service.failed(batch, "no room")
        self._collect()

    def _send(self, client: str, number: int, body: bytes) -> None:
        channel = self._open.get((client, number))
        if channel is None:
            channel = self._open[client, number] = next(self._channels)
            self._owner[channel] = client
        self._asked[channel] += 1
        self.service.request(channel, client, body, self.now, "192.0.2.1")

    def _close(self, which: tuple[str, int] | None) -> None:
        if which is not None:
            channel = self._open.pop(which)
            del self._owner[channel]
            self.service.channel_closed(channel, self.now)

    def _commit(self) -> None:
        """A slice of it."""
        if self._work is None and self._batch is None:
            self._batch = self.service.begin(1_767_607_872.0 + self.now, self._chance.choice((1, 5, 1_000)))
        elif self._work is None and self._batch is not None:
            batch, self._batch = self._batch, None
            self._store(batch.records)
            self._work = self.service.committing(batch, self.now)
        elif self._work is not None and next(self._work, True):
            self._work = None

    def _store(self, records: tuple[Record, ...]) -> None:
        for record in records:
            for change in record.delta.changes:
                for gone in (*change.removed, *change.replaced):
                    del self.stored[gone.key]
                for come in change.added:
                    assert come.key not in self.stored
                    self.stored[come.key] = change.edge, come

    def _collect(self) -> None:
        for channel, body, close in (
            (output.channel, output.body, output.close) for output in self.service.take_outputs()
        ):
            assert not close
            client = self._owner[channel]
            self._answered[channel] += 1
            assert self._answered[channel] <= self._asked[channel]
            try:
                answer = read_answer(body)
            except IfmapError as error:
                assert b"<errorResult errorCode=" in body, error
                if b'errorCode="PollResultsTooBig"' in body:
                    self._replicas[client].clear()
                continue
            if isinstance(answer, NewSessionResult):
                self._sessions[client] = answer.session_id
                self._publishers.append(answer.publisher_id)
                self._replicas[client].clear()
            elif isinstance(answer, PollResult):
                assert answer.parts
                for part in answer.parts:
                    self._replicas[client][part.name].apply(part)

    # -- the end

    def settle(self) -> None:
        """Everything is done and committed."""
        while self.service.waiting or self.service.busy or self._work is not None or self._batch is not None:
            self._commit()
            self.service.go_on()
            self._collect()

    def check(self) -> None:
        """Holds everything against what is simple. Nothing is under way."""
        self.settle()
        self._check_graph()
        live = {session.client: session for session, _ in self.service.sessions()}
        polls = {session.arc for session in live.values() if session.polling}
        for channel in self._owner:
            missing = self._asked[channel] - self._answered[channel]
            assert missing == 0 or channel in polls, "a request without an answer"
        self._poll_all()
        for session, names in list(self.service.sessions()):
            for name in names:
                self._check_subscription(session, name)
        self.service.end_sessions("the end")
        self.settle()
        self._check_graph()
        figures = self.service.figures()
        assert (figures.sessions, figures.subscriptions, figures.results) == (0, 0, 0)
        assert self.graph.identifier_count == len({one for place in self.graph.edges() for one in place if one})

    def _poll_all(self) -> None:
        """Every client gets all results, on connections of their own."""
        for session, _ in list(self.service.sessions()):
            while session.queue.pending:
                number = 100 + next(self._channels)
                self._send(session.client, number, _ENVELOPE.format(f'<m:poll session-id="{session.id}"/>').encode())
                self._collect()

    def _check_subscription(self, session: Session, name: str) -> None:
        """What a subscriber has made of its results is what a search says now."""
        watching = self.service._state.subscriptions
        key: Any = watching._by_queue[session.queue][name].watched.region.scope.key
        start, depth, (links, results), terminal = key
        spec = SearchSpec(start, depth, _filter(links), _filter(results), None, terminal)
        expected = {item.edge: item.metadata for item in search.find(self.graph, spec) if item is not None}
        replica = self._replicas[session.client][name]
        assert replica.complete
        told = {edge: sorted(one.xml for one in replica.contents(edge)) for edge in replica.edges()}
        told = {edge: held for edge, held in told.items() if held}
        assert told == {edge: sorted(one.xml for one in held) for edge, held in expected.items() if held}

    def _check_graph(self) -> None:
        held = {key: metadata for place in self.graph.edges() for key, metadata in self.graph.contents(place).items()}
        where = {key: place for place in self.graph.edges() for key in self.graph.contents(place)}
        assert {key: (where[key], held[key].xml) for key in held} == {
            key: (place, metadata.xml) for key, (place, metadata) in self.stored.items()
        }
        assert self.graph.metadata_count == len(held)
        assert self.graph.link_count == len({place for place in where.values() if place.second is not None})
        assert self.graph.size == sum(size_of(where[key], metadata) for key, metadata in held.items())
        assert +self.graph.lasting == Counter(metadata.name for metadata in held.values() if not metadata.session)
        live = {session.id for session, _ in self.service.sessions()}
        assert {metadata.session for metadata in held.values()} - {""} <= live
        for publisher in self._publishers:
            mine = {key for key, metadata in held.items() if metadata.publisher == publisher}
            assert self.graph.of_publisher(publisher).keys() == mine
            assert self.graph.sizes[publisher] == sum(size_of(where[key], held[key]) for key in mine)


def _filter(key: Any) -> Filter | None:
    """The contrary of selection.key_of."""
    if isinstance(key, frozenset):
        return of_names(*key)
    wanted: Filter | None = key
    return wanted


def episodes(chance: random.Random) -> Generator[None, None, None]:
    """Episodes without end."""
    sizes = [module.SLICE for module in SLICED]
    try:
        while True:
            for module in SLICED:
                module.SLICE = chance.choice((1, 3, 1_000))
            episode = Episode(chance)
            for _ in range(STEPS):
                begin()
                episode.step()
            episode.check()
            yield
    finally:
        for module, size in zip(SLICED, sizes, strict=True):
            module.SLICE = size


def fuzz(seed: int, *, seconds: float | None = None, count: int | None = None) -> int:
    """Run episodes until the time is over or that many are done; returns how many were."""
    done = 0
    with Budget(seconds) as budget:
        running = episodes(random.Random(seed))
        try:
            while done != count and not budget.spent:
                next(running)
                done += 1
        except BaseException:
            print(f"seed {seed}, episode {done}", file=sys.stderr)
            raise
        finally:
            running.close()
    return done


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Fuzz the MAP service.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU time (%(default)g)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--episodes", type=int, help="stop after so many")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    print(f"{fuzz(options.seed, seconds=options.seconds, count=options.episodes)} episodes")


if __name__ == "__main__":
    main()
