"""UPDATEs out and in again (bgp.update, bgp.update_encoder)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.as_path import AsPath, Segment, SegmentKind
from bgp.attributes import OPTIONAL, PARTIAL, TRANSITIVE, Aggregator, Attributes, Origin, UnknownAttribute
from bgp.errors import EncodeError
from bgp.family import IPV4_UNICAST, RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.message import EXTENDED_MAX_LENGTH, MessageType
from bgp.nlri import Route, pack_labels, rtc_key, vpn_key
from bgp.update import AttributeTable, Reach, Unreach, Update, UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from tests.unit.bgp.codec_strategies import as_paths, attribute_sets, families, next_hops, routes
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
    RD,
    ROUTE,
    attribute,
    key,
    reach,
    unreach,
    update,
    vpn,
)
from vpn.prefix import Prefix

TWO_OCTETS = replace(OPTIONS, four_octet_as=False)


def bodies(messages: list[bytes], extended: bool = False) -> list[bytes]:
    framer = Framer()
    if extended:
        framer.allow_extended_messages()
    framer.receive_data(b"".join(messages))
    found = []
    while (message := framer.next_message()) is not None:
        kind, body = message
        assert kind is MessageType.UPDATE
        found.append(body)
    assert framer.buffered == 0
    return found


def received(messages: list[bytes], options: UpdateOptions = OPTIONS) -> list[Update]:
    decoder = UpdateDecoder(options)
    return [decoder.decode(body) for body in bodies(messages)]


def many(count: int, length: int = 32) -> list[Route]:
    return [
        (vpn_key(RD, Prefix((0x0A000000 + number * 256).to_bytes(4, "big"), length)), pack_labels([16 + number]))
        for number in range(count)
    ]


@given(
    families.flatmap(
        lambda family: st.tuples(st.just(family), next_hops(family), st.lists(routes(family), min_size=1, max_size=10))
    ),
    attribute_sets(),
)
def test_what_is_announced_is_what_arrives(case: tuple[Family, bytes, list[Route]], attributes: Attributes) -> None:
    family, next_hop, announced = case
    try:
        messages = UpdateEncoder(OPTIONS).announce(family, attributes, next_hop, announced)
    except EncodeError:
        assert any(8 * len(labels) + 64 + one[-1] > 255 for one, labels in announced)
        return
    decoder = UpdateDecoder(OPTIONS)
    # The second time the short way is taken.
    for _ in range(2):
        got = [decoder.decode(body) for body in bodies(messages)]
        assert [one.attributes for one in got] == [attributes] * len(got)
        assert all(one == Update(attributes, one.reach) for one in got)
        arrived = [route for one in got if one.reach for route in one.reach.routes]
        assert arrived == announced
        assert {one.reach and (one.reach.family, one.reach.next_hop) for one in got} == {(family, next_hop)}


@given(families.flatmap(lambda family: st.tuples(st.just(family), st.lists(routes(family), min_size=1, max_size=10))))
def test_what_is_withdrawn_is_what_arrives(case: tuple[Family, list[Route]]) -> None:
    family, withdrawn = case
    keys = [one for one, _ in withdrawn]
    assert received(UpdateEncoder(OPTIONS).withdraw(family, keys)) == [Update(unreach=(Unreach(family, keys),))]


@given(attribute_sets(as_paths(kinds=2)))
def test_a_session_of_two_octets_loses_nothing(attributes: Attributes) -> None:
    messages = UpdateEncoder(TWO_OCTETS).announce(VPNV4, attributes, NEXT_HOP, many(1))
    for got in received(messages * 2, TWO_OCTETS):
        assert got.attributes == attributes
        assert got.problems == ()


@given(attribute_sets(internal=False))
def test_an_external_session_loses_nothing_that_may_leave_the_as(attributes: Attributes) -> None:
    inside = replace(
        attributes,
        local_pref=100,
        originator_id=bytes(4),
        cluster_list=(bytes(4),),
        extended_communities=(*attributes.extended_communities, bytes.fromhex("4302000000000001")),
    )
    for got in received(UpdateEncoder(EXTERNAL).announce(VPNV4, inside, NEXT_HOP, many(1)), EXTERNAL):
        assert got == Update(attributes, got.reach)


def test_bytes_of_an_update() -> None:
    attributes = Attributes(local_pref=100, extended_communities=(bytes.fromhex("0002fc0000000064"),))
    (message,) = UpdateEncoder(OPTIONS).announce(VPNV4, attributes, NEXT_HOP, [(key("10.14.0.0/24"), LABEL)])
    assert message[19:] == update(ROUTE, GOOD)
    (message,) = UpdateEncoder(OPTIONS).withdraw(VPNV6, [key("2001:db8::/64")])
    assert message[19:] == update(unreach(vpn("2001:db8::/64", b"\x80\0\0"), family=VPNV6))


def test_equal_attributes_are_one_object_in_all_sessions() -> None:
    table = AttributeTable()
    first, second = UpdateDecoder(OPTIONS, table), UpdateDecoder(EXTERNAL, table)
    other_order = EXTENDED + AS_PATH + ORIGIN
    one = first.decode(update(ROUTE, ORIGIN, AS_PATH, EXTENDED))
    two = second.decode(update(ORIGIN, AS_PATH, ROUTE, EXTENDED))
    three = first.decode(update(ROUTE, other_order))
    assert one.attributes is two.attributes is three.attributes


def test_large_attribute_sets_are_read_and_written_like_small_ones() -> None:
    large = Attributes(communities=tuple(range(1, 900)))
    encoder, decoder = UpdateEncoder(OPTIONS), UpdateDecoder(OPTIONS)
    for _ in range(3):
        (message,) = encoder.announce(VPNV4, large, NEXT_HOP, many(1))
        got = decoder.decode(message[19:])
        assert got == Update(large, Reach(VPNV4, NEXT_HOP, many(1)))


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param([ROUTE, GOOD], id="in front, as RFC 7606 says"),
        pytest.param([ORIGIN, AS_PATH, LOCAL_PREF, ROUTE, EXTENDED], id="in the order of codes"),
        pytest.param([GOOD, ROUTE], id="at the end"),
    ],
)
def test_mp_reach_may_be_anywhere(attributes: list[bytes]) -> None:
    decoder = UpdateDecoder(OPTIONS)
    expected = Attributes(local_pref=100, extended_communities=(bytes.fromhex("0002fc0000000064"),))
    for _ in range(3):
        got = decoder.decode(update(*attributes))
        assert got == Update(expected, Reach(VPNV4, NEXT_HOP, [(key("10.14.0.0/24"), LABEL)]))


def test_reach_and_unreach_in_one_update() -> None:
    decoder = UpdateDecoder(OPTIONS)
    body = update(ROUTE, GOOD, unreach(vpn("2001:db8::/64"), family=VPNV6))
    for _ in range(2):
        got = decoder.decode(body)
        assert got.unreach == (Unreach(VPNV6, [key("2001:db8::/64")]),)
        assert got.reach == Reach(VPNV4, NEXT_HOP, [(key("10.14.0.0/24"), LABEL)])


@pytest.mark.parametrize("family", [VPNV4, VPNV6, RTC])
def test_end_of_rib(family: Family) -> None:
    assert received([end_of_rib(family)] * 2) == [Update(end_of_rib=family)] * 2


def test_end_of_rib_of_others_is_nothing() -> None:
    assert end_of_rib(IPV4_UNICAST)[16:].hex() == "00170200000000"
    assert received([end_of_rib(IPV4_UNICAST), end_of_rib(Family(25, 70))]) == [Update(), Update()]


def test_an_empty_mp_unreach_with_attributes_is_no_end_of_rib() -> None:
    assert UpdateDecoder(OPTIONS).decode(update(unreach(b""), ORIGIN)) == Update()


def test_default_membership_on_the_wire() -> None:
    (message,) = UpdateEncoder(OPTIONS).announce(RTC, Attributes(), NEXT_HOP, [(rtc_key(None), b"")])
    assert message[19:] == update(reach(b"\0", family=RTC, next_hop=NEXT_HOP), ORIGIN, AS_PATH)
    assert received([message])[0].reach == Reach(RTC, NEXT_HOP, [(b"\0", b"")])


@pytest.mark.parametrize("size", [4096, EXTENDED_MAX_LENGTH])
@pytest.mark.parametrize("length", [32, 24])
def test_messages_are_full(size: int, length: int) -> None:
    announced = many(6000, length)
    attributes = Attributes(local_pref=100)
    messages = UpdateEncoder(OPTIONS, size).announce(VPNV4, attributes, NEXT_HOP, announced)
    assert all(size - 16 < len(message) <= size for message in messages[:-1])
    extended = size > 4096
    decoder = UpdateDecoder(OPTIONS)
    got = [decoder.decode(body) for body in bodies(messages, extended)]
    assert [route for one in got if one.reach for route in one.reach.routes] == announced
    assert len(messages) < len(announced) / 200
    withdrawn = UpdateEncoder(OPTIONS, size).withdraw(VPNV4, [one for one, _ in announced])
    assert all(size - 16 < len(message) <= size for message in withdrawn[:-1])
    got = [decoder.decode(body) for body in bodies(withdrawn, extended)]
    assert [one for update in got for one in update.unreach[0].keys] == [one for one, _ in announced]


def test_nlri_of_different_lengths_are_packed_in_their_order() -> None:
    announced = [
        (vpn_key(RD, Prefix((0x0A000000).to_bytes(4, "big"), 8 + number % 25)), pack_labels([16 + number]))
        for number in range(2000)
    ]
    messages = UpdateEncoder(OPTIONS).announce(VPNV4, Attributes(), NEXT_HOP, announced)
    assert all(4080 < len(message) <= 4096 for message in messages[:-1])
    assert [route for one in received(messages) if one.reach for route in one.reach.routes] == announced


def test_nothing_to_say_is_no_message() -> None:
    encoder = UpdateEncoder(OPTIONS)
    assert encoder.announce(VPNV4, Attributes(), NEXT_HOP, []) == []
    assert encoder.withdraw(VPNV4, []) == []


def test_attributes_that_leave_no_room() -> None:
    """RFC 8654, section 4: such a route isn't announced to a peer of 4096 bytes."""
    large = Attributes(communities=tuple(range(1, 1011)))
    with pytest.raises(EncodeError, match="leave room for"):
        UpdateEncoder(OPTIONS).announce(VPNV4, large, NEXT_HOP, many(1))
    (message,) = UpdateEncoder(OPTIONS, EXTENDED_MAX_LENGTH).announce(VPNV4, large, NEXT_HOP, many(1))
    assert UpdateDecoder(OPTIONS).decode(message[19:]).attributes == large


@pytest.mark.parametrize(
    "attributes", [Attributes(med=2**32), Attributes(local_pref=-1), Attributes(communities=(-1,))]
)
def test_numbers_that_do_not_fit(attributes: Attributes) -> None:
    with pytest.raises(EncodeError):
        UpdateEncoder(OPTIONS).announce(VPNV4, attributes, NEXT_HOP, many(1))


def test_unknown_transitive_attributes_go_on_with_the_partial_bit() -> None:
    prefix_sid = bytes.fromhex("01000700000000000064")
    body = update(ROUTE, GOOD, attribute(0xC0, 40, prefix_sid), attribute(0x80, 26, b"\x01\x00\x0b"))
    got = UpdateDecoder(OPTIONS).decode(body)
    assert got.problems == ()
    assert got.attributes is not None
    assert got.attributes.unknown == (UnknownAttribute(40, OPTIONAL | TRANSITIVE | PARTIAL, prefix_sid),)
    assert got.reach is not None
    (message,) = UpdateEncoder(OPTIONS).announce(VPNV4, got.attributes, got.reach.next_hop, got.reach.routes)
    assert message[19:] == update(ROUTE, GOOD, attribute(0xE0, 40, prefix_sid))


def test_an_aggregator_that_knew_no_four_octets_makes_as4_path_stale() -> None:
    """RFC 6793, section 4.2.3: its AS isn't AS_TRANS, so AS4_PATH and AS4_AGGREGATOR are ignored."""
    path = attribute(0x40, 2, bytes.fromhex("0202 5ba0 fde9"))
    as4_path = attribute(0xC0, 17, bytes.fromhex("0202 fa56ea00 0000fde9"))
    as4_aggregator = attribute(0xC0, 18, bytes.fromhex("fa56ea00 c0000201"))

    def decoded(*others: bytes) -> tuple[AsPath, Aggregator | None]:
        attributes = UpdateDecoder(TWO_OCTETS).decode(update(ROUTE, ORIGIN, path, *others)).attributes
        assert attributes is not None
        return attributes.as_path, attributes.aggregator

    router = bytes((192, 0, 2, 1))
    old = (Segment(SegmentKind.SEQUENCE, (23456, 65001)),)
    new = (Segment(SegmentKind.SEQUENCE, (4200000000, 65001)),)
    trans = attribute(0xC0, 7, bytes.fromhex("5ba0 c0000201"))
    ordinary = attribute(0xC0, 7, bytes.fromhex("fde9 c0000201"))
    assert decoded(as4_path) == (new, None)
    assert decoded(as4_path, trans, as4_aggregator) == (new, Aggregator(4200000000, router))
    assert decoded(as4_path, ordinary, as4_aggregator) == (old, Aggregator(65001, router))
    assert decoded(as4_path, ordinary) == (new, Aggregator(65001, router))
    assert decoded(as4_aggregator) == (old, None)


def test_between_speakers_of_four_octets_as4_path_is_nothing() -> None:
    as4_path = attribute(0xC0, 17, bytes.fromhex("0202 fa56ea00 0000fde9"))
    path = attribute(0x40, 2, bytes.fromhex("0202 0000fde8 0000fde9"))
    got = UpdateDecoder(OPTIONS).decode(update(ROUTE, ORIGIN, path, as4_path))
    assert got.attributes == Attributes(Origin.IGP, (Segment(SegmentKind.SEQUENCE, (65000, 65001)),))


def test_extended_length_of_a_short_attribute_is_read() -> None:
    origin = bytes((0x50, 1, 0, 1, 2))
    got = UpdateDecoder(OPTIONS).decode(update(ROUTE, origin, AS_PATH))
    assert got.attributes == Attributes(Origin.INCOMPLETE)
