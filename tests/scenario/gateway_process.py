"""A gateway daemon on the loopback interface, as tests run it."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path

from gateway.roster import decode
from gateway.roster_file import FILE_NAME
from lab.pki import Authority
from tests.scenario.daemon_process import DaemonProcess, wait_for

DOMAIN = "vpn.example.net"

MESH = """
[[vpn]]
name = "blue"
import = ["64512:1"]
export = ["64512:1"]
[[vpn]]
name = "red"
import = ["64512:2"]
export = ["64512:2"]
"""


class GatewayProcess(DaemonProcess):
    """The daemon in a process of its own, at a port that the kernel chose."""

    name = "gateway"
    module = "gateway.main"

    def __init__(self, directory: Path, authority: Authority, settings: str = "", tables: str = MESH) -> None:
        super().__init__(directory)
        self.authority = authority
        self.state = directory / "state"
        self._credentials = authority.gateway(DOMAIN, ["127.0.0.1"])
        self._settings = settings
        self.write_config(tables)

    def write_config(self, tables: str) -> None:
        """Write the configuration. tables: [[vpn]] and [[host]]."""
        tls = self._credentials
        self.config.write_text(
            f'[gateway]\ndomain = "{DOMAIN}"\nlisten = ["127.0.0.1:0"]\n{self._settings}\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
            f'[control]\nsocket = "{self.socket}"\n[state]\ndirectory = "{self.state}"\n'
            f'[log]\nlevel = "debug"\n{tables}'
        )

    def resident(self) -> int:
        """Memory it has, bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def recorded(self) -> dict[str, int]:
        """The hosts that it has recorded for its next start, with their numbers of routes."""
        file = self.state / FILE_NAME
        return decode(file.read_bytes()) if file.exists() else {}

    def wait_recorded(self, hosts: Mapping[str, int]) -> None:
        """Wait until these are the hosts recorded: a start after a kill is to wait for them."""
        wait_for(lambda: self.recorded() == hosts, f"a record of {dict(hosts)}")

    def routes(self, vpn: str) -> dict[str, list[tuple[str, int]]]:
        """Next hop addresses and labels by prefix."""
        items = self.ask("route.list", {"vpn": vpn})["items"]
        return {item["prefix"]: [(hop["address"], hop["label"]) for hop in item["next_hops"]] for item in items}
