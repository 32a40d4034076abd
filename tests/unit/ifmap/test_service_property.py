"""Random interleavings of requests, closed connections, commits and commits that fail never break a promise."""

from __future__ import annotations

import re
from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ifmap import graph, plan, region, search, subscriptions, telling
from ifmap.access import NOTHING, Access
from ifmap.answers import NewSessionResult, PollResult, Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.journal import Record
from ifmap.service import Batch, ServiceSettings
from ifmap.slices import Work
from ifmap.values import (
    Delete,
    Edge,
    EndSession,
    Lifetime,
    NewSession,
    Notify,
    Poll,
    Publish,
    PublishOperation,
    PurgePublisher,
    RenewSession,
    Request,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Update,
)
from tests.unit.ifmap.map_harness import D1, D2, WALL, Bench, Outcome, link, multi, node, single

CLIENTS = ("a", "b", "c")
PLACES = (node(D1), node(D2), link(D1, D2))
TOKEN = re.compile(rb"token-(\d+)-")
TIMEOUT = 30.0

clients = st.sampled_from(CLIENTS)
channels = st.integers(0, 3)
sessions = st.integers(0, 19)
places = st.sampled_from(PLACES)
SSRC, ARC = 0, 1


def mostly(channel: int) -> st.SearchStrategy[int]:
    """A client's connection: the one where the request belongs, now and then another."""
    return st.integers(0, 15).map(lambda number: number if number < 4 else channel)


class Service(RuleBasedStateMachine):
    """Each client has four connections, opened when they are used; what was asked on each is kept until it is answered.

    Everything that is published carries a number, so that what comes out can be held against what was committed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(
            ServiceSettings(session_timeout=TIMEOUT), {client: Access() for client in CLIENTS}, hold=True
        )
        self.service = self.bench.service
        self.open: dict[tuple[str, int], int] = {}
        self.asked: dict[int, list[Request]] = defaultdict(list)
        self.ids: dict[str, list[str]] = {client: ["none"] for client in CLIENTS}
        self.publishers: dict[str, str] = {}
        self.tokens = 0
        self.committed: set[int] = set()
        self.denied: set[int] = set()
        self.batch: Batch | None = None
        self.seen: dict[int, int] = defaultdict(int)

    # -- clients

    def ask(self, client: str, number: int, request: Request) -> None:
        channel = self.open.get((client, number))
        if channel is None:
            channel = self.open[client, number] = self.bench.connection()
        self.asked[channel].append(request)
        self.bench.send(channel, client, request)
        self.look()

    def session_id(self, client: str, which: int) -> str:
        """The client's last session, mostly; an earlier one, or another client's."""
        if which == 19:
            return self.ids[CLIENTS[(CLIENTS.index(client) + 1) % len(CLIENTS)]][-1]
        return self.ids[client][max(-len(self.ids[client]), -2 if which == 18 else -1)]

    def token(self) -> str:
        self.tokens += 1
        return f"token-{self.tokens}-"

    @initialize()
    def everybody_has_a_session(self) -> None:
        for client in CLIENTS:
            self.ask(client, SSRC, NewSession())
        self.drain()

    @rule(client=clients, number=channels)
    def new_session(self, client: str, number: int) -> None:
        self.ask(client, number, NewSession())

    @rule(client=clients, number=mostly(SSRC), which=sessions, end=st.integers(0, 3))
    def renew_or_end(self, client: str, number: int, which: int, end: int) -> None:
        session_id = self.session_id(client, which)
        self.ask(client, number, EndSession(session_id) if end == 0 else RenewSession(session_id))

    @rule(client=clients, number=mostly(SSRC), which=sessions, place=places, kind=st.integers(0, 4))
    def publish(self, client: str, number: int, which: int, place: Edge, kind: int) -> None:
        text = self.token()
        update = Update(place, (single("state", text),), Lifetime.FOREVER if kind == 0 else Lifetime.SESSION)
        others: dict[int, tuple[PublishOperation, ...]] = {
            2: (update, Notify(place, (multi("told", text),))),
            3: (Delete(place), Update(place, (multi("seen", text), multi("seen", text)))),
        }
        self.ask(client, number, Publish(self.session_id(client, which), others.get(kind, (update,))))

    @rule(client=clients, number=mostly(SSRC), which=sessions, depth=st.integers(0, 1), search=st.booleans())
    def look_around(self, client: str, number: int, which: int, depth: int, search: bool) -> None:
        session_id, spec = self.session_id(client, which), SearchSpec(D1, depth)
        request = Search(session_id, spec) if search else Subscribe(session_id, (Subscription("s", spec),))
        self.ask(client, number, request)

    @rule(client=clients, number=mostly(ARC), which=sessions)
    def poll(self, client: str, number: int, which: int) -> None:
        self.ask(client, number, Poll(self.session_id(client, which)))

    @rule(client=clients, number=mostly(SSRC), which=sessions)
    def purge(self, client: str, number: int, which: int) -> None:
        publisher = next((session.publisher_id for session, _ in self.service.sessions()), "nobody")
        self.ask(client, number, PurgePublisher(self.session_id(client, which), publisher))

    @rule(client=clients, number=channels)
    def close(self, client: str, number: int) -> None:
        channel = self.open.pop((client, number), None)
        if channel is not None:
            self.bench.close(channel)
            self.look()

    @rule(seconds=st.sampled_from([1.0, TIMEOUT / 2, TIMEOUT]))
    def time_passes(self, seconds: float) -> None:
        self.bench.pass_time(seconds)
        self.look()

    @rule(client=clients, purge_others=st.booleans(), write=st.integers(0, 3))
    def new_rules(self, client: str, purge_others: bool, write: int) -> None:
        mine = Access(purge_others=purge_others) if write else Access(write=NOTHING)
        self.bench.access = {**self.bench.access, client: mine}
        self.service.set_access(self.bench.access)
        self.look()

    # -- the store

    @precondition(lambda self: self.batch is None)
    @rule(limit=st.sampled_from([1, 3, 1_000]))
    def begin(self, limit: int) -> None:
        self.batch = self.service.begin(WALL + self.bench.now, limit)
        self.look()

    @rule(limit=st.sampled_from([1, 3, 1_000]))
    def commit(self, limit: int) -> None:
        if self.batch is None:
            self.begin(limit)
        batch, self.batch = self.batch, None
        if batch is None:
            return
        for record in batch.records:
            self.committed |= tokens_of(record)
        self.service.committed(batch, self.bench.now)
        self.look()

    @rule()
    def fail(self) -> None:
        if self.batch is None:
            self.begin(1_000)
        batch, self.batch = self.batch, None
        if batch is None:
            return
        before = contents(self.bench)
        self.service.failed(batch, "disk full")
        assert contents(self.bench) == before
        self.look()

    # -- what comes out

    def look(self) -> None:
        """Holds new outputs against what is promised."""
        self.bench.collect()
        for channel, answers in list(self.bench.answers.items()):
            while (number := self.seen[channel]) < len(answers):
                self.seen[channel] += 1
                self.answered(self.asked[channel].pop(0), answers[number], self.bench.bodies[channel][number])

    def answered(self, request: Request, outcome: Outcome, body: bytes) -> None:
        told = {int(number) for number in TOKEN.findall(body)}
        assert told <= self.committed, "told before its commit, or though it failed"
        if isinstance(outcome, IfmapError):
            assert str(outcome)
            if isinstance(request, Publish):
                self.denied |= tokens_in(request)
            if outcome.code is ErrorCode.SYSTEM_ERROR:
                assert isinstance(request, NewSession | EndSession | Publish | PurgePublisher)
        elif isinstance(request, Publish):
            assert isinstance(outcome, Received) and outcome.element == "publishReceived"
            assert tokens_in(request) <= self.committed, "acknowledged without a commit"
        elif isinstance(request, NewSession):
            assert isinstance(outcome, NewSessionResult)
            client = outcome.publisher_id.partition("-")[0]
            assert self.publishers.setdefault(client, outcome.publisher_id) == outcome.publisher_id
            assert outcome.session_id not in self.ids[client]
            self.ids[client].append(outcome.session_id)
        if isinstance(outcome, PollResult):
            assert isinstance(request, Poll) and outcome.parts
        assert not self.denied & self.committed, "refused, and yet it happened"

    @invariant()
    def one_session_for_a_client(self) -> None:
        sessions = [session.client for session, _ in self.service.sessions()]
        assert len(set(sessions)) == len(sessions)

    @invariant()
    def session_metadata_belongs_to_live_sessions(self) -> None:
        live = {session.id for session, _ in self.service.sessions()}
        assert {metadata[1] for metadata in contents(self.bench)} - {""} <= live

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done or to be committed."""
        return self.batch is None and not self.service.waiting

    @invariant()
    def only_polls_wait_when_nothing_is_to_be_committed(self) -> None:
        """Each connection has at most the requests behind a poll or a proposal unanswered; and a poll that waits has
        nothing to tell."""
        polling = {session.arc for session, _ in self.service.sessions() if session.polling}
        for session, _ in self.service.sessions():
            assert not session.polling or session.arc in self.open.values()
            assert not (session.polling and not session.ending and session.queue.pending)
        if self.settled:
            waiting = {channel for channel in self.open.values() if self.asked[channel]}
            assert waiting <= polling

    def drain(self) -> None:
        while self.service.waiting:
            self.commit(1_000)

    def teardown(self) -> None:
        """Everything that was asked on a connection that is open is answered once all sessions have ended."""
        if self.batch is not None:
            self.fail()
        self.drain()
        self.service.end_sessions("stop")
        self.drain()
        figures = self.service.figures()
        assert (figures.sessions, figures.subscriptions, figures.results) == (0, 0, 0)
        assert self.service.timer() is None
        assert [self.asked[channel] for channel in self.open.values() if self.asked[channel]] == []
        assert all(session == "" for _, session in contents(self.bench))


def tokens_in(publish: Publish) -> set[int]:
    """Numbers of what a publish carries."""
    return {
        int(number)
        for operation in publish.operations
        if not isinstance(operation, Delete)
        for metadata in operation.metadata
        for number in TOKEN.findall(metadata.tail)
    }


def tokens_of(record: Record) -> set[int]:
    """Numbers of what a record adds or tells."""
    metadata = [one for change in record.delta.changes for one in change.added]
    metadata += [one for _, one in record.delta.notified]
    return {int(number) for one in metadata for number in TOKEN.findall(one.xml)}


def contents(bench: Bench) -> list[tuple[int, str]]:
    """Key and session of all metadata."""
    return [(metadata.key, metadata.session) for place in PLACES for metadata in bench.graph.contents(place).values()]


class SlicedService(Service):
    """The same while everything that takes longer than one metadatum goes in slices."""

    def __init__(self) -> None:
        self.work: Work[None] | None = None
        self.patch = pytest.MonkeyPatch()
        for module in (graph, plan, region, search, subscriptions, telling):
            self.patch.setattr(module, "SLICE", 1)
        super().__init__()

    @property
    def settled(self) -> bool:
        return super().settled and self.work is None and not self.service.busy

    @rule()
    def go_on(self) -> None:
        self.service.go_on()
        self.look()

    @precondition(lambda self: self.batch is None and self.work is None)
    @rule(limit=st.sampled_from([1, 3, 1_000]))
    def begin(self, limit: int) -> None:
        super().begin(limit)

    @rule(limit=st.sampled_from([1, 3, 1_000]))
    def commit(self, limit: int) -> None:
        """A slice of it."""
        if self.work is None:
            if self.batch is None:
                self.begin(limit)
            batch, self.batch = self.batch, None
            if batch is None:
                return
            for record in batch.records:
                self.committed |= tokens_of(record)
            self.work = self.service.committing(batch, self.bench.now)
        try:
            next(self.work)
        except StopIteration:
            self.work = None
        self.look()

    @precondition(lambda self: self.work is None)
    @rule()
    def fail(self) -> None:
        super().fail()

    def drain(self) -> None:
        while self.service.waiting or self.service.busy or self.work is not None:
            self.commit(1_000)
            self.go_on()

    def teardown(self) -> None:
        try:
            while self.work is not None:
                self.commit(1_000)
            super().teardown()
        finally:
            self.patch.undo()


Service.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestService = Service.TestCase
SlicedService.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
TestSlicedService = SlicedService.TestCase
