"""Filters: a value and its filters, what counts as damage, and the messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datapath import filters
from datapath.filters import (
    EVERY_PRIORITY,
    OUR_PRIORITIES,
    PRIORITY_ARP,
    PRIORITY_DROP,
    Action,
    Filter,
    Responder,
    decode,
    encode,
    read_filters,
    wanted_filters,
)
from datapath.values import AntiSpoofing
from vpn.prefix import Prefix

RESPONDER = Responder(5, b"12345678")


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    size = draw(st.sampled_from([4, 16]))
    length = draw(st.integers(0, size * 8))
    mask = (1 << size * 8) - (1 << size * 8 - length)
    packed = int.from_bytes(draw(st.binary(min_size=size, max_size=size)), "big") & mask
    return Prefix(packed.to_bytes(size, "big"), length)


macs = st.binary(min_size=6, max_size=6).filter(any)
values = st.builds(AntiSpoofing, st.just("tap0"), macs, st.lists(prefixes(), max_size=5).map(tuple))


@given(values)
def test_a_value_is_read_back_from_its_filters(value: AntiSpoofing) -> None:
    assert read_filters("tap0", wanted_filters(value)) == value


@given(values, st.data())
def test_any_filter_missing_or_altered_is_damage(value: AntiSpoofing, data: st.DataObject) -> None:
    wanted = wanted_filters(value)
    victim = data.draw(st.sampled_from(wanted))
    rest = [one for one in wanted if one != victim]
    assert read_filters("tap0", rest) != value
    assert read_filters("tap0", [*rest, victim._replace(action=None)]) != value
    assert read_filters("tap0", [*rest, victim._replace(handle=victim.handle ^ 0x55)]) != value


@given(values)
def test_one_filter_too_many_is_damage(value: AntiSpoofing) -> None:
    extra = Filter(PRIORITY_ARP, 0x0806, 99, (), Action.PASS)
    assert read_filters("tap0", [*wanted_filters(value), extra]) == AntiSpoofing("tap0", b"", ())


def test_the_drop_of_a_port_alone_is_no_value() -> None:
    drop = wanted_filters(AntiSpoofing("tap0", bytes(6), ()))[0]
    assert drop.priority == PRIORITY_DROP
    assert read_filters("tap0", [drop]) is None
    assert read_filters("tap0", []) is None


@given(values)
def test_filters_have_handles_of_their_own_and_are_closed_first(value: AntiSpoofing) -> None:
    wanted = wanted_filters(value)
    assert wanted[0].action is Action.DROP
    assert len({(one.priority, one.handle) for one in wanted}) == len(wanted)
    assert {(one.priority, one.protocol) for one in wanted} <= set(EVERY_PRIORITY)


def test_arp_is_for_host_prefixes_only() -> None:
    value = AntiSpoofing("tap0", bytes(5) + b"\1", (Prefix.parse("10.0.0.0/8"), Prefix.parse("10.1.1.1")))
    assert sum(one.priority == PRIORITY_ARP for one in wanted_filters(value)) == 1


@given(values)
def test_messages_are_read_back(value: AntiSpoofing) -> None:
    for one in wanted_filters(value):
        if one.action is not Action.ANSWER:
            assert decode(encode(one, 3, RESPONDER)[16:], RESPONDER) == one


@given(values)
def test_without_a_responder_questions_pass_to_the_kernel(value: AntiSpoofing) -> None:
    read = [decode(encode(one, 3, None)[16:], None) for one in wanted_filters(value)]
    assert read == wanted_filters(value)
    # With a responder, such filters are not what they should be.
    again = [decode(encode(one, 3, None)[16:], RESPONDER) for one in wanted_filters(value)]
    assert read_filters("tap0", [one for one in again if one is not None]) != value


def test_foreign_filters_are_not_read() -> None:
    for priority in (OUR_PRIORITIES.start - 1, OUR_PRIORITIES.stop, 1):
        foreign = Filter(priority, 0x0800, 1, (), Action.PASS)
        assert decode(encode(foreign, 3, None)[16:], None) is None
    assert filters.decode_hits(encode(foreign, 3, None)[16:]) is None
