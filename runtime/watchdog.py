"""What the service manager is told of a daemon that serves: one line of status, and that its work goes on.

The watchdog is fed by those who do the work, not by a clock beside them. A pulse is a work loop: it counts its turns,
and takes one when it is nudged. The watchdog is fed only when every pulse has taken a turn since it was last nudged: a
loop that hangs, or waits for something that never comes, isn't fed, and systemd starts the daemon anew
(systemd.service, WatchdogSec=).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from runtime.service import Notifier

log = logging.getLogger("vrfwire.service")

STATUS_INTERVAL = 5.0
"""Seconds between updates of the service manager's status line."""
LOOKS = 2
"""Looks at the pulses in an interval of the watchdog, which is half of WatchdogSec=: so long may one turn take."""


class Pulse(Protocol):
    """A work loop. turns: counted by it each time that it comes round."""

    @property
    def turns(self) -> int: ...

    def nudge(self) -> None:
        """Let it come round soon, although there may be nothing to do."""
        ...


class Watchdog:
    """Feeds as long as the pulses beat. pulses: with what the log calls them."""

    def __init__(self, notifier: Notifier, pulses: Sequence[tuple[str, Pulse]]) -> None:
        self._notifier = notifier
        self._pulses = tuple(pulses)
        self._late: frozenset[str] = frozenset()
        self._seen = self._nudged()
        notifier.watchdog()

    def look(self) -> bool:
        """Feed if all have come round since the last look. Returns whether."""
        counts = zip(self._pulses, self._seen, strict=True)
        late = frozenset(name for (name, pulse), before in counts if pulse.turns == before)
        for name in sorted(late - self._late):
            log.error("%s has stopped; unless it goes on, the service manager starts this daemon anew", name)
        for name in sorted(self._late - late):
            log.warning("%s goes on", name)
        self._late = late
        self._seen = self._nudged()
        if not late:
            self._notifier.watchdog()
        return not late

    def _nudged(self) -> list[int]:
        seen = [pulse.turns for _, pulse in self._pulses]
        for _, pulse in self._pulses:
            pulse.nudge()
        return seen


class Vitals:
    """Tells the service manager how a daemon is. status: its line, made when it is due; pulses: see Watchdog.

    Call tick() every `interval` seconds, infinite when there is no service manager.
    """

    def __init__(
        self, notifier: Notifier, status: Callable[[], str], pulses: Sequence[tuple[str, Pulse]], now: float
    ) -> None:
        self._notifier = notifier
        self._status = status
        self._watchdog = Watchdog(notifier, pulses) if notifier.watchdog_interval else None
        self._look_every = notifier.watchdog_interval / LOOKS
        self._look_at = now + self._look_every
        self._status_at = now
        self.interval = float("inf")
        if notifier.listening:
            self.interval = min(STATUS_INTERVAL, self._look_every or STATUS_INTERVAL)

    def tick(self, now: float) -> None:
        """now: seconds of a clock that doesn't jump."""
        if not self._notifier.listening:
            return
        # Timers of the loop come a little early or late.
        slack = self.interval / 4
        if now + slack >= self._status_at:
            self._status_at = now + STATUS_INTERVAL
            self._notifier.status(self._status())
        if self._watchdog is not None and now + slack >= self._look_at:
            self._look_at = now + self._look_every
            self._watchdog.look()


async def live(
    vitals: Vitals, until: Sequence[asyncio.Future[Any]], also: Callable[[], None] | None = None, every: float = 1.0
) -> None:
    """Tick until one of `until` is done. also: called every so many seconds, in the same turn. Without it and without a
    service manager nobody is woken."""
    loop = asyncio.get_running_loop()
    interval = vitals.interval if also is None else min(vitals.interval, every)
    timeout = None if interval == float("inf") else interval
    while not any(future.done() for future in until):
        vitals.tick(loop.time())
        if also is not None:
            also()
        await asyncio.wait(until, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
