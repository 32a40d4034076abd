"""Hardened incremental parser of an XML stream (RFC 6120, sections 4 and 11): bytes in, header and stanzas out.

expat is driven directly, so that depth, size and characters between stanzas are checked as they come and nothing is
kept of what was handed out. Names are never freed by expat: after RECYCLE_BYTES a new one takes over between stanzas.

Stanzas that were received whole, as most requests to publish are, take a shorter way (xmpp.whole_stanzas).
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from xmpp.errors import StreamCondition, StreamError
from xmpp.framing import Framer
from xmpp.whole_stanzas import read_whole

HEADER_MAX = 4096
"""Greatest size in bytes of everything up to the end of the stream header."""
DEPTH_MAX = 64
"""Greatest number of elements open at once, the stream itself included."""
RECYCLE_BYTES = 16 * 1024 * 1024
ELEMENT_WEIGHT = 90
"""Bytes of memory that an element takes, measured (CPython 3.11)."""
ATTRIBUTES_WEIGHT = 250
"""And one with attributes in addition."""
WAITING_WEIGHT = 1024
"""That a whole stanza takes which waits to be handled, about."""

_TEXT_BUFFER = 1024
"""Octets of text that are handed on at once; pyexpat's own 8 KiB would be a sixth of an idle session."""
_XML_SPACE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Header:
    """The start tag of the stream: ElementTree tag and attributes, and the default namespace it declares ("": none)."""

    tag: str
    attributes: dict[str, str]
    default_namespace: str


@dataclass(frozen=True, slots=True)
class End:
    """The end tag of the stream."""


Item = Header | Element | End


@functools.lru_cache(maxsize=4096)
def _qualified(name: str) -> str:
    """expat's "namespace}local" as ElementTree's "{namespace}local"."""
    return "{" + name if "}" in name else name


_NO_BUILDER = TreeBuilder()


class StreamParser:
    """Parser of one connection.

    stanza_max: greatest size in bytes of a stanza, from its "<" to that of its end tag. May be changed at any time.
    bulk: parse everything received at once (after negotiation); else stop after each element.
    """

    def __init__(self, stanza_max: int) -> None:
        self.stanza_max = stanza_max
        self.bulk = False
        self._framer = Framer()
        self._items: deque[Item] = deque()
        self._error: StreamError | None = None
        self.restart()

    def restart(self) -> None:
        """Expect a new stream header in what follows; bytes not yet parsed belong to the new stream."""
        self._framer.restart()
        self._items.clear()
        self._depth = 0
        self._builder = TreeBuilder()
        self._default_namespace = ""
        self._root = b""
        self._new_expat()

    def _new_expat(self) -> None:
        # No interning: its dictionary would grow with every name a peer makes up.
        parser = expat.ParserCreate("UTF-8", "}", None)
        parser.buffer_size = _TEXT_BUFFER
        parser.buffer_text = True
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_loose_text
        parser.XmlDeclHandler = self._on_declaration
        parser.StartNamespaceDeclHandler = self._on_namespace
        self._expat = parser
        self._resting = False
        self._fed = 0
        self._stanza_start = 0
        self._weight = 0

    def rest(self) -> None:
        """Nothing is expected for a while: free what can be made again when bytes come (a third of an idle session)."""
        if self._depth == 1 and not self._framer and not self._items and self._error is None and not self._resting:
            del self._expat
            self._builder = _NO_BUILDER
            self._resting = True

    def close(self) -> None:
        """No more will be parsed: break the cycles (expat's handlers, an error's traceback), so that all is freed."""
        if not self._resting:
            del self._expat
            self._resting = True
        self._error = None
        self._framer = Framer()

    @property
    def pending(self) -> int:
        """Bytes received and not yet parsed."""
        return len(self._framer)

    @property
    def held(self) -> int:
        """Bytes of memory, about, that an unfinished stanza takes. Its elements can take forty times its size."""
        unfinished = 2 * (self._fed - self._stanza_start) + self._weight if self._depth > 1 else 0
        return len(self._framer) + unfinished

    @property
    def idle(self) -> bool:
        """Whether nothing but whitespace waits to be parsed."""
        return not self._framer.held.strip()

    def feed(self, data: bytes) -> None:
        """Take received bytes; next() parses them."""
        self._framer.push(data)

    def next(self) -> Item | None:
        """The next header, stanza or end; None when more bytes are needed. Raises StreamError, then at every call."""
        items = self._items
        while not items:
            if self._error is not None:
                raise self._error
            try:
                if not self._parse_some():
                    return None
            except StreamError as error:
                # What was complete before the error in the same bytes is handed out first.
                self._error = error
        return items.popleft()

    def _parse_some(self) -> bool:
        in_header = self._depth == 0
        piece = self._framer.take(one=not self.bulk or in_header or self._fed > RECYCLE_BYTES)
        if piece and self._depth == 1 and self.bulk and len(piece) <= self.stanza_max:
            # Nothing in it can be too large, and none of it is under way.
            stanzas = read_whole(self._root, piece, DEPTH_MAX)
            if stanzas:
                self._items += stanzas
                return True
        if piece:
            if self._resting:
                self._recycle()
            self._fed += len(piece)
            if in_header:
                self._check_header(piece)
            try:
                self._expat.Parse(piece, False)
            except expat.ExpatError as error:
                raise _stream_error(error) from None
            if in_header:
                self._root = piece
        elif in_header:
            self._check_header(b"")
        if self._depth:
            self._check_size(0 if piece else len(self._framer))
        if self._fed > RECYCLE_BYTES and self._depth == 1:
            self._recycle()
        return bool(piece)

    def _check_header(self, piece: bytes) -> None:
        """Raise when what comes before the end of the header is too large, or isn't UTF-8.

        expat goes over to UTF-16 by the first two bytes, whatever encoding it is told.
        """
        if self._fed + (0 if piece else len(self._framer)) > HEADER_MAX:
            raise StreamError(StreamCondition.POLICY_VIOLATION, f"the header is larger than {HEADER_MAX} bytes")
        if b"\0" in piece or piece.lstrip()[:1] not in (b"", b"<"):
            raise StreamError(StreamCondition.NOT_WELL_FORMED, "this is not XML in UTF-8")

    def _check_size(self, unfinished: int) -> None:
        """Raise when the stanza is too large already; unfinished: bytes of the tag at which parsing waits."""
        size = self._fed - self._stanza_start if self._depth > 1 else 0
        # What may be an end tag isn't counted (unless it is absurd), so that no limit depends on how bytes were cut.
        if unfinished > self.stanza_max or (unfinished > 1 and not self._framer.held.startswith(b"</")):
            size += unfinished
        if size > self.stanza_max:
            self._too_large()

    def _too_large(self) -> None:
        raise StreamError(StreamCondition.POLICY_VIOLATION, f"a stanza is larger than {self.stanza_max} bytes")

    def _recycle(self) -> None:
        """Between stanzas: a fresh expat that has seen the header alone."""
        self._new_expat()
        self._expat.StartElementHandler = None
        self._expat.Parse(self._root, False)
        self._expat.StartElementHandler = self._on_start
        self._fed = len(self._root)

    def _on_declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.upper() not in ("UTF-8", "UTF8"):
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING, "only UTF-8 is taken")

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        if self._depth == 0 and prefix is None:
            self._default_namespace = uri or ""

    def _on_start(self, name: str, attributes: dict[str, Any]) -> None:
        depth = self._depth
        if depth >= DEPTH_MAX:
            raise StreamError(StreamCondition.POLICY_VIOLATION, f"more than {DEPTH_MAX} elements inside each other")
        self._depth = depth + 1
        self._weight += ELEMENT_WEIGHT
        if attributes:
            self._weight += ATTRIBUTES_WEIGHT
            for key in attributes:
                if "}" in key:
                    attributes = {_qualified(key): value for key, value in attributes.items()}
                    break
        if depth > 1:
            self._builder.start(_qualified(name), attributes)
        elif depth == 1:
            builder = self._builder = TreeBuilder()
            self._stanza_start = self._expat.CurrentByteIndex
            self._weight = 0
            self._expat.CharacterDataHandler = builder.data
            builder.start(_qualified(name), attributes)
        else:
            self._expat.StartNamespaceDeclHandler = None
            self._items.append(Header(_qualified(name), attributes, self._default_namespace))

    def _on_end(self, name: str) -> None:
        self._depth = depth = self._depth - 1
        if depth > 1:
            self._builder.end(name)
        elif depth == 1:
            if self._expat.CurrentByteIndex - self._stanza_start > self.stanza_max:
                self._too_large()
            self._expat.CharacterDataHandler = self._on_loose_text
            self._builder.end(name)
            self._items.append(self._builder.close())
        else:
            self._items.append(End())

    def _on_loose_text(self, text: str) -> None:
        """Between stanzas only whitespace may come (keepalives, RFC 6120 section 4.6.1); none of it is kept."""
        if text.strip(_XML_SPACE):
            raise StreamError(StreamCondition.BAD_FORMAT, "text between stanzas")


def _stream_error(error: expat.ExpatError) -> StreamError:
    if error.code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
        return StreamError(StreamCondition.RESTRICTED_XML, "only the five predefined entities are allowed")
    return StreamError(StreamCondition.NOT_WELL_FORMED, expat.ErrorString(error.code) or "")
