"""The `vrfwire` command: asks the host daemon by its control socket."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from agent import commands_diag, commands_drain, commands_explain, views
from runtime.client import ControlClient
from runtime.command import (
    CONTEXT,
    Group,
    Options,
    Reply,
    common,
    names,
    pass_options,
    run,
    watchable,
)
from runtime.output import cell, warn
from runtime.paging import list_routes
from runtime.standard_commands import add_standard_commands

PROGRAM = "vrfwire"
DAEMON = "vrfwire-agent"
DEFAULT_SOCKET = "/run/vrfwire/agent.sock"
_MARGIN = 10.0
"""Seconds that the daemon may take beyond --timeout to say that the time is up."""


@click.group(cls=Group, context_settings=CONTEXT)
@common
def cli() -> None:
    """Attach virtual machines of this host to VPNs, and look at what came of it.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 conflict, 4 not found, 5 daemon unreachable, 6 --wait timed out (accepted,
    still converging), 7 degraded, 77 not permitted.
    """


# -- port


@cli.group(cls=Group)
@common
def port() -> None:
    """VM interfaces of this host."""


@port.command("attach")
@click.argument("name")
@click.option("--vpn", required=True, shell_complete=names("vpn.list"), help="VPN that the interface is to be in.")
@click.option(
    "--address", "-a", "addresses", multiple=True, required=True, metavar="A", help="Address of the VM; repeat."
)
@click.option("--prefix", "-p", "prefixes", multiple=True, metavar="P", help="Prefix behind the VM; repeat.")
@click.option("--attachment", metavar="ID", help="What orchestration calls it (vrfwire-map bind).  [default: NAME]")
@click.option("--mac", metavar="M", help="MAC of the VM; made from the name when not given.")
@click.option("--tap", metavar="IFNAME", help="Tap device; made if it is not there.")
@click.option("--netns", metavar="NETNS", help="Namespace that gets a veth: a name in /run/netns or a path.")
@click.option("--ifname", metavar="NAME", help="Name of the interface in the namespace.  [default: eth0]")
@click.option(
    "--wait",
    type=click.Choice(["programmed", "announced", "no"]),
    default="programmed",
    show_default=True,
    help="Until the kernel has it, until every gateway has it, or not at all.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait; then exit code 6.",
)
@common
@pass_options
def attach(
    options: Options,
    name: str,
    vpn: str,
    addresses: tuple[str, ...],
    prefixes: tuple[str, ...],
    attachment: str | None,
    mac: str | None,
    tap: str | None,
    netns: str | None,
    ifname: str | None,
    wait: str,
    timeout: float,
) -> None:
    """Attach a VM interface to a VPN. The same again changes nothing.

    \b
    Examples:
      vrfwire port attach web-1 --vpn blue --address 10.1.1.1 --address fd00::1 --tap tap0
      vrfwire port attach db-1 --vpn blue --address 10.1.1.2 --netns db --ifname eth0 --wait announced
      vrfwire port attach fw-1 --vpn blue --address 10.1.1.3 --prefix 10.9.0.0/16 --tap tap3
    """
    if (tap is None) == (netns is None):
        raise click.UsageError("give one of --tap and --netns")
    if ifname is not None and netns is None:
        raise click.UsageError("--ifname is of use with --netns alone")
    params: Reply = {
        "name": name,
        "vpn": vpn,
        "addresses": list(addresses),
        "prefixes": list(prefixes),
        "kind": "tap" if tap is not None else "veth",
        "wait": wait,
        "timeout": timeout,
    }
    optional = {"attachment": attachment, "mac": mac, "interface": tap, "netns": netns, "guest_interface": ifname}
    params.update({key: value for key, value in optional.items() if value is not None})
    reply = _change(options, "port.attach", params, timeout)
    options.show(reply, lambda colour: views.attached(reply))
    if (reply.get("announced") == "refused" or reply.get("state") == "drained") and not options.json:
        # It is kept all the same, and announced as soon as a gateway lets it.
        warn(f"port {name}: {reply.get('error')}", options.program)
        warn(str(reply.get("hint")), "hint")


def _change(options: Options, method: str, params: Reply, timeout: float) -> Reply:
    """A call that changes something; what it is waiting for is told on a terminal."""

    def progress(report: Reply) -> None:
        if sys.stderr.isatty() and not options.json:
            text = ", ".join(f"{key.replace('_', ' ')} {cell(value)}" for key, value in report.items())
            warn(text, f"{PROGRAM}: {params.get('name')}")

    with ControlClient(options.socket, options.daemon) as client:
        return client.call(method, params, timeout=timeout + _MARGIN, on_progress=progress)


@port.command("detach")
@click.argument("name", shell_complete=names("port.list"))
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Seconds to wait; then exit code 6.",
)
@common
@pass_options
def detach(options: Options, name: str, timeout: float) -> None:
    """Withdraw a VM interface from its VPN and take its forwarding away.

    \b
    Example:
      vrfwire port detach web-1
    """
    reply = _change(options, "port.detach", {"name": name, "timeout": timeout}, timeout)
    state = cell(reply.get("state", "detached"))
    options.show(reply, lambda colour: f"port {name}: {state}\n")


@port.command("list")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only those of one VPN.")
@watchable
@pass_options
def port_list(options: Options, vpn: str | None) -> None:
    """List the VM interfaces."""
    options.list("port.list", {"vpn": vpn} if vpn else None, views.PORT_LIST)


@port.command("show")
@click.argument("name", shell_complete=names("port.list"))
@watchable
@pass_options
def port_show(options: Options, name: str) -> None:
    """Show one VM interface."""
    options.one("port.show", {"name": name}, views.PORT)


# The architecture's shorthand; the documented form is noun then verb.
for _command in (attach, detach):
    _alias = click.Command(
        _command.name, params=_command.params, callback=_command.callback, help=_command.help, hidden=True
    )
    cli.add_command(_alias)


# -- vpn


@cli.group(cls=Group)
@common
def vpn() -> None:
    """VPNs that this host has ports in."""


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

    def look() -> None:
        reply = options.ask("vpn.show", {"name": vpn})
        options.show(reply, lambda colour: views.vpn(reply, options, colour))

    options.repeat(look)


# -- route


@cli.group(cls=Group)
@common
def route() -> None:
    """Routes of the VPNs."""


@route.command("list")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only those of one VPN.")
@watchable
@pass_options
def route_list(options: Options, vpn: str | None) -> None:
    """List the routes and whether the kernel has them."""
    list_routes(options, {"vpn": vpn} if vpn else {}, views.ROUTE_LIST)


@route.command("explain")
@click.argument("address")
@click.option("--vpn", required=True, shell_complete=names("vpn.list"), help="VPN to look in.")
@watchable
@pass_options
def route_explain(options: Options, address: str, vpn: str) -> None:
    """Say where packets for an address go, and why.

    \b
    Example:
      vrfwire route explain 10.1.1.2 --vpn blue
    """

    def look() -> None:
        reply = options.ask("route.explain", {"vpn": vpn, "address": address})
        options.show(reply, lambda colour: views.explained(reply, options, colour))

    options.repeat(look)


# -- gateway


@cli.group(cls=Group)
@common
def gateway() -> None:
    """Gateways of this host."""


@gateway.command("list")
@watchable
@pass_options
def gateway_list(options: Options) -> None:
    """List the gateways and the sessions with them."""
    options.list("gateway.list", None, views.GATEWAY_LIST)


def _schema() -> type:
    from agent.config import AgentConfig

    return AgentConfig


commands_drain.add(cli)
add_standard_commands(cli, PROGRAM, "agent", _schema)
commands_diag.add(cli)
commands_explain.add(cli)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(cli, Options(PROGRAM, DAEMON, os.environ.get("VRFWIRE_SOCKET") or DEFAULT_SOCKET), arguments)


if __name__ == "__main__":
    sys.exit(main())
