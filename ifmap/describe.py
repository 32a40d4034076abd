"""Identifiers, links and metadata in words and as JSON documents, for commands that show a graph."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple, Protocol
from xml.sax.saxutils import unescape

from ifmap.l3vpn import CATALOGUE, NAMESPACES, read_identifier
from ifmap.namespaces import STANDARD_METADATA
from ifmap.values import Edge, Identifier, IdentifierKind, MetadataName

PREFIXES: Mapping[str, str] = {**NAMESPACES, "meta": STANDARD_METADATA}
"""Prefixes that filters of the commands know, and that metadata is shown with."""
_BY_NAMESPACE = {namespace: prefix for prefix, namespace in PREFIXES.items()}
_START_TAG = re.compile(r"""<[^\s/>]+[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_OPERATIONAL = re.compile(r"""\s+(?:ifmap-[\w-]+|xmlns(?::[\w.-]+)?)\s*=\s*(?:"[^"]*"|'[^']*')""")


class Shown(Protocol):
    """A metadatum as a search or a subscription gives it."""

    @property
    def name(self) -> MetadataName: ...
    @property
    def single(self) -> bool: ...
    @property
    def publisher(self) -> str: ...
    @property
    def timestamp(self) -> str: ...
    @property
    def xml(self) -> bytes: ...


class Item(NamedTuple):
    """What edge_words makes of an edge."""

    first: str
    second: str


def identifier_words(identifier: Identifier) -> str:
    """ "connectivity-group blue", "ip-address 10.1.1.1", "identity bob (username)"."""
    if identifier == CATALOGUE:
        return "vpn-catalogue"
    if found := read_identifier(identifier):
        more = [f"at {found.interface}"] if found.interface else []
        more += [f"by {found.domain}"] if found.domain else []
        return " ".join([found.type, found.name, *more])
    domain = f" in {identifier.domain}" if identifier.domain else ""
    if identifier.kind is not IdentifierKind.IDENTITY:
        return f"{identifier.kind} {identifier.name}{domain}"
    if identifier.definition == "extended":
        return f"identity {unescape(identifier.name, {'&quot;': chr(34), '&apos;': chr(39)})}"
    kind = f"{identifier.type}:{identifier.definition}" if identifier.definition else identifier.type
    return f"identity {identifier.name} ({kind}){domain}"


def edge_words(edge: Edge) -> Item:
    """Both ends in words; the second is "" of an identifier's own metadata."""
    return Item(identifier_words(edge.first), identifier_words(edge.second) if edge.second is not None else "")


def name_words(name: MetadataName) -> str:
    """ "vpn:binding", or "{namespace}name" where no prefix is known."""
    if not name.namespace:
        return name.local
    prefix = _BY_NAMESPACE.get(name.namespace)
    return f"{prefix}:{name.local}" if prefix else f"{{{name.namespace}}}{name.local}"


def content_words(xml: bytes) -> str:
    """What a metadatum says beside its name: attributes and inner XML, on one line; "" for nothing."""
    text = xml.decode(errors="replace")
    match = _START_TAG.match(text)
    if match is None:
        return text
    attributes = _OPERATIONAL.sub("", match[0]).rstrip("/>").partition(" ")[2].strip()
    inner = "" if match[0].endswith("/>") else text[match.end() : text.rfind("</")]
    return " ".join(filter(None, (attributes, " ".join(inner.split()))))


def identifier_document(identifier: Identifier) -> dict[str, object]:
    """As JSON; `schema` is there for identifiers of the VPN schema."""
    document: dict[str, object] = {"kind": str(identifier.kind), "name": identifier.name}
    for key, value in (
        ("type", identifier.type),
        ("other_type_definition", identifier.definition),
        ("administrative_domain", identifier.domain),
    ):
        if value:
            document[key] = value
    if found := read_identifier(identifier):
        schema = {"type": str(found.type), "name": found.name, "interface": found.interface, "domain": found.domain}
        document["schema"] = {key: value for key, value in schema.items() if value}
    elif identifier == CATALOGUE:
        document["schema"] = {"type": "vpn-catalogue"}
    return document


def edge_document(edge: Edge) -> list[dict[str, object]]:
    """The one or two identifiers of an edge."""
    return [identifier_document(end) for end in edge if end is not None]


def metadata_document(metadata: Shown) -> dict[str, object]:
    """As JSON."""
    return {
        "name": metadata.name.local,
        "namespace": metadata.name.namespace,
        "cardinality": "singleValue" if metadata.single else "multiValue",
        "publisher": metadata.publisher,
        "timestamp": metadata.timestamp,
        "xml": metadata.xml.decode(errors="replace"),
    }
