"""Fixtures of all tests that run in the lab, imported by the conftest.py of their folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.environment import MARK
from lab.namespace import Namespace, names


@pytest.fixture(scope="session", autouse=True)
def in_lab() -> None:
    """Not on the machine itself: these tests make devices and change sysctls."""
    if MARK not in os.environ:
        pytest.exit("these tests run in the lab: python -m lab test, or python -m lab run -- pytest ...", returncode=4)


@pytest.fixture(autouse=True)
def left_as_found(in_lab: None) -> Iterator[None]:
    """Each test leaves no namespace and no interface behind."""

    def state() -> tuple[set[str], set[str]]:
        lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()[2:]
        return names(), {line.split(":")[0].strip() for line in lines}

    before = state()
    yield
    assert state() == before


@pytest.fixture
def namespace() -> Iterator[Callable[[str], Namespace]]:
    """Make network namespaces that are gone after the test: namespace("name") -> Namespace."""
    made: list[Namespace] = []

    def make(name: str) -> Namespace:
        made.append(Namespace(name))
        return made[-1]

    yield make
    for each in made:
        each.delete()
