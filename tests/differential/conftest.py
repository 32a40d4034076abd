"""One process of each oracle for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.differential.oracle import Oracle


@pytest.fixture(scope="session", params=["exabgp", "osken"])
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    """Each of the libraries in turn."""
    with Oracle(request.param) as process:
        yield process
