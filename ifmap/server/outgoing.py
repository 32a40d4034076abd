"""What a connection has to send: in pieces, as fast as the transport takes them, not all in one turn of the loop."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

PIECE = 64 * 1024
"""Bytes given to the transport at a time; TLS encrypts them at once."""
WRITE_HIGH = 256 * 1024
"""Bytes unsent in a transport above which nothing more is written to it."""
TURN = 1 << 20
"""Bytes written before other connections have their turn."""
STALL = 60.0
"""Seconds in which a client must take something of an answer."""


class Outgoing:
    """Writes to a transport. ended: called once, when all has been written behind which the connection is to close.
    stalled: called when the client takes nothing any more."""

    def __init__(
        self,
        transport: asyncio.Transport,
        counters: Counter[str],
        ended: Callable[[], None],
        stalled: Callable[[], None],
    ) -> None:
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        self.paused = False
        """The transport takes no more for now."""
        self.ending = False
        """Nothing may be put behind what is there."""
        self._transport = transport
        self._counters = counters
        self._ended: Callable[[], None] | None = ended
        self._stalled = stalled
        self._loop = asyncio.get_running_loop()
        self.unsent = 0
        """Bytes that the transport hasn't been given yet."""
        self._pieces: deque[bytes | memoryview] = deque()
        self._next: asyncio.Handle | None = None
        self._stall: asyncio.TimerHandle | None = None

    @property
    def empty(self) -> bool:
        """Whether the transport has everything."""
        return not self._pieces

    def put(self, head: bytes, body: bytes = b"") -> None:
        """Send this behind the rest; it leaves with the next write()."""
        self.unsent += len(head) + len(body)
        if len(body) <= PIECE:
            self._pieces.append(head + body)
        else:
            view = memoryview(body)
            self._pieces.append(head)
            self._pieces.extend(view[start : start + PIECE] for start in range(0, len(body), PIECE))

    def end(self) -> None:
        """Send what is there, and nothing more."""
        self.ending = True
        self.write()

    def write(self) -> None:
        """Write what the transport takes, but no more than TURN at a time."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._transport.is_closing():
            return
        written = 0
        while self._pieces and not self.paused and written < TURN:
            piece = self._pieces.popleft()
            written += len(piece)
            self._transport.write(piece)
        self._counters["bytes_sent"] += written
        self.unsent -= written
        if self._pieces and not self.paused:
            self._next = self._loop.call_soon(self.write)
        elif self.ending and not self._pieces and self._ended is not None:
            ended, self._ended = self._ended, None
            ended()

    def pause(self) -> None:
        """The transport has enough."""
        self.paused = True
        self._stall = self._loop.call_later(STALL, self._stalled)

    def resume(self) -> None:
        """The transport takes more."""
        self.paused = False
        self._cancel_stall()
        self.write()

    def drop(self) -> None:
        """The connection is gone."""
        self._pieces.clear()
        self.unsent = 0
        self._cancel_stall()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
