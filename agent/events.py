"""What happens on a host, told to whoever watches: a bounded queue for each, so that one who reads slowly loses events,
is told how many, and keeps nobody waiting. Pure but for the clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime.errors import ExitCode, OperatorError

Document = dict[str, object]

KINDS = ("port", "route", "gateway", "kernel", "repair")
"""What events are about. "kernel": objects made, or that fail; "repair": what others changed, and that it was put
right."""
QUEUE = 1024
"""Events that wait for one watcher at the most."""
MOST = 16
"""Watchers at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one watcher wants to hear of; None: all."""

    kinds: frozenset[str] | None = None
    vpn: str | None = None
    port: str | None = None

    def matches(self, kind: str, vpn: str | None, port: str | None) -> bool:
        """Whether an event is of interest."""
        return (
            (self.kinds is None or kind in self.kinds)
            and (self.vpn is None or self.vpn == vpn)
            and (self.port is None or self.port == port)
        )


@dataclass(slots=True, eq=False)
class Subscription:
    """One watcher. wake is called when there is something to take, or the hub is closed."""

    wanted: Wanted
    wake: Callable[[], None]
    _queue: deque[Document] = field(default_factory=deque)
    _lost: int = 0

    @property
    def full(self) -> bool:
        """Whether the next event will be lost."""
        return len(self._queue) >= QUEUE

    def put(self, event: Document) -> None:
        """One more event; what was lost before it is told first."""
        if self._lost:
            self._queue.append(self._loss())
        self._queue.append(event)

    def lose(self) -> None:
        """One more event that there was no room for."""
        self._lost += 1

    def take(self, most: int) -> list[Document]:
        """The next events, `most` of them at the most."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        if self._lost and not self._queue and len(taken) < most:
            taken.append(self._loss())
        return taken

    def _loss(self) -> Document:
        lost, self._lost = self._lost, 0
        return {"at": moment(time.time()), "kind": "monitor", "event": "lost", "lost": lost}


class Hub:
    """Where events come together. Nothing is made of them while nobody watches."""

    def __init__(self) -> None:
        self._watchers: set[Subscription] = set()
        self.closed = False
        """Whether the daemon is stopping."""

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._watchers)

    def subscribe(self, wanted: Wanted, wake: Callable[[], None]) -> Subscription:
        """One more watcher. Raises OperatorError when there are too many."""
        if len(self._watchers) >= MOST:
            raise OperatorError("monitor", f"{MOST} watch already", "end one of them", ExitCode.CONFLICT)
        watcher = Subscription(wanted, wake)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Subscription) -> None:
        """A watcher has gone."""
        self._watchers.discard(watcher)

    def close(self) -> None:
        """End all watching: the daemon stops."""
        self.closed = True
        for watcher in self._watchers:
            watcher.wake()

    def publish(
        self,
        kind: str,
        event: str,
        text: Callable[[], str],
        *,
        vpn: str | None = None,
        port: str | None = None,
        more: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        """Tell that something happened. text: a line for people; more: further fields for programs. Neither is made
        unless somebody hears it."""
        document: Document | None = None
        for watcher in self._watchers:
            if not watcher.wanted.matches(kind, vpn, port):
                continue
            if watcher.full:
                watcher.lose()
                continue
            if document is None:
                document = {"at": moment(time.time()), "kind": kind, "event": event, "text": text()}
                document |= {name: value for name, value in (("vpn", vpn), ("port", port)) if value is not None}
                document |= more()
            watcher.put(document)
            watcher.wake()


def moment(seconds: float) -> str:
    """Wall clock as ISO 8601 in UTC, with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
