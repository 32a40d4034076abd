"""Requests of IF-MAP as a client sends them. No I/O.

Inner elements are unqualified, and the namespaces that a filter uses are declared on the element that carries it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import CompiledFilter, of_names
from ifmap.items import identifier_xml
from ifmap.namespaces import BASE, SOAP
from ifmap.values import (
    Delete,
    Edge,
    EndSession,
    Filter,
    Lifetime,
    NewMetadata,
    NewSession,
    Notify,
    Poll,
    Publish,
    PublishOperation,
    PurgePublisher,
    RenewSession,
    Request,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Unsubscription,
    Update,
)
from ifmap.xml import declaration, escape

_HEAD = f'<?xml version="1.0" encoding="UTF-8"?>\n<s:Envelope xmlns:s="{SOAP}"><s:Body>'.encode()
_TAIL = b"</s:Body></s:Envelope>\n"


def write_request(request: Request) -> bytes:
    """The HTTP body. Raises IfmapError (Failure) for what XML can't carry or a filter that has no text."""
    match request:
        case NewSession(size):
            return _operation("newSession", {} if size is None else {"max-poll-result-size": str(size)})
        case RenewSession(session_id):
            return _operation("renewSession", _session(session_id))
        case EndSession(session_id):
            return _operation("endSession", _session(session_id))
        case Poll(session_id):
            return _operation("poll", _session(session_id))
        case PurgePublisher(session_id, publisher_id):
            return _operation("purgePublisher", _session(session_id) | {"ifmap-publisher-id": publisher_id})
        case Publish(session_id, operations):
            return _operation("publish", _session(session_id), map(_publish_operation, operations))
        case Search(session_id, spec):
            attributes, namespaces = _search_attributes(spec)
            inner = (identifier_xml(spec.start),)
            return _operation("search", _session(session_id) | attributes, inner, namespaces)
        case Subscribe(session_id, changes):
            return _operation("subscribe", _session(session_id), map(_subscribe_operation, changes))


def _operation(
    name: str,
    attributes: Mapping[str, str],
    inner: Iterable[bytes] = (),
    namespaces: Mapping[str, str] | None = None,
) -> bytes:
    declared = dict(namespaces or {})
    # The operation's own prefix must not be one that a filter on it binds to something else.
    prefix = "m"
    while declared.get(prefix, BASE) != BASE:
        prefix += "m"
    start = _start_tag(f"{prefix}:{name}", attributes, declared | {prefix: BASE})
    return b"".join((_HEAD, start, b">", *inner, f"</{prefix}:{name}>".encode(), _TAIL))


def _start_tag(name: str, attributes: Mapping[str, str], namespaces: Mapping[str, str]) -> bytes:
    """A start tag without its end."""
    declarations = b"".join(declaration(prefix, uri) for prefix, uri in namespaces.items())
    written = "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())
    return b"".join((f"<{name}".encode(), declarations, written.encode()))


def _session(session_id: str) -> dict[str, str]:
    return {"session-id": session_id}


def _edge_xml(edge: Edge) -> bytes:
    first, second = edge
    return identifier_xml(first) if second is None else identifier_xml(first) + identifier_xml(second)


def _metadata_xml(metadata: Iterable[NewMetadata]) -> bytes:
    return b"".join((b"<metadata>", *(part for new in metadata for part in (new.head, new.tail)), b"</metadata>"))


def _publish_operation(operation: PublishOperation) -> bytes:
    match operation:
        case Update(edge, metadata, lifetime):
            start = b'<update lifetime="forever">' if lifetime is Lifetime.FOREVER else b"<update>"
            return b"".join((start, _edge_xml(edge), _metadata_xml(metadata), b"</update>"))
        case Notify(edge, metadata):
            return b"".join((b"<notify>", _edge_xml(edge), _metadata_xml(metadata), b"</notify>"))
        case Delete(edge, filter_):
            attributes, namespaces = _filters({"filter": filter_})
            return b"".join((_start_tag("delete", attributes, namespaces), b">", _edge_xml(edge), b"</delete>"))


def _subscribe_operation(operation: Subscription | Unsubscription) -> bytes:
    if isinstance(operation, Unsubscription):
        return f'<delete name="{escape(operation.name)}"/>'.encode()
    attributes, namespaces = _search_attributes(operation.spec)
    start = _start_tag("update", {"name": operation.name} | attributes, namespaces)
    return b"".join((start, b">", identifier_xml(operation.spec.start), b"</update>"))


def _search_attributes(spec: SearchSpec) -> tuple[dict[str, str], dict[str, str]]:
    attributes, namespaces = _filters({"match-links": spec.match_links, "result-filter": spec.result_filter})
    attributes["max-depth"] = str(spec.max_depth)
    if spec.max_size is not None:
        attributes["max-size"] = str(spec.max_size)
    if spec.terminal_types:
        attributes["terminal-identifier-type"] = ",".join(sorted(spec.terminal_types))
    return attributes, namespaces


def _filters(filters: Mapping[str, Filter | None]) -> tuple[dict[str, str], dict[str, str]]:
    """Attributes, and the namespaces that they need: all are in the scope of one element."""
    attributes: dict[str, str] = {}
    namespaces: dict[str, str] = {}
    for name, each in filters.items():
        if each is None:
            continue
        written = _with_text(each)
        stem = "n"
        while written.names is not None and _clash(written, namespaces):
            stem += "n"
            written = of_names(*written.names, stem=stem)
        if _clash(written, namespaces):
            raise IfmapError(ErrorCode.FAILURE, "two filters of one request use a prefix differently")
        namespaces.update(written.namespaces)
        attributes[name] = written.text
    return attributes, namespaces


def _clash(written: CompiledFilter, namespaces: Mapping[str, str]) -> bool:
    return any(namespaces.get(prefix, uri) != uri for prefix, uri in written.namespaces)


def _with_text(each: Filter) -> CompiledFilter:
    if isinstance(each, CompiledFilter):
        return each
    if each.names is None:
        raise IfmapError(ErrorCode.FAILURE, "a filter without text can't be sent")
    return of_names(*each.names)
