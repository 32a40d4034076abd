"""Gateways that speak BGP with each other on loopback addresses, as tests run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.pki import Authority
from tests.scenario.gateway_process import MESH, GatewayProcess, wait_for

ASN = 64512
PORT = 1790
QUICK = "connect_retry = 0.5\ndeferral_time = 5\n"
"""[bgp] of tests: nobody waits long."""


@dataclass
class Peer:
    """A [[bgp.peer]]. settings: further keys, as TOML has them."""

    address: str
    settings: str = ""
    port: int = PORT


@dataclass
class Site:
    """A gateway's BGP side. address: where it listens, dials from, and its router id."""

    address: str
    peers: list[Peer] = field(default_factory=list)
    bgp: str = QUICK
    router_id: str = ""

    def tables(self, tables: str = MESH) -> str:
        """[bgp] and what follows it."""
        listen = f"[{self.address}]" if ":" in self.address else self.address
        text = f'[bgp]\nlisten = ["{listen}:{PORT}"]\n{self.bgp}\n'
        for peer in self.peers:
            text += (
                f'[[bgp.peer]]\naddress = "{peer.address}"\nport = {peer.port}\nlocal_address = "{self.address}"\n'
                f"{peer.settings}\n"
            )
        return text + tables


class BgpGateway(GatewayProcess):
    """A gateway with peers."""

    def __init__(self, directory: Path, authority: Authority, site: Site) -> None:
        self.site = site
        settings = f'router_id = "{site.router_id or site.address}"\nas = {ASN}\n'
        super().__init__(directory, authority, settings, site.tables())

    def configure(self, site: Site) -> None:
        """Write another configuration; SIGHUP makes it count."""
        self.site = site
        self.write_config(site.tables())

    def peer(self, name: str) -> Mapping[str, Any]:
        """One row of peer.list."""
        rows: list[dict[str, Any]] = self.ask("peer.list")["items"]
        return next(row for row in rows if row["name"] == name)

    def wait_up(self, *names: str) -> None:
        """Until the sessions with these peers are established."""
        for name in names:
            wait_for(lambda name=name: self.peer(name)["state"] == "established", f"{name}:\n{self.text()[-2000:]}")

    def wait_down(self, name: str) -> None:
        """Until the session with this peer is not."""
        wait_for(lambda: self.peer(name)["state"] != "established", f"{name} to go down:\n{self.text()[-2000:]}")
