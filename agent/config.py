"""Schema of agent.toml. Times are in seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from runtime import sections
from runtime.config import between, one_of, option, positive
from runtime.sections import LogSection, MetricsSection
from vpn.label import LABEL_MAX, LABEL_MIN

RESERVED_TABLES = 256
"""Tables 0 to 255 hold the host's own routing (main, local, default)."""

_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)


def _host_name(value: str) -> str:
    name = value.lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError("must be a host name: letters, digits, dots and dashes")
    return name


@dataclass(frozen=True, slots=True)
class HostSection:
    """[host]"""

    name: str = option(check=_host_name, help="name of this host; NAME@DOMAIN is who it is to a gateway")
    address: IPv4Address = option(help="underlay address: next hop of everything announced, source of the tunnel")


@dataclass(frozen=True, slots=True)
class GatewaySection:
    """[[gateway]]"""

    address: IPv4Address | IPv6Address = option(help="address of the gateway")
    domain: str = option(check=_host_name, help="XMPP domain of the gateway; its certificate must have this name")
    service: str | None = option(
        None, check=_host_name, help="JID of its service, a component of the XMPP server `domain`; default: domain"
    )
    port: int = option(5222, check=between(1, 65535), help="TCP port of the gateway")
    starttls: bool = option(False, help="begin in clear text and change to TLS, instead of TLS from the start")
    password_file: Path | None = option(None, help="file with a SCRAM password, instead of the certificate (labs)")


@dataclass(frozen=True, slots=True)
class TlsSection:
    """[tls]"""

    ca: Path = option(help="certificates of the authorities that gateways are checked against")
    certificate: Path | None = option(None, help="certificate of this host, with its chain")
    key: Path | None = option(None, help="private key of the certificate")
    crl: Path | None = option(None, help="revocation lists of those authorities; default: no gateway is revoked")

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")


@dataclass(frozen=True, slots=True)
class DatapathSection:
    """[datapath]"""

    encapsulations: tuple[str, ...] = option(("gre",), parse=one_of("gre"), help="encapsulations, preferred first")
    table_base: int = option(
        10000, check=between(RESERVED_TABLES, 0x7FFFFFFF - 0x10000), help="first routing table; 65535 are ours"
    )
    label_base: int = option(100000, check=between(LABEL_MIN, LABEL_MAX), help="first label")
    label_count: int = option(100000, check=between(1, LABEL_MAX), help="number of labels")
    label_quarantine: float = option(
        300.0, check=positive, help="rest of a freed label; more than stale_time here and at the gateways together"
    )
    underlay_mtu: int | None = option(
        None, help="largest packet that the underlay carries; default: MTU of the device with the underlay address"
    )

    def __post_init__(self) -> None:
        if self.underlay_mtu is not None and not 576 <= self.underlay_mtu <= 65535:
            raise ValueError("underlay_mtu must be from 576 to 65535")
        if not self.encapsulations:
            raise ValueError("encapsulations must not be empty")
        if self.label_base + self.label_count - 1 > LABEL_MAX:
            raise ValueError(f"label_base + label_count goes beyond {LABEL_MAX}")


@dataclass(frozen=True, slots=True)
class SignalingSection:
    """[signaling]"""

    hold_time: float = option(30.0, check=positive, help="silence after which a gateway is held for dead")
    login_time: float = option(15.0, check=positive, help="most time for a connection to become a session")
    reconnect_min: float = option(0.5, check=positive, help="first wait before connecting again")
    reconnect_max: float = option(30.0, check=positive, help="longest wait before connecting again")
    reconnect_spread: float = option(
        5.0, check=positive, help="time over which hosts come back to a gateway that was stopped; at most reconnect_max"
    )
    stale_time: float = option(45.0, check=positive, help="keep a lost session's routes that long after the next one")
    end_of_table_time: float = option(30.0, check=positive, help="most time that a gateway may owe the end of a table")
    retry_time: float = option(30.0, check=positive, help="time between tries of what a gateway refused")


@dataclass(frozen=True, slots=True)
class ControlSection(sections.ControlSection):
    """[control]"""

    socket: Path = option(Path("/run/vrfwire/agent.sock"), help="control socket")


@dataclass(frozen=True, slots=True)
class StateSection:
    """[state]"""

    directory: Path = option(Path("/var/lib/vrfwire"), help="attachments, labels and numbers of VPNs")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """agent.toml"""

    host: HostSection
    tls: TlsSection
    gateway: tuple[GatewaySection, ...] = ()
    datapath: DatapathSection = DatapathSection()
    signaling: SignalingSection = SignalingSection()
    control: ControlSection = ControlSection()
    state: StateSection = StateSection()
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)

    def __post_init__(self) -> None:
        ends = [(gateway.address, gateway.port) for gateway in self.gateway]
        if len(set(ends)) != len(ends):
            raise ValueError("two [[gateway]] have the same address and port")
        for gateway in self.gateway:
            if gateway.password_file is None and self.tls.certificate is None:
                raise ValueError("a gateway without password_file needs [tls] certificate and key")
