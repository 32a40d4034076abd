"""The test runner: which suite runs where, and that nothing which did not report is taken for a success."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lab import suites
from lab.errors import LabError
from lab.suites import Outcome

REPORT = '<testsuites><testsuite errors="{e}" failures="{f}" skipped="{s}" tests="{t}"/></testsuites>'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("unit/vpn", "scenario", "kernel", "system"):
        folder = tmp_path / "tests" / name
        folder.mkdir(parents=True)
        (folder / "test_x.py").write_text("")
    (tmp_path / "tests" / "empty").mkdir()
    return tmp_path


def test_plan_without_paths_takes_all_folders(root: Path) -> None:
    outside, inside = suites.plan(["-x"], root)
    assert outside == ("outside the lab", False, ["-x", "tests/scenario", "tests/unit"])
    assert inside == ("inside the lab", True, ["-x", "tests/kernel", "tests/system"])


def test_plan_keeps_the_inner_folders_even_when_they_are_empty(root: Path) -> None:
    (root / "tests/kernel/test_x.py").unlink()
    assert suites.plan([], root)[1][2] == ["tests/kernel", "tests/system"]


def test_plan_with_paths_runs_them_where_they_belong(root: Path) -> None:
    assert suites.plan(["tests/unit/vpn", "-k", "x"], root) == [
        ("outside the lab", False, ["-k", "x", "tests/unit/vpn"])
    ]
    assert suites.plan(["tests/kernel/test_x.py::test_a"], root) == [
        ("inside the lab", True, ["tests/kernel/test_x.py::test_a"])
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


def _fake(tests: int, failures: int = 0) -> suites.Run:
    def run(command: Sequence[str]) -> int:
        report = Path(command[command.index("--junit-xml") + 1])
        report.write_text(REPORT.format(e=0, f=failures, s=0, t=tests))
        return 1 if failures else 0

    return run


def test_run_prints_one_total(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suites.run([], _fake(3), root, _fake(10)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "13 passed, 0 failed, 0 skipped"


def test_run_fails_when_one_suite_fails(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suites.run([], _fake(3, failures=1), root, _fake(10)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "12 passed, 1 failed, 0 skipped"


def test_run_fails_when_the_guest_dies(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def dies(command: Sequence[str]) -> int:
        raise LabError("the guest kernel panicked: x", log="last words")

    assert suites.run([], dies, root, _fake(10)) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "10 passed, 0 failed, 0 skipped"
    assert "last words" in captured.err and "never reported" in captured.err


def test_run_fails_when_the_choice_matches_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suites.run(["-k", "nothing"], _fake(0), root, _fake(0)) == 1
    assert "no tests were run" in capsys.readouterr().err
