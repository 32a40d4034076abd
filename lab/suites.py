"""`python -m lab test`: every test that this machine can run, and one total.

Tests that need the product's kernel run inside the lab, the others outside. A suite counts only when it has reported:
a guest that dies, or a suite that finds no test, is a failure and not a smaller number.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

INSIDE = ("tests/kernel", "tests/system")
"""Folders whose tests run in the lab."""
SELECTING = ("-k", "-m", "--lf", "--ff", "--deselect", "--collect-only", "--co")
"""Options of pytest after which a suite may rightly find nothing."""
NO_TESTS = 5
"""Exit status of pytest when it has found no test."""

Run = Callable[[Sequence[str]], int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one suite reported. status: of pytest, or of the lab; reported: whether there is a report at all."""

    name: str
    status: int
    reported: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        """Tests that were found."""
        return self.passed + self.failed + self.skipped

    def problem(self, selected: bool) -> str | None:
        """Why this suite is a failure, or None. selected: the user chose tests, so that none at all is right too."""
        if not self.reported:
            return f"the suite {self.name} never reported (exit status {self.status})"
        if self.failed:
            return f"the suite {self.name} has failures"
        if self.total == 0:
            return None if selected and self.status in (0, NO_TESTS) else f"the suite {self.name} found no tests"
        return None if self.status == 0 else f"the suite {self.name} ended with exit status {self.status}"


def plan(arguments: Sequence[str], root: Path) -> list[tuple[str, bool, list[str]]]:
    """The suites to run: (name, inside the lab, arguments of pytest).

    Paths among the arguments choose suites; without any, all folders of tests/ that have tests are run.
    """
    paths = [argument for argument in arguments if _is_path(argument, root)]
    options = [argument for argument in arguments if argument not in paths]
    if not paths:
        folders = sorted(entry for entry in (root / "tests").iterdir() if any(entry.rglob("test_*.py")))
        paths = [str(folder.relative_to(root)) for folder in folders]
        paths = [*(path for path in paths if path not in INSIDE), *INSIDE]
    inside = [path for path in paths if _inside(path, root)]
    outside = [path for path in paths if path not in inside]
    suites = [("outside the lab", False, outside), ("inside the lab", True, inside)]
    return [(name, within, [*options, *chosen]) for name, within, chosen in suites if chosen]


def _is_path(argument: str, root: Path) -> bool:
    return not argument.startswith("-") and (root / argument.partition("::")[0]).exists()


def _inside(path: str, root: Path) -> bool:
    resolved = (root / path.partition("::")[0]).resolve()
    return any(resolved.is_relative_to((root / folder).resolve()) for folder in INSIDE)


def selects(arguments: Sequence[str]) -> bool:
    """Whether options of pytest among the arguments choose tests."""
    return any(
        argument == option or argument.startswith(f"{option}=") for argument in arguments for option in SELECTING
    )


def read_report(name: str, status: int, report: Path) -> Outcome:
    """The counts in a report in JUnit's format."""
    try:
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        return Outcome(name, status, reported=False)

    def count(key: str) -> int:
        return sum(int(suite.get(key, "0")) for suite in suites)

    failed, skipped = count("failures") + count("errors"), count("skipped")
    # A test that passes and then fails in its teardown is counted once as a test and once as an error.
    return Outcome(name, status, True, max(0, count("tests") - failed - skipped), failed, skipped)


def run(arguments: Sequence[str], inside: Run, root: Path, outside: Run | None = None) -> int:
    """Run the suites one after the other, their output live, and print the total. Returns 0 when all is well.

    inside: runs a command in the lab and returns its exit status; it may raise LabError.
    """
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="vrfwire-test-") as directory:
        for number, (name, within, chosen) in enumerate(plan(arguments, root)):
            report = Path(directory) / f"{number}.xml"
            command = [sys.executable, "-m", "pytest", "-q", "--junit-xml", str(report), *chosen]
            print(f"=== tests {name}", flush=True)
            try:
                status = (inside if within else outside or _outside)(command)
            except LabError as error:
                print(error.log, f"lab: {error}", sep="\n", file=sys.stderr, flush=True)
                status = -1
            outcomes.append(read_report(name, status, report))
    return conclude(outcomes, selects(arguments))


def _outside(command: Sequence[str]) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def conclude(outcomes: Sequence[Outcome], selected: bool) -> int:
    """Print what is wrong with the suites and the line with the total. Returns the exit status."""
    problems = [problem for outcome in outcomes if (problem := outcome.problem(selected))]
    if not any(outcome.total for outcome in outcomes):
        problems.append("no tests were run")
    for problem in problems:
        print(f"lab: {problem}", file=sys.stderr, flush=True)
    passed, failed, skipped = (
        sum(getattr(outcome, key) for outcome in outcomes) for key in ("passed", "failed", "skipped")
    )
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if problems else 0
