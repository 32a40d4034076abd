"""Sessions and channels: which connection is what, and how long a session lives without any."""

from __future__ import annotations

import pytest

from ifmap.errors import ErrorCode, IfmapError
from ifmap.results import ResultQueue
from ifmap.sessions import Session, Sessions

SSRC, ARC, NEW = 1, 2, 3


def begin(sessions: Sessions, client: str = "pe1", channel: int | None = SSRC, session_id: str = "id-1") -> Session:
    session = Session(session_id, client, f"{client}-0", ResultQueue(1_000), 0.0, "192.0.2.5")
    sessions.start(session, channel, 0.0)
    return session


def refusal(call: object, *arguments: object) -> tuple[ErrorCode, str]:
    assert callable(call)
    with pytest.raises(IfmapError) as raised:
        call(*arguments)
    return raised.value.code, str(raised.value)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(180.0)


def test_another_connection_takes_over_the_ssrc(sessions: Sessions) -> None:
    session = begin(sessions)
    assert sessions.synchronous("id-1", "pe1", NEW, "192.0.2.6") is session
    assert (session.ssrc, session.peer) == (NEW, "192.0.2.6")
    code, text = refusal(sessions.synchronous, "id-1", "pe1", SSRC, "192.0.2.5")
    assert code is ErrorCode.ACCESS_DENIED
    assert "192.0.2.6" in text and "SSRC" in text
    assert refusal(sessions.asynchronous, "id-1", "pe1", SSRC, "")[0] is ErrorCode.ACCESS_DENIED
    sessions.channel_closed(SSRC, 1.0)
    assert session.ssrc == NEW
    assert session.stale == {}
    assert sessions.timer() is None


def test_another_connection_takes_over_the_arc(sessions: Sessions) -> None:
    session = begin(sessions)
    sessions.asynchronous("id-1", "pe1", ARC, "")
    sessions.asynchronous("id-1", "pe1", NEW, "")
    assert session.arc == NEW
    code, text = refusal(sessions.asynchronous, "id-1", "pe1", ARC, "")
    assert code is ErrorCode.ACCESS_DENIED and "ARC" in text


def test_a_waiting_poll_keeps_its_connection(sessions: Sessions) -> None:
    """The second poll ends the session; which connection is which doesn't change any more."""
    session = begin(sessions)
    sessions.asynchronous("id-1", "pe1", ARC, "")
    session.polling = True
    assert sessions.asynchronous("id-1", "pe1", NEW, "") is session
    assert session.arc == ARC and not session.stale


def test_channels_do_not_mix(sessions: Sessions) -> None:
    begin(sessions)
    sessions.asynchronous("id-1", "pe1", ARC, "")
    assert refusal(sessions.asynchronous, "id-1", "pe1", SSRC, "")[0] is ErrorCode.FAILURE
    assert refusal(sessions.synchronous, "id-1", "pe1", ARC, "")[0] is ErrorCode.FAILURE
    assert sessions.synchronous("id-1", "pe1", SSRC, "").arc == ARC


def test_a_foreign_session_is_as_good_as_none(sessions: Sessions) -> None:
    begin(sessions)
    foreign = refusal(sessions.find, "id-1", "pe2")
    assert foreign == refusal(sessions.find, "never-was", "pe2")
    assert foreign[0] is ErrorCode.INVALID_SESSION_ID


def test_the_reason_of_an_end_is_remembered_for_its_client_alone(sessions: Sessions) -> None:
    sessions.end(begin(sessions), "the weather")
    assert refusal(sessions.find, "id-1", "pe1") == (ErrorCode.INVALID_SESSION_ID, "session ended: the weather")
    assert "weather" not in refusal(sessions.find, "id-1", "pe2")[1]
    assert sessions.of_client("pe1") is None and len(sessions) == 0


def test_reasons_are_remembered_within_bounds() -> None:
    sessions = Sessions(180.0, remembered=3)
    for number in range(5):
        sessions.end(begin(sessions, session_id=f"id-{number}"), f"reason {number}")
    texts = [refusal(sessions.find, f"id-{number}", "pe1")[1] for number in range(5)]
    assert texts == ["no such session"] * 2 + [f"session ended: reason {number}" for number in (2, 3, 4)]


def test_a_session_that_is_about_to_end_takes_nothing(sessions: Sessions) -> None:
    begin(sessions).ending = "its time had come"
    for call in (sessions.synchronous, sessions.asynchronous):
        code, text = refusal(call, "id-1", "pe1", SSRC, "")
        assert code is ErrorCode.INVALID_SESSION_ID and "its time had come" in text


def test_connections_of_an_ended_session_are_free_again(sessions: Sessions) -> None:
    first = begin(sessions)
    sessions.synchronous("id-1", "pe1", NEW, "")
    sessions.end(first, "newSession")
    second = begin(sessions, channel=NEW, session_id="id-2")
    # The connection that was stale in the first session may serve the second.
    assert sessions.asynchronous("id-2", "pe1", SSRC, "") is second
    sessions.channel_closed(NEW, 1.0)
    sessions.channel_closed(SSRC, 1.0)
    assert sessions.timer() == 181.0
    assert first.ssrc is None


@pytest.mark.parametrize(("first", "last"), [(SSRC, ARC), (ARC, SSRC)])
def test_the_timer_runs_once_both_connections_are_closed(sessions: Sessions, first: int, last: int) -> None:
    session = begin(sessions)
    sessions.asynchronous("id-1", "pe1", ARC, "")
    sessions.channel_closed(first, 10.0)
    assert sessions.timer() is None
    sessions.channel_closed(last, 20.0)
    assert sessions.timer() == 200.0
    assert sessions.overdue(199.9) == []
    assert sessions.overdue(200.0) == [session]
    assert sessions.overdue(300.0) == [] and sessions.timer() is None


def test_a_poll_that_waits_is_void_when_its_connection_closes(sessions: Sessions) -> None:
    session = begin(sessions)
    sessions.asynchronous("id-1", "pe1", ARC, "")
    session.polling = True
    sessions.channel_closed(ARC, 5.0)
    assert not session.polling and session.arc is None
    assert sessions.timer() is None
    sessions.asynchronous("id-1", "pe1", NEW, "")
    assert session.arc == NEW


def test_any_request_stops_the_timer(sessions: Sessions) -> None:
    session = begin(sessions)
    sessions.channel_closed(SSRC, 0.0)
    sessions.synchronous("id-1", "pe1", NEW, "")
    assert sessions.timer() is None
    sessions.channel_closed(NEW, 50.0)
    sessions.asynchronous("id-1", "pe1", 7, "")
    assert sessions.timer() is None
    sessions.channel_closed(7, 60.0)
    assert sessions.overdue(240.0) == [session]


def test_the_end_of_a_session_stops_its_timer(sessions: Sessions) -> None:
    session = begin(sessions)
    sessions.channel_closed(SSRC, 0.0)
    sessions.end(session, "newSession")
    assert sessions.timer() is None


def test_timers_are_in_order_of_their_starts(sessions: Sessions) -> None:
    a, b = begin(sessions, "a", 1, "id-a"), begin(sessions, "b", 2, "id-b")
    sessions.channel_closed(2, 1.0)
    sessions.channel_closed(1, 2.0)
    assert sessions.timer() == 181.0
    assert sessions.overdue(1_000.0) == [b, a]


def test_a_session_whose_connection_closed_before_it_began_waits_for_another(sessions: Sessions) -> None:
    session = begin(sessions, channel=None)
    assert sessions.timer() == 180.0
    assert sessions.synchronous("id-1", "pe1", NEW, "") is session
    assert sessions.timer() is None


def test_sessions_of_two_clients_may_share_a_connection(sessions: Sessions) -> None:
    """Behind a proxy that keeps one connection."""
    begin(sessions, "a", 1, "id-a")
    begin(sessions, "b", 1, "id-b")
    sessions.end(sessions.synchronous("id-a", "a", 1, ""), "endSession")
    sessions.channel_closed(1, 0.0)
    assert [session.client for session in sessions.overdue(180.0)] == ["b"]
