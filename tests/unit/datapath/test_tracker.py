"""The delta tracker alone, against a plain model of two dictionaries."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datapath.driver import Verb
from datapath.tracker import DeltaTracker, Difference
from datapath.values import Key, MplsRoute, Value
from tests.unit.datapath.samples import MPLS_ROUTE


def _route(label: int, last: int) -> MplsRoute:
    return MplsRoute(label, "tap0", bytes([10, 0, 0, last]))


LABELS = st.integers(16, 20)
ROUTES = st.builds(_route, LABELS, st.integers(1, 3))
DUMPS = st.lists(ROUTES).map(lambda routes: {route.key: route for route in routes})


class TrackerModel(RuleBasedStateMachine):
    """Any order of calls leaves the pending sets equal to the difference of the two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = DeltaTracker()
        self.desired: dict[Key, Value] = {}
        self.kernel: dict[Key, Value] = {}
        self.sweeping = False
        self.revision = 0

    @rule(route=ROUTES)
    def put(self, route: MplsRoute) -> None:
        self.revision += 1
        if route.key in self.tracker.doubtful and self.desired.get(route.key) != route:
            # What may be gone is put again.
            self.kernel.pop(route.key, None)
        self.desired[route.key] = route
        pending = self.tracker.put(route.key, route, self.revision)
        assert pending == (self.kernel.get(route.key) != route)

    @rule(routes=DUMPS)
    def put_new(self, routes: dict[Key, Value]) -> None:
        self.revision += 1
        unknown = not routes.keys() & (self.desired.keys() | self.kernel.keys())
        assert self.tracker.put_new(routes, self.revision) == unknown
        if unknown:
            self.desired.update(routes)

    @rule()
    def make(self) -> None:
        """The short way for new objects takes the same ones as the general way."""
        if self.tracker.all_new():
            keys, values = self.tracker.next_new(3)
            assert (keys, values) == (
                self.tracker.next_updates(3)[0],
                [operation.value for operation in self.tracker.next_updates(3)[1]],
            )
            assert not {*keys} & self.kernel.keys()

    @rule(label=LABELS)
    def remove(self, label: int) -> None:
        self.revision += 1
        self.desired.pop(label, None)
        doubted = label in self.tracker.doubtful and label not in self.kernel
        pending = self.tracker.remove(label, self.revision)
        if doubted:
            # It may be there after all, so that it is to be deleted.
            self.kernel[label] = self.tracker.other[label]
        assert pending == (label in self.kernel)

    @rule(route=ROUTES)
    def kernel_put(self, route: MplsRoute) -> None:
        self.kernel[route.key] = route
        self.tracker.kernel_put(route.key, route)

    @rule(label=LABELS)
    def kernel_remove(self, label: int) -> None:
        self.kernel.pop(label, None)
        self.tracker.kernel_remove(label)

    @rule(label=LABELS)
    def kernel_doubt(self, label: int) -> None:
        if label in self.desired:
            self.kernel.pop(label, None)
        self.tracker.kernel_doubt(label)

    @rule(dump=DUMPS)
    def resync(self, dump: dict[Key, Value]) -> None:
        self.kernel = dict(dump)
        self.tracker.replace_kernel(dump)

    @rule()
    def sweep(self) -> None:
        self.tracker.allow_sweep()
        self.sweeping = True

    @rule(count=st.integers(1, 3), good=st.booleans())
    def update(self, count: int, good: bool) -> None:
        keys, operations = self.tracker.next_updates(count)
        assert [operation.value for operation in operations] == [self.desired[key] for key in keys]
        assert all(operation.verb is Verb.PUT for operation in operations)
        for key, operation in zip(keys, operations, strict=True):
            assert operation.actual == self.kernel.get(key) or key in self.tracker.doubtful
        if good:
            self.tracker.kernel_put_wanted(keys)
            self.kernel.update({key: self.desired[key] for key in keys})
        else:
            for key in keys:
                self.tracker.set_aside(key)

    @rule(count=st.integers(1, 3), good=st.booleans())
    def delete(self, count: int, good: bool) -> None:
        keys, operations = self.tracker.next_removals(count)
        assert [operation.value for operation in operations] == [self.kernel[key] for key in keys]
        for key in keys:
            if good:
                self.tracker.kernel_remove(key)
                del self.kernel[key]
            else:
                self.tracker.set_aside(key)

    @rule()
    def bring_back(self) -> None:
        self.tracker.bring_back(list(self.tracker.aside))
        assert not self.tracker.aside

    @invariant()
    def agrees(self) -> None:
        tracker = self.tracker
        assert tracker.desired == self.desired
        assert dict(tracker.kernel_items()) == self.kernel
        assert tracker.kernel_count() == len(self.kernel)
        wrong = {key for key in self.desired if self.kernel.get(key) != self.desired[key]}
        unwanted = self.kernel.keys() - self.desired.keys()
        assert wrong == {key for key in (*tracker.updates, *tracker.aside) if key in self.desired}
        assert unwanted == {*tracker.removals, *tracker.strays, *tracker.aside} - wrong
        if self.sweeping:
            assert not tracker.strays
        sets = [set(tracker.updates), set(tracker.removals), set(tracker.aside), set(tracker.strays)]
        assert len(set().union(*sets)) == sum(len(each) for each in sets)
        assert tracker.doubtful.keys() <= wrong | unwanted

    @invariant()
    def counts_revisions(self) -> None:
        tracker = self.tracker
        asked = [revision for each in (tracker.updates, tracker.removals, tracker.aside) for revision in each.values()]
        counts = {revision: asked.count(revision) for revision in asked if revision}
        assert tracker.outstanding == counts
        assert list(tracker.outstanding) == sorted(counts)


TestTrackerModel = TrackerModel.TestCase


def test_a_dump_that_agrees_clears_everything() -> None:
    tracker = DeltaTracker()
    tracker.put(MPLS_ROUTE.key, MPLS_ROUTE, 1)
    assert tracker.replace_kernel({MPLS_ROUTE.key: MPLS_ROUTE}) == Difference(0, 0, 0)
    assert tracker.pending == 0
    assert tracker.is_right(MPLS_ROUTE.key)


def test_a_dump_counts_what_was_lost_and_changed() -> None:
    tracker = DeltaTracker()
    routes = [_route(label, 1) for label in (16, 17, 18)]
    for route in routes:
        tracker.put(route.key, route, 1)
    tracker.replace_kernel({route.key: route for route in routes})
    assert tracker.replace_kernel({16: routes[0], 17: _route(17, 9), 30: _route(30, 1)}) == Difference(1, 1, 1)
    assert list(tracker.updates) == [17, 18]
    assert list(tracker.strays) == [30]


def test_updates_come_in_the_order_in_which_they_were_asked_for() -> None:
    tracker = DeltaTracker()
    for label in (19, 16, 18, 17):
        tracker.put(label, _route(label, 1), 1)
    assert tracker.next_updates(3)[0] == [19, 16, 18]


def test_a_lost_object_is_put_with_what_was_there_before() -> None:
    tracker = DeltaTracker()
    tracker.put(MPLS_ROUTE.key, MPLS_ROUTE, 1)
    tracker.kernel_put_wanted([MPLS_ROUTE.key])
    assert tracker.kernel_doubt(MPLS_ROUTE.key)
    assert tracker.next_updates(1)[1][0].actual == MPLS_ROUTE


def test_removing_what_was_lost_perhaps_deletes_it() -> None:
    tracker = DeltaTracker()
    tracker.put(MPLS_ROUTE.key, MPLS_ROUTE, 1)
    tracker.kernel_put_wanted([MPLS_ROUTE.key])
    tracker.kernel_doubt(MPLS_ROUTE.key)
    assert tracker.remove(MPLS_ROUTE.key, 2)
    assert tracker.next_removals(1)[0] == [MPLS_ROUTE.key]
