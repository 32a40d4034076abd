"""What comes on an XMPP stream, element by element, for clients that are made of a socket."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

from xmpp import namespaces as ns

CLIENT = f"{{{ns.CLIENT}}}"
STREAM = f"{{{ns.STREAMS}}}"


class StreamElements:
    """The attributes of a stream's header, then its top-level elements."""

    def __init__(self) -> None:
        self.header: dict[str, str] | None = None
        self.ended = False
        self._depth = 0
        self._builder = ElementTree.TreeBuilder()
        self._elements: list[Element] = []
        self._expat = expat.ParserCreate(namespace_separator="}")
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = self._text

    def feed(self, data: bytes) -> list[Element]:
        """Elements that are complete now."""
        self._elements = []
        self._expat.Parse(data)
        return self._elements

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        attributes = {_tag(key): value for key, value in attributes.items()}
        if self._depth == 1:
            self.header = attributes
        else:
            self._builder.start(_tag(name), attributes)

    def _text(self, text: str) -> None:
        if self._depth > 1:
            self._builder.data(text)

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.ended = True
            return
        self._builder.end(_tag(name))
        if self._depth == 1:
            self._elements.append(self._builder.close())
            self._builder = ElementTree.TreeBuilder()


def _tag(name: str) -> str:
    return "{" + name if "}" in name else name
