"""The garbage collector in a process that holds a route table."""

from __future__ import annotations

import gc

_THRESHOLDS = (10_000, 10, 100)
"""New objects until the youngest are looked at (2 ms), how often that is done until those are looked at that outlived
it (100,000 of them: 20 ms), and how often that until all are. With larger ones the loop stands still for 0.2 s."""


def collect_seldom() -> None:
    """Let the collector of cycles run less often than by default; for the start of a program.

    Routes and next hops are tuples that are freed by their reference counts. They are never part of a cycle, but the
    collector looks at each of them every 700 new ones, then at all of them: a tenth of the time of a load of 100,000 by
    the agent, a third of that of a million by a gateway.
    """
    gc.set_threshold(*_THRESHOLDS)
