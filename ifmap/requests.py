"""Requests of IF-MAP as a server reads them: SOAP envelope and one operation. No I/O. (IF-MAP 2.2, 3.7; SOAP 1.2)

Elements inside an operation are in no namespace; those that put them in the base namespace are understood, too. Unknown
attributes (validation among them) are ignored, unknown elements are not.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from ifmap import filters
from ifmap.errors import ErrorCode, IfmapError
from ifmap.identifiers import Identifiers, terminal_types
from ifmap.metadata import from_raw
from ifmap.namespaces import BASE, join, split
from ifmap.soap import body_element
from ifmap.values import (
    Delete,
    Edge,
    EndSession,
    Filter,
    Identifier,
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
    link,
    node,
)
from ifmap.xml import Element, Limits, Raw, Scope, parse

MAX_SESSION_ID = 128
"""Characters (IF-MAP: bytes) of a session-id."""
MAX_NAME = 255
"""Characters of a subscription's name and of a publisher id."""
UNSIGNED_MAX = 2**32 - 1
"""Greatest xsd:unsignedInt."""

_UNSIGNED = re.compile(r"[ \t\r\n]*\+?([0-9]{1,20})[ \t\r\n]*", re.ASCII)
_METADATA = frozenset({"metadata", join(BASE, "metadata")})
_LIFETIMES = {lifetime.value: lifetime for lifetime in Lifetime}


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """What a server takes.

    strict: extended identifiers are checked (IF-MAP 2.1), else opaque (2.0). identifier: characters of one, its
    administrative-domain included. metadata: bytes of one. operations: number in one publish or subscribe, and of
    metadata in one publish. filters: characters of all different filters together. limits: of the document.
    """

    strict: bool = True
    identifier: int = 8192
    metadata: int = 1024 * 1024
    operations: int = 200_000
    filters: int = 256 * 1024
    limits: Limits = field(default_factory=Limits)


_DEFAULT = ReadSettings()


def read(body: bytes, settings: ReadSettings = _DEFAULT) -> Request:
    """The request in an HTTP body. Raises IfmapError with the code that the client is to get."""
    reader = _Reader(settings)
    root = parse(body, _limits(settings), _METADATA, reader.folds)
    element = body_element(root)
    read_operation = _OPERATIONS.get(element.name)
    if read_operation is None:
        namespace, local = split(element.name)
        _fail(f"unknown operation {local[:100]!r} in namespace {namespace[:200]!r}")
    return read_operation(reader, element)


@functools.lru_cache(16)
def _limits(settings: ReadSettings) -> Limits:
    return replace(settings.limits, raw=settings.metadata)


class _Reader:
    """Reads one request: what an operation holds is turned into values while the document is parsed."""

    def __init__(self, settings: ReadSettings) -> None:
        self._settings = settings
        self._identifiers = _IDENTIFIERS[settings.strict]
        self._metadata = 0
        self._filters: dict[tuple[str, Scope], Filter] = {}
        self._filter_length = 0
        readers = {"update": self._update, "notify": self._notify, "delete": self._delete}
        self.folds: dict[str, Callable[[Element, Element], Any]] = {}
        for name, reader in readers.items():
            self.folds[name] = self.folds[join(BASE, name)] = reader

    # -- within publish and subscribe

    def _update(self, element: Element, parent: Element) -> Any:
        if parent.name == _SUBSCRIBE:
            self._count(parent)
            return Subscription(_name(element), self._spec(element))
        if parent.name != _PUBLISH:
            return element
        lifetime = element.attributes.get("lifetime", "session")
        if lifetime not in _LIFETIMES:
            _fail(f"lifetime {lifetime[:100]!r}, not session or forever")
        edge, metadata = self._contents(element, parent)
        return Update(edge, metadata, _LIFETIMES[lifetime])

    def _notify(self, element: Element, parent: Element) -> Any:
        if parent.name != _PUBLISH:
            return element
        return Notify(*self._contents(element, parent))

    def _delete(self, element: Element, parent: Element) -> Any:
        if parent.name == _SUBSCRIBE:
            self._count(parent)
            return Unsubscription(_name(element))
        if parent.name != _PUBLISH:
            return element
        self._count(parent)
        return Delete(self._edge(element, element.children), self._filter(element, "filter"))

    def _count(self, operation: Element) -> None:
        if len(operation.children) >= self._settings.operations:
            _fail(f"more than {self._settings.operations} operations in one {split(operation.name)[1]}")

    def _contents(self, element: Element, parent: Element) -> tuple[Edge, tuple[NewMetadata, ...]]:
        """Place and metadata of an update or notify."""
        self._count(parent)
        children = element.children
        lists = [child for child in children if child.name in _METADATA]
        if len(lists) != 1:
            _fail(f"{split(element.name)[1]} with {len(lists)} metadata elements, not one")
        edge = self._edge(element, [child for child in children if child is not lists[0]])
        elements: list[Raw] = lists[0].children
        if not elements:
            raise IfmapError(ErrorCode.INVALID_METADATA, f"{split(element.name)[1]} without metadata")
        self._metadata += len(elements)
        if self._metadata > self._settings.operations:
            _fail(f"more than {self._settings.operations} metadata in one publish")
        most = self._settings.metadata
        return edge, tuple([from_raw(raw, most) for raw in elements])

    def _edge(self, element: Element, children: list[Any]) -> Edge:
        identifiers = [self._identifier(child) for child in children]
        if len(identifiers) == 2:
            return link(*identifiers)
        if len(identifiers) != 1:
            _fail(f"{split(element.name)[1]} with {len(identifiers)} identifiers, not one or two")
        return node(identifiers[0])

    def _identifier(self, element: Any) -> Identifier:
        if not isinstance(element, Element) or element.name in _METADATA:
            _fail("metadata where an identifier is expected")
        identifier = self._identifiers.read(element)
        length = len(identifier.name) + len(identifier.definition) + len(identifier.domain)
        if length > self._settings.identifier:
            text = f"{identifier.kind} of {length} characters; {self._settings.identifier} are allowed"
            raise IfmapError(ErrorCode.IDENTIFIER_TOO_LONG, text)
        return identifier

    def _spec(self, element: Element) -> SearchSpec:
        """Attributes and start of a search or subscription."""
        if len(element.children) != 1:
            _fail(f"{split(element.name)[1]} with {len(element.children)} elements, not one identifier")
        terminal = element.attributes.get("terminal-identifier-type", "")
        return SearchSpec(
            self._identifier(element.children[0]),
            _unsigned(element, "max-depth") or 0,
            self._filter(element, "match-links"),
            self._filter(element, "result-filter"),
            _unsigned(element, "max-size"),
            terminal_types(terminal) if terminal else _NO_TYPES,
        )

    def _filter(self, element: Element, name: str) -> Filter | None:
        text = element.attributes.get(name)
        if text is None:
            return None
        key = text, element.scope
        known = self._filters.get(key)
        if known is None:
            self._filter_length += len(text)
            if self._filter_length > self._settings.filters:
                _fail(f"filters of more than {self._settings.filters} characters in one request")
            known = self._filters[key] = filters.compile(text, element.scope.prefixes)
        return known

    # -- operations

    def new_session(self, element: Element) -> Request:
        _nothing_in(element)
        return NewSession(_unsigned(element, "max-poll-result-size"))

    def renew_session(self, element: Element) -> Request:
        _nothing_in(element)
        return RenewSession(_session_id(element))

    def end_session(self, element: Element) -> Request:
        _nothing_in(element)
        return EndSession(_session_id(element))

    def publish(self, element: Element) -> Request:
        operations: list[PublishOperation] = element.children
        _check_operations(element, Update | Notify | Delete)
        return Publish(_session_id(element), tuple(operations))

    def search(self, element: Element) -> Request:
        return Search(_session_id(element), self._spec(element))

    def subscribe(self, element: Element) -> Request:
        operations: list[Subscription | Unsubscription] = element.children
        _check_operations(element, Subscription | Unsubscription)
        return Subscribe(_session_id(element), tuple(operations))

    def poll(self, element: Element) -> Request:
        _nothing_in(element)
        return Poll(_session_id(element))

    def purge_publisher(self, element: Element) -> Request:
        _nothing_in(element)
        publisher = element.attributes.get("ifmap-publisher-id", "")
        if not publisher or len(publisher) > MAX_NAME:
            _fail(f"purgePublisher without an ifmap-publisher-id of 1 to {MAX_NAME} characters")
        return PurgePublisher(_session_id(element), publisher)


_IDENTIFIERS = {strict: Identifiers(strict) for strict in (False, True)}
_NO_TYPES: frozenset[str] = frozenset()
_PUBLISH, _SUBSCRIBE = join(BASE, "publish"), join(BASE, "subscribe")
_OPERATIONS: dict[str, Callable[[_Reader, Element], Request]] = {
    join(BASE, "newSession"): _Reader.new_session,
    join(BASE, "renewSession"): _Reader.renew_session,
    join(BASE, "endSession"): _Reader.end_session,
    _PUBLISH: _Reader.publish,
    join(BASE, "search"): _Reader.search,
    _SUBSCRIBE: _Reader.subscribe,
    join(BASE, "poll"): _Reader.poll,
    join(BASE, "purgePublisher"): _Reader.purge_publisher,
}


def _session_id(element: Element) -> str:
    session_id = element.attributes.get("session-id")
    if session_id is None:
        _fail(f"{split(element.name)[1]} without session-id")
    if not session_id or len(session_id) > MAX_SESSION_ID:
        raise IfmapError(ErrorCode.INVALID_SESSION_ID, f"session-id of {len(session_id)} characters")
    return session_id


def _name(element: Element) -> str:
    name = element.attributes.get("name", "")
    if not name or len(name) > MAX_NAME:
        _fail(f"subscription without a name of 1 to {MAX_NAME} characters")
    return name


def _unsigned(element: Element, name: str) -> int | None:
    text = element.attributes.get(name)
    if text is None:
        return None
    match = _UNSIGNED.fullmatch(text)
    if match is None or int(match[1]) > UNSIGNED_MAX:
        _fail(f"{name} {text[:40]!r} is not a number from 0 to {UNSIGNED_MAX}")
    return int(match[1])


def _check_operations(element: Element, types: Any) -> None:
    local = split(element.name)[1]
    if not element.children:
        _fail(f"{local} without operations")
    for child in element.children:
        if not isinstance(child, types):
            _fail(f"{split(child.name)[1][:100]!r} within {local}")


def _nothing_in(element: Element) -> None:
    if element.children:
        _fail(f"{split(element.name)[1]} with elements in it")


def _fail(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.FAILURE, text)
