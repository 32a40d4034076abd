"""NLRI of VPN routes (RFC 4364, RFC 4659, labels as in RFC 8277) and of route-target membership (RFC 4684).

An NLRI is handled as bytes that say which route it is, its key, since a table has a million of them:

    VPN     route distinguisher (8 bytes), prefix (as many bytes as its length needs, host bits zero), length (1 byte)
    RTC     length in bits (0, 32..96), origin AS, route target (as many bytes as the length needs, the rest zero)

The label stack is no part of the key; it goes beside it as it is on the wire, three bytes a label.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from bgp.errors import EncodeError
from bgp.family import VPNV4, Family
from vpn.community import RouteDistinguisher
from vpn.prefix import Prefix

Route = tuple[bytes, bytes]
"""Key and label stack (three bytes a label, empty for RTC)."""

_LABEL = 3
_RD = 8
_FIXED_BITS = 8 * (_LABEL + _RD)
_COMPATIBILITY = (b"\x80\x00\x00", b"\x00\x00\x00")
"""In place of labels in a withdrawal (RFC 8277, section 2.4); some send the second."""
_BYTE = tuple(bytes((number,)) for number in range(256))
_ODD = bytes(range(1, 256, 2))
_KEEP = tuple(0xFF << (-bits % 8) & 0xFF for bits in range(8))
"""Bits of the last byte that belong to a prefix, by its length modulo 8."""
_WITH_LABEL = {size: struct.Struct(f"!x3s{size - 4}s") for size in range(12, 33)}
_WITHOUT_LABEL = {size: struct.Struct(f"!4x{size - 4}s") for size in range(12, 33)}
"""By bytes of an NLRI with one label."""


class NlriError(ValueError):
    """The bytes are no NLRI of the family."""


class Membership(NamedTuple):
    """Route-target membership: all route targets whose first `length - 32` bits are those of target.

    length: 0 (everything) or 32..96; origin_as: who wants it, None for length 0; target: 8 bytes, 0 beyond the length.
    """

    length: int
    origin_as: int | None
    target: bytes

    def covers(self, target: bytes) -> bool:
        """Whether routes with the route target (8 bytes) are wanted."""
        bits = self.length - 32
        if bits <= 0:
            return True
        shift = 64 - bits
        return int.from_bytes(target, "big") >> shift == int.from_bytes(self.target, "big") >> shift


def vpn_key(distinguisher: RouteDistinguisher, prefix: Prefix) -> bytes:
    """Key of a VPN route."""
    size = (prefix.length + 7) // 8
    return b"".join(
        (distinguisher.kind.to_bytes(2, "big"), distinguisher.value, prefix.packed[:size], _BYTE[prefix.length])
    )


def split_vpn_key(family: Family, key: bytes) -> tuple[RouteDistinguisher, Prefix]:
    """Route distinguisher and prefix of a key that was decoded or made for the family."""
    distinguisher = RouteDistinguisher(key[0] << 8 | key[1], key[2:8])
    packed = key[8:-1].ljust(4 if family == VPNV4 else 16, b"\0")
    return distinguisher, Prefix(packed, key[-1])


def rtc_key(origin_as: int | None, target: bytes = b"") -> bytes:
    """Key of route-target membership: of everything (None), of all targets, or of one route target (8 bytes)."""
    if origin_as is None:
        return b"\0"
    return _BYTE[32 + 8 * len(target)] + origin_as.to_bytes(4, "big") + target


def split_rtc_key(key: bytes) -> Membership:
    """Read a key that was decoded or made for RTC."""
    if key[0] == 0:
        return Membership(0, None, bytes(8))
    return Membership(key[0], int.from_bytes(key[1:5], "big"), key[5:].ljust(8, b"\0"))


def pack_labels(labels: Iterable[int]) -> bytes:
    """A label stack, the bottom marked on the last one. Raises EncodeError outside 0..2**20-1 or without a label."""
    numbers = list(labels)
    if not numbers or not all(0 <= number <= 0xFFFFF for number in numbers):
        raise EncodeError(f"label stack {numbers}")
    packed = [(number << 4).to_bytes(3, "big") for number in numbers]
    packed[-1] = (numbers[-1] << 4 | 1).to_bytes(3, "big")
    return b"".join(packed)


def pack_label(label: int) -> bytes:
    """A stack of one label (0..2**20-1)."""
    return (label << 4 | 1).to_bytes(3, "big")


def unpack_labels(stack: bytes) -> tuple[int, ...]:
    """Label values of a stack, top first."""
    return tuple(int.from_bytes(stack[at : at + 3], "big") >> 4 for at in range(0, len(stack), 3))


def decode_vpn(data: bytes, bits: int) -> list[Route]:
    """Read announced VPN routes; bits: 32 or 128. Raises NlriError. Host bits are cleared (RFC 4271, section 4.3)."""
    end = len(data)
    if not end:
        return []
    length = data[0] - _FIXED_BITS
    size = data[0] + 15 >> 3
    count = end // size
    # All of one length, with one label each and no host bits: what reflectors send nearly always.
    if (
        0 <= length <= bits
        and not length & 7
        and count * size == end
        and data[::size] == _BYTE[data[0]] * count
        and not data[3::size].translate(None, _ODD)
    ):
        tail = _BYTE[length]
        if count == 1:
            return [(data[4:] + tail, data[1:4])]
        return [(rest + tail, label) for label, rest in _WITH_LABEL[size].iter_unpack(data)]
    routes = []
    position = 0
    while position < end:
        key, labels, position = _one(data, position, bits, False)
        routes.append((key, labels))
    return routes


def decode_vpn_withdrawn(data: bytes, bits: int) -> list[bytes]:
    """Read keys of withdrawn VPN routes; bits: 32 or 128. Raises NlriError.

    The label field may hold anything (RFC 8277, section 2.4), also the stack that was announced.
    """
    end = len(data)
    if not end:
        return []
    length = data[0] - _FIXED_BITS
    size = data[0] + 15 >> 3
    count = end // size
    if (
        0 <= length <= bits
        and not length & 7
        and count * size == end
        and data[::size] == _BYTE[data[0]] * count
        and (
            not data[3::size].translate(None, _ODD)
            or not (data[1::size].translate(None, b"\x80\0") or any(data[2::size]) or any(data[3::size]))
        )
    ):
        tail = _BYTE[length]
        return [rest + tail for (rest,) in _WITHOUT_LABEL[size].iter_unpack(data)]
    keys = []
    position = 0
    while position < end:
        key, _, position = _one(data, position, bits, True)
        keys.append(key)
    return keys


def _one(data: bytes, position: int, bits: int, withdrawn: bool) -> tuple[bytes, bytes, int]:
    """Key, label stack and where the next one begins."""
    length = data[position]
    start = position + 1
    end = start + (length + 7 >> 3)
    if end > len(data):
        raise NlriError(f"an NLRI of {length} bits in {len(data) - start} bytes")
    if length < _FIXED_BITS:
        raise NlriError(f"a VPN NLRI of {length} bits")
    labels = _LABEL
    empty = withdrawn and length <= _FIXED_BITS + bits and data[start : start + 3] in _COMPATIBILITY
    if not (empty or data[start + 2] & 1):
        labels *= _stack_depth(data, start, length, bits)
    prefix_length = length - 8 * (labels + _RD)
    if prefix_length > bits:
        raise NlriError(f"a prefix of {prefix_length} bits")
    key = data[start + labels : end]
    if prefix_length & 7:
        key = key[:-1] + _BYTE[key[-1] & _KEEP[prefix_length & 7]]
    return key + _BYTE[prefix_length], data[start : start + labels], end


def _stack_depth(data: bytes, start: int, length: int, bits: int) -> int:
    """How many labels there are where the first one isn't marked as the bottom of the stack.

    There may be more, or one: a speaker that sends but one may leave the mark out (RFC 8277, section 2.2), and the
    label of a withdrawal may be anything. So a stack is believed only when it ends with the mark in front of a route
    distinguisher of a known type and a prefix that isn't too long.
    """
    depth = 2
    while length >= 8 * (_LABEL * depth + _RD):
        after = start + _LABEL * depth
        if data[after - 1] & 1:
            if length - 8 * (_LABEL * depth + _RD) <= bits and data[after] == 0 and data[after + 1] <= 2:
                return depth
            break
        depth += 1
    return 1


def decode_rtc(data: bytes) -> list[bytes]:
    """Read keys of route-target membership. Raises NlriError for lengths of 1..31 and more than 96 bits."""
    keys = []
    position, end = 0, len(data)
    while position < end:
        length = data[position]
        stop = position + 1 + (length + 7 >> 3)
        if 0 < length < 32 or length > 96:
            raise NlriError(f"route-target membership of {length} bits")
        if stop > end:
            raise NlriError(f"an NLRI of {length} bits in {end - position - 1} bytes")
        key = data[position:stop]
        if length & 7:
            key = key[:-1] + _BYTE[key[-1] & _KEEP[length & 7]]
        keys.append(key)
        position = stop
    return keys


def check_unicast(data: bytes, bits: int) -> None:
    """See that prefixes of plain unicast routes are well-formed. Raises NlriError (RFC 7606, section 5.3)."""
    position, end = 0, len(data)
    while position < end:
        if data[position] > bits:
            raise NlriError(f"a prefix of {data[position]} bits")
        position += 1 + (data[position] + 7 >> 3)
    if position > end:
        raise NlriError("the last prefix is cut off")


def encode_vpn(routes: Iterable[Route]) -> list[bytes]:
    """Announced VPN routes as they go onto the wire. Raises EncodeError when the labels leave the prefix no room."""
    try:
        return [_BYTE[8 * len(labels) + 64 + key[-1]] + labels + key[:-1] for key, labels in routes]
    except IndexError:
        raise EncodeError("an NLRI of more than 255 bits") from None


def encode_vpn_withdrawn(keys: Iterable[bytes]) -> list[bytes]:
    """Withdrawn VPN routes as they go onto the wire, with 0x800000 for the label."""
    return [_BYTE[_FIXED_BITS + key[-1]] + b"\x80\0\0" + key[:-1] for key in keys]
