"""Readers of the change stream of a table (vpn.stream): what has been read, and what may have to be read again.

A ReplayCursor can go back: what its reader has not acknowledged is read again.

    floor: acknowledged      seen: read, perhaps received      the table's revision
    -------+---------------------------+----------------------------+
           rewind() goes back here     the reader may have been told of what is up to here

A reader that is lost may have taken any part of what lies between floor and seen. So withdrawals of prefixes that it
may have been told of are kept until it acknowledges them, and are read again after going back.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from vpn.path import Path
from vpn.prefix import Prefix

if TYPE_CHECKING:
    from vpn.stream import ChangeStream, Node

S = TypeVar("S", bound=Hashable)


class Change(NamedTuple):
    """A prefix and its newest selected path; None when it was withdrawn."""

    prefix: Prefix
    path: Path | None


class Cursor(Generic[S]):
    """A reader's position in the change stream of a table. Close it, or withdrawals are kept for it.

    revision: where it begins to read. start: up to there it reads the births (vpn.stream), behind it the log.
    """

    __slots__ = ("_stream", "revision", "start")

    def __init__(self, stream: ChangeStream[S], revision: int, start: int) -> None:
        self._stream = stream
        self.revision = revision
        """Every change up to this revision has been read (or superseded by a later one); before `start`, every prefix
        that was born up to it."""
        self.start = start

    @property
    def floor(self) -> int:
        """The lowest revision that it may still go back to."""
        return self.revision

    @property
    def seen(self) -> int:
        """The highest revision whose prefixes its reader may have been told of."""
        return self.revision

    @property
    def replaying(self) -> bool:
        """Whether it reads again what was read before: it may be told of more withdrawals than others at its place."""
        return False

    @property
    def pending(self) -> bool:
        """Whether there may be something to read."""
        return self.revision < self._stream.log.revision

    @property
    def place(self) -> int | tuple[int, int]:
        """Readers of a table at the same place read the same, as long as nothing changes."""
        return self.revision if self.revision >= self.start else (self.revision, self.start)

    def renew(self) -> None:
        """The reader wants the table as it is now: one that has read nothing yet begins anew."""
        if self.revision == 0 < self.start:
            self.start = self._stream.revision

    def read(self, limit: int) -> list[Change]:
        """The next changes, oldest first, at most `limit` (>= 1); empty when everything has been read.

        Withdrawals of prefixes that this cursor cannot have seen are left out.
        """
        return [Change(node.prefix, node.path) for node in self.nodes(limit)]

    def nodes(self, limit: int) -> list[Node[S]]:
        """The same as they stand in the table, which goes on changing them; for who looks at them at once."""
        stream = self._stream
        before = self.revision
        found: list[Node[S]] = []
        if before < self.start:
            found, self.revision = stream.births.read(before, self.start, limit)
        seen = self.seen
        while self.revision >= self.start and len(found) < limit and self.revision < stream.log.revision:
            nodes, self.revision = stream.log.read(self.revision, limit - len(found))
            found += [node for node in nodes if node.path is not None or node.born <= seen]
        self._moved(before)
        return found

    def advance(self, revision: int) -> None:
        """Move on without reading, to where another cursor of the table got by the same read from the same place."""
        start, self.revision = self.revision, revision
        self._moved(start)

    def _moved(self, start: int) -> None:
        self._stream.passed(start, self.revision)

    def close(self) -> None:
        """Stop reading; closing again does nothing."""
        self._stream.leave(self)


class ReplayCursor(Cursor[S]):
    """Takes the place of a cursor, which is closed; what that one has read counts as acknowledged."""

    __slots__ = ("_told", "acknowledged")

    def __init__(self, cursor: Cursor[S]) -> None:
        super().__init__(cursor._stream, cursor.revision, cursor.start)
        self.acknowledged = cursor.revision
        """Every change up to this revision has been received."""
        self._told = cursor.seen
        """Up to where it has read before it went back."""
        cursors = self._stream.cursors
        cursors.discard(cursor)
        cursors.add(self)

    @property
    def floor(self) -> int:
        return self.acknowledged

    @property
    def seen(self) -> int:
        return max(self._told, self.revision)

    @property
    def replaying(self) -> bool:
        return self._told > self.revision

    def renew(self) -> None:
        """Only one that was never read can begin anew: of what was told before, withdrawals have to be told."""
        if not self._told:
            super().renew()

    def acknowledge(self, revision: int) -> None:
        """What was read up to this revision has been received; less than before is no news, nor is it once closed."""
        start = self.acknowledged
        if start < revision <= self.revision and self in self._stream.cursors:
            self.acknowledged = revision
            self._stream.passed(start, revision)

    def rewind(self) -> None:
        """Go back to what was acknowledged."""
        self._told = self.seen
        self.revision = self.acknowledged

    def _moved(self, start: int) -> None:
        """Reading alone lets go of nothing."""
