"""Schema of map.toml, and the values made of it. Times are in seconds, sizes in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from ifmap.access import Access, parse_rules
from ifmap.room import Room
from ifmap.server.passwords import PasswordHash
from ifmap.service import ServiceSettings
from runtime import sections
from runtime.config import between, one_of, option, positive, read_secret
from runtime.errors import OperatorError
from runtime.listen import Listen
from runtime.sections import LogSection, MetricsSection

DEFAULT_SOCKET = Path("/run/vrfwire/map.sock")
DEFAULT_URL = "sqlite:////var/lib/vrfwire-map/map.db"

MAX_NAME = 100
"""Longest name of a client, characters."""
_SIZE = between(1_000, 1 << 31)
_ROOM = between(1_000_000, 1 << 50)
_PASSWORD_IN_URL = re.compile(r"[^/]*//[^/@]*:[^/]*@")


def _client_name(value: str) -> str:
    if not 0 < len(value) <= MAX_NAME or not value.isprintable() or ":" in value or value != value.strip():
        raise ValueError(f"must be 1 to {MAX_NAME} printable characters, without a colon or spaces at its ends")
    return value


def _lease(value: float) -> float:
    if not 1 <= value <= 3600:
        raise ValueError("must be from 1 to 3600 seconds")
    return value


def _rules(values: tuple[str, ...]) -> tuple[str, ...]:
    parse_rules(values)
    return values


@dataclass(frozen=True, slots=True)
class MapSection:
    """[map]"""

    listen: tuple[Listen, ...] = option(
        (Listen(IPv4Address("0.0.0.0"), 8443),),
        parse=Listen.parse,
        expects='a list of "ADDRESS:PORT"',
        help="where clients connect, by HTTPS",
    )
    name: str | None = option(None, help="what this server is called; default: the name of the machine")
    identifiers: str = option(
        "strict", check=one_of("strict", "opaque"), help="extended identifiers: canonical (IF-MAP 2.1), or any text"
    )
    session_timeout: float = option(180.0, check=positive, help="how long a session lives without a connection")
    request_time: float = option(60.0, check=positive, help="most time for a request to arrive")
    login_time: float = option(10.0, check=positive, help="most time for a connection to prove who it is")
    max_connections: int = option(4_096, check=between(1, 1_000_000), help="connections at a time")
    max_logins: int = option(
        64, check=between(1, 1_000_000), help="connections of one address that haven't proved who they are"
    )
    max_request: int = option(64 << 20, check=_SIZE, help="largest request, unpacked")
    default_search_size: int = option(100_000, check=_SIZE, help="largest result, when a client doesn't say")
    max_search_size: int = option(1 << 30, check=_SIZE, help="largest result that a client may ask for")
    default_poll_size: int = option(5_000_000, check=_SIZE, help="results kept for poll, when a client doesn't say")
    max_poll_size: int = option(1 << 30, check=_SIZE, help="results kept for poll that a client may ask for")
    max_operations: int = option(100_000, check=between(1, 10_000_000), help="operations of one publish")
    max_metadata: int = option(100_000, check=between(1, 10_000_000), help="metadata of one publish")
    max_metadata_size: int = option(1 << 20, check=_SIZE, help="largest metadatum")
    max_subscriptions: int = option(1_000, check=between(1, 1_000_000), help="subscriptions of one client")
    max_map_size: int = option(
        4 << 30, check=_ROOM, help="all metadata, in bytes of memory: 800 each, its XML and its identifiers"
    )
    max_client_size: int = option(1 << 30, check=_ROOM, help="metadata that one client has published, likewise")
    max_types: int = option(10_000, check=between(100, 1_000_000), help="types of metadata that were ever used")


@dataclass(frozen=True, slots=True)
class TlsSection:
    """[tls]"""

    certificate: Path = option(help="certificate of this server, with its chain")
    key: Path = option(help="private key of the certificate")
    ca: Path | None = option(None, help="authorities that certificates of clients are checked against; default: none")
    crl: Path | None = option(None, help="revocation lists of those authorities; default: no client is revoked")

    def __post_init__(self) -> None:
        if self.crl is not None and self.ca is None:
            raise ValueError("crl needs ca")


@dataclass(frozen=True, slots=True)
class StoreSection:
    """[store]"""

    url: str = option(DEFAULT_URL, help="database: sqlite:////FILE or postgresql://USER@HOST/NAME")
    url_file: Path | None = option(None, help="file with the URL, when it holds a password")
    lease: float = option(
        15.0,
        check=_lease,
        help="servers that share a database: how long one may be silent before others end its sessions",
    )

    def __post_init__(self) -> None:
        if _PASSWORD_IN_URL.match(self.url):
            raise ValueError("url has a password in it; put it in a file, and name that by url_file")

    def address(self) -> str:
        """The URL. Raises OperatorError when its file can't be read."""
        return self.url if self.url_file is None else read_secret(self.url_file)


@dataclass(frozen=True, slots=True)
class ClientSection:
    """[[client]]"""

    name: str = option(check=_client_name, help="user name; who the client is, whichever way it proves that")
    password_hash: PasswordHash | None = option(
        None,
        parse=PasswordHash.parse,
        expects="a text in quotes",
        help="hash of its password, as `vrfwire-map passwd` makes it",
        secret=True,
    )
    password_hash_file: Path | None = option(None, help="file with that hash")
    certificate: str | None = option(
        None, help="common name in its certificate; default without a password: the name of the client"
    )
    read: tuple[str, ...] = option(
        ("*",), check=_rules, help="metadata it may see: *, {namespace}name, {namespace}*, vpn:name, meta:*"
    )
    write: tuple[str, ...] = option(("*",), check=_rules, help="metadata it may publish and delete, likewise")
    purge_others: bool = option(False, help="may purge what other clients have published")

    def __post_init__(self) -> None:
        if self.password_hash is not None and self.password_hash_file is not None:
            raise ValueError("has both password_hash and password_hash_file")

    @property
    def has_password(self) -> bool:
        """Whether it may log in by a password."""
        return self.password_hash is not None or self.password_hash_file is not None

    @property
    def common_name(self) -> str | None:
        """Common name of the certificate that it may log in by; None: by none."""
        return self.certificate if self.certificate is not None or self.has_password else self.name

    def hash(self) -> PasswordHash | None:
        """The hash of its password, None when it has none. Raises OperatorError."""
        if self.password_hash_file is None:
            return self.password_hash
        try:
            return PasswordHash.parse(read_secret(self.password_hash_file))
        except ValueError as error:
            raise OperatorError(f"secret {self.password_hash_file}", str(error)) from None

    def access(self) -> Access:
        """What it may do."""
        return Access(parse_rules(self.read), parse_rules(self.write), self.purge_others)


@dataclass(frozen=True, slots=True)
class HealthSection:
    """[health]"""

    min_metadata: int = option(0, check=between(0, 1 << 40), help="least metadata of lifetime forever in a sound map")
    require: tuple[str, ...] = option((), check=_rules, help="metadata types that a sound map has some of")


@dataclass(frozen=True, slots=True)
class ControlSection(sections.ControlSection):
    """[control]"""

    socket: Path = option(DEFAULT_SOCKET, help="control socket")


@dataclass(frozen=True, slots=True)
class MapConfig:
    """map.toml"""

    tls: TlsSection
    map: MapSection = MapSection()
    store: StoreSection = StoreSection()
    client: tuple[ClientSection, ...] = ()
    health: HealthSection = HealthSection()
    control: ControlSection = ControlSection()
    metrics: MetricsSection = field(default_factory=MetricsSection)
    log: LogSection = field(default_factory=LogSection)

    def __post_init__(self) -> None:
        if not self.map.listen:
            raise ValueError("map.listen is empty")
        if self.map.default_search_size > self.map.max_search_size:
            raise ValueError("map.default_search_size is more than map.max_search_size")
        if self.map.default_poll_size > self.map.max_poll_size:
            raise ValueError("map.default_poll_size is more than map.max_poll_size")
        names: set[str] = set()
        certified: dict[str, str] = {}
        for client in self.client:
            if client.name in names:
                raise ValueError(f"there are two [[client]] of the name {client.name!r}")
            names.add(client.name)
            common_name = client.common_name
            if common_name is None:
                continue
            if self.tls.ca is None:
                why = "logs in by a certificate, which needs tls.ca" if client.certificate else "has no password_hash"
                raise ValueError(f"client {client.name!r} {why}")
            if common_name in certified:
                both = f"clients {certified[common_name]!r} and {client.name!r}"
                raise ValueError(f"{both} have the same common name of a certificate: {common_name!r}")
            certified[common_name] = client.name

    def service(self, name: str, shared: bool) -> ServiceSettings:
        """Settings of the service. name: of this server; shared: several servers use the store."""
        section = self.map
        return ServiceSettings(
            strict=section.identifiers == "strict",
            shared=shared,
            name=name,
            session_timeout=section.session_timeout,
            default_search_size=section.default_search_size,
            max_search_size=section.max_search_size,
            default_poll_size=section.default_poll_size,
            max_poll_size=section.max_poll_size,
            max_operations=section.max_operations,
            max_metadata=section.max_metadata,
            max_metadata_size=section.max_metadata_size,
            max_publish_size=section.max_request,
            max_subscriptions=section.max_subscriptions,
            room=Room(section.max_map_size, section.max_client_size, section.max_types),
        )

    def access(self) -> dict[str, Access]:
        """What each client may do."""
        return {client.name: client.access() for client in self.client}
