"""Work on many routes of a table, a slice at a time: each job yields how many routes a slice has looked at.

Tables may change between two slices in any way: a job looks at what holds when its slice runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from bgp.rib.table import AdjRibIn, Table
from bgp.rib.values import AttributeSets

SLICE = 250
"""Routes in one go."""


def clear_bit(tables: Iterable[Table], bit: int, masks: dict[int, int]) -> Iterator[int]:
    """A session's bit leaves all destinations; nobody sets it meanwhile. masks: makes equal masks one object."""
    for table in tables:
        position = 0
        while position < table.log.revision:
            part, position = table.log.read(position, SLICE)
            for destination in part:
                if destination.advertised & bit:
                    after = destination.advertised & ~bit
                    destination.advertised = masks.setdefault(after, after)
                    if not after and not destination.paths:
                        table.forget(destination)
            yield len(part)


def sweep(table: Table, adj: AdjRibIn, generation: int, withdrawn: Callable[[list[bytes]], None]) -> Iterator[int]:
    """Withdraw what a source has not said since a generation. withdrawn: is told the keys of each slice."""
    keys = iter(list(adj.paths))
    while part := list(islice(keys, SLICE)):
        old = [key for key in part if (path := adj.paths.get(key)) is not None and path.generation < generation]
        table.withdraw(adj, old)
        withdrawn(old)
        yield len(part)


def degrade(
    table: Table, adj: AdjRibIn, generation: int, sets: AttributeSets, withdrawn: Callable[[list[bytes]], None]
) -> Iterator[int]:
    """Make what a source has not said since a generation long-lived stale. withdrawn: is told the keys of what must not
    become that (NO_LLGR)."""
    keys = iter(list(adj.paths))
    while part := list(islice(keys, SLICE)):
        withdrawn(table.degrade(adj, part, generation, sets))
        yield len(part)
