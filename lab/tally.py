"""What came of numbered packets: which are missing, and when they were sent. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outage:
    """Packets in a row of one flow that never came. first, last: seconds (time.monotonic) when the first and the last
    of them were sent."""

    flow: str
    count: int
    first: float
    last: float


class Rounds:
    """When which numbers were sent: every flow sends the same numbers in a round."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._firsts: list[int] = []
        self.total = 0
        """Numbers that were sent, by each flow."""

    def add(self, now: float, count: int) -> None:
        """The next `count` numbers are sent at `now`."""
        self._times.append(now)
        self._firsts.append(self.total)
        self.total += count

    def time_of(self, number: int) -> float:
        """When a number was sent."""
        return self._times[bisect_right(self._firsts, number) - 1]


class Tally:
    """What one flow's receiver has seen. repeated: packets that came more than once."""

    def __init__(self, flow: str) -> None:
        self.flow = flow
        self.received = 0
        self.repeated = 0
        self._seen = bytearray()

    def add(self, numbers: Iterable[int]) -> None:
        """These have come."""
        for number in numbers:
            if number >= len(self._seen):
                self._seen.extend(bytes(number + 1 - len(self._seen)))
            if self._seen[number]:
                self.repeated += 1
            else:
                self._seen[number] = 1
                self.received += 1

    def outages(self, rounds: Rounds) -> list[Outage]:
        """Everything that is missing of what was sent, in order."""
        seen = bytes(self._seen[: rounds.total]).ljust(rounds.total, b"\0")
        found = []
        end = 0
        while (start := seen.find(0, end)) >= 0:
            end = seen.find(1, start)
            if end < 0:
                end = rounds.total
            found.append(Outage(self.flow, end - start, rounds.time_of(start), rounds.time_of(end - 1)))
        return found
