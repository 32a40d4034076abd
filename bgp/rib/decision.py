"""The decision process (RFC 4271, section 9.1.2.2), as a chain of eliminations.

Each step looks at the paths that are left and keeps the best of them by one property. A step sees them all at once, so
the outcome doesn't depend on the order in which paths came, MED included, which is only comparable among paths from
the same AS. What two paths differ in first says why one is better.

    not long-lived stale, LOCAL_PREF, static, MAC mobility sequence, AS_PATH length, ORIGIN, MED,
    the gateway's own before hosts' (XMPP) before BGP, eBGP before iBGP                                 <- multipath
    router id (ORIGINATOR_ID), CLUSTER_LIST length, peer address

The age of a path is none of the steps: it would make the outcome depend on history. Nor is the distance to the next
hop: a gateway resolves none.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple

from bgp.rib.values import Path

MAX_PATHS = 64
"""Paths of a multipath, at most."""


class Step(enum.StrEnum):
    """What decides between two paths, in this order. The values are what `explain` says to people."""

    LONG_LIVED_STALE = "long-lived stale (RFC 9494)"
    LOCAL_PREF = "local preference"
    STATIC = "static MAC mobility"
    SEQUENCE = "MAC mobility sequence number"
    AS_PATH = "AS path length"
    ORIGIN = "origin"
    MED = "MED"
    SOURCE = "source: gateway, host, BGP"
    EXTERNAL = "eBGP before iBGP"
    ROUTER_ID = "router id"
    CLUSTER_LIST = "cluster list length"
    ADDRESS = "peer address"


_RANK_STEPS = (Step.LONG_LIVED_STALE, Step.LOCAL_PREF, Step.STATIC, Step.SEQUENCE, Step.AS_PATH, Step.ORIGIN)


class Verdict(NamedTuple):
    """Where a path stands: step is what it lost by, None for the best one; multipath: whether it is used beside it."""

    path: Path
    step: Step | None
    multipath: bool


def _med(paths: list[Path]) -> list[Path]:
    lowest: dict[int | None, int] = {}
    for path in paths:
        attributes = path.attributes
        med = lowest.get(attributes.neighbour)
        if med is None or attributes.med < med:
            lowest[attributes.neighbour] = attributes.med
    return [path for path in paths if path.attributes.med == lowest[path.attributes.neighbour]]


def _order(path: Path) -> tuple[int, bool]:
    source = path.source
    return (source.order, source.kind.is_internal)


def _tie_breaker(path: Path) -> tuple[bytes, int, bytes, str]:
    source = path.source
    originator = path.attributes.attributes.originator_id or source.router_id
    return (originator, path.attributes.cluster_length, source.address, source.name)


def _equals(paths: Sequence[Path]) -> list[Path]:
    """Paths that are equal up to the line that multipath needs; at least one."""
    rank = min(path.attributes.rank for path in paths)
    left = [path for path in paths if path.attributes.rank == rank]
    if len(left) > 1:
        left = _med(left)
        order = min(map(_order, left))
        left = [path for path in left if _order(path) == order]
    return left


def best(paths: Sequence[Path]) -> Path:
    """The best of at least one path."""
    if len(paths) == 1:
        return paths[0]
    return min(_equals(paths), key=_tie_breaker)


def multipath(paths: Sequence[Path]) -> list[Path]:
    """The best path first, then those that may be used beside it, in a fixed order; at most MAX_PATHS.

    A path beside it has the same route targets, so that it belongs to the same VPNs.
    """
    if len(paths) == 1:
        return list(paths)
    ordered = sorted(_equals(paths), key=_tie_breaker)
    targets = ordered[0].attributes.targets
    return [path for path in ordered if path.attributes.targets == targets][:MAX_PATHS]


def explain(paths: Sequence[Path]) -> list[Verdict]:
    """Every path, the best first, with the step at which it was out; the longer a path was in, the earlier it comes."""
    if not paths:
        return []
    if len(paths) == 1:
        return [Verdict(paths[0], None, True)]
    used = multipath(paths)
    verdicts: list[Verdict] = []
    left = list(paths)

    def out(kept: list[Path], step: Step) -> list[Path]:
        # Ties among those that leave at the same step are put in a fixed order.
        gone = sorted((path for path in left if path not in kept), key=_tie_breaker)
        verdicts[:0] = [Verdict(path, step, path in used) for path in gone]
        return kept

    for index, step in enumerate(_RANK_STEPS):
        value = min(path.attributes.rank[index] for path in left)
        left = out([path for path in left if path.attributes.rank[index] == value], step)
    left = out(_med(left), Step.MED)
    for index, step in enumerate((Step.SOURCE, Step.EXTERNAL)):
        value = min(_order(path)[index] for path in left)
        left = out([path for path in left if _order(path)[index] == value], step)
    for index, step in enumerate((Step.ROUTER_ID, Step.CLUSTER_LIST, Step.ADDRESS)):
        lowest = min(_tie_breaker(path)[index] for path in left)
        left = out([path for path in left if _tie_breaker(path)[index] == lowest], step)
    return [Verdict(path, None, True) for path in left] + verdicts
