"""Whatever happens to the graph, what a subscriber has pieced together is what a search would find now.

The oracle (graph_world) also says what each publish has to be told as: the difference of two searches, no more."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ifmap.delta import Delta
from ifmap.items import item_xml
from ifmap.results import ResultQueue
from ifmap.search import find
from ifmap.telling import WRAPPER
from ifmap.values import (
    Delete,
    Edge,
    Filter,
    Identifier,
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

IDENTIFIERS = [identifier(text) for text in ("a", "b", "c", "d", "e", "dns:f", "dns:g")]
CLIENTS = ("c1", "c2")
PUBLISHERS = ("p1", "p2")

identifiers = st.sampled_from(IDENTIFIERS)
edges = st.one_of(st.builds(link, identifiers, identifiers), st.builds(node, identifiers))
metadata = st.builds(
    lambda local, value: new(local, value, single=local in "xy"), st.sampled_from("xym"), st.sampled_from("12")
)
filters: st.SearchStrategy[Filter | None] = st.one_of(
    st.none(),
    st.sampled_from(["", "x", "y", "m", "xy", "xm"]).map(lambda locals_: names_filter(*locals_)),
    st.builds(ValueFilter, st.sampled_from("xym"), st.sampled_from("12")),
)
operations: st.SearchStrategy[PublishOperation] = st.one_of(
    st.builds(Update, edges, st.lists(metadata, min_size=1, max_size=3).map(tuple), st.sampled_from(list(Lifetime))),
    st.builds(Update, edges, st.lists(metadata, min_size=1, max_size=1).map(tuple), st.just(Lifetime.FOREVER)),
    st.builds(Notify, edges, st.lists(metadata, min_size=1, max_size=2).map(tuple)),
    st.builds(Delete, edges, filters),
)
specs = st.builds(
    SearchSpec,
    identifiers,
    st.sampled_from([0, 1, 1, 2, 2, 3, 4, 255]),
    filters,
    filters,
    st.none(),
    st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"identity"})]),
)


class Watcher:
    """A subscription, what its client holds, and what the oracle says that it must be told."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.replica = Replica()
        self.expected: list[tuple[str, Counter[tuple[Edge, bytes]]]] = []


class Publishing(RuleBasedStateMachine):
    """Clients publish, delete, purge and leave; others subscribe and poll in between."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.watchers: dict[tuple[str, str], Watcher] = {}

    @initialize(chain=st.lists(identifiers, min_size=2, max_size=5))
    def some_links(self, chain: list[Identifier]) -> None:
        updates = [Update(link(one, other), (new("x", "1"),)) for one, other in zip(chain, chain[1:], strict=False)]
        self.world.publish(*updates, who="p1", session="s-p1")

    @rule(
        batch=st.lists(
            st.tuples(st.sampled_from(PUBLISHERS), st.lists(operations, min_size=1, max_size=5)),
            min_size=1,
            max_size=2,
        )
    )
    def publish(self, batch: list[tuple[str, list[PublishOperation]]]) -> None:
        planner = self.world.planner()
        deltas = [planner.publish(each, who, f"s-{who}", TIME) for who, each in batch]
        self.world.next_key = planner.next_key
        for delta in deltas:
            self.apply(delta)

    @rule(who=st.sampled_from(PUBLISHERS))
    def purge(self, who: str) -> None:
        self.apply(self.world.planner().purge(who))
        assert not [one for held in self.world.all().values() for one in held if one.publisher == who]

    @rule(who=st.sampled_from(PUBLISHERS))
    def end_session(self, who: str) -> None:
        self.apply(self.world.planner().end_session(f"s-{who}"))
        assert not [one for held in self.world.all().values() for one in held if one.session == f"s-{who}"]

    @rule(client=st.sampled_from(CLIENTS), title=st.sampled_from(["n1", "n2", "n3"]), spec=specs)
    def subscribe(self, client: str, title: str, spec: SearchSpec) -> None:
        self.world.subscribe(title, spec, client)
        watcher = self.watchers[client, title] = Watcher(spec)
        watcher.expected.append(("searchResult", _counted(content(searched(self.world.all(), spec)))))

    @rule(client=st.sampled_from(CLIENTS), title=st.sampled_from(["n1", "n2"]))
    def unsubscribe(self, client: str, title: str) -> None:
        self.world.subscriptions.unsubscribe(self.world.queue(client), title)
        self.watchers.pop((client, title), None)

    @rule(client=st.sampled_from(CLIENTS))
    def leave(self, client: str) -> None:
        queue = self.world.queues.pop(client, ResultQueue(1))
        self.world.subscriptions.drop(queue)
        assert not queue.pending
        for key in [key for key in self.watchers if key[0] == client]:
            del self.watchers[key]

    @rule(client=st.sampled_from(CLIENTS))
    def poll(self, client: str) -> None:
        told: dict[str, list[Part]] = {}
        for part in self.world.poll(client):
            told.setdefault(part.name, []).append(part)
        for (who, title), watcher in self.watchers.items():
            if who != client:
                continue
            parts = told.pop(title, [])
            assert [(part.kind, _items(part)) for part in parts] == watcher.expected
            watcher.expected = []
            for part in parts:
                watcher.replica.apply(part)
            assert watcher.replica.held == content(searched(self.world.all(), watcher.spec))
        assert told == {}

    @invariant()
    def sizes_are_those_of_a_search(self) -> None:
        for watched in self.world.subscriptions._watched.values():
            specs_ = {w.spec for w in self.watchers.values()}
            spec = next(s for s in specs_ if _scope_key(s) == watched.region.scope.key)
            items = searched(self.world.all(), spec)
            size = sum(len(item_xml(where, held)) + (0 if held else WRAPPER) for where, held in items.items())
            assert watched.region.size == size

    @invariant()
    def searches_agree(self) -> None:
        for watcher in self.watchers.values():
            found = {where: list(held) for where, held in find(self.world.graph, watcher.spec)}
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
            self.world.apply(self.world.planner().purge(who))
        graph = self.world.graph
        assert (graph.metadata_count, graph.link_count, graph.identifier_count) == (0, 0, 0), "something is left behind"


def _expected(
    spec: SearchSpec, before: dict[Edge, list[Metadata]], after: dict[Edge, list[Metadata]], delta: Delta
) -> list[tuple[str, Counter[tuple[Edge, bytes]]]]:
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


def _flat(items: dict[Edge, list[Metadata]]) -> dict[tuple[Edge, int], Metadata]:
    return {(where, one.key): one for where, held in items.items() for one in held}


def _counted(held: Held) -> Counter[tuple[Edge, bytes]]:
    return Counter((where, element) for where, elements in held.items() for element in elements)


def _items(part: Part) -> Counter[tuple[Edge, bytes]]:
    return Counter((item.edge, element) for item in part.items for element in item.elements)


def _scope_key(spec: SearchSpec) -> object:
    from ifmap.region import Scope

    return Scope(spec).key


TestPublishing = Publishing.TestCase
TestPublishing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
