"""The subscriptions that a client wants, and which of them the server has: what to subscribe to next, and when. No I/O.

A subscription is sent in every session. One that the server refuses or gives up is reported and tried again after a
wait of its own, which grows; the others are untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ifmap.endpoint import STEADY
from ifmap.errors import IfmapError
from ifmap.values import SearchSpec, Subscription, Unsubscription
from runtime.backoff import Backoff

Operations = tuple[Subscription | Unsubscription, ...]


class Trouble(NamedTuple):
    """A subscription that the server doesn't keep for us. fresh: not the same text as the last time."""

    name: str
    error: IfmapError
    fresh: bool


@dataclass(slots=True)
class _Entry:
    spec: SearchSpec
    backoff: Backoff
    sent: SearchSpec | None = None
    """What the server has, or is being asked for."""
    alone: bool = False
    """To be asked for by itself: it was refused with others."""
    since: float | None = None
    """Time of the first result."""
    due: float = 0.0
    error: str = ""

    def failed(self, now: float, error: IfmapError) -> bool:
        """It is to be asked for again, later; returns whether the error is another one than before."""
        if self.since is not None and now - self.since >= STEADY:
            self.backoff.reset()
        self.sent = self.since = None
        self.due = now + self.backoff.next()
        fresh, self.error = self.error != str(error), str(error)
        return fresh


class WantedSubscriptions:
    """Times are seconds of a clock that doesn't jump. random, shortest, longest: as of a Backoff."""

    def __init__(self, random: Callable[[], float], shortest: float, longest: float) -> None:
        self._entries: dict[str, _Entry] = {}
        self._leaving: dict[str, None] = {}
        """Names that the server may still have."""
        self._shortest = shortest
        self._longest = longest
        self._random = random

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def subscribe(self, name: str, spec: SearchSpec) -> None:
        """Want this, in the place of what was wanted by that name."""
        entry = self._entries.get(name)
        if entry is None:
            self._entries[name] = _Entry(spec, Backoff(self._shortest, self._longest, self._random))
        elif entry.spec != spec:
            entry.spec = spec
            entry.due = 0.0
        self._leaving.pop(name, None)

    def unsubscribe(self, name: str) -> None:
        """Don't want it any more; nothing for a name that isn't wanted."""
        entry = self._entries.pop(name, None)
        if entry is not None and entry.sent is not None:
            self._leaving[name] = None

    def session_started(self) -> None:
        """The server has none of them."""
        self._leaving.clear()
        for entry in self._entries.values():
            entry.sent = entry.since = None
            entry.alone = False
            entry.due = 0.0

    def next(self, now: float) -> Operations:
        """The next subscribe request; () for none. The caller sends it and reports by accepted() or refused()."""
        operations: list[Subscription | Unsubscription] = [Unsubscription(name) for name in self._leaving]
        self._leaving.clear()
        for name, entry in self._entries.items():
            if entry.sent == entry.spec or now < entry.due or (entry.alone and operations):
                continue
            entry.sent = entry.spec
            entry.since = None
            operations.append(Subscription(name, entry.spec))
            if entry.alone:
                break
        return tuple(operations)

    def accepted(self, operations: Operations) -> None:
        """The server has taken a request of next()."""
        for operation in operations:
            if isinstance(operation, Subscription) and (entry := self._entries.get(operation.name)):
                entry.alone = False

    def refused(self, operations: Operations, error: IfmapError, now: float) -> list[Trouble]:
        """The server has taken nothing of a request of next(): who is to blame, if that is known."""
        troubles = []
        for operation in operations:
            entry = self._entries.get(operation.name)
            if isinstance(operation, Unsubscription):
                if len(operations) > 1 and entry is None:
                    self._leaving[operation.name] = None
            elif entry is not None and entry.sent == operation.spec:
                if len(operations) == 1:
                    entry.alone = True
                    troubles.append(Trouble(operation.name, error, entry.failed(now, error)))
                else:
                    entry.sent = None
                    entry.alone = True
        return troubles

    def delivered(self, name: str, now: float) -> None:
        """The initial result of a subscription is here."""
        entry = self._entries.get(name)
        if entry is not None and entry.sent is not None:
            entry.since = now
            entry.error = ""

    def given_up(self, name: str, error: IfmapError, now: float) -> list[Trouble]:
        """The server has ended a subscription (errorResult within a pollResult; IF-MAP 2.2, SearchResultsTooBig)."""
        entry = self._entries.get(name)
        return [] if entry is None else [Trouble(name, error, entry.failed(now, error))]

    def all_given_up(self, error: IfmapError, now: float) -> list[Trouble]:
        """The server has ended all subscriptions (errorResult in the place of a pollResult; PollResultsTooBig)."""
        self._leaving.clear()
        return [
            Trouble(name, error, entry.failed(now, error))
            for name, entry in self._entries.items()
            if entry.sent is not None
        ]

    def timer(self) -> float | None:
        """When next() may have something to say that it hasn't now; None: not before something else happens."""
        return min((entry.due for entry in self._entries.values() if entry.sent != entry.spec), default=None)

    def states(self) -> dict[str, str]:
        """Of each: "complete" (its initial result is here), "waiting" for it, or the error that ended it."""
        return {
            name: entry.error or ("complete" if entry.since is not None else "waiting")
            for name, entry in self._entries.items()
        }
