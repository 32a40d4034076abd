"""NOTIFICATION (RFC 4271, section 4.5), its reasons and texts (RFC 4486, RFC 8538, RFC 9003)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from bgp.errors import (
    BgpError,
    CeaseSubcode,
    ErrorCode,
    FsmSubcode,
    HeaderSubcode,
    OpenSubcode,
    RefreshSubcode,
    UpdateSubcode,
)
from bgp.family import Family
from bgp.message import MAX_LENGTH, MessageType, frame

_SUBCODES: dict[int, type[enum.IntEnum]] = {
    ErrorCode.MESSAGE_HEADER: HeaderSubcode,
    ErrorCode.OPEN_MESSAGE: OpenSubcode,
    ErrorCode.UPDATE_MESSAGE: UpdateSubcode,
    ErrorCode.FINITE_STATE_MACHINE: FsmSubcode,
    ErrorCode.CEASE: CeaseSubcode,
    ErrorCode.ROUTE_REFRESH_MESSAGE: RefreshSubcode,
}
_WITH_TEXT = (CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, CeaseSubcode.ADMINISTRATIVE_RESET)
MAX_TEXT = 255
"""Bytes of a shutdown communication (RFC 9003, section 2)."""
_ROOM = MAX_LENGTH - 21
"""Bytes of data in a message that every peer takes."""


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Notification:
    """Why a session ends: error code and subcode (0..255 each) and data.

    Codes and subcodes that nobody has defined are kept as they came.
    """

    code: int
    subcode: int = 0
    data: bytes = b""

    @classmethod
    def of(cls, error: BgpError) -> Notification:
        """What is due for an error of the peer."""
        return cls(error.code, error.subcode, error.data)

    @classmethod
    def cease(cls, subcode: CeaseSubcode, text: str = "") -> Notification:
        """RFC 4486; text goes out with a shutdown or reset (RFC 9003), cut to 255 bytes of UTF-8.

        What has no UTF-8 (halves of surrogate pairs, as JSON and command lines may bring them) becomes "?".
        """
        data = b""
        if subcode in _WITH_TEXT:
            # What a cut leaves of the last character is dropped.
            packed = text.encode(errors="replace")[:MAX_TEXT].decode(errors="ignore").encode()
            data = bytes((len(packed),)) + packed if packed else b""
        return cls(ErrorCode.CEASE, subcode, data)

    @classmethod
    def maximum_prefixes(cls, family: Family, limit: int) -> Notification:
        """6/1 with the family and the limit that was passed (RFC 4486, section 4)."""
        return cls(
            ErrorCode.CEASE, CeaseSubcode.MAXIMUM_PREFIXES, family.packed + min(limit, 0xFFFFFFFF).to_bytes(4, "big")
        )

    def hard_reset(self) -> Notification:
        """This reason as a hard reset: the peer keeps no routes (RFC 8538, section 3.1)."""
        data = bytes((self.code, self.subcode)) + self.data
        return Notification(ErrorCode.CEASE, CeaseSubcode.HARD_RESET, data)

    @property
    def is_hard_reset(self) -> bool:
        """Whether graceful restart is off (RFC 8538)."""
        return self.code == ErrorCode.CEASE and self.subcode == CeaseSubcode.HARD_RESET

    @property
    def reason(self) -> Notification:
        """What a hard reset has inside; else the notification itself."""
        if self.is_hard_reset and len(self.data) >= 2:
            return Notification(self.data[0], self.data[1], self.data[2:])
        return self

    @property
    def text(self) -> str:
        """The shutdown communication of the peer's operator, control characters and bad UTF-8 escaped; "" without."""
        reason = self.reason
        if reason.code != ErrorCode.CEASE or reason.subcode not in _WITH_TEXT or not reason.data:
            return ""
        packed = reason.data[1 : 1 + reason.data[0]]
        text = packed.decode(errors="backslashreplace")
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)

    def encode(self) -> bytes:
        """The message; data that no message of 4096 bytes holds is cut."""
        return frame(MessageType.NOTIFICATION, bytes((self.code, self.subcode)) + self.data[:_ROOM])

    def __str__(self) -> str:
        """One line for a log or a table: "6/2 cease: administrative shutdown: \"text\""."""
        reason = self.reason
        try:
            named = _words(ErrorCode(reason.code).name)
        except ValueError:
            named = "unknown error"
        subcodes = _SUBCODES.get(reason.code)
        if subcodes is not None and reason.subcode in [one.value for one in subcodes]:
            named += f": {_words(subcodes(reason.subcode).name)}"
        if self.is_hard_reset and reason is not self:
            named = f"hard reset: {reason.code}/{reason.subcode} {named}"
        line = f"{self.code}/{self.subcode} {named}"
        if text := self.text:
            return f'{line}: "{text}"'
        return f"{line} ({reason.data.hex()})" if reason.data else line


def decode_notification(body: bytes) -> Notification:
    """Read the body (without header, at least two bytes) of a NOTIFICATION. There is nothing that it can't be."""
    return Notification(body[0], body[1], body[2:])
