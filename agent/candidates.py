"""Which prefix covers an address, which of several paths is taken, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.routes import GatewayId
from vpn.prefix import Prefix
from vpn.table import Candidate, preference


def covering(address: bytes) -> Iterator[Prefix]:
    """Every prefix that covers an address, the longest first."""
    bits = len(address) * 8
    number = int.from_bytes(address, "big")
    for length in range(bits, -1, -1):
        yield Prefix((number >> (bits - length) << (bits - length)).to_bytes(len(address), "big"), length)


def selected(candidates: tuple[Candidate[GatewayId], ...]) -> GatewayId:
    """The source that the agent's policy chooses (vpn.table.first)."""
    best = max(map(preference, candidates))
    return min(candidate.source for candidate in candidates if preference(candidate) == best)


def reason(candidate: Candidate[GatewayId], best: Candidate[GatewayId], total: int) -> str:
    """Why a gateway's path is selected, or not."""
    path, other = candidate.path, best.path
    if candidate.source == best.source:
        text = "the only one" if total == 1 else "preferred"
        return f"{text}; stale: its gateway is away" if candidate.stale else text
    if candidate.stale and not best.stale:
        return "stale: its gateway was lost and hasn't announced it again"
    if path.local_preference != other.local_preference:
        return f"local preference {path.local_preference} is lower than {other.local_preference}"
    if path.sequence_number != other.sequence_number:
        return f"sequence number {path.sequence_number} is lower than {other.sequence_number}"
    return "as good, but the gateway's address is higher"
