"""Facts about VPNs, read from what edges hold: one metadatum of the schema is one fact, or a problem that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from ifmap.l3vpn import (
    ATTACHMENT_ADDRESS,
    ATTACHMENT_INFO,
    ATTACHMENT_STATE,
    BINDING,
    CATALOGUE,
    CONNECTION,
    GROUP_CE_PROTOCOL,
    GROUP_TARGET,
    LISTED,
    PROVISIONED,
    Direction,
    IdentifierType,
    SchemaError,
    SchemaIdentifier,
    State,
    read_ce_protocol,
    read_direction,
    read_identifier,
    read_prefixes,
    read_routes,
    read_state,
    read_target,
)
from ifmap.values import Edge, Identifier, IdentifierKind, MetadataName
from vpn.community import RouteTarget
from vpn.prefix import Prefix


class Stored(Protocol):
    """A metadatum as search results and replicas have it."""

    @property
    def name(self) -> MetadataName: ...
    @property
    def publisher(self) -> str: ...
    @property
    def xml(self) -> bytes: ...


class Target(NamedTuple):
    """group-target"""

    group: str
    target: RouteTarget
    direction: Direction


class Connection(NamedTuple):
    """connection"""

    one: str
    other: str


class Binding(NamedTuple):
    """binding"""

    attachment: str
    group: str


class Addresses(NamedTuple):
    """attachment-address: those at one ip-address."""

    attachment: str
    prefixes: tuple[Prefix, ...]


class Presence(NamedTuple):
    """attachment-info and attachment-state of one provider attachment.

    address, host: underlay address and name of the host; gateway: that says so; state: None when only info is there.
    publisher: ifmap-publisher-id of what was said.
    """

    attachment: str
    address: str
    host: str
    gateway: str
    state: State | None
    routes: tuple[Prefix, ...]
    publisher: str


class GroupProtocol(NamedTuple):
    """group-ce-protocol"""

    group: str
    protocol: str


class Listing(NamedTuple):
    """listed"""

    group: str


class Provisioned(NamedTuple):
    """provisioned"""


class Problem(NamedTuple):
    """Something that can't be read. what: the thing ("VPN blue"); why: one line."""

    what: str
    why: str


Fact = Target | Connection | Binding | Addresses | Presence | GroupProtocol | Listing | Provisioned | Problem


def read_edge(edge: Edge, metadata: Iterable[Stored]) -> Iterator[Fact]:
    """What an edge says in terms of the schema; metadata of other vocabularies says nothing."""
    known = [found for found in metadata if found.name in _READERS]
    if not known:
        return
    first, second = edge
    one, other = read_identifier(first), read_identifier(second) if second is not None else None
    for end in (one, other):
        if end is not None and end.domain and end.type is not IdentifierType.PROVIDER_ATTACHMENT:
            why = f"administrative-domain {end.domain!r} is not supported; it is left out"
            yield Problem(f"{end.type} {end.name}", why)
            return
    presence: Presence | None = None
    for found in known:
        try:
            fact = _READERS[found.name](_Link(edge, one, other), found)
        except SchemaError as error:
            names = " - ".join(f"{end.type} {end.name}" for end in (one, other) if end is not None)
            yield Problem(names or "unknown identifiers", str(error))
            continue
        if isinstance(fact, Presence):
            presence = fact if presence is None else _together(presence, fact)
        elif fact is not None:
            yield fact
    if presence is not None:
        yield presence


class _Link(NamedTuple):
    """An edge with its ends read."""

    edge: Edge
    one: SchemaIdentifier | None
    other: SchemaIdentifier | None

    def pair(
        self, wanted: IdentifierType, and_wanted: IdentifierType
    ) -> tuple[SchemaIdentifier, SchemaIdentifier] | None:
        """The ends in that order, if they are of those types."""
        _, one, other = self
        if one is None or other is None:
            return None
        if one.type is wanted and other.type is and_wanted:
            return one, other
        if other.type is wanted and one.type is and_wanted:
            return other, one
        return None

    def beside(self, end: Identifier | None) -> SchemaIdentifier | None:
        """The end that isn't this one."""
        return self.other if self.edge.first == end else self.one


_GROUP = IdentifierType.CONNECTIVITY_GROUP
_ATTACHMENT = IdentifierType.CUSTOMER_ATTACHMENT
_PROVIDER = IdentifierType.PROVIDER_ATTACHMENT


def _binding(place: _Link, found: Stored) -> Fact | None:
    ends = place.pair(_ATTACHMENT, _GROUP)
    return Binding(ends[0].name, ends[1].name) if ends else None


def _addresses(place: _Link, found: Stored) -> Fact | None:
    for end in place.edge:
        if end is not None and end.kind is IdentifierKind.IP_ADDRESS:
            attachment = place.beside(end)
            if attachment is not None and attachment.type is _ATTACHMENT:
                return Addresses(attachment.name, read_prefixes(end, found.xml))
    return None


def _target(place: _Link, found: Stored) -> Fact | None:
    ends = place.pair(_GROUP, IdentifierType.ROUTE_TARGET)
    return Target(ends[0].name, read_target(ends[1].name), read_direction(found.xml)) if ends else None


def _connection(place: _Link, found: Stored) -> Fact | None:
    ends = place.pair(_GROUP, _GROUP)
    return Connection(ends[0].name, ends[1].name) if ends and ends[0].name != ends[1].name else None


def _state(place: _Link, found: Stored) -> Fact | None:
    ends = place.pair(_ATTACHMENT, _PROVIDER)
    if ends is None:
        return None
    attachment, (_, address, host, gateway) = ends[0].name, ends[1]
    return Presence(attachment, address, host, gateway, read_state(found.xml), (), found.publisher)


def _info(place: _Link, found: Stored) -> Fact | None:
    ends = place.pair(_ATTACHMENT, _PROVIDER)
    if ends is None:
        return None
    attachment, (_, address, host, gateway) = ends[0].name, ends[1]
    return Presence(attachment, address, host, gateway, None, read_routes(found.xml), found.publisher)


def _together(one: Presence, other: Presence) -> Presence:
    """State and info of one link; the publisher is that of the state."""
    state, info = (one, other) if one.state is not None else (other, one)
    return state._replace(routes=info.routes)


def _protocol(place: _Link, found: Stored) -> Fact | None:
    if place.edge.second is not None or place.one is None or place.one.type is not _GROUP:
        return None
    return GroupProtocol(place.one.name, read_ce_protocol(found.xml))


def _listing(place: _Link, found: Stored) -> Fact | None:
    group = place.beside(CATALOGUE)
    return Listing(group.name) if group is not None and group.type is _GROUP and CATALOGUE in place.edge else None


def _provisioned(place: _Link, found: Stored) -> Fact | None:
    return Provisioned() if place.edge == (CATALOGUE, None) else None


_READERS: Mapping[MetadataName, Callable[[_Link, Stored], Fact | None]] = {
    BINDING: _binding,
    ATTACHMENT_ADDRESS: _addresses,
    GROUP_TARGET: _target,
    CONNECTION: _connection,
    ATTACHMENT_STATE: _state,
    ATTACHMENT_INFO: _info,
    GROUP_CE_PROTOCOL: _protocol,
    LISTED: _listing,
    PROVISIONED: _provisioned,
}
