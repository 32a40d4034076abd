"""Errors of BGP, each with what goes into the NOTIFICATION (RFC 4271, section 6) and how it is handled (RFC 7606)."""

from __future__ import annotations

import enum
from typing import NamedTuple

from bgp.family import Family


class ErrorCode(enum.IntEnum):
    """Error codes of NOTIFICATION (RFC 4271, section 4.5; RFC 7313)."""

    MESSAGE_HEADER = 1
    OPEN_MESSAGE = 2
    UPDATE_MESSAGE = 3
    HOLD_TIMER_EXPIRED = 4
    FINITE_STATE_MACHINE = 5
    CEASE = 6
    ROUTE_REFRESH_MESSAGE = 7


class HeaderSubcode(enum.IntEnum):
    """RFC 4271, section 6.1."""

    CONNECTION_NOT_SYNCHRONISED = 1
    BAD_MESSAGE_LENGTH = 2
    BAD_MESSAGE_TYPE = 3


class OpenSubcode(enum.IntEnum):
    """RFC 4271, section 6.2; RFC 5492; RFC 9234."""

    UNSPECIFIC = 0
    UNSUPPORTED_VERSION = 1
    BAD_PEER_AS = 2
    BAD_BGP_IDENTIFIER = 3
    UNSUPPORTED_OPTIONAL_PARAMETER = 4
    UNACCEPTABLE_HOLD_TIME = 6
    UNSUPPORTED_CAPABILITY = 7
    ROLE_MISMATCH = 11


class UpdateSubcode(enum.IntEnum):
    """RFC 4271, section 6.3."""

    MALFORMED_ATTRIBUTE_LIST = 1
    UNRECOGNISED_WELL_KNOWN_ATTRIBUTE = 2
    MISSING_WELL_KNOWN_ATTRIBUTE = 3
    ATTRIBUTE_FLAGS = 4
    ATTRIBUTE_LENGTH = 5
    INVALID_ORIGIN = 6
    INVALID_NEXT_HOP = 8
    OPTIONAL_ATTRIBUTE = 9
    INVALID_NETWORK_FIELD = 10
    MALFORMED_AS_PATH = 11


class FsmSubcode(enum.IntEnum):
    """An unexpected message in a state (RFC 6608)."""

    UNSPECIFIED = 0
    IN_OPEN_SENT = 1
    IN_OPEN_CONFIRM = 2
    IN_ESTABLISHED = 3


class CeaseSubcode(enum.IntEnum):
    """RFC 4486, section 4; RFC 8538; RFC 9384."""

    UNSPECIFIED = 0
    MAXIMUM_PREFIXES = 1
    ADMINISTRATIVE_SHUTDOWN = 2
    PEER_DECONFIGURED = 3
    ADMINISTRATIVE_RESET = 4
    CONNECTION_REJECTED = 5
    OTHER_CONFIGURATION_CHANGE = 6
    CONNECTION_COLLISION = 7
    OUT_OF_RESOURCES = 8
    HARD_RESET = 9
    BFD_DOWN = 10


class RefreshSubcode(enum.IntEnum):
    """RFC 7313, section 5."""

    INVALID_MESSAGE_LENGTH = 1


class Handling(enum.IntEnum):
    """What a malformed UPDATE leads to, from the weakest to the strongest (RFC 7606, section 2)."""

    ATTRIBUTE_DISCARD = 1
    """The attribute is taken out; the routes stand."""
    TREAT_AS_WITHDRAW = 2
    """The routes of the UPDATE are withdrawn."""
    DISABLE_FAMILY = 3
    """Nothing of the family is believed for the rest of the session (RFC 4760, section 7)."""
    SESSION_RESET = 4
    """NOTIFICATION and the end of the session."""


class BgpError(Exception):
    """The peer broke the protocol and the session ends: a NOTIFICATION with code, subcode and data is due.

    why: a sentence for the log. The only exception that decoding raises.
    """

    def __init__(self, code: ErrorCode, subcode: int, data: bytes = b"", why: str = "") -> None:
        super().__init__(f"{code:d}/{subcode:d}: {why}" if why else f"{code:d}/{subcode:d}")
        self.code = code
        self.subcode = int(subcode)
        self.data = data
        self.why = why


class EncodeError(ValueError):
    """What shall be sent doesn't fit its field or the largest message that the peer takes."""


class Malformation(NamedTuple):
    """One thing wrong in an UPDATE: how it is handled, and what a NOTIFICATION would say about it."""

    handling: Handling
    subcode: UpdateSubcode
    data: bytes
    why: str
    attribute: int | None = None
    """Type code of the attribute at fault, if it is one."""
    family: Family | None = None
    """The family to disable, with DISABLE_FAMILY."""

    def error(self) -> BgpError:
        """The same as the end of the session."""
        return BgpError(ErrorCode.UPDATE_MESSAGE, self.subcode, self.data, self.why)
