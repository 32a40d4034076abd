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
from ifmap.places import Place, Vertex
from ifmap.region import Scope
from ifmap.selection import Selection
from ifmap.slices import SLICE, Work
from ifmap.values import ResultItem, SearchSpec, node


def find(graph: Graph, spec: SearchSpec) -> Iterator[ResultItem | None]:
    """The items of a search, nearest first; the start identifier is always the first of them. None in between: a moment
    to let others have their turn. The result is that of when it began, whatever happens to the graph meanwhile."""
    start = graph.vertex(spec.start)
    if start is None:
        yield ResultItem(node(spec.start), ())
        return
    scope = Scope(spec)
    snapshot = graph.snapshot()

    def item(place: Place, selection: Selection) -> ResultItem:
        return ResultItem(place.edge, tuple(selection.on(snapshot.place(place))))

    yield from scope.look(snapshot.place(start).all())
    yield item(start, scope.on_vertices)
    seen = {start}
    gone_through: set[Vertex] = set()
    level = [start]
    distance = count = 0
    while level:
        following: list[Vertex] = []
        for vertex in level:
            count += 1
            if count >= SLICE:
                count = 0
                yield None
            if not scope.is_open(vertex.identifier, distance):
                continue
            links = snapshot.links(vertex)
            # A copy, if the graph may have its turn before all of them have been looked at.
            for link in tuple(links) if scope.looks or count + len(links) >= SLICE else links:
                count += scope.allowance.cost()
                if count >= SLICE:
                    count = 0
                    yield None
                far = link.far(vertex)
                if far in gone_through:
                    continue
                if scope.looks:
                    yield from scope.look(snapshot.place(link).all())
                if not scope.links.any(snapshot.place(link)):
                    continue
                yield item(link, scope.on_links)
                if far not in seen:
                    seen.add(far)
                    following.append(far)
                    if scope.looks:
                        yield from scope.look(snapshot.place(far).all())
                    yield item(far, scope.on_vertices)
            gone_through.add(vertex)
        level = following
        distance += 1


def search(graph: Graph, spec: SearchSpec, limit: int) -> Work[list[bytes]]:
    """The items of a search, serialised, for responses.search_result; in slices. limit: bytes, as decided from max-size
    and the server's settings (spec.max_size isn't looked at). Raises IfmapError SearchResultsTooBig."""
    items = []
    size = 0
    for found in find(graph, spec):
        if found is None:
            yield
            continue
        item = item_xml(*found)
        size += len(item)
        if size > limit:
            text = f"the result is larger than {limit} bytes"
            raise IfmapError(ErrorCode.SEARCH_RESULTS_TOO_BIG, text)
        items.append(item)
    return items
