"""Publishes from the queue to the answer: nothing is seen before its commit, nothing of what fails, turns for all."""

from __future__ import annotations

import pytest

from ifmap.answers import EndSessionResult, NewSessionResult, Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import of_names
from ifmap.service import MapService, ServiceSettings
from ifmap.values import (
    Delete,
    EndSession,
    Lifetime,
    NewSession,
    Notify,
    Poll,
    Publish,
    PurgePublisher,
    RenewSession,
    ResultKind,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Update,
)
from tests.unit.ifmap.map_harness import D1, D2, WALL, Bench, MapUser, link, multi, name, node, single


@pytest.fixture
def bench() -> Bench:
    return Bench()


def forever(*metadata: object) -> Update:
    return Update(node(D1), metadata, Lifetime.FOREVER)  # type: ignore[arg-type]


def test_nothing_is_answered_searched_or_delivered_before_its_commit(bench: Bench) -> None:
    writer, reader = MapUser(bench, "a"), MapUser(bench, "b")
    reader.subscribe("s", D1)
    reader.poll()
    reader.start_poll()
    polled = len(reader.poll_answers())
    bench.hold = True
    bench.send(writer.ssrc, "a", Publish(writer.id, (forever(single("state", "up")),)))

    def unseen() -> bool:
        seen = len(bench.answers[writer.ssrc]) > 1 or len(reader.poll_answers()) > polled
        return not seen and reader.search(D1) == {node(D1): ()}

    assert unseen()
    batch = bench.service.begin(WALL)
    assert unseen()
    assert batch is not None and batch.durable
    bench.service.committed(batch, 0.0)
    bench.collect()
    assert isinstance(bench.answers[writer.ssrc][-1], Received)
    assert reader.polled() == [(ResultKind.UPDATE, "s", {node(D1): ("state=up",)})]
    assert reader.search(D1) == {node(D1): ("state=up",)}


def test_what_could_not_be_stored_never_was(bench: Bench) -> None:
    writer, reader = MapUser(bench, "a"), MapUser(bench, "b")
    writer.update(node(D1), single("state", "old"), lifetime=Lifetime.FOREVER)
    reader.subscribe("s", D1)
    reader.poll()
    reader.start_poll()
    polled = len(reader.poll_answers())
    bench.hold = True
    for user in (writer, reader):
        bench.send(user.ssrc, user.client, Publish(user.id, (forever(single("state", user.client)),)))
    bench.fail("disk full")
    for user in (writer, reader):
        error = bench.answers[user.ssrc][-1]
        assert isinstance(error, IfmapError) and error.code is ErrorCode.SYSTEM_ERROR and "disk full" in str(error)
    assert bench.service.waiting == 0
    bench.hold = False
    assert len(reader.poll_answers()) == polled
    assert reader.search(D1) == {node(D1): ("state=old",)}
    writer.update(node(D1), single("state", "new"))
    assert reader.polled() == [(ResultKind.UPDATE, "s", {node(D1): ("state=new",)})]


def test_new_session_that_could_not_be_stored_leaves_the_old_one(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"))
    user.start_poll()
    bench.hold = True
    other = bench.connection()
    bench.send(other, "a", NewSession())
    bench.fail()
    error = bench.answers[other][-1]
    assert isinstance(error, IfmapError) and error.code is ErrorCode.SYSTEM_ERROR
    bench.hold = False
    assert user.poll_answers() == []
    assert user.search(D1) == {node(D1): ("state=up",)}


def test_end_session_that_could_not_be_stored_may_be_asked_again(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    bench.send(user.ssrc, "a", EndSession(user.id))
    bench.fail()
    assert isinstance(bench.answers[user.ssrc][-1], IfmapError)
    bench.hold = False
    assert isinstance(user.ask(EndSession(user.id)), EndSessionResult)


def test_an_end_that_nobody_asked_for_is_tried_until_it_is_stored(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"))
    user.start_poll()
    bench.hold = True
    second = bench.connection()
    assert bench.refused(second, "a", Poll(user.id)).code is ErrorCode.INVALID_SESSION_ID
    for _ in range(3):
        bench.fail()
        assert user.poll_answers() == []
        assert bench.service.waiting == 1
        assert user.refused(RenewSession(user.id)).code is ErrorCode.INVALID_SESSION_ID
    bench.commit()
    assert [type(answer) for answer in user.poll_answers()] == [EndSessionResult]
    assert bench.service.figures().metadata == 0


def test_refusal_that_rests_on_what_failed_is_thought_over(bench: Bench) -> None:
    """A publish behind a newSession of its client is refused only if that newSession comes to pass."""
    user = MapUser(bench, "a")
    bench.hold = True
    other = bench.connection()
    bench.send(other, "a", NewSession())
    bench.send(user.ssrc, "a", Publish(user.id, (forever(single("state")),)))
    bench.fail()
    assert len(bench.answers[user.ssrc]) == 1
    bench.commit()
    assert isinstance(bench.answers[user.ssrc][-1], Received)


def test_publish_behind_a_new_session_that_comes_to_pass_is_refused(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    other = bench.connection()
    bench.send(other, "a", NewSession())
    bench.send(user.ssrc, "a", Publish(user.id, (forever(single("state")),)))
    bench.commit()
    error = bench.answers[user.ssrc][-1]
    assert isinstance(error, IfmapError) and error.code is ErrorCode.INVALID_SESSION_ID
    assert "another newSession" in str(error)
    assert isinstance(bench.answers[other][-1], NewSessionResult)
    assert bench.service.figures().metadata == 0


def test_many_clients_share_a_commit(bench: Bench) -> None:
    users = [MapUser(bench, client) for client in "abcd"]
    bench.hold = True
    for user in users:
        bench.send(user.ssrc, user.client, Publish(user.id, (forever(multi("seen", user.client)),)))
    batches = len(bench.batches)
    bench.commit()
    assert len(bench.batches) == batches + 1
    assert [record.client for record in bench.batches[-1].records] == ["a", "b", "c", "d"]


def test_a_later_proposal_of_a_batch_sees_the_earlier(bench: Bench) -> None:
    first, second = MapUser(bench, "a"), MapUser(bench, "b")
    bench.hold = True
    bench.send(first.ssrc, "a", Publish(first.id, (forever(single("state", "a")),)))
    bench.send(second.ssrc, "b", Publish(second.id, (forever(single("state", "b")),)))
    bench.commit()
    bench.hold = False
    assert len(bench.batches[-1].records) == 2
    assert first.search(D1) == {node(D1): ("state=b",)}
    assert bench.service.figures().metadata == 1


def test_a_batch_is_cut_and_clients_take_turns(bench: Bench) -> None:
    """Whoever publishes much at once holds nobody up for longer than a batch."""
    flood, quiet = MapUser(bench, "a"), MapUser(bench, "b")
    bench.hold = True
    connections = [bench.connection() for _ in range(3)]
    many = tuple(forever(multi("seen", str(number))) for number in range(10))
    # One connection of a client is answered before its next request is taken; a flood comes by several.
    bench.send(flood.ssrc, "a", Publish(flood.id, many))
    for channel in connections:
        bench.send(channel, "a", Publish(flood.id, many))
    bench.send(quiet.ssrc, "b", Publish(quiet.id, (forever(single("state")),)))
    clients = []
    while (batch := bench.service.begin(WALL, limit=10)) is not None:
        clients.append([record.client for record in batch.records])
        bench.service.committed(batch, 0.0)
    assert clients == [["a"], ["b", "a"], ["a"], ["a"]]


def test_session_metadata_needs_no_store_of_its_own(bench: Bench) -> None:
    user = MapUser(bench, "a")
    assert bench.batches[-1].durable, "a publisher id is kept"
    user.update(node(D1), single("state", "up"))
    assert bench.batches[-1].durable, "a new metadata type is kept"
    for step in (
        lambda: user.update(node(D1), single("state", "down")),
        lambda: user.publish(Notify(node(D1), (single("state"),))),
        lambda: user.delete(node(D1)),
        lambda: MapUser(bench, "a"),
    ):
        step()
        assert not bench.batches[-1].durable
    user = MapUser(bench, "a")
    user.update(node(D1), single("state"), lifetime=Lifetime.FOREVER)
    assert bench.batches[-1].durable
    user.update(node(D1), single("state"))
    assert bench.batches[-1].durable, "what lasted is replaced"


def test_servers_that_share_a_store_put_everything_through_it() -> None:
    bench = Bench(ServiceSettings(shared=True), publishers={"a": "a-1"})
    user = MapUser(bench, "a")
    user.publish(Notify(node(D1), (single("state"),)))
    user.end()
    assert [batch.durable for batch in bench.batches] == [True] * 3


def test_a_publish_that_changes_nothing_is_no_record(bench: Bench) -> None:
    user = MapUser(bench, "a")
    batches = len(bench.batches)
    assert isinstance(user.publish(Delete(node(D1))), Received)
    assert isinstance(user.ask(PurgePublisher(user.id, user.publisher)), Received)
    assert len(bench.batches) == batches


def test_subscribe_after_the_answer_to_a_publish_sees_it(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"))
    user.subscribe("s", D1)
    assert user.poll() == [(ResultKind.SEARCH, "s", {node(D1): ("state=up",)})]


def test_results_of_one_batch_make_one_answer(bench: Bench) -> None:
    writer, other, reader = (MapUser(bench, client) for client in "abc")
    reader.subscribe("s", D1)
    reader.poll()
    reader.start_poll()
    bench.hold = True
    for user in (writer, other):
        bench.send(user.ssrc, user.client, Publish(user.id, (forever(single("state", user.client)),)))
    bench.commit()
    assert [(kind, items) for kind, _, items in reader.polled()] == [
        (ResultKind.UPDATE, {node(D1): ("state=a", "state=b")}),
    ]


def test_pipelined_requests_are_answered_in_order(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    bench.send(user.ssrc, "a", Publish(user.id, (forever(single("state", "up")),)))
    bench.send(user.ssrc, "a", Search(user.id, SearchSpec(D1)))
    assert len(bench.answers[user.ssrc]) == 1
    bench.commit()
    assert [body.find(b"publishReceived") > 0 for body in bench.bodies[user.ssrc][1:]] == [True, False]
    assert b"state" in bench.bodies[user.ssrc][-1]


def test_all_metadata_of_a_publish_has_the_time_of_its_batch(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.publish(forever(multi("seen"), multi("seen")), Update(link(D1, D2), (single("binding"),)))
    user.ask(Search(user.id, SearchSpec(D1, 1)))
    assert bench.bodies[user.ssrc][-1].count(b'ifmap-timestamp="2026-01-05T10:11:12+00:00"') == 3


def test_publish_of_a_closed_connection_is_done_all_the_same(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    bench.send(user.ssrc, "a", Publish(user.id, (forever(single("state", "up")),)))
    bench.close(user.ssrc)
    bench.commit()
    bench.hold = False
    assert MapUser(bench, "b").search(D1) == {node(D1): ("state=up",)}
    assert len(bench.answers[user.ssrc]) == 1


# -- rules between the shell and the service


def test_one_batch_at_a_time(bench: Bench) -> None:
    user = MapUser(bench, "a")
    bench.hold = True
    bench.send(user.ssrc, "a", Publish(user.id, (forever(single("state")),)))
    batch = bench.service.begin(WALL)
    assert batch is not None
    for call in (
        lambda: bench.service.begin(WALL),
        lambda: bench.service.foreign(batch.records[0], 0.0),
    ):
        with pytest.raises(RuntimeError, match="a batch is out"):
            call()
    bench.service.committed(batch, 0.0)
    for call in (lambda: bench.service.committed(batch, 0.0), lambda: bench.service.failed(batch, "")):
        with pytest.raises(RuntimeError, match="isn't out"):
            call()


def test_nothing_waits_nothing_begins(bench: Bench) -> None:
    assert bench.service.begin(WALL) is None
    assert isinstance(bench.service, MapService) and bench.service.waiting == 0


# -- limits


def limited(**limits: int) -> MapUser:
    return MapUser(Bench(ServiceSettings(**limits)), "a")  # type: ignore[arg-type]


def test_limits_of_a_publish() -> None:
    two = Publish("", (forever(single("state")), forever(single("other"))))
    for user, code in (
        (limited(max_operations=1), ErrorCode.FAILURE),
        (limited(max_metadata=1), ErrorCode.FAILURE),
        (limited(max_metadata_size=20), ErrorCode.METADATA_TOO_LONG),
    ):
        error = user.refused(Publish(user.id, two.operations))
        assert error.code is code
        assert user.bench.service.figures().metadata == 0
        assert isinstance(user.ask(RenewSession(user.id)), Received)


def test_size_of_a_publish() -> None:
    user = limited(max_publish_size=2_000)
    small = user.publish(forever(*(multi("seen", "x" * 100) for _ in range(5))))
    assert isinstance(small, Received)
    error = user.refused(Publish(user.id, (forever(*(multi("seen", "x" * 100) for _ in range(30))),)))
    assert error.code is ErrorCode.FAILURE


def test_limit_of_subscriptions_is_that_after_the_request() -> None:
    user = limited(max_subscriptions=2)
    user.subscribe("one", D1)
    user.subscribe("two", D1)
    user.subscribe("two", D2)
    error = user.refused(Subscribe(user.id, (Subscription("three", SearchSpec(D1)),)))
    assert error.code is ErrorCode.FAILURE and "2 subscriptions" in str(error)
    user.unsubscribe("one")
    user.subscribe("three", D1)


def test_size_of_all_subscriptions_together() -> None:
    user = limited(max_search_size=1_500)
    user.update(node(D1), multi("seen", "x" * 400))
    for label, depth in (("one", 1), ("two", 2), ("three", 3)):
        user.subscribe(label, D1, depth)
    kinds = [(kind, label) for kind, label, _ in user.poll()]
    assert kinds == [(ResultKind.SEARCH, "one"), (ResultKind.SEARCH, "two"), (ResultKind.ERROR, "three")]
    user.unsubscribe("one")
    user.subscribe("three", D1, 3)
    assert [(kind, label) for kind, label, _ in user.poll()] == [(ResultKind.SEARCH, "three")]


def test_a_refused_subscribe_changes_nothing() -> None:
    user = limited(max_subscriptions=2)
    user.refused(Subscribe(user.id, tuple(Subscription(text, SearchSpec(D1)) for text in ("a", "b", "c"))))
    assert user.bench.service.figures().subscriptions == 0


@pytest.mark.parametrize(("strict", "longest"), [(True, 20), (False, 255)])
def test_names_of_subscriptions(strict: bool, longest: int) -> None:
    user = MapUser(Bench(ServiceSettings(strict=strict)), "a")
    user.subscribe("x" * longest, D1)
    for label in ("", "x" * (longest + 1)):
        error = user.refused(Subscribe(user.id, (Subscription(label, SearchSpec(D1)),)))
        assert error.code is ErrorCode.FAILURE


def test_counters(bench: Bench) -> None:
    user = MapUser(bench, "a")
    user.update(node(D1), single("state", "up"))
    user.update(node(D1), single("state", "down"))
    user.publish(Notify(node(D1), (single("state"),)))
    user.refused(RenewSession("x"))
    bench.refused(user.ssrc, "a", b"<nonsense")
    user.subscribe("s", D1)
    figures = bench.service.figures()
    assert (figures.sessions, figures.subscriptions, figures.metadata, figures.polls) == (1, 1, 1, 0)
    assert figures.results == figures.longest_results > 0
    user.poll()
    user.start_poll()
    assert (bench.service.figures().polls, bench.service.figures().results) == (1, 0)
    bench.close(user.arc)
    user.delete(node(D1), of_names(name("state")))
    user.end()
    counters = bench.service.counters
    assert dict(counters.requests) == {
        ("newSession", "ok"): 1,
        ("publish", "ok"): 4,
        ("renewSession", "InvalidSessionID"): 1,
        ("unreadable", "Failure"): 1,
        ("subscribe", "ok"): 1,
        ("poll", "ok"): 1,
        ("endSession", "ok"): 1,
    }
    assert (counters.metadata_added, counters.metadata_removed, counters.metadata_notified) == (2, 2, 1)
    assert (counters.sessions_begun, counters.sessions_ended, counters.poll_results) == (1, 1, 1)
    assert counters.batches == len(bench.batches) and counters.records == len(bench.records)
