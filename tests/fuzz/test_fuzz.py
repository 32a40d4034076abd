"""A minute of fuzzing; see conftest.py for how it doesn't take a minute."""

from __future__ import annotations

import subprocess

import pytest

from tests.fuzz.conftest import FUZZERS, RUNNING, SECONDS, SUMMARY, command

WAIT = 5 * SECONDS
"""Seconds that a fuzzer may take after all other tests; with a processor for itself it is SECONDS at the most."""


@pytest.mark.timeout(WAIT + 30)
@pytest.mark.parametrize("name", FUZZERS)
def test_nothing_is_found(name: str, request: pytest.FixtureRequest) -> None:
    process = request.config.stash[RUNNING][name]
    try:
        output, _ = process.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"{name} does not end: {process.communicate()[0]}")
    assert process.returncode == 0, output
    request.config.stash[SUMMARY].append(f"python {' '.join(command(name))}: {output.splitlines()[-1]}")
