"""The `vrfwire-map serve` daemon."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ifmap.server.auth import Clients
from ifmap.server.config import DEFAULT_SOCKET, MapConfig
from ifmap.server.daemon import Daemon, server_name, tls_of
from ifmap.server.storage import open_map
from runtime import log as logs
from runtime.collector import collect_seldom
from runtime.config import Loaded, load
from runtime.control import group_id
from runtime.errors import ExitCode, OperatorError

PROGRAM = "vrfwire-map"


def check(config: MapConfig) -> None:
    """Everything that can be found wrong without serving and without the store; raises OperatorError."""
    tls_of(config)
    Clients.of(config.client)
    config.store.address()
    if config.control.group is not None:
        group_id(config.control.group)


def _raise_file_limit() -> None:
    """A connection is a file: take as many as the service manager allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(loaded: Loaded[MapConfig], path: Path | None, overrides: Mapping[str, object]) -> None:
    config = loaded.value
    # The cheap checks first: loading a large map takes seconds.
    check(config)
    stored = open_map(config.store.address(), name=server_name(config), lease=config.store.lease)
    try:
        daemon = Daemon(loaded, path, overrides, stored)
    except BaseException:
        stored.store.close()
        raise
    await daemon.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} serve", description="IF-MAP server of vrfwire.")
    parser.add_argument("--config", metavar="FILE", type=Path, help="default: /etc/vrfwire/map.toml")
    parser.add_argument("--socket", metavar="PATH", type=Path, help=f"control socket, default: {DEFAULT_SOCKET}")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit")
    options = parser.parse_args(arguments)
    try:
        overrides = {"control.socket": options.socket}
        loaded = load(MapConfig, program="map", path=options.config, overrides=overrides)
        if options.check:
            check(loaded.value)
            print("configuration ok")
            return ExitCode.OK
        logs.configure(loaded.value.log.level)
        _raise_file_limit()
        collect_seldom()
        asyncio.run(_serve(loaded, options.config, overrides))
    except OperatorError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.code
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
