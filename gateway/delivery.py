"""When sessions are pulled: in rounds, each for everybody who is owed something, and no more often than pays.

    changed() --due--> announce: who has fallen behind? --+
    wake() ------------------------------------------------+--> round: everybody pulled once, in turns of TURN seconds

A round for changes begins at once when nothing was delivered of late, so that a lone change is told without delay. The
next one begins only after as long a rest as the last one took (COALESCE to COALESCE_MAX): what changes meanwhile is one
batch, serialised once and sent as one message. So under load about half of the time goes into deliveries, more only
where a round takes longer than COALESCE_MAX; and the more subscribers there are, the more changes one message holds.

Who is woken (because more is owed to it than one pull takes, its transport takes more again, or it has subscribed) is
pulled without that rest; a round that was begun is finished first. So nobody is pulled twice before everybody else was
pulled once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

COALESCE = 0.001
"""Least seconds between a round for changes and the next."""
COALESCE_MAX = 0.010
TURN = 0.002
"""Seconds of a round after which the loop looks at its sockets and timers."""


class Pulled(Protocol):
    """Somebody who is owed something."""

    def pull(self) -> None:
        """Send what is owed, as much as is fair; wake() again when there is more. Does nothing when it is over."""


class Delivery:
    """Use it within one event loop. announce: makes what has changed known, and says who is owed something by that;
    finished: called when a round is over."""

    def __init__(self, announce: Callable[[], Iterable[Pulled]], finished: Callable[[], None]) -> None:
        self._announce = announce
        self._finished = finished
        self._loop = asyncio.get_running_loop()
        self._round: deque[Pulled] = deque()
        self._woken: dict[Pulled, None] = {}
        self._handle: asyncio.Handle | None = None
        self._hurried = False
        """The handle is for the next turn of the loop."""
        self._changed = False
        self._announced = False
        """The round is one for changes."""
        self._spent = 0.0
        """Seconds that the round took until now."""
        self._due = 0.0
        """When the next round for changes may begin."""
        self.turns = 0
        """Times that it came round."""

    def changed(self) -> None:
        """Something was handled that may have changed what is owed."""
        self._changed = True
        if self._handle is None:
            self._arm()

    def wake(self, one: Pulled) -> None:
        """This one is owed something."""
        self._woken[one] = None
        if not self._hurried:
            self._hurry()

    def forget(self, one: Pulled) -> None:
        """It is over."""
        self._woken.pop(one, None)

    def close(self) -> None:
        """Nothing more is delivered, unless there are changes again."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self._hurried = False

    def _arm(self) -> None:
        if self._round or self._woken or self._due <= self._loop.time():
            self._hurry()
        elif self._changed:
            self._handle = self._loop.call_at(self._due, self._turn)

    def _hurry(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_soon(self._turn)
        self._hurried = True

    def _turn(self) -> None:
        self._handle = None
        self._hurried = False
        now = began = self._loop.time()
        if not self._round:
            self._begin(now)
        while self._round:
            # A single pull takes milliseconds when it is of a large table.
            self._round.popleft().pull()
            if self._loop.time() - began > TURN:
                break
        now = self._loop.time()
        self._spent += now - began
        if not self._round:
            if self._announced:
                self._due = now + min(max(self._spent, COALESCE), COALESCE_MAX)
            self._finished()
        self.turns += 1
        if self._handle is None and (self._round or self._woken or self._changed):
            self._arm()

    def _begin(self, now: float) -> None:
        ready, self._woken = self._woken, {}
        self._spent = 0.0
        self._announced = self._changed and self._due <= now
        if self._announced:
            self._changed = False
            ready.update(dict.fromkeys(self._announce()))
        self._round.extend(ready)
