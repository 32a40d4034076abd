"""Sites for the tests of this folder; what a failure shows of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from tests.interop.site import Site


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues the certificates of all sites."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def module_site(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Site]:
    """One site for all tests of a module that leave it as they found it."""
    with Site(tmp_path_factory.mktemp("site"), authority) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path, authority: Authority) -> Iterator[Site]:
    """A site for one test."""
    with Site(tmp_path, authority) as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the end of the logs of all daemons."""
    report = yield
    if report.failed:
        report.sections += [(f"logs of {site.namespace.name}", site.report()) for site in Site.alive]
    return report
