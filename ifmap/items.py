"""Result items as bytes: what searches, subscriptions and size limits are made of. No I/O."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from ifmap.values import Edge, Identifier, IdentifierKind, Metadata
from ifmap.xml import escape

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
        parts += [b"<metadata>", *elements, b"</metadata>"]
    parts.append(b"</resultItem>")
    return b"".join(parts)


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
