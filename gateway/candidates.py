"""The paths that a VRF table may choose from, and why the chosen is chosen, as documents; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.rib import Learnt, Source
from vpn.path import NextHop
from vpn.prefix import format_address
from vpn.table import Candidate, preference

Document = dict[str, object]

_STEPS = (
    "stale: its source has gone and not confirmed it",
    "local preference",
    "MAC mobility sequence number",
    "AS path, origin, or a host's before eBGP before iBGP",
)
"""What preference() compares, in its order."""


def describe_next_hops(next_hops: Iterable[NextHop]) -> list[Document]:
    """Next hops as documents: address, label, encapsulations."""
    return [
        {
            "address": format_address(hop.address),
            "label": hop.label,
            "encapsulations": [str(encapsulation) for encapsulation in hop.encapsulations],
        }
        for hop in next_hops
    ]


def describe_source(vpn: str, source: Source) -> str:
    """A host, with the VPN it published in when that is another; or "bgp" and the route distinguisher."""
    if isinstance(source, Learnt):
        return f"bgp {source.distinguisher}"
    return source.host if source.vpn == vpn else f"{source.host} ({source.vpn})"


def describe_candidates(vpn: str, candidates: Sequence[Candidate[Source]]) -> list[Document]:
    """The candidates of one prefix, the chosen ones first; those that are equal are used together."""
    best = max(map(preference, candidates))
    rows: list[Document] = []
    for candidate in sorted(candidates, key=preference, reverse=True):
        path, mine = candidate.path, preference(candidate)
        lost = next((step for step, ours, theirs in zip(_STEPS, mine, best, strict=True) if ours != theirs), "")
        rows.append(
            {
                "source": describe_source(vpn, candidate.source),
                "kind": "bgp" if isinstance(candidate.source, Learnt) else "host",
                "next_hops": describe_next_hops(path.next_hops),
                "local_preference": path.local_preference,
                "sequence_number": path.sequence_number,
                "stale": candidate.stale,
                "selected": not lost,
                "reason": lost,
            }
        )
    return rows
