"""Schema of [map] in gateway.toml: which MAP server provisions VPNs and says what hosts may announce."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.authorization import Mode
from ifmap.client_errors import ClientError
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from runtime.config import option
from runtime.errors import OperatorError


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    return value


@dataclass(frozen=True, slots=True)
class MapSection:
    """[map]"""

    url: Endpoint | None = option(
        None, parse=Endpoint.parse, expects='"https://HOST:PORT/"', help="the MAP server; VPNs and permissions are its"
    )
    urls: tuple[Endpoint, ...] = option(
        (), parse=Endpoint.parse, expects='a list of "https://HOST:PORT/"', help="several, tried in this order"
    )
    ca: Path | None = option(None, help="certificates that may sign the server's; default: those of the system")
    user: str | None = option(None, check=_not_empty, help="user name at the server; no other program may use it")
    password_file: Path | None = option(None, help="file with the password of user")
    certificate: Path | None = option(None, help="client certificate, instead of user")
    key: Path | None = option(None, help="private key of the client certificate")
    authorization: Mode = option(Mode.STRICT, help="what hosts may announce: strict, binding or off")
    groups: tuple[str, ...] = option((), help="connectivity groups to look at beside those that the catalogue lists")
    name: str | None = option(
        None, check=_not_empty, help="of this gateway in the map; default: gateway.router_id, else gateway.domain"
    )

    def __post_init__(self) -> None:
        if (self.url is None) == (not self.urls):
            raise ValueError("map needs one of url and urls")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("map.user and map.password_file go together")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("map.certificate and map.key go together")
        if (self.user is None) == (self.certificate is None):
            raise ValueError("map needs one of user and certificate")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The servers, in the order in which they are tried."""
        return self.urls if self.url is None else (self.url,)

    def client_settings(self) -> ClientSettings:
        """For the client; its files were looked at. Raises OperatorError."""
        settings = ClientSettings(
            self.endpoints,
            ca=self.ca,
            user=self.user or "",
            password_file=self.password_file,
            certificate=self.certificate,
            key=self.key,
        )
        try:
            settings.tls_context()
            settings.secret()
        except ClientError as error:
            raise OperatorError("map", str(error)) from None
        return settings
