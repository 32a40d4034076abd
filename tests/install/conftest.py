"""Packages in two versions, and a machine with them. A test that fails shows the end of the machine's console, where
the journal is, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.machine_root import Root, archive
from tests.install import site

ROOT = Path(__file__).resolve().parents[2]
NEXT = "0.1.0+test1"
"""Version to upgrade to."""

_FAILED = pytest.StashKey[bool]()
_MACHINE = pytest.StashKey[Machine]()


class Packages:
    """A build of all packages, which begins at once and is waited for when it is needed."""

    def __init__(self, version: str = "") -> None:
        command = [sys.executable, "packaging/deb.py", *(["--version", version] if version else [])]
        self._build = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._files: dict[str, Path] = {}

    def files(self, *names: str) -> list[Path]:
        """The .deb files of packages by name."""
        if not self._files:
            output, _ = self._build.communicate()
            assert self._build.returncode == 0, "the packages can't be built: see above"
            self._files = {Path(line).name.partition("_")[0]: ROOT / line for line in output.split()}
        return [self._files[name] for name in names]

    def end(self) -> None:
        """End a build that nobody has waited for, with all of its processes."""
        if self._build.poll() is None:
            os.killpg(self._build.pid, signal.SIGKILL)
            self._build.communicate()


@dataclass(frozen=True, slots=True)
class Site:
    """What the tests share. before: paths of the disk before anything of ours was on it."""

    machine: Machine
    current: Packages
    newer: Packages
    before: frozenset[str]
    said: str
    """What apt said when the first packages were installed."""


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A machine with agent and gateway installed as into an image, booted; nothing is configured yet."""
    current = Packages()
    newer: Packages | None = None
    try:
        with Root(archive(ROOT / "build" / "machine")) as root:
            site.lay_out(root)
            before = frozenset(("/", *(f"/{path.relative_to(root.path)}" for path in root.path.rglob("*"))))
            said = site.install(root, current.files("vrfwire-common", "vrfwire-agent", "vrfwire-gateway"))
            newer = Packages(NEXT)
            with Machine(root) as machine:
                request.node.stash[_MACHINE] = machine
                machine.boot()
                yield Site(machine, current, newer, before, said)
    finally:
        current.end()
        if newer is not None:
            newer.end()


@pytest.fixture
def machine(prepared: Site) -> Machine:
    """The machine."""
    return prepared.machine


@pytest.fixture(autouse=True)
def in_order(request: pytest.FixtureRequest) -> None:
    """The tests are one story: what comes after a failure would only fail late and for the same reason."""
    if request.node.parent.stash.get(_FAILED, False):
        pytest.fail("a test before this one has failed", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Notes a failure, and adds the end of the console to its report."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    module = item.parent
    if report.failed and module is not None and not module.stash.get(_FAILED, False):
        module.stash[_FAILED] = True
        machine = module.stash.get(_MACHINE, None)
        if machine is not None:
            report.sections.append(("console and journal of the machine", machine.console(120)))
    return report  # type: ignore[return-value]
