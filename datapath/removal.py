"""Takes everything of ours out of the kernel, for a host that vrfwire leaves. Nothing of others is touched.

The reconciler does it, from the one side of its work that needs no agent: nothing is wanted, so that everything of ours
is a stray, and goes in the order in which strays go. A tap that somebody else had made stays, as it was lent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from datapath.describe import NOUNS, complaint
from datapath.driver import Driver
from datapath.reconciler import Reconciler
from datapath.values import Kind

DEADLINE = 30.0
"""Seconds in which what fails is tried again."""

EVERY_TABLE = range(256, 1 << 31)
EVERY_LABEL = range(16, 1 << 20)
"""Ours is what bears our mark; numbers that an earlier configuration had don't matter."""


class Removal(NamedTuple):
    """What was removed, by kind, and what couldn't be, each with its reason."""

    removed: dict[Kind, int]
    left: tuple[str, ...]


def remove_all(
    drivers: Iterable[Driver],
    *,
    deadline: float = DEADLINE,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Removal:
    """Remove every object of ours that the drivers find. Blocks, for `deadline` seconds at the most and the batch that
    was begun. No agent may run beside it: that would put back what it wants."""
    reconciler = Reconciler(drivers)
    reconciler.allow_sweep()
    end = clock() + deadline
    found: dict[Kind, int] = {}
    while (now := clock()) < end:
        if reconciler.step(now):
            for figures in reconciler.figures():
                found[figures.kind] = max(found.get(figures.kind, 0), figures.kernel)
        elif reconciler.in_sync and not any(figures.kernel for figures in reconciler.figures()):
            break
        else:
            due = reconciler.next_deadline()
            sleep(max(0.0, min(end, end if due is None else due) - now))
    figures_now = reconciler.figures()
    removed = {figures.kind: found.get(figures.kind, 0) - figures.kernel for figures in figures_now}
    left = [complaint(change.kind, change.key, change.status.error) for change in reconciler.failures()]
    left += [f"{NOUNS[f.kind]}: {f.dump_error}" for f in figures_now if f.dump_error]
    return Removal({kind: count for kind, count in removed.items() if count}, tuple(left))
