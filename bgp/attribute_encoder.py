"""Writing path attributes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from bgp.as_path import AS_TRANS, encode_as_path, fits_two_octets, without_confederations
from bgp.attributes import EXTENDED_LENGTH, OPTIONAL, TRANSITIVE, AttributeCode, Attributes
from bgp.communities import is_transitive
from bgp.errors import EncodeError
from bgp.message import MAX_LENGTH
from bgp.recent import Recent

_CACHED = 8192
_BOTH = OPTIONAL | TRANSITIVE


def encode_attribute(flags: int, code: int, value: bytes) -> bytes:
    """One attribute with its header; the length takes two octets only where it must."""
    size = len(value)
    if size > 255:
        return struct.pack("!BBH", flags | EXTENDED_LENGTH, code, size) + value
    return bytes((flags, code, size)) + value


class AttributeEncoder:
    """Writes attributes for one kind of session, each set once, and remembers it.

    four_octet_as: both sides speak RFC 6793, else AS4_PATH and AS4_AGGREGATOR say what two octets can't; internal: the
    peer is of our AS; to others LOCAL_PREF, ORIGINATOR_ID, CLUSTER_LIST and non-transitive extended communities don't
    go. Whether the peer should have a MED, and what our AS adds to the path, was decided before.
    """

    def __init__(self, *, four_octet_as: bool, internal: bool) -> None:
        self._four_octet = four_octet_as
        self._internal = internal
        self._written: Recent[Attributes, bytes] = Recent(_CACHED)

    def encode(self, attributes: Attributes) -> bytes:
        """All attributes but MP_REACH_NLRI, ascending by code (RFC 4271, section 5). Raises EncodeError."""
        written = self._written.get(attributes)
        if written is None:
            try:
                ordered = sorted(self._each(attributes))
                encoded = [encode_attribute(flags, code, value) for code, flags, value in ordered]
            except (struct.error, OverflowError, ValueError) as error:
                raise EncodeError(f"path attributes: {error}") from None
            written = b"".join(encoded)
            if len(written) <= MAX_LENGTH:
                self._written.put(attributes, written)
        return written

    def _each(self, attributes: Attributes) -> Iterator[tuple[int, int, bytes]]:
        """Code, flags and value of each."""
        yield AttributeCode.ORIGIN, TRANSITIVE, bytes((attributes.origin,))
        yield from self._path(attributes)
        if attributes.med is not None:
            yield AttributeCode.MULTI_EXIT_DISC, OPTIONAL, attributes.med.to_bytes(4, "big")
        if attributes.atomic_aggregate:
            yield AttributeCode.ATOMIC_AGGREGATE, TRANSITIVE, b""
        if attributes.communities:
            packed = struct.pack(f"!{len(attributes.communities)}I", *attributes.communities)
            yield AttributeCode.COMMUNITIES, _BOTH, packed
        extended = attributes.extended_communities
        if self._internal:
            if attributes.local_pref is not None:
                yield AttributeCode.LOCAL_PREF, TRANSITIVE, attributes.local_pref.to_bytes(4, "big")
            if attributes.originator_id is not None:
                yield AttributeCode.ORIGINATOR_ID, OPTIONAL, attributes.originator_id
            if attributes.cluster_list:
                yield AttributeCode.CLUSTER_LIST, OPTIONAL, b"".join(attributes.cluster_list)
        else:
            extended = tuple(filter(is_transitive, extended))
        if extended:
            yield AttributeCode.EXTENDED_COMMUNITIES, _BOTH, b"".join(extended)
        if attributes.large_communities:
            yield AttributeCode.LARGE_COMMUNITIES, _BOTH, b"".join(attributes.large_communities)
        yield from attributes.unknown

    def _path(self, attributes: Attributes) -> Iterator[tuple[int, int, bytes]]:
        """AS_PATH and AGGREGATOR, and what goes beside them to a speaker of two octets (RFC 6793, section 4.2.2)."""
        path, aggregator = attributes.as_path, attributes.aggregator
        yield AttributeCode.AS_PATH, TRANSITIVE, encode_as_path(path, self._four_octet)
        if not self._four_octet and not fits_two_octets(path):
            yield AttributeCode.AS4_PATH, _BOTH, encode_as_path(without_confederations(path), True)
        if aggregator is None:
            return
        if self._four_octet:
            yield AttributeCode.AGGREGATOR, _BOTH, aggregator.asn.to_bytes(4, "big") + aggregator.router_id
            return
        large = aggregator.asn > 0xFFFF
        two_octets = (AS_TRANS if large else aggregator.asn).to_bytes(2, "big")
        yield AttributeCode.AGGREGATOR, _BOTH, two_octets + aggregator.router_id
        if large:
            yield AttributeCode.AS4_AGGREGATOR, _BOTH, aggregator.asn.to_bytes(4, "big") + aggregator.router_id
