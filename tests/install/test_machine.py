"""A machine ends with the process that has booted it, whatever ends that, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.machine_root import sweep
from lab.wait import wait_until

ROOT = Path(__file__).resolve().parents[2]

BOOT = """
from pathlib import Path
from lab.machine import Machine
from lab.machine_root import Root, archive

with Root(archive(Path("build/machine"))) as root, Machine(root) as machine:
    machine.boot()
    done = machine.run("sh", "-c", "cat; echo $X >&2; exit 3", stdin="in", environ={"X": "err"}, check=False)
    assert (done.status, done.stdout, done.stderr) == (3, "in", "err\\n"), done
    print(root.work.parent, flush=True)
    input()
"""


def processes(of: str) -> list[str]:
    """Command lines that have `of` in them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if of in line:
            found.append(line)
    return found


@pytest.mark.timeout(300)
def test_machine_of_a_process_that_is_killed_is_gone() -> None:
    command = [sys.executable, "-c", BOOT]
    owner = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None and owner.stdin is not None
        directory = Path(owner.stdout.readline().strip())
        assert directory.name.startswith("vrfwire-machine-") and processes(str(directory))
    finally:
        owner.kill()
        owner.communicate()
    wait_until(lambda: not processes(str(directory)), 10, "the machine's processes to end")
    os.utime(directory, (0, 0))
    sweep(directory.parent)
    assert not directory.exists()
