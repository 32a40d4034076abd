"""Building messages of the low-rate kinds from attributes, and reading them; framing is that of datapath/wire.py."""

from __future__ import annotations

import struct
import sys

from datapath.wire import (
    HEADER,
    NLA_F_NESTED,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    WireError,
    attributes,
    messages,
)
from datapath.wire import attribute as attr

__all__ = [
    "NLA_F_NESTED",
    "NLM_F_CREATE",
    "NLM_F_EXCL",
    "NLM_F_REPLACE",
    "WireError",
    "attr",
    "message",
    "messages",
    "nest",
    "number",
    "parse",
    "string",
    "text",
    "u8",
    "u32",
    "u64",
]


def u8(kind: int, value: int) -> bytes:
    """An attribute of one octet."""
    return attr(kind, bytes((value,)))


def u32(kind: int, value: int) -> bytes:
    """A 32-bit attribute in host order."""
    return attr(kind, struct.pack("=I", value))


def u64(kind: int, value: int) -> bytes:
    """A 64-bit attribute in host order."""
    return attr(kind, struct.pack("=Q", value))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def nest(kind: int, *parts: bytes) -> bytes:
    """An attribute made of attributes."""
    return attr(kind | NLA_F_NESTED, b"".join(parts))


def message(kind: int, flags: int, *parts: bytes) -> bytes:
    """A message with sequence number 0; `Rtnetlink` numbers it when it is sent."""
    body = b"".join(parts)
    return HEADER.pack(HEADER.size + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body


def parse(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Attributes by type from `start` to the end; the last one of a type counts. Raises WireError."""
    return attributes(data, start, len(data))


def number(payload: bytes | None, default: int = 0) -> int:
    """An unsigned number of any size in host order; default for a missing attribute."""
    return default if payload is None else int.from_bytes(payload, sys.byteorder)


def string(payload: bytes | None) -> str:
    """A zero-terminated string; "" for a missing attribute. Octets that are no UTF-8 are kept visible."""
    return "" if payload is None else payload.rstrip(b"\0").decode(errors="backslashreplace")
