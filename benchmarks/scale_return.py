"""All hosts of a gateway that has restarted come back: how long that takes, simulated; no clock, no I/O.

The gateway is one core. It serves logins in the order in which they came, and sends tables when no login waits. It was
stopped, and said so. Hosts wait as the agent does (agent/reconnect.py), also those that are refused or not served in
time.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass

from agent.reconnect import Loss, Reconnect
from benchmarks.scale_events import Clock
from benchmarks.scale_model import Costs

SHORTEST, LONGEST, SPREAD = 0.5, 30.0, 5.0
"""Seconds: defaults of [signaling] reconnect_min, reconnect_max and reconnect_spread."""
LOGIN_TIME = 15.0
"""Seconds after which an agent gives its first attempt up."""
ITEMS_A_MESSAGE = 100


@dataclass(frozen=True, slots=True)
class Returned:
    """Times in seconds from the end of the old process. logged_in: when the last host was; synchronised: when the last
    one had all routes; attempts: by host, on average; longest_wait: of a login that was served."""

    logged_in: float
    synchronised: float
    attempts: float
    longest_wait: float


class _Gateway:
    def __init__(self, clock: Clock, login: float, table: float, random_source: random.Random) -> None:
        self.clock = clock
        self.random = random_source
        self.attempts = 0
        self.logged_in = self.synchronised = self.longest_wait = 0.0
        self._login = login
        self._table = table
        self._logins: deque[_Host] = deque()
        self._tables = 0
        self._working = False

    def connect(self, host: _Host) -> None:
        self.attempts += 1
        self._logins.append(host)
        if not self._working:
            self._working = True
            self._turn()

    def _turn(self) -> None:
        now = self.clock.now
        while self._logins:
            host = self._logins.popleft()
            if now > host.patient_until:
                continue  # it has given up, and comes again
            host.served = True
            self.longest_wait = max(self.longest_wait, now - host.asked)
            self._tables += 1
            self.logged_in = now + self._login
            self.clock.at(self.logged_in, self._turn)
            return
        if self._tables:
            self._tables -= 1
            self.synchronised = now + self._table
            self.clock.at(self.synchronised, self._turn)
            return
        self._working = False


class _Host:
    def __init__(self, gateway: _Gateway, up: float) -> None:
        self.asked = self.patient_until = 0.0
        self.served = False
        self._gateway = gateway
        self._up = up
        self._reconnect = Reconnect(SHORTEST, LONGEST, SPREAD, gateway.random.random)
        self._again(Loss.SHUTDOWN)

    def _again(self, loss: Loss) -> None:
        clock = self._gateway.clock
        clock.at(clock.now + self._reconnect.wait(loss), self._attempt)

    def _attempt(self) -> None:
        clock = self._gateway.clock
        if clock.now < self._up:
            self._again(Loss.FAILED)
            return
        self.asked = clock.now
        self.patient_until = clock.now + self._reconnect.patience(LOGIN_TIME)
        clock.at(self.patient_until, self._give_up)
        self._gateway.connect(self)

    def _give_up(self) -> None:
        if not self.served:
            self._again(Loss.SLOW)


def return_of(
    hosts: int, costs: Costs, *, vpns: float, routes: float, table: float, down: float = 2.0, seed: int = 1
) -> Returned:
    """Let all hosts come back to a gateway that was away for `down` seconds.

    vpns, routes: of each host; table: routes that it is told of.
    """
    clock = Clock()
    login = costs.login + vpns * (costs.subscribe + costs.publish) + routes * costs.item
    telling = table / ITEMS_A_MESSAGE * costs.message + table * costs.message_item
    gateway = _Gateway(clock, login, telling, random.Random(seed))
    for _ in range(hosts):
        _Host(gateway, down)
    clock.run()
    return Returned(gateway.logged_in, gateway.synchronised, gateway.attempts / hosts, gateway.longest_wait)
