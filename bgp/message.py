"""Messages and their header (RFC 4271, section 4.1)."""

from __future__ import annotations

import enum

from bgp.errors import EncodeError

MARKER = b"\xff" * 16
HEADER_LENGTH = 19
"""Bytes: marker 16, length 2, type 1."""
MAX_LENGTH = 4096
"""Largest message, bytes with header."""
EXTENDED_MAX_LENGTH = 65535
"""Largest message where both sides have the extended message capability (RFC 8654); not for OPEN and KEEPALIVE."""


class MessageType(enum.IntEnum):
    """RFC 4271, section 4.1; RFC 2918."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


def frame(kind: MessageType, body: bytes, max_length: int = MAX_LENGTH) -> bytes:
    """A message of header and body. Raises EncodeError when it is longer than max_length."""
    length = HEADER_LENGTH + len(body)
    if length > max_length:
        raise EncodeError(f"{kind.name} of {length} bytes; the peer takes {max_length}")
    return b"".join((MARKER, length.to_bytes(2, "big"), bytes((kind,)), body))


KEEPALIVE = frame(MessageType.KEEPALIVE, b"")
"""The one KEEPALIVE there is."""
