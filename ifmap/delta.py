"""What one publish, purge or end of a session changes in the graph: the unit that is stored, replayed and told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ifmap.values import Edge, Metadata, MetadataName


class Change(NamedTuple):
    """Net change of the metadata of one identifier or link; what a publish adds and deletes itself isn't in it.

    added: new metadata, in order. removed: metadata that is deleted. replaced: singleValue metadata in whose place one
    of `added` with the same name comes. Metadata in removed and replaced are the objects that the graph holds, or
    others with the same keys.
    """

    edge: Edge
    added: tuple[Metadata, ...] = ()
    removed: tuple[Metadata, ...] = ()
    replaced: tuple[Metadata, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """All changes of one proposal; they take effect together.

    changes: at most one for each edge. notified: metadata that is told once and not kept (key 0). types: metadata types
    used for the first time, with whether they are singleValue from now on.
    """

    changes: tuple[Change, ...] = ()
    notified: tuple[tuple[Edge, Metadata], ...] = ()
    types: tuple[tuple[MetadataName, bool], ...] = ()

    def __bool__(self) -> bool:
        """Whether anything changes or is told."""
        return bool(self.changes or self.notified or self.types)


NOTHING = Delta()
