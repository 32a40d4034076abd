"""A minute of fuzzing; see conftest.py for how it doesn't take a minute."""

from __future__ import annotations

import subprocess

import pytest

from tests.fuzz.conftest import FUZZERS, RUNNING, SECONDS, SUMMARY, before_others, command

WAIT = 120
"""Seconds that a fuzzer may take to end what it is at, once it was asked to."""


@pytest.mark.timeout(SECONDS + WAIT + 30)
@pytest.mark.parametrize("name", FUZZERS)
def test_nothing_is_found(name: str, request: pytest.FixtureRequest) -> None:
    process = request.config.stash[RUNNING][name]
    before_others(process.pid)
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        # The machine is too busy for a minute of CPU time; what was done until now counts.
        process.terminate()
        output = finish(process)
    assert process.returncode == 0, output
    request.config.stash[SUMMARY].append(f"python {' '.join(command(name))}: {output.splitlines()[-1]}")


def finish(process: subprocess.Popen[str]) -> str:
    """What a fuzzer says that was asked to end."""
    try:
        return process.communicate(timeout=WAIT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it does not end: {process.communicate()[0]}")
