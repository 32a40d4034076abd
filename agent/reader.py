"""Reads a gateway's stream for slixmpp: the parser of `xmpp` in the place of its own. Pure.

slixmpp's parser takes whatever expat takes (DTDs with entities, comments, any depth and size), and looks at every
start and end of an element in Python. This one is the gateways' own: hardened, and it hands out whole stanzas. What
`take` has taken slixmpp never sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

from xmpp.parser import End, Header, StreamParser

STANZA_MAX = 1 << 20
"""Bytes of a stanza. Gateways cut messages at 64 KiB; what an XMPP server in front lets through is 512 KiB at most."""


class Reader:
    """One stream. take: called with each stanza, in order; returns whether that is all that is to be done with it."""

    def __init__(self, take: Callable[[Element], bool]) -> None:
        self._take = take
        self._parser: StreamParser | None = StreamParser(STANZA_MAX)
        self._root = Element("stream")

    def bulk(self) -> None:
        """The negotiation is over: the stream begins anew no more."""
        if self._parser is not None:
            self._parser.bulk = True

    def close(self) -> None:
        """Read nothing more."""
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.close()

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        if self._parser is not None:
            self._parser.feed(data)

    def read_events(self) -> Iterator[tuple[str, Element]]:
        """Starts and ends of the stream and of stanzas, as slixmpp expects them, but for what was taken.

        Raises StreamError for what is no stream that a gateway sends.
        """
        take = self._take
        while (parser := self._parser) is not None and (item := parser.next()) is not None:
            if isinstance(item, Element):
                if not take(item):
                    yield "start", item
                    yield "end", item
            elif isinstance(item, Header):
                self._root = Element(item.tag, item.attributes)
                yield "start", self._root
            else:
                assert isinstance(item, End)
                yield "end", self._root
