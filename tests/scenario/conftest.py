"""An authority, a gateway and a map server for the tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.scenario.map_process import MapProcess, client
from tests.scenario.orchestration import Orchestration
from tests.scenario.raw_host import RawHost, client_context
from tests.scenario.raw_map import RawClient, context

MakeGateway = Callable[..., GatewayProcess]
Connect = Callable[..., RawHost]
MakeMap = Callable[..., MapProcess]
MakeClient = Callable[..., RawClient]

SHARED_CLIENTS = 40
"""Clients of the shared map server; a session that is made ends the one of the client's last use."""
_numbers = itertools.count()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GatewayProcess]:
    """One gateway for all tests that leave it as they found it; it has forgotten a host after half a second."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), authority, "stale_time = 0.5\nlogin_timeout = 3")
    process.start()
    yield process
    status = process.stop()
    assert status == 0, process.text()
    assert "Traceback" not in process.text() and "Warning" not in process.text(), process.text()


@pytest.fixture
def make_gateway(tmp_path: Path, authority: Authority) -> Iterator[MakeGateway]:
    """Starts gateways with settings of their own."""
    made: list[GatewayProcess] = []

    def make(settings: str = "", tables: str = MESH) -> GatewayProcess:
        process = GatewayProcess(tmp_path / f"gateway{len(made)}", authority, settings, tables)
        made.append(process)
        process.start()
        return process

    yield make
    for process in made:
        process.kill()
        assert "Traceback" not in process.text(), process.text()


@pytest.fixture
def connect(authority: Authority) -> Iterator[Connect]:
    """Opens connections of hosts, and closes them after the test."""
    hosts: list[RawHost] = []

    def make(gateway: GatewayProcess, name: str, *, starttls: bool = False, login: bool = True) -> RawHost:
        credentials = authority.host(name, DOMAIN, ["127.0.0.1"])
        context = client_context(credentials, str(authority.certificate))
        host = RawHost(gateway.port, name, context, starttls=starttls)
        hosts.append(host)
        return host.login() if login else host

    yield make
    for host in hosts:
        host.close()


@pytest.fixture(scope="session")
def shared_map(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[MapProcess]:
    """One map server for all tests that leave it as they found it; its clients are those that `map_client` gives."""
    names = [f"c{number}" for number in range(SHARED_CLIENTS)]
    process = MapProcess(tmp_path_factory.mktemp("map"), authority, "".join(map(client, names)))
    process.start()
    yield process
    status = process.stop()
    assert status == 0, process.text()
    assert "Traceback" not in process.text() and "Warning" not in process.text(), process.text()


@pytest.fixture
def make_map(tmp_path: Path, authority: Authority) -> Iterator[MakeMap]:
    """Starts map servers with settings of their own."""
    made: list[MapProcess] = []

    def make(clients: str = "", settings: str = "", tables: str = "") -> MapProcess:
        process = MapProcess(tmp_path / f"map{len(made)}", authority, clients or client("c0"), settings, tables)
        made.append(process)
        process.start()
        return process

    yield make
    for process in made:
        process.kill()
        assert "Traceback" not in process.text(), process.text()


@pytest.fixture
def map_client(authority: Authority) -> Iterator[MakeClient]:
    """Makes clients of a map server, and closes their connections after the test."""
    made: list[RawClient] = []

    def make(process: MapProcess, name: str | None = None, begin: bool = True) -> RawClient:
        user = name or f"c{next(_numbers) % SHARED_CLIENTS}"
        raw = RawClient(process.port, context(str(authority.certificate)), user)
        made.append(raw)
        if begin:
            raw.begin()
        return raw

    yield make
    for raw in made:
        raw.close()


@pytest.fixture
def orchestration(tmp_path: Path, authority: Authority) -> Iterator[Orchestration]:
    """A MAP server that is provisioned by the test."""
    made = Orchestration(tmp_path / "map", authority)
    made.start()
    yield made
    made.server.kill()
    assert "Traceback" not in made.server.text(), made.server.text()
