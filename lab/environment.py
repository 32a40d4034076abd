"""Where the lab runs: this kernel in private namespaces, or a user-mode Linux that we boot.

Both run `lab/guest_init.py` as their first process; the same code runs inside both.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lab import uml
from lab.errors import LabError
from lab.probe import MODULES, probe
from lab.process import adopt_orphans, die_with_parent, kill_group

INIT = Path(__file__).with_name("guest_init.py")
MARK = "VRFWIRE_LAB"
"""Set to the environment's name in the environment of everything that runs inside."""

STARTED = "VRFWIRE_LAB_STARTED"
"""Time when the user's command began, in seconds since the epoch: what runs inside counts from there."""

POLL = 0.02
"""Seconds between looks at the guest's output."""
GRACE = 3.0
"""Seconds for a machine to power off once its command's exit status is known."""


@dataclass(frozen=True, slots=True)
class Job:
    """A command to run inside. timeout: seconds, None for none; stdin: text for it to read; memory: MiB (guest)."""

    argv: Sequence[str]
    timeout: float | None = None
    console: bool = False
    stdin: bytes | None = None
    memory: int = uml.DEFAULT_MEMORY
    environ: Mapping[str, str] = field(default_factory=dict)
    """Added to the caller's."""


def choose(wanted: str | None = None) -> str:
    """ "native" or "uml": what `wanted` says, or what a probe of this kernel finds."""
    if wanted is not None:
        return wanted
    return "native" if probe().capable else "uml"


def run(job: Job, where: str) -> int:
    """Run a job in the environment `where`, its output going live to ours. Returns its exit status.

    Raises LabError when the environment can't be made, dies, or the deadline passes.
    """
    with tempfile.TemporaryDirectory(prefix="vrfwire-lab-") as directory:
        exchange = Path(directory)
        if where == "native":
            write_job(exchange, job, uml_root=None, where=where)
            return _run_native(exchange, job)
        write_job(exchange, job, uml_root=uml.module_root(exchange), where=where)
        return _run_uml(exchange, job, uml.find_kernel())


def write_job(exchange: Path, job: Job, uml_root: Path | None, where: str) -> None:
    """Put what guest_init.py needs into the exchange directory."""
    path = os.environ.get("PATH", os.defpath)
    for extra in ("/usr/sbin", "/sbin"):
        if extra not in path.split(":"):
            path += f":{extra}"
    if job.stdin is not None:
        (exchange / "stdin").write_bytes(job.stdin)
    document = {
        "argv": list(job.argv),
        "cwd": str(Path.cwd()),
        "environ": {**os.environ, **job.environ, "PATH": path, MARK: where},
        "uml": where == "uml",
        "module_root": None if uml_root is None else str(uml_root),
        "modules": MODULES,
        "console": job.console,
        "stdin": job.stdin is not None,
    }
    (exchange / "job.json").write_text(json.dumps(document), encoding="utf-8")
    script = exchange / "init"
    script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -I -S '{INIT}' '{exchange}'\n", encoding="utf-8")
    script.chmod(0o755)


class _Stopped(BaseException):
    """A signal asked the lab to end."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise _Stopped in the block, so that what runs inside is ended with us."""

    def stop(number: int, _frame: object) -> None:
        raise _Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_native(exchange: Path, job: Job) -> int:
    """Private mount, network and process namespaces: all that was made vanishes with the last process."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child=SIGKILL", "--"]
    deadline = _deadline(job.timeout)
    with _signals():
        process = subprocess.Popen(
            [*unshare, str(exchange / "init")],
            stdin=None if job.console else subprocess.DEVNULL,
            start_new_session=not job.console,
            preexec_fn=die_with_parent,
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise LabError(f"not done after {job.timeout:g} s; ended")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(min(1.0, max(0.0, deadline - time.monotonic())))
        except _Stopped as stopped:
            return 128 + stopped.number
        finally:
            if process.poll() is None:
                # unshare kills its child, process 1 of the namespace, and with it everything inside.
                process.kill()
                process.wait()
    status = _status(exchange)
    if status is None:
        raise LabError(f"the environment ended without an exit status (unshare: {process.returncode})")
    return status


def _run_uml(exchange: Path, job: Job, kernel: str) -> int:
    """Boot user-mode Linux, hand its output through, and hand out the exit status."""
    command = uml.command(kernel, exchange, exchange / "init", job.memory, job.console)
    environ = {**os.environ, "TMPDIR": uml.memory_directory(job.memory)}
    log = exchange / "console"
    adopt_orphans()
    deadline = _deadline(job.timeout)
    with _signals(), terminal(exchange, job.console), log.open("wb") as console:
        process = subprocess.Popen(
            command,
            stdin=None if job.console else subprocess.DEVNULL,
            stdout=None if job.console else console,
            stderr=None if job.console else console,
            env=environ,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        try:
            status = _follow(exchange, process, deadline)
        except _Stopped as stopped:
            return 128 + stopped.number
        finally:
            kill_group(process)
    if status is not None:
        return status
    text = log.read_text(encoding="utf-8", errors="replace")
    if time.monotonic() > deadline:
        raise LabError(f"the guest machine was not done after {job.timeout:g} s; ended", log=uml.tail(text))
    raise LabError(uml.diagnose(text), log=uml.tail(text))


def _follow(exchange: Path, process: subprocess.Popen[bytes], deadline: float) -> int | None:
    """Copy the guest's output until it has a status, has died or is late. Returns the status, None without one."""
    with contextlib.ExitStack() as stack:
        relays: list[tuple[BinaryIO, BinaryIO]] = []
        for name, target in (("out", sys.stdout), ("err", sys.stderr)):
            (exchange / name).touch()
            relays.append((stack.enter_context((exchange / name).open("rb")), target.buffer))
        while True:
            ended = process.poll() is not None
            status = _status(exchange)
            # Looked at before the copy, so that the copy has all that was written before the status.
            for source, sink in relays:
                data = source.read()
                if data:
                    sink.write(data)
                    sink.flush()
            if status is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                return status
            if ended or time.monotonic() > deadline:
                return None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL)


def _status(exchange: Path) -> int | None:
    try:
        return int((exchange / "status").read_text(encoding="ascii"))
    except FileNotFoundError:
        return None


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


@contextlib.contextmanager
def terminal(exchange: Path, console: bool) -> Iterator[None]:
    """With a console: tell the guest the terminal's size, and put the terminal's modes back afterwards."""
    if not console:
        yield
        return
    import fcntl
    import termios

    before = termios.tcgetattr(0)
    (exchange / "winsize").write_bytes(fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def shell() -> str:
    """The user's shell, if this machine has it."""
    return shutil.which(os.environ.get("SHELL", "")) or "/bin/sh"
