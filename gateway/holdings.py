"""Memory that is held for what hosts have sent and not been sent yet, and who is to lose it; no I/O.

Each connection is bounded (a stanza, a read, a write buffer), but ten thousand times that bound is more than a machine
has. So what they hold is added up, and above the ceiling the connection that holds most is ended. A host that behaves
holds something for a moment only.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LITTLE = 16 * 1024
"""Bytes that wait for a connection at most, of what it is owed, while memory is short."""
HIGH = 0.75
"""Part of the ceiling above which no new connection is taken."""


class Holdings(Generic[K]):
    """Bytes held, by connection. ceiling: of all together; 0: as much as there is."""

    def __init__(self, ceiling: int) -> None:
        self.ceiling = ceiling
        self.total = 0
        self._held: dict[K, int] = {}

    def __len__(self) -> int:
        """Connections that hold something."""
        return len(self._held)

    def note(self, key: K, octets: int) -> bool:
        """A connection holds so many bytes now. Whether there is too much: then largest() has to go."""
        known = self._held.pop(key, 0)
        if octets:
            self._held[key] = octets
        self.total += octets - known
        return bool(self.ceiling) and self.total > self.ceiling

    def largest(self) -> K:
        """Who holds most; of several the one whose holdings have changed last."""
        return max(reversed(self._held), key=self._held.__getitem__)

    @property
    def high(self) -> bool:
        """Whether there is so much that no new connection is to be taken."""
        return bool(self.ceiling) and self.total > HIGH * self.ceiling
