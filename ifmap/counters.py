"""What the MAP service counts, for metrics and `status`; no I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ifmap.delta import Delta


@dataclass(slots=True)
class Counters:
    """Since the start of the server, all of them only grow.

    requests: by operation ("publish", "unreadable", ...) and result ("ok" or an errorCode). metadata_added,
    metadata_removed (superseded ones included), metadata_notified: by what was committed here. poll_results: polls
    answered with results. batches, batches_failed: commits; records: in those that succeeded. foreign_records:
    committed by other servers.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    metadata_added: int = 0
    metadata_removed: int = 0
    metadata_notified: int = 0
    sessions_begun: int = 0
    sessions_ended: int = 0
    poll_results: int = 0
    batches: int = 0
    batches_failed: int = 0
    records: int = 0
    foreign_records: int = 0

    def count_delta(self, delta: Delta) -> None:
        """Adds what a committed record changes."""
        for change in delta.changes:
            self.metadata_added += len(change.added)
            self.metadata_removed += len(change.removed) + len(change.replaced)
        self.metadata_notified += len(delta.notified)


class Figures(NamedTuple):
    """The service at this moment. Sizes in bytes.

    sessions: live here; elsewhere: on other servers of the store. polls: waiting. waiting: proposals that wait;
    longest_wait: the most there ever were. results: undelivered, of all sessions; longest_results: of the session that
    has most.
    """

    sessions: int
    elsewhere: int
    subscriptions: int
    polls: int
    metadata: int
    links: int
    types: int
    publishers: int
    connections: int
    waiting: int
    longest_wait: int
    results: int
    longest_results: int
