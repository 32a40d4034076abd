"""Search: the part of the graph around an identifier (IF-MAP 2.2, search).

The start is always listed, every other identifier if it is reached over matching links within max-depth; a link, if it
matches and one of its ends is gone through. So a link between two identifiers that are both at max-depth isn't listed.
Of a link's metadata only what matches match-links can be in the result; result-filter keeps what it matches and has no
influence on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.items import item_xml
from ifmap.places import Vertex
from ifmap.region import Scope
from ifmap.values import ResultItem, SearchSpec, node


def find(graph: Graph, spec: SearchSpec) -> Iterator[ResultItem]:
    """The items of a search, nearest first; the start identifier is always the first of them."""
    start = graph.vertex(spec.start)
    if start is None:
        yield ResultItem(node(spec.start), ())
        return
    scope = Scope(spec)
    yield ResultItem(start.edge, tuple(scope.on_vertices.on(start)))
    seen = {start}
    gone_through: set[Vertex] = set()
    level = [start]
    distance = 0
    while level:
        following: list[Vertex] = []
        for vertex in level:
            if not scope.is_open(vertex.identifier, distance):
                continue
            for link in vertex.links():
                far = link.far(vertex)
                if far in gone_through or not scope.links.any(link):
                    continue
                yield ResultItem(link.edge, tuple(scope.on_links.on(link)))
                if far not in seen:
                    seen.add(far)
                    following.append(far)
                    yield ResultItem(far.edge, tuple(scope.on_vertices.on(far)))
            gone_through.add(vertex)
        level = following
        distance += 1


def search(graph: Graph, spec: SearchSpec, limit: int) -> list[bytes]:
    """The items of a search, serialised, for responses.search_result. limit: bytes, as decided from max-size and the
    server's settings (spec.max_size isn't looked at). Raises IfmapError SearchResultsTooBig."""
    items = []
    size = 0
    for edge, metadata in find(graph, spec):
        item = item_xml(edge, metadata)
        size += len(item)
        if size > limit:
            text = f"the result is larger than {limit} bytes"
            raise IfmapError(ErrorCode.SEARCH_RESULTS_TOO_BIG, text)
        items.append(item)
    return items
