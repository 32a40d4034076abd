"""Running a command in user-mode Linux: the parent's part with a fake kernel; death and hang with the real one too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import environment, uml
from lab.environment import Job
from lab.errors import EXIT_LAB, LabError
from lab.wait import wait_until

ROOT = Path(environment.__file__).resolve().parent.parent


@pytest.fixture
def fake_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in the kernel's place; write_kernel() fills it. $EXCHANGE is the exchange directory."""
    kernel = tmp_path / "linux.uml"
    monkeypatch.setattr(uml, "find_kernel", lambda: str(kernel))
    monkeypatch.setattr(uml, "module_root", lambda exchange: None)
    return kernel


def write_kernel(kernel: Path, body: str) -> None:
    """Make the fake kernel do what `body` says."""
    find = 'for a in "$@"; do case $a in uml_dir=*) EXCHANGE=${a#uml_dir=};; esac; done'
    kernel.write_text(f"#!/bin/sh\n{find}\n{body}\n")
    kernel.chmod(0o755)


def outer(kernel: Path) -> list[str]:
    """Command that runs a job with the fake kernel in a process of its own: it takes over signals and output."""
    script = (
        "import sys\n"
        "from lab import environment, uml\n"
        "uml.module_root = lambda exchange: None\n"
        f"uml.find_kernel = lambda: {str(kernel)!r}\n"
        "sys.exit(environment.run(environment.Job(['x'], timeout=60), 'uml'))\n"
    )
    return [sys.executable, "-c", script]


def test_output_and_status_are_handed_through(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    write_kernel(
        kernel,
        "echo console chatter; printf 'a\\377b' >>$EXCHANGE/out; echo oh >>$EXCHANGE/err; echo 3 >$EXCHANGE/status",
    )
    done = subprocess.run(outer(kernel), cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"a\xffb", b"oh\n")


def test_panic_is_a_clear_failure_with_the_consoles_tail(fake_kernel: Path) -> None:
    write_kernel(fake_kernel, "echo before; echo 'Kernel panic - not syncing: Oh dear'; exit 134")
    with pytest.raises(LabError, match="the guest kernel panicked: Oh dear") as caught:
        environment.run(Job(["x"], timeout=30), "uml")
    assert caught.value.log.splitlines()[0] == "before"


def test_machine_that_ends_without_status(fake_kernel: Path) -> None:
    write_kernel(fake_kernel, "exit 0")
    with pytest.raises(LabError, match="ended without an exit status"):
        environment.run(Job(["x"], timeout=30), "uml")


def test_hang_is_ended_at_the_deadline_with_its_children(fake_kernel: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    write_kernel(fake_kernel, f"echo stuck here; sleep 600 & echo $$ $! >{pids}; wait")
    start = time.monotonic()
    with pytest.raises(LabError, match=r"not done after 0\.5 s") as caught:
        environment.run(Job(["x"], timeout=0.5), "uml")
    assert time.monotonic() - start < 10
    assert caught.value.log == "stuck here"
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_machine_that_does_not_power_off_is_ended(fake_kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "GRACE", 0.1)
    write_kernel(fake_kernel, "echo 0 >$EXCHANGE/status; sleep 600")
    assert environment.run(Job(["x"], timeout=30), "uml") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    kernel, pids = tmp_path / "kernel", tmp_path / "pids"
    write_kernel(kernel, f"sleep 600 & echo $$ $! >{pids}.new; mv {pids}.new {pids}; wait")
    with subprocess.Popen(outer(kernel), cwd=ROOT) as process:
        wait_until(pids.exists, 20, "the fake kernel to run")
        process.send_signal(number)
        assert process.wait(20) == 128 + number
    for pid in pids.read_text().split():
        assert not Path(f"/proc/{pid}").exists()


def test_job_keeps_the_callers_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("CI", "true")
    job = Job(["a", "b c"], stdin=b"text", environ={"MORE": "1"})
    environment.write_job(tmp_path, job, uml_root=tmp_path / "modules", where="uml")
    written = json.loads((tmp_path / "job.json").read_text())
    assert written["argv"] == ["a", "b c"]
    assert written["cwd"] == str(Path.cwd())
    assert written["environ"]["PATH"] == "/usr/bin:/usr/sbin:/sbin"
    assert (written["environ"]["CI"], written["environ"]["MORE"]) == ("true", "1")
    assert written["environ"][environment.MARK] == "uml"
    assert written["stdin"] is True
    assert (tmp_path / "stdin").read_bytes() == b"text"
    assert os.access(tmp_path / "init", os.X_OK)


def test_choice_is_the_users_or_the_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    from lab.probe import Probe

    assert environment.choose("uml") == "uml"
    monkeypatch.setattr(environment, "probe", lambda: Probe({}))
    assert environment.choose() == "native"
    monkeypatch.setattr(environment, "probe", lambda: Probe({"vrf": "no"}))
    assert environment.choose() == "uml"


def test_missing_kernel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml, "KERNEL", "linux.none")
    with pytest.raises(LabError, match=r"linux\.none is not installed") as caught:
        uml.find_kernel()
    assert "user-mode-linux" in caught.value.hint


# The real one: needs user-mode Linux, which `make setup` installs. A boot takes about three seconds.


def _lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", "run", "--uml", "--memory", "256", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_real_guest_runs_a_command() -> None:
    done = _lab("--timeout", "60", "--", "sh", "-c", "pwd; date +%s; echo $TMPDIR; cat; echo oh >&2; exit 5")
    directory, seconds, scratch = done.stdout.split()
    assert (done.returncode, done.stderr) == (5, "oh\n")
    assert directory == str(ROOT)
    assert abs(int(seconds) - time.time()) < 30
    assert scratch.startswith("/run/")


def test_real_guest_that_panics() -> None:
    done = _lab("--timeout", "60", "--", "sh", "-c", "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger")
    assert done.returncode == EXIT_LAB
    assert "lab: the guest kernel panicked: sysrq triggered crash" in done.stderr
    assert "last lines of the console" in done.stderr and "Call Trace" in done.stderr


def test_real_guest_that_hangs() -> None:
    done = _lab("--timeout", "8", "--", "sleep", "600")
    assert done.returncode == EXIT_LAB
    assert "lab: the guest machine was not done after 8 s; ended" in done.stderr
    assert "last lines of the console" in done.stderr
