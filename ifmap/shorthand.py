"""Shorthand documents: publishes as draft-marques-l3vpn-schema-00 and the presentation before it print them.

They aren't IF-MAP: operations in another namespace, the schema's identifiers right inside of an operation, metadata of
a link said of one of its ends, no cardinality, `attachement` for attachment. `read` makes of one the operations that it
means (docs/design/map-schema.md, "The draft's defects"). Names are taken in any namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ifmap import filters, l3vpn
from ifmap.errors import IfmapError
from ifmap.l3vpn import CATALOGUE, NAMESPACES, Direction, IdentifierType, SchemaError, read_identifier, read_target
from ifmap.namespaces import BASE, split
from ifmap.values import (
    Delete,
    Edge,
    Filter,
    Identifier,
    IdentifierKind,
    Lifetime,
    NewMetadata,
    Notify,
    PublishOperation,
    Update,
    link,
    node,
)
from ifmap.xml import Element
from vpn.prefix import Prefix, PrefixError

_PAIRS: dict[str, tuple[str, str]] = {
    "binding": (IdentifierType.CUSTOMER_ATTACHMENT, IdentifierType.CONNECTIVITY_GROUP),
    "group-target": (IdentifierType.CONNECTIVITY_GROUP, IdentifierType.ROUTE_TARGET),
    "connection": (IdentifierType.CONNECTIVITY_GROUP, IdentifierType.CONNECTIVITY_GROUP),
    "attachment-info": (IdentifierType.CUSTOMER_ATTACHMENT, IdentifierType.PROVIDER_ATTACHMENT),
    "attachment-state": (IdentifierType.CUSTOMER_ATTACHMENT, IdentifierType.PROVIDER_ATTACHMENT),
    "attachment-address": (IdentifierType.CUSTOMER_ATTACHMENT, IdentifierKind.IP_ADDRESS),
}
"""What the ends are of the link that a metadatum belongs to."""
_METADATA = frozenset({*_PAIRS, "group-ce-protocol"})
_PROTOCOLS = {"bgp": "autonomous-system", "ospf": "area"}
_ALIASES: dict[str, str] = {
    "table-name": IdentifierType.CONNECTIVITY_GROUP,
    "provider-edge": IdentifierType.PROVIDER_ATTACHMENT,
    "address": IdentifierKind.IP_ADDRESS,
}
"""What identifiers are called inside of metadata."""
_NAMING: dict[str, tuple[str, ...]] = {
    IdentifierType.CONNECTIVITY_GROUP: ("name", "id"),
    IdentifierType.ROUTE_TARGET: ("value", "id", "name"),
    IdentifierType.CUSTOMER_ATTACHMENT: ("uuid", "id", "name"),
    IdentifierType.PROVIDER_ATTACHMENT: ("id", "uuid"),
    IdentifierKind.IP_ADDRESS: ("value",),
}
"""Identifiers that mean something here, with the attributes or children that may hold their name."""


class ShorthandError(ValueError):
    """A document says something that has no meaning in the schema; one line."""


@dataclass(frozen=True, slots=True)
class Shorthand:
    """operations: what the document means, in its order, then the listing of its groups, the mark of the map. groups:
    their names."""

    operations: tuple[PublishOperation, ...]
    groups: tuple[str, ...]


def find_publish(root: Element) -> Element | None:
    """The publish element of a document: it itself, or in a SOAP envelope; in whatever namespace."""
    if _name(root) == "publish":
        return root
    if _name(root) == "Envelope":
        bodies = [child for child in _elements(root) if _name(child) == "Body"]
        return next((found for body in bodies for found in _elements(body) if _name(found) == "publish"), None)
    return None


def is_shorthand(publish: Element) -> bool:
    """Whether a publish is one that no IF-MAP server would take, but means something here."""
    if split(publish.name)[0] != BASE:
        return True
    schema = frozenset(IdentifierType)
    return any(_name(child) in schema for operation in _elements(publish) for child in _elements(operation))


def read(publish: Element, default: Lifetime = Lifetime.FOREVER) -> Shorthand:
    """What a shorthand publish means; raises ShorthandError.

    default: lifetime of an update that says none, as those in print do.
    """
    operations: list[PublishOperation] = []
    groups: dict[str, None] = {}
    for element in _elements(publish):
        try:
            made = list(_operation(element, default))
        except (SchemaError, PrefixError, IfmapError) as error:
            raise ShorthandError(f"{_name(element)}: {error}") from None
        operations += made
        groups.update(dict.fromkeys(_groups(made)))
    if not operations:
        raise ShorthandError("there is nothing in it to publish")
    for name in groups:
        edge = link(CATALOGUE, l3vpn.connectivity_group(name))
        operations.append(Update(edge, (l3vpn.listed(),), Lifetime.FOREVER))
    if groups:
        operations.append(Update(node(CATALOGUE), (l3vpn.provisioned(),), Lifetime.FOREVER))
    return Shorthand(tuple(operations), tuple(groups))


def _operation(element: Element, default: Lifetime) -> Iterator[PublishOperation]:
    kind = _name(element)
    if kind not in ("update", "notify", "delete"):
        raise ShorthandError(f"{kind} is no operation of publish")
    identifiers: list[Identifier] = []
    metadata: list[Element] = []
    for child in _unwrapped(element):
        if _name(child) == "metadata":
            metadata += _elements(child)
        elif _name(child) in _NAMING:
            identifiers.append(_identifier(child, _name(child)))
        else:
            raise ShorthandError(f"{_name(child)} is no identifier of the VPN schema")
    if not 1 <= len(identifiers) <= 2:
        raise ShorthandError(f"{kind} has {len(identifiers) or 'no'} identifiers: it takes one or two")
    here = node(identifiers[0]) if len(identifiers) == 1 else link(*identifiers)
    if kind == "delete" and not metadata:
        yield Delete(here, _filter(element))
        return
    if not metadata:
        raise ShorthandError(f"{kind} has no metadata")
    lifetime = _lifetime(element, default)
    for found in metadata:
        for edge, new in _facts(here, found):
            if kind == "update":
                yield Update(edge, (new,), lifetime)
            elif kind == "notify":
                yield Notify(edge, (new,))
            else:
                yield Delete(edge, filters.compile(f"vpn:{new.name.local}", NAMESPACES))


def _unwrapped(element: Element) -> Iterator[Element]:
    """Children, also those in a link or identifier, which IF-MAP 1 put around them."""
    for child in _elements(element):
        if _name(child) in ("link", "identifier"):
            yield from _unwrapped(child)
        else:
            yield child


def _lifetime(element: Element, default: Lifetime) -> Lifetime:
    given = element.attributes.get("lifetime")
    try:
        return default if given is None else Lifetime(given)
    except ValueError:
        raise ShorthandError(f"lifetime is {given!r}, not session or forever") from None


def _filter(element: Element) -> Filter | None:
    """The filter of a delete: a list of names, whose prefixes stand for the schema, whatever they are bound to."""
    text = element.attributes.get("filter")
    if text is None:
        return None
    names = [_spelling(name.strip().rpartition(":")[2]) for name in text.split(" or ")] if text.strip() else []
    if not _METADATA.issuperset(names):
        raise ShorthandError(f"filter {text!r} is no list of the schema's metadata")
    return filters.compile(" or ".join(f"vpn:{name}" for name in names), NAMESPACES)


def _groups(operations: Iterable[PublishOperation]) -> Iterator[str]:
    for operation in operations:
        ends = [read_identifier(end) for end in operation.edge if end is not None]
        if isinstance(operation, Update):
            yield from (end.name for end in ends if end and end.type is IdentifierType.CONNECTIVITY_GROUP)


# -- identifiers


def _identifier(element: Element, kind: str) -> Identifier:
    """An identifier, as an element of its own or inside of metadata."""
    value = _value(element, _NAMING[kind])
    match kind:
        case IdentifierType.CONNECTIVITY_GROUP:
            return l3vpn.connectivity_group(value)
        case IdentifierType.ROUTE_TARGET:
            return l3vpn.route_target(read_target(value))
        case IdentifierType.CUSTOMER_ATTACHMENT:
            return l3vpn.customer_attachment(value)
        case IdentifierType.PROVIDER_ATTACHMENT:
            domain = element.attributes.get("administrative-domain", "")
            return l3vpn.provider_attachment(value, element.attributes.get("interface", ""), domain)
        case _:
            return l3vpn.ip_address(Prefix.parse(value).packed)


def _value(element: Element, names: tuple[str, ...]) -> str:
    """The first of those attributes that is there, else the text."""
    for name in names:
        if value := element.attributes.get(name, "").strip():
            return value
    if value := _text(element):
        return value
    raise ShorthandError(f"{_name(element)} has no {names[0]}")


def _type(identifier: Identifier) -> str:
    found = read_identifier(identifier)
    return str(found.type if found is not None else identifier.kind)


# -- metadata


def _facts(here: Edge, element: Element) -> Iterator[tuple[Edge, NewMetadata]]:
    """Where a metadatum goes: where it is said, or to the links with the identifiers that are named inside of it."""
    kind = _name(element)
    if kind not in _METADATA:
        raise ShorthandError(f"{kind} is no metadata of the VPN schema")
    if kind == "group-ce-protocol":
        if here.second is not None or _type(here.first) != IdentifierType.CONNECTIVITY_GROUP:
            raise ShorthandError(f"{kind} belongs on a connectivity-group")
        yield here, _content(element, kind)
        return
    inside = [child for child in _elements(element) if _ALIASES.get(_name(child), _name(child)) in _NAMING]
    if here.second is not None:
        if inside:
            raise ShorthandError(f"{kind} is on a link already, and names a {_name(inside[0])}")
        yield _checked(here, element), _content(element, kind)
        return
    if not inside:
        raise ShorthandError(f"{kind} of {_type(here.first)} doesn't name the other end of its link")
    for child in inside:
        other = _identifier(child, _ALIASES.get(_name(child), _name(child)))
        yield _checked(link(here.first, other), element), _content(element, kind, child)


def _checked(edge: Edge, element: Element) -> Edge:
    ends = [_type(end) for end in edge if end is not None]
    wanted = _PAIRS[_name(element)]
    if sorted(ends) != sorted(wanted):
        raise ShorthandError(f"{_name(element)} belongs between {wanted[0]} and {wanted[1]}, not {' and '.join(ends)}")
    return edge


def _content(element: Element, kind: str, other: Element | None = None) -> NewMetadata:
    """A metadatum with what it says, in our form. other: the child that names the other end."""
    match kind:
        case "binding":
            return l3vpn.binding()
        case "connection":
            return l3vpn.connection()
        case "group-target":
            return l3vpn.group_target(_direction(element))
        case "attachment-state":
            return l3vpn.attachment_state(l3vpn.state("".join(_texts(element, "state")[:1])))
        case "attachment-address":
            return l3vpn.attachment_address(*_lengths(element, other))
        case _:
            return _protocol(element, kind)


def _direction(element: Element) -> Direction:
    given = "".join(_texts(element, "import-export")[:1])
    try:
        return Direction(given) if given else Direction.BOTH
    except ValueError:
        raise ShorthandError(f"import-export is {given!r}, not import, export or both") from None


def _lengths(element: Element, other: Element | None) -> tuple[int, ...]:
    given = _texts(element, "prefix-length")
    if other is not None and not given:
        _, _, length = _value(other, _NAMING[IdentifierKind.IP_ADDRESS]).partition("/")
        given = [length] if length else []
    if not all(text.isascii() and text.isdigit() and int(text) <= 128 for text in given):
        raise ShorthandError("prefix-length is no number of bits")
    return tuple(map(int, given))


def _protocol(element: Element, kind: str) -> NewMetadata:
    """attachment-info or group-ce-protocol. The draft's example of attachment-info is empty: then without routes."""
    for child in _elements(element):
        if (name := _name(child)) in _PROTOCOLS:
            value = "".join(_texts(child, _PROTOCOLS[name])[:1]) or _text(child)
            if kind == "attachment-info":
                return l3vpn.attachment_protocol(name, _PROTOCOLS[name], value)
            return l3vpn.group_ce_protocol(name, _PROTOCOLS[name], value)
    if kind == "attachment-info":
        static = [child for child in _elements(element) if _name(child) == "static"]
        return l3vpn.attachment_info(Prefix.parse(text) for child in static for text in _texts(child, "route"))
    raise ShorthandError(f"{kind} holds neither bgp nor ospf")


# -- elements


def _elements(element: Element) -> list[Element]:
    return element.children


def _name(element: Element) -> str:
    return _spelling(split(element.name)[1])


def _spelling(name: str) -> str:
    """A name as the draft has it; the presentation has "attachement"."""
    return name.replace("attachement", "attachment")


def _text(element: Element) -> str:
    return element.text.strip()


def _texts(element: Element, name: str) -> list[str]:
    """Of the children of that name."""
    return [_text(child) for child in _elements(element) if _name(child) == name]
