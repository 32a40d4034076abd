"""What was sent on a stream and not acknowledged yet (XEP-0198, sections 4 and 5), without I/O.

Stanzas are numbered as they leave. Three kinds are told apart by what becomes of them when the peer is lost:

- kept: an answer, whose bytes are sent again
- marked: its content can be made anew; a mark of the caller's says up to where the peer has it once it is acknowledged
- passed: nobody misses it (a ping)

Both kinds of entries are bounded. Too many marks are thinned out, since a mark that is missing costs no more than
something sent twice. When too many bytes are kept they are dropped, and nothing can be taken back until what was
dropped is acknowledged.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

from xmpp.errors import StreamCondition, StreamError

M = TypeVar("M")

COUNT_MODULUS = 1 << 32
"""Counts on the wire begin at 0 again behind this (XEP-0198, section 4)."""
ASK_STANZAS = 100
"""Stanzas after which the peer is asked what it has."""
ASK_BYTES = 16 * 1024
"""Bytes kept after which it is asked."""
IDLE_BYTES = 4 * 1024
"""Bytes kept that are worth a question when nothing else goes on."""
MARKS_MAX = 256
KEPT_MAX = 128 * 1024
"""Bytes kept at most."""


class Outbox(Generic[M]):
    """Of one session, over all its streams. Whoever queues stanzas on the stream notes them here first, in order.

    recoverable: whether the session can be resumed; else stanzas are counted, and nothing is kept of them.
    """

    __slots__ = (
        *("_asked", "_entries", "_kept", "_marks", "_merged", "_missing", "_stride", "_unasked_bytes"),
        *("acknowledged", "ask_at", "recoverable", "sent"),
    )

    def __init__(self, *, recoverable: bool = True) -> None:
        self.recoverable = recoverable
        self.sent = 0
        """Stanzas sent so far."""
        self.acknowledged = 0
        """Stanzas that the peer has said to have."""
        self._entries: deque[tuple[int, M | None, bytes]] = deque()
        self._marks = 0
        self._stride = 1
        """Marks in a row of which the last one is enough."""
        self._merged = 0
        """Marks that the newest entry stands for."""
        self._kept = 0
        self._missing = 0
        """Number of the newest stanza whose bytes were dropped before they were acknowledged."""
        self._asked = 0
        self._unasked_bytes = 0
        self.ask_at = ASK_STANZAS
        """Number of stanzas sent at which ask() says yes."""

    def keep(self, stanza: bytes) -> None:
        """One stanza, to be sent again when it is lost."""
        self.sent += 1
        if not self.recoverable:
            return
        self._entries.append((self.sent, None, stanza))
        self._kept += len(stanza)
        self._unasked_bytes += len(stanza)
        if self._unasked_bytes >= ASK_BYTES:
            self.want()
        if self._kept > KEPT_MAX:
            self._drop_kept()

    def mark(self, stanzas: int, mark: M) -> None:
        """So many stanzas; once all of them are acknowledged, acknowledge() returns the mark."""
        self.sent = sent = self.sent + stanzas
        if not self.recoverable:
            return
        entries = self._entries
        if self._stride > 1:
            if self._merged < self._stride and entries and entries[-1][1] is not None:
                entries[-1] = (sent, mark, b"")
                self._merged += 1
                return
            self._merged = 1
        entries.append((sent, mark, b""))
        self._marks += 1
        if self._marks > MARKS_MAX:
            self._thin_marks()

    def lose(self) -> None:
        """An answer that isn't even made."""
        self.sent += 1
        if self.recoverable:
            self._drop_kept()

    def skip(self) -> None:
        """One stanza that nobody misses."""
        self.sent += 1

    def _drop_kept(self) -> None:
        self._missing = self.sent
        self._entries = deque(entry for entry in self._entries if entry[1] is not None)
        self._kept = 0

    def _thin_marks(self) -> None:
        """Drop every second mark, the newest not among them, and go on like that."""
        self._stride *= 2
        self._merged = 1
        entries: list[tuple[int, M | None, bytes]] = []
        wanted = False
        for entry in reversed(self._entries):
            if entry[1] is not None:
                wanted = not wanted
                if not wanted:
                    self._marks -= 1
                    continue
            entries.append(entry)
        self._entries = deque(reversed(entries))

    # -- the peer's counts

    def acknowledge(self, count: int, *, final: bool = False) -> list[M]:
        """The peer says how many stanzas it has, modulo 2**32; the marks reached by that, oldest first.

        final: it is back and lacks all others. Raises StreamError when it has more than were sent (section 4), or,
        finally, fewer than it said before. Else fewer say nothing: some clients count what they have said, and not what
        they have (@xmpp/client 0.14).
        """
        fresh = (count - self.acknowledged) % COUNT_MODULUS
        if fresh > self.sent - self.acknowledged:
            if not final and COUNT_MODULUS - fresh <= min(self.acknowledged, COUNT_MODULUS // 2):
                return []
            sent = self.sent % COUNT_MODULUS
            raise StreamError(
                StreamCondition.UNDEFINED_CONDITION,
                f"{count} stanzas are acknowledged, but {sent} were sent",
                detail=f"<handled-count-too-high xmlns='urn:xmpp:sm:3' h='{count}' send-count='{sent}'/>".encode(),
            )
        self.acknowledged += fresh
        reached: list[M] = []
        entries = self._entries
        while entries and entries[0][0] <= self.acknowledged:
            _, mark, stanza = entries.popleft()
            if mark is not None:
                self._marks -= 1
                reached.append(mark)
            self._kept -= len(stanza)
        if not self._marks:
            self._stride = 1
        return reached

    @property
    def complete(self) -> bool:
        """Whether everything that isn't acknowledged can be had again."""
        return self._missing <= self.acknowledged

    def take_back(self) -> list[bytes]:
        """The peer is here again and has what it acknowledged, no more: the stanzas kept that it lacks, in order.

        Numbers go on from what it has; marks are forgotten. Raises ValueError unless complete.
        """
        if not self.complete:
            raise ValueError("stanzas that are missing were not kept")
        lost = [stanza for _, mark, stanza in self._entries if mark is None]
        self._entries.clear()
        self._marks = self._kept = self._unasked_bytes = 0
        self._stride = 1
        self.sent = self._asked = self.acknowledged
        self.ask_at = self.sent + ASK_STANZAS
        return lost

    # -- asking for them

    def want(self) -> None:
        """Have the peer asked with the next stanza."""
        self.ask_at = 0

    def ask(self, *, idle: bool = False) -> bool:
        """Whether to ask the peer now, which then counts as done. idle: there is nothing else to do."""
        if idle:
            due = self._asked < self.sent and (self._marks > 0 or self._kept > IDLE_BYTES)
        else:
            due = self.sent >= self.ask_at
        if due:
            self._asked = self.sent
            self._unasked_bytes = 0
            self.ask_at = self.sent + ASK_STANZAS
        return due
