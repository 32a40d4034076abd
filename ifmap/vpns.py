"""What a MAP holds about VPNs: groups with their targets, connections, bindings, addresses, operational state.

`Vpns` is fed with what each edge holds, from search results or from a subscription's replica, in any order, again and
again; only what an edge says anew costs anything. It answers in the terms of the schema (docs/design/map-schema.md) and
says which VPNs and attachments changed. What can't be read is a Problem that names it, and hurts nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ifmap.values import Edge
from ifmap.vpn_facts import (
    Addresses,
    Binding,
    Connection,
    Fact,
    GroupProtocol,
    Listing,
    Presence,
    Problem,
    Provisioned,
    Stored,
    Target,
    read_edge,
)
from vpn.community import RouteTarget
from vpn.prefix import Prefix

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """A connectivity group.

    imports, exports: its own route targets. connected: groups with a connection to it. effective_imports: what a VRF of
    it imports, its own imports and the exports of the connected groups (those of groups connected to them: not).
    """

    name: str
    imports: frozenset[RouteTarget]
    exports: frozenset[RouteTarget]
    connected: frozenset[str]
    effective_imports: frozenset[RouteTarget]
    protocol: str = ""
    listed: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """Names of the groups of which anything about the VRF changed, and of the attachments of which anything changed."""

    groups: frozenset[str]
    attachments: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.groups or self.attachments)


class _Index(dict[str, dict[Edge, T]]):
    """Facts by name; of each, the edge that says it, since several edges may say the same."""

    __slots__ = ()

    def add(self, key: str, edge: Edge, value: T) -> None:
        self.setdefault(key, {})[edge] = value

    def discard(self, key: str, edge: Edge) -> None:
        facts = self.get(key)
        if facts is not None and facts.pop(edge, None) is not None and not facts:
            del self[key]

    def values_of(self, key: str) -> Collection[T]:
        return self[key].values() if key in self else ()


class Vpns:
    """The VPNs of a MAP, or of the part of it that one has seen."""

    def __init__(self, contents: Iterable[tuple[Edge, Iterable[Stored]]] = ()) -> None:
        self._facts: dict[Edge, tuple[Fact, ...]] = {}
        self._targets = _Index[Target]()
        self._connected = _Index[str]()
        self._bound = _Index[str]()
        self._members = _Index[str]()
        self._addresses = _Index[tuple[Prefix, ...]]()
        self._presence = _Index[Presence]()
        self._protocols = _Index[str]()
        self._listed = _Index[Listing]()
        self._problems: dict[Edge, None] = {}
        self.provisioned = False
        """Whether the catalogue says that VPNs are provisioned here."""
        self._changed_groups: set[str] = set()
        self._changed_attachments: set[str] = set()
        for edge, metadata in contents:
            self.put(edge, metadata)

    # -- feeding

    def put(self, edge: Edge, metadata: Iterable[Stored]) -> None:
        """An edge holds exactly this now; no metadata: nothing (any more)."""
        new = tuple(read_edge(edge, metadata))
        old = self._facts.get(edge, ())
        if new == old:
            return
        for fact in old:
            self._remove(edge, fact)
        for fact in new:
            self._add(edge, fact)
        if new:
            self._facts[edge] = new
        else:
            del self._facts[edge]

    def take_changes(self) -> Changed:
        """What changed since the last call."""
        changed = Changed(frozenset(self._changed_groups), frozenset(self._changed_attachments))
        self._changed_groups.clear()
        self._changed_attachments.clear()
        return changed

    def _add(self, edge: Edge, fact: Fact) -> None:
        match fact:
            case Target(group=group):
                self._targets.add(group, edge, fact)
            case Connection(one, other):
                self._connected.add(one, edge, other)
                self._connected.add(other, edge, one)
            case Binding(attachment, group):
                self._bound.add(attachment, edge, group)
                self._members.add(group, edge, attachment)
            case Addresses(attachment, prefixes):
                self._addresses.add(attachment, edge, prefixes)
            case Presence(attachment=attachment):
                self._presence.add(attachment, edge, fact)
            case GroupProtocol(group, protocol):
                self._protocols.add(group, edge, protocol)
            case Listing(group):
                self._listed.add(group, edge, fact)
            case Provisioned():
                self.provisioned = True
            case Problem():
                self._problems[edge] = None
        self._note(fact)

    def _remove(self, edge: Edge, fact: Fact) -> None:
        # Noted while its connections still stand, which it concerns too.
        self._note(fact)
        match fact:
            case Target(group=group):
                self._targets.discard(group, edge)
            case Connection(one, other):
                self._connected.discard(one, edge)
                self._connected.discard(other, edge)
            case Binding(attachment, group):
                self._bound.discard(attachment, edge)
                self._members.discard(group, edge)
            case Addresses(attachment=attachment):
                self._addresses.discard(attachment, edge)
            case Presence(attachment=attachment):
                self._presence.discard(attachment, edge)
            case GroupProtocol(group=group):
                self._protocols.discard(group, edge)
            case Listing(group):
                self._listed.discard(group, edge)
            case Provisioned():
                self.provisioned = False
            case Problem():
                self._problems.pop(edge, None)

    def _note(self, fact: Fact) -> None:
        match fact:
            case Target(group=group):
                self._changed_groups.add(group)
                self._changed_groups.update(self._connected.values_of(group))
            case Connection(one, other):
                self._changed_groups.update((one, other))
            case Binding(attachment, group):
                self._changed_attachments.add(attachment)
                if len(self._members.values_of(group)) <= 1:
                    self._changed_groups.add(group)
            case Addresses(attachment=attachment) | Presence(attachment=attachment):
                self._changed_attachments.add(attachment)
            case GroupProtocol(group=group) | Listing(group):
                self._changed_groups.add(group)

    # -- asking

    @property
    def bare(self) -> bool:
        """Whether there is no group, and nothing that says that this is meant."""
        known = self._targets or self._connected or self._members or self._protocols or self._listed
        return not known and not self.provisioned

    def groups(self) -> set[str]:
        """Names of all connectivity groups of which anything is known."""
        return {*self._targets, *self._connected, *self._members, *self._protocols, *self._listed}

    def has_group(self, name: str) -> bool:
        """Whether anything is known of a connectivity group."""
        indexes = (self._targets, self._connected, self._members, self._protocols, self._listed)
        return any(name in index for index in indexes)

    def group(self, name: str) -> Group:
        """A connectivity group; one of which nothing is known has no targets."""
        imports, exports = self._own(name)
        connected = frozenset(self._connected.values_of(name))
        effective = imports.union(*(self._own(other)[1] for other in connected)) if connected else imports
        protocol = next(iter(self._protocols.values_of(name)), "")
        return Group(name, imports, exports, connected, effective, protocol, name in self._listed)

    def _own(self, name: str) -> tuple[frozenset[RouteTarget], frozenset[RouteTarget]]:
        targets = self._targets.values_of(name)
        return (
            frozenset(fact.target for fact in targets if fact.direction.imports),
            frozenset(fact.target for fact in targets if fact.direction.exports),
        )

    def attachments(self) -> set[str]:
        """All attachments of which anything is known."""
        return {*self._bound, *self._addresses, *self._presence}

    def groups_of(self, attachment: str) -> frozenset[str]:
        """The groups that an attachment is bound to."""
        return frozenset(self._bound.values_of(attachment))

    def is_bound(self, attachment: str, group: str) -> bool:
        """Whether an attachment is bound to a group."""
        return group in self._bound.values_of(attachment)

    def attachments_of(self, group: str) -> frozenset[str]:
        """The attachments that are bound to a group."""
        return frozenset(self._members.values_of(group))

    def addresses(self, attachment: str) -> frozenset[Prefix]:
        """The prefixes of an attachment."""
        return frozenset(prefix for prefixes in self._addresses.values_of(attachment) for prefix in prefixes)

    def presence(self, attachment: str) -> tuple[Presence, ...]:
        """Where an attachment is, as each gateway says."""
        return tuple(sorted(self._presence.values_of(attachment), key=lambda found: found[:4]))

    def problems(self) -> list[Problem]:
        """What can't be read."""
        return sorted(fact for edge in self._problems for fact in self._facts[edge] if isinstance(fact, Problem))

    def facts(self) -> Mapping[Edge, tuple[Fact, ...]]:
        """What each edge says: for who wants to change just that."""
        return self._facts
