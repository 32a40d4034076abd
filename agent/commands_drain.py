"""`vrfwire drain` and `vrfwire undrain`."""

from __future__ import annotations

import sys

import click

from agent import views
from runtime.client import ControlClient
from runtime.command import Group, Options, Reply, common, pass_options
from runtime.output import cell, warn

_MARGIN = 10.0
"""Seconds that the daemon may take beyond --timeout to say that the time is up."""

_WAIT = click.option("--wait/--no-wait", default=True, show_default=True, help="Return when it is done, or at once.")
_TIMEOUT = click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=3600),
    default=60.0,
    show_default=True,
    help="Seconds to wait; then exit code 6, and it goes on.",
)


def add(cli: Group) -> None:
    """Give the command its drain and undrain."""
    cli.add_command(drain)
    cli.add_command(undrain)


@click.command("drain", short_help="Take this host out of service, in good order.")
@_WAIT
@_TIMEOUT
@click.option(
    "--settle",
    type=click.FloatRange(min=0, max=3600),
    help="Seconds from the last gateway's confirmation until nothing passes any more.  [default: 5]",
)
@click.option("--force", is_flag=True, help="Don't wait for gateways that are away.")
@common
@pass_options
def drain(options: Options, wait: bool, timeout: float, settle: float | None, force: bool) -> None:
    """Take this host out of service without losing what others can take over.

    All ports are withdrawn at all gateways. When these have confirmed, and the network had time to move away, nothing
    passes from or to the ports any more; their devices stay with the VMs. It stays so until `vrfwire undrain`, over
    restarts too. The same again waits again; --settle and --force can be given anew.

    \b
    Examples:
      vrfwire drain
      vrfwire drain --settle 30 --timeout 120
      vrfwire drain --no-wait && vrfwire status
    """
    params: Reply = {"wait": wait, "timeout": timeout, "force": force}
    if settle is not None:
        params["settle"] = settle
    _show(options, _call(options, "drain", params, timeout))


@click.command("undrain", short_help="Take this host into service again.")
@_WAIT
@_TIMEOUT
@common
@pass_options
def undrain(options: Options, wait: bool, timeout: float) -> None:
    """Take this host into service again: its ports are opened, then announced. It takes back a drain under way too.

    \b
    Example:
      vrfwire undrain
    """
    _show(options, _call(options, "undrain", {"wait": wait, "timeout": timeout}, timeout))


def _call(options: Options, method: str, params: Reply, timeout: float) -> Reply:
    def progress(report: Reply) -> None:
        if sys.stderr.isatty() and not options.json:
            warn(str(report.get("step")), f"{options.program}: {method}")

    with ControlClient(options.socket, options.daemon) as client:
        return client.call(method, params, timeout=timeout + _MARGIN, on_progress=progress)


def _show(options: Options, reply: Reply) -> None:
    def people(colour: bool) -> str:
        step = f", {cell(reply['step'])}" if reply.get("step") else ""
        unchanged = ", unchanged" if reply.get("unchanged") else ""
        text = f"host: {cell(reply.get('state'))}{step}{unchanged}, {cell(reply.get('ports'))} ports\n"
        return text + views.drained_gateways(reply, options, colour)

    options.show(reply, people)
