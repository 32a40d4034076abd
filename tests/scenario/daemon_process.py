"""A daemon of ours in a process of its own on the loopback interface, as tests run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import OperatorError

T = TypeVar("T")

DEADLINE = 20.0
"""Seconds until a condition has to hold; far more than it takes."""


def wait_for(condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
    """Call condition until it is true, and return that; fails at the deadline."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.01)


class DaemonProcess:
    """`python -m MODULE --config FILE`, with all of its files in a directory. Whoever derives writes the configuration,
    with `socket` as its control socket."""

    name = ""
    """For its files and for messages: "gateway"."""
    module = ""
    """That is run."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / f"{self.name}.toml"
        self.socket = directory / f"{self.name}.sock"
        self.log = directory / f"{self.name}.log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, without waiting for anything."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-W", "error", "-m", self.module, "--config", str(self.config)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        return self._process

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.launch()
        status = wait_for(self._ready, f"the {self.name}:\n{self.text()}")
        self.port = int(status["listen"][0].rpartition(":")[2])

    def _ready(self) -> Any:
        assert self._process is not None and self._process.poll() is None, self.text()
        try:
            return self.ask("status")
        except OperatorError:
            return None

    def refuse(self) -> tuple[int, str]:
        """Start one that can't: its exit status and what it says."""
        status = self.launch().wait(DEADLINE)
        self._process = None
        return status, self.text()

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(DEADLINE)
        self._process = None
        return status

    def kill(self) -> None:
        """End it by SIGKILL if it still runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def ask(self, method: str, params: Mapping[str, object] | None = None) -> Any:
        """Call a method of its control socket."""
        with ControlClient(str(self.socket), f"vrfwire-{self.name}") as client:
            return client.call(method, dict(params or {}), timeout=DEADLINE)

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text()

    def wait_log(self, *words: str) -> str:
        """Wait for a line with all of the words."""

        def found() -> str:
            return next((line for line in self.text().splitlines() if all(word in line for word in words)), "")

        return wait_for(found, f"a log line with {words} in:\n{self.text()[-3000:]}")
