"""Which MAP server a command asks, and as whom: options, environment (VRFWIRE_MAP_*), /etc/vrfwire/map-client.toml."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ifmap.client_errors import ClientError
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from runtime.config import load, option, read_secret
from runtime.errors import ExitCode, OperatorError

PROGRAM = "map-client"
ENVIRONMENT = tuple(
    f"VRFWIRE_MAP_{key}" for key in ("URL", "USER", "PASSWORD_FILE", "CERTIFICATE", "KEY", "CA", "TIMEOUT")
)
"""Variables that are read. The others of that form are the server's own."""
_IDENTITY = ("VRFWIRE_MAP_USER", "VRFWIRE_MAP_PASSWORD_FILE", "VRFWIRE_MAP_CERTIFICATE", "VRFWIRE_MAP_KEY")


@dataclass(frozen=True, slots=True)
class ServerSection:
    """[map] of map-client.toml"""

    url: tuple[Endpoint, ...] = option(
        (),
        parse=Endpoint.parse,
        expects='a list of "https://HOST:PORT/"',
        help="servers, tried in this order",
    )
    user: str = option("", help="user to log in as; nobody else may use it at the same time")
    password_file: Path | None = option(None, help="file with the user's password")
    certificate: Path | None = option(None, help="certificate to log in by, in the place of a user")
    key: Path | None = option(None, help="key of the certificate")
    ca: Path | None = option(
        None, help="certificates that may sign the server's; without it, those that the machine trusts"
    )
    timeout: float = option(30.0, help="seconds to wait for an answer")


@dataclass(frozen=True, slots=True)
class MapClientConfig:
    """map-client.toml"""

    map: ServerSection = option(help="the server to ask")


def client_settings(
    overrides: Mapping[str, object], environ: Mapping[str, str] = os.environ, path: Path | None = None
) -> ClientSettings:
    """Settings for one command; raises OperatorError with what is missing.

    overrides: values of options by dotted key. An option that says who we are stands against all of the environment.
    """
    known = {name: environ[name] for name in ENVIRONMENT if environ.get(name)}
    if "map.certificate" in overrides or "map.user" in overrides:
        known = {name: value for name, value in known.items() if name not in _IDENTITY}
    section = load(MapClientConfig, program=PROGRAM, path=path, environ=known, overrides=overrides).value.map
    if not section.url:
        raise _missing("no server is given", "--url https://HOST:8443/ or VRFWIRE_MAP_URL")
    if section.certificate is not None and section.user:
        raise _missing("both a user and a certificate are given", "one of --user and --cert")
    if section.user and section.password_file is None:
        raise _missing(
            f"the password of user {section.user} is not given", "--password-file or VRFWIRE_MAP_PASSWORD_FILE"
        )
    if section.certificate is None and not section.user:
        raise _missing("no user is given", "--user with --password-file, or --cert with --key")
    if not section.timeout > 0:
        raise _missing("the time-out is not more than 0", "")
    if section.password_file is not None:
        # For the hint; the client reads it again for each connection.
        read_secret(section.password_file)
    settings = ClientSettings(
        section.url,
        ca=section.ca,
        user=section.user,
        password_file=section.password_file,
        certificate=section.certificate,
        key=section.key,
        connect_timeout=min(section.timeout, 10.0),
        answer_timeout=section.timeout,
    )
    if section.ca is not None or section.certificate is not None:
        try:
            settings.tls_context()
        except ClientError as error:
            raise OperatorError(
                "map server", str(error), "--ca, --cert and --key name files in PEM; a key has no passphrase"
            ) from None
    return settings


def _missing(why: str, hint: str) -> OperatorError:
    return OperatorError("map server", why, hint, ExitCode.USAGE)
