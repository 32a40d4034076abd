"""The speakers that are compared: each a route reflector with two clients, in a network namespace of its own."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from benchmarks.bgp_scenarios import REMOTE, SINK, SOURCE, Figures, Settings
from benchmarks.gateway_daemon import ROOT, GatewayDaemon, own_tables
from lab import toml
from lab.errors import LabError
from lab.namespace import Namespace
from lab.pki import Authority
from lab.speakers.base import Neighbour, Speaker

DOMAIN = "vpn.example.net"
PORT = 1790
LIMIT = 3_000_000
"""Routes that a peer may send: more than any measurement."""

SPEAKERS = {
    "frr": ("lab.speakers.frr", "Frr", "/usr/lib/frr/bgpd"),
    "bird": ("lab.speakers.bird", "Bird", "bird"),
    "openbgpd": ("lab.speakers.openbgpd", "OpenBgpd", "bgpctl"),
    "gobgp": ("lab.speakers.gobgp", "GoBgp", "gobgpd"),
}
"""Module, class and program by name."""


class Reflector(Protocol):
    """What is started, measured and stopped."""

    @property
    def pid(self) -> int:
        """The process; its children belong to it."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...

    def kill(self) -> None:
        """End it."""
        ...

    def tail(self) -> str:
        """The last lines of its log."""
        ...


def present() -> list[str]:
    """Names of the speakers of others that are installed here."""
    return [name for name, (_, _, program) in SPEAKERS.items() if shutil.which(program) is not None]


def missing() -> list[str]:
    """Names of those that aren't."""
    return [name for name in SPEAKERS if name not in present()]


def other(name: str, directory: Path, namespace: Namespace, families: Sequence[str] = ("vpnv4",)) -> Speaker:
    """A speaker of others as reflector. families: towards the sink; the source has VPN-IPv4 alone."""
    module, kind, _ = SPEAKERS[name]
    make: Callable[..., Speaker] = getattr(importlib.import_module(module), kind)
    neighbours = [
        Neighbour(address, passive=True, client=True, families=tuple(spoken), hold_time=90)
        for address, spoken in ((SOURCE, ("vpnv4",)), (SINK, families))
    ]
    return make(name, directory, REMOTE, neighbours, namespace=namespace)


class Gateway(GatewayDaemon):
    """The daemon `vrfwire-gateway` as reflector. tables: of its configuration, e.g. [[vpn]]; hold_time: seconds."""

    def __init__(
        self,
        directory: Path,
        namespace: Namespace,
        families: Sequence[str] = ("vpnv4",),
        *,
        tables: str = "",
        hold_time: int = 90,
        authority: Authority,
    ) -> None:
        credentials = authority.gateway(DOMAIN, [REMOTE])
        peers = "".join(
            f'[[bgp.peer]]\naddress = "{address}"\nlocal_address = "{REMOTE}"\nport = {PORT}\npassive = true\n'
            f"reflector_client = true\nfamilies = {json.dumps(list(spoken))}\n"
            for address, spoken in ((SOURCE, ("vpnv4",)), (SINK, families))
        )
        super().__init__(
            directory,
            f'[gateway]\ndomain = "{DOMAIN}"\nlisten = ["{REMOTE}:5222"]\nrouter_id = "{REMOTE}"\nas = 64512\n'
            f'[tls]\nca = "{credentials.ca}"\ncertificate = "{credentials.certificate}"\nkey = "{credentials.key}"\n'
            f'[bgp]\nlisten = ["{REMOTE}:{PORT}"]\nhold_time = {hold_time}\n{peers}{tables}'
            f"{toml.dumps(own_tables(directory))}",
            namespace,
        )


def scenario(namespace: Namespace, name: str, settings: Settings) -> Figures:
    """Run a scenario of benchmarks.bgp_scenarios in a process of its own. Raises LabError when it fails."""
    with namespace.entered():
        return _figures("benchmarks.bgp_scenarios", name, json.dumps(settings.as_dict()))


def core(what: str, count: int) -> Figures:
    """Run a measurement of benchmarks.bgp_core in a process of its own. Raises LabError when it fails."""
    return _figures("benchmarks.bgp_core", what, str(count))


def _figures(module: str, *arguments: str) -> Figures:
    argv = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise LabError(f"{module} {arguments[0]}: {done.stderr.strip()[-2000:]}")
    figures: Figures = json.loads(done.stdout)
    return figures
