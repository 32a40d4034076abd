"""Purges and ends of sessions with much metadata: in portions, so that others have their turns meanwhile."""

from __future__ import annotations

from ifmap.answers import EndSessionResult, NewSessionResult, Received
from ifmap.commits import PORTION
from ifmap.errors import ErrorCode, IfmapError
from ifmap.values import EndSession, Lifetime, NewSession, Publish, PurgePublisher, RenewSession, ResultKind, Update
from tests.unit.ifmap.map_harness import D1, D2, WALL, Bench, MapUser, multi, node, single

MUCH = PORTION * 5 // 2


def much(lifetime: Lifetime) -> Update:
    return Update(node(D1), tuple(multi("seen", str(number)) for number in range(MUCH)), lifetime)


def bench_with(lifetime: Lifetime) -> tuple[Bench, MapUser, MapUser]:
    """a has published much, b little; what is asked from now on waits for `commit_one`."""
    bench = Bench()
    a, b = MapUser(bench, "a"), MapUser(bench, "b")
    a.publish(much(lifetime))
    b.update(node(D2), single("state"))
    bench.hold = True
    return bench, a, b


def commit_one(bench: Bench) -> None:
    batch = bench.service.begin(WALL)
    assert batch is not None
    bench.service.committed(batch, bench.now)
    bench.collect()


def test_others_have_their_turns_while_much_is_purged() -> None:
    bench, a, b = bench_with(Lifetime.FOREVER)
    bench.send(a.ssrc, "a", PurgePublisher(a.id, a.publisher))
    commit_one(bench)
    bench.send(b.ssrc, "b", Publish(b.id, (Update(node(D2), (single("state", "new"),)),)))
    commit_one(bench)
    assert isinstance(bench.answers[b.ssrc][-1], Received), "it waited for all of the purge"
    assert len(bench.answers[a.ssrc]) == 2, "answered before all is gone"
    bench.commit()
    assert isinstance(bench.answers[a.ssrc][-1], Received)
    assert not bench.graph.contents(node(D1))
    assert max(len(change.removed) for record in bench.records for change in record.delta.changes) <= PORTION


def test_a_purge_means_what_was_there_when_its_turn_came() -> None:
    bench, a, _ = bench_with(Lifetime.FOREVER)
    other = bench.connection()
    bench.send(a.ssrc, "a", PurgePublisher(a.id, a.publisher))
    commit_one(bench)
    bench.send(other, "a", Publish(a.id, (Update(node(D2), (multi("later"),), Lifetime.FOREVER),)))
    bench.commit()
    assert not bench.graph.contents(node(D1))
    assert [metadata.name.local for metadata in bench.graph.contents(node(D2)).values()] == ["state", "later"]


def test_subscribers_are_told_of_all_portions() -> None:
    bench, a, b = bench_with(Lifetime.SESSION)
    bench.hold = False
    b.subscribe("s", D1, max_size=10_000_000)
    b.poll()
    a.end()
    ((kind, label, items),) = b.poll()
    assert (kind, label) == (ResultKind.DELETE, "s")
    assert len(items[node(D1)]) == MUCH


def test_a_session_with_much_metadata_takes_no_requests_while_it_ends() -> None:
    bench, a, _ = bench_with(Lifetime.SESSION)
    other = bench.connection()
    bench.send(a.ssrc, "a", EndSession(a.id))
    commit_one(bench)
    bench.send(other, "a", RenewSession(a.id))
    refusal = bench.answers[other][-1]
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.INVALID_SESSION_ID
    bench.commit()
    assert isinstance(bench.answers[a.ssrc][-1], EndSessionResult)


def test_an_end_that_has_begun_is_carried_through_whatever_the_store_does() -> None:
    bench, a, _ = bench_with(Lifetime.SESSION)
    bench.send(a.ssrc, "a", EndSession(a.id))
    commit_one(bench)
    bench.fail()
    assert len(bench.answers[a.ssrc]) == 2, "answered though it hasn't ended"
    bench.commit()
    assert isinstance(bench.answers[a.ssrc][-1], EndSessionResult)
    assert [session.client for session, _ in bench.service.sessions()] == ["b"]
    assert not bench.graph.contents(node(D1))


def test_a_new_session_comes_after_all_of_the_old_ones_metadata_is_gone() -> None:
    bench, _, _ = bench_with(Lifetime.SESSION)
    other = bench.connection()
    bench.send(other, "a", NewSession())
    commit_one(bench)
    assert not bench.answers[other]
    bench.commit()
    assert isinstance(bench.answers[other][-1], NewSessionResult)
    assert not bench.graph.contents(node(D1))


def test_a_new_session_whose_connection_closes_halfway_ends_the_old_one_all_the_same() -> None:
    bench, _, _ = bench_with(Lifetime.SESSION)
    other = bench.connection()
    bench.send(other, "a", NewSession())
    commit_one(bench)
    bench.close(other)
    bench.commit()
    assert [session.client for session, _ in bench.service.sessions()] == ["b"]
    assert not bench.graph.contents(node(D1))
