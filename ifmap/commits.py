"""From proposals to what is committed, answered and delivered: the writing side of the MAP service."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from ifmap import responses
from ifmap.errors import ErrorCode, IfmapError
from ifmap.journal import Began, Record
from ifmap.planning import Planned, Planning
from ifmap.proposals import BeginProposal, EndProposal, Proposal, PublishProposal, PurgeProposal
from ifmap.results import ResultQueue
from ifmap.service_state import SessionEvent, State, is_forced
from ifmap.sessions import Session
from ifmap.slices import Work
from ifmap.values import Poll

PORTION = 2_000
"""Metadata that a purge or the end of a session deletes at a time, so that others have their turns meanwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Records to commit together, in this order (group commit). durable: whether a store has to see them."""

    records: tuple[Record, ...]
    durable: bool


class Commits:
    """Batches of proposals, at most one of them between its planning and its commit. random: makes ids."""

    def __init__(self, state: State, random: Callable[[], str]) -> None:
        self._state = state
        self._random = random
        self._batch: Batch | None = None
        self._planned: list[Planned] = []
        self._next_key = state.next_key

    def begin(self, wall_time: float, limit: int) -> Work[Batch | None]:
        """As MapService.beginning."""
        if self._batch is not None:
            raise RuntimeError("a batch is out already")
        while self._state.queue:
            planning = Planning(self._state, wall_time, self._random, min(limit, PORTION))
            planned = []
            for proposal in self._take(limit):
                planned.append((yield from planning.plan(proposal)))
                if planned[-1].unfinished:
                    # What its client asked for later comes after the rest of it.
                    break
            records = tuple(one.record for one in planned if one.record is not None)
            if records:
                durable = self._state.settings.shared or any(record.lasting for record in records)
                self._batch = Batch(records, durable)
                self._planned, self._next_key = planned, planning.next_key
                return self._batch
            yield from self._settle(planned, 0.0)
        return None

    def committed(self, batch: Batch, now: float) -> Work[None]:
        """As MapService.committing."""
        planned = self._close(batch)
        counters = self._state.counters
        self._state.next_key = self._next_key
        counters.batches += 1
        counters.records += len(batch.records)
        for record in batch.records:
            counters.count_delta(record.delta)
        yield from self._settle(planned, now)

    def failed(self, batch: Batch, text: str) -> None:
        """As MapService.failed."""
        self._state.counters.batches_failed += 1
        again = []
        error = IfmapError(ErrorCode.SYSTEM_ERROR, text)
        for planned in self._close(batch):
            proposal = planned.proposal
            # What was refused, or found done already, may have been so for what didn't come to pass.
            if planned.record is None or is_forced(proposal):
                again.append(proposal)
            else:
                self._state.refuse(proposal.channel, proposal, error)
        self._state.queue.put_back(again)

    def foreign(self, record: Record) -> Work[None]:
        """As MapService.following."""
        if self._batch is not None:
            raise RuntimeError("a batch is out: foreign records come before it is planned or after it is committed")
        state = self._state
        state.counters.foreign_records += 1
        reason = "another server of this store took this one for gone"
        if record.began is not None:
            reason = f"another newSession of client {record.began.client} at another server took over"
        told = yield from self._apply(record, reason)
        if record.began is not None:
            state.elsewhere[record.began.client] = record.began.session_id
        for change in record.delta.changes:
            for metadata in change.added:
                state.next_key = max(state.next_key, metadata.key + 1)
        self.deliver(told)

    def end_all(self, reason: str) -> Work[None]:
        """Ends all sessions at once, without a word to others."""
        if self._batch is not None:
            raise RuntimeError("a batch is out")
        for session in list(self._state.sessions):
            self._end(session, reason)
        yield

    def deliver(self, told: Iterable[ResultQueue]) -> None:
        """Answers the polls that wait on these results."""
        for queue in told:
            session = self._state.of_queue.get(queue)
            if session is not None and session.polling and not session.ending and queue.pending:
                session.polling = False
                self.answer_poll(session, session.arc)

    def answer_poll(self, session: Session, channel: int | None) -> None:
        """Answers a poll by what waits in its session's queue, which isn't empty."""
        poll = Poll(session.id)
        try:
            body = responses.poll_result(session.queue.take())
        except IfmapError as error:
            self._state.refuse(channel, poll, error)
        else:
            self._state.counters.poll_results += 1
            self._state.answer(channel, poll, body)

    def _take(self, limit: int) -> Iterator[Proposal]:
        """Proposals for a batch."""
        weight = 0
        while weight < limit and (proposal := self._state.queue.take()) is not None:
            if isinstance(proposal, BeginProposal) and proposal.channel not in self._state.channels:
                continue
            weight += max(1, proposal.weight)
            yield proposal

    def _close(self, batch: Batch) -> list[Planned]:
        if batch is not self._batch:
            raise RuntimeError("this batch isn't out")
        planned, self._planned, self._batch = self._planned, [], None
        return planned

    def _settle(self, planned: list[Planned], now: float) -> Work[None]:
        """What was planned takes effect in its order; polls are answered after all of it."""
        told: dict[ResultQueue, None] = {}
        for one in planned:
            proposal = one.proposal
            if one.error is not None:
                self._state.refuse(proposal.channel, proposal, one.error)
                continue
            ends = yield from self._begin_ends(one)
            if one.record is not None:
                told.update(dict.fromkeys((yield from self._apply(one.record, one.reason))))
            if one.unfinished:
                self._state.queue.put_back([*ends, proposal])
                continue
            body = self._answer(proposal, one.record, now)
            if body is not None:
                self._state.answer(proposal.channel, proposal, body)
        self.deliver(told)

    def _apply(self, record: Record, reason: str) -> Work[Collection[ResultQueue]]:
        """Changes what is committed. The order in which a session ends (IF-MAP 2.2, 4.3): its subscriptions, its
        metadata, its poll, its id."""
        state = self._state
        ending = [session for session_id in record.ended if (session := state.sessions.get(session_id))]
        for session in ending:
            yield from state.subscriptions.dropping(session.queue)
        told = yield from state.subscriptions.applying(record.delta)
        for session in ending:
            self._end(session, reason)
        if record.ended and state.elsewhere:
            gone = [client for client, session_id in state.elsewhere.items() if session_id in record.ended]
            for client in gone:
                del state.elsewhere[client]
        if record.publisher is not None:
            state.publishers[record.publisher.client] = record.publisher.publisher_id
        return told

    def _begin_ends(self, planned: Planned) -> Work[list[Proposal]]:
        """Sessions of which a first portion goes now take no more requests, have no subscriptions, and will end
        whatever becomes of who wanted that. Returns the proposals for it."""
        proposal = planned.proposal
        ends: list[Proposal] = []
        if isinstance(proposal, EndProposal) and planned.unfinished:
            proposal.forced = True
        for session_id in planned.ending:
            session = self._state.sessions.get(session_id)
            if session is not None:
                session.ending = session.ending or planned.reason
                yield from self._state.subscriptions.dropping(session.queue)
                if isinstance(proposal, BeginProposal):
                    ends.append(EndProposal(session.client, None, session, planned.reason, forced=True))
        return ends

    def _end(self, session: Session, reason: str) -> None:
        """The last of a session: its poll is answered, its id forgotten."""
        state = self._state
        if session.polling:
            state.answer(session.arc, Poll(session.id), responses.end_session_result(), "ended")
        del state.of_queue[session.queue]
        state.sessions.end(session, reason)
        state.counters.sessions_ended += 1
        state.events.append(SessionEvent(session.client, session.peer, reason))

    def _answer(self, proposal: Proposal, record: Record | None, now: float) -> bytes | None:
        """The answer to what was done; None: nobody waits for one."""
        match proposal:
            case BeginProposal():
                assert record is not None and record.began is not None
                return self._start(proposal, record.began, now)
            case PublishProposal():
                return responses.publish_received()
            case PurgeProposal():
                return responses.purge_publisher_received()
            case EndProposal(channel=int()):
                return responses.end_session_result()
        return None

    def _start(self, proposal: BeginProposal, began: Began, now: float) -> bytes:
        """A session begins."""
        state = self._state
        granted = state.settings.poll_size(proposal.poll_size)
        publisher_id = state.publishers[proposal.client]
        session = Session(began.session_id, proposal.client, publisher_id, ResultQueue(granted), now, proposal.peer)
        state.sessions.start(session, proposal.channel if proposal.channel in state.channels else None, now)
        state.of_queue[session.queue] = session
        state.counters.sessions_begun += 1
        state.events.append(SessionEvent(session.client, session.peer))
        echo = None if proposal.poll_size is None else granted
        return responses.new_session_result(session.id, session.publisher_id, echo)
