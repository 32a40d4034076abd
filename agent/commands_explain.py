"""Commands that say what goes on in a host and why: drops, monitor, object list and show."""

from __future__ import annotations

import json
import sys

import click

from agent import views_explain as views
from runtime.client import ControlClient
from runtime.command import Group, Options, Reply, common, items, names, pass_options, watchable
from runtime.errors import ExitCode, OperatorError
from runtime.output import Row
from runtime.paging import pages

MONITOR_TIME = 10 * 86400.0
"""Seconds after which a stream of events ends; a timer of the system's calls holds no more than three weeks."""


def add(cli: Group) -> None:
    """Add the commands to the command `vrfwire`."""
    for command in (drops, monitor, objects):
        cli.add_command(command)


# -- drops


@click.command("drops", short_help="Say where packets were lost on this host, and why.")
@click.option("--port", shell_complete=names("port.list"), help="Only what is lost at one port.")
@click.option("--all", "everything", is_flag=True, help="Counters that are zero, too.")
@watchable
@pass_options
def drops(options: Options, port: str | None, everything: bool) -> None:
    """Say where packets were lost on this host, why, and what to do about it. With --watch: how many a second.

    \b
    Examples:
      vrfwire drops
      vrfwire drops --port web-1 --watch
    """
    rates = Rates()

    def look() -> None:
        # To know how fast one grows takes what it was before, zero for instance.
        params: dict[str, object] = {} if everything or options.watch is not None else {"nonzero": True}
        reply = options.ask("drops", {**params, "port": port} if port else params)
        rows = rates.of(reply) if options.watch is not None else items(reply)
        if not everything:
            rows = [row for row in rows if row.get("value")]
        options.show({**reply, "items": rows}, lambda colour: views.drops(options, rows, colour))

    options.repeat(look)


class Rates:
    """How fast counters grow, from one look to the next."""

    def __init__(self) -> None:
        self._before: dict[tuple[object, object], float] = {}
        self._at = 0.0

    def of(self, reply: Reply) -> list[Row]:
        """The rows of a reply with their "rate", packets a second since the last look; None at the first look, and for
        a counter that began anew."""
        at = _number(reply.get("at"))
        seconds = at - self._at
        rows: list[Row] = []
        now: dict[tuple[object, object], float] = {}
        for row in items(reply):
            key = row.get("name"), row.get("where")
            value = now[key] = _number(row.get("value"))
            before = self._before.get(key)
            grown = None if before is None or seconds <= 0 or value < before else (value - before) / seconds
            rows.append({**row, "rate": None if grown is None else round(grown, 1)})
        self._before, self._at = now, at
        return rows


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


# -- monitor

KINDS = ("port", "route", "gateway", "kernel", "repair")


@click.command("monitor", short_help="Print what happens as it happens, until Ctrl-C.")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only what has to do with one VPN.")
@click.option("--port", shell_complete=names("port.list"), help="Only what has to do with one port.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Only events of this kind; repeat.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after this many events.")
@common
@pass_options
def monitor(options: Options, vpn: str | None, port: str | None, kinds: tuple[str, ...], count: int | None) -> int:
    """Print what happens as it happens, until Ctrl-C: ports, routes, sessions, failures, and what others change.

    With --json one document a line. Who reads slowly loses events, and is told how many.

    \b
    Examples:
      vrfwire monitor --vpn blue
      vrfwire monitor --kind repair --json
    """
    params: dict[str, object] = {"vpn": vpn, "port": port, "kinds": list(kinds) or None, "count": count}

    def progress(report: Reply) -> None:
        for event in items(report, "events"):
            options.print(json.dumps(event) + "\n" if options.json else views.event(event))
        sys.stdout.flush()

    with ControlClient(options.socket, options.daemon) as client:
        reply = client.call(
            "monitor", {key: value for key, value in params.items() if value is not None}, MONITOR_TIME, progress
        )
    if reply.get("ended") == "stopping":
        raise OperatorError(options.daemon, "is stopping", "start the monitor again later", ExitCode.UNREACHABLE)
    return ExitCode.OK


# -- object


@click.group("object", cls=Group, short_help="Objects of vrfwire in the kernel: devices, filters, routes.")
@common
def objects() -> None:
    """Objects of vrfwire in the kernel: devices, filters, next hops, routes."""


OBJECT_KINDS = (
    *("tunnel", "vrf", "port", "neighbour", "anti-spoofing", "mpls-route", "next-hop", "next-hop-group", "vrf-route"),
)
_KIND = click.Choice(OBJECT_KINDS)


@objects.command("list")
@click.option("--kind", type=_KIND, help="Only those of one kind; without it all but routes and their next hops.")
@click.option("--vpn", shell_complete=names("vpn.list"), help="Only those of one VPN.")
@click.option("--state", type=click.Choice(["programmed", "pending", "failed", "unwanted"]), help="Only those.")
@watchable
@pass_options
def object_list(options: Options, kind: str | None, vpn: str | None, state: str | None) -> None:
    """List the objects, what is wanted of them and what the kernel has."""
    params = {key: value for key, value in (("kind", kind), ("vpn", vpn), ("state", state)) if value is not None}

    def look() -> None:
        rows = [row for page in pages(options, "object.list", params, limit=None) for row in items(page)]
        options.show({"items": rows}, lambda colour: views.objects(options, rows, colour))

    options.repeat(look)


@objects.command("show", short_help="Show one object: what is wanted, and what the kernel has.")
@click.argument("kind", type=_KIND)
@click.argument("name")
@watchable
@pass_options
def object_show(options: Options, kind: str, name: str) -> None:
    """Show one object: what is wanted, what the kernel has, who wants it, and how often it was repaired.

    \b
    Examples:
      vrfwire object show mpls-route 100000
      vrfwire object show vrf-route "10.1.1.2/32 table 10000"
    """

    def look() -> None:
        reply = options.ask("object.show", {"kind": kind, "name": name})
        options.show(reply, lambda colour: views.object_text(options, reply, colour))

    options.repeat(look)
