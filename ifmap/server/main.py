"""The `vrfwire-map serve` daemon."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ifmap.server.auth import Clients
from ifmap.server.config import MapConfig
from ifmap.server.daemon import Daemon, check_tls, server_name
from ifmap.server.storage import open_map
from ifmap.server.store import parse_url
from runtime.config import Loaded
from runtime.daemon import Program, Source, raise_file_limit

PROGRAM = "vrfwire-map"


def check(config: MapConfig) -> None:
    """Everything that can be found wrong without serving and without the store; raises OperatorError."""
    check_tls(config)
    Clients.of(config.client)
    parse_url(config.store.address())


async def _serve(loaded: Loaded[MapConfig], source: Source) -> None:
    config = loaded.value
    raise_file_limit(config.map.max_connections, "map.max_connections")
    # The cheap checks first: loading a large map takes seconds.
    check(config)
    stored = open_map(config.store.address(), name=server_name(config), lease=config.store.lease)
    try:
        daemon = Daemon(loaded, source, stored)
    except BaseException:
        stored.store.close()
        raise
    await daemon.run()


SERVE = Program(PROGRAM, f"{PROGRAM} serve", "IF-MAP server of vrfwire.", "map", MapConfig, check, _serve)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return SERVE.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
