"""What two OPENs make of a session: whether the peer is the one expected, and what both sides speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bgp.capabilities import (
    Capabilities,
    GracefulRestart,
    LongLivedFamily,
    NextHopEncoding,
    RestartFamily,
)
from bgp.errors import BgpError, ErrorCode, OpenSubcode
from bgp.family import Family
from bgp.message import EXTENDED_MAX_LENGTH, MAX_LENGTH
from bgp.open import Open


class RestartPolicy(NamedTuple):
    """Graceful restart as we announce it (RFC 4724, RFC 8538, RFC 9494); times in seconds.

    restart_time: how long the peer may wait for us to come back (0..4095); families: whose routes hosts and peers keep
    forwarding by while we are away; long_lived: after that, how long such routes may still be used (0: not).
    forwarding: packets flow without us, so that the F bits are set in every OPEN and not just after a restart; a peer
    keeps our routes until the End-of-RIB then, too, when only the session was lost.
    """

    restart_time: int = 120
    families: tuple[Family, ...] = ()
    long_lived: int = 0
    forwarding: bool = False


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """Settings of the session with one peer; times in seconds.

    local_as, remote_as: 1..2**32-1; router_id: ours, 4 bytes; families: those we speak, at least one. hold_time: 0
    (none) or 3..65535. connect_retry: from the failure of one attempt to the next. idle_hold, idle_hold_max: how long
    a session that failed rests, doubling. open_time: how long a connection may take to bring an OPEN.
    send_hold_time: how long a peer may take nothing of what we send (RFC 9687); None: the longer of 8 minutes and
    twice the hold time. restart: None without graceful restart. extended_next_hops: announced to the
    peer (RFC 8950). disable_families: NLRI that can't be read cost the peer the family and not the session (RFC 7606,
    section 5.3). enforce_first_as: routes of a peer of another AS must have its AS in front (RFC 4271, section 6.3);
    a route server's have not (RFC 7947).
    """

    local_as: int
    remote_as: int
    router_id: bytes
    families: tuple[Family, ...]
    passive: bool = False
    hold_time: int = 90
    connect_retry: float = 30.0
    idle_hold: float = 1.0
    idle_hold_max: float = 60.0
    open_time: float = 240.0
    send_hold_time: float | None = None
    extended_message: bool = True
    restart: RestartPolicy | None = None
    disable_families: bool = False
    enforce_first_as: bool = True
    extended_next_hops: tuple[NextHopEncoding, ...] = ()

    @property
    def is_internal(self) -> bool:
        """Whether the peer is of our own AS (iBGP)."""
        return self.local_as == self.remote_as

    @property
    def first_as(self) -> int | None:
        """The AS that AS_PATH of the peer's routes must begin with, None for any."""
        return self.remote_as if self.enforce_first_as and not self.is_internal else None

    def open(self, *, restarting: bool = False) -> Open:
        """The OPEN that we send; restarting: we have just restarted and kept forwarding (the R and F bits)."""
        policy = self.restart
        restart, long_lived = None, None
        if policy is not None:
            preserved = restarting or policy.forwarding
            kept = tuple(RestartFamily(family, preserved) for family in policy.families)
            restart = GracefulRestart(policy.restart_time, kept, restarting, notification=True)
            if policy.long_lived:
                long_lived = tuple(LongLivedFamily(one, policy.long_lived, preserved) for one in policy.families)
        return Open(
            self.local_as,
            self.hold_time,
            self.router_id,
            Capabilities(
                families=self.families,
                four_octet_as=self.local_as,
                route_refresh=True,
                enhanced_route_refresh=True,
                extended_message=self.extended_message,
                graceful_restart=restart,
                long_lived=long_lived,
                extended_next_hops=self.extended_next_hops,
            ),
        )


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What holds for a session: everything that both sides have announced.

    hold_time: seconds, 0 when there is none; max_length: of messages both ways, bytes; graceful_restart, long_lived:
    those of the peer, None and () unless we have them too; notification_restart: both sides set the N bit.
    """

    remote: Open
    internal: bool
    families: frozenset[Family]
    hold_time: int
    four_octet_as: bool
    max_length: int
    route_refresh: bool
    enhanced_route_refresh: bool
    graceful_restart: GracefulRestart | None
    notification_restart: bool
    long_lived: tuple[LongLivedFamily, ...]

    @property
    def router_id(self) -> bytes:
        """The peer's BGP identifier."""
        return self.remote.router_id

    @property
    def takes_long_lived(self) -> bool:
        """Whether the peer may be sent long-lived stale routes (RFC 9494, section 4.3): it has the capability, for
        whatever families, and that of graceful restart beside it (section 4.5)."""
        capabilities = self.remote.capabilities
        return capabilities.long_lived is not None and capabilities.graceful_restart is not None

    @property
    def preserved(self) -> frozenset[Family]:
        """Families whose routes outlive the session if it is lost (RFC 4724, section 4.2; RFC 9494)."""
        if self.graceful_restart is None:
            return frozenset()
        named = {one.family for one in self.graceful_restart.families}
        named |= {one.family for one in self.long_lived if one.stale_time}
        return self.families & named


def negotiate(config: SessionConfig, ours: Open, theirs: Open) -> Negotiated:
    """Hold the peer's OPEN against the settings and our own. Raises BgpError 2/2, 2/3 or 2/7."""
    capabilities = theirs.capabilities
    if theirs.asn != config.remote_as:
        raise _error(OpenSubcode.BAD_PEER_AS, f"the peer is of AS {theirs.asn}, not {config.remote_as}")
    if config.is_internal and theirs.router_id == config.router_id:
        raise _error(OpenSubcode.BAD_BGP_IDENTIFIER, "the peer has our own router id")
    families = frozenset(config.families) & capabilities.effective_families
    if not families:
        wanted = b"".join(Capabilities(families=config.families).encode())
        names = ", ".join(sorted(map(str, capabilities.effective_families)))
        raise _error(OpenSubcode.UNSUPPORTED_CAPABILITY, f"no family in common; the peer has {names}", wanted)
    restart = capabilities.graceful_restart if ours.capabilities.graceful_restart is not None else None
    return Negotiated(
        remote=theirs,
        internal=config.is_internal,
        families=families,
        hold_time=min(ours.hold_time, theirs.hold_time),
        four_octet_as=capabilities.four_octet_as is not None,
        max_length=EXTENDED_MAX_LENGTH if config.extended_message and capabilities.extended_message else MAX_LENGTH,
        route_refresh=capabilities.route_refresh,
        enhanced_route_refresh=capabilities.enhanced_route_refresh,
        graceful_restart=restart,
        notification_restart=restart is not None and restart.notification,
        long_lived=(capabilities.long_lived or ()) if restart is not None and ours.capabilities.long_lived else (),
    )


def _error(subcode: OpenSubcode, why: str, data: bytes = b"") -> BgpError:
    return BgpError(ErrorCode.OPEN_MESSAGE, subcode, data, why)
