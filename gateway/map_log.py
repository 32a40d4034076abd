"""What changes of the map do to items, in the log: every one by name, but not without end."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from gateway.admission import Decision
from runtime.log import fields

log = logging.getLogger("vrfwire.gateway.map")

_PREFIX = re.compile(r"(?:\[[^]]*\]|[^:]*):\d+:(.*)")
"""An item's name: next hop, instance id, prefix (draft-ietf-l3vpn-end-system-06, section 6.1)."""
WINDOW = 10.0
"""Seconds."""
LINES = 50
"""Lines in a window; the rest is counted."""


class DecisionLog:
    """A change may concern a hundred thousand items: LINES lines a WINDOW, and then a number."""

    def __init__(self) -> None:
        self._start = 0.0
        self._lines = 0
        self._unsaid = 0

    def write(self, decisions: Iterable[Decision], now: float) -> None:
        """Log what was done. now: seconds of a monotonic clock."""
        if now - self._start >= WINDOW:
            self._start, self._lines = now, 0
        for host, vpn, item_id, attachment, reason in decisions:
            if self._lines == LINES:
                self._unsaid += 1
                continue
            self._lines += 1
            level, what = (logging.WARNING, f"is withdrawn: {reason}") if reason else (logging.INFO, "is admitted")
            of = f" of attachment {attachment}" if attachment else ""
            prefix = _PREFIX.fullmatch(item_id)
            extra = fields(host=host, vpn=vpn, attachment=attachment)
            if prefix is not None:
                extra |= fields(prefix=prefix[1])
            log.log(level, "host %s: item %s%s in VPN %s %s", host, item_id, of, vpn, what, extra=extra)
        if self._unsaid:
            log.warning("%d more items were withdrawn or admitted by the map", self._unsaid)
            self._unsaid = 0
