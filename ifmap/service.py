"""The MAP service: requests of many clients against one graph. Bytes and a time in, bytes and a timer out; no I/O.

    shell                                        service                                     store
      request(channel, client, body, now)  ->    reads: answered at once
                                                 writes, sessions: queued by client
      take_outputs()                       <-
      begin(wall_time)                     <-    plans what waits: Batch(records)      ->    commit(records)
      committed(batch, now) | failed(batch, text)                                      <-
      take_outputs()                       <-    answers, poll results
      foreign(record, now)                 ->    what another server of the same store committed

Rules for the shell: one batch at a time; `foreign` only while none is out; after `failed` wait a moment before the next
`begin`; a batch that isn't `durable` needs no store: hand it to `committed` at once. After each call there may be
outputs, another timer, and something that waits for `begin`.

Reads (search, subscribe, poll) see what is committed, nothing else. Writes and all that begins or ends a session go
through the queue of proposals, so that a store, other servers and subscribers see them in one order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from ifmap import responses
from ifmap.access import Access
from ifmap.channels import Arrived, Output
from ifmap.commits import Batch, Commits
from ifmap.counters import Counters, Figures
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.jobs import Job, Jobs
from ifmap.journal import Record
from ifmap.proposals import BeginProposal, EndProposal, ExpireProposal, PublishProposal, PurgeProposal
from ifmap.requests import ReadSettings, read
from ifmap.search import search
from ifmap.service_settings import ServiceSettings
from ifmap.service_state import SessionEvent, State, from_peer
from ifmap.sessions import Session, Sessions
from ifmap.slices import Work, finish
from ifmap.subscriptions import Subscriptions
from ifmap.values import (
    EndSession,
    NewSession,
    Poll,
    Publish,
    PurgePublisher,
    RenewSession,
    Request,
    Search,
    Subscribe,
    Subscription,
)

__all__ = ["Batch", "MapService", "Output", "ServiceSettings", "SessionEvent"]


class MapService:
    """The service. Everything is called from one thread.

    graph: as loaded from the store; it belongs to the service from now on. access: by client. publishers: publisher ids
    by client, as stored. next_key: the first metadata key that is free. random: makes an unguessable lower-case hex
    text of 128 bits. elsewhere: sessions that live on other servers of the store, client to session id.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        access: Mapping[str, Access],
        graph: Graph,
        *,
        random: Callable[[], str],
        publishers: Mapping[str, str],
        next_key: int = 1,
        elsewhere: Mapping[str, str],
    ) -> None:
        self._state = State(
            settings,
            graph,
            Subscriptions(graph, settings.max_search_size),
            Sessions(settings.session_timeout),
            dict(access),
            dict(publishers),
            dict(elsewhere),
            next_key,
        )
        self._commits = Commits(self._state, random)
        self._jobs = Jobs(self._state)
        self._read_settings = settings.reading()
        self._now = 0.0

    # -- connections

    @property
    def read_settings(self) -> ReadSettings:
        """How to read requests; for a shell that reads large ones elsewhere."""
        return self._read_settings

    def request(
        self, channel: int, client: str, body: bytes | Request | IfmapError, now: float, peer: str = ""
    ) -> None:
        """A request of an authenticated client. channel: number of the connection, never used again for another. body:
        of HTTP, or what reading it brought. now: seconds on a clock that never goes back. peer: the client's address,
        for texts. Requests of one connection are answered in their order; the shell should bound how many of them it
        reads ahead."""
        self._now = max(self._now, now)
        request = self._read(body) if isinstance(body, bytes) else body
        if self._state.channels.arrived(channel, Arrived(client, request, peer)):
            self._arrived_behind(channel, client, request, peer)
        self._work()

    def channel_closed(self, channel: int, now: float) -> None:
        """The connection is gone; what it was asked is still done, but nothing more goes out on it. A newSession whose
        turn hasn't come is forgotten, since nobody could learn the session's id."""
        self._now = max(self._now, now)
        self._state.channels.closed(channel)
        self._jobs.channel_closed(channel)
        self._state.sessions.channel_closed(channel, self._now)

    def take_outputs(self) -> list[Output]:
        """What is to be sent, in order; each is given once."""
        return self._state.channels.take_outputs()

    def take_events(self) -> list[SessionEvent]:
        """Sessions that began or ended since the last call, for the log."""
        events, self._state.events = self._state.events, []
        return events

    def timer(self) -> float | None:
        """When to call handle_timer, on the clock of `now`; None: no need."""
        return self._state.sessions.timer()

    def handle_timer(self, now: float) -> None:
        """Ends the sessions that were without a connection for too long."""
        self._now = max(self._now, now)
        for session in self._state.sessions.overdue(now):
            self._state.force_end(session, f"no connection for {self._state.settings.session_timeout:g} s")

    # -- what takes long

    @property
    def busy(self) -> bool:
        """Whether a request is at work; the shell's reason to call `go_on`."""
        return self._jobs.busy

    def go_on(self) -> None:
        """A slice, some milliseconds, of the request whose turn it is."""
        self._jobs.go_on()
        self._work()

    # -- writing

    @property
    def waiting(self) -> int:
        """Proposals that wait for `begin`; not 0 is the shell's reason to call it."""
        return len(self._state.queue)

    def begin(self, wall_time: float, limit: int = 10_000) -> Batch | None:
        """All of `beginning` at once."""
        return finish(self.beginning(wall_time, limit))

    def beginning(self, wall_time: float, limit: int = 10_000) -> Work[Batch | None]:
        """Plans what waits, clients in turn, up to about `limit` metadata. wall_time: Unix time, the ifmap-timestamp.
        None: nothing that has to be committed (there may be outputs all the same: what was refused). In slices, between
        which everything may be called but what has to do with batches, `foreign` and `reload`; so are the others."""
        batch = yield from self._commits.begin(wall_time, limit)
        self._work()
        return batch

    def committed(self, batch: Batch, now: float) -> None:
        """All of `committing` at once."""
        finish(self.committing(batch, now))

    def committing(self, batch: Batch, now: float) -> Work[None]:
        """The batch is safe: it takes effect, is answered and delivered."""
        self._now = max(self._now, now)
        yield from self._jobs.commit(self._commits.committed(batch, self._now))
        self._work()

    def failed(self, batch: Batch, text: str) -> None:
        """The batch couldn't be stored. Nothing has changed; SystemError with this text to those who asked for
        something that was to be stored. The rest is queued again: ends of sessions, which can't be called off, and what
        was refused, maybe because of what didn't come to pass."""
        self._commits.failed(batch, text)
        self._work()

    def foreign(self, record: Record, now: float) -> None:
        """All of `following` at once."""
        finish(self.following(record, now))

    def following(self, record: Record, now: float) -> Work[None]:
        """Another server committed this. A session of ours that it ended (its client began one there) ends here."""
        self._now = max(self._now, now)
        yield from self._jobs.commit(self._commits.foreign(record))
        self._work()

    def expired(self, sessions: Collection[str]) -> None:
        """Sessions of a server that is gone: queues a proposal that deletes their metadata (record.ended)."""
        self._state.queue.put(ExpireProposal("", None, tuple(sessions)))

    def reload(
        self,
        graph: Graph,
        *,
        publishers: Mapping[str, str],
        next_key: int,
        elsewhere: Mapping[str, str],
        reason: str,
    ) -> None:
        """All sessions end for this reason, and the service goes on with the map as it was loaded anew: the other
        servers took this one for gone, or it missed what they did. Not while a batch is out."""
        finish(self._jobs.commit(self._commits.end_all(reason)))
        state = self._state
        state.graph, state.subscriptions = graph, Subscriptions(graph, state.settings.max_search_size)
        state.publishers, state.elsewhere, state.next_key = dict(publishers), dict(elsewhere), next_key
        self._work()

    # -- rules

    def set_access(self, access: Mapping[str, Access]) -> None:
        """New access rules: sessions of clients whose rules changed end."""
        old, new = self._state.access, dict(access)
        self._state.access = new
        for session in self._state.sessions:
            client = session.client
            if client not in new:
                self._state.force_end(session, f"client {client} was taken out of the server's configuration")
            elif new[client] != old.get(client):
                self._state.force_end(session, f"the access rules of client {client} were changed")

    def end_sessions(self, reason: str, clients: Collection[str] | None = None) -> None:
        """Sessions end, as if each had asked for it: of these clients, or all, before the server stops."""
        for session in self._state.sessions:
            if clients is None or session.client in clients:
                self._state.force_end(session, reason)

    # -- what there is

    @property
    def counters(self) -> Counters:
        """What was counted since the start."""
        return self._state.counters

    def figures(self) -> Figures:
        """Sizes at this moment; costs what there are sessions."""
        sizes = [session.queue.size for session in self._state.sessions]
        graph = self._state.graph
        return Figures(
            sessions=len(self._state.sessions),
            elsewhere=len(self._state.elsewhere),
            subscriptions=self._state.subscriptions.count,
            polls=sum(session.polling for session in self._state.sessions),
            metadata=graph.metadata_count,
            links=graph.link_count,
            types=len(graph.cardinality),
            publishers=len(self._state.publishers),
            connections=len(self._state.channels),
            waiting=len(self._state.queue),
            longest_wait=self._state.queue.longest,
            results=sum(sizes),
            longest_results=max(sizes, default=0),
        )

    @property
    def graph(self) -> Graph:
        """The map. Not to be changed by the caller."""
        return self._state.graph

    def sessions(self) -> Iterator[tuple[Session, Collection[str]]]:
        """Live sessions, each with the names of its subscriptions."""
        return ((session, self._state.subscriptions.names(session.queue)) for session in self._state.sessions)

    # -- requests

    def _read(self, body: bytes) -> Request | IfmapError:
        try:
            return read(body, self._read_settings)
        except IfmapError as error:
            return error

    def _work(self) -> None:
        """Handles the requests whose turn has come."""
        while arrived := self._state.channels.next():
            channel, (client, request, peer) = arrived
            try:
                access = self._state.access_of(client)
            except IfmapError as error:
                self._state.refuse(channel, request, error, close=True)
                continue
            try:
                if isinstance(request, IfmapError):
                    raise request
                body = self._handle(channel, client, access, request, peer)
                if isinstance(body, Job):
                    self._jobs.start(body)
                    continue
            except IfmapError as error:
                self._state.refuse(channel, request, error)
            else:
                if body is not None:
                    self._state.answer(channel, request, body)

    def _handle(self, channel: int, client: str, access: Access, request: Request, peer: str) -> bytes | Job | None:
        """Answer to a request, or what makes it; None if it comes later. Raises IfmapError."""
        state = self._state
        if isinstance(request, NewSession):
            state.queue.put(BeginProposal(client, channel, request.max_poll_result_size, peer))
            return None
        if isinstance(request, Poll):
            self._poll(state.sessions.asynchronous(request.session_id, client, channel, peer), channel, peer)
            return None
        session = state.sessions.synchronous(request.session_id, client, channel, peer)
        match request:
            case RenewSession():
                return responses.renew_session_result()
            case EndSession():
                state.queue.put(EndProposal(client, channel, session, "endSession", forced=False))
            case Publish():
                state.settings.check_publish(request.operations)
                state.queue.put(PublishProposal(client, channel, session.id, request.operations))
            case PurgePublisher():
                state.queue.put(PurgeProposal(client, channel, session.id, request.publisher_id))
            case Search():
                return Job(channel, request, self._search(access, request), exclusive=False)
            case Subscribe():
                return Job(channel, request, self._subscribe(session, access, request), exclusive=True)
        return None

    def _poll(self, session: Session, channel: int, peer: str) -> None:
        if session.polling:
            self._state.force_end(session, _second_poll(peer))
            self._state.sessions.find(session.id, session.client)  # raises InvalidSessionID, with this reason
        elif session.queue.pending:
            self._commits.answer_poll(session, channel)
        else:
            session.polling = True

    def _search(self, access: Access, request: Search) -> Work[bytes]:
        """Raises SearchResultsTooBig."""
        spec = access.restrict(request.spec)
        items = yield from search(self._state.graph, spec, self._state.settings.search_size(spec.max_size))
        return responses.search_result(items)

    def _subscribe(self, session: Session, access: Access, request: Subscribe) -> Work[bytes]:
        """All operations of a subscribe, or none. Raises InvalidSessionID (it ended before this began), Failure."""
        self._state.sessions.find(session.id, session.client)
        settings, subscriptions = self._state.settings, self._state.subscriptions
        names = set(subscriptions.names(session.queue))
        for operation in request.operations:
            if isinstance(operation, Subscription):
                settings.check_subscription_name(operation.name)
                names.add(operation.name)
            else:
                names.discard(operation.name)
            if len(names) > settings.max_subscriptions:
                text = f"a client may have {settings.max_subscriptions} subscriptions, not more"
                raise IfmapError(ErrorCode.FAILURE, text)
        for operation in request.operations:
            if isinstance(operation, Subscription):
                spec = access.restrict(operation.spec)
                limit = settings.search_size(spec.max_size)
                yield from subscriptions.subscribing(session.queue, Subscription(operation.name, spec), limit)
            else:
                yield from subscriptions.unsubscribing(session.queue, operation.name)
        self._commits.deliver((session.queue,))
        return responses.subscribe_received()

    def _arrived_behind(self, channel: int, client: str, request: Request | IfmapError, peer: str) -> None:
        """A request that came on a connection whose earlier one isn't answered. If that is a poll, it could wait for
        ever; so what ends its session on any other connection does so here too, and is then handled."""
        session = self._state.sessions.of_client(client)
        if session is None or session.arc != channel or not session.polling:
            return
        if isinstance(request, Poll) and request.session_id == session.id:
            self._state.force_end(session, _second_poll(peer))
        elif isinstance(request, NewSession):
            self._state.force_end(session, f"another newSession of client {client}{from_peer(peer)} took over")


def _second_poll(peer: str) -> str:
    return f"a second poll{from_peer(peer)} while one was waiting"
