"""The load generator: thousands of hosts of an XMPP publish-subscribe service in one process and one thread.

    python -m benchmarks.xmpp_load SETTINGS    JSON of Settings

Commands are lines of JSON on standard input, {"do": NAME, ...}; each has one line of JSON as its answer, {"error":
TEXT} when it can't be done. Times are seconds, moments those of the monotonic clock, which all processes share.

    plan      which VPNs hosts subscribe to, and the routes they publish there, at the beginning of each session
    connect   log in so many hosts, some at a time; answers when each has succeeded or failed, and done its plan
    act       have hosts that are connected carry out their plan
    count     what was received until now
    wait      until so many items have come, or hosts have all of their plan's, or nothing has come for a while
    publish   see benchmarks.xmpp_load_publish
    churn     routes change at a steady rate; how long it takes until others hear of it
    close     end connections of some hosts, or of all
    recover   whether hosts connect again when they lose their session, as agents do
"""

from __future__ import annotations

import dataclasses
import gc
import heapq
import itertools
import json
import math
import os
import random
import select
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.reconnect import Loss, loss_of
from benchmarks import xmpp_load_stanzas as stanzas
from benchmarks.xmpp_load_host import READ, RECORD, Host, LoginError, StreamEnded
from benchmarks.xmpp_load_publish import Churn, Latencies, Publisher

TICK = 0.1
"""Seconds between two looks at what is waited for."""
TEXT = 2 * (READ + RECORD)
STREAM_END = b"</stream:stream>"

Document = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """address, port: where to connect; service: JID of the publish-subscribe service. mechanism: EXTERNAL, PLAIN or
    ANONYMOUS. certificates: a directory with NAME.pem, and key.pem for all of them. presence: whether
    the service is a component, whose sessions begin by it (docs/component.md). receive_buffer: bytes that the
    kernel keeps for a host, 0 for its own choice. keepalive: seconds between the pings of a host, 0 for none. All
    times are the agent's own defaults."""

    address: str
    port: int
    domain: str
    service: str
    tls: bool = True
    mechanism: str = "EXTERNAL"
    password: str = "none"  # not a secret: the servers compared take any
    certificates: str = ""
    presence: bool = False
    receive_buffer: int = 0
    keepalive: float = 10.0
    login_time: float = 15.0
    reconnect_min: float = 0.5
    reconnect_max: float = 30.0
    reconnect_spread: float = 5.0


@dataclasses.dataclass(slots=True)
class Counts:
    """Of all hosts. wire, plain: bytes received; whole: hosts that came to have all of their plan's items; last: when
    the last item came."""

    items: int = 0
    wire: int = 0
    plain: int = 0
    errors: int = 0
    lost: int = 0
    whole: int = 0
    logins: int = 0
    settled: int = 0
    last: float = 0.0


class Load:
    """The hosts of this process. out: takes answers."""

    def __init__(self, settings: Settings, out: Callable[[Document], None]) -> None:
        self.settings = settings
        self.counts = Counts()
        self.hosts: dict[int, Host] = {}
        self.ciphertext = bytearray(READ)
        self.cipher_view = memoryview(self.ciphertext)
        self.text = bytearray(TEXT)
        """Plaintext of whichever host is reading; find() and count() of a bytearray look in place."""
        self.text_view = memoryview(self.text)
        self.latencies: Latencies | None = None
        self.job: Publisher | Churn | None = None
        self.recovering = False
        self.longest_turn = 0.0
        """Seconds of the longest turn of the loop, and how much later than asked it woke up."""
        self._out = out
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, Host] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._queue: deque[Host] = deque()
        self._logging_in: dict[Host, float] = {}
        """Since when; who has a session, and is carrying out its plan, can't be late."""
        self._at_once = 64
        self._failed = 0
        self._error = ""
        self._waiting: tuple[Callable[[], Document | None], float] | None = None
        self._random = random.Random(7)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Whether hosts believe a server isn't measured here.
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE

    # -- for hosts

    def tls_of(self, number: int, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """TLS of one host, with its certificate. One context serves all: a connection keeps what was loaded when it
        was made."""
        if self.settings.certificates:
            folder = Path(self.settings.certificates)
            self._context.load_cert_chain(folder / f"{stanzas.host_name(number)}.pem", folder / "key.pem")
        return self._context.wrap_bio(incoming, outgoing, server_hostname=self.settings.domain)

    def watch(self, host: Host, descriptor: int, events: int) -> None:
        """Have host.handle() called."""
        self._by_descriptor[descriptor] = host
        self._epoll.register(descriptor, events)

    def modify(self, descriptor: int, events: int) -> None:
        """Other events than before."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """The contrary of watch()."""
        if self._by_descriptor.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def logged_in(self, host: Host) -> None:
        """A session has begun, in which the host takes the time that it needs."""
        self.counts.logins += 1
        if host in self._logging_in:
            self._logging_in[host] = math.inf
        if self.settings.keepalive:
            self.later(self.settings.keepalive * self._random.random(), lambda: self._keep_alive(host, host.jid))

    def settled(self, host: Host) -> None:
        """A host has carried out its plan."""
        self.counts.settled += 1
        if self._logging_in.pop(host, None) is not None:
            self._start_some()

    def answered(self, host: Host) -> None:
        """Requests of a host were answered."""
        if isinstance(self.job, Publisher):
            self.job.answered(host)

    def fail(self, text: str) -> None:
        """Remember the first error."""
        self._error = self._error or text

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """A timer."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), work))

    def _keep_alive(self, host: Host, jid: str) -> None:
        if host.up and host.jid == jid:
            self._try(host, lambda: host.ask(stanzas.ping(self.settings.service, "k")))
            self.later(self.settings.keepalive, lambda: self._keep_alive(host, jid))

    # -- connections

    def _start_some(self) -> None:
        while self._queue and len(self._logging_in) < self._at_once:
            host = self._queue.popleft()
            self._logging_in[host] = time.monotonic()
            self._try(host, host.connect)

    def _try(self, host: Host, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, LoginError, StreamEnded) as error:
            self._end(host, error)

    def _end(self, host: Host, error: Exception) -> None:
        lasted = time.monotonic() - host.since if host.up else 0.0
        self.counts.lost += host.up
        host.close()
        self.fail(f"{stanzas.host_name(host.number)}: {type(error).__name__}: {error}")
        if self.recovering:
            self._logging_in.pop(host, None)
            match error:
                case StreamEnded():
                    loss = loss_of(error.condition)
                case TimeoutError():
                    loss = Loss.SLOW
                case _:
                    loss = Loss.FAILED
            self.later(host.reconnect.wait(loss, lasted), lambda: self._reconnect(host))
        elif self._logging_in.pop(host, None) is not None:
            self._failed += 1
            self._start_some()

    def _reconnect(self, host: Host) -> None:
        self._logging_in[host] = time.monotonic()
        self._try(host, host.connect)

    def _expire_logins(self, now: float) -> None:
        wait = self.settings.login_time
        late = [host for host, began in self._logging_in.items() if now - began > host.reconnect.patience(wait)]
        for host in late:
            self._end(host, TimeoutError(f"no login within {wait:g} s or more"))

    # -- commands

    def command(self, command: Document) -> None:
        """Carry out a command, or begin to."""
        name = command.pop("do")
        work = getattr(self, f"do_{name}", None)
        if work is None:
            self._out({"error": f"there is no command {name!r}"})
            return
        self._error = ""
        work(**command)

    def _answer_when(self, ready: Callable[[], Document | None], seconds: float) -> None:
        self._waiting = (ready, time.monotonic() + seconds)
        self._look()

    def _look(self) -> None:
        if self._waiting is None:
            return
        ready, deadline = self._waiting
        found = ready()
        if found is None and time.monotonic() > deadline:
            found = {"error": f"not done in time; {dataclasses.asdict(self.counts)}; first error: {self._error or '-'}"}
        if found is not None:
            self._waiting = None
            self._out(found)

    def host(self, number: int) -> Host:
        """The host of that number."""
        if number not in self.hosts:
            self.hosts[number] = Host(self, number)
        return self.hosts[number]

    def do_plan(
        self, first: int, count: int, nodes: list[str], per_host: int = 1, routes: int = 0, expected: int = 0
    ) -> None:
        """Hosts first.. subscribe to per_host of the nodes, in turns, and publish so many routes, spread over those.
        expected: items of a host that has everything; 0: of all routes of its VPNs, that are planned here."""
        step = max(1, len(nodes) // per_host)
        members: dict[str, int] = dict.fromkeys(nodes, 0)
        for number in range(first, first + count):
            host = self.host(number)
            host.nodes = [nodes[(number + each * step) % len(nodes)] for each in range(per_host)]
            host.routes = [list(range(number * routes + n, (number + 1) * routes, per_host)) for n in range(per_host)]
            for node, numbers in zip(host.nodes, host.routes, strict=True):
                members[node] += len(numbers)
        for number in range(first, first + count):
            host = self.host(number)
            host.expected = expected or sum(members[node] for node in host.nodes)
        self._out({"expected": sum(self.host(n).expected for n in range(first, first + count))})

    def do_connect(self, first: int, count: int, at_once: int = 64, deadline: float = 120.0) -> None:
        """Log in."""
        self._at_once, self._failed = at_once, 0
        began, spent, logins = time.monotonic(), time.process_time(), self.counts.logins
        self._queue.extend(self.host(number) for number in range(first, first + count))

        def ready() -> Document | None:
            if self._queue or self._logging_in:
                return None
            return {
                "up": self.counts.logins - logins,
                "failed": self._failed,
                "error": self._error,
                "seconds": time.monotonic() - began,
                "cpu_s": time.process_time() - spent,
            }

        self._start_some()
        self._answer_when(ready, deadline)

    def do_act(self, first: int, count: int, deadline: float = 120.0) -> None:
        """Carry out plans."""
        wanted = self.counts.settled + count
        for number in range(first, first + count):
            host = self.host(number)
            self._try(host, host.carry_out)
        self._answer_when(lambda: {"at": time.monotonic()} if self.counts.settled >= wanted else None, deadline)

    def do_count(self) -> None:
        """What there is."""
        up = sum(host.up for host in self.hosts.values())
        more = {"up": up, "at": time.monotonic(), "cpu_s": time.process_time(), "error": self._error}
        whole = {"whole_now": sum(host.whole_since > 0 for host in self.hosts.values())}
        self._out(dataclasses.asdict(self.counts) | more | whole)

    def do_wait(self, items: int = 0, whole: int = 0, quiet: float = 0.0, deadline: float = 60.0) -> None:
        """Until items have been received in all, hosts are whole (and none has more than it should), or nothing has
        come for `quiet` seconds."""
        began = time.monotonic()

        def ready() -> Document | None:
            now = time.monotonic()
            if (
                (items and self.counts.items < items)
                or (whole and sum(host.whole_since > 0 for host in self.hosts.values()) < whole)
                or (quiet and now - max(self.counts.last, began) < quiet)
            ):
                return None
            surplus = sum(max(0, host.items - host.expected) for host in self.hosts.values() if host.expected)
            last = max((host.whole_since for host in self.hosts.values()), default=0.0)
            return {"items": self.counts.items, "last": self.counts.last, "whole_at": last, "surplus": surplus}

        self._answer_when(ready, deadline)

    def do_publish(self, **command: Any) -> None:
        """See Publisher."""
        self.job = Publisher(self, **command)
        self.job.start()
        self._answer_when(self.job.ready, command.get("seconds", 5.0) + 60.0)

    def do_churn(self, **command: Any) -> None:
        """See Churn."""
        self.job = Churn(self, **command)
        self.job.start()
        self._answer_when(self.job.ready, command.get("seconds", 10.0) + 60.0)

    def do_close(self, first: int = 0, count: int = 1 << 30, politely: bool = True) -> None:
        """End connections."""
        self.recovering = False
        ended = 0
        for number, host in self.hosts.items():
            if first <= number < first + count and host.up:
                if politely:
                    self._try(host, lambda host=host: host.send(STREAM_END))  # type: ignore[misc]
                host.close()
                ended += 1
        self._out({"closed": ended})

    def do_recover(self, on: bool = True) -> None:
        """Connect again, as agents do."""
        self.recovering = on
        self._out({"recovering": on})

    # -- the loop

    def run(self, descriptor: int) -> None:
        """Until the end of the commands."""
        os.set_blocking(descriptor, False)
        self._epoll.register(descriptor, select.EPOLLIN)
        rest = b""
        look, awake = 0.0, time.monotonic()
        while True:
            timeout = TICK
            if self._timers:
                timeout = min(max(self._timers[0][0] - time.monotonic(), 0.0), TICK)
            asleep = time.monotonic()
            ready = self._epoll.poll(timeout)
            # What of a turn isn't waiting for something: of that much a latency may be this process's own.
            self.longest_turn = max(self.longest_turn, asleep - awake)
            awake = time.monotonic()
            self.longest_turn = max(self.longest_turn, awake - asleep - timeout)
            for number, events in ready:
                if number == descriptor:
                    data = os.read(descriptor, 1 << 20)
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self.command(json.loads(line))
                elif (host := self._by_descriptor.get(number)) is not None:
                    try:
                        host.handle(events)
                    except (OSError, LoginError, StreamEnded) as error:
                        self._end(host, error)
            if self.job is not None:
                self.job.go_on()
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            if self._waiting is not None:
                self._look()
            if now - look > TICK:
                look = now
                self._expire_logins(now)


def main(arguments: list[str]) -> int:
    """The command."""
    settings = Settings(**json.loads(arguments[0]))
    gc.disable()  # nothing here lives in cycles that matter, and its pauses would be measured as latency

    def out(document: Document) -> None:
        print(json.dumps(document), flush=True)

    out({"pid": os.getpid()})
    Load(settings, out).run(sys.stdin.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
