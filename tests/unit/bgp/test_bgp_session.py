"""The session: two of them in memory, and one against scripted bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgp.collision import keeps_outgoing
from bgp.connection import Connection, State
from bgp.errors import CeaseSubcode
from bgp.events import ConnectRequested, DownReason, FamilyDisabled
from bgp.family import IPV6_UNICAST, RTC, VPNV4, VPNV6
from bgp.message import KEEPALIVE, MessageType, frame
from bgp.negotiation import RestartPolicy
from bgp.notification import Notification, decode_notification
from bgp.open import decode_open
from bgp.refresh import RefreshKind, RouteRefresh
from tests.unit.bgp.pair import AS, HIGH, LOW, Pair, Speaker, config, messages

RESTART = RestartPolicy(restart_time=30, families=(VPNV4, VPNV6), long_lived=3600)
END_OF_RIB = frame(MessageType.UPDATE, bytes.fromhex("0000 0006 800f03 0001 80"))
UPDATE_WITH_BAD_ORIGIN = frame(
    MessageType.UPDATE,
    bytes.fromhex(
        "0000 0031 400101 09 400200 400504 00000064"
        " 800e20 0001 80 0c 0000000000000000 c0000207 00 70 003e81 0000fc0000000001 0a0101"
    ),
)


def single(**settings: object) -> tuple[Speaker, Connection]:
    """A passive speaker that has accepted a connection."""
    speaker = Speaker(config(LOW, passive=True, **settings))
    speaker.session.start(0.0)
    connection = speaker.session.accepted(0.0)
    assert connection is not None
    connection.data_to_send()
    return speaker, connection


def established(**settings: object) -> tuple[Speaker, Connection]:
    """The same with a session that came up at 0."""
    speaker, connection = single(**settings)
    give(speaker, connection, config(HIGH, **settings).open().encode() + KEEPALIVE)
    assert speaker.up
    connection.data_to_send()
    return speaker, connection


def give(speaker: Speaker, connection: Connection, data: bytes, now: float = 0.0) -> bytes:
    """What the speaker answers to bytes."""
    speaker.session.receive_data(connection, data, now)
    speaker.poll()
    return connection.data_to_send()


def notification(data: bytes) -> Notification:
    """The one NOTIFICATION in what was sent."""
    found = [body for kind, body in messages(data) if kind is MessageType.NOTIFICATION]
    assert len(found) == 1
    return decode_notification(found[0])


# -- coming up


def test_one_side_passive() -> None:
    pair = Pair(config(LOW), config(HIGH, passive=True)).start()
    assert pair.left.up and pair.right.up
    assert len(pair.wires) == 1
    negotiated = pair.left.session.negotiated
    assert negotiated is not None
    assert negotiated.families == {VPNV4, VPNV6, RTC}
    assert (negotiated.hold_time, negotiated.max_length, negotiated.router_id) == (9, 65535, HIGH)
    assert negotiated.four_octet_as and negotiated.route_refresh and negotiated.enhanced_route_refresh


@pytest.mark.parametrize(("left", "right"), [(LOW, HIGH), (HIGH, LOW)])
def test_collision_leaves_the_connection_of_the_higher_router_id(left: bytes, right: bytes) -> None:
    pair = Pair(config(left), config(right)).start()
    assert pair.left.up and pair.right.up
    assert len(pair.wires) == 2
    (alive,) = [wire for wire in pair.wires if not wire.cut]
    assert alive.speakers[0].session.config.router_id == HIGH
    assert pair.left.session.connection in alive.ends and pair.right.session.connection in alive.ends
    assert pair.left.downs == pair.right.downs == []


@given(st.lists(st.integers(0, 3), max_size=40), st.booleans())
def test_collision_is_resolved_in_every_order_of_bytes(order: list[int], swap: bool) -> None:
    """Whichever end of the two wires speaks next, both sides keep the same connection, and one session comes up."""
    pair = Pair(config(HIGH if swap else LOW), config(LOW if swap else HIGH))
    pair.left.session.start(pair.now)
    pair.right.session.start(pair.now)
    pair.dial()
    for choice in order:
        wire, here = pair.wires[choice // 2], choice % 2
        if not wire.cut and wire.ends[here].has_output:
            data = wire.ends[here].data_to_send()
            speaker = wire.speakers[1 - here]
            speaker.session.receive_data(wire.ends[1 - here], data, pair.now)
            speaker.poll()
    pair.settle()
    pair.advance(5)
    assert pair.left.up and pair.right.up
    assert {pair.left.session.connection, pair.right.session.connection} in [set(wire.ends) for wire in pair.wires]


def test_a_connection_that_would_lose_waits_a_moment_for_the_other() -> None:
    """Ours, from the lower router id, would lose; the peer never speaks on its own."""
    speaker = Speaker(config(LOW))
    speaker.session.start(0.0)
    mine, theirs = speaker.session.connected(0.0), speaker.session.accepted(0.0)
    assert mine is not None and theirs is not None
    mine.data_to_send()
    assert give(speaker, mine, config(HIGH).open().encode() + KEEPALIVE) == b""
    speaker.session.handle_timer(1.9)
    assert mine.state is State.OPEN_SENT
    speaker.session.handle_timer(2.0)
    speaker.poll()
    assert speaker.up and speaker.session.connection is mine
    assert theirs.closing


def test_a_connection_that_waits_goes_on_when_the_other_is_lost() -> None:
    speaker = Speaker(config(LOW))
    speaker.session.start(0.0)
    mine, theirs = speaker.session.connected(0.0), speaker.session.accepted(0.0)
    assert mine is not None and theirs is not None
    give(speaker, mine, config(HIGH).open().encode() + KEEPALIVE)
    speaker.session.receive_eof(theirs, 0.5)
    speaker.poll()
    assert speaker.up and speaker.session.connection is mine


def test_equal_router_ids_are_decided_by_the_as() -> None:
    assert keeps_outgoing((LOW, 64513), (LOW, 64512))
    assert not keeps_outgoing((LOW, 64512), (LOW, 64513))


def test_families_both_sides_have() -> None:
    pair = Pair(config(LOW, families=(VPNV4, RTC)), config(HIGH, families=(VPNV4, VPNV6))).start()
    assert [up.negotiated.families for up in pair.left.ups] == [{VPNV4}]


def test_extended_messages_only_if_both_have_them() -> None:
    pair = Pair(config(LOW), config(HIGH, extended_message=False)).start()
    assert [up.negotiated.max_length for up in pair.left.ups + pair.right.ups] == [4096, 4096]


def test_graceful_restart_only_if_both_have_it() -> None:
    pair = Pair(config(LOW, restart=RESTART), config(HIGH)).start()
    assert [up.negotiated.preserved for up in pair.left.ups + pair.right.ups] == [frozenset(), frozenset()]
    pair = Pair(config(LOW, restart=RESTART), config(HIGH, restart=RESTART)).start()
    (up,) = pair.left.ups
    assert up.negotiated.preserved == {VPNV4, VPNV6}
    assert up.negotiated.notification_restart
    assert [one.stale_time for one in up.negotiated.long_lived] == [3600, 3600]


@pytest.mark.parametrize(
    ("theirs", "code"),
    [
        (config(HIGH, local_as=64999, remote_as=AS), (2, 2)),
        (config(LOW), (2, 3)),
        (config(HIGH, families=(IPV6_UNICAST,)), (2, 7)),
    ],
)
def test_wrong_peer(theirs: object, code: tuple[int, int]) -> None:
    speaker, connection = single()
    sent = give(speaker, connection, theirs.open().encode())  # type: ignore[attr-defined]
    found = notification(sent)
    assert (found.code, found.subcode) == code
    if code == (2, 7):
        assert found.data.hex() == "010400010080" + "010400020080" + "010400010084"
    assert connection.closing
    assert [down.reason for down in speaker.downs] == [DownReason.NOTIFICATION_SENT]
    assert speaker.session.state is State.IDLE


def test_as_number_of_four_octets() -> None:
    left, right = config(LOW, local_as=4200000001, remote_as=70000), config(HIGH, local_as=70000, remote_as=4200000001)
    pair = Pair(left, right).start()
    assert pair.left.up and not pair.left.ups[0].negotiated.internal


# -- connecting


def test_retry_with_jitter() -> None:
    speaker = Speaker(config(connect_retry=20.0), random=lambda: 0.0)
    speaker.session.start(0.0)
    speaker.poll()
    states = [speaker.session.state]
    speaker.session.connect_failed(1.0, "no route to host")
    states.append(speaker.session.state)
    assert states == [State.CONNECT, State.ACTIVE]
    assert speaker.session.last_connect_error == "no route to host"
    assert speaker.session.get_timer() == 15.0
    speaker.session.handle_timer(15.0)
    speaker.poll()
    assert len(speaker.of(ConnectRequested)) == 2


def test_back_off_doubles_until_a_session_has_lasted() -> None:
    pair = Pair(config(LOW, idle_hold=1.0, idle_hold_max=8.0), config(HIGH, passive=True, idle_hold=0.1))
    pair.left.session.start(pair.now)
    rests = []
    for _ in range(6):
        pair.settle()
        wire = pair.wires[-1] if pair.wires else None
        if wire is None or wire.cut:
            pair.right.session.start(pair.now)
            pair.advance(40)
        pair.left.session.receive_data(pair.wires[-1].ends[0], b"\x00" * 19, pair.now)
        pair.settle()
        deadline = pair.left.session.get_timer()
        assert deadline is not None and pair.left.session.state is State.IDLE
        rests.append(deadline - pair.now)
        pair.advance(rests[-1])
    assert rests == pytest.approx([1, 2, 4, 8, 8, 8])
    pair.advance(20)
    assert pair.left.up
    pair.cut()
    assert pair.left.session.get_timer() == pytest.approx(pair.now + 1.0)


def test_a_session_that_rests_takes_no_connection() -> None:
    speaker, connection = single()
    speaker.session.receive_data(connection, b"\x00" * 19, 0.0)
    assert speaker.session.accepted(0.1) is None
    speaker.session.handle_timer(1.0)
    assert speaker.session.state is State.ACTIVE
    assert speaker.session.accepted(1.1) is not None


@pytest.mark.parametrize("rest", [(1.0, 1.0), (8.0, 3.0), (60.0, 60.0)])
def test_two_that_rest_meet_again(rest: tuple[float, float]) -> None:
    """Each dials while the other rests, and is hung up on; that must not put it to rest, too."""
    left, right = (config(one, idle_hold=time, connect_retry=5.0) for one, time in zip((LOW, HIGH), rest, strict=True))
    numbers = iter([0.0, 0.9, 0.3, 0.6] * 100)
    pair = Pair(left, right, lambda: next(numbers)).start()
    pair.left.session.reset(pair.now, "moving the rack")
    pair.settle()
    assert not pair.left.up and not pair.right.up
    pair.advance(max(rest) + 5.0)
    assert pair.left.up and pair.right.up


def test_somebody_who_knocks_and_goes_disturbs_nothing() -> None:
    speaker = Speaker(config())
    speaker.session.start(0.0)
    connection = speaker.session.accepted(1.0)
    assert connection is not None
    speaker.session.receive_eof(connection, 1.0)
    assert speaker.session.state is State.CONNECT
    assert speaker.session.connected(2.0) is not None


def test_nothing_before_start_nor_after_stop() -> None:
    speaker = Speaker(config())
    assert speaker.session.accepted(0.0) is None
    assert speaker.session.state is State.IDLE
    speaker.session.start(0.0)
    speaker.session.stop(1.0)
    speaker.poll()
    assert not speaker.dialling
    assert speaker.session.connected(1.0) is None
    assert speaker.session.get_timer() is None


def test_a_connection_without_open_is_given_up() -> None:
    speaker, connection = single(open_time=20.0)
    speaker.session.handle_timer(19.9)
    assert not connection.closing
    speaker.session.handle_timer(20.0)
    found = notification(connection.data_to_send())
    assert (found.code, found.subcode) == (4, 0)


# -- timers


def test_keepalives_keep_a_quiet_session_up() -> None:
    pair = Pair(config(LOW), config(HIGH)).start()
    pair.advance(1000)
    assert pair.left.up and pair.right.up
    assert pair.left.downs == []
    assert 300 < pair.left.session.counters.received["keepalive"] < 350


def test_hold_timer() -> None:
    speaker, connection = established()
    speaker.session.handle_timer(3.0)
    give(speaker, connection, END_OF_RIB, 5.0)
    speaker.session.handle_timer(13.9)
    assert speaker.up
    connection.data_to_send()
    speaker.session.handle_timer(14.0)
    found = notification(connection.data_to_send())
    assert (found.code, found.subcode) == (4, 0)
    speaker.poll()
    assert [down.text for down in speaker.downs] == ["the hold timer expired"]


def test_a_late_call_is_not_the_peers_silence() -> None:
    """We were busy for 3 s longer than the hold time, and the peer's messages wait in the transport."""
    speaker, connection = established()
    speaker.session.handle_timer(12.0)
    assert speaker.up
    give(speaker, connection, KEEPALIVE, 12.1)
    speaker.session.handle_timer(20.0)
    assert speaker.up
    speaker.session.handle_timer(22.0)
    assert speaker.up
    deadline = speaker.session.get_timer()
    assert deadline is not None
    speaker.session.handle_timer(23.0)
    assert not speaker.up


def test_part_of_a_message_does_not_count() -> None:
    speaker, connection = established()
    give(speaker, connection, KEEPALIVE[:10], 8.0)
    speaker.session.handle_timer(9.0)
    assert not speaker.up


def test_no_hold_time_no_timers() -> None:
    pair = Pair(config(LOW, hold_time=0), config(HIGH)).start()
    assert pair.left.up
    assert pair.left.session.get_timer() is None
    pair.advance(10_000)
    assert pair.left.up


def test_keepalives_overtake_routes() -> None:
    speaker, connection = established()
    update = frame(MessageType.UPDATE, bytes(4000))
    speaker.session.send([update] * 100)
    assert connection.queued == 100 * len(update)
    first = connection.data_to_send(10_000)
    assert len(messages(first)) == 3
    speaker.session.handle_timer(3.0)
    speaker.session.handle_timer(6.0)
    second = messages(connection.data_to_send(10_000))
    assert [kind for kind, _ in second] == [MessageType.KEEPALIVE, *[MessageType.UPDATE] * 3]
    assert connection.queued == 94 * len(update)


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    speaker, connection = established(send_hold_time=20.0)
    now = 0.0
    while speaker.up and now < 60:
        now += 3.0
        speaker.session.receive_data(connection, KEEPALIVE, now)
        speaker.session.handle_timer(now)
    assert 20.0 <= now <= 27.0
    assert notification(connection.data_to_send()).code == 8


# -- going down


def test_shutdown_with_text() -> None:
    pair = Pair(config(LOW), config(HIGH)).start()
    pair.left.session.stop(pair.now, text="Zürich: new line card")
    pair.settle()
    (down,) = pair.right.downs
    assert down.reason is DownReason.NOTIFICATION_RECEIVED
    assert down.text == "Zürich: new line card"
    assert str(down.notification) == '6/2 cease: administrative shutdown: "Zürich: new line card"'
    assert down.preserved == frozenset()
    assert pair.left.session.state is State.IDLE
    pair.advance(300)
    assert not pair.left.up
    pair.left.session.start(pair.now)
    pair.advance(120)
    assert pair.left.up and pair.right.up


def hang_up(speaker: Speaker, now: float) -> None:
    """The peer takes a connection and closes it without a word."""
    connection = speaker.session.accepted(now)
    assert connection is not None
    speaker.session.receive_eof(connection, now, "the peer closed the connection")
    speaker.poll()


def test_why_a_peer_hangs_up_is_not_forgotten_over_its_hanging_up() -> None:
    speaker, connection = established()
    give(speaker, connection, Notification.cease(CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, "maintenance").encode(), 5.0)
    speaker.session.handle_timer(10.0)
    hang_up(speaker, 1000.0)
    down = speaker.session.last_down
    assert down is not None and down.notification is not None and down.notification.text == "maintenance"
    assert speaker.session.down_since == 5.0
    assert [down.describe() for down in speaker.downs][1:] == ["the peer closed the connection"]


@pytest.mark.parametrize(("seconds", "kept"), [(60.0, True), (130.0, False)])
def test_a_former_error_explains_silence_for_a_while(seconds: float, kept: bool) -> None:
    speaker, connection = single()
    give(speaker, connection, config(HIGH, local_as=64999).open().encode())
    speaker.session.handle_timer(10.0)
    hang_up(speaker, seconds)
    down = speaker.session.last_down
    assert down is not None and (down.notification is not None) is kept


def test_reset_comes_back() -> None:
    pair = Pair(config(LOW), config(HIGH)).start()
    pair.left.session.reset(pair.now, "again")
    pair.settle()
    assert [down.text for down in pair.right.downs] == ["again"]
    pair.advance(60)
    assert pair.left.up and len(pair.left.ups) == 2


def test_loss_preserves_what_graceful_restart_says() -> None:
    pair = Pair(config(LOW, restart=RESTART), config(HIGH, restart=RESTART)).start()
    pair.cut()
    assert [down.preserved for down in pair.left.downs] == [{VPNV4, VPNV6}]
    assert [down.text for down in pair.left.downs] == ["connection reset"]
    pair.advance(60)
    assert pair.left.up


def test_notification_preserves_too_unless_it_is_a_hard_reset() -> None:
    pair = Pair(config(LOW, restart=RESTART), config(HIGH, restart=RESTART)).start()
    pair.left.session.reset(pair.now)
    pair.settle()
    assert [down.preserved for down in pair.right.downs + pair.left.downs] == [{VPNV4, VPNV6}] * 2
    pair.advance(60)
    pair.left.session.stop(pair.now, CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, "bye")
    pair.settle()
    down = pair.right.downs[-1]
    assert down.preserved == frozenset()
    assert down.notification is not None and down.notification.is_hard_reset and down.text == "bye"


HARD = {1, 2, 3}
"""Cease subcodes that stand for what lasts (RFC 8538, section 5.1)."""


@pytest.mark.parametrize("subcode", [one for one in CeaseSubcode if one not in (0, 9)])
def test_which_reasons_are_hard_resets(subcode: CeaseSubcode) -> None:
    pair = Pair(config(LOW, restart=RESTART), config(HIGH, restart=RESTART)).start()
    session = pair.left.session
    if subcode is CeaseSubcode.ADMINISTRATIVE_RESET:
        session.reset(pair.now)
    elif subcode in (CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, CeaseSubcode.PEER_DECONFIGURED):
        session.stop(pair.now, subcode)
    else:
        session.fail(pair.now, Notification.cease(subcode), "")
    pair.settle()
    (down,) = pair.right.downs
    assert down.notification is not None and down.notification.reason.subcode == subcode
    assert down.notification.is_hard_reset is (subcode in HARD) is (down.preserved == frozenset())


@pytest.mark.parametrize("hard", [True, False])
def test_no_hard_reset_without_the_n_bit(hard: bool) -> None:
    """RFC 8538, section 4: it would only hide the reason."""
    pair = Pair(config(LOW, restart=RESTART), config(HIGH)).start()
    pair.left.session.reset(pair.now, "bye", hard=hard)
    pair.settle()
    assert [down.notification for down in pair.right.downs] == [
        Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, "bye")
    ]


def test_hold_timer_is_graceful_where_notifications_are() -> None:
    speaker, _ = established(restart=RESTART)
    speaker.session.handle_timer(9.0)
    speaker.poll()
    assert [down.preserved for down in speaker.downs] == [{VPNV4, VPNV6}]


def test_too_many_prefixes() -> None:
    speaker, connection = established()
    speaker.session.fail(1.0, Notification.maximum_prefixes(VPNV4, 10), "11 routes, 10 allowed", restart_after=60.0)
    assert notification(connection.data_to_send()) == Notification(6, 1, bytes.fromhex("0001800000000a"))
    speaker.poll()
    assert [down.text for down in speaker.downs] == ["11 routes, 10 allowed"]
    assert speaker.session.accepted(60.0) is None
    speaker.session.handle_timer(61.0)
    assert speaker.session.accepted(61.0) is not None


def test_too_many_prefixes_for_good() -> None:
    speaker, _ = established()
    speaker.session.fail(1.0, Notification.maximum_prefixes(VPNV4, 10), "too many")
    assert speaker.session.get_timer() is None and not speaker.session.enabled
    speaker.session.start(2.0)
    assert speaker.session.accepted(2.0) is not None


def test_a_new_connection_replaces_a_session_with_graceful_restart() -> None:
    speaker, old = established(restart=RESTART)
    new = speaker.session.accepted(1.0)
    assert new is not None and speaker.up
    give(speaker, new, config(HIGH, restart=RESTART).open(restarting=True).encode(), 1.0)
    assert [down.reason for down in speaker.downs] == [DownReason.REPLACED]
    assert [down.preserved for down in speaker.downs] == [{VPNV4, VPNV6}]
    assert old.closing and not old.has_output
    give(speaker, new, KEEPALIVE, 1.0)
    assert speaker.up and speaker.session.connection is new
    assert len(speaker.ups) == 2


def test_a_new_connection_does_not_disturb_a_session_without() -> None:
    speaker, old = established()
    new = speaker.session.accepted(1.0)
    assert new is not None
    sent = give(speaker, new, config(HIGH).open().encode(), 1.0)
    assert (notification(sent).code, notification(sent).subcode) == (6, 7)
    assert speaker.up and not old.closing and speaker.downs == []


def test_a_second_knock_replaces_the_first() -> None:
    speaker, first = single()
    second = speaker.session.accepted(1.0)
    assert second is not None and first.closing
    give(speaker, second, config(HIGH).open().encode() + KEEPALIVE, 1.0)
    assert speaker.up


# -- messages


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (END_OF_RIB, (5, 1, b"")),
        (KEEPALIVE, (5, 1, b"")),
        (b"\x00" + KEEPALIVE[1:], (1, 1, b"")),
        (KEEPALIVE[:16] + b"\x00\x12\x04", (1, 2, b"\x00\x12")),
        (KEEPALIVE[:16] + b"\x10\x01\x02", (1, 2, b"\x10\x01")),
        (KEEPALIVE[:18] + b"\x09", (1, 3, b"\x09")),
    ],
)
def test_bad_message_before_the_session(data: bytes, code: tuple[int, int, bytes]) -> None:
    speaker, connection = single()
    found = notification(give(speaker, connection, data))
    assert (found.code, found.subcode, found.data) == code


def test_unexpected_messages() -> None:
    speaker, connection = single()
    opened = config(HIGH).open().encode()
    assert notification(give(speaker, connection, opened + opened)).subcode == 2
    speaker, connection = established()
    found = notification(give(speaker, connection, opened))
    assert (found.code, found.subcode) == (5, 3)


def test_malformed_attribute_withdraws_and_keeps_the_session() -> None:
    speaker, connection = established()
    give(speaker, connection, UPDATE_WITH_BAD_ORIGIN)
    assert speaker.up
    (event,) = speaker.updates
    assert event.update.reach is None and [len(one.keys) for one in event.update.unreach] == [1]
    assert speaker.session.counters.treated_as_withdraw == 1


def test_bad_nlri_ends_the_session_or_costs_the_family() -> None:
    bad = frame(MessageType.UPDATE, bytes.fromhex("0000 0008 800f05 0001 80 7000"))
    speaker, connection = established()
    assert notification(give(speaker, connection, bad)).code == 3
    speaker, connection = established(disable_families=True)
    give(speaker, connection, bad)
    assert speaker.up
    (event,) = speaker.of(FamilyDisabled)
    assert isinstance(event, FamilyDisabled) and event.family == VPNV4


def test_refresh_both_ways() -> None:
    pair = Pair(config(LOW), config(HIGH)).start()
    assert pair.left.session.request_refresh(VPNV4)
    assert not pair.left.session.request_refresh(IPV6_UNICAST)
    pair.settle()
    assert [(one.family, one.kind) for one in pair.right.refreshes] == [(VPNV4, RefreshKind.REQUEST)]
    pair.right.session.send([RouteRefresh(VPNV4, RefreshKind.BEGIN).encode(), END_OF_RIB])
    pair.settle()
    assert [one.kind for one in pair.left.refreshes] == [RefreshKind.BEGIN]
    assert [event.update.end_of_rib for event in pair.left.updates] == [VPNV4]


def test_restarting_shows_in_the_open() -> None:
    speaker = Speaker(config(restart=RESTART, passive=True))
    speaker.session.restarting = True
    speaker.session.start(0.0)
    connection = speaker.session.accepted(0.0)
    assert connection is not None
    ((_, body),) = messages(connection.data_to_send())
    restart = decode_open(body).capabilities.graceful_restart
    assert restart is not None and restart.restarting and all(one.forwarding for one in restart.families)


def test_forwarding_that_needs_no_speaker_shows_in_every_open() -> None:
    opened = config(restart=RESTART._replace(forwarding=True)).open()
    restart, long_lived = opened.capabilities.graceful_restart, opened.capabilities.long_lived
    assert restart is not None and not restart.restarting and all(one.forwarding for one in restart.families)
    assert long_lived and all(one.forwarding for one in long_lived)


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 2))
def test_no_bytes_break_the_session_object(pieces: list[bytes], state: int) -> None:
    speaker, connection = established() if state == 2 else single()
    if state == 1:
        give(speaker, connection, config(HIGH).open().encode())
    for piece in pieces:
        give(speaker, connection, piece)
    give(speaker, connection, KEEPALIVE[:16] + b"".join(pieces))
    speaker.session.handle_timer(1000.0)
    assert speaker.session.state in State
