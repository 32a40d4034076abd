"""The stored map at the daemon's start: which store, what it holds, and the writer that goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifmap.graph import Graph
from ifmap.metadata import STANDARD
from ifmap.server.store import DEFAULT_LEASE, Loaded, Store, open_store
from ifmap.server.writer import LocalWriter, Writer
from ifmap.service import MapService

if TYPE_CHECKING:
    from ifmap.server.postgres import PostgresStore


@dataclass(frozen=True, slots=True)
class StoredMap:
    """An open store and what it held. graph: of its rows, for the service to have. loaded: without them."""

    store: Store | PostgresStore
    graph: Graph
    loaded: Loaded

    def writer(self, service: MapService, flush: Callable[[], None], now: Callable[[], float]) -> Writer:
        """The writer, to be started before the server serves. service: made with the graph; flush: sends its outputs;
        now: its clock. It closes the store when it is stopped."""
        if not self.store.shared:
            return LocalWriter(service, self.store, flush, now)
        # Imported here: it brings psycopg.
        from ifmap.server.shared_writer import SharedWriter

        return SharedWriter(service, self.store, flush, now, self.graph, self.loaded.abandoned)


def open_map(url: str, *, name: str = "", lease: float = DEFAULT_LEASE) -> StoredMap:
    """Open the store (see open_store) and load the map; blocks for seconds when that is large. Raises OperatorError."""
    store = open_store(url, name=name, lease=lease)
    try:
        loaded = store.load()
        return StoredMap(store, graph_of(loaded), loaded.without_rows())
    except BaseException:
        store.close()
        raise


def graph_of(loaded: Loaded) -> Graph:
    """The graph of a stored map."""
    graph = Graph({**STANDARD, **loaded.cardinality})
    graph.load(loaded.rows)
    return graph
