"""Extended identifiers: one XML element as the name of an identity, in canonical XML, escaped once. (IF-MAP 2.1)

No I/O. The name is the *escaped* text (`&lt;site xmlns=&quot;...`); whoever writes it into an attribute escapes it
again.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree

from ifmap.errors import ErrorCode, IfmapError
from ifmap.namespaces import split
from ifmap.xml import Element, Limits, is_name, is_text, is_uri, parse

DOMAIN = "administrative-domain"

_LIMITS = Limits(bytes=64 * 1024, depth=32, elements=1000)
_CACHED = 16_384
_CACHED_LENGTH = 1024
# The ampersand last: what it stands for must not be read again.
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_ESCAPES = str.maketrans({character: entity for entity, character in _ENTITIES.items()})
_NOT_ESCAPED = re.compile(r"""[<>"']|&(?!(?:amp|lt|gt|quot|apos);)""")
# Of canonical XML: in attribute values only these are escaped, and white space.
_ATTRIBUTE_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"}
)
# An empty element with attributes of no namespace, in escaped form: nearly every identifier there is.
_VALUE = r"[^\"'&<>\x00-\x1f]*(?:&(?:gt|apos|amp;(?:amp|lt|quot|#x9|#xA|#xD));[^\"'&<>\x00-\x1f]*)*"
_PLAIN = re.compile(
    r"&lt;([A-Za-z_][A-Za-z0-9_.\-]*) xmlns=&quot;([A-Za-z][^\"'&<>\x00-\x20\x7f-\uffff]*)&quot;"
    rf"((?: [A-Za-z_][A-Za-z0-9_.\-]*=&quot;{_VALUE}&quot;)+)&gt;&lt;/\1&gt;"
)
_PLAIN_ATTRIBUTE = re.compile(rf" ([^=]+)=&quot;{_VALUE}&quot;")
_OPENING = re.compile(r"<([^\s/>!?]+)")


class ExtendedContent(NamedTuple):
    """What an extended identifier says. attributes: unprefixed ones of its element, administrative-domain left out.

    xml: the whole element, not escaped.
    """

    namespace: str
    local: str
    attributes: Mapping[str, str]
    domain: str
    xml: str


def make_name(local: str, namespace: str, attributes: Mapping[str, str], domain: str = "") -> str:
    """Name of the identifier of an empty element. Raises IfmapError (InvalidIdentifier)."""
    if not is_name(local) or not namespace or not is_uri(namespace):
        _invalid(f"{local!r} in {namespace!r} is not the name of an element")
    values = {**attributes, DOMAIN: domain}
    text = f'<{local} xmlns="{namespace.translate(_ATTRIBUTE_ESCAPES)}"'
    for name in sorted(values):
        if not is_name(name) or name.lower().startswith("xml"):
            _invalid(f"{name!r} is not the name of an attribute")
        if not is_text(values[name]):
            _invalid(f"attribute {name} has a character that XML can't carry")
        text += f' {name}="{values[name].translate(_ATTRIBUTE_ESCAPES)}"'
    return f"{text}></{local}>".translate(_ESCAPES)


def canonical_name(xml: str | bytes) -> str:
    """Name of the identifier of an element in any spelling. Raises IfmapError (InvalidIdentifier)."""
    text, root = _canonical(xml.encode(errors="surrogatepass") if isinstance(xml, str) else xml)
    _check(text, root)
    return text.translate(_ESCAPES)


def check_name(name: str) -> None:
    """Raise IfmapError (InvalidIdentifier) unless the name is in the form that the module describes."""
    if len(name) > _CACHED_LENGTH:
        _check_name(name)
    else:
        _check_cached(name)


def read_name(name: str) -> ExtendedContent | None:
    """The element in a name; None when there is none (plain IF-MAP 2.0 takes any text). It needn't be canonical."""
    return _read_name(name) if len(name) > _CACHED_LENGTH else _read_cached(name)


def _check_name(name: str) -> bool:
    if _is_plain(name):
        return True
    if wrong := _NOT_ESCAPED.search(name):
        _invalid(f"extended identifier that isn't escaped once within its attribute ({wrong[0]!r})")
    text = _unescape(name)
    canonical, root = _canonical(text.encode())
    if canonical != text:
        _invalid("extended identifier that isn't canonical XML")
    _check(text, root)
    return True


_check_cached = functools.lru_cache(_CACHED)(_check_name)


def _is_plain(name: str) -> bool:
    """Whether a name needs no closer look: attributes in order, administrative-domain among them."""
    match = _PLAIN.fullmatch(name)
    if match is None or not is_uri(match[2]):
        return False
    names = _PLAIN_ATTRIBUTE.findall(match[3])
    return DOMAIN in names and "xmlns" not in names and all(map(operator.lt, names, names[1:]))


def _check(text: str, root: Element) -> None:
    """Whether an element, and its canonical XML, may be an extended identifier."""
    namespace, _ = split(root.name)
    if not namespace:
        _invalid("extended identifier whose element is in no namespace")
    opening = _OPENING.match(text)
    # The namespace is to be the default one everywhere, so that one element has one spelling.
    if opening is None or ":" in opening[1] or re.search(rf' xmlns:[^=]+="{re.escape(_attribute(namespace))}"', text):
        _invalid("extended identifier with a prefix for the namespace of its element")
    if DOMAIN not in root.attributes:
        _invalid("extended identifier without administrative-domain")


def _canonical(xml: bytes) -> tuple[str, Element]:
    """The canonical XML of an element, and the element."""
    try:
        # Bounds it, and refuses document types: the canonicaliser of the standard library does neither.
        root = parse(xml, _LIMITS)
        return ElementTree.canonicalize(xml), root
    except IfmapError as error:
        _invalid(f"extended identifier: {error}")
    except (ElementTree.ParseError, ValueError) as error:
        _invalid(f"extended identifier: {error}")


def _read_name(name: str) -> ExtendedContent | None:
    text = _unescape(name)
    if not text.startswith("<"):
        return None
    try:
        root = parse(text.encode(), _LIMITS)
    except IfmapError:
        return None
    namespace, local = split(root.name)
    attributes = {key: value for key, value in root.attributes.items() if "}" not in key}
    domain = attributes.pop(DOMAIN, "")
    return ExtendedContent(namespace, local, attributes, domain, text)


_read_cached = functools.lru_cache(_CACHED)(_read_name)


def _unescape(name: str) -> str:
    for entity, character in _ENTITIES.items():
        name = name.replace(entity, character)
    return name


def _attribute(text: str) -> str:
    return text.translate(_ATTRIBUTE_ESCAPES)


def _invalid(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.INVALID_IDENTIFIER, text)
