"""An authority and a gateway for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.scenario.raw_host import RawHost, client_context

MakeGateway = Callable[..., GatewayProcess]
Connect = Callable[..., RawHost]


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
