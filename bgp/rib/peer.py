"""A peer as the tables know it, whether it has a session or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bgp.family import RTC, Family
from bgp.negotiation import Negotiated
from bgp.rib.export import ExportGroup
from bgp.rib.interest import Interest
from bgp.rib.member import Member
from bgp.rib.policy import Profile
from bgp.rib.restart import STALE_TIME, RestartHelper
from bgp.rib.values import Source, SourceKind

MEMBERSHIP_TIME = 30.0
"""Seconds that VPN routes wait for the end of a peer's memberships (RFC 4684, section 6)."""


class PrefixLimit(NamedTuple):
    """How many routes of a family a peer may send; warning: the part of it from which on there is a warning, 0..1."""

    limit: int
    warning: float = 0.75


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """How a peer is treated. kind: EXTERNAL, CLIENT or INTERNAL; times in seconds.

    next_hop_self: address to set towards a peer of another AS (4 or 16 bytes), None: next hops stay. stale_time: how
    long stale routes wait for the peer's End-of-RIB after its return.
    """

    kind: SourceKind
    limits: Mapping[Family, PrefixLimit] = field(default_factory=dict)
    next_hop_self: bytes | None = None
    stale_time: float = STALE_TIME
    membership_time: float = MEMBERSHIP_TIME

    def profile(self, negotiated: Negotiated) -> Profile:
        """The update group that a session belongs to."""
        return Profile(
            kind=self.kind,
            max_length=negotiated.max_length,
            four_octet_as=negotiated.four_octet_as,
            long_lived=negotiated.takes_long_lived,
            next_hop_self=self.next_hop_self,
        )


class Peer:
    """One peer. name: what sessions and commands call it; address: 4 or 16 bytes."""

    __slots__ = (
        "awaited",
        "blocked",
        "ended",
        "groups",
        "helper",
        "interest",
        "looped",
        "members",
        "membership_deadline",
        "name",
        "negotiated",
        "policy",
        "source",
        "warned",
    )

    def __init__(self, name: str, address: bytes, policy: PeerPolicy) -> None:
        self.name = name
        self.policy = policy
        self.source = Source(name, policy.kind, address)
        self.helper = RestartHelper(policy.stale_time)
        self.interest = Interest(all_wanted=True)
        self.looped = 0
        """Routes not taken because they had been here before, or lead to us (bgp.rib.policy.Loop)."""
        self.forget_session()

    def take_policy(self, policy: PeerPolicy) -> None:
        """Limits and times have changed, and hold from now on; the kind is the same."""
        self.policy = policy
        self.helper.stale_time = policy.stale_time

    def forget_session(self) -> None:
        """There is no session (any more)."""
        self.negotiated: Negotiated | None = None
        self.members: dict[Family, Member] = {}
        self.groups: dict[Family, ExportGroup] = {}
        self.ended: set[Family] = set()
        """Families whose End-of-RIB has come."""
        self.warned: set[Family] = set()
        self.blocked = False
        """Nothing is taken any more, a limit was passed."""
        self.membership_deadline: float | None = None
        """Until when VPN routes wait for the end of the peer's memberships."""
        self.source.bit = 0

    def may_begin_refresh(self, family: Family) -> bool:
        """Whether the begin of a refresh counts: of a peer with graceful restart not before its End-of-RIB (RFC 7313,
        section 4)."""
        assert self.negotiated is not None
        return self.negotiated.remote.capabilities.graceful_restart is None or family in self.ended

    @property
    def pending(self) -> int:
        """Bytes that wait for take()."""
        return sum(member.size for member in self.members.values())

    def take(self, limit: int) -> list[bytes]:
        """Messages to send now: memberships first, then about `limit` bytes of the rest in all."""
        taken: list[bytes] = []
        for family in sorted(self.members, key=lambda family: (family != RTC, family)):
            size = sum(map(len, taken))
            if size >= limit:
                break
            taken += self.members[family].take(limit - size)
        return taken
