"""Results that wait to be polled, one queue a session."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, groupby
from typing import NamedTuple

from ifmap.errors import ErrorCode, IfmapError
from ifmap.items import one_each
from ifmap.responses import error_part, part
from ifmap.values import ResultKind

_PART_SIZE = 64
"""Bytes that a part of a pollResult takes beside its items."""


class Told(NamedTuple):
    """One result for all subscriptions alike. items: serialised, at least one; of an error its code and its text.
    size: their bytes."""

    kind: ResultKind
    items: Sequence[bytes]
    size: int


class ResultQueue:
    """What the next poll of a session gets, in order.

    limit: bytes that may wait (max-poll-result-size); above it all of it is dropped and the next `take` raises.
    size: bytes that wait. Adding costs the same whatever waits.
    """

    __slots__ = ("_next", "_numbers", "_parts", "limit", "overflown", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.overflown = False
        self._next = 0
        self._parts: dict[int, tuple[str, Told]] = {}
        self._numbers: dict[str, list[int]] = {}

    @property
    def pending(self) -> bool:
        """Whether a poll would be answered at once: with results, or with the error that too much waited."""
        return self.overflown or bool(self._parts)

    def add(self, name: str, told: Told) -> bool:
        """Adds a result of the subscription of a name. False: too much waits now, everything in the queue is dropped;
        all subscriptions have to go."""
        size = told.size + _PART_SIZE + len(name)
        if self.size + size > self.limit:
            self.clear()
            self.overflown = True
            return False
        self.size += size
        number = self._next
        self._next += 1
        self._parts[number] = name, told
        self._numbers.setdefault(name, []).append(number)
        return True

    def void(self, name: str) -> None:
        """Drops what waits of a subscription."""
        for number in self._numbers.pop(name, ()):
            _, told = self._parts.pop(number)
            self.size -= told.size + _PART_SIZE + len(name)

    def clear(self) -> None:
        """Drops everything."""
        self._parts.clear()
        self._numbers.clear()
        self.size = 0
        self.overflown = False

    def take(self) -> list[bytes]:
        """The children of the pollResult, for responses.poll_result; the queue is empty afterwards. [] if nothing is
        pending. Neighbours of the same kind and subscription become one child, with one item for each identifier or
        link and its metadata in order: what came in several publishes is told as if it had come in one, and clients
        count on that (libifmap2c's tests do, of notifyResults). It is done here so that publishes don't pay for it.
        Raises IfmapError PollResultsTooBig, once, if more had waited than the limit (all subscriptions of the queue are
        gone then); what came since is still there for the next call."""
        if self.overflown:
            self.overflown = False
            text = f"more than {self.limit} bytes of results waited; all subscriptions are removed, subscribe again"
            raise IfmapError(ErrorCode.POLL_RESULTS_TOO_BIG, text)
        parts = list(self._parts.values())
        self.clear()
        runs = groupby(parts, lambda waiting: (waiting[0], waiting[1].kind))
        return [_serialised(name, kind, [told.items for _, told in run]) for (name, kind), run in runs]


def too_big(max_size: int) -> Told:
    """The errorResult of a subscription that has grown over its max-size in bytes."""
    return error(ErrorCode.SEARCH_RESULTS_TOO_BIG, f"the subscription is larger than {max_size} bytes; it is removed")


def error(code: ErrorCode, text: str) -> Told:
    """An errorResult, with which a subscription ends."""
    return Told(ResultKind.ERROR, (code.encode(), text.encode()), len(code) + len(text))


def _serialised(name: str, kind: ResultKind, run: list[Sequence[bytes]]) -> bytes:
    """run: the items of neighbours. Errors and searchResults have none of their kind and name: they come once."""
    if kind is ResultKind.ERROR:
        code, text = run[0]
        return error_part(name, ErrorCode(code.decode()), text.decode())
    return part(kind, name, run[0] if len(run) == 1 else one_each(chain.from_iterable(run)))
