"""Schema of [bgp] and [[bgp.peer]] of gateway.toml, and what sessions, tables and sockets make of it.

Times are in seconds.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from bgp.family import FAMILY_NAMES, RTC, VPNV4, VPNV6, Family
from bgp.negotiation import RestartPolicy, SessionConfig
from bgp.rib.peer import PeerPolicy, PrefixLimit
from bgp.rib.policy import Identity
from bgp.rib.rib import VPN_FAMILIES
from bgp.rib.values import SourceKind
from runtime.config import between, option, read_secret
from runtime.errors import OperatorError
from runtime.listen import Listen

Address = IPv4Address | IPv6Address

BGP_PORT = 179
MAX_PASSWORD = 80
"""Bytes of a key of TCP-MD5 (TCP_MD5SIG_MAXKEYLEN of Linux)."""
MAX_TTL = 255
INTERNAL_TTL = 64
_FAMILIES = {str(family): family for family in (VPNV4, VPNV6, RTC)}


def _hold_time(value: int) -> int:
    if value != 0 and not 3 <= value <= 65535:
        raise ValueError("must be 0 (none) or from 3 to 65535 (RFC 4271, section 4.2)")
    return value


def _positive(value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError("must be more than 0, and finite")
    return value


def _part(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError("must be more than 0 and at most 1")
    return value


def _families(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("must name a family: " + ", ".join(_FAMILIES))
    for name in names:
        if name not in _FAMILIES:
            close = difflib.get_close_matches(name.lower(), _FAMILIES, 1, 0.4)
            hint = f"did you mean {close[0]!r}?" if close else "families are " + ", ".join(_FAMILIES)
            known = " (not spoken here)" if name in FAMILY_NAMES else ""
            raise ValueError(f"{name!r} is no family{known}; {hint}")
        if names.count(name) > 1:
            raise ValueError(f"names {name} twice")
    return names


def _name(value: str | None) -> str | None:
    if value is not None:
        if not 1 <= len(value) <= 64 or not value.isascii() or not value.isprintable():
            raise ValueError("must be 1 to 64 printable ASCII characters")
        if value != value.strip() or value.startswith("-"):
            raise ValueError(
                "must not begin with a dash or a space, nor end with a space: commands take it as argument"
            )
    return value


def _peer_address(address: Address) -> Address:
    if address.is_unspecified or address.is_multicast or address.packed in (bytes(4), b"\xff" * 4):
        raise ValueError(f"{address} is not the address of one peer")
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            raise ValueError(f"{address} is an IPv4 address in disguise, write {address.ipv4_mapped}")
        if address.is_link_local and address.scope_id is None:
            raise ValueError(f'a link-local address needs its interface, as in "{address}%eth0"')
    return address


@dataclass(frozen=True, slots=True)
class PeerSection:
    """[[bgp.peer]]"""

    address: Address = option(check=_peer_address, help="address of the peer")
    name: str | None = option(None, check=_name, help="what commands, logs and metrics call it; default: the address")
    port: int = option(BGP_PORT, check=between(1, 65535), help="where it listens")
    autonomous_system: int | None = option(
        None, key="as", check=between(1, 0xFFFFFFFE), help="its autonomous system; default: ours (iBGP)"
    )
    local_address: Address | None = option(None, help="our address of the session; default: as routing chooses")
    password_file: Path | None = option(None, help="file with the password of TCP-MD5 (RFC 2385)")
    families: tuple[str, ...] = option(
        tuple(_FAMILIES), check=_families, expects="a list of families", help="vpnv4, vpnv6, rtc (RFC 4684)"
    )
    reflector_client: bool = option(False, help="reflect routes for it (RFC 4456)")
    passive: bool = option(False, help="wait for it to connect")
    hold_time: int | None = option(
        None, check=lambda value: value if value is None else _hold_time(value), help="default: bgp.hold_time"
    )
    connect_retry: float | None = option(
        None, check=lambda value: value if value is None else _positive(value), help="default: bgp.connect_retry"
    )
    ttl_security: int | None = option(
        None, check=between(1, 254), help="hops to it, packets from farther away are dropped (GTSM, RFC 5082)"
    )
    multihop: int | None = option(
        None, check=between(1, 255), help="TTL of packets to it; default: 1 for another AS, 64 for ours"
    )
    enforce_first_as: bool = option(
        True, help="of a peer of another AS: take only routes with its AS in front (RFC 4271); a route server adds none"
    )
    max_prefixes: int | None = option(
        None, check=between(1, 1 << 31), help="routes of a VPN family that it may send, more end the session"
    )
    max_prefixes_warning: float = option(0.75, check=_part, help="part of that from which on the log warns")
    max_prefixes_restart: int = option(
        0, check=between(0, 1 << 31), help="rest before it is tried again after that; 0: until `peer reset`"
    )

    def __post_init__(self) -> None:
        if self.ttl_security is not None and self.multihop is not None:
            raise ValueError("ttl_security and multihop exclude each other: with ttl_security the TTL is 255")
        if self.local_address is not None:
            if self.local_address.version != self.address.version:
                raise ValueError(f"local_address {self.local_address} and {self.address} are not of one IP version")
            if self.local_address == self.address:
                raise ValueError(f"{self.address} is our own address (local_address)")

    @property
    def title(self) -> str:
        """The name, or the address in its place."""
        return self.name or str(self.address)


@dataclass(frozen=True, slots=True)
class BgpSection:
    """[bgp]"""

    listen: tuple[Listen, ...] = option(
        (Listen(IPv4Address("0.0.0.0"), BGP_PORT),),
        parse=Listen.parse,
        expects='a list of "ADDRESS:PORT"',
        help="where BGP peers connect, when there are any",
    )
    cluster_id: IPv4Address | None = option(None, help="cluster of a reflector (RFC 4456); default: gateway.router_id")
    hold_time: int = option(90, check=_hold_time, help="silence after which a peer is taken for gone; 0: never")
    connect_retry: float = option(5.0, check=_positive, help="time from one attempt to connect to the next")
    graceful_restart: bool = option(True, help="routes survive a restart, here and at peers (RFC 4724)")
    restart_time: int = option(
        120, check=between(1, 4095), help="how long peers keep our routes while this gateway is away"
    )
    long_lived_time: int = option(
        0, check=between(0, (1 << 24) - 1), help="how long after that, least preferred (RFC 9494); 0: not"
    )
    stale_time: float = option(
        360.0, check=_positive, help="how long the stale routes of a peer that is back wait for its End-of-RIB"
    )
    deferral_time: float = option(
        60.0, check=_positive, help="longest wait for hosts and peers after a start before peers are told routes"
    )
    membership_time: float = option(
        30.0, check=_positive, help="longest wait for a peer's route targets before it is told routes"
    )
    peer: tuple[PeerSection, ...] = ()


def check_peers(bgp: BgpSection, router_id: IPv4Address | None, asn: int | None) -> None:
    """What concerns several tables; raises ValueError with a text for the operator."""
    if not bgp.peer:
        return
    if router_id is None or asn is None:
        missing = " and ".join(key for key, value in (("router_id", router_id), ("as", asn)) if value is None)
        raise ValueError(f"there is a [[bgp.peer]], so [gateway] needs {missing}")
    if int(router_id) == 0 or (bgp.cluster_id is not None and int(bgp.cluster_id) == 0):
        raise ValueError("0.0.0.0 is neither a router_id nor a cluster_id")
    if not bgp.listen:
        raise ValueError("bgp.listen is empty")
    if len(set(bgp.listen)) < len(bgp.listen):
        raise ValueError("bgp.listen has an address twice")
    ours = {listen.address for listen in bgp.listen} | {router_id}
    titles: set[str] = set()
    addresses: set[bytes] = set()
    for peer in bgp.peer:
        if peer.address in ours:
            which = "gateway.router_id" if peer.address == router_id else "bgp.listen"
            raise ValueError(f"[[bgp.peer]] {peer.title}: {peer.address} is this gateway's own address ({which})")
        if peer.address.packed in addresses:
            raise ValueError(f"there are two [[bgp.peer]] of the address {peer.address}")
        if peer.title in titles:
            raise ValueError(f"there are two [[bgp.peer]] of the name {peer.title!r}")
        if peer.reflector_client and peer.autonomous_system not in (None, asn):
            raise ValueError(f"[[bgp.peer]] {peer.title}: reflector_client is for peers of our own AS")
        titles.add(peer.title)
        addresses.add(peer.address.packed)


# -- what is made of it


@dataclass(frozen=True, slots=True)
class Link:
    """What sockets of one peer need to know.

    ttl: of what we send; min_ttl: of what is taken (GTSM), 0: any; password: key of TCP-MD5, b"" for none.
    """

    address: Address
    port: int
    local_address: Address | None
    ttl: int
    min_ttl: int = 0
    password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """One peer, resolved."""

    section: PeerSection
    name: str
    link: Link
    session: SessionConfig
    policy: PeerPolicy
    max_prefixes_restart: float | None
    """Seconds of rest after too many prefixes; None: until an operator resets the session."""


@dataclass(frozen=True, slots=True)
class BgpSettings:
    """The whole of [bgp], resolved. local_address: next hop of our own memberships (4 or 16 bytes)."""

    identity: Identity
    local_address: bytes
    listen: tuple[Listen, ...] = ()
    peers: tuple[PeerSettings, ...] = ()
    graceful_restart: bool = True
    deferral_time: float = 60.0


NO_BGP = BgpSettings(Identity(0, bytes(4), bytes(4)), bytes(4))
"""Without any peer."""


def resolve(bgp: BgpSection, router_id: IPv4Address | None, asn: int | None) -> BgpSettings:
    """Settings of a section that check_peers() has passed. Raises OperatorError when a password can't be read."""
    if not bgp.peer or router_id is None or asn is None:
        return NO_BGP
    peers = tuple(_peer(bgp, peer, router_id, asn) for peer in bgp.peer)
    # An address that peers know: of a session that has one of its own, or the router id, which most often is one.
    local = [peer.link.local_address for peer in peers if peer.link.local_address is not None]
    local_address = next((one for one in local if one.version == 4), router_id)
    ours = {one.packed for one in local} | {one.address.packed for one in bgp.listen if not one.address.is_unspecified}
    identity = Identity(asn, router_id.packed, (bgp.cluster_id or router_id).packed, frozenset(ours))
    return BgpSettings(identity, local_address.packed, bgp.listen, peers, bgp.graceful_restart, bgp.deferral_time)


def _peer(bgp: BgpSection, peer: PeerSection, router_id: IPv4Address, asn: int) -> PeerSettings:
    families = tuple(_FAMILIES[name] for name in peer.families)
    remote_as = asn if peer.autonomous_system is None else peer.autonomous_system
    internal = remote_as == asn
    session = SessionConfig(
        local_as=asn,
        remote_as=remote_as,
        router_id=router_id.packed,
        families=families,
        passive=peer.passive,
        hold_time=bgp.hold_time if peer.hold_time is None else peer.hold_time,
        connect_retry=bgp.connect_retry if peer.connect_retry is None else peer.connect_retry,
        restart=_restart(bgp, families) if bgp.graceful_restart else None,
        enforce_first_as=peer.enforce_first_as,
    )
    kind = SourceKind.CLIENT if peer.reflector_client else SourceKind.INTERNAL
    policy = PeerPolicy(
        kind=kind if internal else SourceKind.EXTERNAL,
        limits=_limits(peer, families),
        stale_time=bgp.stale_time,
        membership_time=bgp.membership_time,
    )
    default_ttl = INTERNAL_TTL if internal else 1
    link = Link(
        address=peer.address,
        port=peer.port,
        local_address=peer.local_address,
        ttl=MAX_TTL if peer.ttl_security is not None else peer.multihop or default_ttl,
        min_ttl=0 if peer.ttl_security is None else MAX_TTL + 1 - peer.ttl_security,
        password=_password(peer),
    )
    return PeerSettings(peer, peer.title, link, session, policy, peer.max_prefixes_restart or None)


def _restart(bgp: BgpSection, families: tuple[Family, ...]) -> RestartPolicy:
    # Hosts forward packets, whatever becomes of this gateway.
    return RestartPolicy(bgp.restart_time, families, bgp.long_lived_time, forwarding=True)


def _limits(peer: PeerSection, families: tuple[Family, ...]) -> dict[Family, PrefixLimit]:
    if peer.max_prefixes is None:
        return {}
    limit = PrefixLimit(peer.max_prefixes, peer.max_prefixes_warning)
    return {family: limit for family in VPN_FAMILIES if family in families}


def _password(peer: PeerSection) -> bytes:
    if peer.password_file is None:
        return b""
    password = read_secret(peer.password_file).encode()
    if len(password) > MAX_PASSWORD:
        raise OperatorError(
            f"secret {peer.password_file}", f"is longer than the {MAX_PASSWORD} bytes that TCP-MD5 takes"
        )
    return password
