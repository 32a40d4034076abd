"""Which hosts there were before this start, and which of them are back; what is kept for the next start. No I/O.

Peers hold our routes while we restart, until our End-of-RIB. Hosts go on forwarding meanwhile, and come back when they
come: an agent that has tried for long waits up to `signaling.reconnect_max` (30 s) between two attempts. So the hosts
of the last run are known by name, with the number of items of each, and the End-of-RIB waits for those and no others.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

PROGRAM = "vrfwire-gateway"
VERSION = 1
"""Of the record; grows with every change that an older version would misread."""
QUIET = 3.0
"""Seconds after its last item in which a host that is back with fewer items than it had is taken for complete."""


class Absent(NamedTuple):
    """A host that isn't wholly back. items: that it has now; recorded: that it had; connected: it has a session."""

    host: str
    items: int
    recorded: int
    connected: bool


class Roster:
    """The hosts with items, and those recorded that aren't back. Times are seconds of any monotonic clock.

    count: tells the number of items of a host now, stale ones included; recorded: that of the last run by host; lapse:
    when those that aren't back are given up.
    """

    def __init__(
        self, count: Callable[[str], int], recorded: Mapping[str, int] | None = None, lapse: float = 0.0
    ) -> None:
        self.revision = 0
        """Grows with every change of record()."""
        self._count = count
        self._absent = dict(recorded or {})
        self._lapse = lapse
        self._back: dict[str, float] = {}
        """Absent hosts with a session: when what they have is taken for all. The earliest is first, since all wait
        equally long from the last that came."""
        self._present: dict[str, int] = {}

    @property
    def complete(self) -> bool:
        """Whether nobody is absent: all are back, or were given up."""
        return not self._absent

    def absent(self, limit: int) -> tuple[list[Absent], int]:
        """Some of the hosts that aren't wholly back, by name, and how many more there are."""
        found = [
            Absent(host, self._count(host), self._absent[host], host in self._back)
            for host in heapq.nsmallest(limit, self._absent)
        ]
        return found, len(self._absent) - len(found)

    def record(self) -> dict[str, int]:
        """Number of items by host, to be kept; of absent hosts what was kept of them."""
        return {**self._present, **self._absent}

    def look(self, host: str, connected: bool, now: float) -> None:
        """A host has published or retracted something, or begun or ended a session. connected: it has one now."""
        recorded = self._absent.get(host)
        if recorded is None:
            self._note(host)
            return
        # Put back at the end, where the latest are.
        self._back.pop(host, None)
        if connected and self._count(host) >= recorded:
            self._arrived(host)
        elif connected:
            self._back[host] = now + QUIET

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called next."""
        if not self._absent:
            return None
        return min(next(iter(self._back.values()), self._lapse), self._lapse)

    def handle_timer(self, now: float) -> None:
        """Take hosts for complete, or give them up, whose time is over."""
        while self._back:
            host, until = next(iter(self._back.items()))
            if until > now:
                break
            del self._back[host]
            self._arrived(host)
        if self._lapse <= now:
            self._back.clear()
            for host in list(self._absent):
                self._arrived(host)

    def _arrived(self, host: str) -> None:
        self._present[host] = self._absent.pop(host)
        self._note(host)

    def _note(self, host: str) -> None:
        items = self._count(host)
        if self._present.get(host, 0) != items:
            self.revision += 1
            if items:
                self._present[host] = items
            else:
                del self._present[host]


def encode(record: Mapping[str, int]) -> bytes:
    """A record as it is kept."""
    document = {"program": PROGRAM, "version": VERSION, "hosts": record}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def decode(data: bytes) -> dict[str, int]:
    """A record that was kept; raises ValueError, with a text for the operator, for what encode() didn't make."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if not isinstance(document, dict) or document.get("program") != PROGRAM:
        raise ValueError("it is no record of hosts")
    if document.get("version") != VERSION:
        raise ValueError(f"it has version {document.get('version')!r}, this program reads version {VERSION}")
    hosts = document.get("hosts")
    if not isinstance(hosts, dict) or not all(type(items) is int and items > 0 for items in hosts.values()):
        raise ValueError("damaged: the hosts are not what a gateway writes")
    return dict(hosts)
