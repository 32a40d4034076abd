"""The daemon `vrfwire-gateway` as benchmarks run it: a process of this source tree, and its control socket."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.process import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError

ROOT = Path(__file__).parents[1]
PROGRAM = "vrfwire-gateway"


def own_tables(directory: Path) -> dict[str, object]:
    """What the configuration says of the files of a GatewayDaemon in this directory."""
    return {
        "control": {"socket": str(directory / "gateway.sock")},
        "state": {"directory": str(directory / "state")},
    }


class GatewayDaemon:
    """directory: for its files; config: text of gateway.toml, with own_tables(); namespace: None for the present one;
    module: what is run; ready: whether it serves, by its status."""

    def __init__(
        self,
        directory: Path,
        config: str,
        namespace: Namespace | None = None,
        module: str = "gateway.main",
        ready: Callable[[Any], bool] = bool,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.socket = directory / "gateway.sock"
        self._judge = ready
        path = directory / "gateway.toml"
        path.write_text(config, encoding="utf-8")
        argv = [sys.executable, "-m", module, "--config", str(path)]
        environ = {"PYTHONPATH": str(ROOT)}
        log = directory / "gateway.log"
        self.daemon = Daemon(PROGRAM, argv, namespace, log, self._ready, environ, die_with_parent)

    @property
    def pid(self) -> int:
        """Of its process. Raises LabError when it isn't running."""
        return self.daemon.pid

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.daemon.start()

    def kill(self) -> None:
        """End it."""
        self.daemon.kill()

    def tail(self) -> str:
        """The last lines of its log."""
        return self.daemon.tail()

    def ask(self, method: str, **parameters: object) -> Any:
        """Call a method of its control socket. Raises OperatorError."""
        with ControlClient(str(self.socket), PROGRAM) as client:
            return client.call(method, parameters, timeout=30.0)

    def _ready(self) -> bool:
        try:
            return self._judge(self.ask("status"))
        except OperatorError:
            return False
