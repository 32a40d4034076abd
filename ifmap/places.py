"""Where metadata sits, as the graph holds it: vertices and links, made to be small, since there may be millions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ifmap.values import Edge, Filter, Identifier, Metadata, MetadataName, node

if TYPE_CHECKING:
    from ifmap.marks import Marks

_INDEXED = 8
"""Metadata of one place from which on it is worth to index them by name."""

_NOTHING: Mapping[int, Metadata] = MappingProxyType({})


class _Pile:
    """Two metadata or more of one place. by_name: None as long as they are few."""

    __slots__ = ("by_key", "by_name")

    def __init__(self) -> None:
        self.by_key: dict[int, Metadata] = {}
        self.by_name: dict[MetadataName, dict[int, Metadata]] | None = None

    def copy(self) -> _Pile:
        copied = _Pile()
        copied.by_key = dict(self.by_key)
        if self.by_name is not None:
            copied.by_name = {name: dict(same) for name, same in self.by_name.items()}
        return copied

    def add(self, metadata: Metadata) -> None:
        self.by_key[metadata.key] = metadata
        if self.by_name is not None:
            self.by_name.setdefault(metadata.name, {})[metadata.key] = metadata
        elif len(self.by_key) > _INDEXED:
            self.by_name = {}
            for one in self.by_key.values():
                self.by_name.setdefault(one.name, {})[one.key] = one

    def remove(self, metadata: Metadata) -> None:
        del self.by_key[metadata.key]
        if self.by_name is not None:
            same = self.by_name[metadata.name]
            del same[metadata.key]
            if not same:
                del self.by_name[metadata.name]


class Place:
    """What carries metadata: an identifier (`Vertex`) or a link (`Link`).

    Most places have none or one, which is held without a container around it.
    """

    __slots__ = ("_contents", "edge")

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self._contents: Metadata | _Pile | None = None

    def __len__(self) -> int:
        contents = self._contents
        if contents is None:
            return 0
        return len(contents.by_key) if isinstance(contents, _Pile) else 1

    def __bool__(self) -> bool:
        return self._contents is not None

    def all(self) -> Collection[Metadata]:
        """The metadata in the order they came."""
        contents = self._contents
        if contents is None:
            return ()
        return contents.by_key.values() if isinstance(contents, _Pile) else (contents,)

    def by_key(self) -> Mapping[int, Metadata]:
        """The metadata by key, in the order they came."""
        contents = self._contents
        if contents is None:
            return _NOTHING
        return contents.by_key if isinstance(contents, _Pile) else {contents.key: contents}

    def get(self, key: int) -> Metadata | None:
        """The metadatum of a key."""
        contents = self._contents
        if isinstance(contents, _Pile):
            return contents.by_key.get(key)
        return contents if contents is not None and contents.key == key else None

    def named(self, names: Collection[MetadataName]) -> list[Metadata]:
        """The metadata of some types, in the order they came; with many metadata, takes time for those found only."""
        contents = self._contents
        if not isinstance(contents, _Pile):
            return [contents] if contents is not None and contents.name in names else []
        if contents.by_name is None:
            return [one for one in contents.by_key.values() if one.name in names]
        found = [same for name in names if (same := contents.by_name.get(name)) is not None]
        if len(found) == 1:
            return list(found[0].values())
        return sorted((one for same in found for one in same.values()), key=_by_key)

    def count_named(self, names: Collection[MetadataName]) -> int:
        """How many metadata of some types there are."""
        contents = self._contents
        if isinstance(contents, _Pile) and contents.by_name is not None:
            return sum(len(same) for name in names if (same := contents.by_name.get(name)) is not None)
        return sum(one.name in names for one in self.all())

    def single(self, name: MetadataName) -> Metadata | None:
        """The oldest metadatum of a type: the only one, if the type is singleValue."""
        contents = self._contents
        if not isinstance(contents, _Pile):
            return contents if contents is not None and contents.name == name else None
        same: Iterable[Metadata]
        if contents.by_name is None:
            same = (one for one in contents.by_key.values() if one.name == name)
        else:
            same = contents.by_name.get(name, _NOTHING).values()
        return next(iter(same), None)

    def matching(self, wanted: Filter | None) -> Collection[Metadata]:
        """The metadata that a filter is true of, in the order they came."""
        if wanted is None:
            return self.all()
        if wanted.names is not None:
            return self.named(wanted.names)
        return [one for one in self.all() if wanted.matches(one)]

    def copy(self) -> Place:
        """Its metadata, as a place that nothing else has to do with."""
        copied = Place(self.edge)
        contents = self._contents
        copied._contents = contents.copy() if isinstance(contents, _Pile) else contents
        return copied

    def add(self, metadata: Metadata) -> None:
        """Only who the place belongs to calls this: the graph, or a plan."""
        contents = self._contents
        if contents is None:
            self._contents = metadata
        elif isinstance(contents, _Pile):
            contents.add(metadata)
        else:
            self._contents = pile = _Pile()
            pile.add(contents)
            pile.add(metadata)

    def remove(self, metadata: Metadata) -> None:
        """As `add`. The metadatum is there."""
        contents = self._contents
        if isinstance(contents, _Pile):
            contents.remove(metadata)
            if len(contents.by_key) == 1:
                (self._contents,) = contents.by_key.values()
        else:
            self._contents = None


class Vertex(Place):
    """An identifier with metadata, a link, or somebody who watches it.

    marks: what the subscriptions keep about it, None for nothing (ifmap.marks).
    """

    __slots__ = ("_links", "marks")

    def __init__(self, identifier: Identifier) -> None:
        super().__init__(node(identifier))
        self._links: Link | dict[Vertex, Link] | None = None
        self.marks: Marks | None = None

    @property
    def identifier(self) -> Identifier:
        """The identifier."""
        return self.edge.first

    @property
    def unused(self) -> bool:
        """Whether the graph can forget it."""
        return self._contents is None and self._links is None and self.marks is None

    def links(self) -> Collection[Link]:
        """All links, each once, that of the identifier with itself included."""
        links = self._links
        if links is None:
            return ()
        return links.values() if isinstance(links, dict) else (links,)

    def link_to(self, other: Vertex) -> Link | None:
        """The link with another identifier (or with itself)."""
        links = self._links
        if isinstance(links, dict):
            return links.get(other)
        return links if links is not None and links.far(self) is other else None

    def attach(self, link: Link) -> None:
        """Only the graph calls this."""
        links = self._links
        if links is None:
            self._links = link
        elif isinstance(links, dict):
            links[link.far(self)] = link
        else:
            self._links = {links.far(self): links, link.far(self): link}

    def detach(self, link: Link) -> None:
        """Only the graph calls this. The link is there."""
        links = self._links
        if isinstance(links, dict):
            del links[link.far(self)]
            if not links:
                self._links = None
        else:
            self._links = None


class Link(Place):
    """A link of two identifiers; one is other, if it is one of an identifier with itself."""

    __slots__ = ("one", "other")

    def __init__(self, edge: Edge, one: Vertex, other: Vertex) -> None:
        super().__init__(edge)
        self.one = one
        self.other = other

    def far(self, near: Vertex) -> Vertex:
        """The other end, seen from one of them."""
        return self.other if near is self.one else self.one


def _by_key(metadata: Metadata) -> int:
    return metadata.key
