"""What a kernel has is decided by trying, and by nothing else."""

from __future__ import annotations

import subprocess

import pytest

from lab.probe import TRIALS, Probe, parse, probe, script


def _sh(text: str) -> str:
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout


def test_script_reports_each_trial() -> None:
    trials = {"good": "true", "bad": "echo first line >&2; echo second; false", "mute": "false"}
    found = parse(_sh(script(trials)), trials)
    assert found.missing == {"bad": "first line", "mute": "the trial failed"}
    assert not found.capable
    assert str(found) == "this kernel has no bad, mute"


def test_trial_that_did_not_run_is_missing() -> None:
    assert parse("vrf ok\n", {"vrf": "", "gre": ""}).missing == {"gre": "the trial did not run"}
    assert parse("", TRIALS).missing.keys() == TRIALS.keys()


def test_all_trials_passed() -> None:
    found = parse("".join(f"{name} ok\n" for name in TRIALS), TRIALS)
    assert found == Probe({})
    assert found.capable
    assert str(found) == "this kernel has everything"


def test_probe_loads_modules_then_tries_in_a_fresh_namespace() -> None:
    ran: list[list[str]] = []

    def run(argv: list[str]) -> str:
        ran.append(argv)
        return "".join(f"{name} ok\n" for name in TRIALS) if argv[0] == "unshare" else ""

    assert probe(run, uid=0).capable
    assert ran[-1][:3] == ["unshare", "--mount", "--net"]
    assert all(argv[0] == "modprobe" for argv in ran[:-1])


def test_probe_without_root_tries_nothing() -> None:
    def run(argv: list[str]) -> str:
        raise AssertionError(argv)

    assert "root" in probe(run, uid=1000).missing


@pytest.mark.parametrize("error", [FileNotFoundError("unshare"), subprocess.TimeoutExpired("unshare", 60)])
def test_probe_that_cannot_be_made_is_not_capable(error: Exception) -> None:
    def run(argv: list[str]) -> str:
        raise error

    assert "unshare" in probe(run, uid=0).missing["namespaces"]
