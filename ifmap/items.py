"""Result items as bytes: what searches, subscriptions and size limits are made of. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ifmap.values import Edge, Identifier, IdentifierKind, Metadata
from ifmap.xml import escape

_OPEN = b"<metadata>"
_CLOSE = b"</metadata></resultItem>"
_CACHED = 32_768
_CACHED_LENGTH = 1024


def identifier_xml(identifier: Identifier) -> bytes:
    """The identifier's element in UTF-8: unqualified, double quotes. Raises IfmapError for what XML can't carry."""
    if len(identifier.name) + len(identifier.domain) + len(identifier.definition) > _CACHED_LENGTH:
        return _write(identifier)
    return _cached(identifier)


def item_xml(edge: Edge, metadata: Iterable[Metadata]) -> bytes:
    """A resultItem with this metadata, maybe none, in UTF-8."""
    first, second = edge
    parts = [b"<resultItem>", identifier_xml(first)]
    if second is not None:
        parts.append(identifier_xml(second))
    elements = [each.xml for each in metadata]
    if elements:
        parts += [_OPEN, *elements, _CLOSE]
    else:
        parts.append(b"</resultItem>")
    return b"".join(parts)


def one_each(items: Iterable[bytes]) -> list[bytes]:
    """One resultItem for each identifier or link, with all its metadata in order. items: what item_xml gave for edges
    with metadata, in order; those that are alone come back as they are."""
    by_edge: dict[bytes, list[bytes]] = {}
    for item in items:
        # Identifiers are escaped: the first such tag is that of the item's own metadata.
        by_edge.setdefault(item[: item.index(_OPEN)], []).append(item)
    return [mine[0] if len(mine) == 1 else _together(edge, mine) for edge, mine in by_edge.items()]


def _together(edge: bytes, items: list[bytes]) -> bytes:
    start = len(edge) + len(_OPEN)
    return b"".join((edge, _OPEN, *[item[start : -len(_CLOSE)] for item in items], _CLOSE))


def _write(identifier: Identifier) -> bytes:
    kind, name, type_, definition, domain = identifier
    if kind is IdentifierKind.DEVICE:
        return f"<device><name>{escape(name)}</name></device>".encode()
    key = "value" if kind in (IdentifierKind.IP_ADDRESS, IdentifierKind.MAC_ADDRESS) else "name"
    text = f'<{kind.value} {key}="{escape(name)}"'
    if type_:
        text += f' type="{escape(type_)}"'
    if definition:
        text += f' other-type-definition="{escape(definition)}"'
    if domain:
        text += f' administrative-domain="{escape(domain)}"'
    return f"{text}/>".encode()


_cached = functools.lru_cache(_CACHED)(_write)
