"""Whatever happens to the graph, what a subscriber has pieced together is what a search would find now.

The oracle (graph_world) also says what each publish has to be told as: the difference of two searches, no more."""

from __future__ import annotations

from collections import Counter
from itertools import groupby, pairwise

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ifmap.delta import Delta
from ifmap.items import item_xml
from ifmap.marks import MarkStore
from ifmap.region import Scope
from ifmap.results import ResultQueue
from ifmap.search import find
from ifmap.slices import finish
from ifmap.telling import WRAPPER
from ifmap.values import (
    Delete,
    Edge,
    Filter,
    Lifetime,
    Metadata,
    Notify,
    PublishOperation,
    SearchSpec,
    Update,
    link,
    node,
)
from tests.unit.ifmap.graph_world import (
    TIME,
    Held,
    Part,
    Replica,
    ValueFilter,
    World,
    content,
    identifier,
    names_filter,
    new,
    passes,
    searched,
)

IDENTIFIERS = [identifier(text) for text in ("a", "b", "c", "d", "e", "dns:f")]
CLIENTS = ("c1", "c2")
PUBLISHERS = ("p1", "p2")

identifiers = st.sampled_from(IDENTIFIERS)
links = st.builds(link, identifiers, identifiers)
edges = st.one_of(links, links, st.builds(node, identifiers))
lifetimes = st.sampled_from(list(Lifetime))
metadata = st.builds(
    lambda local, value: new(local, value, single=local in "xy"), st.sampled_from("xxym"), st.sampled_from("12")
)
filters: st.SearchStrategy[Filter | None] = st.one_of(
    st.none(),
    st.sampled_from(["", "x", "x", "y", "m", "xy", "xm"]).map(lambda locals_: names_filter(*locals_)),
    st.builds(ValueFilter, st.sampled_from("xxym"), st.sampled_from("12")),
)
match_links: st.SearchStrategy[Filter | None] = st.one_of(
    st.none(), st.just(names_filter("x")), st.just(ValueFilter("x", "1")), filters
)
updates = st.builds(Update, edges, st.lists(metadata, min_size=1, max_size=3).map(tuple), lifetimes)
notifies = st.builds(Notify, edges, st.lists(metadata, min_size=1, max_size=2).map(tuple))
deletes = st.builds(Delete, edges, filters)
operations: st.SearchStrategy[PublishOperation] = st.one_of(updates, notifies, deletes)
# Links come, go and change their value: what distances depend on.
joints: st.SearchStrategy[PublishOperation] = st.one_of(
    st.builds(Update, links, st.just((new("x", "1"),)), lifetimes),
    st.builds(Update, links, st.just((new("x", "1"),)), lifetimes),
    st.builds(Update, links, st.just((new("x", "2"),)), lifetimes),
    st.builds(Delete, links),
)
specs = st.builds(
    SearchSpec,
    st.sampled_from(IDENTIFIERS[:2]),
    st.sampled_from([0, 1, 2, 2, 3, 3, 4, 255]),
    match_links,
    filters,
    st.none(),
    st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"identity"})]),
)

Result = tuple[str, Counter[tuple[Edge, bytes]]]
"""Kind, and how often each metadatum is told of which edge."""


class Watcher:
    """A subscription, what its client holds, and what the oracle says that it must be told."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.replica = Replica()
        self.expected: list[Result] = []


class Publishing(RuleBasedStateMachine):
    """Clients publish, delete, purge and leave; others subscribe and poll in between."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        # So that vertices have marks of their own, shared ones, and go from one to the other.
        self.world.subscriptions._marks = MarkStore(shared=2)
        self.watchers: dict[tuple[str, str], Watcher] = {}

    @initialize(chain=st.lists(joints, min_size=4, max_size=12), first=st.lists(specs, min_size=3, max_size=3))
    def start(self, chain: list[PublishOperation], first: list[SearchSpec]) -> None:
        self.publish([("p1", chain)])
        for number, spec in enumerate(first):
            self.subscribe("c1", f"n{number}", spec)

    @rule(
        batch=st.lists(st.tuples(st.sampled_from(PUBLISHERS), st.lists(operations, min_size=1, max_size=5)), max_size=2)
    )
    def publish(self, batch: list[tuple[str, list[PublishOperation]]]) -> None:
        planner = self.world.planner()
        deltas = [finish(planner.publish(each, who, f"s-{who}", TIME)) for who, each in batch]
        self.world.next_key = planner.next_key
        for delta in deltas:
            self.apply(delta)

    @rule(each=st.lists(joints, min_size=1, max_size=6), who=st.sampled_from(PUBLISHERS))
    def join(self, each: list[PublishOperation], who: str) -> None:
        self.publish([(who, each)])

    @rule(each=st.lists(joints, min_size=1, max_size=6), rest=st.lists(operations, max_size=3))
    def join_and_more(self, each: list[PublishOperation], rest: list[PublishOperation]) -> None:
        self.publish([("p2", each + rest)])

    @rule(who=st.sampled_from(PUBLISHERS), all_of_it=st.booleans())
    def leave_or_purge(self, who: str, all_of_it: bool) -> None:
        planner = self.world.planner()
        portion = (
            planner.purge(who, 1_000, planner.next_key) if all_of_it else planner.end_sessions([f"s-{who}"], 1_000)
        )
        self.apply(portion[0])
        left = [one for held in self.world.all().values() for one in held if one.publisher == who]
        assert [one for one in left if all_of_it or one.session] == []

    @rule(client=st.sampled_from(CLIENTS), title=st.sampled_from(["n1", "n2", "n3"]), spec=specs)
    def subscribe(self, client: str, title: str, spec: SearchSpec) -> None:
        self.world.subscribe(title, spec, client)
        watcher = self.watchers[client, title] = Watcher(spec)
        watcher.expected.append(("searchResult", _counted(content(searched(self.world.all(), spec)))))

    @rule(client=st.sampled_from(CLIENTS), title=st.sampled_from(["n1", "n2", None]))
    def unsubscribe(self, client: str, title: str | None) -> None:
        if title is not None:
            self.world.subscriptions.unsubscribe(self.world.queue(client), title)
            self.watchers.pop((client, title), None)
            return
        queue = self.world.queues.pop(client, ResultQueue(1))
        self.world.subscriptions.drop(queue)
        assert not queue.pending
        for key in [key for key in self.watchers if key[0] == client]:
            del self.watchers[key]

    @rule(client=st.sampled_from(CLIENTS))
    def poll(self, client: str) -> None:
        told: dict[str, list[Part]] = {}
        polled = self.world.poll(client)
        for part in polled:
            told.setdefault(part.name, []).append(part)
        assert all((one.name, one.kind) != (two.name, two.kind) for one, two in pairwise(polled)), "not put together"
        for (who, title), watcher in self.watchers.items():
            if who != client:
                continue
            parts = told.pop(title, [])
            assert _runs([(part.kind, _items(part)) for part in parts]) == _runs(watcher.expected)
            watcher.expected = []
            for part in parts:
                watcher.replica.apply(part)
            assert watcher.replica.held == content(searched(self.world.all(), watcher.spec))
        assert told == {}

    @invariant()
    def sizes_are_those_of_a_search(self) -> None:
        specs_by_key = {Scope(watcher.spec).key: watcher.spec for watcher in self.watchers.values()}
        for key, watched in self.world.subscriptions._watched.items():
            items = searched(self.world.all(), specs_by_key[key])
            size = sum(len(item_xml(where, held)) + (0 if held else WRAPPER) for where, held in items.items())
            assert watched.region.size == size

    @invariant()
    def searches_agree(self) -> None:
        for watcher in self.watchers.values():
            found = {where: list(held) for where, held in filter(None, find(self.world.graph, watcher.spec))}
            assert found == searched(self.world.all(), watcher.spec)

    def apply(self, delta: Delta) -> None:
        """Applies it, and says from searches before and after what has to be told."""
        world = self.world
        before = {key: searched(world.all(), watcher.spec) for key, watcher in self.watchers.items()}
        touched = world.apply(delta)
        expecting = set()
        for key, watcher in self.watchers.items():
            after = searched(world.all(), watcher.spec)
            expected = _expected(watcher.spec, before[key], after, delta)
            watcher.expected += expected
            if expected:
                expecting.add(world.queue(key[0]))
        assert touched == expecting

    def teardown(self) -> None:
        for client in CLIENTS:
            self.poll(client)
        for queue in self.world.queues.values():
            self.world.subscriptions.drop(queue)
        for who in PUBLISHERS:
            planner = self.world.planner()
            self.world.apply(planner.purge(who, 1_000, planner.next_key)[0])
        graph = self.world.graph
        assert (graph.metadata_count, graph.link_count, graph.identifier_count) == (0, 0, 0), "something is left behind"


def _expected(
    spec: SearchSpec, before: dict[Edge, list[Metadata]], after: dict[Edge, list[Metadata]], delta: Delta
) -> list[Result]:
    notified: Counter[tuple[Edge, bytes]] = Counter()
    for where, one in delta.notified:
        shown = passes(spec.result_filter, [one])
        if where.second is not None:
            shown = passes(spec.match_links, shown)
        if where in before and shown:
            notified[where, one.xml] += 1
    old, now = _flat(before), _flat(after)
    deleted = {key: one for key, one in old.items() if key not in now}
    updated = {key: one for key, one in now.items() if key not in old}
    for change in delta.changes:
        for one in change.replaced:
            if any(key[0] == change.edge and new_one.name == one.name for key, new_one in updated.items()):
                deleted.pop((change.edge, one.key), None)
    results = [
        ("notifyResult", notified),
        ("deleteResult", Counter((key[0], one.xml) for key, one in deleted.items())),
        ("updateResult", Counter((key[0], one.xml) for key, one in updated.items())),
    ]
    return [(kind, told) for kind, told in results if told]


def _runs(results: list[Result]) -> list[Result]:
    """Neighbours of one kind put together, as a poll does it with those that no other subscription's come between."""
    return [
        (kind, sum((told for _, told in run), Counter[tuple[Edge, bytes]]()))
        for kind, run in groupby(results, lambda result: result[0])
    ]


def _flat(items: dict[Edge, list[Metadata]]) -> dict[tuple[Edge, int], Metadata]:
    return {(where, one.key): one for where, held in items.items() for one in held}


def _counted(held: Held) -> Counter[tuple[Edge, bytes]]:
    return Counter((where, element) for where, elements in held.items() for element in elements)


def _items(part: Part) -> Counter[tuple[Edge, bytes]]:
    return Counter((item.edge, element) for item in part.items for element in item.elements)


TestPublishing = Publishing.TestCase
TestPublishing.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
