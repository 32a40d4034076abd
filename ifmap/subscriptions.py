"""Subscriptions: results for the sessions that watch a part of the graph, worked out from what changes in it.

Subscriptions that ask for the same share a Region, whatever session they are of: a change is worked out once, its items
are serialised once, and each of the queues gets them. The vertices know the regions they belong to (ifmap.marks), so
that a change costs nothing for those that don't see it.

What a client is told of one publish is one step: the difference of the graph before it and after it. Metadata that is
notified goes to who had the identifier or link before (as irond does): on a link, only if the link itself was in the
graph of the subscription, and only what match-links lets pass.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence

from ifmap.delta import Delta
from ifmap.errors import ErrorCode, IfmapError
from ifmap.graph import Graph
from ifmap.items import item_xml
from ifmap.marks import MarkStore
from ifmap.places import Link, Place, Vertex
from ifmap.region import Region, Scope, Shift, TooManyJoin
from ifmap.results import ResultQueue, Told, error, too_big
from ifmap.slices import SLICE, Work, finish
from ifmap.telling import Changes, Serialise, Telling, listing, matched_before
from ifmap.values import Edge, Metadata, ResultKind, Subscription

_SMALLEST_ITEM = len(b"<resultItem><device><name>x</name></device></resultItem>")


class _Subscriber:
    """A subscription of a session."""

    __slots__ = ("max_size", "name", "queue", "watched")

    def __init__(self, queue: ResultQueue, name: str, watched: _Watched, max_size: int) -> None:
        self.queue = queue
        self.name = name
        self.watched = watched
        self.max_size = max_size


class _Watched:
    """A region with its subscribers."""

    __slots__ = ("region", "subscribers")

    def __init__(self, region: Region) -> None:
        self.region = region
        self.subscribers: dict[_Subscriber, None] = {}


class Subscriptions:
    """All subscriptions on a graph. From when it is made on, the graph changes by `applying` of this class alone.

    What may take long comes in slices, and one such piece of work is to be finished before the next is begun. most:
    bytes that a queue's subscriptions may have together when one is added.
    """

    def __init__(self, graph: Graph, most: int = 1 << 62) -> None:
        self._graph = graph
        self._most = most
        self._marks = MarkStore()
        self._watched: dict[Hashable, _Watched] = {}
        self._by_queue: dict[ResultQueue, dict[str, _Subscriber]] = {}

    @property
    def count(self) -> int:
        """Subscriptions there are."""
        return sum(map(len, self._by_queue.values()))

    def names(self, queue: ResultQueue) -> Collection[str]:
        """Names of the subscriptions that a queue has."""
        return self._by_queue.get(queue, {}).keys()

    def subscribe(self, queue: ResultQueue, subscription: Subscription, max_size: int) -> None:
        """All of `subscribing` at once; so are the following."""
        finish(self.subscribing(queue, subscription, max_size))

    def unsubscribe(self, queue: ResultQueue, name: str) -> None:
        finish(self.unsubscribing(queue, name))

    def drop(self, queue: ResultQueue) -> None:
        finish(self.dropping(queue))

    def apply(self, delta: Delta) -> Collection[ResultQueue]:
        return finish(self.applying(delta))

    def subscribing(self, queue: ResultQueue, subscription: Subscription, max_size: int) -> Work[None]:
        """A new subscription, or one in the place of that of the same name (whose waiting results are void). Its
        searchResult is put into the queue, or errorResult SearchResultsTooBig if it is larger than max_size, and then
        there is no subscription. max_size: bytes, as decided from the spec's and the server's settings."""
        name = subscription.name
        yield from self.unsubscribing(queue, name)
        scope = Scope(subscription.spec)
        watched = self._watched.get(scope.key)
        items, failed = None, ""
        try:
            if watched is None:
                watched = yield from self._watch(scope, max_size)
            if watched is not None:
                items = yield from _initial_items(watched.region, max_size)
        except IfmapError as problem:
            failed = str(problem)
        if failed:
            result = error(ErrorCode.FAILURE, failed)
        elif watched is None or items is None:
            result = too_big(max_size)
        elif self._size(queue) + watched.region.size > self._most:
            text = f"all subscriptions together are larger than {self._most} bytes; this one is removed"
            result = error(ErrorCode.SEARCH_RESULTS_TOO_BIG, text)
        else:
            result = _told(ResultKind.SEARCH, items)
            subscriber = _Subscriber(queue, name, watched, max_size)
            watched.subscribers[subscriber] = None
            self._by_queue.setdefault(queue, {})[name] = subscriber
        if not queue.add(name, result):
            yield from self._drop_all(queue)
        if watched is not None:
            yield from self._unwatch(watched)

    def unsubscribing(self, queue: ResultQueue, name: str) -> Work[None]:
        """Ends a subscription, if there is one of the name; what waits of it is void."""
        queue.void(name)
        subscriber = self._by_queue.get(queue, {}).get(name)
        if subscriber is not None:
            yield from self._remove(subscriber)

    def dropping(self, queue: ResultQueue) -> Work[None]:
        """Ends all subscriptions of a queue and empties it: the session is over."""
        queue.clear()
        yield from self._drop_all(queue)

    def applying(self, delta: Delta) -> Work[Collection[ResultQueue]]:
        """Changes the graph and puts what subscribers have to be told into their queues: notify, delete, update
        results, in this order. Returns the queues that something was put into."""
        if not self._watched:
            changed = yield from self._graph.change(delta)
            yield from self._graph.sweep(changed)
            return ()
        told: dict[Region, list[Told]] = {}
        for region, by_edge in (yield from self._notified(delta.notified)).items():
            items = [item_xml(edge, notes) for edge, notes in by_edge.items()]
            told[region] = [_told(ResultKind.NOTIFY, items)] if items else []
        changed = yield from self._graph.change(delta)
        changes = dict(changed)
        concerned: dict[Region, list[Place]] = {}
        for count, place in enumerate(changes, 1):
            if not count % SLICE:
                yield
            for region in _regions_at(place):
                concerned.setdefault(region, []).append(place)
        serialise = _Shared() if len(concerned) > 1 else item_xml
        for region, places in concerned.items():
            told.setdefault(region, []).extend((yield from self._update(region, places, changes, serialise)))
            # Many regions with little to do each are much to do, too.
            yield
        touched = yield from self._deliver(told)
        yield from self._graph.sweep(changed)
        return touched

    # -- changes

    def _notified(self, notified: Iterable[tuple[Edge, Metadata]]) -> Work[dict[Region, dict[Edge, list[Metadata]]]]:
        """Who gets which notified metadata; also the regions that have failed over it."""
        found: dict[Region, dict[Edge, list[Metadata]]] = {}
        asked: set[Region] = set()
        for count, (edge, metadata) in enumerate(notified, 1):
            if not count % SLICE:
                yield
            place = self._graph.place(edge)
            if place is None:
                continue
            for region in _regions_at(place):
                asked.add(region)
                try:
                    if not region.failed and _concerns(region, place, metadata):
                        found.setdefault(region, {}).setdefault(edge, []).append(metadata)
                except IfmapError as problem:
                    region.failed = str(problem)
                    found.setdefault(region, {})
        for region in asked:
            region.scope.forget()
        return found

    def _update(self, region: Region, places: list[Place], changes: Changes, serialise: Serialise) -> Work[list[Told]]:
        """Brings a region up to date after changes at its vertices. A region that grows beyond all measure is left with
        a size that nobody has allowed, one whose filters take too long as failed."""
        try:
            return (yield from self._updating(region, places, changes, serialise))
        except IfmapError as problem:
            region.failed = str(problem)
            return []
        finally:
            region.scope.forget()

    def _updating(
        self, region: Region, places: list[Place], changes: Changes, serialise: Serialise
    ) -> Work[list[Told]]:
        if region.failed:
            return []
        links = region.scope.links
        matched: dict[Place, tuple[bool, bool]] = {}
        lost: list[Link] = []
        gained: dict[Link, None] = {}
        scope = region.scope
        count = 0
        for place in places:
            count += scope.allowance.cost()
            if count >= SLICE:
                count = 0
                yield
            if scope.looks:
                for group in changes[place][1:]:
                    yield from scope.look(group)
            if isinstance(place, Link):
                before, after = matched[place] = matched_before(links, place, changes[place]), links.any(place)
                if before and not after:
                    lost.append(place)
                elif after and not before:
                    gained[place] = None
        largest = max(subscriber.max_size for subscriber in self._watched[region.scope.key].subscribers)
        shift = Shift(region, largest // _SMALLEST_ITEM)
        try:
            yield from shift.adapt(lost, gained)
        except TooManyJoin:
            region.size = largest + 1
            return []
        telling = Telling(region, shift, changes, serialise)
        yield from telling.tell(places, matched)
        yield from region.put(shift, self._marks)
        region.size += telling.growth
        results = ((ResultKind.DELETE, telling.deletes), (ResultKind.UPDATE, telling.updates))
        return [_told(kind, items) for kind, items in results if items]

    def _deliver(self, told: dict[Region, list[Told]]) -> Work[set[ResultQueue]]:
        """Puts results into queues; ends the subscriptions that are too big now, and all of a queue that is."""
        touched: set[ResultQueue] = set()
        for region, results in told.items():
            watched = self._watched.get(region.scope.key)
            for subscriber in () if watched is None else list(watched.subscribers):
                queue = subscriber.queue
                if subscriber not in subscriber.watched.subscribers:
                    # Its queue was full just now.
                    continue
                mine: Sequence[Told]
                if region.failed or region.size > subscriber.max_size:
                    yield from self.unsubscribing(queue, subscriber.name)
                    failure = error(ErrorCode.FAILURE, f"{region.failed}; the subscription is removed")
                    mine = (failure if region.failed else too_big(subscriber.max_size),)
                else:
                    mine = results
                for result in mine:
                    touched.add(queue)
                    if not queue.add(subscriber.name, result):
                        yield from self._drop_all(queue)
                        break
        return touched

    # -- who watches what

    def _size(self, queue: ResultQueue) -> int:
        """Bytes of a queue's subscriptions: what the server keeps of each grows with them."""
        return sum(subscriber.watched.region.size for subscriber in self._by_queue.get(queue, {}).values())

    def _watch(self, scope: Scope, max_size: int) -> Work[_Watched | None]:
        """A new region; None if it is too large."""
        start = self._graph.make_vertex(scope.start)
        region = Region(scope, start)
        shift = Shift(region, max_size // _SMALLEST_ITEM)
        try:
            yield from shift.begin()
        except TooManyJoin:
            self._graph.forget(start)
            return None
        except IfmapError:
            self._graph.forget(start)
            raise
        yield from region.put(shift, self._marks)
        watched = self._watched[scope.key] = _Watched(region)
        return watched

    def _unwatch(self, watched: _Watched) -> Work[None]:
        """Forgets a region that nobody is subscribed to any more."""
        key = watched.region.scope.key
        if not watched.subscribers and self._watched.get(key) is watched:
            del self._watched[key]
            for count, vertex in enumerate((yield from watched.region.clear(self._marks)), 1):
                self._graph.forget(vertex)
                if not count % SLICE:
                    yield

    def _remove(self, subscriber: _Subscriber) -> Work[None]:
        mine = self._by_queue[subscriber.queue]
        del mine[subscriber.name]
        if not mine:
            del self._by_queue[subscriber.queue]
        del subscriber.watched.subscribers[subscriber]
        yield from self._unwatch(subscriber.watched)

    def _drop_all(self, queue: ResultQueue) -> Work[None]:
        for subscriber in list(self._by_queue.get(queue, {}).values()):
            yield from self._remove(subscriber)


class _Shared:
    """Serialises items once for all regions. A metadatum sits in one place, so the keys say it all."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[tuple[int, ...], bytes] = {}

    def __call__(self, edge: Edge, metadata: Sequence[Metadata]) -> bytes:
        keys = tuple([one.key for one in metadata])
        item = self._items.get(keys)
        if item is None:
            item = self._items[keys] = item_xml(edge, metadata)
        return item


def _concerns(region: Region, place: Place, metadata: Metadata) -> bool:
    """Whether a region is told of what is notified at a place."""
    scope = region.scope
    if isinstance(place, Link):
        return region.lists(place) and scope.links.any(place) and scope.on_links.accepts(metadata)
    return scope.on_vertices.accepts(metadata)


def _regions_at(place: Place) -> Collection[Region]:
    """The regions that a change at a place may concern."""
    if isinstance(place, Vertex):
        return () if place.marks is None else place.marks.keys()
    assert isinstance(place, Link)
    one, other = place.one.marks, place.other.marks
    if one is None or one is other:
        return () if other is None else other.keys()
    if other is None:
        return one.keys()
    return [*one, *[region for region in other if region not in one]]


def _initial_items(region: Region, max_size: int) -> Work[list[bytes] | None]:
    """The items of a region for its searchResult; None if they are too large. Knows the region's size afterwards."""
    try:
        return (yield from _listed_items(region, max_size))
    finally:
        region.scope.forget()


def _listed_items(region: Region, max_size: int) -> Work[list[bytes] | None]:
    items = []
    size = 0
    for listed in listing(region):
        if listed is None:
            yield
            continue
        item, counted = listed
        size += counted
        if size > max_size:
            break
        items.append(item)
    if size > max_size:
        return None
    region.size = size
    return items


def _told(kind: ResultKind, items: list[bytes]) -> Told:
    return Told(kind, items, sum(map(len, items)))
