"""A gateway daemon on the loopback interface, as tests run it."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gateway.roster import decode
from gateway.roster_file import FILE_NAME
from lab.pki import Authority
from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError

T = TypeVar("T")

DOMAIN = "vpn.example.net"
DEADLINE = 20.0
"""Seconds until a condition has to hold; far more than it takes."""

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


def wait_for(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Call condition until it is true, and return that; fails at the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.01)


class GatewayProcess:
    """The daemon in a process of its own, at a port that the kernel chose."""

    def __init__(self, directory: Path, authority: Authority, settings: str = "", tables: str = MESH) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        self.config = directory / "gateway.toml"
        self.socket = directory / "gateway.sock"
        self.log = directory / "gateway.log"
        self.state = directory / "state"
        self._credentials = authority.gateway(DOMAIN, ["127.0.0.1"])
        self._settings = settings
        self.write_config(tables)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def write_config(self, tables: str) -> None:
        """Write the configuration. tables: [[vpn]] and [[host]]."""
        tls = self._credentials
        self.config.write_text(
            f'[gateway]\ndomain = "{DOMAIN}"\nlisten = ["127.0.0.1:0"]\n{self._settings}\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
            f'[control]\nsocket = "{self.socket}"\n[state]\ndirectory = "{self.state}"\n'
            f'[log]\nlevel = "debug"\n{tables}'
        )

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", "gateway.main", "--config", str(self.config)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        status = wait_for(self._ready, f"the gateway:\n{self.text()}")
        self.port = int(status["listen"][0].rpartition(":")[2])

    def _ready(self) -> Any:
        assert self._process is not None and self._process.poll() is None, self.text()
        try:
            return self.ask("status")
        except OperatorError:
            return None

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(DEADLINE)
        self._process = None
        return status

    def kill(self) -> None:
        """End it if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def resident(self) -> int:
        """Memory it has, bytes."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def ask(self, method: str, params: Mapping[str, object] | None = None) -> Any:
        """Call a method of its control socket."""
        with ControlClient(str(self.socket), "vrfwire-gateway") as client:
            return client.call(method, dict(params or {}), timeout=DEADLINE)

    def recorded(self) -> dict[str, int]:
        """The hosts that it has recorded for its next start, with their numbers of routes."""
        file = self.state / FILE_NAME
        return decode(file.read_bytes()) if file.exists() else {}

    def wait_recorded(self, hosts: Mapping[str, int]) -> None:
        """Wait until these are the hosts recorded: a start after a kill is to wait for them."""
        wait_for(lambda: self.recorded() == hosts, f"a record of {dict(hosts)}")

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    def wait_log(self, *words: str) -> str:
        """Wait for a line with all of the words."""

        def found() -> str:
            return next((line for line in self.text().splitlines() if all(word in line for word in words)), "")

        return wait_for(found, f"a log line with {words} in:\n{self.text()[-3000:]}")

    def routes(self, vpn: str) -> dict[str, list[tuple[str, int]]]:
        """Next hop addresses and labels by prefix."""
        items = self.ask("route.list", {"vpn": vpn})["items"]
        return {item["prefix"]: [(hop["address"], hop["label"]) for hop in item["next_hops"]] for item in items}
