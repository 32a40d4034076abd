"""Stanzas that were received whole are read by ElementTree's own parser: no call from C to Python for each tag.

It reads the header of the stream, the piece, and the end of the stream, as one document. If that is anything but
well-formed, or holds anything but stanzas, nothing is said of it here: xmpp.parser then says what is wrong, and where.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError, XMLParser

WORTH = 1024
"""Bytes of a piece from which on this way is the shorter one."""
_ENDS = (b"</iq>", b"</message>")
"""Of a stanza with content, in the stream's default namespace."""
_XML_SPACE = " \t\r\n"
_NAME = re.compile(rb"<([^\s/>]+)")


def read_whole(root: bytes, piece: bytes, depth_max: int) -> list[Element]:
    """The stanzas of a piece that begins and ends between two; [] when that can't be told, or isn't so.

    root: start tag of the stream; depth_max: greatest number of elements inside each other, with the stream itself.
    """
    name = _NAME.match(root)
    # Declarations, comments and CDATA are a matter of the framer and of the long way.
    if name is None or len(piece) < WORTH or not piece.endswith(_ENDS) or b"<!" in piece or b"<?" in piece:
        return []
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(b"%b%b</%b>" % (root, piece, name[1]))
        stream = parser.close()
    except ParseError:
        return []
    stanzas = list(stream)
    if (stream.text and stream.text.strip(_XML_SPACE)) or _too_deep(stanzas, depth_max - 1):
        return []
    for stanza in stanzas:
        if stanza.tail is not None:
            if stanza.tail.strip(_XML_SPACE):
                return []
            stanza.tail = None
    return stanzas


def _too_deep(level: list[Element], most: int) -> bool:
    while level and most:
        level = [child for element in level if len(element) for child in element]
        most -= 1
    return bool(level)
