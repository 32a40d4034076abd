"""Schema of gateway.toml, and the values made of it. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from gateway.hosts import Host, Hosts
from gateway.limits_config import LimitsSection
from gateway.map_config import MapSection
from gateway.peer_config import BgpSection, check_peers
from gateway.policy import Policy, Vpn
from gateway.provisioning import VPN_NAME
from runtime import sections
from runtime.config import between, one_of, option, positive
from runtime.listen import Listen
from runtime.sections import LogSection, MetricsSection
from vpn.community import RouteTarget
from xmpp.jid import JidError, prepare_domain, prepare_localpart
from xmpp.pubsub import NODE_MAX

DEFAULT_SOCKET = Path("/run/vrfwire/gateway.sock")


def _domain(value: str) -> str:
    try:
        return prepare_domain(value)
    except JidError as error:
        raise ValueError(f"must be a domain name: {error}") from None


def _domains(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_domain, values))


def _host_name(value: str) -> str:
    try:
        return prepare_localpart(value)
    except JidError as error:
        raise ValueError(f"must be a host name: {error}") from None


def _vpn_name(value: str) -> str:
    if not VPN_NAME.fullmatch(value):
        raise ValueError(f"must be 1 to {NODE_MAX} printable ASCII characters without spaces")
    return value


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError("must not be negative")
    return value


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """[gateway]"""

    domain: str = option(check=_domain, help="XMPP domain served; the certificate must have this name")
    listen: tuple[Listen, ...] = option(
        (Listen(IPv4Address("0.0.0.0"), 5222),),
        parse=Listen.parse,
        expects='a list of "ADDRESS:PORT"',
        help="where hosts connect, by direct TLS or STARTTLS",
    )
    router_id: IPv4Address | None = option(None, help="BGP identifier of this gateway; needed with [[bgp.peer]]")
    autonomous_system: int | None = option(
        None, key="as", check=between(1, 0xFFFFFFFE), help="autonomous system of this gateway; needed with [[bgp.peer]]"
    )
    hold_time: float = option(90.0, check=_not_negative, help="silence after which a host is taken for gone; 0: never")
    stale_time: float = option(60.0, check=positive, help="how long the routes of a host outlive its session")
    resume_time: float = option(
        60.0,
        check=_not_negative,
        help="how long a host that has lost its connection may resume its session, at most stale_time; 0: never",
    )
    login_timeout: float = option(10.0, check=positive, help="time for a host to log in")
    max_items: int = option(10_000, check=between(1, 10_000_000), help="routes that one host may publish")
    max_sessions: int = option(10_000, check=between(1, 1_000_000), help="connections at a time")


@dataclass(frozen=True, slots=True)
class XmppSection:
    """[xmpp]"""

    mode: str = option(
        "server", check=one_of("server", "component"), help="`component`: hosts are logged in by another XMPP server"
    )
    address: IPv4Address | IPv6Address = option(IPv4Address("127.0.0.1"), help="address of that server")
    port: int = option(5347, check=between(1, 65535), help="its TCP port for components (XEP-0114)")
    secret_file: Path | None = option(None, help="file with the secret that it has for gateway.domain")
    host_domains: tuple[str, ...] = option(
        (), check=_domains, help="domains whose users are hosts; default: gateway.domain without its first label"
    )


@dataclass(frozen=True, slots=True)
class TlsSection:
    """[tls]"""

    ca: Path = option(help="certificates of the authorities that hosts are checked against")
    certificate: Path = option(help="certificate of this gateway, with its chain")
    key: Path = option(help="private key of the certificate")
    crl: Path | None = option(None, help="revocation lists of those authorities; default: nobody is revoked")


@dataclass(frozen=True, slots=True)
class VpnSection:
    """[[vpn]]"""

    name: str = option(check=_vpn_name, help="VPN identifier")
    imports: tuple[RouteTarget, ...] = option(
        key="import", parse=RouteTarget.parse, expects="a list of route targets", help="route targets to import"
    )
    exports: tuple[RouteTarget, ...] = option(
        key="export", parse=RouteTarget.parse, expects="a list of route targets", help="route targets to export"
    )


@dataclass(frozen=True, slots=True)
class HostSection:
    """[[host]]"""

    name: str = option(check=_host_name, help="name of the host, as in its certificate")
    addresses: tuple[IPv4Address | IPv6Address, ...] = option(
        (), help="next hops it may publish; default: those of its certificate, else the address it connects from"
    )
    vpns: tuple[str, ...] | None = option(None, help="VPNs it may join; default: all")
    password_file: Path | None = option(None, help="file with a SCRAM password, instead of a certificate (labs)")


@dataclass(frozen=True, slots=True)
class ControlSection(sections.ControlSection):
    """[control]"""

    socket: Path = option(DEFAULT_SOCKET, help="control socket")


@dataclass(frozen=True, slots=True)
class StateSection:
    """[state]"""

    directory: Path = option(
        Path("/var/lib/vrfwire-gateway"), help="what is known of hosts and of the map, for the next start"
    )


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """gateway.toml"""

    gateway: GatewaySection
    tls: TlsSection | None = None
    xmpp: XmppSection = XmppSection()
    vpn: tuple[VpnSection, ...] = ()
    host: tuple[HostSection, ...] = ()
    control: ControlSection = ControlSection()
    state: StateSection = StateSection()
    limits: LimitsSection = field(default_factory=LimitsSection)
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)
    bgp: BgpSection = field(default_factory=BgpSection)
    map: MapSection | None = None

    def __post_init__(self) -> None:
        _unique("[[vpn]]", [vpn.name for vpn in self.vpn])
        _unique("[[host]]", [host.name for host in self.host])
        known = {vpn.name for vpn in self.vpn}
        for host in self.host:
            for name in host.vpns or ():
                # With a map server VPNs come and go.
                if name not in known and self.map is None:
                    raise ValueError(f"host {host.name!r} names the VPN {name!r}, which has no [[vpn]]")
        self._check_front()
        check_peers(self.bgp, self.gateway.router_id, self.gateway.autonomous_system)

    def _check_front(self) -> None:
        if not self.is_component:
            if self.tls is None:
                raise ValueError("[tls] is missing: ca, certificate and key, by which hosts and gateway meet")
            if not self.gateway.listen:
                raise ValueError("gateway.listen is empty")
        elif self.xmpp.secret_file is None:
            raise ValueError('xmpp.secret_file is missing, which xmpp.mode = "component" needs')
        elif not self.host_domains:
            raise ValueError("xmpp.host_domains is missing, and gateway.domain has no parent domain")
        elif self.gateway.domain in self.host_domains:
            raise ValueError("gateway.domain is the component's own name, and can't be in xmpp.host_domains")

    @property
    def is_component(self) -> bool:
        """Whether hosts reach the gateway through another XMPP server."""
        return self.xmpp.mode == "component"

    @property
    def host_domains(self) -> frozenset[str]:
        """Domains of that server whose users are hosts."""
        parent = self.gateway.domain.partition(".")[2]
        return frozenset(self.xmpp.host_domains or ([parent] if parent else ()))

    @property
    def resume_time(self) -> float:
        """Seconds that a session outlives its connection: no longer than its items do."""
        return min(self.gateway.resume_time, self.gateway.stale_time)

    def vpns(self) -> tuple[Vpn, ...]:
        """The static VPNs and their route targets."""
        return tuple(Vpn(vpn.name, frozenset(vpn.imports), frozenset(vpn.exports)) for vpn in self.vpn)

    def policy(self) -> Policy:
        """The static VPNs alone."""
        return Policy(self.vpns())

    @property
    def map_name(self) -> str:
        """What this gateway calls itself in the map."""
        own = self.map.name if self.map is not None else None
        return own or (str(self.gateway.router_id) if self.gateway.router_id else self.gateway.domain)

    def hosts(self) -> Hosts:
        """What the configured hosts may do."""
        return Hosts.of(
            Host(
                host.name,
                frozenset(address.packed for address in host.addresses),
                None if host.vpns is None else frozenset(host.vpns),
            )
            for host in self.host
        )


def _unique(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"there are two {what} of the name {name!r}")
