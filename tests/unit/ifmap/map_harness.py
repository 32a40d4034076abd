"""A MAP service without sockets and without a store: bytes in and out through the codec, commits when the test says."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ifmap.access import Access
from ifmap.answers import (
    Answer,
    EndSessionResult,
    NewSessionResult,
    PollResult,
    ReceivedItem,
    SearchResult,
    read_answer,
)
from ifmap.errors import IfmapError
from ifmap.graph import Graph
from ifmap.identifiers import device, ip_address, mac_address
from ifmap.journal import Record
from ifmap.metadata import STANDARD, build
from ifmap.requests_writer import write_request
from ifmap.service import Batch, MapService, ServiceSettings
from ifmap.values import (
    Delete,
    Edge,
    EndSession,
    Filter,
    Identifier,
    Lifetime,
    MetadataName,
    NewMetadata,
    NewSession,
    Notify,
    Poll,
    Publish,
    PublishOperation,
    PurgePublisher,
    RenewSession,
    Request,
    ResultKind,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Unsubscription,
    Update,
    link,
    node,
)

NAMESPACE = "urn:example:m"
WALL = 1_767_607_872.0
"""2026-01-05T10:11:12Z."""

Outcome = Answer | IfmapError


def name(local: str, namespace: str = NAMESPACE) -> MetadataName:
    return MetadataName(namespace, local)


def single(local: str, text: str = "") -> NewMetadata:
    return build(name(local), True, text)


def multi(local: str, text: str = "") -> NewMetadata:
    return build(name(local), False, text)


D1, D2, D3 = device("d1"), device("d2"), device("d3")


@dataclass
class Bench:
    """A service, and all that has come out of it, by connection. Commits happen at once unless `hold` is set; `settle`
    makes them where several servers work together."""

    settings: ServiceSettings = field(default_factory=ServiceSettings)
    access: Mapping[str, Access] = field(default_factory=lambda: {client: Access() for client in "abcd"})
    publishers: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    hold: bool = False
    settle: Callable[[], None] | None = None
    now: float = 0.0
    prefix: str = "id"

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.graph = Graph(STANDARD)
        self.service = MapService(
            self.settings,
            self.access,
            self.graph,
            random=lambda: f"{self.prefix}{next(numbers):032x}",
            publishers=self.publishers,
            elsewhere=self.elsewhere,
        )
        self.records: list[Record] = []
        self.batches: list[Batch] = []
        self.answers: dict[int, list[Outcome]] = defaultdict(list)
        self.bodies: dict[int, list[bytes]] = defaultdict(list)
        self.closes: list[int] = []
        self._channels = itertools.count(1)

    # -- what a shell does

    def commit(self, limit: int = 10_000) -> None:
        """Commits all that waits."""
        while (batch := self.service.begin(WALL + self.now, limit)) is not None:
            self.batches.append(batch)
            self.records.extend(batch.records)
            self.service.committed(batch, self.now)
        self.collect()

    def fail(self, text: str = "disk full") -> Batch:
        """Has the next batch fail."""
        batch = self.service.begin(WALL + self.now)
        assert batch is not None
        self.collect()
        self.service.failed(batch, text)
        self.collect()
        return batch

    def collect(self) -> None:
        """Reads the outputs."""
        for output in self.service.take_outputs():
            outcome: Outcome
            try:
                outcome = read_answer(output.body)
            except IfmapError as error:
                outcome = error
            self.answers[output.channel].append(outcome)
            self.bodies[output.channel].append(output.body)
            if output.close:
                self.closes.append(output.channel)

    def done(self) -> None:
        """After each call: what a shell would do next."""
        if self.hold:
            self.collect()
        elif self.settle is not None:
            self.settle()
        else:
            self.commit()

    # -- what a client does

    def connection(self) -> int:
        """A new connection."""
        return next(self._channels)

    def send(self, channel: int, client: str, request: Request | bytes) -> None:
        """Sends a request without looking for an answer."""
        body = request if isinstance(request, bytes) else write_request(request)
        self.service.request(channel, client, body, self.now, f"192.0.2.{channel}")
        self.done()

    def ask(self, channel: int, client: str, request: Request | bytes) -> Outcome:
        """Sends a request; its answer is the next that comes on the connection."""
        before = len(self.answers[channel])
        self.send(channel, client, request)
        assert len(self.answers[channel]) == before + 1, f"no answer to {request!r}"
        return self.answers[channel][-1]

    def close(self, channel: int) -> None:
        """The connection closes."""
        self.service.channel_closed(channel, self.now)
        self.done()

    def pass_time(self, seconds: float) -> None:
        """Time passes; the timer is served when it is due."""
        self.now += seconds
        timer = self.service.timer()
        if timer is not None and timer <= self.now:
            self.service.handle_timer(self.now)
            self.done()

    def refused(self, channel: int, client: str, request: Request | bytes) -> IfmapError:
        """Sends a request that is answered by an errorResult."""
        outcome = self.ask(channel, client, request)
        assert isinstance(outcome, IfmapError), outcome
        return outcome


class MapUser:
    """A client with a session: its SSRC and its ARC."""

    def __init__(self, bench: Bench, client: str, max_poll_result_size: int | None = None) -> None:
        self.bench = bench
        self.client = client
        self.ssrc = bench.connection()
        self.arc = bench.connection()
        result = bench.ask(self.ssrc, client, NewSession(max_poll_result_size))
        assert isinstance(result, NewSessionResult), result
        self.id = result.session_id
        self.publisher = result.publisher_id

    def ask(self, request: Request) -> Outcome:
        return self.bench.ask(self.ssrc, self.client, request)

    def refused(self, request: Request) -> IfmapError:
        return self.bench.refused(self.ssrc, self.client, request)

    def publish(self, *operations: PublishOperation) -> Outcome:
        return self.ask(Publish(self.id, operations))

    def update(self, edge: Edge, *metadata: NewMetadata, lifetime: Lifetime = Lifetime.SESSION) -> None:
        outcome = self.publish(Update(edge, metadata, lifetime))
        assert not isinstance(outcome, IfmapError), outcome

    def delete(self, edge: Edge, filter: Filter | None = None) -> None:
        outcome = self.publish(Delete(edge, filter))
        assert not isinstance(outcome, IfmapError), outcome

    def search(self, start: Identifier, depth: int = 0, **spec: object) -> dict[Edge, tuple[str, ...]]:
        """Result of a search: what its items tell, in short."""
        outcome = self.ask(Search(self.id, SearchSpec(start, depth, **spec)))  # type: ignore[arg-type]
        assert isinstance(outcome, SearchResult), outcome
        return told(outcome.items)

    def subscribe(self, label: str, start: Identifier, depth: int = 0, **spec: object) -> None:
        subscription = Subscription(label, SearchSpec(start, depth, **spec))  # type: ignore[arg-type]
        outcome = self.ask(Subscribe(self.id, (subscription,)))
        assert not isinstance(outcome, IfmapError), outcome

    def unsubscribe(self, label: str) -> None:
        self.ask(Subscribe(self.id, (Unsubscription(label),)))

    def poll(self) -> list[tuple[ResultKind, str, dict[Edge, tuple[str, ...]]]]:
        """A poll that is answered at once."""
        self.start_poll()
        return self.polled()

    def start_poll(self) -> None:
        self.bench.send(self.arc, self.client, Poll(self.id))

    def polled(self) -> list[tuple[ResultKind, str, dict[Edge, tuple[str, ...]]]]:
        """What the last answer on the ARC tells."""
        outcome = self.bench.answers[self.arc][-1]
        assert isinstance(outcome, PollResult), outcome
        assert outcome.parts, "an empty pollResult"
        return [(part.kind, part.name, told(part.items)) for part in outcome.parts]

    def poll_answers(self) -> list[Outcome]:
        """All answers on the ARC."""
        return self.bench.answers[self.arc]

    def end(self) -> None:
        assert isinstance(self.ask(EndSession(self.id)), EndSessionResult)


def told(items: Sequence[ReceivedItem]) -> dict[Edge, tuple[str, ...]]:
    """Items by place; of each metadatum its local name and its text, sorted: "state=up"."""
    result: dict[Edge, tuple[str, ...]] = {}
    for item in items:
        assert item.edge not in result, "two items of one place"
        result[item.edge] = tuple(sorted(short(metadata.name.local, metadata.xml) for metadata in item.metadata))
    return result


def short(local: str, xml: bytes) -> str:
    """ "state=up" of <x:state ...>up</x:state>."""
    _, _, rest = xml.decode().partition(">")
    text, _, _ = rest.partition("<")
    return f"{local}={text}" if text else local


__all__ = [
    "D1",
    "D2",
    "D3",
    "NAMESPACE",
    "WALL",
    "Bench",
    "MapUser",
    "Notify",
    "PurgePublisher",
    "RenewSession",
    "ip_address",
    "link",
    "mac_address",
    "multi",
    "name",
    "node",
    "short",
    "single",
    "told",
]
