"""What a session makes of UPDATEs that follow each other: few events that say the same."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from bgp.attributes import Attributes
from bgp.errors import BgpError
from bgp.events import Counters, Event, UpdateReceived
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.intake import Intake
from bgp.negotiation import negotiate
from bgp.nlri import Route
from bgp.update import AttributeTable, Update, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from tests.unit.bgp.pair import HIGH, LOW, config
from tests.unit.bgp.routes import NEXT_HOP, attributes, route

ENCODER = UpdateEncoder(UpdateOptions(frozenset((VPNV4, VPNV6, RTC))))
ONE, OTHER = attributes("64512:1"), attributes("64512:2")


def announce(*routes: Route, said: Attributes = ONE, next_hop: bytes = NEXT_HOP) -> bytes:
    """An UPDATE."""
    return ENCODER.announce(VPNV4, said, next_hop, routes)[0]


def withdraw(*keys: bytes, family: Family = VPNV4) -> bytes:
    """An UPDATE."""
    return ENCODER.withdraw(family, keys)[0]


def read(*messages: bytes) -> list[Update]:
    """The updates that a session reports when these messages come together."""
    events: deque[Event] = deque()
    negotiated = negotiate(config(), config().open(), config(HIGH).open())
    intake = Intake(negotiated, config(), AttributeTable(), Counters(), events)
    framer = Framer()
    framer.receive_data(b"".join(messages))
    while (message := framer.next_message()) is not None:
        intake.update(message[1])
    assert all(isinstance(event, UpdateReceived) for event in events)
    return [event.update for event in events if isinstance(event, UpdateReceived)]


A, B, C = route("10.0.0.0/24"), route("10.0.1.0/24", 101), route("10.0.2.0/24", 102)


def test_announcements_with_the_same_attributes_are_one() -> None:
    (update,) = read(announce(A), announce(B), announce(A, C))
    assert update.reach is not None
    assert update.reach.routes == [A, B, A, C]
    assert update.attributes == ONE


def test_withdrawals_are_one() -> None:
    (update,) = read(withdraw(A[0]), withdraw(B[0]))
    assert update.unreach[0].keys == [A[0], B[0]]


def test_what_differs_stays_apart() -> None:
    assert len(read(announce(A), announce(B, said=OTHER), announce(C))) == 3
    assert len(read(announce(A), announce(B, next_hop=LOW))) == 2
    assert len(read(announce(A), withdraw(B[0]), announce(C))) == 3
    assert len(read(withdraw(A[0]), withdraw(b"\0" * 8 + b"\x20\x01\x10", family=VPNV6))) == 2


def test_the_end_of_rib_stays_where_it_was() -> None:
    updates = read(announce(A), end_of_rib(VPNV4), announce(B), end_of_rib(VPNV4), end_of_rib(VPNV4))
    assert [update.end_of_rib for update in updates] == [None, VPNV4, None, VPNV4, VPNV4]


MESSAGE = st.one_of(
    st.builds(announce, st.sampled_from([A, B, C]), said=st.sampled_from([ONE, OTHER])),
    st.builds(lambda one: withdraw(one[0]), st.sampled_from([A, B, C])),
    st.just(end_of_rib(VPNV4)),
)


def state(updates: list[Update]) -> dict[bytes, tuple[Attributes | None, bytes]]:
    """What a peer has after these."""
    table: dict[bytes, tuple[Attributes | None, bytes]] = {}
    for update in updates:
        for _, keys in update.unreach:
            for key in keys:
                table.pop(key, None)
        if update.reach is not None:
            table.update({key: (update.attributes, labels) for key, labels in update.reach.routes})
    return table


@given(st.lists(MESSAGE, max_size=12))
def test_together_they_say_what_they_say_alone(messages: list[bytes]) -> None:
    assert state(read(*messages)) == state([update for message in messages for update in read(message)])


def test_what_came_before_a_message_that_ends_the_session_is_reported() -> None:
    events: deque[Event] = deque()
    negotiated = negotiate(config(), config().open(), config(HIGH).open())
    intake = Intake(negotiated, config(), AttributeTable(), Counters(), events)
    intake.update(announce(A)[19:])
    try:
        intake.update(b"\xff\xff\0\0")
    except BgpError:
        pass
    else:
        raise AssertionError("a section longer than the message was taken")
    assert len(events) == 1
