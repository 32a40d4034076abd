"""Subscriptions: results for the sessions that watch a part of the graph, worked out from what changes in it."""

from __future__ import annotations

from collections.abc import Collection

from ifmap.delta import Delta
from ifmap.graph import Graph
from ifmap.results import ResultQueue
from ifmap.values import Subscription


class Subscriptions:
    """All subscriptions on a graph. From when it is made on, the graph changes by `apply` of this class alone.

    count: subscriptions there are.
    """

    def __init__(self, graph: Graph) -> None:
        self.count = 0

    def subscribe(self, queue: ResultQueue, subscription: Subscription, max_size: int) -> None:
        """A new subscription, or one in the place of that of the same name (whose waiting results are void). Its
        searchResult is put into the queue, or errorResult SearchResultsTooBig if it is larger than max_size, and then
        there is no subscription. max_size: bytes, as decided from the spec's and the server's settings."""
        raise NotImplementedError

    def unsubscribe(self, queue: ResultQueue, name: str) -> None:
        """Ends a subscription, if there is one of the name; what waits of it is void."""
        raise NotImplementedError

    def drop(self, queue: ResultQueue) -> None:
        """Ends all subscriptions of a queue and empties it: the session is over."""
        raise NotImplementedError

    def names(self, queue: ResultQueue) -> Collection[str]:
        """Names of the subscriptions that a queue has."""
        raise NotImplementedError

    def apply(self, delta: Delta) -> Collection[ResultQueue]:
        """Changes the graph and puts what subscribers have to be told into their queues: notify, delete, update
        results, in this order. Returns the queues that something was put into."""
        raise NotImplementedError
