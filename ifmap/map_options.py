"""Options of the commands that ask a MAP server, and how these reach it. Imported by every command: few imports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runtime.command import Options, printing
from runtime.errors import ExitCode, OperatorError

if TYPE_CHECKING:
    from ifmap.client import MapClient, MapListener
    from ifmap.client_settings import ClientSettings
    from ifmap.errors import IfmapError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

Connect = Callable[["ClientSettings", "MapListener | None"], AbstractAsyncContextManager["MapClient"]]


def _connect(settings: ClientSettings, listener: MapListener | None) -> MapClient:
    from ifmap.client import MapClient

    return MapClient(settings, listener)


@dataclass(slots=True)
class MapOptions(Options):
    """server: what options say of the server, by key of map-client.toml. connect: makes a client."""

    server: dict[str, object] = field(default_factory=dict)
    connect: Connect = _connect

    def settings(self) -> ClientSettings:
        """Raises OperatorError."""
        from ifmap.client_config import client_settings

        return client_settings(self.server)

    def work(self, work: Callable[[MapClient], Awaitable[T]], listener: MapListener | None = None) -> T:
        """Do something in a session with the server. Raises OperatorError."""
        import asyncio
        import logging

        from ifmap.client_errors import ClientError, MapUnavailable, SessionLost
        from ifmap.errors import IfmapError

        settings = self.settings()
        # What the client has to say comes as an error; its log is that of daemons.
        logging.getLogger("vrfwire").addHandler(logging.NullHandler())

        async def go() -> T:
            async with self.connect(settings, listener) as client:
                return await work(client)

        try:
            return asyncio.run(go())
        except MapUnavailable as error:
            hint, code = _unavailable(str(error))
            raise OperatorError("map server", str(error), hint, code) from None
        except ClientError as error:
            lost = isinstance(error, SessionLost)
            hint = "a user has one session: give each program a user of its own" if lost else ""
            raise OperatorError("map server", str(error), hint) from None
        except IfmapError as error:
            raise _refused(error) from None


def _unavailable(why: str) -> tuple[str, ExitCode]:
    """What to do about a server that gives no session, and the exit code."""
    if "doesn't accept" in why:
        return (
            "check the user and its password, or the certificate, and the server's [[client]]",
            ExitCode.NOT_PERMITTED,
        )
    if "certificate isn't accepted" in why:
        hint = "--ca names the authority that has signed it, and it has to be for the host of --url"
        return hint, ExitCode.UNREACHABLE
    return "check --url; on the server's machine, `vrfwire-map status`", ExitCode.UNREACHABLE


def _refused(error: IfmapError) -> OperatorError:
    """What the server has said, with metadata types as rules of its configuration have them."""
    from ifmap.describe import PREFIXES
    from ifmap.errors import ErrorCode

    why = f"{error.code}: {error}" if str(error) else str(error.code)
    for prefix, namespace in PREFIXES.items():
        why = why.replace(f"{{{namespace}}}", f"{prefix}:")
    hints = {
        ErrorCode.ACCESS_DENIED: "the server's map.toml says what a client may: read, write, purge_others",
        ErrorCode.SEARCH_RESULTS_TOO_BIG: "ask for less (--depth, --match-links), or take more (--max-size, and"
        " max_search_size in the server's map.toml)",
        ErrorCode.INVALID_IDENTIFIER: 'vrfwire-map serve takes any text as an identifier with identifiers = "opaque"',
    }
    denied = error.code is ErrorCode.ACCESS_DENIED
    code = ExitCode.NOT_PERMITTED if denied else ExitCode.FAILURE
    return OperatorError("map server", why, hints.get(error.code, ""), code)


def _store(key: str) -> Callable[..., None]:
    def callback(context: click.Context, parameter: click.Parameter, given: Any) -> None:
        if given not in (None, ()):
            context.find_root().obj.server[f"map.{key}"] = given

    return callback


class UrlType(click.ParamType[str]):
    """URL of a MAP server; it stays text, as the environment and a file have it."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from ifmap.endpoint import Endpoint, EndpointError

        try:
            Endpoint.parse(value)
        except EndpointError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def _option(name: str, key: str, **settings: Any) -> Callable[[F], F]:
    return click.option(name, expose_value=False, callback=_store(key), **settings)


_SERVER = (
    _option(
        "--url",
        "url",
        type=UrlType(),
        metavar="URL",
        multiple=True,
        help="MAP server; several are tried in order [VRFWIRE_MAP_URL].",
    ),
    _option("--user", "user", metavar="NAME", help="User to log in as [VRFWIRE_MAP_USER]."),
    _option("--password-file", "password_file", metavar="FILE", help="Its password [VRFWIRE_MAP_PASSWORD_FILE]."),
    _option("--cert", "certificate", metavar="FILE", help="Or a certificate to log in by [VRFWIRE_MAP_CERTIFICATE]."),
    _option("--key", "key", metavar="FILE", help="Key of the certificate [VRFWIRE_MAP_KEY]."),
    _option("--ca", "ca", metavar="FILE", help="Certificates that may sign the server's [VRFWIRE_MAP_CA]."),
    _option("--timeout", "timeout", type=float, metavar="SECONDS", help="To wait for an answer  [default: 30]"),
)


def server_options(function: F) -> F:
    """Decorates a command: --url, --user, ..."""
    for option in reversed(_SERVER):
        function = option(function)
    return function


def map_client(function: F) -> F:
    """Decorates a command that asks a MAP server: --url, --user, ..., --json, --no-legend."""
    return server_options(printing(function))


pass_map = click.make_pass_decorator(MapOptions)
