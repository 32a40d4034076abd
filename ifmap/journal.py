"""What the service wants kept, and what servers of one store tell each other: one record for each change of the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ifmap.delta import Delta


class Began(NamedTuple):
    """A session that a record begins. session_id: random, unique over all servers."""

    client: str
    session_id: str


class NewPublisher(NamedTuple):
    """A client that got its ifmap-publisher-id, which it keeps for ever."""

    client: str
    publisher_id: str


@dataclass(frozen=True, slots=True)
class Record:
    """One proposal (publish, purge, session that begins or ends) as it takes effect, all of it or nothing.

    delta: what it changes in the graph, notifications and new metadata types included. client: whose proposal it is, ""
    for a server's own (sessions of a server that is gone). ended: ids of the sessions that it ends; their metadata is
    in the delta's removals already. began: the session that begins after those ended. publisher: the client's
    publisher id, when this record gives it one. wall_time: Unix time in seconds, that of the ifmap-timestamp.
    """

    delta: Delta
    client: str
    wall_time: float
    ended: tuple[str, ...] = ()
    began: Began | None = None
    publisher: NewPublisher | None = None

    @property
    def lasting(self) -> bool:
        """Whether there is something that must outlive the server: metadata of lifetime forever that comes or goes,
        metadata types, a publisher id. What isn't lasting concerns a store only if several servers share it."""
        if self.publisher is not None or self.delta.types:
            return True
        return any(
            not metadata.session
            for change in self.delta.changes
            for group in (change.added, change.removed, change.replaced)
            for metadata in group
        )
