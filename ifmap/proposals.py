"""Proposals: what clients want changed, waiting in a queue that gives clients turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from ifmap.sessions import Session
from ifmap.values import Delete, PublishOperation


@dataclass(slots=True, eq=False)
class Proposal:
    """Something to plan, commit and answer. client: whose it is, "" for the server's own. channel: the connection that
    waits for the answer, None if none does (any more)."""

    client: str
    channel: int | None

    @property
    def weight(self) -> int:
        """About how much work it is, in metadata."""
        return 1


@dataclass(slots=True, eq=False)
class PublishProposal(Proposal):
    """<publish>"""

    session_id: str
    operations: tuple[PublishOperation, ...]

    @property
    def weight(self) -> int:
        """Metadata that come, and one for each deletion."""
        return sum(1 if isinstance(operation, Delete) else len(operation.metadata) for operation in self.operations)


@dataclass(slots=True, eq=False)
class PurgeProposal(Proposal):
    """<purgePublisher>. before: the first metadata key that it leaves alone, None until it is planned: a large purge
    takes several batches, and what is published meanwhile is not meant."""

    session_id: str
    publisher_id: str
    before: int | None = None


@dataclass(slots=True, eq=False)
class BeginProposal(Proposal):
    """<newSession>. poll_size: bytes wished for, None if not sent. peer: the client's address."""

    poll_size: int | None
    peer: str


@dataclass(slots=True, eq=False)
class EndProposal(Proposal):
    """The end of a session. forced: nobody asked for it and nobody can refuse it, unlike <endSession>."""

    session: Session
    reason: str
    forced: bool


@dataclass(slots=True, eq=False)
class ExpireProposal(Proposal):
    """Sessions of another server that is gone."""

    session_ids: tuple[str, ...]


class ProposalQueue:
    """Proposals by client in the order they came; clients take turns, so that a flood of one doesn't hold up others."""

    def __init__(self) -> None:
        self._by_client: OrderedDict[str, deque[Proposal]] = OrderedDict()
        self._count = 0
        self.longest = 0

    def __len__(self) -> int:
        return self._count

    def put(self, proposal: Proposal) -> None:
        """At the end of its client's queue."""
        self._by_client.setdefault(proposal.client, deque()).append(proposal)
        self._count += 1
        self.longest = max(self.longest, self._count)

    def put_back(self, proposals: list[Proposal]) -> None:
        """To the front of their clients' queues, in the given order: they were taken in vain."""
        for proposal in reversed(proposals):
            self._by_client.setdefault(proposal.client, deque()).appendleft(proposal)
            self._count += 1

    def take(self) -> Proposal | None:
        """The next of the client whose turn it is."""
        if not self._by_client:
            return None
        client, waiting = next(iter(self._by_client.items()))
        proposal = waiting.popleft()
        self._count -= 1
        if waiting:
            self._by_client.move_to_end(client)
        else:
            del self._by_client[client]
        return proposal
