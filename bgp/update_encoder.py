"""UPDATEs as they go out: many NLRI of one attribute set in as few messages as the peer's size allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bgp.attribute_encoder import AttributeEncoder
from bgp.attributes import EXTENDED_LENGTH, OPTIONAL, AttributeCode, Attributes
from bgp.errors import EncodeError
from bgp.family import IPV4_UNICAST, RTC, Family
from bgp.message import HEADER_LENGTH, MARKER, MAX_LENGTH, MessageType
from bgp.next_hop import encode_next_hop
from bgp.nlri import Route, encode_vpn, encode_vpn_withdrawn
from bgp.update import UpdateOptions

_UPDATE = bytes((MessageType.UPDATE,))
_NO_WITHDRAWN = b"\0\0"
_FIXED = HEADER_LENGTH + 4
"""Bytes of the header and of the two length fields."""
_MP_HEADER = 4
"""Bytes of flags, code and extended length."""
_REACH = int(AttributeCode.MP_REACH_NLRI)
_UNREACH = int(AttributeCode.MP_UNREACH_NLRI)


class UpdateEncoder:
    """Writes UPDATEs for all sessions that agreed on the same options; max_length: the largest message they take."""

    def __init__(self, options: UpdateOptions, max_length: int = MAX_LENGTH) -> None:
        self._attributes = AttributeEncoder(four_octet_as=options.four_octet_as, internal=options.internal)
        self._max_length = max_length

    def announce(self, family: Family, attributes: Attributes, next_hop: bytes, routes: Iterable[Route]) -> list[bytes]:
        """Messages that announce the routes (key and label stack each, see bgp.nlri), in their order.

        next_hop: 4, 16 or 32 bytes, see bgp.next_hop. Raises EncodeError when the attributes leave no room for an NLRI
        (RFC 8654, section 4: such a route isn't announced) or a value doesn't fit its field.
        """
        pieces = [key for key, _ in routes] if family == RTC else encode_vpn(routes)
        encoded = self._attributes.encode(attributes)
        field = encode_next_hop(family, next_hop)
        head = b"".join((family.packed, bytes((len(field),)), field, b"\0"))
        room = self._max_length - _FIXED - _MP_HEADER - len(head) - len(encoded)
        # RFC 7606, section 5.1: MP_REACH_NLRI comes first, so that its NLRI are found whatever is wrong behind it.
        return [_message(_REACH, head, nlri, encoded) for nlri in _chunks(pieces, room)]

    def withdraw(self, family: Family, keys: Iterable[bytes]) -> list[bytes]:
        """Messages that withdraw the routes. Never in one UPDATE with announcements (RFC 7606, section 5.1)."""
        pieces = list(keys) if family == RTC else encode_vpn_withdrawn(keys)
        head = family.packed
        room = self._max_length - _FIXED - _MP_HEADER - len(head)
        return [_message(_UNREACH, head, nlri, b"") for nlri in _chunks(pieces, room)]


def end_of_rib(family: Family) -> bytes:
    """The End-of-RIB marker of a family (RFC 4724, section 2)."""
    if family == IPV4_UNICAST:
        return b"".join((MARKER, _FIXED.to_bytes(2, "big"), _UPDATE, bytes(4)))
    return _message(_UNREACH, family.packed, b"", b"")


def _message(code: int, head: bytes, nlri: bytes, attributes: bytes) -> bytes:
    size = len(head) + len(nlri)
    if size > 255:
        mp = bytes((OPTIONAL | EXTENDED_LENGTH, code, size >> 8, size & 255))
    else:
        mp = bytes((OPTIONAL, code, size))
    total = len(mp) + size + len(attributes)
    return b"".join(
        (
            MARKER,
            (_FIXED + total).to_bytes(2, "big"),
            _UPDATE,
            _NO_WITHDRAWN,
            total.to_bytes(2, "big"),
            mp,
            head,
            nlri,
            attributes,
        )
    )


def _chunks(pieces: Sequence[bytes], room: int) -> list[bytes]:
    """The pieces joined, in as few chunks of at most `room` bytes as their order allows."""
    whole = b"".join(pieces)
    if len(whole) <= room:
        return [whole] if whole else []
    sizes = set(map(len, pieces))
    if max(sizes) > room:
        raise EncodeError(f"an NLRI of {max(sizes)} bytes; the attributes leave room for {max(room, 0)}")
    if len(sizes) == 1:
        step = room - room % sizes.pop()
        return [whole[start : start + step] for start in range(0, len(whole), step)]
    chunks = []
    start = position = 0
    for piece in pieces:
        if position + len(piece) - start > room:
            chunks.append(whole[start:position])
            start = position
        position += len(piece)
    chunks.append(whole[start:])
    return chunks
