"""The `vrfwire-gateway-ctl` command: asks the gateway daemon by its control socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from gateway import commands_pki, views
from gateway.route_stream import stream_routes
from runtime.command import (
    CONTEXT,
    Group,
    Options,
    common,
    items,
    names,
    pass_options,
    run,
    watchable,
)
from runtime.doctor_command import add_doctor
from runtime.output import Row, cell, warn
from runtime.paging import list_routes
from runtime.standard_commands import add_standard_commands

PROGRAM = "vrfwire-gateway-ctl"
DAEMON = "vrfwire-gateway"
DEFAULT_SOCKET = "/run/vrfwire/gateway.sock"

FAMILIES = ("vpnv4", "vpnv6", "rtc")
"""Address families of BGP that the gateway speaks."""


@click.group(cls=Group, context_settings=CONTEXT)
@common
def cli() -> None:
    """Look at a gateway: its hosts, VPNs, routes and BGP peers.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 precondition missing, 4 not found, 5 daemon unreachable, 7 degraded,
    77 not permitted.
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
    options.list("host.list", None, views.HOST_LIST)


@cli.group(cls=Group)
@common
def vpn() -> None:
    """VPNs of the gateway."""


@vpn.command("list")
@watchable
@pass_options
def vpn_list(options: Options) -> None:
    """List the VPNs."""
    options.list("vpn.list", None, views.VPN_LIST)


@vpn.command("show")
@click.argument("vpn", shell_complete=names("vpn.list"))
@watchable
@pass_options
def vpn_show(options: Options, vpn: str) -> None:
    """Show one VPN."""
    options.one("vpn.show", {"name": vpn}, views.VPN)


@cli.group(cls=Group)
@common
def route() -> None:
    """Routes of the VPNs and of BGP."""


_family = click.option("--family", type=click.Choice(FAMILIES), help="Only those of one address family.")


@route.command("list", short_help="List the routes that the gateway has selected, or of BGP.")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only those of one VPN.")
@click.option("--rd", metavar="RD|all", help="Of BGP instead: of one route distinguisher, or all.")
@_family
@watchable
@pass_options
def route_list(options: Options, vpn: str | None, rd: str | None, family: str | None) -> None:
    """List the routes that the gateway has selected, or what it knows by BGP.

    \b
    Examples:
      vrfwire-gateway-ctl route list --vpn blue
      vrfwire-gateway-ctl route list --rd 192.0.2.11:1
      vrfwire-gateway-ctl route list --rd all --family vpnv6 --json
    """
    if rd is None and family is None:
        list_routes(options, {"vpn": vpn} if vpn else {}, views.ROUTE_LIST)
        return
    if vpn is not None:
        raise click.UsageError("give one of --vpn and --rd")
    params = {"rd": rd or "all", **({"family": family} if family else {})}
    options.repeat(lambda: stream_routes(options, params, views.BGP_ROUTES))


@route.command("explain", short_help="Say which path to a prefix is used, and why no other.")
@click.argument("prefix", metavar="PREFIX|ADDRESS")
@click.option("--vpn", shell_complete=names("vpn.list"), help="VPN to look in.")
@click.option("--rd", metavar="RD|all", help="Or route distinguisher of BGP to look under.")
@click.option("--family", type=click.Choice(FAMILIES[:2]), help="Address family, which the prefix says already.")
@watchable
@pass_options
def route_explain(options: Options, prefix: str, vpn: str | None, rd: str | None, family: str | None) -> None:
    """Say which paths there are to a prefix, which is used, and why not the others.

    For an address, the longest prefix that has it.

    \b
    Examples:
      vrfwire-gateway-ctl route explain 10.1.1.2 --vpn blue
      vrfwire-gateway-ctl route explain 10.9.0.0/16 --rd all
    """
    if (vpn is None) == (rd is None):
        raise click.UsageError("give one of --vpn and --rd")
    given = {"prefix": prefix, "vpn": vpn, "rd": rd, "family": family}
    params = {key: value for key, value in given.items() if value is not None}

    def look() -> None:
        reply = options.ask("route.explain", params)
        options.show(reply, lambda colour: views.explained(reply, options, colour))

    options.repeat(look)


@cli.group(cls=Group)
@common
def peer() -> None:
    """BGP peers: route reflectors, PE routers, other gateways."""


@peer.command("list")
@watchable
@pass_options
def peer_list(options: Options) -> None:
    """List the BGP peers."""

    def look() -> None:
        reply = options.ask("peer.list")
        if not reply.get("configured", True):
            warn("BGP is not configured: gateway.toml has no [[bgp.peer]]", PROGRAM)
        options.show(reply, lambda colour: views.peers(reply, options, colour))

    options.repeat(look)


@peer.command("show", short_help="Show one BGP peer: session, capabilities, routes.")
@click.argument("name", shell_complete=names("peer.list"))
@watchable
@pass_options
def peer_show(options: Options, name: str) -> None:
    """Show one BGP peer: session, capabilities, routes, what was wrong last."""

    def look() -> None:
        reply = options.ask("peer.show", {"name": name})
        options.show(reply, lambda colour: views.peer(reply, options, colour))

    options.repeat(look)


@peer.command("refresh")
@click.argument("name", shell_complete=names("peer.list"))
@_family
@common
@pass_options
def peer_refresh(options: Options, name: str, family: str | None) -> None:
    """Ask a BGP peer for all its routes again (RFC 2918).

    \b
    Example:
      vrfwire-gateway-ctl peer refresh rr1 --family vpnv4
    """
    reply = options.ask("peer.refresh", {"name": name, **({"family": family} if family else {})})
    options.show(reply, lambda colour: f"peer {name}: asked for {cell(reply.get('families'))}\n")


@peer.command("reset")
@click.argument("name", shell_complete=names("peer.list"))
@click.option("--hard", is_flag=True, help="The peer is to forget our routes at once (RFC 8538).")
@click.option("--text", metavar="TEXT", help="For the peer's operator, at most 255 bytes (RFC 9003).")
@common
@pass_options
def peer_reset(options: Options, name: str, hard: bool, text: str | None) -> None:
    """End the session with a BGP peer and begin another one.

    \b
    Example:
      vrfwire-gateway-ctl peer reset rr1 --text "new password, see CHG-4711"
    """
    params = {"name": name, **({"hard": True} if hard else {}), **({"text": text} if text else {})}
    reply = options.ask("peer.reset", params)
    options.show(reply, lambda colour: f"peer {name}: reset, was {cell(reply.get('before'))}\n")


@cli.group(cls=Group)
@common
def attachment() -> None:
    """Attachments (VM interfaces), as the map knows them."""


@attachment.command("list")
@click.option("--withheld", is_flag=True, help="Routes of hosts that the map does not permit, and why.")
@watchable
@pass_options
def attachment_list(options: Options, withheld: bool) -> None:
    """List the attachments whose state this gateway publishes in the map.

    \b
    Examples:
      vrfwire-gateway-ctl attachment list
      vrfwire-gateway-ctl attachment list --withheld
    """

    def look() -> None:
        reply = options.ask("attachment.list", {"withheld": withheld})
        if not reply.get("configured", True):
            warn(_NO_MAP, PROGRAM)
        columns = views.WITHHELD_LIST if withheld else views.ATTACHMENT_LIST
        options.show(reply, lambda colour: options.table(items(reply), columns, colour))
        if withheld and items(reply) and not options.json:
            warn("`vrfwire-map bind ATTACHMENT VPN --address ADDRESS` permits it, and it goes in by itself", "hint")

    options.repeat(look)


@cli.group("map", cls=Group)
@common
def map_server() -> None:
    """The MAP server that provisions VPNs and attachments."""


@map_server.command("show")
@watchable
@pass_options
def map_show(options: Options) -> None:
    """Show the session with the MAP server, and what it provisions."""

    def look() -> None:
        reply = options.ask("map.show")
        if not reply.get("configured", True):
            warn(_NO_MAP, PROGRAM)
        options.show(reply, lambda colour: views.map_shown(reply, options, colour))

    options.repeat(look)


@map_server.command("accept", short_help="Believe the MAP server that its map is empty.")
@common
@pass_options
def map_accept(options: Options) -> None:
    """Believe the MAP server that its map is empty: VPNs of the map end, and what hosts announced by it is withheld.

    A server without VPNs, whose map doesn't say that this is meant, isn't believed: it may have lost its store.
    """
    reply = options.ask("map.accept")
    if not reply.get("configured", True):
        warn(_NO_MAP, PROGRAM)
    text = "accepted: what it doesn't have is no more" if reply.get("accepted") else "nothing is in doubt"
    options.show(reply, lambda colour: f"map: {text}\n")


_NO_MAP = "no map server is configured: gateway.toml has no [map]"


def _schema() -> type:
    from gateway.config import GatewayConfig

    return GatewayConfig


def _examine(path: str | None) -> Sequence[Row]:
    """What the daemon's doctor would look at."""
    # Imported here: it costs more than the whole of every other command.
    from gateway.config import GatewayConfig
    from gateway.doctor import subject
    from gateway.main import check
    from runtime.config import load
    from runtime.doctor_daemon import examine_configured

    return examine_configured(lambda: subject(load(GatewayConfig, program="gateway", path=path).value, check))


commands_pki.add(cli)
add_standard_commands(cli, PROGRAM, "gateway", _schema)
add_doctor(cli, "the configuration, certificates, ports, BGP peers and the map", _examine)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(cli, Options(PROGRAM, DAEMON, os.environ.get("VRFWIRE_SOCKET") or DEFAULT_SOCKET), arguments)


if __name__ == "__main__":
    sys.exit(main())
