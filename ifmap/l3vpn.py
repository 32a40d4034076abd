"""The VPN schema over real IF-MAP: identifiers and metadata of draft-marques-l3vpn-schema-00, made and read.

The draft's four identifiers are extended identifiers (IF-MAP 2.1) in canonical XML; its metadata sits on their links.
docs/design/map-schema.md has the graph and what became of the draft's defects. To that comes one identifier of our own:
the catalogue, to which every connectivity group is linked by `listed`, since IF-MAP has no way to ask for all of them.

Builders raise SchemaError for text that XML can't carry. Readers take what other programs may have written, too:
attributes in any order, a prefix, the plain identities of IF-MAP 2.0 (other-type-definition "VENDOR:TYPE").
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from xml.sax.saxutils import escape, unescape

from ifmap.errors import IfmapError
from ifmap.metadata import Content, content
from ifmap.values import Identifier, IdentifierKind, MetadataName, NewMetadata
from vpn.community import CommunityError, RouteTarget
from vpn.prefix import Prefix, PrefixError, format_address, parse_address

NAMESPACE = "http://www.ietf.org/I.D-l3vpn-schema"
"""Of the draft's identifiers and metadata (its Appendix A)."""
OWN_NAMESPACE = "urn:vrfwire:map:1"
"""Of what we had to add."""
NAMESPACES = {"vpn": NAMESPACE, "vrfwire": OWN_NAMESPACE}
"""Prefixes as our filters and metadata use them."""

GROUP_TARGET = MetadataName(NAMESPACE, "group-target")
CONNECTION = MetadataName(NAMESPACE, "connection")
BINDING = MetadataName(NAMESPACE, "binding")
GROUP_CE_PROTOCOL = MetadataName(NAMESPACE, "group-ce-protocol")
ATTACHMENT_INFO = MetadataName(NAMESPACE, "attachment-info")
ATTACHMENT_STATE = MetadataName(NAMESPACE, "attachment-state")
ATTACHMENT_ADDRESS = MetadataName(NAMESPACE, "attachment-address")
LISTED = MetadataName(OWN_NAMESPACE, "listed")
PROVISIONED = MetadataName(OWN_NAMESPACE, "provisioned")
"""On the catalogue itself, from the first change of the provisioning on: a map without groups that has it is meant so,
one that hasn't may have lost what it held."""

PROVISIONING = (LISTED, GROUP_TARGET, CONNECTION, BINDING, ATTACHMENT_ADDRESS)
"""Links that say what should be; lifetime forever."""
OPERATIONAL = (ATTACHMENT_INFO, ATTACHMENT_STATE)
"""Links that say what is; lifetime session."""
CATALOGUE_DEPTH = 3
"""Links from the catalogue to whatever is provisioned: group, attachment or connected group, address or target."""


class SchemaError(ValueError):
    """Something doesn't fit the VPN schema; one line that says why."""


class IdentifierType(enum.StrEnum):
    """Element names of the schema's identifiers."""

    CONNECTIVITY_GROUP = "connectivity-group"
    ROUTE_TARGET = "route-target"
    CUSTOMER_ATTACHMENT = "customer-attachment"
    PROVIDER_ATTACHMENT = "provider-attachment"


class SchemaIdentifier(NamedTuple):
    """One of the schema's identifiers, read.

    name: of a connectivity group; value of a route target; uuid of a customer attachment; id of a provider attachment
    (underlay address of the host). interface: of a provider attachment (name of the host); "" for the others.
    domain: administrative-domain (of a provider attachment: the gateway that says so).
    """

    type: IdentifierType
    name: str
    interface: str = ""
    domain: str = ""


class State(enum.StrEnum):
    """attachment-state."""

    UP = "up"
    DOWN = "down"
    ADMIN_DOWN = "adminDown"


class Direction(enum.StrEnum):
    """import-export of a group-target: what the group does with the route target."""

    IMPORT = "import"
    EXPORT = "export"
    BOTH = "both"

    @property
    def imports(self) -> bool:
        return self is not Direction.EXPORT

    @property
    def exports(self) -> bool:
        return self is not Direction.IMPORT


# -- identifiers


def connectivity_group(name: str) -> Identifier:
    """A VPN: what the gateways make a VRF of."""
    return _extended(IdentifierType.CONNECTIVITY_GROUP, f'name="{_attribute("name of a VPN", name)}"')


def route_target(target: RouteTarget) -> Identifier:
    """A route target."""
    return _extended(IdentifierType.ROUTE_TARGET, f'value="{target}"')


def customer_attachment(uuid: str) -> Identifier:
    """An interface of a virtual machine, by the text that orchestration gave it."""
    return _extended(IdentifierType.CUSTOMER_ATTACHMENT, f'uuid="{_attribute("attachment", uuid)}"')


def provider_attachment(address: str, host: str = "", gateway: str = "") -> Identifier:
    """Where an attachment is: underlay address and name of the host (if known), as one gateway says (or anybody)."""
    where = f'id="{_attribute("address of a host", address)}"'
    if host:
        where += f' interface="{_attribute("name of a host", host)}"'
    return _extended(IdentifierType.PROVIDER_ATTACHMENT, where, gateway)


def ip_address(packed: bytes) -> Identifier:
    """An address in packed form (4 or 16 bytes) as IF-MAP writes it: IPv6 in eight groups, nothing left out."""
    if len(packed) == 4:
        return Identifier(IdentifierKind.IP_ADDRESS, format_address(packed), "IPv4")
    groups = (f"{int.from_bytes(packed[at : at + 2], 'big'):x}" for at in range(0, 16, 2))
    return Identifier(IdentifierKind.IP_ADDRESS, ":".join(groups), "IPv6")


def _extended(local: str, attributes: str = "", domain: str = "", namespace: str = NAMESPACE) -> Identifier:
    """An extended identifier: canonical XML of an element, escaped once (IF-MAP 2.1, reference 5.3)."""
    domain = _attribute("administrative-domain", domain) if domain else ""
    start = f'<{local} xmlns="{namespace}" administrative-domain="{domain}"{attributes and " "}{attributes}>'
    return Identifier(IdentifierKind.IDENTITY, escape(f"{start}</{local}>", _QUOTES), "other", "extended")


_QUOTES = {'"': "&quot;", "'": "&apos;"}
_UNQUOTES = {entity: character for character, entity in _QUOTES.items()}
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# As canonical XML writes attribute values: ">" and "'" stay.
_CANONICAL = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"})


def _attribute(what: str, text: str) -> str:
    if not text:
        raise SchemaError(f"{what} is empty")
    if found := _NOT_XML.search(text):
        raise SchemaError(f"{what} {text!r} has the character U+{ord(found[0]):04X}, which XML can't carry")
    return text.translate(_CANONICAL)


CATALOGUE = _extended("vpn-catalogue", namespace=OWN_NAMESPACE)
"""Start of whoever wants all VPNs."""

_NAME_ATTRIBUTES = {
    IdentifierType.CONNECTIVITY_GROUP: ("name",),
    IdentifierType.ROUTE_TARGET: ("value",),
    IdentifierType.CUSTOMER_ATTACHMENT: ("uuid", "id"),
    IdentifierType.PROVIDER_ATTACHMENT: ("id", "uuid"),
}
_ELEMENT = re.compile(
    r"""\s*<(?:(?P<prefix>[\w.-]+):)?(?P<local>[\w.-]+)(?P<attributes>(?:\s+[\w:.-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*"""
    r"""(?:/>|>\s*</(?:[\w.-]+:)?[\w.-]+\s*>)\s*"""
)
_ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')""")
_REFERENCE = re.compile(r"&(?:#(?:x([0-9a-fA-F]{1,6})|([0-9]{1,7}))|(amp|lt|gt|quot|apos));")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}


def _canonical_heads() -> dict[str, tuple[str, str, IdentifierType]]:
    """What comes before and behind the name in the canonical form, by the first letters of the element's name."""
    found: dict[str, tuple[str, str, IdentifierType]] = {}
    for kind, (attribute, *_) in _NAME_ATTRIBUTES.items():
        if kind is not IdentifierType.PROVIDER_ATTACHMENT:
            head, _, tail = _extended(kind, f'{attribute}="\0"').name.partition("\0")
            found[head[_LETTERS]] = (head, tail, kind)
    return found


_LETTERS = slice(4, 8)
"""Behind "&lt;"."""
_HEADS = _canonical_heads()


def read_identifier(identifier: Identifier) -> SchemaIdentifier | None:
    """What an identifier is in the schema; None when it is none of the schema's, or not readable as one."""
    if identifier.kind is not IdentifierKind.IDENTITY or identifier.type != "other":
        return None
    if identifier.definition != "extended":
        _, _, local = identifier.definition.rpartition(":")
        if local not in _NAME_ATTRIBUTES or not identifier.name:
            return None
        return SchemaIdentifier(IdentifierType(local), identifier.name, domain=identifier.domain)
    name = identifier.name
    # The form that we write, as long as nothing in the name is escaped: there are many of them in a large map.
    if usual := _HEADS.get(name[_LETTERS]):
        head, tail, kind = usual
        if name.startswith(head) and name.endswith(tail):
            inner = name[len(head) : -len(tail)]
            if inner and "&" not in inner:
                return SchemaIdentifier(kind, inner)
    return _read_element(unescape(name, _UNQUOTES))


@functools.lru_cache(4096)
def _read_element(text: str) -> SchemaIdentifier | None:
    match = _ELEMENT.fullmatch(text)
    if match is None or match["local"] not in _NAME_ATTRIBUTES:
        return None
    attributes = {
        name: _dereference(double or single) for name, double, single in _ATTRIBUTE.findall(match["attributes"])
    }
    if attributes.get(f"xmlns:{match['prefix']}" if match["prefix"] else "xmlns") != NAMESPACE:
        return None
    kind = IdentifierType(match["local"])
    name = next((attributes[known] for known in _NAME_ATTRIBUTES[kind] if attributes.get(known)), "")
    if not name:
        return None
    interface = attributes.get("interface", "") if kind is IdentifierType.PROVIDER_ATTACHMENT else ""
    return SchemaIdentifier(kind, name, interface, attributes.get("administrative-domain", ""))


def read_target(text: str) -> RouteTarget:
    """A route target as programs write it; raises SchemaError.

    "64512:1" and its like, the draft's "1:0.0.0.1" (a four-octet number written as an address), and OpenContrail's
    "target:64512:1".
    """
    given = text.removeprefix("target:")
    if dotted := re.fullmatch(r"(\d+L?):(\d+\.\d+\.\d+\.\d+)", given, re.ASCII):
        try:
            given = f"{dotted[1]}:{int.from_bytes(parse_address(dotted[2]), 'big')}"
        except PrefixError as error:
            raise SchemaError(f"{text!r} is not a route target: {error}") from None
    try:
        return RouteTarget.parse(given)
    except CommunityError as error:
        raise SchemaError(str(error)) from None


def _dereference(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[3]:
            return _ENTITIES[match[3]]
        code = int(match[1], 16) if match[1] else int(match[2])
        return chr(code) if code < 0x110000 else "\ufffd"

    return _REFERENCE.sub(character, text) if "&" in text else text


# -- metadata


def listed() -> NewMetadata:
    """On the link catalogue - connectivity group: the group is to be found."""
    return _metadata(LISTED)


def provisioned() -> NewMetadata:
    """On the catalogue: VPNs are provisioned in this map."""
    return _metadata(PROVISIONED)


def group_target(direction: Direction = Direction.BOTH) -> NewMetadata:
    """On the link connectivity group - route target."""
    inner = "" if direction is Direction.BOTH else f"<import-export>{direction}</import-export>"
    return _metadata(GROUP_TARGET, inner)


def connection() -> NewMetadata:
    """On the link of two connectivity groups: each imports what the other exports."""
    return _metadata(CONNECTION)


def binding() -> NewMetadata:
    """On the link customer attachment - connectivity group: the attachment belongs to the VPN."""
    return _metadata(BINDING)


def attachment_address(*lengths: int) -> NewMetadata:
    """On the link customer attachment - ip-address: an address of the attachment.

    lengths: of the prefixes at that address, in bits; none for the address alone.
    """
    return _metadata(ATTACHMENT_ADDRESS, "".join(f"<prefix-length>{length}</prefix-length>" for length in lengths))


def attachment_info(routes: Iterable[Prefix]) -> NewMetadata:
    """On the link customer attachment - provider attachment: the static routes to it."""
    return _metadata(ATTACHMENT_INFO, "<static>" + "".join(f"<route>{route}</route>" for route in routes) + "</static>")


def attachment_protocol(protocol: str, parameter: str, value: str) -> NewMetadata:
    """attachment-info by a routing protocol: "bgp" with "autonomous-system", "ospf" with "area"."""
    return _metadata(ATTACHMENT_INFO, _protocol(protocol, parameter, value))


def group_ce_protocol(protocol: str, parameter: str, value: str) -> NewMetadata:
    """On a connectivity group: the routing protocol of its attachments, as in attachment_protocol."""
    return _metadata(GROUP_CE_PROTOCOL, _protocol(protocol, parameter, value))


def _protocol(protocol: str, parameter: str, value: str) -> str:
    return f"<{protocol}><{parameter}>{escape(value)}</{parameter}></{protocol}>"


def attachment_state(what: State) -> NewMetadata:
    """On the link customer attachment - provider attachment."""
    return _metadata(ATTACHMENT_STATE, f"<state>{what}</state>")


@functools.lru_cache(64)
def _metadata(name: MetadataName, inner: str = "") -> NewMetadata:
    prefix = next(prefix for prefix, namespace in NAMESPACES.items() if namespace == name.namespace)
    tag = f"{prefix}:{name.local}"
    tail = f' xmlns:{prefix}="{name.namespace}" ifmap-cardinality="singleValue"' + (
        f">{inner}</{tag}>" if inner else "/>"
    )
    return NewMetadata(name, True, f"<{tag}".encode(), tail.encode())


# -- reading metadata back. xml: the element in UTF-8, as a server stores it.


def read_direction(xml: bytes) -> Direction:
    """import-export of a group-target; raises SchemaError."""
    if b"import-export" not in xml:
        return Direction.BOTH
    text = _child(xml, "import-export")
    # OpenContrail's successor of the schema writes an empty element for both.
    if not text:
        return Direction.BOTH
    try:
        return Direction(text)
    except ValueError:
        raise SchemaError(f"import-export is {text!r}, not one of import, export, both") from None


def read_prefixes(address: Identifier, xml: bytes) -> tuple[Prefix, ...]:
    """What an attachment-address on a link to that address says; raises SchemaError."""
    try:
        packed = parse_address(address.name)
        if b"prefix-length" not in xml:
            return (Prefix(packed, len(packed) * 8),)
        lengths = _children(xml, "prefix-length")
        return tuple(Prefix.parse(f"{format_address(packed)}/{length}") for length in lengths)
    except PrefixError as error:
        raise SchemaError(str(error)) from None


def read_state(xml: bytes) -> State:
    """state of an attachment-state; raises SchemaError."""
    return state(_child(xml, "state"))


def state(text: str) -> State:
    """A state as programs write it, in whatever case; raises SchemaError."""
    for known in State:
        if known.lower() == text.lower():
            return known
    raise SchemaError(f"state is {text!r}, not one of {', '.join(State)}")


def read_routes(xml: bytes) -> tuple[Prefix, ...]:
    """The static routes of an attachment-info, none when it is of another kind; raises SchemaError."""
    if b"route" not in xml:
        return ()
    try:
        return tuple(Prefix.parse(text) for text in _children(xml, "route"))
    except PrefixError as error:
        raise SchemaError(f"route: {error}") from None


def read_ce_protocol(xml: bytes) -> str:
    """A group-ce-protocol in words: "bgp 64512", "ospf 0"; raises SchemaError."""
    for child in _parse(xml).children:
        if child.name.local in ("bgp", "ospf"):
            return " ".join([child.name.local, *(inner.text.strip() for inner in child.children)])
    raise SchemaError("neither bgp nor ospf")


def _parse(xml: bytes) -> Content:
    try:
        return content(xml)
    except IfmapError as error:
        raise SchemaError(f"unreadable metadata: {error}") from None


def _children(xml: bytes, local: str) -> list[str]:
    """Texts of the elements of that name, wherever they are in the metadatum, in whatever namespace."""
    return [found.text.strip() for found in _descendants(_parse(xml)) if found.name.local == local]


def _descendants(element: Content) -> Iterator[Content]:
    for child in element.children:
        yield child
        yield from _descendants(child)


def _child(xml: bytes, local: str) -> str:
    found = _children(xml, local)
    if len(found) != 1:
        raise SchemaError(f"{local} {'is missing' if not found else 'is there more than once'}")
    return found[0]
