"""How many wrong passwords came from where: delays that grow, and an end to checking."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import NamedTuple

LIMIT = 10.0
"""Failures of an address from which on its passwords aren't looked at."""
FORGET = 6.0
"""Seconds until one failure is forgotten: in the long run as many guesses are looked at."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
"""Seconds that the answer to a failure waits."""
MAX_ADDRESSES = 10_000
"""Addresses remembered; beyond that those that failed longest ago are forgotten."""


class _Record(NamedTuple):
    level: float
    at: float


class Failures:
    """Levels of failures by address: each adds one, time takes them away. now: seconds on any steady clock."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def level(self, address: str, now: float) -> float:
        """Failures of an address that aren't forgotten."""
        record = self._records.get(site(address))
        return 0.0 if record is None else max(0.0, record.level - (now - record.at) / FORGET)

    def blocked(self, address: str, now: float) -> bool:
        """Whether there were too many."""
        return self.level(address, now) > LIMIT - 1

    def failed(self, address: str, now: float) -> float:
        """One more; returns the seconds that its answer should wait."""
        level = self.level(address, now) + 1
        origin = site(address)
        self._records[origin] = _Record(level, now)
        self._records.move_to_end(origin)
        while len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)
        return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** (level - 1)))


def site(address: str) -> str:
    """Whom an address stands for: an IPv6 one for its /64, which is as easily had."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
