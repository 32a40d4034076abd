"""The `vrfwire-map` command: the MAP server, and operators' work with it or any other."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from ifmap.commands_map import publish, purge, search, watch
from ifmap.commands_server import client, passwd, serve, session
from ifmap.commands_vpn import bind, state, unbind, vpn
from ifmap.map_options import MapOptions, server_options
from runtime.command import CONTEXT, Group, common, run
from runtime.doctor_command import add_doctor
from runtime.output import Row
from runtime.standard_commands import add_standard_commands

PROGRAM = "vrfwire-map"
DEFAULT_SOCKET = "/run/vrfwire/map.sock"


@click.group(cls=Group, context_settings=CONTEXT)
@common
@server_options
def cli() -> None:
    """Run a MAP server (IF-MAP 2), provision VPNs in one, and see what is up.

    vpn, bind, unbind, state, publish, search, watch and purge ask any MAP server: --url with --user or --cert,
    VRFWIRE_MAP_URL and its like, or /etc/vrfwire/map-client.toml. status, session, client and config ask the daemon of
    this machine by its control socket.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 conflict, 4 not found, 5 server unreachable, 7 degraded, 77 not permitted.
    """


def _schema() -> type:
    from ifmap.server.config import MapConfig

    return MapConfig


def _examine(path: str | None) -> Sequence[Row]:
    """What the daemon's doctor would look at."""
    # Imported here: it costs more than the whole of every other command.
    from ifmap.server.config import MapConfig
    from ifmap.server.doctor import subject
    from ifmap.server.main import check
    from runtime.config import load
    from runtime.doctor_daemon import examine_configured

    return examine_configured(lambda: subject(load(MapConfig, program="map", path=path).value, check))


for _command in (serve, vpn, bind, unbind, state, publish, search, watch, purge, passwd, session, client):
    cli.add_command(_command)
add_standard_commands(cli, PROGRAM, "map", _schema)
add_doctor(cli, "the configuration, certificates, ports and the store of the server of this machine", _examine)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return run(cli, MapOptions(PROGRAM, PROGRAM, os.environ.get("VRFWIRE_SOCKET") or DEFAULT_SOCKET), arguments)


if __name__ == "__main__":
    sys.exit(main())
