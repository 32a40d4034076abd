"""The SOAP 1.2 envelope around requests and answers, as it is read. No I/O. (SOAP 1.2, part 1)"""

from __future__ import annotations

from typing import NoReturn

from ifmap.errors import ErrorCode, IfmapError
from ifmap.namespaces import SOAP, join, split
from ifmap.xml import Element

_ENVELOPE, _HEADER, _BODY, _FAULT = (join(SOAP, local) for local in ("Envelope", "Header", "Body", "Fault"))
_MUST_UNDERSTAND = join(SOAP, "mustUnderstand")


def body_element(root: Element) -> Element:
    """The one element in the body of an envelope.

    Raises IfmapError (Failure) for what is no SOAP 1.2 envelope, for a header that must be understood, for another
    number of elements.
    """
    if root.name != _ENVELOPE:
        _refuse(f"{_shown(root)} is not a SOAP 1.2 envelope")
    bodies = []
    for child in root.children:
        name = getattr(child, "name", "")
        if name == _BODY:
            bodies.append(child)
        elif name == _HEADER:
            _check_header(child)
        else:
            _refuse("something else than a header and a body in the SOAP envelope")
    if len(bodies) != 1:
        _refuse(f"SOAP envelope with {len(bodies)} bodies")
    elements = bodies[0].children
    if len(elements) != 1 or not isinstance(elements[0], Element):
        _refuse(f"SOAP body with {len(elements)} elements, not one operation")
    return elements[0]


def fault_text(element: Element) -> str | None:
    """What a SOAP Fault says; None when the element is none."""
    if element.name != _FAULT:
        return None
    texts = _texts(element, ("Reason", "Text"))
    return "; ".join(texts)[:1000] or "no reason given"


def _texts(element: Element, path: tuple[str, ...]) -> list[str]:
    if not path:
        return [text] if (text := " ".join(element.text.split())) else []
    inner = [child for child in element.children if isinstance(child, Element) and split(child.name)[1] == path[0]]
    return [text for child in inner for text in _texts(child, path[1:])]


def _check_header(header: Element) -> None:
    for block in header.children:
        if isinstance(block, Element) and block.attributes.get(_MUST_UNDERSTAND, "").strip() in ("1", "true"):
            _refuse(f"SOAP header {_shown(block)} is not understood")


def _shown(element: Element) -> str:
    namespace, local = split(element.name)
    return f"{local[:100]} (namespace {namespace[:200]!r})"


def _refuse(text: str) -> NoReturn:
    raise IfmapError(ErrorCode.FAILURE, text)
