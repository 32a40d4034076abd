"""Malformed UPDATEs: what becomes of each (RFC 7606, RFC 4271 section 6.3), and what a NOTIFICATION says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.as_path import Segment, SegmentKind
from bgp.attributes import Attributes
from bgp.errors import BgpError, Handling, UpdateSubcode
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.nlri import rtc_key
from bgp.update import Reach, Unreach, Update, UpdateDecoder, UpdateOptions
from tests.unit.bgp.codec_wire import (
    AS_PATH,
    EXTENDED,
    EXTERNAL,
    GOOD,
    LABEL,
    LOCAL_PREF,
    NEXT_HOP,
    OPTIONS,
    ORIGIN,
    ROUTE,
    attribute,
    key,
    reach,
    unreach,
    update,
    vpn,
)

WITHDRAWN = (Unreach(VPNV4, [key("10.14.0.0/24")]),)
REACHED = Reach(VPNV4, NEXT_HOP, [(key("10.14.0.0/24"), LABEL)])
TWO_OCTETS = replace(OPTIONS, four_octet_as=False)
REST = AS_PATH + LOCAL_PREF + EXTENDED

ORIGIN_9 = attribute(0x40, 1, b"\x09")
UNKNOWN_WELL_KNOWN = bytes.fromhex("404d0178")


def warmed(options: UpdateOptions = OPTIONS) -> UpdateDecoder:
    """A decoder that has seen good UPDATEs, so that the short way is open."""
    decoder = UpdateDecoder(options)
    path = attribute(0x40, 2, bytes.fromhex("0201") + (options.first_as or 64513).to_bytes(4, "big"))
    good = update(ROUTE, ORIGIN, path if options.four_octet_as else AS_PATH, EXTENDED)
    assert decoder.decode(good) == decoder.decode(good)
    return decoder


def refused(body: bytes, options: UpdateOptions = OPTIONS) -> tuple[int, str]:
    """code/subcode and data of the NOTIFICATION."""
    found = []
    for decoder in (UpdateDecoder(options), warmed(options)):
        with pytest.raises(BgpError) as caught:
            decoder.decode(body)
        found.append((caught.value.code * 100 + caught.value.subcode, caught.value.data.hex()))
    assert found[0] == found[1]
    return found[0]


def decoded(body: bytes, options: UpdateOptions = OPTIONS) -> Update:
    found = [UpdateDecoder(options).decode(body), warmed(options).decode(body)]
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("attributes", "subcode", "data"),
    [
        pytest.param(ORIGIN_9 + REST, 6, "40010109", id="ORIGIN 9"),
        pytest.param(attribute(0x40, 1, b"\0\0") + REST, 5, "4001020000", id="ORIGIN of 2 bytes"),
        pytest.param(attribute(0x40, 1, b"") + REST, 5, "400100", id="ORIGIN of 0 bytes"),
        pytest.param(REST, 3, "01", id="no ORIGIN"),
        pytest.param(ORIGIN + LOCAL_PREF, 3, "02", id="no AS_PATH"),
        pytest.param(ORIGIN + attribute(0x40, 2, bytes.fromhex("0202 0000fc00")), 11, "", id="AS_PATH cut off"),
        pytest.param(ORIGIN + attribute(0x40, 2, bytes.fromhex("0501 0000fc00")), 11, "", id="segment type 5"),
        pytest.param(ORIGIN + attribute(0x40, 2, bytes.fromhex("0200")), 11, "", id="empty segment"),
        pytest.param(ORIGIN + attribute(0x40, 2, bytes.fromhex("0201 00000000")), 11, "", id="AS 0 in the path"),
        pytest.param(GOOD + attribute(0x40, 3, b"\1\2\3"), 5, "400303010203", id="NEXT_HOP of 3 bytes"),
        pytest.param(GOOD + attribute(0x80, 4, b"\0\0\1"), 5, "800403000001", id="MED of 3 bytes"),
        pytest.param(ORIGIN + AS_PATH + attribute(0x40, 5, b"\0" * 5), 5, "4005050000000000", id="LOCAL_PREF of 5"),
        pytest.param(GOOD + attribute(0xC0, 8, b"\0" * 6), 5, "c00806000000000000", id="communities of 6 bytes"),
        pytest.param(GOOD + attribute(0xC0, 8, b""), 5, "c00800", id="empty communities"),
        pytest.param(GOOD + attribute(0x80, 9, b"\1\2"), 5, "8009020102", id="ORIGINATOR_ID of 2 bytes"),
        pytest.param(GOOD + attribute(0x80, 10, b"\1\2"), 5, "800a020102", id="CLUSTER_LIST of 2 bytes"),
        pytest.param(GOOD + attribute(0x80, 10, b""), 5, "800a00", id="empty CLUSTER_LIST"),
        pytest.param(
            ORIGIN + AS_PATH + attribute(0xC0, 16, b"\0" * 7), 9, "c01007" + "00" * 7, id="ext communities of 7 bytes"
        ),
        pytest.param(GOOD + attribute(0xC0, 32, b"\0" * 8), 9, "c02008" + "00" * 8, id="large communities of 8 bytes"),
        pytest.param(attribute(0xC0, 1, b"\0") + REST, 4, "c0010100", id="ORIGIN with optional flag"),
        pytest.param(GOOD + attribute(0xC0, 4, b"\0" * 4), 4, "c0040400000000", id="MED with transitive flag"),
        pytest.param(GOOD + attribute(0x80, 8, b"\0" * 4), 4, "80080400000000", id="communities without it"),
        pytest.param(GOOD + attribute(0xC0, 6, b""), 4, "c00600", id="ATOMIC_AGGREGATE with optional flag"),
        pytest.param(GOOD + attribute(0x80, 99, b"abcd", 200), 1, "", id="attribute longer than all"),
        pytest.param(GOOD + b"\x80", 1, "", id="one byte behind the attributes"),
        pytest.param(GOOD + b"\x90\x63\x00", 1, "", id="header with extended length cut off"),
    ],
)
def test_treated_as_withdrawn(attributes: bytes, subcode: int, data: str) -> None:
    got = decoded(update(ROUTE, attributes))
    assert (got.attributes, got.reach, got.unreach) == (None, None, WITHDRAWN)
    (problem,) = got.problems
    assert (problem.handling, problem.subcode, problem.data.hex()) == (Handling.TREAT_AS_WITHDRAW, subcode, data)


@pytest.mark.parametrize(
    ("attributes", "subcode"),
    [
        pytest.param(ORIGIN_9 + REST, 306, id="ORIGIN 9"),
        pytest.param(GOOD + attribute(0x80, 99, b"abcd", 200), 301, id="attribute longer than all"),
    ],
)
def test_what_cannot_be_withdrawn_ends_the_session(attributes: bytes, subcode: int) -> None:
    """RFC 7606, section 5.2: no reachable NLRI was found; it may be in what can't be read."""
    assert refused(update(attributes))[0] == subcode
    assert refused(update(unreach(vpn("10.14.0.0/24")), attributes))[0] == subcode
    assert refused(update(reach(b""), attributes))[0] == subcode


def test_bad_flags_of_mp_unreach_alone_withdraw_all_the_same() -> None:
    got = decoded(update(unreach(vpn("10.14.0.0/24"), flags=0xC0)))
    assert got.unreach == WITHDRAWN
    assert [problem.subcode for problem in got.problems] == [4]


def test_bad_flags_of_mp_reach_withdraw() -> None:
    for flags in (0xC0, 0x40, 0x00):
        got = decoded(update(reach(vpn("10.14.0.0/24"), flags=flags), ORIGIN, AS_PATH, EXTENDED))
        assert (got.reach, got.unreach) == (None, WITHDRAWN)
    partial = decoded(update(reach(vpn("10.14.0.0/24"), flags=0xA0), ORIGIN, AS_PATH, EXTENDED))
    assert partial.reach == REACHED


def test_routes_of_two_families_are_withdrawn_together() -> None:
    body = update(ROUTE, ORIGIN_9, REST, unreach(vpn("2001:db8::/64"), family=VPNV6))
    assert decoded(body).unreach == (Unreach(VPNV6, [key("2001:db8::/64")]), *WITHDRAWN)


@pytest.mark.parametrize(
    ("bad", "options"),
    [
        pytest.param(attribute(0x40, 6, b"\0"), OPTIONS, id="ATOMIC_AGGREGATE of 1 byte"),
        pytest.param(attribute(0xC0, 7, b"\0" * 6), OPTIONS, id="AGGREGATOR of 6 bytes"),
        pytest.param(attribute(0xC0, 7, b"\0" * 8), TWO_OCTETS, id="AGGREGATOR of 8 bytes"),
        pytest.param(attribute(0xC0, 7, b"\0" * 8), OPTIONS, id="AGGREGATOR of AS 0"),
        pytest.param(attribute(0xC0, 17, b"\x02\x01"), TWO_OCTETS, id="AS4_PATH cut off"),
        pytest.param(attribute(0xC0, 18, b"\x02\x01"), TWO_OCTETS, id="AS4_AGGREGATOR of 2 bytes"),
        pytest.param(LOCAL_PREF, EXTERNAL, id="LOCAL_PREF of an external peer"),
        pytest.param(attribute(0x80, 9, b"\1\2"), EXTERNAL, id="its ORIGINATOR_ID"),
        pytest.param(attribute(0x80, 10, b"\1\2"), EXTERNAL, id="its CLUSTER_LIST"),
    ],
)
def test_the_attribute_alone_is_discarded(bad: bytes, options: UpdateOptions) -> None:
    local_pref = LOCAL_PREF if options.internal else b""
    got = decoded(update(ROUTE, ORIGIN, AS_PATH, local_pref, EXTENDED, bad), options)
    good = Attributes(local_pref=100 if options.internal else None, extended_communities=(EXTENDED[3:],))
    assert (got.attributes, got.reach, got.unreach) == (good, REACHED, ())
    assert [problem.handling for problem in got.problems] == [Handling.ATTRIBUTE_DISCARD]


def test_of_an_attribute_that_comes_twice_the_first_counts() -> None:
    got = decoded(update(ROUTE, GOOD, attribute(0x40, 5, b"\0\0\0\1"), ORIGIN_9))
    assert got.reach == REACHED
    assert got.attributes is not None
    assert got.attributes.local_pref == 100
    assert [problem.handling for problem in got.problems] == [Handling.ATTRIBUTE_DISCARD] * 2


NEIGHBOUR = replace(EXTERNAL, first_as=64999)


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("0201 0000fde7", True),
        ("0202 0000fde7 0000fc00", True),
        ("0201 0000fde7 0101 0000fc00", True),
        ("", False),
        ("0201 0000fc00", False),
        ("0202 0000fc00 0000fde7", False),
        ("0101 0000fde7", False),
    ],
)
def test_an_external_peer_puts_its_own_as_in_front(path: str, fits: bool) -> None:
    """RFC 4271, section 6.3; RFC 7606, section 7.2."""
    body = update(ROUTE, ORIGIN, attribute(0x40, 2, bytes.fromhex(path)), EXTENDED)
    got = decoded(body, NEIGHBOUR)
    assert (got.reach, got.unreach) == ((REACHED, ()) if fits else (None, WITHDRAWN))
    assert [(one.handling, one.subcode) for one in got.problems] == (
        [] if fits else [(Handling.TREAT_AS_WITHDRAW, UpdateSubcode.MALFORMED_AS_PATH)]
    )
    assert decoded(body, EXTERNAL).reach == REACHED, "a route server's peer doesn't check"


def test_nothing_else_that_is_wrong_hides_a_wrong_first_as() -> None:
    got = decoded(update(ROUTE, GOOD), NEIGHBOUR)
    assert got.unreach == WITHDRAWN and len(got.problems) == 2


def test_the_first_as_of_withdrawals_is_nobodys_business() -> None:
    got = decoded(update(unreach(vpn("10.14.0.0/24")), ORIGIN, AS_PATH), NEIGHBOUR)
    assert got.unreach == WITHDRAWN and not got.problems


def test_confederation_segments_are_for_the_inside() -> None:
    body = update(ROUTE, ORIGIN, attribute(0x40, 2, bytes.fromhex("0301 0000fc00")))
    assert decoded(body, EXTERNAL).unreach == WITHDRAWN
    attributes = decoded(body).attributes
    assert attributes is not None
    assert attributes.as_path == (Segment(SegmentKind.CONFED_SEQUENCE, (64512,)),)


@pytest.mark.parametrize(
    "next_hop",
    [
        pytest.param(bytes(12), id="0.0.0.0"),
        pytest.param(bytes(8) + bytes((224, 0, 0, 1)), id="multicast"),
        pytest.param(bytes(24), id="::"),
    ],
)
def test_a_next_hop_nothing_can_be_sent_to(next_hop: bytes) -> None:
    got = decoded(update(reach(vpn("10.14.0.0/24"), next_hop=next_hop), GOOD))
    assert (got.reach, got.unreach) == (None, WITHDRAWN)
    assert [(problem.handling, problem.subcode) for problem in got.problems] == [(Handling.TREAT_AS_WITHDRAW, 8)]


def test_membership_needs_no_next_hop() -> None:
    membership = rtc_key(64512, bytes.fromhex("0002fc0000000064"))
    got = decoded(update(reach(membership, family=RTC, next_hop=bytes(4)), GOOD))
    assert got.reach == Reach(RTC, bytes(4), [(membership, b"")])


@pytest.mark.parametrize("options", [OPTIONS, EXTERNAL])
def test_unknown_well_known_attribute(options: UpdateOptions) -> None:
    assert refused(update(ROUTE, GOOD, UNKNOWN_WELL_KNOWN), options) == (302, "404d0178")


def test_duplicate_mp_attributes() -> None:
    assert refused(update(ROUTE, ROUTE, GOOD)) == (301, "")
    assert refused(update(ROUTE, GOOD, ROUTE)) == (301, "")
    one = unreach(vpn("10.14.0.0/24"))
    assert refused(update(one, one)) == (301, "")


@pytest.mark.parametrize("size", [0, 5, 11, 13])
def test_next_hop_of_a_wrong_length(size: int) -> None:
    bad = reach(vpn("10.14.0.0/24"), next_hop=bytes(size))
    assert refused(update(bad, GOOD)) == (309, bad.hex())


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(attribute(0x80, 14, b"\x00\x01\x80\x0c"), id="MP_REACH_NLRI of 4 bytes"),
        pytest.param(attribute(0x80, 14, b"\x00\x01\x80\x0c" + bytes(12)), id="without the reserved byte"),
        pytest.param(attribute(0x80, 15, b"\x00\x01"), id="MP_UNREACH_NLRI of 2 bytes"),
        pytest.param(attribute(0x80, 14, b""), id="empty MP_REACH_NLRI"),
    ],
)
def test_mp_attributes_that_are_too_short(bad: bytes) -> None:
    assert refused(update(bad, GOOD)) == (309, bad.hex())


BAD_NLRI = [
    pytest.param(vpn("10.14.0.0/24")[:-1], id="overruns the attribute"),
    pytest.param(b"\x14\x00\x3f\x61", id="of 20 bits"),
    pytest.param(vpn("10.14.0.0/24") + b"\x79" + bytes(16), id="of 33 bits of IPv4"),
]


@pytest.mark.parametrize("nlri", BAD_NLRI)
def test_nlri_that_cannot_be_read_end_the_session(nlri: bytes) -> None:
    assert refused(update(reach(nlri), GOOD)) == (309, reach(nlri).hex())
    assert refused(update(unreach(nlri))) == (309, unreach(nlri).hex())


@pytest.mark.parametrize("nlri", BAD_NLRI)
def test_nlri_that_cannot_be_read_cost_the_family_where_that_is_agreed(nlri: bytes) -> None:
    decoder = warmed(replace(OPTIONS, disable_families=True))
    other = unreach(vpn("2001:db8::/64"), family=VPNV6)
    got = decoder.decode(update(reach(nlri), GOOD, other))
    assert got.reach is None
    assert got.unreach == (Unreach(VPNV6, [key("2001:db8::/64")]),)
    (problem,) = got.problems
    assert (problem.handling, problem.family) == (Handling.DISABLE_FAMILY, VPNV4)
    # From now on the family isn't believed, good or bad; the others go on.
    for body in (update(ROUTE, GOOD), update(unreach(vpn("10.14.0.0/24"))), update(reach(nlri), GOOD)):
        got = decoder.decode(body)
        assert (got.reach, got.unreach) == (None, ())
        assert [one.handling for one in got.problems] == [Handling.ATTRIBUTE_DISCARD]
    assert decoder.decode(update(other)).unreach == (Unreach(VPNV6, [key("2001:db8::/64")]),)


def test_a_family_is_disabled_beside_attributes_that_are_bad() -> None:
    decoder = warmed(replace(OPTIONS, disable_families=True))
    got = decoder.decode(update(reach(BAD_NLRI[1].values[0]), ORIGIN_9, REST))  # type: ignore[arg-type]
    assert {problem.handling for problem in got.problems} == {Handling.DISABLE_FAMILY, Handling.TREAT_AS_WITHDRAW}
    assert (got.reach, got.unreach) == (None, ())


@pytest.mark.parametrize("family", [Family(25, 70), Family(1, 1), Family(2, 1)])
def test_families_that_were_not_agreed_on_are_ignored(family: Family) -> None:
    for body in (update(reach(b"\xff" * 9, family=family), GOOD), update(unreach(b"\xff" * 9, family=family))):
        got = decoded(body)
        assert (got.attributes, got.reach, got.unreach) == (None, None, ())
        assert [problem.handling for problem in got.problems] == [Handling.ATTRIBUTE_DISCARD]
    narrow = replace(OPTIONS, families=frozenset((VPNV6,)))
    assert UpdateDecoder(narrow).decode(update(ROUTE, GOOD)).reach is None


def test_ipv4_unicast_is_read_and_ignored() -> None:
    body = update(GOOD, attribute(0x40, 3, NEXT_HOP), nlri=b"\x18\x0a\x01\x02", withdrawn=b"\x08\x0a")
    got = decoded(body)
    assert (got.attributes, got.reach, got.unreach) == (None, None, ())
    assert decoded(update(ROUTE, GOOD, withdrawn=b"\x08\x0a")).reach == REACHED
    for bad in (b"\x21\x0a\x01\x02\x03\x04", b"\x18\x0a\x01"):
        assert refused(update(GOOD, attribute(0x40, 3, NEXT_HOP), nlri=bad)) == (310, "")
        assert refused(update(withdrawn=bad)) == (310, "")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(update(ROUTE, GOOD, total=999), id="attributes longer than the message"),
        pytest.param(b"\x00\x05\x00\x00", id="withdrawn routes longer than the message"),
        pytest.param(b"\x00\x01\x00\x00", id="no room for the attributes' length"),
    ],
)
def test_lengths_that_exceed_the_message(body: bytes) -> None:
    assert refused(body) == (301, "")


def test_no_route_target_is_no_error() -> None:
    got = decoded(update(ROUTE, ORIGIN, AS_PATH, LOCAL_PREF))
    assert got == Update(Attributes(local_pref=100), REACHED)


pieces = st.sampled_from(
    [
        ROUTE,
        reach(vpn("2001:db8::/64"), family=VPNV6, next_hop=bytes(8) + bytes.fromhex("20010db8" + "00" * 11 + "01")),
        reach(rtc_key(None), family=RTC, next_hop=NEXT_HOP),
        unreach(vpn("10.14.0.0/24")),
        unreach(b""),
        ORIGIN,
        ORIGIN_9,
        AS_PATH,
        LOCAL_PREF,
        EXTENDED,
        attribute(0xC0, 8, b"\0\1\0\1"),
        attribute(0x80, 4, b"\0\0\0\1"),
        attribute(0x80, 10, NEXT_HOP),
        attribute(0xC0, 40, b"prefix sid"),
        attribute(0xC0, 17, bytes.fromhex("0201 fa56ea00")),
    ]
)


@given(
    st.lists(pieces, max_size=8),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
    st.sampled_from([OPTIONS, EXTERNAL, TWO_OCTETS, replace(OPTIONS, disable_families=True)]),
)
def test_mutated_updates_give_an_update_or_a_bgp_error_the_same_both_ways(
    attributes: list[bytes], mutations: list[tuple[int, int]], options: UpdateOptions
) -> None:
    body = bytearray(update(*attributes))
    for position, value in mutations:
        body[position % len(body)] = value
    outcomes: list[Update | str] = []
    for decoder in (UpdateDecoder(options), warmed(options)):
        for _ in range(1 if options.disable_families else 2):
            try:
                outcomes.append(decoder.decode(bytes(body)))
            except BgpError as error:
                assert error.code == 3
                outcomes.append(str(error))
    assert all(one == outcomes[0] for one in outcomes)


@given(st.binary(min_size=4, max_size=200))
def test_garbage_gives_an_update_or_a_bgp_error(body: bytes) -> None:
    try:
        UpdateDecoder(OPTIONS).decode(body)
    except BgpError as error:
        assert error.code == 3
