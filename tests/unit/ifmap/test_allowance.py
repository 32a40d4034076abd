"""Filters that take long: what they may take in all, and whom they hurt."""

from __future__ import annotations

import pytest

from ifmap import selection
from ifmap.errors import ErrorCode, IfmapError
from ifmap.filters import compile as compile_filter
from ifmap.metadata import build, stamped
from ifmap.selection import Allowance
from ifmap.values import Delete, Lifetime, Metadata, Notify, Search, SearchSpec, Subscribe, Subscription, Update, node
from tests.unit.ifmap.map_harness import D1, D2, NAMESPACE, Bench, MapUser, multi, name, single

NAMES = {"m": NAMESPACE}
DEAR = compile_filter(f"m:seen[{'count(//node()[' * 6}1{']) > 0' * 6}]", NAMES)
CHEAP = compile_filter("m:seen[. = '7']", NAMES)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> tuple[Bench, MapUser, MapUser]:
    """Ninety metadata; what filters may take is set lower, so that these are enough."""
    monkeypatch.setattr(selection, "ALLOWANCE", 3_000)
    monkeypatch.setattr(selection, "CHANGE_ALLOWANCE", 300)
    monkeypatch.setattr(Allowance.__init__, "__defaults__", (3_000,))
    monkeypatch.setattr("ifmap.region.CHANGE_ALLOWANCE", 300)
    bench = Bench()
    a, b = MapUser(bench, "a"), MapUser(bench, "b")
    a.publish(Update(node(D1), tuple(multi("seen", f"{number}") for number in range(90)), Lifetime.FOREVER))
    return bench, a, b


def test_what_is_usual_is_never_too_much(site: tuple[Bench, MapUser, MapUser]) -> None:
    _, a, b = site
    items = b.search(D1, result_filter=compile_filter("m:seen[contains(., '7')]", NAMES))
    assert len(items[node(D1)]) == 18
    b.subscribe("s", D1, result_filter=CHEAP)
    for _ in range(10):
        a.update(node(D1), *[multi("seen", "7")] * 50)
    assert {kind for kind, _, _ in b.poll()} == {"searchResult", "updateResult"}


def test_a_search_whose_filter_takes_too_long_is_refused(site: tuple[Bench, MapUser, MapUser]) -> None:
    _, _, b = site
    refusal = b.refused(Search(b.id, SearchSpec(D1, 0, None, DEAR)))
    assert refusal.code is ErrorCode.FAILURE and "takes too long" in str(refusal)
    assert b.search(D2) == {node(D2): ()}, "the next search has an allowance of its own"


def test_a_delete_whose_filter_takes_too_long_is_refused(site: tuple[Bench, MapUser, MapUser]) -> None:
    bench, _, b = site
    # Each by itself may be asked; the publish is what counts.
    outcome = b.publish(*[Delete(node(D1), DEAR)] * 20)
    assert isinstance(outcome, IfmapError) and outcome.code is ErrorCode.FAILURE
    assert len(bench.graph.contents(node(D1))) == 90
    b.delete(node(D1), CHEAP)
    assert len(bench.graph.contents(node(D1))) == 89


def test_a_subscription_whose_filter_takes_too_long_from_the_beginning(
    site: tuple[Bench, MapUser, MapUser],
) -> None:
    bench, a, b = site
    b.ask(Subscribe(b.id, (Subscription("s", SearchSpec(D1, 0, None, DEAR)),)))
    assert "takes too long" in errors(b)
    assert bench.service.figures().subscriptions == 0
    a.update(node(D1), multi("seen", "8"))


@pytest.mark.parametrize("how", ["update", "notify"])
def test_a_subscription_that_takes_too_long_over_a_change_ends_and_no_other(
    site: tuple[Bench, MapUser, MapUser], how: str
) -> None:
    bench, a, b = site
    b.subscribe("dear", D2, result_filter=DEAR)
    b.subscribe("cheap", D2, result_filter=CHEAP)
    b.poll()
    many = tuple(multi("seen", "7") for _ in range(20))
    outcome = a.publish(Update(node(D2), many) if how == "update" else Notify(node(D2), many))
    assert not isinstance(outcome, IfmapError)
    assert "takes too long" in errors(b)
    assert [list(names) for session, names in bench.service.sessions() if session.client == "b"] == [["cheap"]]
    a.update(node(D2), single("state"))


def errors(user: MapUser) -> str:
    """The texts of errors in what the next poll tells."""
    user.start_poll()
    return user.bench.bodies[user.arc][-1].decode()


def test_what_one_metadatum_may_take_grows_with_its_size() -> None:
    small, large = (metadatum(build(name("seen"), False, [("x", "")] * count)) for count in (20, 2_000))
    squared = compile_filter("m:seen[count(//x[count(//x) > 1]) > 1]", NAMES)
    assert squared.matches(small)
    assert not squared.matches(large)
    assert compile_filter("m:seen[count(//x) = 2000]", NAMES).matches(large)


def metadatum(new: object) -> Metadata:
    xml = stamped(new, "p", "2026-01-05T10:11:12+00:00")  # type: ignore[arg-type]
    return Metadata(1, name("seen"), False, "p", "", xml)
