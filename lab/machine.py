"""A Debian machine: its own root, systemd as process 1, in user-mode Linux. For what network namespaces can't show.

    with Root(archive(cache)) as root, Machine(root) as machine:
        machine.boot()
        print(machine.run("systemctl", "is-system-running").stdout)
        machine.power_off()
        machine.boot()                                  # the disk is as it was left

Commands go in over a serial line, to `machine_server.py`, and their output comes out in files of a shared directory.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import environment, uml
from lab.errors import LabError
from lab.machine_root import Root
from lab.process import adopt_orphans, die_with_parent, kill_group

INIT = Path("/lib/systemd/systemd")
MEMORY = 1000
"""MiB of a machine."""
BOOT_DEADLINE = 90.0
"""Seconds until a machine that boots must take commands; it needs 4."""

_ALONE = ("unshare", "--pid", "--fork", "--kill-child=SIGKILL", "--")
"""Its processes in a namespace of their own: those that serve its disk would outlive a kernel that is killed."""

_LOOK = 0.5
"""Seconds between looks whether the machine is alive."""

_LOOK_OUTPUT = 0.05
"""Seconds between looks at the output of a command."""

LINE_LIMIT = 2048
"""Bytes of a request on the serial line: a terminal keeps 4096 that nobody has read yet, and loses what comes beyond.
What is longer goes by the shared directory."""

_OPTIONS = ("systemd.show_status=no", "quiet")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended. status: exit status, -N after signal N; seconds: how long it took."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    def json(self) -> Any:
        """Its output, read as one JSON document."""
        return json.loads(self.stdout)


class Machine:
    """A machine that can be booted and powered off again and again. A context manager that ends it.

    It has no network but its own; the serial line is the only way in.
    """

    def __init__(self, root: Root, memory: int = MEMORY) -> None:
        """memory: MiB."""
        self.root = root
        self._memory = memory
        self._exchange = root.exchange
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._buffer = b""
        self._numbers = itertools.count(1)
        self._ended: dict[int, int] = {}
        self._log = root.work / "console"
        adopt_orphans()

    # -- life

    def boot(self, deadline: float = BOOT_DEADLINE) -> float:
        """Start it; returns when commands can be run, with the seconds that took.

        Units may still be starting then: wait_booted(). Raises LabError when the deadline passes or the machine dies.
        """
        assert self._process is None, "it is running"
        start = time.monotonic()
        ours, theirs = socket.socketpair()
        disk = self.root.disk()
        command = uml.command(uml.find_kernel(), self.root.work, INIT, self._memory, console=False, disk=disk)
        line = f"ssl0=fd:{theirs.fileno()},fd:{theirs.fileno()}"
        with theirs, self._log.open("ab") as console:
            self._process = subprocess.Popen(
                [*_ALONE, *command, "ssl=null", line, *_OPTIONS],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "TMPDIR": uml.memory_directory(self._memory)},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._line = ours
        self._buffer = b""
        try:
            while not any("ready" in message for message in self._receive(start + deadline)):
                if time.monotonic() >= start + deadline:
                    raise LabError(f"the machine takes no commands after {deadline:g} s", log=self.console())
        except BaseException:
            self.kill()
            raise
        return time.monotonic() - start

    def wait_booted(self, deadline: float = BOOT_DEADLINE) -> str:
        """Wait until systemd has started all that it should. Returns its state: "running", "degraded", ..."""
        return self.run("systemctl", "is-system-running", "--wait", deadline=deadline, check=False).stdout.strip()

    def power_off(self, deadline: float = BOOT_DEADLINE) -> float:
        """Shut it down in order; returns how many seconds that took. Raises LabError when it takes too long."""
        process = self._process
        assert process is not None, "it is not running"
        start = time.monotonic()
        # Not waited for: the server may be stopped before it can tell.
        self.start("systemctl", "start", "--no-block", "poweroff.target")
        try:
            process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise LabError(f"the machine was not off after {deadline:g} s", log=self.console()) from None
        finally:
            self.kill()
        return time.monotonic() - start

    def kill(self) -> None:
        """End it as a power cut does. Again: does nothing."""
        if self._process is not None:
            kill_group(self._process)
            self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def write(self, name: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file while it runs. owner: USER:GROUP."""
        user, _, group = owner.partition(":")
        path = Path(name)
        self.run("mkdir", "-p", str(path.parent))
        self.run("install", "-m", f"{mode:o}", "-o", user, "-g", group, "/dev/stdin", name, stdin=text)

    # -- commands

    def run(
        self,
        *argv: str,
        deadline: float = 30.0,
        check: bool = True,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command to its end, as root in /root.

        deadline: seconds, then it is killed. check: a status other than 0 raises LabError. environ: added to the
        machine's.
        """
        return self.start(*argv, stdin=stdin, environ=environ).wait(deadline, check)

    def start(self, *argv: str, stdin: str = "", environ: Mapping[str, str] | None = None) -> Running:
        """Start a command, which goes on beside what follows."""
        number = next(self._numbers)
        if stdin:
            (self._exchange / f"{number}.in").write_text(stdin, encoding="utf-8")
        self._send({"id": number, "argv": argv, "environ": dict(environ or {})})
        return Running(self, number, argv)

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._line is not None, "it is not running"
        data = json.dumps(message).encode()
        if len(data) > LINE_LIMIT:
            (self._exchange / f"{message['id']}.request").write_bytes(data)
            data = json.dumps({"id": message["id"]}).encode()
        with contextlib.suppress(BrokenPipeError):  # _receive says what has become of it
            self._line.sendall(data + b"\n")

    def _wait(self, number: int, deadline: float) -> int | None:
        """Exit status of a command, None when it hasn't ended at `deadline` (of time.monotonic())."""
        while number not in self._ended:
            if not self._receive(deadline):
                return None
        return self._ended.pop(number)

    def _output(self, number: int, kind: str) -> str:
        """What a command has written so far. kind: "out" or "err"."""
        path = self._exchange / f"{number}.{kind}"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _receive(self, deadline: float) -> list[dict[str, Any]]:
        """The messages that come next, at least one; none when the deadline passes. Raises LabError when it is dead."""
        assert self._line is not None and self._process is not None, "it is not running"
        while b"\n" not in self._buffer:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return []
            # Processes of a machine that has died may hold the line open: hence the look at the process as well.
            self._line.settimeout(min(remaining, _LOOK))
            data = None
            with contextlib.suppress(TimeoutError):
                data = self._line.recv(65536)
            if data == b"" or (data is None and self._process.poll() is not None):
                raise LabError(uml.diagnose(self.console(None)), log=self.console())
            self._buffer += data or b""
        *lines, self._buffer = self._buffer.split(b"\n")
        messages = [json.loads(line) for line in lines]
        self._ended.update({message["id"]: message["status"] for message in messages if "status" in message})
        return messages

    def console(self, lines: int | None = 60) -> str:
        """The end of what kernel, systemd and journal have put on the console, of all boots; None: all of it."""
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        return text if lines is None else uml.tail(text, lines)


class Running:
    """A command that was started in a machine."""

    def __init__(self, machine: Machine, number: int, argv: tuple[str, ...]) -> None:
        self._machine = machine
        self._number = number
        self._argv = argv
        self._began = time.monotonic()

    def signal(self, number: int) -> None:
        """Send a signal to it, and to what it has started."""
        self._machine._send({"id": self._number, "signal": number})

    def output(self) -> str:
        """What it has written to stdout so far."""
        return self._machine._output(self._number, "out")

    def wait_output(self, text: str, deadline: float = 30.0) -> None:
        """Wait until it has written `text` to stdout. Raises LabError when it ends before, and after the deadline."""
        end = time.monotonic() + deadline
        while text not in self.output():
            if self._number in self._machine._ended:
                if text not in self.output():
                    log = self.output() + self._machine._output(self._number, "err")
                    raise LabError(f"{self._argv[0]} ended without a {text!r}", log=log)
            elif time.monotonic() >= end:
                raise LabError(f"{self._argv[0]}: no {text!r} after {deadline:g} s", log=self.output())
            else:
                self._machine._receive(min(end, time.monotonic() + _LOOK_OUTPUT))

    def wait(self, deadline: float = 30.0, check: bool = True) -> Done:
        """Wait for its end. deadline, check: as for Machine.run()."""
        status = self._machine._wait(self._number, time.monotonic() + deadline)
        out, err = (self._machine._output(self._number, kind) for kind in ("out", "err"))
        command = " ".join(self._argv)
        if status is None:
            self.signal(signal.SIGKILL)
            raise LabError(f"{command}: not done after {deadline:g} s", log=f"{out}{err}\n{self._machine.console()}")
        if check and status != 0:
            raise LabError(f"{command}: exit status {status}", log=f"{out}{err}")
        return Done(self._argv, status, out, err, time.monotonic() - self._began)


def shell(root: Root, memory: int = MEMORY) -> int:
    """Boot a machine whose console is this terminal, with a shell on it; it is off when the shell ends."""
    command = uml.command(uml.find_kernel(), root.work, INIT, memory, console=True, disk=root.disk())
    with environment.terminal(root.work, console=True):
        return subprocess.run(
            [*_ALONE, *command, *_OPTIONS, "machine.shell", "systemd.journald.forward_to_console=no"],
            env={**os.environ, "TMPDIR": uml.memory_directory(memory)},
            start_new_session=True,
            preexec_fn=die_with_parent,
            check=False,
        ).returncode
