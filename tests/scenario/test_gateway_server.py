"""The server inside this process, where its parts can be made to fail."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from gateway.certificates import PROTOCOLS
from gateway.hosts import Hosts
from gateway.main import main
from gateway.rib import Rib
from gateway.server import Server
from gateway.service import Service
from gateway.session import Session
from lab.pki import Authority
from runtime.errors import ExitCode, OperatorError
from runtime.listen import Listen
from runtime.tls import server_context
from tests.scenario.gateway_process import DOMAIN, GatewayProcess
from tests.scenario.raw_host import RawHost, client_context, stream_condition
from tests.unit.gateway.harness import MESH
from xmpp import namespaces as ns
from xmpp.events import StreamConfig
from xmpp.stanza import Stanza


class Faulty(Service):
    """Has a bug that one host meets."""

    def handle(self, session: Session, stanza: Stanza, now: float) -> None:
        if session.host == "unlucky":
            raise ZeroDivisionError("a bug")
        super().handle(session, stanza, now)


def serve(authority: Authority, service: Service, hosts: Callable[[int], None]) -> None:
    """Run a server while `hosts` does things in another thread, given the port."""
    credentials = authority.gateway(DOMAIN, ["127.0.0.1"])

    async def run() -> None:
        server = Server(
            service,
            Hosts(),
            StreamConfig(domain=DOMAIN, random=secrets.token_bytes),
            server_context(credentials.certificate, credentials.key, credentials.ca, PROTOCOLS),
        )
        [bound] = server.listen([Listen(IPv4Address("127.0.0.1"), 0)])
        try:
            await asyncio.to_thread(hosts, bound.port)
        finally:
            await server.stop()
        assert server.connections == set()

    asyncio.run(run())


def test_a_bug_ends_the_session_that_met_it_and_no_other(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    def hosts(port: int) -> None:
        ca = str(authority.certificate)
        lucky, unlucky = (
            RawHost(port, name, client_context(authority.host(name, DOMAIN, []), ca)).login()
            for name in ("lucky", "unlucky")
        )
        with lucky, unlucky:
            unlucky.request("get", f"<ping xmlns='{ns.PING}'/>")
            assert stream_condition(unlucky.read_to_end())[0] == "internal-server-error"
            lucky.ping()

    serve(authority, Faulty(DOMAIN, Rib(MESH)), hosts)
    [record] = [record for record in caplog.records if record.exc_info]
    assert "unlucky" in record.getMessage()


def test_an_address_in_use_is_an_operators_error(authority: Authority) -> None:
    def hosts(port: int) -> None:
        async def second() -> None:
            credentials = authority.gateway(DOMAIN, ["127.0.0.1"])
            context = server_context(credentials.certificate, credentials.key, credentials.ca, PROTOCOLS)
            config = StreamConfig(domain=DOMAIN, random=secrets.token_bytes)
            server = Server(Service(DOMAIN, Rib(MESH)), Hosts(), config, context)
            with pytest.raises(OperatorError, match="in use") as caught:
                server.listen([Listen(IPv4Address("127.0.0.1"), port)])
            assert str(port) in caught.value.what and caught.value.hint

        asyncio.run(second())

    serve(authority, Service(DOMAIN, Rib(MESH)), hosts)


def test_check_tells_whether_a_configuration_is_good(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = GatewayProcess(tmp_path, authority)
    assert main(["--config", str(gateway.config), "--check"]) == ExitCode.OK
    assert capsys.readouterr().out == "configuration ok\n"
    gateway.config.write_text(gateway.config.read_text().replace("[[vpn]]", "[[vpm]]", 1))
    assert main(["--config", str(gateway.config), "--check"]) == ExitCode.FAILURE
    message, hint, _ = capsys.readouterr().err.split("\n")
    assert message.startswith("vrfwire-gateway: ") and "gateway.toml:" in message and "vpm" in message
    assert hint == "hint: did you mean vpn?"
    assert main(["--config", str(tmp_path / "absent.toml")]) == ExitCode.NOT_FOUND
