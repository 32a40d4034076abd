"""From the results of a MAP client's subscriptions to the gateway's provisioning; no I/O.

    results --> Replica (one a subscription) --edges that changed--> Vpns --names that changed--> Provisioning

What has come waits until step() takes it, bit by bit: a first result may be of a hundred thousand attachments. The
provisioning changes when all of it is taken, at once.

All VPNs are found from the catalogue (docs/design/map-schema.md); groups that nobody lists there may be named, each
with a subscription of its own. What was known before stays until every subscription has told its first result in a
session; then the difference counts. A server that has nothing at all is believed only when its map says that this is
meant, or an operator does: else it may have lost its store, and every tenant would be without a network by that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from gateway.provisioning import Difference, Provisioning, Work
from ifmap import filters
from ifmap.answers import ReceivedMetadata, ReceivedPart
from ifmap.l3vpn import CATALOGUE, CATALOGUE_DEPTH, PROVISIONED, PROVISIONING, connectivity_group
from ifmap.replica import Replica
from ifmap.values import Edge, Identifier, ResultKind, SearchSpec
from ifmap.vpns import Vpns

CATALOGUE_NAME = "vpns"
"""Subscription to everything that the catalogue lists."""
MAX_SIZE = 256 << 20
"""Bytes of a subscription's content that the server is asked to allow; it has a limit of its own."""


def subscriptions(groups: Iterable[str]) -> dict[str, SearchSpec]:
    """What a gateway subscribes to, by name. groups: connectivity groups beside those of the catalogue. Raises
    SchemaError for a name that XML can't carry."""
    found = {CATALOGUE_NAME: _spec(CATALOGUE, CATALOGUE_DEPTH)}
    for number, name in enumerate(groups, 1):
        found[f"group-{number}"] = _spec(connectivity_group(name), CATALOGUE_DEPTH - 1)
    return found


def _spec(start: Identifier, depth: int) -> SearchSpec:
    links, results = filters.of_names(*PROVISIONING), filters.of_names(*PROVISIONING, PROVISIONED)
    return SearchSpec(start, depth, match_links=links, result_filter=results, max_size=MAX_SIZE)


class MapFeed:
    """The content of a set of subscriptions, and what of it the provisioning doesn't have yet."""

    def __init__(self, provisioning: Provisioning, wanted: Mapping[str, SearchSpec]) -> None:
        self._provisioning = provisioning
        self._replicas = {name: Replica() for name in wanted}
        self._vpns = Vpns()
        self._whole = False
        """All of it has been there once, so what it lacks is no more."""
        self._believed = False
        """All of the present session is there, and isn't in doubt."""
        self._queue: deque[ReceivedPart | None] = deque()
        """Results; None: the end of a session."""
        self._work: Work | None = None

    @property
    def synchronised(self) -> bool:
        """Whether everything of the present session is here."""
        return not self._queue and all(replica.complete for replica in self._replicas.values())

    @property
    def busy(self) -> bool:
        """Whether step() has something to do."""
        return self._work is not None or bool(self._queue)

    @property
    def settled(self) -> bool:
        """Whether everything of the present session is here, and was taken."""
        return self._believed and self.synchronised and not self.busy

    @property
    def disbelieved(self) -> bool:
        """Whether the server has nothing, though we know something and nobody says that it is meant to be empty."""
        return not self.busy and self.synchronised and self._doubtful()

    def _doubtful(self) -> bool:
        known = self._provisioning.vpns or self._provisioning.attachments
        return bool(known) and not self._believed and self._vpns.bare

    def accept(self) -> bool:
        """An operator says that an empty map is meant; returns whether it was disbelieved."""
        if not self.disbelieved:
            return False
        self._believed = True
        self._work = self._working()
        return True

    def result(self, part: ReceivedPart) -> None:
        """A result of a subscription has come."""
        if part.name in self._replicas:
            self._queue.append(part)

    def session_lost(self) -> None:
        """What is known stays, until the next session's results."""
        self._queue.append(None)

    def _elsewhere(self, edge: Edge) -> tuple[ReceivedMetadata, ...]:
        """What another subscription still has of it."""
        return next((found for one in self._replicas.values() if (found := one.contents(edge))), ())

    def step(self, limit: int) -> Difference | None:
        """Take at most so many metadata, or names that they concern; returns where the provisioning differed when that
        is up to date with all that had come, None before."""
        work = self._work = self._work or self._working()
        for _ in range(limit):
            try:
                next(work)
            except StopIteration as done:
                self._work = None
                difference: Difference = done.value
                return difference
        return None

    def _working(self) -> Work:
        while self._queue:
            part = self._queue.popleft()
            if part is None:
                self._believed = False
                for replica in self._replicas.values():
                    replica.session_lost()
                continue
            if part.kind is ResultKind.SEARCH:
                self._believed = False
            replica = self._replicas[part.name]
            for edge in replica.applying(part):
                if edge is not None:
                    self._vpns.put(edge, replica.contents(edge) or self._elsewhere(edge))
                yield
        if not self._believed:
            if not self.synchronised or self._doubtful():
                return Difference()
            self._believed = True
        changed = self._vpns.take_changes()
        if self._whole:
            return (yield from self._provisioning.taking(self._vpns, changed.groups, changed.attachments))
        self._whole = True
        return (yield from self._provisioning.taking_all(self._vpns))

    def problems(self) -> list[tuple[str, str]]:
        """What the server has that can't be read: the thing, and why."""
        return [(problem.what, problem.why) for problem in self._vpns.problems()]
