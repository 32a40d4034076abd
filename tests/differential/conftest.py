"""One process of each oracle for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.differential.oracle import Oracle

settings.register_profile("differential", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("differential")


@pytest.fixture(scope="session", params=["exabgp", "osken"])
def oracle(request: pytest.FixtureRequest) -> Iterator[Oracle]:
    """Each of the libraries in turn."""
    with Oracle(request.param) as process:
        yield process
