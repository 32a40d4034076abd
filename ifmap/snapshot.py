"""The graph as it was at a moment, for what reads it in slices while it goes on to change.

Nothing is copied beforehand: the graph hands over what it is about to change (`keep`), as long as somebody holds the
snapshot.
"""

from __future__ import annotations

from collections.abc import Collection

from ifmap.places import Link, Place, Vertex


class Snapshot:
    """Make it by `Graph.snapshot`; it is kept up to date until it is thrown away."""

    __slots__ = ("__weakref__", "_links", "_places")

    def __init__(self) -> None:
        self._places: dict[Place, Place] = {}
        self._links: dict[Vertex, tuple[Link, ...]] = {}

    def place(self, place: Place) -> Place:
        """With the metadata that it had."""
        return self._places.get(place, place)

    def links(self, vertex: Vertex) -> Collection[Link]:
        """The links that a vertex had; to be copied before the graph has its turn."""
        links = self._links.get(vertex)
        return vertex.links() if links is None else links

    def keep(self, place: Place) -> None:
        """The metadata of a place is about to change."""
        if place not in self._places:
            self._places[place] = place.copy()

    def keep_links(self, vertex: Vertex) -> None:
        """The links of a vertex are about to change."""
        if vertex not in self._links:
            self._links[vertex] = tuple(vertex.links())
