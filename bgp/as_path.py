"""AS_PATH (RFC 4271, section 4.3), with two or four octets an AS number (RFC 6793)."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

AS_TRANS = 23456
"""Stands for an AS number that doesn't fit two octets (RFC 6793)."""


class SegmentKind(enum.IntEnum):
    """RFC 4271, section 4.3; RFC 5065, section 3."""

    SET = 1
    SEQUENCE = 2
    CONFED_SEQUENCE = 3
    CONFED_SET = 4


class Segment(NamedTuple):
    """AS numbers of one segment, in their order; at least one, none is 0 (RFC 7607)."""

    kind: SegmentKind
    numbers: tuple[int, ...]


AsPath = tuple[Segment, ...]
"""Empty for a route that was originated in our own AS."""


class AsPathError(ValueError):
    """The value is no AS path."""


_KINDS = {kind.value: kind for kind in SegmentKind}
_FORMATS = {True: (4, "I"), False: (2, "H")}


def decode_as_path(value: bytes, four_octet: bool) -> AsPath:
    """Read the attribute's value. Raises AsPathError (RFC 7606, section 7.2; RFC 7607)."""
    size, letter = _FORMATS[four_octet]
    segments = []
    position, end = 0, len(value)
    while position < end:
        if position + 2 > end:
            raise AsPathError("a segment is cut off")
        kind, count = _KINDS.get(value[position]), value[position + 1]
        if kind is None:
            raise AsPathError(f"segment type {value[position]}")
        if count == 0:
            raise AsPathError("a segment without AS numbers")
        stop = position + 2 + count * size
        if stop > end:
            raise AsPathError("a segment is longer than the attribute")
        numbers = struct.unpack(f"!{count}{letter}", value[position + 2 : stop])
        if 0 in numbers:
            raise AsPathError("AS 0")
        segments.append(Segment(kind, numbers))
        position = stop
    return tuple(segments)


def encode_as_path(path: AsPath, four_octet: bool) -> bytes:
    """The attribute's value; for two octets, AS numbers that don't fit are AS_TRANS. Long segments are cut in parts."""
    _, letter = _FORMATS[four_octet]
    parts = []
    for kind, numbers in path:
        for start in range(0, len(numbers), 255):
            part = numbers[start : start + 255]
            if not four_octet:
                part = tuple(number if number <= 0xFFFF else AS_TRANS for number in part)
            parts.append(struct.pack(f"!BB{len(part)}{letter}", kind, len(part), *part))
    return b"".join(parts)


def fits_two_octets(path: AsPath) -> bool:
    """Whether no AS number needs AS4_PATH beside it (RFC 6793, section 4.2.2)."""
    return all(number <= 0xFFFF for segment in path for number in segment.numbers)


def without_confederations(path: AsPath) -> AsPath:
    """The segments that AS4_PATH and other ASes see (RFC 6793, section 4.2.2)."""
    return tuple(segment for segment in path if segment.kind <= SegmentKind.SEQUENCE)


def path_length(path: AsPath) -> int:
    """What the decision process counts: a set is one, confederation segments nothing (RFC 4271, 9.1.2.2; RFC 5065)."""
    length = 0
    for kind, numbers in path:
        if kind is SegmentKind.SEQUENCE:
            length += len(numbers)
        elif kind is SegmentKind.SET:
            length += 1
    return length


def contains(path: AsPath, asn: int) -> bool:
    """Whether an AS number is anywhere in the path: a loop, if it's ours."""
    return any(asn in segment.numbers for segment in path)


def first_as(path: AsPath) -> int | None:
    """The AS that the route came from; None for an empty path or one that begins with a set."""
    return path[0].numbers[0] if path and path[0].kind is SegmentKind.SEQUENCE else None


def prepend(path: AsPath, asn: int) -> AsPath:
    """The path as another AS shall see it (RFC 4271, section 5.1.2)."""
    if path and path[0].kind is SegmentKind.SEQUENCE and len(path[0].numbers) < 255:
        return (Segment(SegmentKind.SEQUENCE, (asn, *path[0].numbers)), *path[1:])
    return (Segment(SegmentKind.SEQUENCE, (asn,)), *path)


def merge_as4_path(path: AsPath, as4_path: AsPath) -> AsPath:
    """The true path of a two-octet AS_PATH and an AS4_PATH (RFC 6793, section 4.2.3).

    AS4_PATH replaces the end of AS_PATH; it is ignored where it is longer than the whole.
    """
    as4_path = without_confederations(as4_path)
    keep = path_length(path) - path_length(as4_path)
    if not as4_path or keep < 0:
        return path
    head: list[Segment] = []
    for segment in path:
        if segment.kind > SegmentKind.SEQUENCE:
            # Confederation segments count nothing: those before the last AS that is kept, and at the front, stay.
            if keep or not any(one.kind <= SegmentKind.SEQUENCE for one in head):
                head.append(segment)
            continue
        if keep == 0:
            break
        if segment.kind is SegmentKind.SET:
            head.append(segment)
            keep -= 1
        else:
            head.append(Segment(segment.kind, segment.numbers[:keep]))
            keep -= min(keep, len(segment.numbers))
    if head and head[-1].kind is as4_path[0].kind is SegmentKind.SEQUENCE:
        joined = head.pop().numbers + as4_path[0].numbers
        return (*head, Segment(SegmentKind.SEQUENCE, joined), *as4_path[1:])
    return (*head, *as4_path)


def format_as_path(path: AsPath) -> str:
    """As routers write it: "64512 64513 {64514,64515} (64516)"."""
    texts = []
    for kind, numbers in path:
        match kind:
            case SegmentKind.SEQUENCE:
                texts.append(" ".join(map(str, numbers)))
            case SegmentKind.SET:
                texts.append("{" + ",".join(map(str, numbers)) + "}")
            case SegmentKind.CONFED_SEQUENCE:
                texts.append("(" + " ".join(map(str, numbers)) + ")")
            case SegmentKind.CONFED_SET:
                texts.append("[" + ",".join(map(str, numbers)) + "]")
    return " ".join(texts)
