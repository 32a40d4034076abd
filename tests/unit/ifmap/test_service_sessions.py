"""Sessions as clients see them: each row of the table of misuse, and what happens when a session ends."""

from __future__ import annotations

import pytest

from ifmap.answers import EndSessionResult, NewSessionResult, PollResult, Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.service import ServiceSettings
from ifmap.values import (
    EndSession,
    Lifetime,
    NewSession,
    Poll,
    Publish,
    RenewSession,
    ResultKind,
    Search,
    SearchSpec,
    Update,
)
from tests.unit.ifmap.map_harness import D1, D2, Bench, MapUser, link, node, single


@pytest.fixture
def bench() -> Bench:
    return Bench()


def is_gone(user: MapUser) -> IfmapError:
    """The session's end as its client is told of it."""
    error = user.bench.refused(user.bench.connection(), user.client, RenewSession(user.id))
    assert error.code is ErrorCode.INVALID_SESSION_ID
    return error


# -- the table of misuse


def test_second_poll_while_one_is_pending_ends_the_session(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    second = bench.connection()
    error = bench.refused(second, "a", Poll(user.id))
    assert error.code is ErrorCode.INVALID_SESSION_ID
    assert f"second poll from 192.0.2.{second}" in str(error)
    assert bench.service.waiting == 0 and bench.service.figures().sessions == 0
    assert [type(answer) for answer in user.poll_answers()] == [EndSessionResult]
    assert "second poll" in str(is_gone(user))


def test_second_poll_on_the_same_connection_ends_the_session_and_is_answered_after_the_first(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    user.start_poll()
    first, second = user.poll_answers()
    assert isinstance(first, EndSessionResult)
    assert isinstance(second, IfmapError) and second.code is ErrorCode.INVALID_SESSION_ID
    assert "second poll" in str(second)


def test_poll_of_no_session_behind_a_waiting_poll_waits_its_turn(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    bench.send(user.arc, "a", Poll("another"))
    assert user.poll_answers() == []
    user.subscribe("s", D1)
    result, refusal = user.poll_answers()
    assert isinstance(result, PollResult)
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.INVALID_SESSION_ID


def test_poll_on_the_ssrc_fails_and_the_session_survives(bench: Bench) -> None:
    user = MapUser(bench, "a")
    error = bench.refused(user.ssrc, "a", Poll(user.id))
    assert error.code is ErrorCode.FAILURE and "SSRC" in str(error)
    assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_ssrc_operation_on_the_arc_fails_and_the_session_survives(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.subscribe("s", D1)
    user.poll()
    for request in (RenewSession(user.id), Search(user.id, SearchSpec(D1)), EndSession(user.id)):
        error = bench.refused(user.arc, "a", request)
        assert error.code is ErrorCode.FAILURE and "ARC" in str(error)
    assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_new_session_ends_the_old_one(bench: Bench) -> None:
    old = MapUser(bench, "a")
    watcher = MapUser(bench, "b")
    watcher.subscribe("s", D1)
    watcher.poll()
    old.update(node(D1), single("state", "up"))
    watcher.poll()
    old.start_poll()
    new = MapUser(bench, "a")
    assert new.id != old.id and new.publisher == old.publisher
    assert [type(answer) for answer in old.poll_answers()] == [EndSessionResult]
    assert watcher.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=up",)})]
    assert new.search(D1) == {node(D1): ()}
    text = str(is_gone(old))
    assert [(event.client, event.peer, bool(event.ended)) for event in bench.service.take_events()] == [
        ("a", f"192.0.2.{old.ssrc}", False),
        ("b", f"192.0.2.{watcher.ssrc}", False),
        ("a", f"192.0.2.{old.arc}", True),
        ("a", f"192.0.2.{new.ssrc}", False),
    ]
    assert bench.service.take_events() == []
    assert f"another newSession of client a from 192.0.2.{new.ssrc} took over" in text


def test_new_session_on_the_same_connection(bench: Bench) -> None:
    old = MapUser(bench, "a")
    result = bench.ask(old.ssrc, "a", NewSession())
    assert isinstance(result, NewSessionResult) and result.session_id != old.id
    assert isinstance(bench.ask(old.ssrc, "a", RenewSession(result.session_id)), Received)
    assert isinstance(old.ask(RenewSession(old.id)), IfmapError)


def test_new_session_on_the_connection_of_its_waiting_poll_does_not_wait_for_ever(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    bench.send(user.arc, "a", NewSession())
    first, second = user.poll_answers()
    assert isinstance(first, EndSessionResult)
    assert isinstance(second, NewSessionResult)


def test_session_of_another_client_is_as_unknown_as_one_that_never_was(bench: Bench) -> None:
    user, other = MapUser(bench, "a"), MapUser(bench, "b")
    answers = [
        bench.refused(other.ssrc, "b", make(session_id))
        for session_id in (user.id, "never")
        for make in (RenewSession, EndSession)
    ]
    answers += [bench.refused(bench.connection(), "b", Poll(session_id)) for session_id in (user.id, "never")]
    assert {(error.code, str(error)) for error in answers} == {(ErrorCode.INVALID_SESSION_ID, "no such session")}
    assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_arc_closed_with_a_poll_pending_leaves_the_session_to_its_ssrc(bench: Bench) -> None:
    """irond ends it at once; the specification's timer is gentler, and nothing is lost."""
    user = MapUser(bench, "a")
    user.start_poll()
    bench.close(user.arc)
    bench.pass_time(10_000.0)
    user.subscribe("s", D1)
    user.arc = bench.connection()
    assert [kind for kind, _, _ in user.poll()] == [ResultKind.SEARCH]


def test_ssrc_closed_while_the_arc_is_open_lives_on(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.start_poll()
    bench.close(user.ssrc)
    assert bench.service.timer() is None
    bench.pass_time(10_000.0)
    user.ssrc = bench.connection()
    assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_both_closed_the_session_ends_after_its_time(bench: Bench) -> None:
    user, watcher = MapUser(bench, "a"), MapUser(bench, "b")
    user.update(node(D1), single("state", "up"))
    watcher.subscribe("s", D1)
    watcher.poll()
    user.start_poll()
    bench.close(user.ssrc)
    bench.close(user.arc)
    bench.pass_time(179.0)
    assert watcher.search(D1) == {node(D1): ("state=up",)}
    bench.pass_time(1.0)
    assert watcher.poll() == [(ResultKind.DELETE, "s", {node(D1): ("state=up",)})]
    assert "no connection for 180 s" in str(is_gone(user))


def test_the_time_without_connections_is_configured() -> None:
    bench = Bench(ServiceSettings(session_timeout=7.5))
    user = MapUser(bench, "a")
    bench.close(user.ssrc)
    bench.pass_time(7.5)
    assert "no connection for 7.5 s" in str(is_gone(user))


def test_an_idle_session_with_an_open_ssrc_lives_for_ever(bench: Bench) -> None:
    user = MapUser(bench, "a")
    assert bench.service.timer() is None
    bench.pass_time(1e7)
    assert isinstance(user.ask(RenewSession(user.id)), Received)


# -- connections


def test_clients_that_open_a_connection_for_each_request_work(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.close(user.ssrc)
    for _ in range(3):
        user.ssrc = bench.connection()
        user.update(node(D1), single("state", "up"))
        bench.close(user.ssrc)
        bench.pass_time(100.0)
    user.ssrc = bench.connection()
    user.subscribe("s", D1)
    bench.close(user.ssrc)
    for _ in range(2):
        user.ssrc, user.arc = bench.connection(), bench.connection()
        user.start_poll()
        user.update(node(D1), single("state", "down"))
        assert user.polled()
        bench.close(user.arc)
        bench.close(user.ssrc)


def test_a_connection_that_was_taken_over_is_told_so_on_both_ends(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.subscribe("s", D1)
    user.poll()
    new_ssrc, new_arc = bench.connection(), bench.connection()
    assert isinstance(bench.ask(new_ssrc, "a", RenewSession(user.id)), Received)
    bench.send(new_arc, "a", Poll(user.id))
    for stale, role, successor in ((user.ssrc, "SSRC", new_ssrc), (user.arc, "ARC", new_arc)):
        for request in (RenewSession(user.id), Poll(user.id)):
            error = bench.refused(stale, "a", request)
            assert error.code is ErrorCode.ACCESS_DENIED
            assert role in str(error) and f"192.0.2.{successor}" in str(error)
    assert bench.answers[new_arc] == []


def test_a_stale_connection_may_begin_anew(bench: Bench) -> None:
    user = MapUser(bench, "a")
    new = bench.connection()
    bench.ask(new, "a", RenewSession(user.id))
    bench.refused(user.ssrc, "a", RenewSession(user.id))
    assert isinstance(bench.ask(user.ssrc, "a", NewSession()), NewSessionResult)


def test_the_arc_of_an_ended_session_may_serve_the_next(bench: Bench) -> None:
    old = MapUser(bench, "a")
    old.start_poll()
    new = MapUser(bench, "a")
    new.arc = old.arc
    new.subscribe("s", D1)
    assert new.poll()


def test_new_session_of_a_connection_that_closed_meanwhile_is_forgotten() -> None:
    """Nobody could learn its id, and the session that there is would have ended for nothing."""
    bench = Bench()
    user = MapUser(bench, "a")
    bench.hold = True
    lost = bench.connection()
    bench.send(lost, "a", NewSession())
    bench.close(lost)
    bench.commit()
    assert bench.service.figures().sessions == 1
    bench.hold = False
    assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_new_session_whose_connection_closes_during_its_commit_waits_for_another() -> None:
    bench = Bench()
    channel = bench.connection()
    bench.hold = True
    bench.send(channel, "a", NewSession())
    batch = bench.service.begin(0.0)
    assert batch is not None
    bench.close(channel)
    bench.service.committed(batch, 5.0)
    bench.collect()
    assert bench.service.timer() == 185.0
    bench.hold = False
    bench.pass_time(185.0)
    assert bench.service.figures().sessions == 0


# -- the end


def test_end_session_in_order(bench: Bench) -> None:
    user, watcher = MapUser(bench, "a"), MapUser(bench, "b")
    watcher.subscribe("s", D1, 1)
    watcher.poll()
    user.subscribe("own", D1, 1)
    user.poll()
    user.update(node(D1), single("state", "up"))
    user.update(link(D1, D2), single("binding"), lifetime=Lifetime.FOREVER)
    watcher.poll()
    user.poll()
    user.start_poll()
    watcher.start_poll()
    bench.hold = True
    bench.send(user.ssrc, "a", EndSession(user.id))
    batch = bench.service.begin(0.0)
    assert batch is not None
    (record,) = batch.records
    assert record.ended == (user.id,) and record.client == "a"
    bench.service.committed(batch, 0.0)
    outputs = [output.channel for output in bench.service.take_outputs()]
    assert bench.service.figures().subscriptions == 1
    # Its own poll and its endSession before the others' results; its own deletion is told to others alone.
    assert outputs == [user.arc, user.ssrc, watcher.arc]
    bench.hold = False
    assert "endSession" in str(is_gone(user))
    assert watcher.search(D1, 1) == {node(D1): (), link(D1, D2): ("binding",), node(D2): ()}


def test_waiting_poll_of_an_ended_session_hears_nothing_but_the_end(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.subscribe("s", D1)
    user.poll()
    user.update(node(D1), single("state", "up"))
    user.poll()
    user.start_poll()
    before = len(user.poll_answers())
    user.end()
    assert [type(answer) for answer in user.poll_answers()[before:]] == [EndSessionResult]


def test_nothing_is_delivered_to_a_session_that_is_about_to_end(bench: Bench) -> None:
    writer, user = MapUser(bench, "a"), MapUser(bench, "b")
    user.subscribe("s", D1)
    user.poll()
    user.start_poll()
    before = len(user.poll_answers())
    bench.hold = True
    bench.send(writer.ssrc, "a", Publish(writer.id, (Update(node(D1), (single("state", "up"),)),)))
    for _ in range(2):
        third = bench.connection()
        assert "second poll" in str(bench.refused(third, "b", Poll(user.id)))
    assert bench.service.waiting == 2
    batch = bench.service.begin(0.0, limit=1)
    assert batch is not None and not batch.records[0].ended
    bench.service.committed(batch, 0.0)
    bench.collect()
    assert len(user.poll_answers()) == before
    bench.commit()
    assert [type(answer) for answer in user.poll_answers()[before:]] == [EndSessionResult]


def test_end_session_that_a_new_session_came_before(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    other = bench.connection()
    bench.send(other, "a", NewSession())
    bench.send(user.ssrc, "a", EndSession(user.id))
    bench.commit()
    assert isinstance(bench.answers[other][-1], NewSessionResult)
    error = bench.answers[user.ssrc][-1]
    assert isinstance(error, IfmapError) and "another newSession" in str(error)
    assert bench.service.figures().sessions == 1


def test_two_new_sessions_at_once_leave_one(bench: Bench) -> None:
    bench.hold = True
    first, second = bench.connection(), bench.connection()
    bench.send(first, "a", NewSession())
    bench.send(second, "a", NewSession())
    bench.commit()
    bench.hold = False
    assert len(bench.batches) == 1
    one, two = bench.answers[first][0], bench.answers[second][0]
    assert isinstance(one, NewSessionResult) and isinstance(two, NewSessionResult)
    assert one.publisher_id == two.publisher_id
    assert bench.records[0].publisher is not None and bench.records[1].publisher is None
    assert bench.refused(first, "a", RenewSession(one.session_id)).code is ErrorCode.INVALID_SESSION_ID
    assert isinstance(bench.ask(second, "a", RenewSession(two.session_id)), Received)


def test_publisher_id_stays_with_its_client() -> None:
    first = Bench()
    user = MapUser(first, "a")
    assert user.publisher.startswith("a-")
    kept = {record.publisher.client: record.publisher.publisher_id for record in first.records if record.publisher}
    assert kept == {"a": user.publisher}
    assert MapUser(Bench(publishers=kept, prefix="other"), "a").publisher == user.publisher


@pytest.mark.parametrize(
    ("wish", "echo"), [(None, None), (6_000_000, 6_000_000), (1 << 30, 50_000_000), (1_000, 1_000)]
)
def test_max_poll_result_size_is_echoed_iff_it_was_sent(wish: int | None, echo: int | None) -> None:
    bench = Bench(ServiceSettings(max_poll_size=50_000_000))
    channel = bench.connection()
    result = bench.ask(channel, "a", NewSession(wish))
    assert isinstance(result, NewSessionResult)
    assert result.max_poll_result_size == echo
    assert (b"max-poll-result-size" in bench.bodies[channel][0]) == (wish is not None)
