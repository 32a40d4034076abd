"""Plans what publishes, purges and ends of sessions will change, while nothing has changed yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from ifmap.delta import Delta
from ifmap.graph import Graph
from ifmap.values import MetadataName, PublishOperation


class Planner:
    """A batch of proposals over a graph: each sees what the earlier ones will have done. It never changes the graph,
    which must stay as it is until the batch's deltas are applied, in order, or the planner is thrown away.

    next_key: key of the next new metadatum; the next planner goes on from it.
    """

    def __init__(self, graph: Graph, next_key: int) -> None:
        self.next_key = next_key

    def publish(
        self,
        operations: Sequence[PublishOperation],
        publisher_id: str,
        session_id: str,
        timestamp: str,
        may: Callable[[MetadataName], None] | None = None,
    ) -> Delta:
        """A publish. timestamp: text of the ifmap-timestamp. may: raises IfmapError if the client may not write
        metadata of this type; asked for all that is to be added, notified or deleted. Raises IfmapError (and then
        nothing of the publish remains): InvalidMetadata for a cardinality that contradicts the type's, what `may` raises."""
        raise NotImplementedError

    def purge(self, publisher_id: str) -> Delta:
        """All metadata of a publisher goes, whatever its lifetime."""
        raise NotImplementedError

    def end_session(self, session_id: str) -> Delta:
        """The metadata that ends with a session goes."""
        raise NotImplementedError

    def end_sessions(self, session_ids: Collection[str]) -> Delta:
        """As end_session, for several in one step."""
        raise NotImplementedError
