"""A small world for tests of the graph: identifiers and metadata of one letter, and an oracle that recomputes all.

The oracle knows nothing of places, marks or regions: contents by edge, a search by the rules of IF-MAP, and what a
client holds after it has applied results in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lxml import etree

from ifmap.delta import Delta
from ifmap.graph import Graph
from ifmap.identifiers import type_names
from ifmap.plan import Planner
from ifmap.results import ResultQueue
from ifmap.slices import finish
from ifmap.subscriptions import Subscriptions
from ifmap.values import (
    Edge,
    Filter,
    Identifier,
    IdentifierKind,
    Metadata,
    MetadataName,
    NewMetadata,
    PublishOperation,
    SearchSpec,
    Subscription,
    link,
    node,
)

NAMESPACE = "urn:t"
TIME = "2026-01-05T10:11:12+00:00"
ENOUGH = 1 << 40


def name(local: str) -> MetadataName:
    return MetadataName(NAMESPACE, local)


def identifier(text: str) -> Identifier:
    """`a`: a device; `dns:a`: an identity of type dns-name; `ip:192.0.2.1`."""
    kind, colon, rest = text.partition(":")
    if not colon:
        return Identifier(IdentifierKind.DEVICE, text)
    if kind == "ip":
        return Identifier(IdentifierKind.IP_ADDRESS, rest, "IPv4")
    return Identifier(IdentifierKind.IDENTITY, rest, {"dns": "dns-name"}[kind])


def shown_identifier(one: Identifier) -> str:
    if one.kind is IdentifierKind.DEVICE:
        return one.name
    return f"ip:{one.name}" if one.kind is IdentifierKind.IP_ADDRESS else f"dns:{one.name}"


def edge(text: str) -> Edge:
    """`a`, or `a-b`."""
    first, dash, second = text.partition("-")
    return link(identifier(first), identifier(second)) if dash else node(identifier(first))


def shown_edge(one: Edge) -> str:
    ends = [shown_identifier(one.first)] + ([] if one.second is None else [shown_identifier(one.second)])
    return "-".join(sorted(ends))


def new(local: str, value: str = "", single: bool = True) -> NewMetadata:
    cardinality = "singleValue" if single else "multiValue"
    tail = f' xmlns:t="{NAMESPACE}" ifmap-cardinality="{cardinality}">{value}</t:{local}>'
    return NewMetadata(name(local), single, f"<t:{local}".encode(), tail.encode())


_ELEMENT = re.compile(rb"<t:(\w+)[^>]*>([^<]*)</t:\1>")
_ITEM = re.compile(rb"<resultItem>(.*?)</resultItem>")


def value(xml: bytes) -> str:
    """What is in the element."""
    match = _ELEMENT.fullmatch(xml)
    assert match is not None
    return match[2].decode()


def shown(xml: bytes) -> str:
    """`x=1` from a metadatum's element, `x` from an empty one."""
    match = _ELEMENT.fullmatch(xml)
    assert match is not None
    return f"{match[1].decode()}={match[2].decode()}" if match[2] else match[1].decode()


@dataclass(frozen=True)
class NameFilter:
    """A list of names: the fast path."""

    names: frozenset[MetadataName]

    def matches(self, metadata: Metadata) -> bool:
        return metadata.name in self.names


@dataclass(frozen=True)
class ValueFilter:
    """What an XPath such as `t:x[.="1"]` is: it has to look into the metadatum."""

    local: str
    wanted: str
    names: None = None

    def matches(self, metadata: Metadata) -> bool:
        return metadata.name == name(self.local) and value(metadata.xml) == self.wanted


def names_filter(*locals_: str) -> NameFilter:
    return NameFilter(frozenset(map(name, locals_)))


# -- the oracle

Contents = Mapping[Edge, Sequence[Metadata]]
Held = dict[Edge, list[bytes]]
"""What a client holds: elements by edge; only of edges that have some."""


def passes(wanted: Filter | None, metadata: Iterable[Metadata]) -> list[Metadata]:
    return [one for one in metadata if wanted is None or wanted.matches(one)]


def searched(contents: Contents, spec: SearchSpec) -> dict[Edge, list[Metadata]]:
    """All items of a search, those without metadata included, by the definition of distance alone."""
    links = {where: passes(spec.match_links, held) for where, held in contents.items() if where.second is not None}
    links = {where: held for where, held in links.items() if held}
    distance = {spec.start: 0}
    result: dict[Edge, list[Metadata]] = {}

    def is_open(one: Identifier) -> bool:
        return (
            one in distance
            and distance[one] < spec.max_depth
            and not (spec.terminal_types and type_names(one) & spec.terminal_types)
        )

    for _ in range(len(links) + 1):
        for first, second in links:
            assert second is not None
            for near, far in ((first, second), (second, first)):
                if is_open(near) and distance[near] + 1 < distance.get(far, 1 << 30):
                    distance[far] = distance[near] + 1
    for one in distance:
        result[node(one)] = passes(spec.result_filter, contents.get(node(one), ()))
    for where, held in links.items():
        assert where.second is not None
        if is_open(where.first) or is_open(where.second):
            result[where] = passes(spec.result_filter, held)
    return result


def content(items: Mapping[Edge, Sequence[Metadata]]) -> Held:
    """What a client must hold, that was told these items."""
    return {where: sorted(one.xml for one in held) for where, held in items.items() if held}


# -- a client


@dataclass
class Item:
    edge: Edge
    elements: tuple[bytes, ...]


@dataclass
class Part:
    """A child of a pollResult, read back from its bytes."""

    kind: str
    name: str
    items: list[Item]
    text: str = ""


def read_part(part: bytes) -> Part:
    root = etree.fromstring(part)
    items = []
    for item, raw in zip(root.iterfind("resultItem"), _ITEM.findall(part), strict=True):
        ends = [_read_identifier(child) for child in item if child.tag != "metadata"]
        # As it was sent, to the byte.
        elements = tuple(match[0] for match in _ELEMENT.finditer(raw))
        assert len(elements) == len(item.findall("metadata/*"))
        items.append(Item(node(ends[0]) if len(ends) == 1 else link(*ends), elements))
    return Part(str(root.tag), root.get("name", ""), items, root.get("errorCode", ""))


def _read_identifier(element: etree._Element) -> Identifier:
    if element.tag == "device":
        return Identifier(IdentifierKind.DEVICE, element.findtext("name") or "")
    if element.tag == "ip-address":
        return Identifier(IdentifierKind.IP_ADDRESS, element.get("value", ""), element.get("type", ""))
    return Identifier(IdentifierKind.IDENTITY, element.get("name", ""), element.get("type", ""))


class Replica:
    """What a simple client makes of results in their order; complains of all that a server must not send."""

    def __init__(self) -> None:
        self.held: Held | None = None

    def apply(self, part: Part) -> None:
        if part.kind == "searchResult":
            self.held = {item.edge: sorted(item.elements) for item in part.items if item.elements}
            assert len({item.edge for item in part.items}) == len(part.items), "an item twice"
            return
        assert part.items, f"empty {part.kind}"
        assert len({item.edge for item in part.items}) == len(part.items), "an item twice"
        for item in part.items:
            assert item.elements, f"item without metadata in {part.kind}"
            if part.kind == "updateResult":
                self._update(item)
            elif part.kind == "deleteResult":
                self._delete(item)
            else:
                assert part.kind == "notifyResult"

    def _update(self, item: Item) -> None:
        assert self.held is not None, "updateResult before the searchResult"
        mine = self.held.setdefault(item.edge, [])
        for element in item.elements:
            if b"singleValue" in element:
                start = element.partition(b" ")[0]
                mine[:] = [one for one in mine if one.partition(b" ")[0] != start]
            mine.append(element)
        mine.sort()

    def _delete(self, item: Item) -> None:
        assert self.held is not None, "deleteResult before the searchResult"
        mine = self.held[item.edge]
        for element in item.elements:
            mine.remove(element)
        if not mine:
            del self.held[item.edge]


# -- a server, as far as the graph goes


@dataclass
class World:
    """Graph, subscriptions and the contents as the oracle keeps them."""

    graph: Graph = field(default_factory=Graph)
    next_key: int = 1
    contents: dict[Edge, dict[int, Metadata]] = field(default_factory=dict)
    queues: dict[str, ResultQueue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.subscriptions = Subscriptions(self.graph)

    def planner(self) -> Planner:
        return Planner(self.graph, self.next_key)

    def plan(self, how: Callable[[Planner], Delta]) -> Delta:
        planner = self.planner()
        delta = how(planner)
        self.next_key = planner.next_key
        return delta

    def apply(self, delta: Delta) -> set[ResultQueue]:
        for change in delta.changes:
            mine = self.contents.setdefault(change.edge, {})
            for gone in (*change.removed, *change.replaced):
                del mine[gone.key]
            mine.update((one.key, one) for one in change.added)
            if not mine:
                del self.contents[change.edge]
        return set(self.subscriptions.apply(delta))

    def publish(self, *operations: PublishOperation, who: str = "p", session: str = "s") -> Delta:
        delta = self.plan(lambda planner: finish(planner.publish(operations, who, session, TIME)))
        self.apply(delta)
        return delta

    def queue(self, client: str = "c", limit: int = ENOUGH) -> ResultQueue:
        return self.queues.setdefault(client, ResultQueue(limit))

    def subscribe(self, title: str, spec: SearchSpec, client: str = "c", max_size: int = ENOUGH) -> None:
        self.subscriptions.subscribe(self.queue(client), Subscription(title, spec), max_size)

    def poll(self, client: str = "c") -> list[Part]:
        return [read_part(part) for part in self.queue(client).take()]

    def all(self) -> dict[Edge, list[Metadata]]:
        """Contents for `searched`."""
        return {where: list(held.values()) for where, held in self.contents.items()}
