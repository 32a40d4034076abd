"""Access control by client and metadata type: what may not be read isn't there, what may not be written is refused."""

from __future__ import annotations

import pytest

from ifmap.access import EVERYTHING, NOTHING, Access, parse_rules
from ifmap.answers import EndSessionResult, NewSessionResult, Received
from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import compile, of_names
from ifmap.values import (
    Delete,
    NewSession,
    Notify,
    Publish,
    PublishOperation,
    PurgePublisher,
    RenewSession,
    ResultKind,
    Update,
)
from tests.unit.ifmap.map_harness import D1, D2, D3, NAMESPACE, Bench, MapUser, link, multi, name, node, single

OPEN, SECRET = "{urn:example:m}open", "{urn:example:m}secret"


@pytest.fixture
def bench() -> Bench:
    return Bench(
        access={
            "all": Access(purge_others=True),
            "limited": Access(parse_rules([OPEN]), parse_rules([OPEN])),
            "changer": Access(EVERYTHING, parse_rules([OPEN])),
            "reader": Access(EVERYTHING, NOTHING),
            "blind": Access(NOTHING, EVERYTHING),
        }
    )


def denied(user: MapUser, *operations: PublishOperation) -> str:
    error = user.refused(Publish(user.id, operations))
    assert error.code is ErrorCode.ACCESS_DENIED
    return str(error)


# -- writing


def test_a_type_that_may_not_be_written_refuses_the_whole_publish(bench: Bench) -> None:
    user = MapUser(bench, "limited")
    good = Update(node(D1), (single("open"),))
    assert SECRET in denied(user, good, Update(node(D1), (single("open"), single("secret"))))
    assert SECRET in denied(user, good, Notify(node(D1), (single("secret"),)))
    assert bench.service.figures().metadata == 0
    user.update(node(D1), single("open"))


def test_a_read_only_client(bench: Bench) -> None:
    MapUser(bench, "all").update(node(D1), single("open"))
    user = MapUser(bench, "reader")
    denied(user, Update(node(D1), (single("open"),)))
    denied(user, Delete(node(D1)))
    assert user.search(D1) == {node(D1): ("open",)}


def test_a_delete_tells_nothing_of_what_may_neither_be_read_nor_written(bench: Bench) -> None:
    """A refusal would: whether there is any, and with a filter, what it says."""
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(node(D1), single("open"), single("secret", "password"))
    guesses = (
        None,
        of_names(name("secret")),
        *(compile(f"//*[starts-with(., '{text}')]", {}) for text in ("pa", "pb")),
    )
    for wanted in guesses:
        assert isinstance(user.publish(Delete(node(D1), wanted)), Received)
    assert every.search(D1) == {node(D1): ("secret=password",)}
    blind = MapUser(bench, "blind")
    blind.delete(node(D1))
    assert every.search(D1) == {node(D1): ()}


def test_a_delete_needs_the_right_to_write_all_that_it_would_delete(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "changer")
    every.update(node(D1), single("open"), single("secret"))
    assert SECRET in denied(user, Delete(node(D1)))
    denied(user, Delete(node(D1), of_names(name("secret"))))
    denied(user, Delete(node(D1), compile("x:open or x:secret[true()]", {"x": NAMESPACE})))
    assert every.search(D1) == {node(D1): ("open", "secret")}
    user.delete(node(D1), of_names(name("open")))
    user.delete(node(D1), of_names(name("other")))
    assert every.search(D1) == {node(D1): ("secret",)}
    every.update(node(D2), single("open"), multi("open2"))
    every.delete(node(D2), of_names(name("open2")))
    user.delete(node(D2))
    assert every.search(D2) == {node(D2): ()}


def test_purge_of_others_needs_a_right_of_its_own(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(node(D1), single("open"))
    user.update(node(D2), single("open"))
    error = user.refused(PurgePublisher(user.id, every.publisher))
    assert error.code is ErrorCode.ACCESS_DENIED
    assert isinstance(user.ask(PurgePublisher(user.id, user.publisher)), Received)
    assert bench.service.figures().metadata == 1
    user.update(node(D2), single("open"))
    assert isinstance(every.ask(PurgePublisher(every.id, user.publisher)), Received)
    assert isinstance(every.ask(PurgePublisher(every.id, "never-was")), Received)
    assert every.search(D2) == {node(D2): ()}
    assert every.search(D1) == {node(D1): ("open",)}


# -- reading


def test_what_may_not_be_read_is_not_there(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(node(D1), single("open"), single("secret"))
    every.update(link(D1, D2), single("open"), single("secret"))
    every.update(node(D2), single("secret"))
    assert user.search(D1, 1) == {node(D1): ("open",), link(D1, D2): ("open",), node(D2): ()}
    assert user.search(D1, 1, result_filter=of_names(name("secret"))) == {node(D1): (), link(D1, D2): (), node(D2): ()}
    assert MapUser(bench, "blind").search(D1, 1) == {node(D1): ()}


def test_a_link_that_may_not_be_read_is_not_followed(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(link(D1, D2), single("secret"))
    every.update(link(D2, D3), single("open"))
    assert user.search(D1, 9) == {node(D1): ()}
    assert user.search(D1, 9, match_links=of_names(name("secret"))) == {node(D1): ()}
    assert set(every.search(D1, 9)) == {node(D1), link(D1, D2), node(D2), link(D2, D3), node(D3)}
    every.update(link(D1, D2), single("open"))
    assert user.search(D1, 9) == {
        node(D1): (),
        link(D1, D2): ("open",),
        node(D2): (),
        link(D2, D3): ("open",),
        node(D3): (),
    }


def test_a_filter_that_looks_inside_does_not_look_at_what_may_not_be_read(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(node(D1), single("open", "k"), single("secret", "k"))
    text = compile("*[text()='k']", {})
    assert every.search(D1, result_filter=text) == {node(D1): ("open=k", "secret=k")}
    assert user.search(D1, result_filter=text) == {node(D1): ("open=k",)}


def test_subscriptions_are_told_of_what_may_be_read_alone(bench: Bench) -> None:
    every, user = MapUser(bench, "all"), MapUser(bench, "limited")
    every.update(link(D1, D2), single("secret"))
    user.subscribe("s", D1, 5)
    assert user.poll() == [(ResultKind.SEARCH, "s", {node(D1): ()})]
    user.start_poll()
    answers = len(user.poll_answers())
    every.update(node(D1), single("secret"))
    every.update(node(D2), single("open"))
    every.publish(Notify(node(D1), (single("secret"),)))
    every.delete(node(D1))
    assert len(user.poll_answers()) == answers
    every.publish(Notify(node(D1), (single("open", "once"),)))
    assert user.polled() == [(ResultKind.NOTIFY, "s", {node(D1): ("open=once",)})]
    # The link's first metadatum that this client may read pulls the rest in; its last lets it drop out.
    every.update(link(D1, D2), single("open"))
    joined = {link(D1, D2): ("open",), node(D2): ("open",)}
    assert user.poll() == [(ResultKind.UPDATE, "s", joined)]
    every.delete(link(D1, D2), of_names(name("open")))
    assert user.poll() == [(ResultKind.DELETE, "s", joined)]


# -- other rules


def test_new_rules_end_the_sessions_that_they_concern(bench: Bench) -> None:
    same, changed, gone = (MapUser(bench, client) for client in ("all", "limited", "reader"))
    for user in (same, changed, gone):
        user.start_poll()
    access = {"all": Access(purge_others=True), "limited": Access(NOTHING, NOTHING), "new": Access()}
    bench.service.set_access(access)
    bench.commit()
    assert same.poll_answers() == []
    assert isinstance(same.ask(RenewSession(same.id)), Received)
    for user in (changed, gone):
        assert [type(answer) for answer in user.poll_answers()] == [EndSessionResult]
    error = changed.refused(RenewSession(changed.id))
    assert error.code is ErrorCode.INVALID_SESSION_ID and "access rules of client limited" in str(error)
    assert isinstance(bench.ask(bench.connection(), "new", NewSession()), NewSessionResult)


def test_the_first_reason_of_an_end_is_the_one_that_counts(bench: Bench) -> None:
    user = MapUser(bench, "limited")
    bench.service.set_access({"limited": Access()})
    bench.service.set_access({"limited": Access(NOTHING, NOTHING)})
    bench.service.end_sessions("the server stops")
    assert bench.service.waiting == 1
    bench.commit()
    assert "access rules" in str(user.refused(RenewSession(user.id)))


def test_a_client_that_is_not_known_any_more_is_sent_away(bench: Bench) -> None:
    user = MapUser(bench, "reader")
    bench.service.set_access({})
    bench.commit()
    error = user.refused(NewSession())
    assert error.code is ErrorCode.ACCESS_DENIED and "reader" in str(error)
    assert bench.closes == [user.ssrc]


def test_what_waits_is_judged_by_the_rules_of_its_batch(bench: Bench) -> None:
    user = MapUser(bench, "limited")
    bench.hold = True
    bench.send(user.ssrc, "limited", Publish(user.id, (Update(node(D1), (single("open"),)),)))
    bench.service.set_access({**bench.access, "limited": Access(NOTHING, NOTHING)})
    bench.commit()
    error = bench.answers[user.ssrc][-1]
    assert isinstance(error, IfmapError) and error.code is ErrorCode.ACCESS_DENIED
    assert bench.service.figures().metadata == 0
