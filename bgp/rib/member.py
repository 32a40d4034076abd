"""One peer in the update group of a family: how far it has been told, and what waits for it to take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from bgp.rib.interest import Interest
from bgp.rib.table import Destination

OUTBOX_FULL = 256 * 1024
"""Bytes that may wait for a peer before it is left behind and its group goes on without it."""


class Member:
    """A peer's place in an update group.

    name: the peer's; bit: the peer's in masks; cursor: the revision of the table's log up to which it has been told.
    held: nothing is sent yet (the peer's memberships are awaited, or we have just restarted).
    """

    __slots__ = (
        "announced",
        "bit",
        "cursor",
        "held",
        "interest",
        "marks",
        "messages",
        "name",
        "outbox",
        "recheck_rest",
        "recheck_targets",
        "size",
        "walk",
        "withdrawn",
    )

    def __init__(self, name: str, bit: int, interest: Interest, *, held: bool = False) -> None:
        self.name = name
        self.bit = bit
        self.interest = interest
        self.held = held
        self.cursor = 0
        self.marks: deque[tuple[int, bytes]] = deque()
        """Messages that are due when the cursor has reached a revision: End-of-RIB, end of a refresh."""
        self.recheck_targets: dict[bytes, None] = {}
        """Route targets whose routes the peer may have come to want, or not to want any more."""
        self.recheck_rest: list[Destination] = []
        """Destinations of the last such target that haven't been looked at."""
        self.walk: int | None = None
        """How far a recheck of everything that was told has come; None: none is under way."""
        self.outbox: deque[bytes] = deque()
        self.size = 0
        """Bytes in the outbox."""
        self.messages = 0
        self.announced = 0
        self.withdrawn = 0
        """Messages and NLRI handed to the outbox so far."""

    @property
    def ready(self) -> bool:
        """Whether it takes more."""
        return not self.held and self.size < OUTBOX_FULL

    @property
    def rechecking(self) -> bool:
        """Whether something that was told, or not told, is to be looked at again."""
        return bool(self.recheck_rest or self.recheck_targets) or self.walk is not None

    def put(self, messages: Iterable[bytes]) -> None:
        """Messages for the peer, shared with the rest of the group."""
        for message in messages:
            self.outbox.append(message)
            self.size += len(message)
            self.messages += 1

    def take(self, limit: int) -> list[bytes]:
        """Messages to send now: at least one if there is any, else about `limit` bytes."""
        taken: list[bytes] = []
        outbox = self.outbox
        size = 0
        while outbox and size < limit:
            message = outbox.popleft()
            taken.append(message)
            size += len(message)
        self.size -= size
        return taken

    def awaits(self, mark: bytes) -> bool:
        """Whether a mark is still to be put out."""
        return any(message == mark for _, message in self.marks)

    def flush_marks(self) -> bool:
        """Put out the marks whose time has come; whether there were any."""
        if self.held or self.rechecking:
            return False
        put = False
        while self.marks and self.marks[0][0] <= self.cursor:
            self.put((self.marks.popleft()[1],))
            put = True
        return put
