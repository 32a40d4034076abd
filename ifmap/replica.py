"""The content of a subscription, kept from its results: identifiers and links with their metadata. No I/O.

Results are applied in the order in which they come (IF-MAP 2.2, poll): a searchResult is all there is; an updateResult
adds, and its singleValue metadata takes the place of what there is of that type, without that being told; a
deleteResult names each metadatum that goes, in full.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import canonicalize

from ifmap.answers import ReceivedItem, ReceivedMetadata, ReceivedPart
from ifmap.values import Edge, Identifier, MetadataName, ResultKind

_NONE: tuple[ReceivedMetadata, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What a result has changed. edges: whose metadata is another now. initial: it was a searchResult, so that what is
    complete now may differ from an earlier session's."""

    edges: frozenset[Edge] = frozenset()
    initial: bool = False


class _Contents:
    """Metadata of one edge, in the order in which it came."""

    __slots__ = ("multi", "single")

    def __init__(self) -> None:
        self.single: dict[MetadataName, ReceivedMetadata] = {}
        self.multi: dict[ReceivedMetadata, int] = {}
        """With the number of copies: equal ones are stored as often as they are published."""

    def __bool__(self) -> bool:
        return bool(self.single or self.multi)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Contents) and (self.single, self.multi) == (other.single, other.multi)

    __hash__ = None  # type: ignore[assignment]

    def add(self, metadata: ReceivedMetadata) -> bool:
        """Returns whether that changed anything."""
        if not metadata.single:
            self.multi[metadata] = self.multi.get(metadata, 0) + 1
            return True
        if self.single.get(metadata.name) == metadata:
            return False
        self.single[metadata.name] = metadata
        return True

    def remove(self, metadata: ReceivedMetadata) -> bool:
        """Returns whether that changed anything."""
        if metadata.single:
            return self.single.pop(metadata.name, None) is not None
        found = metadata if metadata in self.multi else self._same(metadata)
        if found is None:
            return False
        if self.multi[found] == 1:
            del self.multi[found]
        else:
            self.multi[found] -= 1
        return True

    def _same(self, metadata: ReceivedMetadata) -> ReceivedMetadata | None:
        """What means the same, though the server has written it in another way this time."""
        wanted = _canonical(metadata.xml)
        return next((one for one in self.multi if one.name == metadata.name and _canonical(one.xml) == wanted), None)

    def all(self) -> tuple[ReceivedMetadata, ...]:
        copies = (one for one, count in self.multi.items() for _ in range(count))
        return (*self.single.values(), *copies)


class Replica:
    """Begins empty. Give it the parts of one subscription."""

    def __init__(self) -> None:
        self.complete = False
        """The searchResult of this session is here, so what is missing isn't there."""
        self._edges: dict[Edge, _Contents] = {}
        self._links: dict[Identifier, dict[Edge, None]] = {}

    @staticmethod
    def of(items: Iterable[ReceivedItem]) -> Replica:
        """The result of a search as a replica, which is complete."""
        replica = Replica()
        replica.apply(ReceivedPart(ResultKind.SEARCH, "", tuple(items)))
        return replica

    def apply(self, part: ReceivedPart) -> Changes:
        """Take the next result of the subscription.

        A notifyResult changes nothing. After an errorResult (the server has given the subscription up) what was known
        stays, and isn't complete any more.
        """
        edges = frozenset(edge for edge in self.applying(part) if edge is not None)
        return Changes(edges, initial=part.kind is ResultKind.SEARCH)

    def applying(self, part: ReceivedPart) -> Iterator[Edge | None]:
        """As apply(), bit by bit, for parts that are large: gives each edge that is changed, and None for a bit of work
        that has changed none. It has to be run to its end before the next part; until then contents are of both."""
        if part.kind is ResultKind.SEARCH:
            yield from self._replacing(part.items)
            self.complete = True
        elif part.kind is ResultKind.UPDATE:
            for edge, metadata in part.items:
                yield edge if self._add(edge, metadata) else None
        elif part.kind is ResultKind.DELETE:
            for edge, metadata in part.items:
                yield edge if self._remove(edge, metadata) else None
        elif part.kind is ResultKind.ERROR:
            self.complete = False

    def session_lost(self) -> None:
        """What is known stays, and isn't complete before the next searchResult."""
        self.complete = False

    def contents(self, edge: Edge) -> tuple[ReceivedMetadata, ...]:
        """Metadata of an identifier or link: singleValue first, else in the order in which it came."""
        found = self._edges.get(edge)
        return found.all() if found else _NONE

    def links(self, identifier: Identifier) -> Collection[Edge]:
        """Links of an identifier with metadata on them."""
        return self._links.get(identifier, {}).keys()

    def edges(self) -> Iterator[Edge]:
        """Every identifier and link with metadata; the replica must not be changed meanwhile."""
        return iter(self._edges)

    def __len__(self) -> int:
        return len(self._edges)

    def _replacing(self, items: Iterable[ReceivedItem]) -> Iterator[Edge | None]:
        before, self._edges = self._edges, {}
        links, self._links = self._links, {}
        for edge, metadata in items:
            self._add(edge, metadata)
            yield None
        for edge, contents in self._edges.items():
            yield edge if before.get(edge) != contents else None
        # What is no more is let go bit by bit, too: to free a large map takes long.
        while before:
            edge, _ = before.popitem()
            if links:
                links.popitem()
            yield None if edge in self._edges else edge
        while links:
            links.popitem()
            yield None

    def _add(self, edge: Edge, metadata: tuple[ReceivedMetadata, ...]) -> bool:
        if not metadata:
            return False
        contents = self._edges.get(edge)
        if contents is None:
            contents = self._edges[edge] = _Contents()
            for end in _ends(edge):
                self._links.setdefault(end, {})[edge] = None
        return sum(map(contents.add, metadata)) > 0

    def _remove(self, edge: Edge, metadata: tuple[ReceivedMetadata, ...]) -> bool:
        contents = self._edges.get(edge)
        if contents is None:
            return False
        changed = sum(map(contents.remove, metadata)) > 0
        if not contents:
            del self._edges[edge]
            for end in _ends(edge):
                of_end = self._links[end]
                of_end.pop(edge, None)
                if not of_end:
                    del self._links[end]
        return changed


def _ends(edge: Edge) -> set[Identifier]:
    return set() if edge.second is None else {edge.first, edge.second}


def _canonical(xml: bytes) -> str:
    """C14N 2.0: what is left of how prefixes are declared is what is used."""
    return canonicalize(xml.decode(), rewrite_prefixes=True)
