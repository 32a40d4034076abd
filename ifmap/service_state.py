"""What the MAP service holds: the map as committed, the sessions, what waits. Its parts work on this together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ifmap.access import Access
from ifmap.channels import Channels
from ifmap.counters import Counters
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.proposals import (
    BeginProposal,
    EndProposal,
    Proposal,
    ProposalQueue,
    PublishProposal,
    PurgeProposal,
)
from ifmap.responses import error_result
from ifmap.results import ResultQueue
from ifmap.service_settings import ServiceSettings
from ifmap.sessions import Session, Sessions
from ifmap.subscriptions import Subscriptions
from ifmap.values import EndSession, NewSession, Poll, Publish, PurgePublisher, RenewSession, Search, Subscribe

OPERATIONS: dict[type[object], str] = {
    NewSession: "newSession",
    RenewSession: "renewSession",
    EndSession: "endSession",
    Publish: "publish",
    Search: "search",
    Subscribe: "subscribe",
    Poll: "poll",
    PurgePublisher: "purgePublisher",
    BeginProposal: "newSession",
    EndProposal: "endSession",
    PublishProposal: "publish",
    PurgeProposal: "purgePublisher",
    IfmapError: "unreadable",
}
"""Names of operations in counters, by the type of the request or of its proposal."""


class SessionEvent(NamedTuple):
    """A session began or ended, for the log. ended: why it ended, "" if it began. peer: the client's address."""

    client: str
    peer: str
    ended: str = ""


@dataclass(slots=True)
class State:
    """State of the service. access: rules by client. publishers: publisher ids by client. elsewhere: sessions on other
    servers of the store, by client. next_key: the first free metadata key. of_queue: sessions by their results.
    events: what the log has not been told yet."""

    settings: ServiceSettings
    graph: Graph
    subscriptions: Subscriptions
    sessions: Sessions
    access: Mapping[str, Access]
    publishers: dict[str, str]
    elsewhere: dict[str, str]
    next_key: int
    channels: Channels = field(default_factory=Channels)
    queue: ProposalQueue = field(default_factory=ProposalQueue)
    counters: Counters = field(default_factory=Counters)
    of_queue: dict[ResultQueue, Session] = field(default_factory=dict)
    events: list[SessionEvent] = field(default_factory=list)

    def count(self, asked: object, result: str) -> None:
        """Counts an answer. asked: the request or its proposal; result: "ok", "ended" or an errorCode."""
        self.counters.requests[OPERATIONS[type(asked)], result] += 1

    def answer(self, channel: int | None, asked: object, body: bytes, result: str = "ok") -> None:
        """Answers and counts it."""
        self.count(asked, result)
        self.channels.answer(channel, body)

    def refuse(self, channel: int | None, asked: object, error: IfmapError, close: bool = False) -> None:
        """Answers by an errorResult. close: the connection is of no more use."""
        self.count(asked, error.code)
        self.channels.answer(channel, error_result(error.code, str(error)), close)

    def access_of(self, client: str) -> Access:
        """What a client may do. Raises AccessDenied if it isn't known (any more)."""
        access = self.access.get(client)
        if access is None:
            raise IfmapError(ErrorCode.ACCESS_DENIED, f"client {client} is not in the server's configuration")
        return access

    def force_end(self, session: Session, reason: str) -> None:
        """A session shall end, whatever happens: it takes no more requests, and its end waits in the queue."""
        if not session.ending:
            session.ending = reason
            self.queue.put(EndProposal(session.client, None, session, reason, forced=True))


def from_peer(peer: str) -> str:
    """For texts: where a request came from, if that is known."""
    return f" from {peer}" if peer else ""


def is_forced(proposal: Proposal) -> bool:
    """Whether nobody waits for the proposal's answer and it can't be called off."""
    return proposal.forced if isinstance(proposal, EndProposal) else proposal.client == ""
