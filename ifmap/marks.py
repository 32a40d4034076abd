"""Which watched regions a vertex belongs to, and how far from their starts it is; made to cost next to nothing.

Of a region of 400,000 identifiers nearly all have the same distance from its start and the same number of ways in. So
all vertices with equal marks share one object, and being a member costs a pointer. Only a vertex that very many regions
overlap on has an object of its own, since copying that would cost more than it saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from ifmap.places import Vertex

if TYPE_CHECKING:
    from ifmap.region import Region

_SHARED = 8


class Mark(NamedTuple):
    """Where a vertex stands in a region.

    distance: links from the start. parents: matching links that lead to it from open vertices one nearer to the start;
    the start has none. open: whether the region goes on behind it (not at max-depth, not of a terminal type).
    """

    distance: int
    parents: int
    open: bool


class Marks(dict["Region", Mark]):
    """The marks of a vertex by region. Not to be changed where shared: only `MarkStore` does."""

    __slots__ = ("__weakref__",)


class MarkStore:
    """Puts marks on vertices. shared: regions on a vertex up to which its marks are shared."""

    def __init__(self, shared: int = _SHARED) -> None:
        self._most = shared
        self._shared: WeakValueDictionary[frozenset[tuple[Region, Mark]], Marks] = WeakValueDictionary()
        # What became of shared marks by the change at hand, so that the next vertex with the same needs no look-up by
        # contents. It holds the marks from which it leads: their id stays theirs meanwhile.
        self._steps: dict[tuple[int, Mark | None], tuple[Marks | None, Marks | None]] = {}

    def put(self, region: Region, vertex: Vertex, mark: Mark | None) -> None:
        """Sets or (None) removes the mark of a region on a vertex. `finish` before the next region's."""
        marks = vertex.marks
        if marks is not None and len(marks) > self._most:
            if mark is not None:
                marks[region] = mark
                return
            marks.pop(region, None)
            if len(marks) <= self._most:
                vertex.marks = self._share(Marks(marks))
            return
        step = self._steps.get((id(marks), mark))
        if step is None:
            step = self._steps[id(marks), mark] = (marks, self._next(region, marks, mark))
        following = step[1]
        vertex.marks = Marks(following) if following is not None and len(following) > self._most else following

    def finish(self) -> None:
        """No more marks of this region for now."""
        self._steps.clear()

    def _next(self, region: Region, marks: Marks | None, mark: Mark | None) -> Marks | None:
        following = Marks() if marks is None else Marks(marks)
        if mark is None:
            following.pop(region, None)
        else:
            following[region] = mark
        if not following or len(following) > self._most:
            return following or None
        return self._share(following)

    def _share(self, marks: Marks) -> Marks:
        return self._shared.setdefault(frozenset(marks.items()), marks)
