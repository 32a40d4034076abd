"""Answers of an IF-MAP server as a client reads them. No I/O. (IF-MAP 2.2, 3.7; SOAP 1.2)

Tolerant: qualified or unqualified inner elements, unknown attributes, no errorString, identifiers in other spellings.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from ifmap.errors import ErrorCode, IfmapError, UnreadableAnswer
from ifmap.identifiers import Identifiers
from ifmap.namespaces import BASE, join, split
from ifmap.soap import body_element, fault_text
from ifmap.values import Edge, MetadataName, ResultKind, link, node
from ifmap.xml import MIB, Element, Limits, Raw, parse

ANSWER_LIMITS = Limits(bytes=1024 * MIB, elements=1_000_000, marks=200_000_000)
"""Of a poll's or search's answer: a client trusts its server with more than a server its clients."""


class ReceivedMetadata(NamedTuple):
    """A metadatum as a client gets it. publisher, timestamp: "" when the server didn't say. xml: the element in UTF-8
    with all namespaces that it uses declared on it; ifmap.metadata.content reads it."""

    name: MetadataName
    single: bool
    publisher: str
    timestamp: str
    xml: bytes


class ReceivedItem(NamedTuple):
    """A resultItem."""

    edge: Edge
    metadata: tuple[ReceivedMetadata, ...]


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """A child of a pollResult. name: of the subscription. code, text: of an errorResult, else None and ""."""

    kind: ResultKind
    name: str
    items: tuple[ReceivedItem, ...] = ()
    code: ErrorCode | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class NewSessionResult:
    """Answer to newSession. max_poll_result_size: bytes, None when the server didn't say."""

    session_id: str
    publisher_id: str
    max_poll_result_size: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Answer to search."""

    items: tuple[ReceivedItem, ...]


@dataclass(frozen=True, slots=True)
class PollResult:
    """Answer to poll, to be applied in order."""

    parts: tuple[ReceivedPart, ...]


@dataclass(frozen=True, slots=True)
class EndSessionResult:
    """Answer to endSession; to a poll: the session has ended."""


@dataclass(frozen=True, slots=True)
class Received:
    """Answer to an operation that has no result. element: renewSessionResult, publishReceived, ..."""

    element: str


Answer = NewSessionResult | SearchResult | PollResult | EndSessionResult | Received


def read_answer(body: bytes, limits: Limits = ANSWER_LIMITS) -> Answer:
    """The answer in an HTTP body.

    Raises IfmapError: with the server's code and text for an errorResult, Failure for a SOAP Fault; UnreadableAnswer
    for anything that can't be read: then nobody knows what became of the request.
    """
    try:
        response = body_element(parse(body, limits, _METADATA, _FOLDS))
    except IfmapError as error:
        raise UnreadableAnswer(str(error)) from None
    if (fault := fault_text(response)) is not None:
        raise IfmapError(ErrorCode.FAILURE, f"SOAP Fault: {fault}")
    if response.name not in _RESPONSE or len(response.children) != 1 or not isinstance(response.children[0], Element):
        _fail("answer without one result in a response")
    result: Element = response.children[0]
    name = split(result.name)[1]
    match name:
        case "newSessionResult":
            return _new_session(result)
        case "searchResult":
            return SearchResult(_items(result))
        case "pollResult":
            return PollResult(tuple([_part(child) for child in result.children]))
        case "endSessionResult":
            return EndSessionResult()
        case "errorResult":
            raise IfmapError(*_error(result))
    if name not in _RECEIVED:
        _fail(f"unknown result {name[:100]!r}")
    return Received(name)


_METADATA = frozenset({"metadata", join(BASE, "metadata")})
_RESPONSE = frozenset({"response", join(BASE, "response")})
_RECEIVED = frozenset({"renewSessionResult", "publishReceived", "subscribeReceived", "purgePublisherReceived"})
_KINDS = {kind.value: kind for kind in ResultKind}
_CODES = {code.value: code for code in ErrorCode}
_TEXT_MAX = 4000
_identifiers = Identifiers(strict=False, lenient=True)


def _new_session(result: Element) -> NewSessionResult:
    get = result.attributes.get
    session_id, publisher_id = get("session-id"), get("ifmap-publisher-id")
    if not session_id or not publisher_id:
        _fail("newSessionResult without session-id or ifmap-publisher-id")
    size = get("max-poll-result-size", "").strip()
    return NewSessionResult(session_id, publisher_id, int(size) if size.isascii() and size.isdigit() else None)


def _part(element: Any) -> ReceivedPart:
    kind = _KINDS.get(split(element.name)[1]) if isinstance(element, Element) else None
    if kind is None:
        _fail("unknown result within a pollResult")
    name = element.attributes.get("name", "")
    if kind is ResultKind.ERROR:
        code, text = _error(element)
        return ReceivedPart(kind, name, (), code, text)
    return ReceivedPart(kind, name, _items(element))


def _error(element: Element) -> tuple[ErrorCode, str]:
    """Code and text of an errorResult; some servers leave the text out."""
    given = element.attributes.get("errorCode", "").strip()
    texts = [
        " ".join(child.text.split())
        for child in element.children
        if isinstance(child, Element) and split(child.name)[1] == "errorString"
    ]
    text = "".join(texts)[:_TEXT_MAX]
    code = _CODES.get(given)
    if code is None:
        return ErrorCode.FAILURE, f"{text or 'no reason given'} (errorCode {given[:100]!r})"
    return code, text or f"{given}, no reason given"


def _items(element: Element) -> tuple[ReceivedItem, ...]:
    for child in element.children:
        if not isinstance(child, ReceivedItem):
            _fail(f"{split(child.name)[1][:100]!r} within a {split(element.name)[1]}")
    return tuple(element.children)


def _item(element: Element, _parent: Element) -> ReceivedItem:
    identifiers = []
    metadata: list[ReceivedMetadata] = []
    for child in element.children:
        if isinstance(child, Element) and child.name in _METADATA:
            metadata += map(_received, child.children)
        elif isinstance(child, Element):
            identifiers.append(_identifiers.read(child))
        else:
            _fail("metadata where an identifier is expected")
    if len(identifiers) == 1:
        edge = node(identifiers[0])
    elif len(identifiers) == 2:
        edge = link(*identifiers)
    else:
        _fail(f"resultItem with {len(identifiers)} identifiers")
    return ReceivedItem(edge, tuple(metadata))


_FOLDS = {"resultItem": _item, join(BASE, "resultItem"): _item}


def _received(raw: Raw) -> ReceivedMetadata:
    name, attributes, xml, tag, scope, declared = raw
    if scope.prefixes and (outer := scope.declarations(xml, declared)):
        # Right behind the name, wherever that ends.
        end = len(xml[:tag].split(None, 1)[0].rstrip(b"/>"))
        xml = b"".join((xml[:end], outer, xml[end:]))
    get = attributes.get
    single = get("ifmap-cardinality") == "singleValue"
    publisher, time = get("ifmap-publisher-id", ""), get("ifmap-timestamp", "")
    return ReceivedMetadata(_metadata_name(name), single, publisher, time, xml)


@functools.lru_cache(2048)
def _metadata_name(name: str) -> MetadataName:
    return MetadataName(*split(name))


def _fail(text: str) -> NoReturn:
    raise UnreadableAnswer(text)
