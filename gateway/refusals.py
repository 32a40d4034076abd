"""Refused requests in the log: every reason, but not without end."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gateway.service import Refusal
from runtime.log import fields

log = logging.getLogger("vrfwire.gateway.refused")

WINDOW = 10.0
"""Seconds."""
LINES = 50
"""Lines of one host in a window; the rest is counted."""


class RefusalLog:
    """Writes refusals to the log. A host that does everything wrong gets LINES lines a WINDOW, and then a number."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def write(self, refusals: Iterable[Refusal], now: float) -> None:
        """Log what was refused. now: seconds of a monotonic clock."""
        for refusal in refusals:
            start, count = self._windows.get(refusal.host, (now, 0))
            if now - start >= WINDOW:
                self._summary(refusal.host, count)
                start, count = now, 0
            self._windows[refusal.host] = (start, count + 1)
            if count < LINES:
                log.warning(
                    "host %s: %s refused: %s",
                    *(refusal.host, refusal.request, refusal.reason),
                    extra=fields(host=refusal.host, vpn=refusal.vpn),
                )
        for host, (start, count) in list(self._windows.items()):
            if now - start >= WINDOW:
                self._summary(host, count)
                del self._windows[host]

    def _summary(self, host: str, count: int) -> None:
        if count > LINES:
            log.warning("host %s: %d more refusals", host, count - LINES, extra=fields(host=host))
