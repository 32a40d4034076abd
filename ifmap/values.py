"""Values of IF-MAP: identifiers, links, metadata, requests, results (TCG IF-MAP 2.2 over SOAP). No I/O, no XML parser.

Values are made at the edges: by the codec from what came over the wire, by clients from what they want to say. Whatever
holds one may take it for valid: identifiers are in their canonical form, metadata is one well-formed element.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class IdentifierKind(enum.StrEnum):
    """Element names of the standard identifiers."""

    ACCESS_REQUEST = "access-request"
    DEVICE = "device"
    IDENTITY = "identity"
    IP_ADDRESS = "ip-address"
    MAC_ADDRESS = "mac-address"


class Identifier(NamedTuple):
    """An identifier in its canonical form; equal values are the same identifier (IF-MAP 2.2, identifier equality).

    name: access-request, device and identity: the name; ip-address and mac-address: the value, IPv6 in eight groups.
    type: of an identity ("dns-name", "other", ...) or of an address ("IPv4", "IPv6"); "" for the others.
    definition: other-type-definition of an identity of type other ("extended" for an extended identifier, whose name is
    the canonical XML of its element, escaped once); "" for the others. domain: administrative-domain, "" for none.
    """

    kind: IdentifierKind
    name: str
    type: str = ""
    definition: str = ""
    domain: str = ""


class Edge(NamedTuple):
    """Where metadata sits: on an identifier (second is None), or on the undirected link of two.

    Make it by `node` and `link`, which put the ends of a link in order, so that (a, b) and (b, a) are equal. A link of
    an identifier with itself has both ends equal.
    """

    first: Identifier
    second: Identifier | None


def node(identifier: Identifier) -> Edge:
    """The place of an identifier's own metadata."""
    return Edge(identifier, None)


def link(one: Identifier, other: Identifier) -> Edge:
    """The link of two identifiers; their order has no meaning."""
    return Edge(one, other) if one <= other else Edge(other, one)


class MetadataName(NamedTuple):
    """Type of a metadatum. namespace: "" for none."""

    namespace: str
    local: str


class Lifetime(enum.StrEnum):
    """How long metadata stays."""

    SESSION = "session"
    FOREVER = "forever"


class NewMetadata(NamedTuple):
    """A metadatum to publish: one XML element with its namespaces declared, cut where the server's attributes go.

    single: ifmap-cardinality is singleValue. head + tail is the element in UTF-8, without XML declaration and without
    any ifmap-* attribute but ifmap-cardinality; the cut is right behind the name in the start tag.
    """

    name: MetadataName
    single: bool
    head: bytes
    tail: bytes


class Metadata:
    """A metadatum as the server holds it: identity is by object, since multiValue metadata may be equal.

    key: a number unique in the store, which grows; 0 for what was notified. xml: the element in UTF-8 with its
    operational attributes (ifmap-publisher-id, ifmap-timestamp), all namespaces it uses declared on it. publisher: the
    ifmap-publisher-id. session: id of the session whose end deletes it; "" for lifetime forever.
    """

    __slots__ = ("key", "name", "publisher", "session", "single", "xml")

    def __init__(self, key: int, name: MetadataName, single: bool, publisher: str, session: str, xml: bytes) -> None:
        self.key = key
        self.name = name
        self.single = single
        self.publisher = publisher
        self.session = session
        self.xml = xml

    def __repr__(self) -> str:
        return f"<Metadata {self.key} {self.xml.decode(errors='replace')}>"


class Filter(Protocol):
    """A compiled filter (match-links, result-filter, filter of a delete).

    names: when the filter is nothing but a list of names, they (the fast path: membership decides); None when
    `matches` has to look into the element. An empty set matches nothing.
    """

    @property
    def names(self) -> frozenset[MetadataName] | None: ...

    def matches(self, metadata: Metadata) -> bool:
        """Whether the filter is true of this metadatum."""
        ...


# -- requests


@dataclass(frozen=True, slots=True)
class Update:
    """<update>: store each metadatum; one of singleValue replaces the one of its type."""

    edge: Edge
    metadata: tuple[NewMetadata, ...]
    lifetime: Lifetime = Lifetime.SESSION


@dataclass(frozen=True, slots=True)
class Notify:
    """<notify>: tell subscribers once, store nothing."""

    edge: Edge
    metadata: tuple[NewMetadata, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """<delete>: remove what matches the filter; None: everything."""

    edge: Edge
    filter: Filter | None = None


PublishOperation = Update | Notify | Delete


@dataclass(frozen=True, slots=True)
class SearchSpec:
    """What a search or subscription is after. Sizes in bytes of serialised result items.

    match_links, result_filter: None matches everything. max_size: None for the server's default. terminal_types: names
    of identifier types that are listed but not gone through (validated by the codec).
    """

    start: Identifier
    max_depth: int = 0
    match_links: Filter | None = None
    result_filter: Filter | None = None
    max_size: int | None = None
    terminal_types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class NewSession:
    """<newSession>. max_poll_result_size: bytes, None when not sent."""

    max_poll_result_size: int | None = None


@dataclass(frozen=True, slots=True)
class RenewSession:
    """<renewSession>"""

    session_id: str


@dataclass(frozen=True, slots=True)
class EndSession:
    """<endSession>"""

    session_id: str


@dataclass(frozen=True, slots=True)
class Publish:
    """<publish>: all operations or none, in order."""

    session_id: str
    operations: tuple[PublishOperation, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """<search>"""

    session_id: str
    spec: SearchSpec


@dataclass(frozen=True, slots=True)
class Subscription:
    """<update> within <subscribe>: a new subscription, or one in the place of that of the same name."""

    name: str
    spec: SearchSpec


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """<delete> within <subscribe>."""

    name: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """<subscribe>"""

    session_id: str
    operations: tuple[Subscription | Unsubscription, ...]


@dataclass(frozen=True, slots=True)
class Poll:
    """<poll>"""

    session_id: str


@dataclass(frozen=True, slots=True)
class PurgePublisher:
    """<purgePublisher>"""

    session_id: str
    publisher_id: str


Request = NewSession | RenewSession | EndSession | Publish | Search | Subscribe | Poll | PurgePublisher


# -- results


class ResultKind(enum.StrEnum):
    """Element names of the children of a pollResult."""

    SEARCH = "searchResult"
    UPDATE = "updateResult"
    DELETE = "deleteResult"
    NOTIFY = "notifyResult"
    ERROR = "errorResult"


class ResultItem(NamedTuple):
    """One resultItem: an identifier or a link with the metadata that is told of it, maybe none."""

    edge: Edge
    metadata: tuple[Metadata, ...]
