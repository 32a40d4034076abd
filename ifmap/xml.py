"""XML as IF-MAP messages use it, read from hostile bytes: no document type, no entities, everything bounded. No I/O.

expat is driven directly, with a parser of its own for each document. What a parser such as libxml2 keeps for good (its
dictionary of names is never freed while the thread lives) nobody can fill from outside. Metadata is never built into a
tree: its element is checked by the parser as the rest is, and cut out of the body as it came (`Raw`), so that reading
and passing it on costs what its bytes cost.
"""

from __future__ import annotations

import codecs
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, NoReturn
from xml.parsers import expat

from ifmap.errors import ErrorCode, IfmapError

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What a document may be. All counts are of one document.

    bytes: size as received. depth: nesting of elements. elements: elements held at the same time outside of what is
    cut out raw or folded. attributes: of one element outside of raw ones. prefixes: namespace declarations in scope of
    an element. name: characters of an element's name with its namespace. text: characters of an element's text.
    """

    bytes: int = 64 * MIB
    depth: int = 100
    elements: int = 200_000
    attributes: int = 100
    prefixes: int = 64
    name: int = 1024
    text: int = 256 * 1024


class Scope:
    """Namespace declarations in force at an element."""

    __slots__ = ("_outer", "prefixes")

    def __init__(self, prefixes: dict[str, str]) -> None:
        """prefixes: prefix ("" for the default namespace) to URI; a default namespace of "" is not kept."""
        self.prefixes: Final = prefixes
        self._outer: tuple[tuple[str, bytes, bytes], ...] | None = None

    @property
    def declarations(self) -> tuple[tuple[str, bytes, bytes], ...]:
        """For each declaration: prefix, the bytes `prefix:` and the declaration as an attribute with a blank before."""
        if self._outer is None:
            self._outer = tuple(
                (prefix, f"{prefix}:".encode(), declaration(prefix, uri)) for prefix, uri in self.prefixes.items()
            )
        return self._outer


class Element:
    """An element that was read. Names are "uri}local", or "local" in no namespace (ifmap.namespaces.split).

    attributes: by name, values as the XML processor reports them. children: elements, raw elements and what folds made
    of elements, in document order; comments and processing instructions are left out. scope: namespaces in force.
    """

    __slots__ = ("_live", "_parts", "attributes", "children", "name", "scope")

    def __init__(self, name: str, attributes: dict[str, str], scope: Scope, live: int = 0) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Any] = []
        self.scope = scope
        self._parts: list[str] | None = None
        self._live = live

    @property
    def text(self) -> str:
        """The characters directly in the element, without those of its children."""
        return "".join(self._parts) if self._parts else ""


class Raw(NamedTuple):
    """An element that was checked and cut out, not read. xml: its bytes in UTF-8, as sent. scope: around it.

    declared: prefixes declared on the element itself.
    """

    name: str
    attributes: dict[str, str]
    xml: bytes
    scope: Scope
    declared: frozenset[str]


Folds = Mapping[str, Callable[[Element], Any]]
"""By element name: what a completed element becomes in its parent's children, so that its tree needn't be kept."""

_NO_FOLDS: Folds = {}
_EMPTY_SCOPE = Scope({})
_NOTHING_DECLARED: frozenset[str] = frozenset()
_XML_DECLARATION = re.compile(
    r"""<\?xml\s+version\s*=\s*(?:"1\.[0-9]{1,4}"|'1\.[0-9]{1,4}')"""
    r"""(?:\s+encoding\s*=\s*(?:"([A-Za-z][\w.\-]{0,40})"|'([A-Za-z][\w.\-]{0,40})'))?"""
    r"""(?:\s+standalone\s*=\s*(?:"(?:yes|no)"|'(?:yes|no)'))?\s*\?>""",
    re.ASCII,
)
_DECLARATION_MAX = 512
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_UTF_16 = frozenset({"utf-16", "utf16", "utf-16le", "utf-16be", "iso-10646-ucs-2", "ucs-2"})
_URI = re.compile(
    # A reference of RFC 3986 that XML processors agree on: scheme, authority without IP literal, path, query, fragment.
    r"(?:[A-Za-z][A-Za-z0-9+.\-]*:(?://{auth})?{path}|//{auth}{path}|(?:{seg}(?:/{path})?)?)(?:\?{query})?(?:#{query})?".format(
        auth=r"(?:(?:[\w.\-~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?(?:[\w.\-~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*(?::\d{1,5})?(?=[/?#]|\Z)",
        path=r"(?:[\w.\-~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*",
        seg=r"(?:[\w.\-~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})*",
        query=r"(?:[\w.\-~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*",
    ),
    re.ASCII,
)
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


def declaration(prefix: str, uri: str) -> bytes:
    """A namespace declaration as an attribute, with a blank before it. prefix: "" for the default namespace."""
    return f' xmlns{":" if prefix else ""}{prefix}="{escape(uri)}"'.encode()


def parse(body: bytes, limits: Limits = Limits(), raw: frozenset[str] = frozenset(), folds: Folds = _NO_FOLDS) -> Element:  # noqa: B008
    """The root element of a document.

    raw: names of elements whose children are cut out as Raw (metadata). folds: see Folds; they are called in document
    order while the document is read, and may raise IfmapError.
    Raises IfmapError (Failure) for everything that isn't one well-formed, namespace-well-formed document in UTF-8 or
    UTF-16 within the limits, or that has a document type declaration; the text says what and where.
    """
    raise NotImplementedError
