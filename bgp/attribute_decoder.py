"""Reading path attributes: what RFC 7606, section 7, says about each that is malformed.

A reader takes the value of one attribute and gives what the record holds, or raises _Bad. What becomes of an attribute
that is bad stands in a table, not in the readers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, NamedTuple

from bgp.as_path import AS_TRANS, AsPath, AsPathError, SegmentKind, decode_as_path, merge_as4_path
from bgp.attributes import (
    EXTENDED_LENGTH,
    OPTIONAL,
    PARTIAL,
    TRANSITIVE,
    Aggregator,
    AttributeCode,
    Attributes,
    Origin,
    UnknownAttribute,
)
from bgp.errors import Handling, Malformation, UpdateSubcode
from bgp.recent import Recent


class RawAttribute(NamedTuple):
    """One attribute as it came; whole: with its header, as a NOTIFICATION quotes it."""

    flags: int
    code: int
    value: bytes
    whole: bytes


class Decoded(NamedTuple):
    """What a set of attributes says. missing: of well-known attributes that every route has, one that isn't there."""

    attributes: Attributes
    problems: tuple[Malformation, ...] = ()
    missing: Malformation | None = None


class _Bad(Exception):
    """The value is malformed; args: subcode, reason."""


_LENGTH = UpdateSubcode.ATTRIBUTE_LENGTH


def _size(value: bytes, *sizes: int) -> None:
    if len(value) not in sizes:
        raise _Bad(_LENGTH, f"{len(value)} bytes")


def _multiple(value: bytes, size: int, subcode: UpdateSubcode) -> None:
    if not value or len(value) % size:
        raise _Bad(subcode, f"{len(value)} bytes")


_ORIGINS = tuple(Origin)


def _origin(value: bytes) -> Origin:
    _size(value, 1)
    if value[0] >= len(_ORIGINS):
        raise _Bad(UpdateSubcode.INVALID_ORIGIN, f"origin {value[0]}")
    return _ORIGINS[value[0]]


def _next_hop(value: bytes) -> bytes:
    _size(value, 4)
    return value


def _number(value: bytes) -> int:
    _size(value, 4)
    return int.from_bytes(value, "big")


def _flag(value: bytes) -> bool:
    _size(value, 0)
    return True


def _identifier(value: bytes) -> bytes:
    _size(value, 4)
    return value


def _aggregator4(value: bytes) -> Aggregator:
    _size(value, 8)
    return _aggregator(int.from_bytes(value[:4], "big"), value[4:])


def _aggregator2(value: bytes) -> Aggregator:
    _size(value, 6)
    return _aggregator(int.from_bytes(value[:2], "big"), value[2:])


def _aggregator(asn: int, router_id: bytes) -> Aggregator:
    if asn == 0:
        raise _Bad(UpdateSubcode.OPTIONAL_ATTRIBUTE, "AS 0")
    return Aggregator(asn, router_id)


def _communities(value: bytes) -> tuple[int, ...]:
    _multiple(value, 4, _LENGTH)
    return struct.unpack(f"!{len(value) // 4}I", value)


def _pieces(size: int, subcode: UpdateSubcode) -> Callable[[bytes], tuple[bytes, ...]]:
    def read(value: bytes) -> tuple[bytes, ...]:
        _multiple(value, size, subcode)
        return tuple([value[at : at + size] for at in range(0, len(value), size)])

    return read


def _as_path(four_octet: bool, internal: bool) -> Callable[[bytes], AsPath]:
    def read(value: bytes) -> AsPath:
        if not value:
            return ()
        try:
            path = decode_as_path(value, four_octet)
        except AsPathError as error:
            raise _Bad(UpdateSubcode.MALFORMED_AS_PATH, str(error)) from None
        if not internal and any(segment.kind > SegmentKind.SEQUENCE for segment in path):
            raise _Bad(UpdateSubcode.MALFORMED_AS_PATH, "a confederation segment of a peer outside")
        return path

    return read


class _Kind(NamedTuple):
    """field: where the value goes; flags: OPTIONAL and TRANSITIVE as they must be; handling: when malformed."""

    field: str
    flags: int
    read: Callable[[bytes], object]
    handling: Handling = Handling.TREAT_AS_WITHDRAW
    internal_only: bool = False


_BOTH = OPTIONAL | TRANSITIVE
_FIELDS = {field.name for field in fields(Attributes)}
_CACHED = 8192
_CACHED_BYTES = 256
_DISCARD = Handling.ATTRIBUTE_DISCARD
_OPTIONAL_ERROR = UpdateSubcode.OPTIONAL_ATTRIBUTE


def _kinds(four_octet_as: bool, internal: bool) -> dict[int, _Kind]:
    aggregator = _aggregator4 if four_octet_as else _aggregator2
    kinds: dict[int, _Kind] = {
        AttributeCode.ORIGIN: _Kind("origin", TRANSITIVE, _origin),
        AttributeCode.AS_PATH: _Kind("as_path", TRANSITIVE, _as_path(four_octet_as, internal)),
        AttributeCode.NEXT_HOP: _Kind("", TRANSITIVE, _next_hop),
        AttributeCode.MULTI_EXIT_DISC: _Kind("med", OPTIONAL, _number),
        AttributeCode.LOCAL_PREF: _Kind("local_pref", TRANSITIVE, _number, internal_only=True),
        AttributeCode.ATOMIC_AGGREGATE: _Kind("atomic_aggregate", TRANSITIVE, _flag, _DISCARD),
        AttributeCode.AGGREGATOR: _Kind("aggregator", _BOTH, aggregator, _DISCARD),
        AttributeCode.COMMUNITIES: _Kind("communities", _BOTH, _communities),
        AttributeCode.ORIGINATOR_ID: _Kind("originator_id", OPTIONAL, _identifier, internal_only=True),
        AttributeCode.CLUSTER_LIST: _Kind("cluster_list", OPTIONAL, _pieces(4, _LENGTH), internal_only=True),
        AttributeCode.EXTENDED_COMMUNITIES: _Kind("extended_communities", _BOTH, _pieces(8, _OPTIONAL_ERROR)),
        AttributeCode.AS4_PATH: _Kind("as4_path", _BOTH, _as_path(True, True), _DISCARD),
        AttributeCode.AS4_AGGREGATOR: _Kind("as4_aggregator", _BOTH, _aggregator4, _DISCARD),
        AttributeCode.LARGE_COMMUNITIES: _Kind("large_communities", _BOTH, _pieces(12, _OPTIONAL_ERROR)),
    }
    if four_octet_as:
        # RFC 6793, section 4.1: between two speakers of four octets these are discarded, well-formed or not.
        for code in (AttributeCode.AS4_PATH, AttributeCode.AS4_AGGREGATOR):
            kinds[code] = _Kind("", _BOTH, bytes, _DISCARD)
    return kinds


def split_attributes(data: bytes) -> tuple[list[RawAttribute], Malformation | None]:
    """Take a sequence of attributes apart; the second is what is wrong with its end (RFC 7606, section 4)."""
    found: list[RawAttribute] = []
    position, end = 0, len(data)
    while position < end:
        head = 4 if data[position] & EXTENDED_LENGTH else 3
        start = position + head
        if start > end:
            return found, _cut("the header of the last attribute is cut off", None)
        length = int.from_bytes(data[position + 2 : start], "big")
        stop = start + length
        if stop > end:
            why = f"attribute {data[position + 1]} of {length} bytes in {end - start}"
            return found, _cut(why, data[position + 1])
        found.append(RawAttribute(data[position], data[position + 1], data[start:stop], data[position:stop]))
        position = stop
    return found, None


def _cut(why: str, code: int | None) -> Malformation:
    return Malformation(Handling.TREAT_AS_WITHDRAW, UpdateSubcode.MALFORMED_ATTRIBUTE_LIST, b"", why, code)


class AttributeDecoder:
    """Reads the attributes of one kind of session, all but MP_REACH_NLRI and MP_UNREACH_NLRI.

    four_octet_as: both sides speak RFC 6793; internal: the peer is of our AS.
    """

    def __init__(self, *, four_octet_as: bool, internal: bool) -> None:
        self._internal = internal
        self._kinds = _kinds(four_octet_as, internal)
        self._read: Recent[bytes, tuple[str, Any]] = Recent(_CACHED)
        """Field and value by the bytes of a whole attribute that is well-formed."""

    def decode_well_formed(self, data: bytes) -> Attributes | None:
        """The short way: what decode gives for a sequence of attributes in which everything is right.

        None when something is wrong or missing, or is an attribute that is passed on or merged: decode says more.
        """
        known = self._read
        values: dict[str, Any] = {}
        position, end = 0, len(data)
        while position < end:
            if data[position] & EXTENDED_LENGTH:
                stop = position + 4 + int.from_bytes(data[position + 2 : position + 4], "big")
            else:
                stop = position + 3 + int.from_bytes(data[position + 2 : position + 3], "big")
            whole = data[position:stop]
            found = known.get(whole)
            if found is None:
                if stop > end or (found := self._well_formed(whole)) is None:
                    return None
                if len(whole) <= _CACHED_BYTES:
                    known.put(whole, found)
            field, value = found
            if field in values:
                return None
            values[field] = value
            position = stop
        if "origin" not in values or "as_path" not in values or not values.keys() <= _FIELDS:
            return None
        return Attributes(**values)

    def _well_formed(self, whole: bytes) -> tuple[str, Any] | None:
        """Field and value of one attribute that is known and right."""
        flags, code = whole[0], whole[1]
        kind = self._kinds.get(code)
        if kind is None or (flags ^ kind.flags) & _BOTH or (kind.internal_only and not self._internal):
            return None
        try:
            return kind.field, kind.read(whole[4 if flags & EXTENDED_LENGTH else 3 :])
        except _Bad:
            return None

    def decode(self, raw: Iterable[RawAttribute]) -> Decoded:
        """Attributes, and everything that is wrong with them. Of one that comes twice the first counts."""
        values: dict[str, Any] = {}
        problems: list[Malformation] = []
        unknown: list[UnknownAttribute] = []
        seen: set[int] = set()
        for flags, code, value, whole in raw:
            if code in seen:
                problems.append(
                    Malformation(
                        _DISCARD, UpdateSubcode.MALFORMED_ATTRIBUTE_LIST, whole, f"attribute {code} twice", code
                    )
                )
                continue
            seen.add(code)
            kind = self._kinds.get(code)
            if kind is None:
                if not flags & OPTIONAL:
                    problems.append(_unrecognised(code, whole))
                elif flags & TRANSITIVE:
                    unknown.append(UnknownAttribute(code, _BOTH | PARTIAL, value))
            elif kind.internal_only and not self._internal:
                # RFC 7606, sections 7.5, 7.9, 7.10: of an external peer it is discarded, malformed or not.
                problems.append(
                    Malformation(
                        _DISCARD, UpdateSubcode.OPTIONAL_ATTRIBUTE, whole, f"attribute {code} of an external peer", code
                    )
                )
            elif (flags ^ kind.flags) & _BOTH:
                # RFC 7606, section 3 (c).
                problems.append(
                    Malformation(
                        Handling.TREAT_AS_WITHDRAW,
                        UpdateSubcode.ATTRIBUTE_FLAGS,
                        whole,
                        f"attribute {code} with flags 0x{flags:02x}",
                        code,
                    )
                )
            else:
                try:
                    values[kind.field] = kind.read(value)
                except _Bad as bad:
                    subcode, why = bad.args
                    data = b"" if subcode == UpdateSubcode.MALFORMED_AS_PATH else whole
                    problems.append(Malformation(kind.handling, subcode, data, f"attribute {code}: {why}", code))
        missing = next((_missing(code) for code in _MANDATORY if code not in seen), None)
        return Decoded(_attributes(values, tuple(unknown)), tuple(problems), missing)


_MANDATORY = (AttributeCode.ORIGIN, AttributeCode.AS_PATH)
"""Of every route. LOCAL_PREF is mandatory too on an internal session, but has a default everywhere."""


def _missing(code: AttributeCode) -> Malformation:
    return Malformation(
        Handling.TREAT_AS_WITHDRAW,
        UpdateSubcode.MISSING_WELL_KNOWN_ATTRIBUTE,
        bytes((code,)),
        f"{code.name} is missing",
        code,
    )


def _unrecognised(code: int, whole: bytes) -> Malformation:
    return Malformation(
        Handling.SESSION_RESET,
        UpdateSubcode.UNRECOGNISED_WELL_KNOWN_ATTRIBUTE,
        whole,
        f"attribute {code} is said to be well-known",
        code,
    )


def _attributes(values: dict[str, Any], unknown: tuple[UnknownAttribute, ...]) -> Attributes:
    values.pop("", None)
    as4_path: AsPath | None = values.pop("as4_path", None)
    as4_aggregator: Aggregator | None = values.pop("as4_aggregator", None)
    aggregator: Aggregator | None = values.get("aggregator")
    # RFC 6793, section 4.2.3: who aggregated without knowing four octets left AS4_PATH behind, out of date.
    stale = aggregator is not None and as4_aggregator is not None and aggregator.asn != AS_TRANS
    if not stale:
        if as4_aggregator is not None and aggregator is not None:
            values["aggregator"] = as4_aggregator
        if as4_path and "as_path" in values:
            values["as_path"] = merge_as4_path(values["as_path"], as4_path)
    return Attributes(**values, unknown=unknown)
