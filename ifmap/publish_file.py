"""A document to publish: real IF-MAP (a SOAP envelope, or the publish element alone), or shorthand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ifmap import filters, metadata, shorthand
from ifmap.errors import IfmapError
from ifmap.identifiers import Identifiers
from ifmap.mending import mend
from ifmap.namespaces import BASE, split
from ifmap.shorthand import ShorthandError
from ifmap.values import Delete, Filter, Lifetime, Notify, PublishOperation, Update, link, node
from ifmap.xml import Element, Raw, parse

_MAX_METADATA = 64 << 20
"""Bytes of one metadatum; what is too much is for the server to say."""
_RAW = frozenset({"metadata", f"{BASE}}}metadata"})


class DocumentError(ValueError):
    """A document can't be published; one line that says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """operations: what to publish. shorthand: the document is none of IF-MAP. mended: what was put back, in words."""

    operations: tuple[PublishOperation, ...]
    shorthand: bool = False
    mended: tuple[str, ...] = ()


def read_document(body: bytes, default: Lifetime = Lifetime.FOREVER) -> Document:
    """What a document says; its session id, if any, means nothing. Raises DocumentError.

    default: lifetime of updates that say none. A document that isn't well-formed is mended, if it is from print.
    """
    try:
        return _read(body, default, ())
    except IfmapError as error:
        try:
            mended = mend(body.decode())
            return _read(mended.text.encode(), default, mended.done) if mended.done else _refuse(error)
        except (UnicodeDecodeError, IfmapError, DocumentError):
            # The original's fault says more than that of a guess.
            return _refuse(error)


def _refuse(error: IfmapError) -> Document:
    raise DocumentError(str(error)) from None


def _read(body: bytes, default: Lifetime, mended: tuple[str, ...]) -> Document:
    publish = shorthand.find_publish(parse(body))
    if publish is None:
        raise DocumentError("there is no publish in it: publish, or a SOAP envelope with one, is expected")
    if shorthand.is_shorthand(publish):
        try:
            return Document(shorthand.read(publish, default).operations, True, mended)
        except ShorthandError as error:
            raise DocumentError(str(error)) from None
    if mended:
        raise DocumentError("not well-formed")
    exact = shorthand.find_publish(parse(body, raw=_RAW))
    assert exact is not None, "the same document"
    operations = tuple(_operation(element, default) for element in exact.children)
    if not operations:
        raise DocumentError("there is no operation in it")
    return Document(operations)


def _operation(element: Element, default: Lifetime) -> PublishOperation:
    namespace, kind = split(element.name)
    if namespace not in ("", BASE) or kind not in ("update", "notify", "delete"):
        raise DocumentError(f"{kind} is no operation of publish")
    containers = [child for child in element.children if split(child.name)[1] == "metadata"]
    identifiers = [_IDENTIFIERS.read(child) for child in element.children if child not in containers]
    if not 1 <= len(identifiers) <= 2:
        raise DocumentError(f"{kind} has {len(identifiers) or 'no'} identifiers: it takes one or two")
    edge = node(identifiers[0]) if len(identifiers) == 1 else link(*identifiers)
    if kind == "delete":
        return Delete(edge, _filter(element))
    found = tuple(metadata.from_raw(raw, _MAX_METADATA) for raw in _raw(containers))
    if not found:
        raise DocumentError(f"{kind} has no metadata")
    if kind == "notify":
        return Notify(edge, found)
    lifetime = element.attributes.get("lifetime", default)
    if lifetime not in tuple(Lifetime):
        raise DocumentError(f"lifetime is {lifetime!r}, not session or forever")
    return Update(edge, found, Lifetime(lifetime))


_IDENTIFIERS = Identifiers(strict=False, lenient=True)


def _filter(element: Element) -> Filter | None:
    text = element.attributes.get("filter")
    return None if text is None else filters.compile(text, element.scope.prefixes)


def _raw(containers: list[Element]) -> Iterator[Raw]:
    for container in containers:
        yield from container.children
