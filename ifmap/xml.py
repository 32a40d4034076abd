"""XML as IF-MAP messages use it, read from hostile bytes: no document type, no entities, everything bounded. No I/O.

expat is driven directly, with a parser of its own for each document. What a parser such as libxml2 keeps for good (its
dictionary of names is never freed while the thread lives) nobody can fill from outside. Metadata is never built into a
tree: its element is checked by the parser as the rest is, and cut out of the body as it came (`Raw`), so that reading
and passing it on costs what its bytes cost.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn
from xml.parsers import expat

from ifmap.errors import ErrorCode, IfmapError
from ifmap.xml_prologue import has_document_type, utf_8

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may be. All counts are of one document.

    bytes: size as received. depth: nesting of elements. elements: elements held at the same time, those in what is cut
    out raw or folded left out. attributes: of one element outside of raw ones. prefixes: namespace declarations in
    scope of an element. name: characters of an element's name with its namespace. text: characters of an element's
    text. marks: "<" and "=" together, which bounds tags and attributes wherever they are. raw: bytes of an element that
    is cut out, beyond which reading it ends, if maybe a little late.
    """

    bytes: int = 64 * MIB
    depth: int = 100
    elements: int = 200_000
    attributes: int = 100
    prefixes: int = 64
    name: int = 1024
    text: int = 256 * 1024
    marks: int = 6_000_000
    raw: int = 1024 * MIB


class Scope:
    """Namespace declarations in force at an element."""

    __slots__ = ("_outer", "prefixes")

    def __init__(self, prefixes: dict[str, str]) -> None:
        """prefixes: prefix ("" for the default namespace) to URI; a default namespace of "" is not kept."""
        self.prefixes: Final = prefixes
        self._outer: tuple[tuple[str, bytes, re.Pattern[bytes], bytes], ...] | None = None

    def declarations(self, xml: bytes, declared: frozenset[str]) -> bytes:
        """What an element in this scope has to declare itself to stand alone: attributes, each with a blank before.

        xml: the element; declared: prefixes that it declares. A prefix counts as used wherever it stands with a colon
        behind, in names as well as in values and text, which may hold qualified names.
        """
        if self._outer is None:
            self._outer = tuple(
                (
                    prefix,
                    f"{prefix}:".encode(),
                    re.compile(rb"(?<![\w.\-])" + re.escape(f"{prefix}:".encode())),
                    declaration(prefix, uri),
                )
                for prefix, uri in self.prefixes.items()
            )
        needed = b""
        for prefix, needle, pattern, text in self._outer:
            if prefix not in declared and (not prefix or (needle in xml and pattern.search(xml))):
                needed += text
        return needed


class Element:
    """An element that was read. Names are "uri}local", or "local" in no namespace (ifmap.namespaces.split).

    attributes: by name, values as the XML processor reports them. children: elements, raw elements and what folds made
    of elements, in document order; comments and processing instructions are left out. scope: namespaces in force.
    """

    __slots__ = ("attributes", "children", "length", "live", "name", "parts", "scope")

    length: int
    """Characters of the text; set once there are some."""

    def __init__(self, name: str, attributes: dict[str, str], scope: Scope, live: int = 0) -> None:
        """live: elements that the document holds when this one begins, itself among them."""
        self.name = name
        self.attributes = attributes
        self.children: list[Any] = []
        self.scope = scope
        self.parts: list[str] | None = None
        self.live = live

    @property
    def text(self) -> str:
        """The characters directly in the element, without those of its children."""
        return "".join(self.parts) if self.parts else ""


class Raw(NamedTuple):
    """An element that was checked and cut out, not read. xml: its bytes in UTF-8, as sent. scope: around it.

    tag: length of the start tag. declared: prefixes declared on the element itself.
    """

    name: str
    attributes: dict[str, str]
    xml: bytes
    tag: int
    scope: Scope
    declared: frozenset[str]


Folds = Mapping[str, Callable[[Element, Element], Any]]
"""By element name: what a completed element becomes in its parent's children, so that its tree needn't be kept.

The function gets the element and its parent, whose children so far are there.
"""

_PIECE = MIB
_TOKEN = 4 * MIB
_LIMITS = Limits()
_NO_FOLDS: Folds = {}
_EMPTY_SCOPE = Scope({})


@functools.lru_cache(64)
def _scope(prefixes: tuple[tuple[str, str], ...]) -> Scope:
    """The same object for the same declarations: a client's requests resemble each other."""
    return Scope(dict(prefixes))


_NOTHING_DECLARED: frozenset[str] = frozenset()
# References of RFC 3986 that XML processors agree on: scheme, authority without IP literal, path, query, fragment.
_CHARACTER = r"(?:[\w.\-~!$&'()*+,;={}]|%[0-9A-Fa-f]{{2}})"
_HOST = _CHARACTER.format("")
_AUTHORITY = rf"(?:(?:{_CHARACTER.format(':')}*@)?{_HOST}+(?::[0-9]{{1,5}})?)?(?=[/?#]|\Z)"
_PATH, _SEGMENT, _QUERY = (f"{_CHARACTER.format(more)}*" for more in (":@/", "@", ":@/?"))
_URI = re.compile(
    rf"(?:(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//{_AUTHORITY}{_PATH}|[A-Za-z][A-Za-z0-9+.\-]*:(?!//){_PATH}|(?!//)/?{_SEGMENT}(?:/{_PATH})?)"
    rf"(?:\?{_QUERY})?(?:\#{_QUERY})?",
    re.ASCII,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_URI_MAX = 1024
# A start tag or empty-element tag of well-formed XML.
_START_TAG = re.compile(rb"""<[^\s/>]+[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_SLASH = ord("/")
_SPECIAL = re.compile(r"[&<>\"\t\n\r]")
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: str) -> str:
    """Text as it stands in an attribute in double quotes or in content, with everything preserved.

    Raises IfmapError (Failure) for characters that XML can't carry (control characters, lone surrogates).
    """
    if forbidden := _FORBIDDEN.search(text):
        raise IfmapError(ErrorCode.FAILURE, f"character U+{ord(forbidden[0]):04X} can't be carried in XML")
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


def is_text(text: str) -> bool:
    """Whether XML can carry every character of the text."""
    return _FORBIDDEN.search(text) is None


def is_name(text: str) -> bool:
    """Whether a text is a name without colon that we write: letters, digits, "_", "-", "." of ASCII."""
    return _NAME.fullmatch(text) is not None


@functools.lru_cache(1024)
def _is_uri(text: str) -> bool:
    return _URI.fullmatch(text) is not None


def is_uri(text: str) -> bool:
    """Whether a text may name a namespace: every XML processor takes it, also those that check URIs."""
    return len(text) <= _URI_MAX and _is_uri(text)


def declaration(prefix: str, uri: str) -> bytes:
    """A namespace declaration as an attribute, with a blank before it. prefix: "" for the default namespace."""
    return f' xmlns{":" if prefix else ""}{prefix}="{escape(uri)}"'.encode()


def parse(
    body: bytes,
    limits: Limits = _LIMITS,
    raw: frozenset[str] = frozenset(),
    folds: Folds = _NO_FOLDS,
) -> Element:
    """The root element of a document.

    raw: names of elements whose children are cut out as Raw (metadata). folds: see Folds; they are called in document
    order while the document is read, and may raise IfmapError.
    Raises IfmapError (Failure) for everything that isn't one well-formed, namespace-well-formed document in UTF-8 or
    UTF-16 within the limits, or that has a document type declaration; the text says what and where.
    """
    builder = _Builder(_checked(body, limits), limits, raw, folds)
    builder.run()
    assert builder.root is not None, "expat accepts no document without an element"
    return builder.root


def cut(body: bytes, limits: Limits = _LIMITS) -> Raw:
    """The root element of a document, checked as `parse` does and cut out as one of the children of metadata is."""
    builder = _Builder(_checked(body, limits), limits, frozenset(), _NO_FOLDS)
    container = builder.put_in_container()
    builder.run()
    root: Raw = container.children[0]
    return root


def _checked(body: bytes, limits: Limits) -> bytes:
    """The document in UTF-8, if its size, encoding and prologue are in order."""
    if len(body) > limits.bytes:
        _refuse(f"XML of {len(body)} bytes; {limits.bytes} are allowed")
    body = utf_8(body)
    if has_document_type(body):
        _refuse("XML with a document type declaration")
    # No shorter document can be over it, and counting costs less than anything else here.
    if len(body) > limits.marks and body.count(b"<") + body.count(b"=") > limits.marks:
        _refuse(f"XML with more than {limits.marks} tags and attributes")
    return body


class _Builder:
    """What expat's handlers build."""

    def __init__(self, body: bytes, limits: Limits, raw: frozenset[str], folds: Folds) -> None:
        self.root: Element | None = None
        self._body = body
        self._limits = limits
        self._raw = raw
        self._folds = folds
        self._name_limit, self._attribute_limit = limits.name, limits.attributes
        self._depth_limit, self._element_limit = limits.depth, limits.elements
        self._stack: list[Element] = []
        self._live = 0
        self._declared: dict[str, str] = {}
        self._in_container = False
        self._depth = 0
        self._cut: tuple[str, dict[str, str], int, frozenset[str]] = ("", {}, 0, _NOTHING_DECLARED)
        self._parser = parser = expat.ParserCreate("UTF-8", "}")
        parser.buffer_text = True
        # Kept, since a bound method is made anew at each access.
        self._handlers = (self._start, self._end, self._text)
        self._cut_handlers = (self._cut_start, self._cut_end)
        parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = self._handlers
        parser.StartNamespaceDeclHandler = self._declare
        parser.StartDoctypeDeclHandler = self._document_type

    def put_in_container(self) -> Element:
        """Let the root be cut out, as a child of the element that is returned."""
        container = Element("", {}, _EMPTY_SCOPE)
        self._stack.append(container)
        self._in_container = True
        return container

    def run(self) -> None:
        """Parse the whole body, once."""
        parser = self._parser
        try:
            # In pieces: after an exception of ours expat reads on to the end of what it was given, and keeps all of it.
            view = memoryview(self._body)
            for at in range(0, len(view) or 1, _PIECE):
                parser.Parse(view[at : at + _PIECE], at + _PIECE >= len(view))
                # A tag that isn't finished is read again with each piece.
                if at + _PIECE - parser.CurrentByteIndex > _TOKEN and at + _PIECE < len(view):
                    _refuse(f"XML with a tag or comment of more than {_TOKEN} bytes")
                if self._depth and at + _PIECE - self._cut[2] > self._limits.raw + _PIECE:
                    raise IfmapError(ErrorCode.METADATA_TOO_LONG, f"metadata of more than {self._limits.raw} bytes")
        except expat.ExpatError as error:
            _refuse(f"malformed XML: {error}")
        finally:
            # The handlers hold the builder, which holds the parser.
            parser.StartElementHandler = parser.EndElementHandler = parser.CharacterDataHandler = None
            parser.StartNamespaceDeclHandler = parser.StartDoctypeDeclHandler = None
            del self._parser, self._handlers, self._cut_handlers

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        if uri and not is_uri(uri):
            _refuse(f"{uri[:200]!r} is not a URI that names a namespace")
        if self._depth:
            return
        if len(self._declared) >= self._limits.prefixes:
            _refuse(f"more than {self._limits.prefixes} namespace declarations")
        self._declared[prefix or ""] = uri or ""

    def _document_type(self, *_: object) -> NoReturn:
        _refuse("XML with a document type declaration")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        stack = self._stack
        if len(name) > self._name_limit or len(attributes) > self._attribute_limit or len(stack) >= self._depth_limit:
            self._refuse_element(name, attributes)
        self._live += 1
        if self._live > self._element_limit:
            _refuse(f"XML of more than {self._element_limit} elements")
        if self._in_container:
            self._begin_cut(name, attributes)
            return
        scope = stack[-1].scope if stack else _EMPTY_SCOPE
        if self._declared:
            scope = self._inner_scope(scope)
        stack.append(Element(name, attributes, scope, self._live))
        if name in self._raw:
            self._in_container = True
            self._parser.CharacterDataHandler = None

    def _refuse_element(self, name: str, attributes: dict[str, str]) -> NoReturn:
        limits = self._limits
        if len(name) > limits.name:
            _refuse(f"element name of {len(name)} characters")
        if len(attributes) > limits.attributes:
            _refuse(f"element with {len(attributes)} attributes; {limits.attributes} are allowed")
        _refuse(f"XML nested deeper than {limits.depth} elements")

    def _inner_scope(self, outer: Scope) -> Scope:
        prefixes = outer.prefixes | self._declared
        self._declared = {}
        if not prefixes.get("", "-"):
            del prefixes[""]
        if len(prefixes) > self._limits.prefixes:
            _refuse(f"more than {self._limits.prefixes} namespace declarations in scope")
        return _scope(tuple(prefixes.items()))

    def _end(self, _name: str) -> None:
        element = self._stack.pop()
        if self._in_container:
            self._in_container = False
            self._parser.CharacterDataHandler = self._handlers[2]
        if not self._stack:
            self.root = element
            return
        parent = self._stack[-1]
        fold = self._folds.get(element.name)
        if fold is None:
            parent.children.append(element)
        else:
            parent.children.append(fold(element, parent))
            self._live = element.live - 1

    def _text(self, text: str) -> None:
        element = self._stack[-1]
        if element.parts is None:
            element.parts = [text]
            element.length = len(text)
        else:
            element.parts.append(text)
            element.length += len(text)
        if element.length > self._limits.text:
            _refuse(f"text of more than {self._limits.text} characters")

    # -- an element that is cut out, with everything in it

    def _begin_cut(self, name: str, attributes: dict[str, str]) -> None:
        declared = _NOTHING_DECLARED
        if self._declared:
            declared = frozenset(self._declared)
            self._declared = {}
        parser = self._parser
        self._cut = (name, attributes, parser.CurrentByteIndex, declared)
        self._depth = len(self._stack) + 1
        parser.StartElementHandler, parser.EndElementHandler = self._cut_handlers

    def _cut_start(self, name: str, _attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > self._depth_limit:
            _refuse(f"XML nested deeper than {self._limits.depth} elements")

    def _cut_end(self, _name: str) -> None:
        self._depth -= 1
        stack = self._stack
        if self._depth > len(stack):
            return
        self._depth = 0
        parser = self._parser
        name, attributes, begin, declared = self._cut
        body = self._body
        # expat says where an end tag begins; for <a/>, where what follows it does.
        tag = _START_TAG.match(body, begin)
        assert tag is not None, "expat has seen a start tag here"
        end = tag.end()
        if body[end - 2] != _SLASH:
            end = body.index(b">", parser.CurrentByteIndex) + 1
        container = stack[-1]
        container.children.append(Raw(name, attributes, body[begin:end], tag.end() - begin, container.scope, declared))
        parser.StartElementHandler, parser.EndElementHandler, _ = self._handlers


def _refuse(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.FAILURE, text)
