"""Search: the part of the graph around an identifier (IF-MAP 2.2, search)."""

from __future__ import annotations

from collections.abc import Iterator

from ifmap.graph import Graph
from ifmap.values import ResultItem, SearchSpec


def find(graph: Graph, spec: SearchSpec) -> Iterator[ResultItem]:
    """The items of a search, nearest first; the start identifier is always the first of them."""
    raise NotImplementedError


def search(graph: Graph, spec: SearchSpec, limit: int) -> list[bytes]:
    """The items of a search, serialised, for responses.search_result. limit: bytes, as decided from max-size and the
    server's settings (spec.max_size isn't looked at). Raises IfmapError SearchResultsTooBig."""
    raise NotImplementedError
