"""What the subscribers of a region have to be told of a change: what has left, what has come.

Content of a region, as a search lists it: its vertices, and the links that match and have an end that is gone through.
Content of an item: what of its metadata the filters let pass. A client that applies the results in order holds the
same, but for items without metadata, which only a searchResult lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ifmap.delta import Change
from ifmap.items import item_xml
from ifmap.places import Link, Place, Vertex
from ifmap.region import Region, Shift
from ifmap.selection import Selection
from ifmap.slices import SLICE, Work
from ifmap.values import Edge, Metadata

WRAPPER = len(b"<metadata></metadata>")

Serialise = Callable[[Edge, Sequence[Metadata]], bytes]

Changes = Mapping[Place, Change]
"""The changes of a delta, made in the graph already, by place."""


def listing(region: Region) -> Iterator[tuple[bytes, int] | None]:
    """All items of a region, serialised, as a searchResult has them, with the bytes that each counts. None in between:
    a moment to let others have their turn."""
    scope = region.scope
    done: set[Link] = set()
    count = 0
    for vertex in region.members():
        count += scope.allowance.cost()
        if scope.looks:
            yield from scope.look(vertex.all())
        yield _listed(vertex, scope.on_vertices)
        mark = region.mark(vertex)
        if mark is None or not mark.open:
            continue
        for link in vertex.links():
            count += scope.allowance.cost()
            if count >= SLICE:
                count = 0
                yield None
            if scope.looks:
                yield from scope.look(link.all())
            if link not in done and scope.links.any(link):
                done.add(link)
                yield _listed(link, scope.on_links)


def _listed(place: Place, selection: Selection) -> tuple[bytes, int]:
    metadata = selection.on(place)
    item = item_xml(place.edge, metadata)
    return item, len(item) if metadata else len(item) + WRAPPER


def matched_before(links: Selection, link: Place, change: Change) -> bool:
    """Whether a link that has changed did match."""
    if any(map(links.accepts, change.removed)) or any(map(links.accepts, change.replaced)):
        return True
    return links.any_but(link, change.added)


class Telling:
    """Collects, for one region and one delta, what is to be told.

    updates, deletes: serialised items. growth: by how many bytes the region's content grows (shrinks). An item is
    counted with the element around its metadata even if it has none.
    """

    def __init__(self, region: Region, shift: Shift, changes: Changes, serialise: Serialise) -> None:
        self.updates: list[bytes] = []
        self.deletes: list[bytes] = []
        self.growth = 0
        self._region = region
        self._shift = shift
        self._changes = changes
        self._serialise = serialise

    def tell(self, places: Iterable[Place], matched: Mapping[Place, tuple[bool, bool]]) -> Work[None]:
        """Works it out, in slices. places: those changes of the delta that are at a vertex of the region. matched: for
        the links among them whether they did and do match."""
        scope = self._region.scope
        links: dict[Place, None] = {}
        count = 0
        for vertex, mark in self._shift.now.items():
            count += scope.allowance.cost()
            if count >= SLICE:
                count = 0
                yield
            old = self._region.mark(vertex)
            if scope.looks:
                yield from scope.look(vertex.all())
            if old is None:
                if mark is None:
                    continue
                self._came(vertex, scope.on_vertices)
                turned = mark.open
            elif mark is None:
                self._left(vertex, scope.on_vertices)
                turned = old.open
            else:
                turned = old.open is not mark.open
            if turned:
                links.update(dict.fromkeys(vertex.links()))
        for place in places:
            count += scope.allowance.cost()
            if count >= SLICE:
                count = 0
                yield
            if isinstance(place, Link):
                links[place] = None
            elif isinstance(place, Vertex) and self._region.mark(place) and self._shift.mark(place):
                self._differs(place, scope.on_vertices)
        count = 0
        for link in links:
            assert isinstance(link, Link)
            count += scope.allowance.cost()
            if count >= SLICE:
                count = 0
                yield
            if scope.looks and link not in matched:
                yield from scope.look(link.all())
            before, after = matched.get(link) or (scope.links.any(link),) * 2
            before = before and self._region.lists(link)
            after = after and self._will_list(link)
            if before and after:
                self._differs(link, scope.on_links)
            elif before:
                self._left(link, scope.on_links)
            elif after:
                self._came(link, scope.on_links)

    def _will_list(self, link: Link) -> bool:
        one, other = self._shift.mark(link.one), self._shift.mark(link.other)
        return (one is not None and one.open) or (other is not None and other.open)

    def _came(self, place: Place, selection: Selection) -> None:
        metadata = selection.on(place)
        if metadata:
            item = self._serialise(place.edge, tuple(metadata))
            self.updates.append(item)
            self.growth += len(item)
        else:
            self.growth += len(item_xml(place.edge, ())) + WRAPPER

    def _left(self, place: Place, selection: Selection) -> None:
        metadata = self._before(place, selection)
        if metadata:
            item = self._serialise(place.edge, tuple(metadata))
            self.deletes.append(item)
            self.growth -= len(item)
        else:
            self.growth -= len(item_xml(place.edge, ())) + WRAPPER

    def _before(self, place: Place, selection: Selection) -> Collection[Metadata]:
        """What was told of a place up to now."""
        now = selection.on(place)
        change = self._changes.get(place)
        if change is None:
            return now
        gone = selection.of(change.removed + change.replaced)
        if change.added:
            new = {metadata.key for metadata in change.added}
            now = [metadata for metadata in now if metadata.key not in new]
        return [*gone, *now]

    def _differs(self, place: Place, selection: Selection) -> None:
        """A place that was and is listed."""
        change = self._changes.get(place)
        if change is None:
            return
        added = selection.of(change.added)
        removed = selection.of(change.removed)
        if change.replaced:
            replaced = selection.of(change.replaced)
            self.growth -= _size(replaced)
            # Who gets the new value overwrites the old; who does not, because of a filter, must be told that it's gone.
            names = {metadata.name for metadata in added}
            silent = [metadata for metadata in replaced if metadata.name not in names]
            self.growth += _size(silent)
            removed += silent
        if removed:
            self.deletes.append(self._serialise(place.edge, tuple(removed)))
            self.growth -= _size(removed)
        if added:
            self.updates.append(self._serialise(place.edge, tuple(added)))
            self.growth += _size(added)


def _size(metadata: Iterable[Metadata]) -> int:
    return sum(len(one.xml) for one in metadata)
