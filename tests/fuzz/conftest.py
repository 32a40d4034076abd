"""The fuzzers run beside all other tests of a session, at the lowest priority, and are reported at its end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from lab.speakers.base import die_with_parent

HERE = Path(__file__).parent
SECONDS = 60
"""CPU time of each, at most."""
SEED = 1
"""Always the same, so that nothing that fails is gone the next time; by hand each run takes another one."""
FUZZERS = {"bgp_codec": SECONDS, "bgp_speaker": SECONDS, "map_service": 5}
"""With the CPU time of each."""
RUNNING = pytest.StashKey[dict[str, subprocess.Popen[str]]]()


SUMMARY = pytest.StashKey[list[str]]()
"""What is said of them at the end of the session."""


def command(name: str) -> list[str]:
    """How to run a fuzzer again, behind the name of Python."""
    return ["-m", f"tests.fuzz.{name}", "--seed", str(SEED)]


def _behind_all_others() -> None:
    """Take only time that nobody else wants, also where the kernel shares it out by session first; end with us."""
    die_with_parent()
    os.nice(19)
    _group("self", 19)


def before_others(pid: int) -> None:
    """Take time like everybody else from here on, if we may decide that."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, 0)
    _group(str(pid), 0)


def _group(process: str, nice: int) -> None:
    """Set the priority of a process's session; not every kernel has any."""
    with contextlib.suppress(OSError):
        Path("/proc", process, "autogroup").write_text(str(nice), encoding="ascii")


def _ours(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if item.path.parent == HERE]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These tests come last: what they wait for takes its time."""
    last = _ours(items)
    items[:] = [item for item in items if item not in last] + last


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the fuzzers, if anybody will look at them."""
    if not _ours(session.items) or session.config.option.collectonly:
        return
    session.config.stash[SUMMARY] = []
    session.config.stash[RUNNING] = {
        name: subprocess.Popen(
            [sys.executable, *command(name), "--seconds", str(seconds)],
            cwd=HERE.parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_behind_all_others,
        )
        for name, seconds in FUZZERS.items()
    }


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how far they came."""
    for line in config.stash.get(SUMMARY, []):
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """A session that ends early leaves none behind."""
    for process in config.stash.get(RUNNING, {}).values():
        if process.poll() is None:
            process.kill()
        process.communicate()
