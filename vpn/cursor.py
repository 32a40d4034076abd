"""Readers of the change stream of a table (vpn.table): what has been read, and what may have to be read again.

A ReplayCursor can go back: what its reader has not acknowledged is read again.

    floor: acknowledged      seen: read, perhaps received      the table's revision
    -------+---------------------------+----------------------------+
           rewind() goes back here     the reader may have been told of what is up to here

A reader that is lost may have taken any part of what lies between floor and seen. So withdrawals of prefixes that it
may have been told of are kept until it acknowledges them, and are read again after going back.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from vpn.path import Path
from vpn.prefix import Prefix

if TYPE_CHECKING:
    from vpn.table import VrfTable

S = TypeVar("S", bound=Hashable)


class Change(NamedTuple):
    """A prefix and its newest selected path; None when it was withdrawn."""

    prefix: Prefix
    path: Path | None


class Cursor(Generic[S]):
    """A reader's position in the change stream of a table. Close it, or withdrawals are kept for it."""

    __slots__ = ("_table", "revision")

    def __init__(self, table: VrfTable[S], revision: int) -> None:
        self._table = table
        self.revision = revision
        """Every change up to this revision has been read (or superseded by a later one)."""

    @property
    def floor(self) -> int:
        """The lowest revision that it may still go back to."""
        return self.revision

    @property
    def seen(self) -> int:
        """The highest revision whose prefixes its reader may have been told of."""
        return self.revision

    @property
    def pending(self) -> bool:
        """Whether there may be something to read."""
        return self.revision < self._table._revision

    def read(self, limit: int) -> list[Change]:
        """The next changes, oldest first, at most `limit` (>= 1); empty when everything has been read.

        Withdrawals of prefixes that this cursor cannot have seen are left out.
        """
        table = self._table
        log, revisions = table._log, table._revisions
        changes: list[Change] = []
        start, seen = self.revision, self.seen
        for index in range(bisect_right(revisions, start), len(log)):
            node, revision = log[index], revisions[index]
            if node.revision != revision or (node.path is None and seen < node.born):
                continue
            if len(changes) == limit:
                break
            changes.append(Change(node.prefix, node.path))
            self.revision = revision
        else:
            self.revision = table._revision
        self._moved(start)
        return changes

    def advance(self, revision: int) -> None:
        """Move on without reading, to where another cursor of the table got by the same read from the same position."""
        start, self.revision = self.revision, revision
        self._moved(start)

    def _moved(self, start: int) -> None:
        self._table._passed(start, self.revision)

    def close(self) -> None:
        """Stop reading; closing again does nothing."""
        table = self._table
        if self in table._cursors:
            table._cursors.discard(self)
            table._passed(self.floor, table._revision)


class ReplayCursor(Cursor[S]):
    """Takes the place of a cursor, which is closed; what that one has read counts as acknowledged."""

    __slots__ = ("_told", "acknowledged")

    def __init__(self, cursor: Cursor[S]) -> None:
        super().__init__(cursor._table, cursor.revision)
        self.acknowledged = cursor.revision
        """Every change up to this revision has been received."""
        self._told = cursor.seen
        """Up to where it has read before it went back."""
        cursors = self._table._cursors
        cursors.discard(cursor)
        cursors.add(self)

    @property
    def floor(self) -> int:
        return self.acknowledged

    @property
    def seen(self) -> int:
        return max(self._told, self.revision)

    def acknowledge(self, revision: int) -> None:
        """What was read up to this revision has been received; less than before is no news, nor is it once closed."""
        start = self.acknowledged
        if start < revision <= self.revision and self in self._table._cursors:
            self.acknowledged = revision
            self._table._passed(start, revision)

    def rewind(self) -> None:
        """Go back to what was acknowledged."""
        self._told = self.seen
        self.revision = self.acknowledged

    def _moved(self, start: int) -> None:
        """Reading alone lets go of nothing."""
