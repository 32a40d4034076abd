"""Plans proposals into the records of one batch: what will be, once it is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ifmap.delta import Delta
from ifmap.errors import ErrorCode, IfmapError
from ifmap.journal import Began, NewPublisher, Record
from ifmap.metadata import timestamp
from ifmap.plan import Planner
from ifmap.proposals import BeginProposal, EndProposal, ExpireProposal, Proposal, PublishProposal, PurgeProposal
from ifmap.service_state import State, from_peer
from ifmap.sessions import Session
from ifmap.slices import Work


@dataclass(slots=True)
class Planned:
    """What came of a proposal. record: None if it changes nothing. reason: why the sessions that it ends end. ending:
    sessions whose metadata it deletes, but not all of it yet. unfinished: it has to be planned again after its record
    is committed, before anything else of its client."""

    proposal: Proposal
    record: Record | None = None
    error: IfmapError | None = None
    reason: str = ""
    ending: tuple[str, ...] = ()
    unfinished: bool = False


class Planning:
    """One batch. Later proposals see what earlier ones will have done. random: makes session ids and publisher ids.
    portion: metadata that a purge or the end of a session deletes at a time."""

    def __init__(self, state: State, wall_time: float, random: Callable[[], str], portion: int) -> None:
        self._state = state
        self._portion = portion
        self._wall_time = wall_time
        self._timestamp = timestamp(wall_time)
        self._random = random
        self._planner = Planner(state.graph, state.next_key, state.settings.room)
        self._ended: dict[str, str] = {}
        self._begun: dict[str, str] = {}
        self._publishers: dict[str, str] = {}

    @property
    def next_key(self) -> int:
        """The first free metadata key when the batch is committed."""
        return self._planner.next_key

    def plan(self, proposal: Proposal) -> Work[Planned]:
        """Plans the next proposal of the batch, in slices."""
        planned = Planned(proposal)
        try:
            match proposal:
                case PublishProposal():
                    planned.record = yield from self._publish(proposal)
                case PurgeProposal():
                    self._purge(proposal, planned)
                case BeginProposal():
                    origin = from_peer(proposal.peer)
                    planned.reason = f"another newSession of client {proposal.client}{origin} took over"
                    self._begin(proposal, planned)
                case EndProposal():
                    planned.reason = proposal.reason
                    self._end(proposal, planned)
                case ExpireProposal():
                    planned.reason = "its server is gone"
                    self._expire(proposal, planned)
        except IfmapError as error:
            planned.error = error
        return planned

    def _publish(self, proposal: PublishProposal) -> Work[Record | None]:
        session = self._session(proposal.session_id, proposal.client)
        access = self._state.access_of(proposal.client)
        may = None if access.write.everything else access.check_write
        exists = None if may is None or access.read.everything else access.knows
        delta = yield from self._planner.publish(
            proposal.operations, session.publisher_id, session.id, self._timestamp, may, exists
        )
        return Record(delta, proposal.client, self._wall_time) if delta else None

    def _purge(self, proposal: PurgeProposal, planned: Planned) -> None:
        session = self._session(proposal.session_id, proposal.client)
        access = self._state.access_of(proposal.client)
        if proposal.publisher_id != session.publisher_id and not access.purge_others:
            text = "this client may purge nothing but its own ifmap-publisher-id"
            raise IfmapError(ErrorCode.ACCESS_DENIED, text)
        if proposal.before is None:
            proposal.before = self._planner.next_key
        delta, planned.unfinished = self._planner.purge(proposal.publisher_id, self._portion, proposal.before)
        planned.record = Record(delta, proposal.client, self._wall_time) if delta else None

    def _begin(self, proposal: BeginProposal, planned: Planned) -> None:
        client = proposal.client
        self._state.access_of(client)
        ended = tuple(self._sessions_of(client))
        delta = self._end_sessions(ended, planned)
        if planned.unfinished:
            planned.record = Record(delta, client, self._wall_time)
            return
        publisher = None
        if client not in self._state.publishers and client not in self._publishers:
            # Every metadatum carries it, and sizes that clients ask for count it: 64 random bits are enough.
            publisher = NewPublisher(client, f"{client}-{self._random()[:16]}")
            self._publishers[client] = publisher.publisher_id
        began = Began(client, self._random())
        self._begun[client] = began.session_id
        planned.record = Record(delta, client, self._wall_time, ended, began, publisher)

    def _end(self, proposal: EndProposal, planned: Planned) -> None:
        session = proposal.session
        if self._state.sessions.get(session.id) is not session or session.id in self._ended:
            if not proposal.forced:
                self._session(session.id, session.client)
            return
        ended = (session.id,)
        delta = self._end_sessions(ended, planned)
        planned.record = Record(delta, session.client, self._wall_time, () if planned.unfinished else ended)

    def _expire(self, proposal: ExpireProposal, planned: Planned) -> None:
        alive = self._state.sessions
        ended = tuple(
            session_id
            for session_id in proposal.session_ids
            if session_id not in self._ended and alive.get(session_id) is None
        )
        if not ended:
            return
        delta = self._end_sessions(ended, planned)
        planned.record = Record(delta, "", self._wall_time, () if planned.unfinished else ended)

    def _end_sessions(self, session_ids: tuple[str, ...], planned: Planned) -> Delta:
        """Deletes their metadata, a portion of it if there is much; then they end when the last of it goes."""
        self._ended.update(dict.fromkeys(session_ids, planned.reason))
        delta, planned.unfinished = self._planner.end_sessions(session_ids, self._portion)
        if planned.unfinished:
            planned.ending = session_ids
        return delta

    def _session(self, session_id: str, client: str) -> Session:
        """The session of a request, if it will still be there. Raises InvalidSessionID."""
        session = self._state.sessions.get(session_id)
        if session is None or session.client != client:
            return self._state.sessions.find(session_id, client)
        if reason := self._ended.get(session_id):
            raise IfmapError(ErrorCode.INVALID_SESSION_ID, f"session ended: {reason}")
        return session

    def _sessions_of(self, client: str) -> Iterator[str]:
        """Sessions of the client that there will be at this point of the batch, wherever they are."""
        session = self._state.sessions.of_client(client)
        known = (session.id if session else None, self._state.elsewhere.get(client), self._begun.get(client))
        return (session_id for session_id in known if session_id is not None and session_id not in self._ended)
