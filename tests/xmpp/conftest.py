"""What the tests of this folder share: certificates, and the servers that they talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.pki import Authority
from tests.xmpp.raw import RawClient
from tests.xmpp.subjects import NAMES, OURS, USERS, Subject, running

Sessions = Callable[..., RawClient]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues the certificates of all servers and hosts."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Callable[[str], Subject]]:
    """The servers by name, each started when it is first wanted."""
    with ExitStack() as stack:
        made: dict[str, Subject] = {}

        def get(name: str) -> Subject:
            if name not in made:
                made[name] = stack.enter_context(running(name, tmp_path_factory.mktemp(name), authority))
            return made[name]

        yield get


@pytest.fixture(scope="session", params=NAMES)
def subject(request: pytest.FixtureRequest, subjects: Callable[[str], Subject]) -> Subject:
    """Each of the servers in turn."""
    return subjects(request.param)


@pytest.fixture(scope="session")
def ours(subjects: Callable[[str], Subject]) -> Subject:
    """Our server alone."""
    return subjects(OURS)


@pytest.fixture
def sessions(subject: Subject) -> Iterator[Sessions]:
    """Logs in to the server in turn; the sessions end with the test."""
    with ExitStack() as stack:

        def log_in(user: str = USERS[0], resource: str = "conformance") -> RawClient:
            return stack.enter_context(subject.log_in(user, resource))

        yield log_in


@pytest.fixture
def connect(subject: Subject) -> Iterator[Callable[..., RawClient]]:
    """Connects to the server in turn, without a stream yet."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(subject.connect(**how))
