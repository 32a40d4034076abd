"""Connections as the MAP service sees them: requests of one are answered in their order, one after another."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from ifmap.errors import IfmapError
from ifmap.values import Request


class Arrived(NamedTuple):
    """A request that came. request: as read, or why it couldn't be."""

    client: str
    request: Request | IfmapError
    peer: str


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes for a connection: the whole HTTP body of the answer to its oldest unanswered request. close: the connection
    is of no more use, the server should close it then."""

    channel: int
    body: bytes
    close: bool = False


@dataclass(slots=True)
class _Channel:
    busy: bool = False
    waiting: deque[Arrived] = field(default_factory=deque)


class Channels:
    """Open connections, by number. A number is never used again for another connection."""

    def __init__(self) -> None:
        self._channels: dict[int, _Channel] = {}
        self._ready: deque[int] = deque()
        self._outputs: list[Output] = []

    def __contains__(self, channel: object) -> bool:
        return channel in self._channels

    def __len__(self) -> int:
        return len(self._channels)

    def arrived(self, channel: int, arrived: Arrived) -> bool:
        """A request came. Returns whether it has to wait, since an earlier one isn't answered yet."""
        state = self._channels.setdefault(channel, _Channel())
        state.waiting.append(arrived)
        if not state.busy:
            self._ready.append(channel)
        return state.busy

    def next(self) -> tuple[int, Arrived] | None:
        """The next request to handle; until it is answered, its connection has no other."""
        while self._ready:
            channel = self._ready.popleft()
            state = self._channels.get(channel)
            if state is not None and state.waiting and not state.busy:
                state.busy = True
                return channel, state.waiting.popleft()
        return None

    def answer(self, channel: int | None, body: bytes, close: bool = False) -> bool:
        """Answers the request that a connection waits for. Returns False if the connection is gone."""
        state = self._channels.get(channel) if channel is not None else None
        if state is None or channel is None:
            return False
        assert state.busy, "answer without a request"
        state.busy = False
        self._outputs.append(Output(channel, body, close))
        if state.waiting:
            self._ready.append(channel)
        return True

    def closed(self, channel: int) -> None:
        """The connection is gone, with the requests that weren't begun."""
        self._channels.pop(channel, None)

    def take_outputs(self) -> list[Output]:
        """What is to be sent, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs
