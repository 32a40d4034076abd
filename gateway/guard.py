"""The limits of a running server: what was done against whom is counted by reason and named in the log.

A flood must not become a flood of log lines: each one who gives cause gets LINES lines for a reason in a WINDOW, and
then a number.
"""

from __future__ import annotations

import enum
import logging
from collections import Counter
from typing import TYPE_CHECKING

from gateway.arrivals import Arrivals, ArrivalSettings
from gateway.holdings import Holdings
from gateway.limit_status import LimitView
from gateway.limits import Flow, Limiter, LimitSettings, site
from runtime.log import fields

if TYPE_CHECKING:
    from gateway.connection import Connection
    from gateway.greeting import Greeting

log = logging.getLogger("vrfwire.gateway.limits")

WINDOW = 10.0
"""Seconds."""
LINES = 50
"""Of one address or host, for one reason."""
LINES_OF_ALL = 500
"""For one reason."""
EARLY_MAX = 64 * 1024
"""Bytes that a connection may send until it is a session: a login takes a hundredth of that."""


class Reason(enum.StrEnum):
    """Why a connection or host met a limit: values of a label of the metrics, docs/metrics.md."""

    SHUT_OUT = "shut_out"
    """Refused: too many connections of the address came to nothing."""
    CROWDED = "crowded"
    """Refused, or dropped for another: max_sessions connections."""
    MEMORY_HIGH = "memory_high"
    """Refused: too much memory is held for others."""
    GONE = "gone"
    """It had given up when its turn to log in came."""
    SILENT = "silent"
    """Nothing was sent."""
    IDLE = "idle"
    """Dropped: too many that don't get on with their login."""
    HANDSHAKE = "handshake"
    """TLS failed, or took too long."""
    LOGIN = "login"
    """It ended without a session in another way."""
    LOGIN_RATE = "login_rate"
    """A host logs in too often: it has to wait."""
    SLOWED = "slowed"
    """A host takes too much: it isn't read from for a time."""
    FLOOD = "flood"
    """A host was sent away, since it was slowed for too long."""
    MEMORY = "memory"
    """A connection was ended: it held most memory of all, when there was too much."""


_FAILURES = (Reason.SILENT, Reason.IDLE, Reason.HANDSHAKE, Reason.LOGIN)
"""Those that the address is charged for. A client that waited for too long isn't to blame."""


class Guard:
    """Counts, queue and memory of one server. ceiling: bytes of memory held for connections, 0: any."""

    def __init__(
        self, limits: LimitSettings | None = None, arrivals: ArrivalSettings | None = None, ceiling: int = 0
    ) -> None:
        self.limiter = Limiter(limits or LimitSettings())
        self.arrivals: Arrivals[Greeting] = Arrivals(arrivals or ArrivalSettings())
        self.holdings: Holdings[Connection] = Holdings(ceiling)
        self.counters: Counter[Reason] = Counter()
        """Since the start."""
        self.errors: Counter[str] = Counter()
        """Streams that this server has ended with an error, by condition."""
        self._windows: dict[tuple[Reason, str], int] = {}
        self._lines: Counter[Reason] = Counter()
        """Written in this window."""
        self._window_start = 0.0

    def reload(self, limits: LimitSettings, arrivals: ArrivalSettings, ceiling: int) -> None:
        """Other limits hold from now on; rates for the sessions that begin."""
        self.limiter.reload(limits)
        self.arrivals.settings = arrivals
        self.holdings.ceiling = ceiling

    def view(self, now: float) -> LimitView:
        """The state of the limits."""
        return LimitView(
            {str(reason): self.counters[reason] for reason in Reason},
            dict(self.errors),
            self.arrivals.waiting,
            self.arrivals.under_way,
            self.arrivals.idle,
            self.limiter.slowed(now),
            self.holdings.total,
        )

    def refusal(self, address: str, now: float) -> tuple[Reason, str] | None:
        """Why a connection from an address is not taken, None when it is."""
        if not self.limiter.admits(address, now):
            return Reason.SHUT_OUT, "too many connections of this address came to nothing"
        if self.holdings.high:
            return Reason.MEMORY_HIGH, f"{self.holdings.total} bytes are held for others"
        return None

    def told(self, reason: Reason, message: str, now: float, address: str, host: str = "") -> None:
        """Something was done because of a limit: count it, charge it, say it."""
        self.counters[reason] += 1
        if reason in _FAILURES:
            self.limiter.failed(address, now)
        if now - self._window_start >= WINDOW:
            self._summarise(now)
        who = host or site(address)
        count = self._windows[reason, who] = self._windows.get((reason, who), 0) + 1
        if count <= LINES and self._lines[reason] < LINES_OF_ALL:
            self._lines[reason] += 1
            level = logging.INFO if reason in _FAILURES or reason is Reason.GONE else logging.WARNING
            log.log(level, "%s", message, extra=fields(peer=address, **({"host": host} if host else {})))

    def _summarise(self, now: float) -> None:
        unsaid, summaries = Counter({reason: -lines for reason, lines in self._lines.items()}), 0
        for (reason, who), count in self._windows.items():
            unsaid[reason] += count
            if count > LINES and summaries < LINES:
                summaries += 1
                unsaid[reason] -= count - LINES
                log.warning("%s: %d more like this (%s)", who, count - LINES, reason)
        for reason, number in unsaid.items():
            if number > 0:
                log.warning("many others: %d more like this (%s)", number, reason)
        self._windows.clear()
        self._lines.clear()
        self._window_start = now

    def charge(self, flow: Flow, stanzas: int, octets: int, seconds: float, now: float, address: str) -> float:
        """A host has sent and been sent so much. Seconds for which nothing is to be read from it."""
        before = flow.times_slowed
        wait = self.limiter.charge(flow, stanzas, octets, seconds, now)
        if flow.times_slowed != before:
            message = f"host {flow.host} at {address} is slowed: it takes too much ({flow.slowed_by})"
            self.told(Reason.SLOWED, message, now, address, flow.host)
        return wait
