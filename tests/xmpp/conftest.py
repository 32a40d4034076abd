"""What the tests of this folder share: certificates, and the servers that they talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.pki import Authority
from lab.xmpp_servers import SERVERS, XmppServer
from tests.xmpp.component_gateway import ACCOUNTS
from tests.xmpp.raw import RawClient
from tests.xmpp.subjects import DOMAIN, NAMES, OURS, PASSWORD, USERS, Subject, gateway_subject, server_subject

Sessions = Callable[..., RawClient]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Issues the certificates of all servers and hosts."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Callable[[str], XmppServer]]:
    """Those of others by name, each started when it is first wanted, for all tests: ejabberd takes its time."""
    with ExitStack() as stack:
        made: dict[str, XmppServer] = {}

        def get(name: str) -> XmppServer:
            if name not in made:
                server = SERVERS[name](
                    tmp_path_factory.mktemp(name),
                    domain=DOMAIN,
                    credentials=authority.gateway(DOMAIN, ["127.0.0.1"], stem=name),
                    accounts=dict.fromkeys(USERS, PASSWORD) | ACCOUNTS,
                    publishers=USERS,
                )
                made[name] = stack.enter_context(server)
            return made[name]

        yield get


@pytest.fixture(scope="session", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest, servers: Callable[[str], XmppServer]) -> XmppServer:
    """Each of those of others in turn, for components and hosts behind it."""
    return servers(request.param)


@pytest.fixture(scope="session")
def subjects(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, servers: Callable[[str], XmppServer]
) -> Iterator[Callable[[str], Subject]]:
    """What is tested, by name."""
    with ExitStack() as stack:
        made: dict[str, Subject] = {}

        def get(name: str) -> Subject:
            if name not in made:
                if name == OURS:
                    made[name] = stack.enter_context(gateway_subject(tmp_path_factory.mktemp(name), authority))
                else:
                    made[name] = server_subject(name, servers(name), authority)
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
