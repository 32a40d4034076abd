"""The servers that are compared: our gateway, Prosody and ejabberd, each on the loopback interface."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gateway_load import ROOT, Certificates
from benchmarks.processes import processor, resident
from benchmarks.xmpp_load import Settings
from lab import toml
from lab.daemon import Daemon
from lab.pki import Authority
from lab.process import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError

DOMAIN = "gw.example.org"
ADDRESS = "127.0.0.1"
MAX_SESSIONS = 12_000


def free_port() -> int:
    """A TCP port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port: int = probe.getsockname()[1]
        return port


class Gateway:
    """The daemon `vrfwire-gateway`. certificates: of the hosts; vpns: their names."""

    def __init__(self, directory: Path, certificates: Certificates, vpns: Sequence[str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._certificates = certificates
        self._socket = directory / "gateway.sock"
        own = Authority(directory / "pki").gateway(DOMAIN, [ADDRESS])
        settings = {
            "gateway": {
                "domain": DOMAIN,
                "listen": [f"{ADDRESS}:{self.port}"],
                "max_sessions": MAX_SESSIONS,
                "login_timeout": 60.0,
            },
            "tls": {"ca": str(certificates.ca), "certificate": str(own.certificate), "key": str(own.key)},
            "control": {"socket": str(self._socket)},
            "state": {"directory": str(directory / "state")},
            "log": {"level": "warning"},
            "vpn": [
                {"name": name, "import": [f"64512:{number}"], "export": [f"64512:{number}"]}
                for number, name in enumerate(vpns, 1)
            ],
        }
        config = directory / "gateway.toml"
        config.write_text(toml.dumps(settings), encoding="utf-8")
        argv = [sys.executable, "-m", "gateway.main", "--config", str(config)]
        log, environ = directory / "gateway.log", {"PYTHONPATH": str(ROOT)}
        self.daemon = Daemon("vrfwire-gateway", argv, None, log, self._ready, environ, die_with_parent)

    def settings(self, **changes: Any) -> Settings:
        """For the hosts of the load generator."""
        certificates = str(self._certificates.directory)
        return Settings(ADDRESS, self.port, DOMAIN, DOMAIN, certificates=certificates, **changes)

    @property
    def pid(self) -> int:
        """Of its process. Raises LabError when it isn't running."""
        return self.daemon.pid

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        return processor(self.pid)

    def resident(self) -> float:
        """Its memory, MiB."""
        return resident(self.pid)

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.daemon.start()

    def kill(self) -> None:
        """End it."""
        self.daemon.kill()

    def tail(self) -> str:
        """The last lines of its log."""
        return self.daemon.tail()

    def _ready(self) -> bool:
        try:
            with ControlClient(str(self._socket), "vrfwire-gateway") as client:
                client.call("version", timeout=5.0)
        except OperatorError:
            return False
        return True
