"""Metadata of IF-MAP: checked, stamped by the server, made and read back by clients. No I/O. (IF-MAP 2.2, 3.3.3, 3.4)

An element is kept as its publisher wrote it, byte by byte, but for its start tag: namespace declarations that stood
further out and may be needed are added, operational attributes (ifmap-*) are the server's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple, NoReturn

from ifmap.errors import ErrorCode, IfmapError
from ifmap.namespaces import STANDARD_METADATA, split
from ifmap.values import Metadata, MetadataName, NewMetadata
from ifmap.xml import MIB, Element, Limits, Raw, Scope, cut, declaration, escape, is_name, is_uri
from ifmap.xml import parse as parse_xml

CARDINALITY = "ifmap-cardinality"
MAX_BYTES = MIB
"""Size of one metadatum, unless a caller says otherwise."""

STANDARD: Mapping[MetadataName, bool] = {
    MetadataName(STANDARD_METADATA, local): single
    for single, locals_ in (
        (
            True,
            "access-request-device access-request-ip access-request-mac authenticated-as authenticated-by device-ip "
            "discovered-by wlan-information",
        ),
        (
            False,
            "capability device-attribute device-characteristic enforcement-report event ip-mac layer2-information "
            "location request-for-investigation role unexpected-behavior",
        ),
    )
    for local in locals_.split()
}
"""Standard metadata: whether it is singleValue."""

_SINGLE = {"singleValue": True, "multiValue": False}
_CACHED = 2048
_CACHED_LENGTH = 512
_TAG_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")


# -- reading a publish


def from_raw(raw: Raw, max_bytes: int = MAX_BYTES) -> NewMetadata:
    """A metadatum from a publish. Raises IfmapError (InvalidMetadata, MetadataTooLong)."""
    name, _, xml, end, scope, declared = raw
    size = len(xml)
    if size > max_bytes:
        raise IfmapError(ErrorCode.METADATA_TOO_LONG, f"metadata of {size} bytes; {max_bytes} are allowed")
    # Metadata of links is often the same many times over.
    return (_cached_cut if size <= _CACHED_LENGTH else _cut)(name, xml, end, scope, declared)


def _cut(name: str, xml: bytes, end: int, scope: Scope, declared: frozenset[str]) -> NewMetadata:
    tag = (_cached_tag if end <= _CACHED_LENGTH else _tag)(name, xml[:end])
    outer = scope.declarations(xml, declared) if scope.prefixes else b""
    return NewMetadata(tag.name, tag.single, tag.head, b"".join((outer, tag.rest, xml[end:])))


_cached_cut = functools.lru_cache(_CACHED)(_cut)


class _Tag(NamedTuple):
    """A start tag. head: "<" and the name; rest: all behind it but the attributes that are the server's."""

    name: MetadataName
    single: bool
    head: bytes
    rest: bytes


def _tag(name: str, text: bytes) -> _Tag:
    key = MetadataName(*split(name))
    begin = _TAG_NAME.match(text)
    assert begin is not None, "a start tag begins with a name"
    cardinality = ""
    declared, kept = [], []
    for attribute, value in _ATTRIBUTE.findall(text, begin.end()):
        if attribute == b"ifmap-cardinality":
            cardinality = value[1:-1].decode()
        elif attribute.startswith(b"xmlns"):
            declared += [b" ", attribute, b"=", value]
        elif not attribute.startswith(b"ifmap-"):
            kept += [b" ", attribute, b"=", value]
    single = _SINGLE.get(cardinality)
    if single is None:
        _invalid(f"{key.local} with {CARDINALITY} {cardinality[:100]!r}, not singleValue or multiValue")
    if STANDARD.get(key, single) != single:
        _invalid(f"{key.local} is {'multiValue' if single else 'singleValue'} by the standard")
    ending = b"/>" if text.endswith(b"/>") else b">"
    rest = b"".join((*declared, f' {CARDINALITY}="{cardinality}"'.encode(), *kept, ending))
    return _Tag(key, single, begin[0], rest)


_cached_tag = functools.lru_cache(_CACHED)(_tag)


# -- stamping


def timestamp(seconds: float) -> str:
    """xsd:dateTime of an ifmap-timestamp in UTC from seconds since 1970: "2026-01-05T10:11:12+00:00"."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def stamped(new: NewMetadata, publisher_id: str, time: str) -> bytes:
    """The element as the server keeps it. time: what `timestamp` gives."""
    return b"".join((new.head, _stamp(publisher_id, time), new.tail))


@functools.lru_cache(256)
def _stamp(publisher_id: str, time: str) -> bytes:
    return f' ifmap-publisher-id="{escape(publisher_id)}" ifmap-timestamp="{escape(time)}"'.encode()


# -- making it (clients)

Node = tuple[str, "str | Iterable[Node]"]
"""A child element to write: its local name, and its text or children."""


def build(
    name: MetadataName,
    single: bool,
    content: str | Iterable[Node] = (),
    attributes: Mapping[str, str] | None = None,
    prefix: str = "x",
) -> NewMetadata:
    """A metadatum made by a client; everything is escaped.

    content: text, or children, which are in no namespace: each a local name with its text or children. attributes: in
    no namespace. Raises IfmapError (InvalidMetadata) for names that XML doesn't know and for ifmap-* attributes.
    """
    if not (is_name(name.local) and is_name(prefix)) or not is_uri(name.namespace):
        _invalid(f"{name.local!r} in {name.namespace!r} is not the name of an element")
    tag = f"{prefix}:{name.local}" if name.namespace else name.local
    text = declaration(prefix, name.namespace).decode() if name.namespace else ""
    text += f' {CARDINALITY}="{"singleValue" if single else "multiValue"}"'
    for key, value in (attributes or {}).items():
        if not is_name(key) or key.startswith("ifmap-") or key.lower().startswith("xml"):
            _invalid(f"{key!r} is not the name of an attribute of metadata")
        text += f' {key}="{escape(value)}"'
    inner = _written(content)
    tail = f"{text}>{inner}</{tag}>" if inner else f"{text}/>"
    return NewMetadata(name, single, f"<{tag}".encode(), tail.encode())


def _written(content: str | Iterable[Node]) -> str:
    if isinstance(content, str):
        return escape(content)
    parts = []
    for name, inner in content:
        if not is_name(name):
            _invalid(f"{name!r} is not the name of an element")
        text = _written(inner)
        parts.append(f"<{name}>{text}</{name}>" if text else f"<{name}/>")
    return "".join(parts)


def parse(xml: str | bytes) -> NewMetadata:
    """A metadatum from a document that holds its element alone.

    Raises IfmapError: Failure for malformed XML, InvalidMetadata for an element that is no metadatum.
    """
    try:
        body = xml.encode() if isinstance(xml, str) else xml
    except UnicodeEncodeError as error:
        raise IfmapError(ErrorCode.FAILURE, f"text that XML can't carry: {error.reason}") from None
    return from_raw(cut(body))


# -- reading it back (clients)


class Content(NamedTuple):
    """An element of metadata as a client reads it; ifmap-* attributes are left out.

    attributes: by local name, or "uri}local" of those in a namespace. text: without that of children.
    """

    name: MetadataName
    attributes: Mapping[str, str]
    text: str
    children: tuple[Content, ...]

    def child(self, local: str) -> Content | None:
        """The first child of that local name."""
        return next((child for child in self.children if child.name.local == local), None)

    def texts(self, local: str) -> tuple[str, ...]:
        """Text of each child of that local name, without blanks around it."""
        return tuple(child.text.strip() for child in self.children if child.name.local == local)


_CONTENT_LIMITS = Limits(elements=500_000, text=16 * MIB, attributes=100_000)


def content(metadata: Metadata | NewMetadata | bytes) -> Content:
    """What a metadatum says. Raises IfmapError (Failure) for bytes that are no element."""
    if isinstance(metadata, NewMetadata):
        xml = metadata.head + metadata.tail
    else:
        xml = metadata if isinstance(metadata, bytes) else metadata.xml
    return _content(parse_xml(xml, _CONTENT_LIMITS))


def _content(element: Element) -> Content:
    attributes = {name: value for name, value in element.attributes.items() if not name.startswith("ifmap-")}
    children = tuple(_content(child) for child in element.children)
    return Content(MetadataName(*split(element.name)), attributes, element.text, children)


def _invalid(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.INVALID_METADATA, text)
