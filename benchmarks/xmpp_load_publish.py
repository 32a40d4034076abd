"""What the load generator's publishers do, at full speed (Publisher) and at a steady rate (Churn)."""

from __future__ import annotations

import re
import time
from array import array
from typing import TYPE_CHECKING, Any

from benchmarks.xmpp_load_stanzas import prefix_text

if TYPE_CHECKING:
    from benchmarks.xmpp_load import Load
    from benchmarks.xmpp_load_host import Host

STUCK = 5.0
"""Seconds without a delivery after which a publisher gives up."""
_ROUTE = re.compile(rb"<item [^>]*?(10\.[0-9.]+/32)['\"][^>]*><entry ")


class Publisher:
    """Hosts publish as fast as is allowed, for so many seconds, each in a window of requests.

    hosts: who publishes; node: where; each: items of a request; subscribers: to whom every item goes, 0 to be paced by
    answers alone; window: requests of a host that may be under way, 1: lockstep; routes: numbers of a host's routes
    that are published in turns, more than are ever under way.
    """

    def __init__(
        self,
        load: Load,
        *,
        hosts: list[int],
        node: str,
        each: int = 1,
        subscribers: int = 0,
        window: int = 1,
        seconds: float = 3.0,
        routes: int = 5000,
    ) -> None:
        self._load = load
        self._hosts = [load.host(number) for number in hosts]
        self._node = node
        self._each = each
        self._subscribers = subscribers
        self._window = window
        self._seconds = seconds
        self._routes = routes
        self._next: dict[Host, int] = dict.fromkeys(self._hosts, 0)
        self.requests = 0
        """Sent until now."""

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._spent = time.process_time()
        self._items = self._load.counts.items
        self._errors = self._load.counts.errors
        self._wire, self._plain = self._load.counts.wire, self._load.counts.plain
        for host in self._hosts:
            host.version += 1
            host.answers = 0
        self.go_on()

    @property
    def _delivered(self) -> int:
        """Items, to all together."""
        return self._load.counts.items - self._items

    @property
    def _over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def go_on(self) -> None:
        """Something has come."""
        if self._over:
            return
        if not self._subscribers:
            for host in self._hosts:
                self.answered(host)
            return
        whole = self._subscribers * self._each
        while self.requests - self._delivered // whole < self._window:
            self._send(self._hosts[self.requests % len(self._hosts)])

    def answered(self, host: Host) -> None:
        """A host has been answered."""
        if not self._subscribers and host in self._next and not self._over:
            while host.owed < self._window:
                self._send(host)

    def _send(self, host: Host) -> None:
        start = self._next[host]
        numbers = [host.number * self._routes + n % self._routes for n in range(start, start + self._each)]
        self._next[host] = start + self._each
        if start // self._routes != self._next[host] // self._routes:
            host.version += 1
        host.ask(host.template.publish(self._node, numbers, host.version, "p"))
        self.requests += 1

    def ready(self) -> dict[str, Any] | None:
        """The outcome, when all is over."""
        if not self._over:
            return None
        counts = self._load.counts
        answers = sum(host.answers for host in self._hosts)
        wanted = self.requests * self._each * self._subscribers
        answered = all(not host.owed for host in self._hosts)
        ended = max(counts.last, self._began + self._seconds) if self._subscribers else time.monotonic()
        if (self._delivered < wanted or not answered) and time.monotonic() - ended < STUCK:
            return None
        self._load.job = None
        end = counts.last if self._subscribers else time.monotonic()
        return {
            "began": self._began,
            "seconds": end - self._began,
            "requests": self.requests,
            "items": self.requests * self._each,
            "answers": answers,
            "errors": counts.errors - self._errors,
            "delivered": self._delivered,
            "wanted": wanted,
            "wire": counts.wire - self._wire,
            "plain": counts.plain - self._plain,
            "cpu_s": time.process_time() - self._spent,
        }


class Latencies:
    """Times from a publish to its delivery, to each who is sent it."""

    def __init__(self) -> None:
        self.sent: dict[bytes, float] = {}
        self.seconds = array("d")

    def note(self, text: bytes, now: float) -> None:
        """Items have come."""
        for route in _ROUTE.findall(text):
            if (sent := self.sent.get(route)) is not None:
                self.seconds.append(now - sent)


class Churn:
    """Hosts publish their planned routes anew, one request of one item after the other, at a steady rate.

    rate: changes a second, of all hosts together; hosts: numbers; seconds: how long.
    """

    def __init__(self, load: Load, *, first: int, count: int, rate: float, seconds: float = 10.0) -> None:
        self._load = load
        self._hosts = [load.host(number) for number in range(first, first + count)]
        self._rate = rate
        self._seconds = seconds
        self._members: dict[str, int] = {}
        for host in load.hosts.values():
            for node in host.nodes:
                self._members[node] = self._members.get(node, 0) + host.up
        self._changes = 0
        self._wanted = 0

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        self._load.longest_turn = 0.0
        self._latencies = self._load.latencies = Latencies()
        self._tick()

    def go_on(self) -> None:
        """Something has come; a change isn't due by that."""

    def _tick(self) -> None:
        """Whatever is due by now."""
        due = min(time.monotonic() - self._began, self._seconds) * self._rate
        while self._changes < due:
            self._change(self._changes)
            self._changes += 1
        if self._changes < self._seconds * self._rate:
            self._load.later(self._began + (self._changes + 1) / self._rate - time.monotonic(), self._tick)

    def _change(self, number: int) -> None:
        # A large prime spreads the changes over the hosts and their routes.
        place = number * 7919
        host = self._hosts[place % len(self._hosts)]
        which = place // len(self._hosts) % len(host.nodes)
        routes = host.routes[which]
        route = routes[place // len(self._hosts) // len(host.nodes) % len(routes)]
        host.version += 1
        request = host.template.publish(host.nodes[which], [route], host.version, "c")
        self._latencies.sent[prefix_text(route)] = time.monotonic()
        self._wanted += self._members[host.nodes[which]]
        if host.up:
            host.ask(request)

    def ready(self) -> dict[str, Any] | None:
        """The outcome."""
        now = time.monotonic()
        if now - self._began < self._seconds:
            return None
        found = self._latencies.seconds
        if len(found) < self._wanted and now - self._began < self._seconds + STUCK:
            return None
        self._load.job = self._load.latencies = None
        ordered = sorted(found) or [float("nan")]
        return {
            "changes": self._changes,
            "deliveries": len(found),
            "wanted": self._wanted,
            "p50_s": ordered[len(ordered) // 2],
            "p99_s": ordered[int(len(ordered) * 0.99)],
            "max_s": ordered[-1],
            "stall_s": self._load.longest_turn,
        }
