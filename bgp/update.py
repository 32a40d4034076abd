"""UPDATE as it comes in (RFC 4271, section 4.3; RFC 4760), with the decisions of RFC 7606.

Two ways lead through the decoder. The short one is for what peers send nearly always: nothing but path attributes,
among them MP_REACH_NLRI, all others seen before as exactly these bytes. Everything else, and whatever the short way
stumbles on, goes the long way, which takes the message apart attribute by attribute and names what is wrong with it.
Both give the same result for the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from bgp.as_path import first_as, format_as_path
from bgp.attribute_decoder import AttributeDecoder, RawAttribute, split_attributes
from bgp.attributes import OPTIONAL, TRANSITIVE, AttributeCode, Attributes
from bgp.errors import BgpError, Handling, Malformation, UpdateSubcode
from bgp.family import IPV4_UNICAST, RTC, VPNV4, VPNV6, Family
from bgp.next_hop import decode_next_hop, is_usable
from bgp.nlri import NlriError, Route, check_unicast, decode_rtc, decode_vpn, decode_vpn_withdrawn
from bgp.recent import Recent

FAMILIES = frozenset((VPNV4, VPNV6, RTC))
"""The families whose routes can be read and written."""

_MP_REACH = int(AttributeCode.MP_REACH_NLRI)
_MP_UNREACH = int(AttributeCode.MP_UNREACH_NLRI)
_SHARED_SETS = 32768
_CACHED_SETS = 8192
_CACHED_NEXT_HOPS = 4096
_CACHED_BYTES = 512
"""Longer attribute sets are rare, and are not remembered: a peer must not fill the memory with them."""


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """What the session agreed on.

    families: those that both sides announced; four_octet_as: both sides speak RFC 6793; internal: the peer is of our
    AS; disable_families: NLRI that can't be read cost the peer the family and not the session (RFC 7606, section 5.3).
    first_as: the AS that every AS_PATH must begin with, an external peer's own (RFC 4271, section 6.3); None: any.
    """

    families: frozenset[Family]
    four_octet_as: bool = True
    internal: bool = True
    disable_families: bool = False
    first_as: int | None = None


class Reach(NamedTuple):
    """Announced routes of one family.

    next_hop: 4, 16 or 32 bytes, see bgp.next_hop; routes: key and label stack of each, see bgp.nlri.
    """

    family: Family
    next_hop: bytes
    routes: list[Route]


class Unreach(NamedTuple):
    """Withdrawn routes of one family, by their keys (bgp.nlri)."""

    family: Family
    keys: list[bytes]


class Update(NamedTuple):
    """What an UPDATE says, after RFC 7606: routes that are to be treated as withdrawn are in unreach.

    Withdraw first, then announce: a route that is in both is announced (RFC 4271, section 4.3). Attributes are there
    when reach is. problems are for the log and the counters, but one with DISABLE_FAMILY: all routes of its family must
    go, and the decoder ignores the family from now on.
    """

    attributes: Attributes | None = None
    reach: Reach | None = None
    unreach: tuple[Unreach, ...] = ()
    end_of_rib: Family | None = None
    problems: tuple[Malformation, ...] = ()


class AttributeTable:
    """Makes one object of equal attribute sets, those in use of late; share one among all sessions."""

    __slots__ = ("_sets",)

    def __init__(self, limit: int = _SHARED_SETS) -> None:
        self._sets: Recent[Attributes, Attributes] = Recent(limit)

    def intern(self, attributes: Attributes) -> Attributes:
        """The set that is known already, or this one."""
        return self._sets.get(attributes) or self._sets.put(attributes, attributes)


class _Head(NamedTuple):
    """What is in front of the NLRI of an MP_REACH_NLRI: family and next hop; and how to go on."""

    family: Family
    next_hop: bytes
    routes: Callable[[bytes], list[Route]]


def _rtc_routes(data: bytes) -> list[Route]:
    return [(key, b"") for key in decode_rtc(data)]


_ROUTES: dict[Family, Callable[[bytes], list[Route]]] = {
    VPNV4: partial(decode_vpn, bits=32),
    VPNV6: partial(decode_vpn, bits=128),
    RTC: _rtc_routes,
}
_KEYS: dict[Family, Callable[[bytes], list[bytes]]] = {
    VPNV4: partial(decode_vpn_withdrawn, bits=32),
    VPNV6: partial(decode_vpn_withdrawn, bits=128),
    RTC: decode_rtc,
}


class UpdateDecoder:
    """Reads the UPDATEs of one session. table: where attribute sets are made one; its own by default."""

    def __init__(self, options: UpdateOptions, table: AttributeTable | None = None) -> None:
        self._options = options
        self._families = options.families & FAMILIES
        self._by_name = {family.packed: family for family in self._families}
        self._attributes = AttributeDecoder(four_octet_as=options.four_octet_as, internal=options.internal)
        self._table = AttributeTable() if table is None else table
        self._seen: Recent[bytes, Attributes] = Recent(_CACHED_SETS)
        """Well-formed and complete sets by their bytes without MP_REACH_NLRI."""
        self._heads: Recent[bytes, _Head] = Recent(_CACHED_NEXT_HOPS)
        """By the bytes of MP_REACH_NLRI in front of the NLRI."""

    def decode(self, body: bytes) -> Update:
        """Read the body (without header, at least 4 bytes) of an UPDATE.

        Raises BgpError (3/x) when the session must end.
        """
        end = len(body)
        try:
            if not (body[0] or body[1]) and (body[2] << 8 | body[3]) + 4 == end:
                position = 4
                while position < end:
                    if body[position] & 0x10:
                        start = position + 4
                        stop = start + (body[position + 2] << 8 | body[position + 3])
                    else:
                        start = position + 3
                        stop = start + body[position + 2]
                    code = body[position + 1]
                    if code == _MP_REACH:
                        after = start + 5 + body[start + 3]
                        head = self._heads.get(body[start:after])
                        if head is None or after > stop or stop > end or body[position] & 0xC0 != OPTIONAL:
                            break
                        others = body[4:position] + body[stop:]
                        attributes = self._seen.get(others) or self._well_formed(others)
                        if attributes is None:
                            break
                        reached, next_hop, read = head
                        return Update(attributes, Reach(reached, next_hop, read(body[after:stop])))
                    if code == _MP_UNREACH:
                        family = self._by_name.get(body[start : start + 3])
                        if family is None or position != 4 or stop != end or stop == start + 3:
                            break
                        if body[position] & 0xC0 != OPTIONAL:
                            break
                        return Update(None, None, (Unreach(family, _KEYS[family](body[start + 3 : stop])),))
                    position = stop
        except (IndexError, NlriError):
            # The long way says what is wrong.
            pass
        return self._decode(body)

    def _well_formed(self, others: bytes) -> Attributes | None:
        """The attributes beside MP_REACH_NLRI where nothing is wrong with them; None when something may be."""
        attributes = self._attributes.decode_well_formed(others)
        if attributes is None or self._wrong_as(attributes):
            return None
        if len(others) > _CACHED_BYTES:
            return attributes
        return self._seen.put(others, self._table.intern(attributes))

    def _wrong_as(self, attributes: Attributes) -> bool:
        """Whether an external peer has not put its own AS in front of AS_PATH."""
        expected = self._options.first_as
        return expected is not None and first_as(attributes.as_path) != expected

    def _decode(self, body: bytes) -> Update:
        """The long way."""
        withdrawn, raw, cut, announced = _sections(body)
        mp: dict[int, RawAttribute] = {}
        others: list[RawAttribute] = []
        for one in raw:
            if one.code not in (_MP_REACH, _MP_UNREACH):
                others.append(one)
            elif one.code in mp:
                raise _reset(UpdateSubcode.MALFORMED_ATTRIBUTE_LIST, b"", f"attribute {one.code} twice")
            else:
                mp[one.code] = one
        if not (raw or cut or withdrawn or announced):
            return self._end_of_rib(IPV4_UNICAST)
        unreach_attribute, reach_attribute = mp.get(_MP_UNREACH), mp.get(_MP_REACH)
        if (
            unreach_attribute
            and len(unreach_attribute.value) == 3
            and len(raw) == 1
            and not (cut or withdrawn or announced)
        ):
            afi, safi = int.from_bytes(unreach_attribute.value[:2], "big"), unreach_attribute.value[2]
            return self._end_of_rib(Family(afi, safi))

        problems: list[Malformation] = [] if cut is None else [cut]
        if withdrawn or announced:
            problems += _unicast(withdrawn, announced)
        unreach: list[Unreach] = []
        reach: Reach | None = None
        if unreach_attribute:
            found, wrong = self._unreach(unreach_attribute)
            unreach += [found] if found else []
            problems += wrong
        if reach_attribute:
            reach, wrong = self._reach(reach_attribute)
            problems += wrong
        decoded = self._attributes.decode(others)
        problems += decoded.problems
        reachable = bool(announced) or (reach_attribute is not None and _has_nlri(reach_attribute))
        if decoded.missing and reachable:
            problems.append(decoded.missing)
        elif reachable and not _about_as_path(decoded.problems) and self._wrong_as(decoded.attributes):
            # RFC 4271, section 6.3; treated as withdrawn by RFC 7606, section 7.2.
            path = format_as_path(decoded.attributes.as_path) or "empty"
            why = f"AS_PATH {path} doesn't begin with AS {self._options.first_as}"
            problems.append(
                Malformation(
                    Handling.TREAT_AS_WITHDRAW, UpdateSubcode.MALFORMED_AS_PATH, b"", why, AttributeCode.AS_PATH
                )
            )
        self._judge(problems, located=reachable or (not cut and not others and not reach_attribute))
        if reach and any(one.handling is Handling.TREAT_AS_WITHDRAW for one in problems):
            unreach.append(Unreach(reach.family, [key for key, _ in reach.routes]))
            reach = None
        if reach is None:
            return Update(None, None, tuple(unreach), None, tuple(problems))
        attributes = decoded.attributes
        joined = b"".join([one.whole for one in others])
        if len(joined) <= _CACHED_BYTES:
            attributes = self._table.intern(attributes)
            if not problems and not decoded.missing:
                self._seen.put(joined, attributes)
        return Update(attributes, reach, tuple(unreach), None, tuple(problems))

    def _end_of_rib(self, family: Family) -> Update:
        return Update(end_of_rib=family) if family in self._families else Update()

    def _judge(self, problems: list[Malformation], *, located: bool) -> None:
        """Raises BgpError when a problem is the end of the session; ignores families from now on that are disabled.

        located: the NLRI were surely found. Where attributes come with no reachable NLRI some may be lost in what can't
        be read, and withdrawing them isn't possible (RFC 7606, section 5.2).
        """
        worst = max(problems, key=lambda problem: problem.handling, default=None)
        if worst is None or worst.handling is Handling.ATTRIBUTE_DISCARD:
            return
        if worst.handling is Handling.SESSION_RESET or not located:
            raise worst.error()
        if worst.handling is Handling.DISABLE_FAMILY:
            if not self._options.disable_families:
                raise worst.error()
            self._families -= {one.family for one in problems if one.handling is Handling.DISABLE_FAMILY}
            self._by_name = {family.packed: family for family in self._families}
            self._heads = Recent(_CACHED_NEXT_HOPS)

    def _reach(self, attribute: RawAttribute) -> tuple[Reach | None, list[Malformation]]:
        """MP_REACH_NLRI (RFC 4760, section 3; RFC 7606, section 7.11). Raises BgpError 3/9."""
        value = attribute.value
        if len(value) < 5 or (after := 5 + value[3]) > len(value):
            raise _reset(UpdateSubcode.OPTIONAL_ATTRIBUTE, attribute.whole, "MP_REACH_NLRI is too short")
        family = Family(value[0] << 8 | value[1], value[2])
        if family not in self._families:
            return None, [_not_agreed(attribute, family)]
        next_hop = decode_next_hop(family, value[4 : after - 1])
        if next_hop is None:
            raise _reset(
                UpdateSubcode.OPTIONAL_ATTRIBUTE, attribute.whole, f"a next hop of {value[3]} bytes for {family}"
            )
        problems = _flags(attribute)
        try:
            routes = _ROUTES[family](value[after:])
        except NlriError as error:
            return None, [*problems, _bad_nlri(attribute, family, error)]
        # Nothing is sent to the next hop of membership, and some announce it with 0.0.0.0.
        if family != RTC and not is_usable(next_hop):
            why = f"next hop {next_hop.hex()} is no unicast address"
            problems.append(
                Malformation(
                    Handling.TREAT_AS_WITHDRAW, UpdateSubcode.INVALID_NEXT_HOP, attribute.whole, why, attribute.code
                )
            )
        if not problems:
            self._heads.put(value[:after], _Head(family, next_hop, _ROUTES[family]))
        return (Reach(family, next_hop, routes) if routes else None), problems

    def _unreach(self, attribute: RawAttribute) -> tuple[Unreach | None, list[Malformation]]:
        """MP_UNREACH_NLRI (RFC 4760, section 4; RFC 7606, section 7.12). Raises BgpError 3/9."""
        value = attribute.value
        if len(value) < 3:
            raise _reset(UpdateSubcode.OPTIONAL_ATTRIBUTE, attribute.whole, "MP_UNREACH_NLRI is too short")
        family = Family(value[0] << 8 | value[1], value[2])
        if family not in self._families:
            return None, [_not_agreed(attribute, family)]
        problems = _flags(attribute)
        try:
            keys = _KEYS[family](value[3:])
        except NlriError as error:
            return None, [*problems, _bad_nlri(attribute, family, error)]
        return (Unreach(family, keys) if keys else None), problems


def _sections(body: bytes) -> tuple[bytes, list[RawAttribute], Malformation | None, bytes]:
    """Withdrawn routes, attributes and what is wrong with their end, NLRI. Raises BgpError 3/1."""
    end = len(body)
    start = 2 + (body[0] << 8 | body[1])
    if start + 2 > end or (stop := start + 2 + (body[start] << 8 | body[start + 1])) > end:
        raise _reset(UpdateSubcode.MALFORMED_ATTRIBUTE_LIST, b"", "the lengths in the UPDATE exceed its own")
    raw, cut = split_attributes(body[start + 2 : stop])
    return body[2:start], raw, cut, body[stop:]


def _has_nlri(reach: RawAttribute) -> bool:
    """Whether an MP_REACH_NLRI, whose next hop is known to fit, announces anything, readable or not."""
    return len(reach.value) > 5 + reach.value[3]


def _unicast(withdrawn: bytes, announced: bytes) -> list[Malformation]:
    """The fields of IPv4 unicast, which is never agreed on: well-formed they must be. Raises BgpError 3/10."""
    try:
        check_unicast(withdrawn, 32)
        check_unicast(announced, 32)
    except NlriError as error:
        raise _reset(UpdateSubcode.INVALID_NETWORK_FIELD, b"", str(error)) from None
    why = f"{IPV4_UNICAST} was not agreed on"
    return [Malformation(Handling.ATTRIBUTE_DISCARD, UpdateSubcode.INVALID_NETWORK_FIELD, b"", why)]


def _about_as_path(problems: Iterable[Malformation]) -> bool:
    return any(one.attribute == AttributeCode.AS_PATH for one in problems)


def _flags(attribute: RawAttribute) -> list[Malformation]:
    """Both are optional and non-transitive."""
    if attribute.flags & (OPTIONAL | TRANSITIVE) == OPTIONAL:
        return []
    why = f"attribute {attribute.code} with flags 0x{attribute.flags:02x}"
    return [
        Malformation(Handling.TREAT_AS_WITHDRAW, UpdateSubcode.ATTRIBUTE_FLAGS, attribute.whole, why, attribute.code)
    ]


def _not_agreed(attribute: RawAttribute, family: Family) -> Malformation:
    return Malformation(
        Handling.ATTRIBUTE_DISCARD,
        UpdateSubcode.OPTIONAL_ATTRIBUTE,
        attribute.whole,
        f"{family} was not agreed on",
        attribute.code,
    )


def _bad_nlri(attribute: RawAttribute, family: Family, error: NlriError) -> Malformation:
    return Malformation(
        Handling.DISABLE_FAMILY,
        UpdateSubcode.OPTIONAL_ATTRIBUTE,
        attribute.whole,
        f"{family}: {error}",
        attribute.code,
        family,
    )


def _reset(subcode: UpdateSubcode, data: bytes, why: str) -> BgpError:
    return Malformation(Handling.SESSION_RESET, subcode, data, why).error()
