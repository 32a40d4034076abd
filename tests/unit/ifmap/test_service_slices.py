"""Requests that take long, in slices: what others may do meanwhile, and in which order they take effect."""

from __future__ import annotations

import pytest

from ifmap import graph, plan, region, search, subscriptions, telling
from ifmap.answers import Received, SearchResult
from ifmap.errors import ErrorCode, IfmapError
from ifmap.identifiers import device
from ifmap.requests_writer import write_request
from ifmap.slices import Work
from ifmap.values import (
    Delete,
    EndSession,
    Lifetime,
    Poll,
    Publish,
    RenewSession,
    Request,
    ResultKind,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Update,
    link,
    node,
)
from tests.unit.ifmap.map_harness import WALL, Bench, MapUser, single, told

HUB = device("hub")
SPOKES = [device(f"s{number}") for number in range(5)]
ALL = SearchSpec(HUB, 3, max_size=1 << 20)


@pytest.fixture(autouse=True)
def tiny_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that little takes long."""
    for module in (graph, plan, region, search, subscriptions, telling):
        monkeypatch.setattr(module, "SLICE", 1)


class Sliced(Bench):
    """A service whose work goes on when the test says so."""

    def give(self, channel: int, client: str, request: Request) -> None:
        """A request, and whatever is done of it at once."""
        self.service.request(channel, client, write_request(request), self.now)
        self.collect()

    def go_on(self) -> None:
        """All of the requests at work."""
        while self.service.busy:
            self.service.go_on()
        self.collect()

    def committing(self) -> Work[None]:
        """What waits is planned; it takes effect slice by slice."""
        batch = self.service.begin(WALL)
        assert batch is not None
        return self.service.committing(batch, self.now)

    def answered(self, user: MapUser) -> bool:
        """Whether all that was asked on the SSRC is answered, newSession aside."""
        return len(self.answers[user.ssrc]) > 1


def rest(bench: Sliced, work: Work[None]) -> None:
    for _ in work:
        bench.collect()
    bench.collect()


@pytest.fixture
def site() -> tuple[Sliced, MapUser, MapUser, MapUser]:
    """A map with a star in it, as somebody published it, and three clients."""
    bench = Sliced()
    publisher = MapUser(bench, "d")
    updates = [Update(node(HUB), (single("state", "up"),), Lifetime.FOREVER)]
    updates += [Update(link(HUB, spoke), (single("member"),), Lifetime.FOREVER) for spoke in SPOKES]
    publisher.publish(*updates)
    a, b, c = (MapUser(bench, client) for client in "abc")
    bench.hold = True
    return bench, a, b, c


def subscribe(user: MapUser, spec: SearchSpec = ALL) -> Subscribe:
    return Subscribe(user.id, (Subscription("s", spec),))


def cut_off(user: MapUser) -> Publish:
    """A publish that empties the star."""
    return Publish(user.id, tuple(Delete(link(HUB, spoke)) for spoke in SPOKES))


def test_small_requests_are_answered_while_a_search_is_at_work(site: tuple[Sliced, MapUser, MapUser, MapUser]) -> None:
    bench, a, b, c = site
    bench.give(a.ssrc, "a", Search(a.id, ALL))
    assert bench.service.busy and not bench.answered(a)
    bench.give(b.ssrc, "b", RenewSession(b.id))
    bench.give(c.ssrc, "c", Search(c.id, SearchSpec(device("elsewhere"))))
    assert bench.answered(b) and bench.answered(c)
    bench.go_on()
    assert bench.answered(a)


def test_searches_take_turns(site: tuple[Sliced, MapUser, MapUser, MapUser]) -> None:
    bench, a, b, _ = site
    bench.give(a.ssrc, "a", Search(a.id, ALL))
    bench.give(b.ssrc, "b", Search(b.id, SearchSpec(SPOKES[0], 1)))
    while not bench.answered(b):
        bench.service.go_on()
        bench.collect()
    assert not bench.answered(a)


def test_a_publish_takes_effect_while_a_search_is_at_work(site: tuple[Sliced, MapUser, MapUser, MapUser]) -> None:
    bench, a, b, _ = site
    bench.give(a.ssrc, "a", Search(a.id, ALL))
    bench.give(b.ssrc, "b", cut_off(b))
    rest(bench, bench.committing())
    assert bench.answered(b) and not bench.answered(a)
    bench.go_on()
    result = bench.answers[a.ssrc][-1]
    assert isinstance(result, SearchResult) and len(told(result.items)) == 1 + 2 * len(SPOKES)


def test_a_search_while_a_publish_takes_effect_sees_all_or_nothing_of_it(
    site: tuple[Sliced, MapUser, MapUser, MapUser],
) -> None:
    bench, a, b, _ = site
    bench.give(b.ssrc, "b", cut_off(b))
    sizes = []
    for _ in bench.committing():
        connection = bench.connection()
        bench.give(connection, "a", Search(a.id, ALL))
        bench.go_on()
        result = bench.answers[connection][-1]
        assert isinstance(result, SearchResult)
        sizes.append(len(told(result.items)))
    assert set(sizes) == {1 + 2 * len(SPOKES), 1}


def test_a_publish_waits_for_the_subscribe_at_work_and_goes_before_those_that_wait(
    site: tuple[Sliced, MapUser, MapUser, MapUser],
) -> None:
    bench, a, b, c = site
    bench.give(a.ssrc, "a", subscribe(a))
    bench.give(b.ssrc, "b", subscribe(b))
    bench.give(c.ssrc, "c", cut_off(c))
    assert bench.service.busy and not bench.answered(a)
    rest(bench, bench.committing())
    assert bench.answered(a) and bench.answered(c)
    bench.go_on()
    kinds = []
    for user in (a, b):
        bench.give(user.arc, user.client, Poll(user.id))
        kinds.append([(kind, len(items)) for kind, _, items in user.polled()])
    # One saw the star, then the end of it; the other never saw it.
    assert kinds == [
        [(ResultKind.SEARCH, 1 + 2 * len(SPOKES)), (ResultKind.DELETE, len(SPOKES))],
        [(ResultKind.SEARCH, 1)],
    ]


def test_a_subscribe_while_a_publish_takes_effect_comes_after_it(
    site: tuple[Sliced, MapUser, MapUser, MapUser],
) -> None:
    bench, a, b, _ = site
    bench.give(b.ssrc, "b", cut_off(b))
    work = bench.committing()
    next(work)
    bench.give(a.ssrc, "a", subscribe(a))
    assert not bench.service.busy and not bench.answered(a)
    rest(bench, work)
    bench.go_on()
    bench.give(a.arc, "a", Poll(a.id))
    assert [(kind, len(items)) for kind, _, items in a.polled()] == [(ResultKind.SEARCH, 1)]


def test_a_subscribe_whose_session_ends_before_its_turn_is_refused(
    site: tuple[Sliced, MapUser, MapUser, MapUser],
) -> None:
    bench, a, _, _ = site
    other = bench.connection()
    bench.give(other, "a", Publish(a.id, (Update(node(HUB), (single("mine"),)),)))
    rest(bench, bench.committing())
    bench.give(other, "a", EndSession(a.id))
    work = bench.committing()
    next(work)
    third = bench.connection()
    bench.give(third, "a", subscribe(a))
    rest(bench, work)
    bench.go_on()
    refusal = bench.answers[third][-1]
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.INVALID_SESSION_ID
    assert bench.service.figures().subscriptions == 0


def test_a_search_is_given_up_with_its_connection_and_a_subscribe_is_not(
    site: tuple[Sliced, MapUser, MapUser, MapUser],
) -> None:
    bench, a, b, c = site
    for user, request in ((a, Search(a.id, ALL)), (b, subscribe(b)), (c, subscribe(c))):
        bench.give(user.ssrc, user.client, request)
        bench.service.channel_closed(user.ssrc, bench.now)
    while bench.service.busy:
        bench.service.go_on()
    assert bench.service.figures().subscriptions == 2
    bench.give(b.arc, "b", Poll(b.id))
    assert [kind for kind, _, _ in b.polled()] == [ResultKind.SEARCH]


def test_a_fault_costs_the_request_and_nobody_else(
    site: tuple[Sliced, MapUser, MapUser, MapUser], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, a, b, c = site
    bench.give(a.ssrc, "a", subscribe(a))

    def fault(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(subscriptions, "listing", fault)
        with pytest.raises(ZeroDivisionError):
            bench.go_on()
    bench.give(b.ssrc, "b", subscribe(b))
    bench.go_on()
    refusal = bench.answers[a.ssrc][-1]
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.SYSTEM_ERROR
    assert isinstance(bench.answers[b.ssrc][-1], Received)
    bench.give(c.ssrc, "c", RenewSession(c.id))
    assert bench.answered(c)


def test_sizes_too_large_are_found_in_any_slice(site: tuple[Sliced, MapUser, MapUser, MapUser]) -> None:
    bench, a, _, _ = site
    bench.give(a.ssrc, "a", Search(a.id, SearchSpec(HUB, 3, max_size=600)))
    assert not bench.answered(a)
    bench.go_on()
    refusal = bench.answers[a.ssrc][-1]
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.SEARCH_RESULTS_TOO_BIG


def test_a_publish_that_is_refused_in_a_later_slice_leaves_nothing(
    site: tuple[Sliced, MapUser, MapUser, MapUser], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, a, _, _ = site
    monkeypatch.setattr(plan, "MAX_LOOKS", 2)
    before = bench.graph.metadata_count
    bench.give(a.ssrc, "a", cut_off(a))
    assert bench.service.begin(WALL) is None
    bench.collect()
    refusal = bench.answers[a.ssrc][-1]
    assert isinstance(refusal, IfmapError) and refusal.code is ErrorCode.FAILURE
    assert bench.graph.metadata_count == before
    monkeypatch.undo()
    bench.give(a.ssrc, "a", cut_off(a))
    rest(bench, bench.committing())
    assert isinstance(bench.answers[a.ssrc][-1], Received)
