"""The `vrfwire-gateway-ctl` command: asks the gateway daemon by its control socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from runtime.command import (
    CONTEXT,
    Group,
    Options,
    common,
    names,
    pass_options,
    run,
    watchable,
)
from runtime.output import Column, count, next_hops
from runtime.standard_commands import add_standard_commands

PROGRAM = "vrfwire-gateway-ctl"
DAEMON = "vrfwire-gateway"
DEFAULT_SOCKET = "/run/vrfwire/gateway.sock"

HOST_LIST = (
    Column("NAME", "name"),
    Column("ADDRESS", "address"),
    Column("STATE", "state"),
    Column("SINCE", "since"),
    Column("VPNS", "vpns"),
    Column("ROUTES", "routes", right=True),
    Column("STALE", "stale_routes", right=True),
    Column("JID", "jid"),
)
VPN_LIST = (
    Column("NAME", "name"),
    Column("IMPORT", "import"),
    Column("EXPORT", "export"),
    Column("HOSTS", lambda row: count(row.get("hosts")), right=True),
    Column("ROUTES", lambda row: count(row.get("routes")), right=True),
)
VPN = (
    Column("name", "name"),
    Column("import", "import"),
    Column("export", "export"),
    Column("hosts", "hosts"),
    Column("routes", "routes"),
)
ROUTE_LIST = (
    Column("VPN", "vpn"),
    Column("PREFIX", "prefix"),
    Column("NEXT HOPS", lambda row: next_hops(row.get("next_hops"))),
    Column("PREFERENCE", "local_preference", right=True),
    Column("SEQUENCE", "sequence_number", right=True),
    Column("STALE", "stale"),
    Column("SOURCE", "source"),
)


@click.group(cls=Group, context_settings=CONTEXT)
@common
def cli() -> None:
    """Look at a gateway: its hosts, VPNs and routes.

    Exit codes: 0 ok, 1 failure, 2 usage, 4 not found, 5 daemon unreachable, 7 degraded, 77 not permitted.
    """


@cli.group(cls=Group)
@common
def host() -> None:
    """Hosts that have a session, or had one until lately."""


@host.command("list")
@watchable
@pass_options
def host_list(options: Options) -> None:
    """List the hosts."""
    options.list("host.list", None, HOST_LIST)


@cli.group(cls=Group)
@common
def vpn() -> None:
    """VPNs of the gateway."""


@vpn.command("list")
@watchable
@pass_options
def vpn_list(options: Options) -> None:
    """List the VPNs."""
    options.list("vpn.list", None, VPN_LIST)


@vpn.command("show")
@click.argument("vpn", shell_complete=names("vpn.list"))
@watchable
@pass_options
def vpn_show(options: Options, vpn: str) -> None:
    """Show one VPN."""
    options.one("vpn.show", {"name": vpn}, VPN)


@cli.group(cls=Group)
@common
def route() -> None:
    """Routes of the VPNs."""


@route.command("list")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only those of one VPN.")
@watchable
@pass_options
def route_list(options: Options, vpn: str | None) -> None:
    """List the routes that the gateway has selected."""
    options.list("route.list", {"vpn": vpn} if vpn else None, ROUTE_LIST)


def _schema() -> type:
    from gateway.config import GatewayConfig

    return GatewayConfig


add_standard_commands(cli, PROGRAM, "gateway", _schema)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(cli, Options(PROGRAM, DAEMON, os.environ.get("VRFWIRE_SOCKET") or DEFAULT_SOCKET), arguments)


if __name__ == "__main__":
    sys.exit(main())
