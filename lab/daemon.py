"""Daemons of a lab: started in a namespace, output to a file, ready when a condition says so, ended in every way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.namespace import Namespace
from lab.wait import wait_until

START, STOP = 60.0, 20.0
"""Seconds that a daemon may take to be ready and to end; generous, because user-mode Linux has one slow CPU."""


class Daemon:
    """One program in a namespace (None: the present one), which can be started again and again.

    ready: true once it serves; asked until then. The log is appended to by every start. prepare: called in the child
    before the program is executed.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        namespace: Namespace | None,
        log: Path,
        ready: Callable[[], bool],
        environ: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.namespace = namespace
        self.log = log
        self.environ = dict(environ or {})
        self._ready = ready
        self._prepare = prepare
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id. Raises LabError when it isn't running."""
        if self._process is None or self._process.poll() is not None:
            raise LabError(f"{self.name} is not running", log=self.tail())
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it and return at once; wait_ready() follows, when others have been started as well."""
        if self.alive:
            raise LabError(f"{self.name} runs already")
        inside = contextlib.nullcontext() if self.namespace is None else self.namespace.entered()
        with self.log.open("ab") as log, inside:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                start_new_session=True,
                preexec_fn=self._prepare,
            )

    def wait_ready(self, deadline: float = START) -> None:
        """Wait until it serves. Raises LabError when it ends instead, or is late."""

        def ready() -> bool:
            if not self.alive:
                status = None if self._process is None else self._process.returncode
                raise LabError(f"{self.name} ended with status {status} instead of serving", log=self.tail())
            return self._ready()

        wait_until(ready, deadline, f"{self.name} to be ready", interval=0.05, detail=self.tail)

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.launch()
        self.wait_ready()

    def stop(self, deadline: float = STOP) -> int:
        """Ask it to end (SIGTERM) and wait. Returns its exit status; raises LabError when it doesn't end, or has
        ended by itself before."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is not None:
            self._process = None
            raise LabError(f"{self.name} had ended by itself with status {process.returncode}", log=self.tail())
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            status = process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise LabError(f"{self.name} did not end within {deadline:g} s of SIGTERM", log=self.tail()) from None
        self._process = None
        return status

    def kill(self) -> None:
        """End it as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Let it hang (SIGSTOP) until resume()."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after pause()."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """stop() and start()."""
        self.stop()
        self.start()

    def tail(self, lines: int = 25) -> str:
        """The last lines of its log, under its name."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            text = ""
        return "\n".join([f"--- {self.name} ---", *text.splitlines()[-lines:]])
