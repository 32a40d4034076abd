"""Netlink attributes (type-length-value) and message headers, packed and unpacked with struct."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_ROOT_MATCH = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_DUMP_INTR = 0x10

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port id."""

_ATTRIBUTE = struct.Struct("=HH")
_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")


class Truncated(ValueError):
    """A message or attribute claims to be longer than what there is."""


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to 4 octets."""
    return _ATTRIBUTE.pack(len(payload) + 4, kind) + payload + _PAD[len(payload) & 3]


def u8(kind: int, value: int) -> bytes:
    """An attribute of one octet."""
    return attr(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """A 16-bit attribute in host order."""
    return attr(kind, value.to_bytes(2, sys.byteorder))


def be16(kind: int, value: int) -> bytes:
    """A 16-bit attribute in network order."""
    return attr(kind, value.to_bytes(2, "big"))


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
    """A message with sequence number and port id 0; `Rtnetlink` numbers it when it is sent."""
    body = b"".join(parts)
    return HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST, 0, 0) + body


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(type, payload) of every attribute in data[start:end]. Raises Truncated."""
    end = len(data) if end is None else end
    while start + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if length < 4 or start + length > end:
            raise Truncated("netlink attribute is cut")
        yield kind & NLA_TYPE_MASK, data[start + 4 : start + length]
        start += (length + 3) & ~3


def parse(data: bytes, start: int = 0) -> dict[int, bytes]:
    """Attributes by type; the last one of a type counts. Raises Truncated."""
    return dict(walk(data, start))


def number(payload: bytes | None, default: int = 0) -> int:
    """An unsigned number of any size in host order; default for a missing attribute."""
    return default if payload is None else int.from_bytes(payload, sys.byteorder)


def string(payload: bytes | None) -> str:
    """A zero-terminated string; "" for a missing attribute. Octets that are no UTF-8 are kept visible."""
    return "" if payload is None else payload.rstrip(b"\0").decode(errors="backslashreplace")


def messages(data: bytes) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(type, flags, sequence, port id, body) of every message of a datagram. Raises Truncated."""
    start = 0
    while start + 16 <= len(data):
        length, kind, flags, sequence, port = HEADER.unpack_from(data, start)
        if length < 16 or start + length > len(data):
            raise Truncated("netlink message is cut")
        yield kind, flags, sequence, port, data[start + 16 : start + length]
        start += (length + 3) & ~3
