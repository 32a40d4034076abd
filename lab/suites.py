"""`python -m lab test`: every test that this machine can run, and one total.

Tests that need the product's kernel run inside the lab, the others outside, both at the same time. A suite counts only
when it has reported: a guest that dies, or a suite that finds no test, is a failure and not a smaller number.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSIDE = ("tests/kernel", "tests/system")
"""Folders whose tests run in the lab."""
PACKAGES = ("tests/packaging", "tests/install")
"""Folders whose tests build packages and boot machines with them: outside the lab, and after everything else there."""
SELECTING = ("-k", "-m", "--lf", "--ff", "--deselect", "--collect-only", "--co")
"""Options of pytest after which a suite may rightly find nothing."""
NO_TESTS = 5
"""Exit status of pytest when it has found no test."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Tests that run in one process. arguments: of pytest."""

    name: str
    within: bool
    """Whether they run in the lab."""
    arguments: list[str]


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


def plan(arguments: Sequence[str], root: Path) -> list[list[Suite]]:
    """The suites to run, in lanes: those of one lane one after the other, lanes at the same time.

    The lab inside is one processor of a machine of its own, and mostly waits outside: two lanes take little longer than
    the longer one. Paths among the arguments choose suites; without any, all folders of tests/ that have tests are run.
    """
    paths = [argument for argument in arguments if _is_path(argument, root)]
    options = [argument for argument in arguments if argument not in paths]
    if not paths:
        folders = sorted(entry for entry in (root / "tests").iterdir() if any(entry.rglob("test_*.py")))
        paths = [str(folder.relative_to(root)) for folder in folders]
        paths = [*(path for path in paths if path not in INSIDE), *INSIDE]
    inside = [path for path in paths if _in(path, INSIDE, root)]
    packages = [path for path in paths if _in(path, PACKAGES, root)]
    outside = [path for path in paths if path not in inside and path not in packages]
    lanes = [[("outside", False, outside), ("packages", False, packages)], [("inside", True, inside)]]
    suites = [[Suite(name, within, [*options, *of]) for name, within, of in lane if of] for lane in lanes]
    return [lane for lane in suites if lane]


def _is_path(argument: str, root: Path) -> bool:
    return not argument.startswith("-") and (root / argument.partition("::")[0]).exists()


def _in(path: str, folders: Sequence[str], root: Path) -> bool:
    resolved = (root / path.partition("::")[0]).resolve()
    return any(resolved.is_relative_to((root / folder).resolve()) for folder in folders)


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


def run(arguments: Sequence[str], inside: Sequence[str], root: Path, python: str = sys.executable) -> int:
    """Run the suites, show what they print as it comes, and print the total. Returns 0 when all is well.

    inside: the command line that runs in the lab what is appended to it. python: the interpreter that has pytest.
    """
    lanes = plan(arguments, root)
    alone = sum(map(len, lanes)) == 1
    with tempfile.TemporaryDirectory(prefix="vrfwire-test-") as directory:
        running: list[_Run] = []
        outcomes: list[Outcome] = []
        try:
            with selectors.DefaultSelector() as selector:

                def begin(lane: list[Suite]) -> None:
                    suite = lane.pop(0)
                    report = Path(directory) / f"{suite.name}.xml"
                    command = [python, "-m", "pytest", "-q", "--junit-xml", str(report), *suite.arguments]
                    run = _Run(suite, lane, report, [*inside, *command] if suite.within else command, not alone)
                    running.append(run)
                    selector.register(run.output, selectors.EVENT_READ, run)

                for lane in lanes:
                    begin(lane)
                while selector.get_map():
                    for key, _ in selector.select():
                        run: _Run = key.data
                        if run.relay():
                            continue
                        selector.unregister(run.output)
                        running.remove(run)
                        outcomes.append(run.end())
                        if run.rest:
                            begin(run.rest)
        finally:
            for run in running:
                run.stop()
    return conclude(outcomes, selects(arguments))


class _Run:
    """A suite that is running. rest: of its lane. marked: its lines are given its name in front."""

    def __init__(self, suite: Suite, rest: list[Suite], report: Path, command: Sequence[str], marked: bool) -> None:
        self.suite = suite
        self.rest = rest
        self._report = report
        self._mark = f"{suite.name:8} | ".encode() if marked else b""
        self._began = time.monotonic()
        self._line = b""
        self._say(f"=== tests {suite.name}")
        # A pipe of several processes: it ends when the last of them has, or when all that was printed is read.
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout

    def relay(self) -> bool:
        """Show what it has printed. Returns False at the end of that."""
        data = os.read(self.output.fileno(), 1 << 16)
        if not self._mark:
            self._write(data)
            return bool(data)
        *lines, self._line = (self._line + data).split(b"\n")
        self._write(b"".join(self._mark + line + b"\n" for line in lines))
        if not data and self._line:
            self._write(self._mark + self._line + b"\n")
        return bool(data)

    def end(self) -> Outcome:
        """What came of it."""
        self.output.close()
        status = self._process.wait()
        self._say(f"=== {self.suite.name}: exit status {status} after {time.monotonic() - self._began:.0f} s")
        return read_report(self.suite.name, status, self._report)

    def stop(self) -> None:
        """End it, and wait until it has: the lab takes down what it has booted."""
        self._process.terminate()
        self._process.wait()
        self.output.close()

    def _say(self, text: str) -> None:
        self._write(self._mark + text.encode() + b"\n")

    @staticmethod
    def _write(data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


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
