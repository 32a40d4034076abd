"""Work that may hang doesn't keep its caller."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from runtime.bounded import Task, run

LONG = 30.0


def test_a_result_and_an_error() -> None:
    assert Task(lambda: 7, "seven").result(LONG) == 7
    with pytest.raises(ZeroDivisionError):
        Task(lambda: 1 / 0, "zero").result(LONG)


def test_what_hangs_is_left_behind() -> None:
    release = threading.Event()
    task = Task(release.wait, "hangs")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        task.result(0.05)
    assert time.monotonic() - began < LONG / 2
    release.set()
    assert task.result(LONG)


def test_what_hangs_is_not_begun_again_until_it_ends() -> None:
    """Or a daemon that is asked every minute has a thousand such threads in a day."""
    release, begun = threading.Event(), []

    def hangs() -> int:
        begun.append(threading.current_thread())
        release.wait(LONG)
        return len(begun)

    for why in ("no answer within 0 s", "hangs since it was tried before", "hangs since it was tried before"):
        with pytest.raises(TimeoutError, match=why):
            Task(hangs, "hangs again").result(0.05)
    assert len(begun) == 1
    assert Task(lambda: 7, "another").result(LONG) == 7
    release.set()
    begun[0].join(LONG)
    assert Task(hangs, "hangs again").result(LONG) == 2


def test_a_command() -> None:
    done = run(
        [sys.executable, "-c", "import sys; print('moin'); print('oh', file=sys.stderr); sys.exit(3)"], seconds=LONG
    )
    assert (done.status, done.text, done.complaint, done.truncated) == (3, "moin\n", "oh", False)
    assert run(["true"], seconds=LONG).complaint == ""


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run(["no-such-command"], seconds=LONG)


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    began = time.monotonic()
    done = run(["sh", "-c", f"sleep {LONG} & echo $! > {note}; echo begun; wait"], seconds=0.5)
    assert time.monotonic() - began < LONG / 2
    assert (done.status, done.text, done.complaint) == (None, "begun\n", "took too long")
    child = int(note.read_text())
    end = time.monotonic() + LONG / 2
    while _runs(child) and time.monotonic() < end:
        os.sched_yield()
    assert not _runs(child)


def test_a_command_that_writes_without_end_is_cut() -> None:
    done = run(["sh", "-c", "while :; do echo 0123456789; done"], seconds=LONG, limit=1000)
    assert (done.status, len(done.out), done.truncated) == (None, 1000, True)
    assert done.complaint == "more than 1000 bytes"


def test_a_command_ended_by_a_signal() -> None:
    assert run(["sh", "-c", "kill -9 $$"], seconds=LONG).status == -signal.SIGKILL


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
