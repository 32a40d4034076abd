"""Netlink messages in packed form: framing, attributes, errors (Linux uapi/linux/netlink.h, rtnetlink.h).

Pure functions on bytes. Only the bulk kinds are written this way (next hops, routes, MPLS routes, neighbours): a
message is one struct.pack() of constants made beforehand and a few variable fields, and one struct.unpack_from() on the
way back for the layouts that the kernel writes in practice. What doesn't fit the expected layout goes through
attributes().

Multi-byte numbers are in host byte order except inside addresses and label stack entries.
"""

from __future__ import annotations

import errno as errno_names
import os
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# uapi/linux/netlink.h
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_MULTI = 0x2
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_DUMP_FILTERED = 0x20
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

# uapi/linux/rtnetlink.h
RTM_NEWLINK = 16
RTM_GETLINK = 18
RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26
RTM_NEWNEIGH = 28
RTM_DELNEIGH = 29
RTM_GETNEIGH = 30
RTM_GETNETCONF = 82
RTM_NEWNEXTHOP = 104
RTM_DELNEXTHOP = 105
RTM_GETNEXTHOP = 106
RTN_UNICAST = 1

HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port id."""

_ERROR = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")

_ALL_SETTINGS = struct.pack("=BxxxHHi", 2, 8, 1, -1)
"""struct netconfmsg of AF_INET, NETCONFA_IFINDEX of all devices."""

NEW = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL
"""Flags of a message that makes an object and fails when there is one."""
SET = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
"""Flags of a message that makes an object or replaces the one that is there."""
DELETE = NLM_F_REQUEST


class WireError(ValueError):
    """Bytes from the kernel that are no netlink message, or one of a layout that can't be."""


class KernelError(NamedTuple):
    """An error the kernel answered: errno (> 0) and the text of the extended acknowledgement, "" if it gave none."""

    errno: int
    message: str

    @property
    def text(self) -> str:
        """For an operator: "ENODEV: Device does not exist"."""
        name = errno_names.errorcode.get(self.errno, str(self.errno))
        return f"{name}: {self.message or os.strerror(self.errno)}"


class Message(NamedTuple):
    """One message in a received buffer: the header's type and flags, and where its payload begins and ends."""

    type: int
    flags: int
    sequence: int
    start: int
    end: int


def align(length: int) -> int:
    """Length with padding (NLMSG_ALIGN, NLA_ALIGN)."""
    return (length + 3) & ~3


def attribute(number: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, number) + payload + bytes(align(length) - length)


def attribute_header(number: int, size: int) -> bytes:
    """The four bytes in front of an attribute's payload of this size."""
    return _ATTRIBUTE.pack(4 + size, number)


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One message; the payload is padded already."""
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def barrier(sequence: int) -> bytes:
    """A message that changes nothing and is acknowledged, behind the answers to everything in front of it.

    It asks for the IPv4 settings of all devices, which is little, takes no lock and needs no privilege. Not NLMSG_NOOP:
    SELinux knows only messages of rtnetlink, and logs any other or refuses the whole batch for it.
    """
    return message(RTM_GETNETCONF, NLM_F_REQUEST | NLM_F_ACK, sequence, _ALL_SETTINGS)


class Template:
    """Many messages that differ in a few fields, made column by column.

    Python's cost of a message is then that of its few values in some lists, and not of a function call.
    """

    def __init__(self, message: bytes) -> None:
        """message: one of them, of a multiple of 4 bytes, with the constant fields filled in."""
        self._message = message
        self._words = len(message) // 4

    def render(
        self, count: int, columns: Sequence[tuple[int, bytes | array[int]]], octets: bytes, at: int
    ) -> bytearray:
        """count messages. columns: where a field is (offset in words of 4 bytes) and its values for all messages one
        behind another, in the byte order of the message; a field has one word or several. octets: values of the one
        field that is a byte, at this offset in bytes; empty for none."""
        packed = bytearray(self._message * count)
        with memoryview(packed) as view, view.cast("I") as words:
            for offset, values in columns:
                with memoryview(values) as raw, raw.cast("B") as flat, flat.cast("I") as column:
                    size = len(column) // count
                    for word in range(size):
                        words[offset + word :: self._words] = column[word::size]
            if octets:
                view[at :: len(self._message)] = octets
        return packed


def messages(buffer: bytes | bytearray, size: int, offset: int = 0) -> Iterator[Message]:
    """The messages from offset on in the first size bytes of a received buffer. Raises WireError."""
    while offset < size:
        if size - offset < HEADER.size:
            raise WireError("netlink message shorter than its header")
        length, kind, flags, sequence, _ = HEADER.unpack_from(buffer, offset)
        end = offset + length
        if length < HEADER.size or end > size:
            raise WireError(f"netlink message with impossible length {length}")
        yield Message(kind, flags, sequence, offset + HEADER.size, end)
        offset += align(length)


def attributes(buffer: bytes | bytearray, start: int, end: int) -> dict[int, bytes]:
    """Attributes between start and end by number, without the flag bits; of equal numbers the last. Raises
    WireError."""
    found: dict[int, bytes] = {}
    while end - start >= _ATTRIBUTE.size:
        length, number = _ATTRIBUTE.unpack_from(buffer, start)
        if length < _ATTRIBUTE.size or start + length > end:
            raise WireError(f"netlink attribute with impossible length {length}")
        found[number & NLA_TYPE_MASK] = bytes(buffer[start + 4 : start + length])
        start += align(length)
    return found


def number(payload: bytes | None) -> int:
    """An unsigned number of 1, 2 or 4 bytes in host byte order; 0 for None. Raises WireError for other sizes."""
    if payload is None:
        return 0
    if len(payload) not in (1, 2, 4):
        raise WireError(f"number of {len(payload)} bytes")
    return int.from_bytes(payload, sys.byteorder)


def decode_error(buffer: bytes | bytearray, found: Message) -> KernelError | None:
    """Content of an NLMSG_ERROR: None for an acknowledgement, else the error. Raises WireError."""
    if found.end - found.start < _ERROR.size + HEADER.size:
        raise WireError("netlink error message too short")
    (code,) = _ERROR.unpack_from(buffer, found.start)
    if code == 0:
        return None
    text = ""
    if found.flags & NLM_F_ACK_TLVS:
        start = found.start + _ERROR.size
        (original,) = struct.unpack_from("=I", buffer, start)
        # With NETLINK_CAP_ACK only the header of the failed message comes back.
        start += HEADER.size if found.flags & NLM_F_CAPPED else align(original)
        text = attributes(buffer, start, found.end).get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace")
    return KernelError(-code, text)


def decode_done(buffer: bytes | bytearray, found: Message) -> KernelError | None:
    """Content of an NLMSG_DONE: None, or the error that ended the dump early. Raises WireError."""
    if found.end - found.start < _ERROR.size:
        return None
    (code,) = _ERROR.unpack_from(buffer, found.start)
    if code >= 0:
        return None
    have = attributes(buffer, found.start + _ERROR.size, found.end) if found.flags & NLM_F_ACK_TLVS else {}
    return KernelError(-code, have.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode("utf-8", "replace"))


# Label stacks (RFC 3032, section 2.1: label 20 bits, TC 3, bottom of stack 1, TTL 8)


def encode_labels(labels: tuple[int, ...]) -> bytes:
    """Label stack, outermost first, with TC and TTL zero as the kernel wants it."""
    if len(labels) == 1:
        return ((labels[0] << 12) | 0x100).to_bytes(4, "big")
    bottom = len(labels) - 1
    return b"".join(
        ((label << 12) | (0x100 if position == bottom else 0)).to_bytes(4, "big")
        for position, label in enumerate(labels)
    )


def decode_labels(stack: bytes) -> tuple[int, ...]:
    """Labels of a stack, outermost first. Raises WireError when it is no multiple of 4 bytes."""
    if len(stack) % 4:
        raise WireError(f"label stack of {len(stack)} bytes")
    return tuple(int.from_bytes(stack[at : at + 4], "big") >> 12 for at in range(0, len(stack), 4))
