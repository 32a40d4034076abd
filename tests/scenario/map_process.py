"""A map server on the loopback interface, as tests run it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ifmap.server.passwords import hash_password
from lab.pki import Authority
from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError
from tests.scenario.gateway_process import DEADLINE, wait_for

NAME = "map.example.net"
PASSWORD = "pass:wörd"
"""Of every client: with a colon and something that isn't ASCII."""
_RELOADED = "configuration reloaded"
_HASH = hash_password(PASSWORD, log_n=4).text


def client(name: str, rules: str = "") -> str:
    """A [[client]] with the password of all. rules: further lines."""
    return f'[[client]]\nname = "{name}"\npassword_hash = "{_HASH}"\n{rules}\n'


class MapProcess:
    """The daemon in a process of its own, at a port that the kernel chose. clients: [[client]] tables; settings: lines
    of [map]; tables: others."""

    def __init__(
        self, directory: Path, authority: Authority, clients: str, settings: str = "", tables: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = authority
        self.config = directory / "map.toml"
        self.socket = directory / "map.sock"
        self.log = directory / "map.log"
        self.database = directory / "map.db"
        self.credentials = authority.issue("map", NAME, dns=[NAME], addresses=["127.0.0.1"])
        self.settings = settings
        self.tables = tables
        self.write_config(clients)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def write_config(self, clients: str) -> None:
        """Write the configuration."""
        tls = self.credentials
        listen = f"127.0.0.1:{getattr(self, 'port', 0)}"
        self.config.write_text(
            f'[map]\nlisten = ["{listen}"]\nname = "one"\n{self.settings}\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
            f'[store]\nurl = "sqlite:///{self.database}"\n[control]\nsocket = "{self.socket}"\n'
            f'[log]\nlevel = "debug"\n{self.tables}\n{clients}'
        )

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", "ifmap.server.main", "--config", str(self.config)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        status = wait_for(self._ready, f"the map server:\n{self.text()}")
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

    def reload(self, clients: str, tables: str = "") -> None:
        """Give it another configuration, and wait until it has it."""
        before = self.text().count(_RELOADED)
        self.tables = tables
        self.write_config(clients)
        self.signal(signal.SIGHUP)
        wait_for(lambda: self.text().count(_RELOADED) > before, f"the configuration:\n{self.text()}")

    def ask(self, method: str, params: Mapping[str, object] | None = None) -> Any:
        """Call a method of its control socket."""
        with ControlClient(str(self.socket), "vrfwire-map") as control:
            return control.call(method, dict(params or {}), timeout=DEADLINE)

    def wait_polling(self, user: str, polling: bool = True) -> None:
        """Wait until a client's poll waits here, or none does."""

        def look() -> bool:
            sessions = self.ask("session.list")["items"]
            return any(session["client"] == user and session["polling"] for session in sessions) == polling

        wait_for(look, f"a poll of {user}" if polling else f"the end of the poll of {user}")

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    def wait_log(self, *words: str) -> str:
        """Wait for a line of the log with all of these words; returns it."""

        def look() -> str | None:
            return next((line for line in self.text().splitlines() if all(word in line for word in words)), None)

        return wait_for(look, f"a line of the log with {words}:\n{self.text()}") or ""
