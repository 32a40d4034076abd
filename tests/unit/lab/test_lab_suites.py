"""The test runner: which suite runs where, and that nothing which did not report is taken for a success."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import suites
from lab.suites import Outcome, Suite

REPORT = '<testsuites><testsuite errors="{e}" failures="{f}" skipped="{s}" tests="{t}"/></testsuites>'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("unit/vpn", "scenario", "kernel", "system", "install"):
        folder = tmp_path / "tests" / name
        folder.mkdir(parents=True)
        (folder / "test_x.py").write_text("")
    (tmp_path / "tests" / "empty").mkdir()
    return tmp_path


def test_plan_without_paths_takes_all_folders(root: Path) -> None:
    (outside, packages), (inside,) = suites.plan(["-x"], root)
    assert outside == Suite("outside", False, ["-x", "tests/scenario", "tests/unit"])
    assert packages == Suite("packages", False, ["-x", "tests/install"])
    assert inside == Suite("inside", True, ["-x", "tests/kernel", "tests/system"])


def test_plan_keeps_the_inner_folders_even_when_they_are_empty(root: Path) -> None:
    (root / "tests/kernel/test_x.py").unlink()
    assert suites.plan([], root)[1][0].arguments == ["tests/kernel", "tests/system"]


def test_plan_with_paths_runs_them_where_they_belong(root: Path) -> None:
    assert suites.plan(["tests/unit/vpn", "-k", "x"], root) == [
        [Suite("outside", False, ["-k", "x", "tests/unit/vpn"])]
    ]
    assert suites.plan(["tests/kernel/test_x.py::test_a"], root) == [
        [Suite("inside", True, ["tests/kernel/test_x.py::test_a"])]
    ]


def test_report_counts_errors_as_failures(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(REPORT.format(e=1, f=2, s=3, t=10))
    assert suites.read_report("a", 1, report) == Outcome("a", 1, True, passed=4, failed=3, skipped=3)
    report.write_text("<testsuites><tests")
    assert not suites.read_report("a", 1, report).reported
    assert not suites.read_report("a", 1, tmp_path / "none").reported


@pytest.mark.parametrize(
    ("outcome", "selected", "problem"),
    [
        (Outcome("a", 0, True, passed=1), False, None),
        (Outcome("a", 0, True, skipped=1), False, None),
        (Outcome("a", 1, True, passed=1, failed=1), False, "has failures"),
        (Outcome("a", 5, True), False, "found no tests"),
        (Outcome("a", 5, True), True, None),
        (Outcome("a", 4, True), True, "found no tests"),
        (Outcome("a", 70, False), False, "never reported (exit status 70)"),
        (Outcome("a", 70, False), True, "never reported (exit status 70)"),
        (Outcome("a", 3, True, passed=1), False, "ended with exit status 3"),
    ],
)
def test_problem_of_an_outcome(outcome: Outcome, selected: bool, problem: str | None) -> None:
    found = outcome.problem(selected)
    assert found is None if problem is None else problem in (found or "")


FAKE = """#!/bin/sh
# Plays python: -m pytest -q --junit-xml REPORT TESTS...
shift 4
case $* in
{cases}
esac
echo "ran $*"
echo "<testsuites><testsuite errors='0' failures='$failures' skipped='0' tests='$tests'/></testsuites>" > "$1"
exit $(( failures > 0 ))
"""


def play(root: Path, *, outside: tuple[int, int], inside: tuple[int, int], packages: tuple[int, int] = (0, 0)) -> int:
    """Run all suites with made-up results: (tests, failures)."""
    results = {"tests/kernel": inside, "tests/install": packages, "tests/unit": outside}
    cases = "\n".join(f"*{path}*) tests={of[0]} failures={of[1]};;" for path, of in results.items())
    python = root / "python"
    python.write_text(FAKE.format(cases=cases))
    python.chmod(0o755)
    return suites.run([], ["env", "WITHIN=1"], root, str(python))


def test_run_prints_one_total(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert play(root, outside=(10, 0), inside=(3, 0), packages=(2, 0)) == 0
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert lines[-1] == "15 passed, 0 failed, 0 skipped"
    assert any(line.startswith("inside   | ran ") and line.endswith("tests/kernel tests/system") for line in lines)
    assert lines.index("packages | === tests packages") > lines.index("outside  | === tests outside")


def test_run_fails_when_one_suite_fails(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert play(root, outside=(10, 0), inside=(3, 1), packages=(2, 0)) == 1
    assert capfdbinary.readouterr().out.decode().splitlines()[-1] == "14 passed, 1 failed, 0 skipped"


def test_run_fails_when_a_suite_finds_nothing(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert play(root, outside=(10, 0), inside=(0, 0), packages=(2, 0)) == 1
    assert b"the suite inside found no tests" in capfdbinary.readouterr().err


def test_run_fails_when_the_guest_dies(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    python = root / "python"
    python.write_text(FAKE.format(cases="*) tests=5 failures=0;;"))
    python.chmod(0o755)
    dies = ["sh", "-c", "echo 'the guest kernel panicked: x'; exit 70"]
    assert suites.run([], dies, root, str(python)) == 1
    captured = capfdbinary.readouterr()
    assert b"inside   | the guest kernel panicked: x" in captured.out
    assert b"the suite inside never reported (exit status 70)" in captured.err


def test_a_suite_alone_prints_as_it_is(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    python = root / "python"
    python.write_text(FAKE.format(cases="*) tests=0 failures=0;;"))
    python.chmod(0o755)
    assert suites.run(["tests/unit", "-k", "nothing"], [], root, str(python)) == 1
    captured = capfdbinary.readouterr()
    assert captured.out.splitlines()[1].startswith(b"ran ")
    assert b"no tests were run" in captured.err
