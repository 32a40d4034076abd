"""From a byte stream to messages: the checks of the message header (RFC 4271, section 6.1)."""

from __future__ import annotations

from bgp.errors import BgpError, ErrorCode, HeaderSubcode
from bgp.message import EXTENDED_MAX_LENGTH, HEADER_LENGTH, MARKER, MAX_LENGTH, MessageType

_MIN_LENGTH = {
    MessageType.OPEN: 29,
    MessageType.UPDATE: 23,
    MessageType.NOTIFICATION: 21,
    MessageType.KEEPALIVE: HEADER_LENGTH,
    MessageType.ROUTE_REFRESH: 23,
}
_MAX_LENGTH = {MessageType.OPEN: MAX_LENGTH, MessageType.KEEPALIVE: HEADER_LENGTH}
"""Of types whose length doesn't grow with extended messages (RFC 8654, section 4)."""
_TYPES: tuple[MessageType | None, ...] = (None, *MessageType) + (None,) * (255 - len(MessageType))


class Framer:
    """Cuts what a peer sends into messages.

    max_length: the largest message that the peer may send, bytes; 4096, or 65535 once both sides have announced
    extended messages (RFC 8654).
    """

    __slots__ = ("_buffer", "_offset", "max_length")

    def __init__(self) -> None:
        self._buffer = b""
        self._offset = 0
        self.max_length = MAX_LENGTH

    def allow_extended_messages(self) -> None:
        """Both sides have the extended message capability."""
        self.max_length = EXTENDED_MAX_LENGTH

    def receive_data(self, data: bytes) -> None:
        """Append what came from the peer."""
        self._buffer = self._buffer[self._offset :] + data
        self._offset = 0

    @property
    def buffered(self) -> int:
        """Bytes received that no message has been made of."""
        return len(self._buffer) - self._offset

    def next_message(self) -> tuple[MessageType, bytes] | None:
        """Type and body (without header) of the next message; None until it is complete.

        Raises BgpError 1/1, 1/2 (data: the length field) or 1/3 (data: the type) as soon as the header is there; the
        stream can't be read on after that.
        """
        buffer, start = self._buffer, self._offset
        body = start + HEADER_LENGTH
        if len(buffer) < body:
            return None
        if not buffer.startswith(MARKER, start):
            raise BgpError(
                ErrorCode.MESSAGE_HEADER, HeaderSubcode.CONNECTION_NOT_SYNCHRONISED, b"", "the marker is not all ones"
            )
        length = buffer[start + 16] << 8 | buffer[start + 17]
        kind = _TYPES[buffer[start + 18]]
        if not HEADER_LENGTH <= length <= self.max_length:
            raise self._bad_length(length)
        if kind is None:
            code = buffer[start + 18]
            raise BgpError(
                ErrorCode.MESSAGE_HEADER, HeaderSubcode.BAD_MESSAGE_TYPE, bytes((code,)), f"message type {code}"
            )
        if length < _MIN_LENGTH[kind] or length > _MAX_LENGTH.get(kind, EXTENDED_MAX_LENGTH):
            raise self._bad_length(length)
        end = start + length
        if len(buffer) < end:
            return None
        self._offset = end
        return kind, buffer[body:end]

    @staticmethod
    def _bad_length(length: int) -> BgpError:
        data = length.to_bytes(2, "big")
        return BgpError(
            ErrorCode.MESSAGE_HEADER, HeaderSubcode.BAD_MESSAGE_LENGTH, data, f"a message of {length} bytes"
        )
