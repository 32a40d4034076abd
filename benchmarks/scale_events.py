"""A discrete-event simulation of gateways and route reflectors; no clock, no I/O.

Each is one core with a queue. It works in turns, as the real ones do: what has come meanwhile is one batch, so its work
for a route becomes less as it has more to do.

    host --publish--> gateway --UPDATE--> reflectors --UPDATE--> gateways with a host in the VPN
                         +--events--> its subscribers               +--events--> their subscribers
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from benchmarks.scale_model import Costs, Network

COALESCE = 0.001
"""Seconds that a gateway at rest waits for more before it tells its subscribers."""
_POINTS = 4
"""Of the subscribers of a batch, so many are looked at."""


class Clock:
    """Runs what is due, in order of time; what is due at the same time in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Call `what` at a time, seconds."""
        heapq.heappush(self._queue, (when, next(self._numbers), what))

    def run(self) -> None:
        """Until nothing is due any more."""
        queue = self._queue
        while queue:
            self.now, _, what = heapq.heappop(queue)
            what()


@dataclass(slots=True)
class Delays:
    """Times from publish to delivery, seconds, with their weights (subscribers)."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def add(self, first: float, last: float, count: int) -> None:
        """`count` subscribers had it, evenly from first to last."""
        for point in range(_POINTS):
            self.samples.append((first + (last - first) * (point + 0.5) / _POINTS, count / _POINTS))

    def quantile(self, share: float) -> float:
        """The time within which this share of the deliveries was done; 0 when there were none."""
        total = sum(weight for _, weight in self.samples)
        seen = 0.0
        for delay, weight in sorted(self.samples):
            seen += weight
            if seen >= share * total:
                return delay
        return 0.0


class Change(NamedTuple):
    """A route that a host has published. at: when; gateways: those it was published to."""

    number: int
    at: float
    vpn: int
    gateways: tuple[int, ...]


class _Station:
    """One core. `_work` does a turn: it returns how long that takes, None when there is nothing to do."""

    def __init__(self, clock: Clock) -> None:
        self.busy_time = 0.0
        self._clock = clock
        self._working = False

    def _wake(self, wait: float) -> None:
        if not self._working:
            self._working = True
            self._clock.at(self._clock.now + wait, self._turn)

    def _turn(self) -> None:
        took = self._work()
        if took is None:
            self._working = False
        else:
            self.busy_time += took
            self._clock.at(self._clock.now + took, self._turn)

    def _work(self) -> float | None:
        raise NotImplementedError


class _Gateway(_Station):
    def __init__(self, simulation: Simulation, number: int) -> None:
        super().__init__(simulation.clock)
        self._simulation = simulation
        self._number = number
        self._owed = 0.0
        """Work of what has come, beside telling the subscribers."""
        self._seen: set[int] = set()
        self._published: list[Change] = []
        self._behind: dict[int, list[float]] = {}
        """Times of the changes that subscribers of a VPN have not been told."""

    def publish(self, change: Change) -> None:
        costs = self._simulation.costs
        self._owed += costs.publish + costs.item
        self._published.append(change)
        self._take(change)

    def receive(self, changes: Sequence[Change]) -> None:
        costs = self._simulation.costs
        each = costs.bgp_receive if len(changes) == 1 else costs.bgp_receive_packed
        for change in changes:
            self._owed += each
            if change.number not in self._seen:
                self._owed += costs.bgp_import
                self._take(change)

    def _take(self, change: Change) -> None:
        self._seen.add(change.number)
        self._behind.setdefault(change.vpn, []).append(change.at)
        self._wake(COALESCE)

    def _work(self) -> float | None:
        simulation, costs = self._simulation, self._simulation.costs
        took, self._owed = self._owed, 0.0
        if self._published:
            published, self._published = self._published, []
            took += len(published) * costs.bgp_announce + len(simulation.reflectors) * costs.bgp_write
            simulation.announce(published, took)
        if not self._behind:
            return took or None
        vpn = next(iter(self._behind))
        origins = self._behind.pop(vpn)
        subscribers = simulation.members(vpn).get(self._number, 0)
        took += len(origins) * costs.change
        telling = subscribers * (costs.message + len(origins) * costs.message_item)
        begin = self._clock.now + took + simulation.network.delay
        for origin in origins if subscribers else ():
            simulation.delays.add(begin - origin, begin + telling - origin, subscribers)
        return took + telling


class _Reflector(_Station):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.clock)
        self._simulation = simulation
        self._owed = 0.0
        self._seen: set[int] = set()
        self._fresh: list[Change] = []

    def receive(self, changes: Sequence[Change]) -> None:
        costs = self._simulation.costs
        self._owed += len(changes) * (costs.bgp_receive if len(changes) == 1 else costs.bgp_receive_packed)
        for change in changes:
            # The second gateway of the host says the same of it.
            if change.number not in self._seen:
                self._seen.add(change.number)
                self._fresh.append(change)
        self._wake(0.0)

    def _work(self) -> float | None:
        simulation, costs = self._simulation, self._simulation.costs
        took, self._owed = self._owed, 0.0
        if not self._fresh:
            return took or None
        fresh, self._fresh = self._fresh, []
        took += len(fresh) * costs.bgp_announce
        concerned: dict[int, list[Change]] = {}
        for change in fresh:
            for gateway in simulation.members(change.vpn):
                concerned.setdefault(gateway, []).append(change)
        for gateway, changes in concerned.items():
            took += costs.bgp_write
            simulation.reflect(gateway, changes, took)
        return took


class Simulation:
    """members: number of subscribers of a VPN at each gateway that has any."""

    def __init__(self, network: Network, costs: Costs, members: Callable[[int], Mapping[int, int]]) -> None:
        self.network = network
        self.costs = costs
        self.members = members
        self.clock = Clock()
        self.delays = Delays()
        self.gateways = [_Gateway(self, number) for number in range(network.gateways)]
        self.reflectors = [_Reflector(self) for _ in range(network.reflectors)]

    def publish(self, change: Change) -> None:
        """Have a host publish a route."""
        for gateway in change.gateways:
            self.clock.at(change.at + self.network.delay, partial(self.gateways[gateway].publish, change))

    def announce(self, changes: Sequence[Change], after: float) -> None:
        """A gateway tells the reflectors."""
        when = self.clock.now + after + self.network.delay
        for reflector in self.reflectors:
            self.clock.at(when, partial(reflector.receive, changes))

    def reflect(self, gateway: int, changes: Sequence[Change], after: float) -> None:
        """A reflector tells a gateway."""
        when = self.clock.now + after + self.network.delay
        self.clock.at(when, partial(self.gateways[gateway].receive, changes))

    def run(self) -> None:
        """Until everybody knows everything."""
        self.clock.run()
