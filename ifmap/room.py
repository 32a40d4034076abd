"""How much room metadata takes, and how much there is, so that no client can fill the server's memory. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import Edge, Metadata

OVERHEAD = 800
"""Bytes of memory that a metadatum takes beside its text: objects and indexes, its place, its share of identifiers."""


def size_of(edge: Edge, metadata: Metadata) -> int:
    """Bytes that a metadatum counts: about what it takes, texts of its identifiers included."""
    first, second = edge
    names = len(first.name) if second is None else len(first.name) + len(second.name)
    return OVERHEAD + len(metadata.xml) + names


@dataclass(frozen=True, slots=True)
class Room:
    """How much there may be. total: bytes of all metadata, publisher: of that of one publisher. types: of metadata,
    which are remembered for ever."""

    total: int = 4 << 30
    publisher: int = 1 << 30
    types: int = 10_000

    def check(self, total: int, publisher: int) -> None:
        """Whether what grows may become that large. Raises IfmapError (SystemError)."""
        if total > self.total:
            _refuse(f"the map is full: it may have {self.total} bytes")
        if publisher > self.publisher:
            _refuse(f"a client may have {self.publisher} bytes of metadata in the map; delete some, or purge")

    def check_types(self, types: int) -> None:
        """Raises IfmapError (SystemError)."""
        if types > self.types:
            _refuse(f"the map knows {self.types} types of metadata, and takes no new ones")


ROOM = Room()


def _refuse(text: str) -> None:
    raise IfmapError(ErrorCode.SYSTEM_ERROR, text)
