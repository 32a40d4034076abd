"""The graph of identifiers, links and the metadata on them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ifmap.delta import Delta
from ifmap.values import Edge, Identifier, Metadata, MetadataName


class Graph:
    """The graph. It only ever changes by `load` and `apply`; every identifier "exists", known or not.

    cardinality: metadata types and whether they are singleValue, at first the given ones (the standard's).
    metadata_count, link_count: how many there are.
    """

    def __init__(self, cardinality: Mapping[MetadataName, bool] | None = None) -> None:
        self.cardinality: dict[MetadataName, bool] = dict(cardinality or {})
        self.metadata_count = 0
        self.link_count = 0

    def load(self, rows: Iterable[tuple[Edge, Metadata]]) -> None:
        """Adds stored metadata, in the order of their keys."""
        raise NotImplementedError

    def apply(self, delta: Delta) -> None:
        """Makes the changes. What is to be removed is found by its key."""
        raise NotImplementedError

    def contents(self, edge: Edge) -> Mapping[int, Metadata]:
        """The metadata on an identifier or link, by key, in the order they came. Not to be changed by the caller."""
        raise NotImplementedError

    def links(self, identifier: Identifier) -> Collection[Edge]:
        """The links with metadata that an identifier has."""
        raise NotImplementedError

    def of_publisher(self, publisher: str) -> Mapping[int, Edge]:
        """Where the metadata of a publisher sits, by key."""
        raise NotImplementedError

    def of_session(self, session: str) -> Mapping[int, Edge]:
        """Where the metadata sits that ends with a session, by key."""
        raise NotImplementedError
