"""Certificates while daemons run: revoked, renewed, of another authority; revocation lists that are damaged."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from gateway.cli import main
from lab.pki import Authority, Credentials
from runtime.errors import ExitCode
from tests.scenario.agent_harness import World, play, until
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import DOMAIN, GatewayProcess
from tests.scenario.map_process import MapProcess, client
from tests.scenario.pki_authority import PkiAuthority
from tests.scenario.raw_host import RawHost, client_context, stream_condition
from tests.scenario.raw_map import RawConnection, context
from tests.scenario.test_map_server import BY_CERTIFICATE

Connect = Callable[[str], RawHost]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PkiAuthority:
    return PkiAuthority(tmp_path_factory.mktemp("certificates") / "etc")


@pytest.fixture(scope="module")
def gateway(pki: PkiAuthority) -> Iterator[GatewayProcess]:
    """With the authority's revocation list; one for tests that enrol hosts of their own."""
    process = GatewayProcess(pki.directory.parent / "gateway", pki, "stale_time = 600")
    use_list(process.config, pki)
    process.start()
    yield process
    process.kill()
    assert "Traceback" not in process.text(), process.text()


@pytest.fixture
def connect(gateway: GatewayProcess, pki: PkiAuthority) -> Iterator[Connect]:
    """Logs in as a host, with the files that it has."""
    hosts: list[RawHost] = []

    def make(name: str) -> RawHost:
        host = RawHost(gateway.port, name, client_context(pki.credentials(name), str(pki.certificate)))
        hosts.append(host)
        return host.login()

    yield make
    for host in hosts:
        host.close()


def use_list(config: Path, pki: PkiAuthority) -> None:
    """Give a daemon the revocation list."""
    folder = config.with_name(f"{config.name}.d")
    folder.mkdir()
    (folder / "crl.toml").write_text(f'[tls]\ncrl = "{pki.crl}"\n')


def enrolled(pki: PkiAuthority, *names: str) -> None:
    """Hosts hv1, hv2, ..., all of them at the loopback interface."""
    for name in names:
        pki.host(name, DOMAIN, [f"127.0.0.{name.removeprefix('hv')}"])


def announce(host: RawHost, prefix: str, vpn: str = "blue") -> None:
    """A route by the address of the host's certificate."""
    address = f"127.0.0.{host.name.removeprefix('hv')}"
    host.subscribe(vpn)
    answer = host.announce(vpn, prefix, next_hop=address, item_id=f"{address}:1:{prefix}")
    assert answer.get("type") == "result"


def pki_command(pki: PkiAuthority, gateway: GatewayProcess, *arguments: str) -> int:
    """`vrfwire-gateway-ctl pki ...`."""
    where = ["--directory", str(pki.directory / "pki"), "--socket", str(gateway.socket)]
    return main(["pki", arguments[0], *where, *arguments[1:]])


def refusal(gateway: GatewayProcess, pki: PkiAuthority, name: str) -> str:
    """What a host is told instead of being let in."""
    try:
        with RawHost(gateway.port, name, client_context(pki.credentials(name), str(pki.certificate))) as host:
            host.login()
    except AssertionError as error:
        return str(error)
    raise AssertionError(f"{name} was let in")


def problems(gateway: GatewayProcess) -> str:
    """Those of the status, as one text."""
    return json.dumps(gateway.ask("status")["problems"])


def test_a_revoked_host_is_out_at_once_with_its_routes(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    enrolled(pki, "hv2", "hv3", "hv4")
    lost, gone, other = connect("hv2"), connect("hv3"), connect("hv4")
    announce(lost, "10.0.0.2/32")
    announce(gone, "10.0.0.3/32")
    announce(other, "10.0.0.4/32")
    routes = {f"10.0.0.{number}/32": [(f"127.0.0.{number}", 100)] for number in (2, 3, 4)}
    other.read_routes("blue", routes)
    # hv3's routes are stale when its certificate is revoked, and would stay for ten minutes.
    gone.close()
    wait_for(lambda: gateway.ask("status")["stale_hosts"] == 1, "hv3 to be gone")

    for name in ("hv2", "hv3"):
        assert pki_command(pki, gateway, "revoke", name, "--reason", "keyCompromise") == ExitCode.OK
    assert "the gateway has ended sessions of hv2" in capsys.readouterr().out
    condition, text = stream_condition(lost.read_to_end())
    assert condition == "not-authorized" and "revoked" in text and "keyCompromise" in text
    other.read_routes("blue", {"10.0.0.4/32": routes["10.0.0.4/32"]})
    assert [row["name"] for row in gateway.ask("host.list")["items"]] == ["hv4"]
    gateway.wait_log("host hv2", "certificate was revoked", "1 of its routes are withdrawn")
    gateway.wait_log("the certificate of hv2", f"{pki.serial('hv2'):X}", "keyCompromise")

    assert "not-authorized" in refusal(gateway, pki, "hv2")
    with pytest.raises(AssertionError, match="not-authorized"):
        context = client_context(pki.credentials("hv3"), str(pki.certificate))
        RawHost(gateway.port, "hv3", context, starttls=True).login()
    assert gateway.ask("tls.reload")["connections"] == {"refused": 2, "ended": 1}
    other.ping()

    # Enrolled anew, with a new key, it is a host as any other.
    for file in (pki.directory / "hv2").iterdir():
        file.unlink()
    enrolled(pki, "hv2")
    connect("hv2").ping()
    assert gateway.ask("status")["state"] == "ok", problems(gateway)


def test_a_revocation_is_found_in_the_file_without_being_told(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect
) -> None:
    enrolled(pki, "hv5")
    host = connect("hv5")
    pki.pki.revoke("hv5", "cessationOfOperation")
    assert stream_condition(host.read_to_end())[0] == "not-authorized"


def test_renewal_ends_no_session_and_loses_no_route(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect
) -> None:
    enrolled(pki, "hv6", "hv7")
    host, other = connect("hv6"), connect("hv7")
    announce(host, "10.0.0.6/32", "red")
    other.subscribe("red")
    routes = {"10.0.0.6/32": [("127.0.0.6", 100)]}
    other.read_routes("red", routes)
    former, of_gateway = pki.serial("hv6"), pki.serial("gateway")

    # The gateway: another key, too. Its new certificate is shown without a restart, to new connections.
    pki.renew("gateway", fresh=True)
    assert pki.serial("gateway") != of_gateway

    def shown() -> int:
        with RawHost(gateway.port, "hv7", client_context(pki.credentials("hv7"), str(pki.certificate))) as probe:
            der = probe.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
        return x509.load_der_x509_certificate(der).serial_number

    wait_for(lambda: shown() == pki.serial("gateway"), "the new certificate")
    host.ping()

    # The host: it comes back with the new certificate, the session with the former one goes on until then.
    pki.renew("hv6")
    pki.renew("hv6", fresh=True)
    host.ping()
    back = connect("hv6")
    assert stream_condition(host.read_to_end())[0] == "conflict"
    back.ping()
    assert pki.serial("hv6") != former and gateway.routes("red") == routes

    # What is superseded may be revoked: it ends sessions, and routes wait for the host to come back.
    assert pki_command(pki, gateway, "revoke", "hv6", "--reason", "superseded") == ExitCode.OK
    back.ping()
    pki.renew("hv6")
    assert pki_command(pki, gateway, "revoke", "hv6", "--reason", "superseded") == ExitCode.OK
    assert stream_condition(back.read_to_end())[0] == "not-authorized"
    assert gateway.routes("red") == routes
    announce(connect("hv6"), "10.0.0.6/32", "red")
    other.ping()
    assert other.events["red"] == routes
    assert gateway.ask("status")["state"] == "ok", problems(gateway)


def test_files_that_do_not_fit_together_change_nothing(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect
) -> None:
    enrolled(pki, "hv8")
    key = pki.credentials("gateway").key
    good = key.read_bytes()
    key.write_bytes(pki.credentials("hv8").key.read_bytes())
    wait_for(lambda: "the former files are in use" in problems(gateway), "the problem")
    connect("hv8").ping()
    gateway.signal(signal.SIGHUP)
    gateway.wait_log("configuration not reloaded")
    key.write_bytes(good)
    gateway.signal(signal.SIGHUP)
    wait_for(lambda: gateway.ask("status")["state"] == "ok", "the files to be in order")


def test_a_bad_list_brings_nobody_back_and_shuts_nobody_out(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect
) -> None:
    enrolled(pki, "hv11", "hv12")
    host = connect("hv12")
    assert pki_command(pki, gateway, "revoke", "hv11") == ExitCode.OK
    good = pki.crl.read_bytes()
    for bad, told in (
        (good[:100], "its end is missing"),
        (foreign_list(pki.directory), "its signature is wrong"),
        (b"", "there is no revocation list"),
        (None, "No such file"),
    ):
        if bad is None:
            pki.crl.unlink()
        else:
            pki.crl.write_bytes(bad)
        gateway.ask("tls.reload")
        assert told in problems(gateway)
        assert "what it revoked before stays revoked" in problems(gateway) and "pki crl" in problems(gateway)
        host.ping()
        host = connect("hv12")
        assert "not-authorized" in refusal(gateway, pki, "hv11")
    # Nor does a start without one.
    assert gateway.stop() == 0
    gateway.start()
    connect("hv12").ping()
    assert "not-authorized" in refusal(gateway, pki, "hv11")
    assert "No such file" in problems(gateway)
    pki.crl.write_bytes(good)
    wait_for(lambda: gateway.ask("status")["state"] == "ok", "the list to be in order")


def test_authorities_roll_over_without_a_lost_route(
    gateway: GatewayProcess, pki: PkiAuthority, connect: Connect
) -> None:
    enrolled(pki, "hv9", "hv10", "hv11")
    host = connect("hv9")
    announce(host, "10.0.0.9/32")
    former = pki.credentials("hv10").certificate.read_bytes()
    assert pki_command(pki, gateway, "init", "--replace") == ExitCode.OK
    assert pki_command(pki, gateway, "init", "--retire") == ExitCode.CONFLICT
    for name in [record.subject.name for record in pki.pki.store.load().currents(time.time())]:
        pki.renew(name)
    # Certificates of both authorities count, and lists of both.
    wait_for(lambda: gateway.ask("tls.reload")["numbers"] != [] and gateway.ask("status")["state"] == "ok", "both")
    host.ping()
    connect("hv10").ping()
    assert pki_command(pki, gateway, "revoke", "hv10") == ExitCode.OK
    assert "not-authorized" in refusal(gateway, pki, "hv10")
    pki.credentials("hv10").certificate.write_bytes(former)
    assert "not-authorized" in refusal(gateway, pki, "hv10")
    # The former one ends: what it has signed is refused by TLS itself, and sessions that were begun by it end. Whoever
    # has been renewed comes back; meanwhile its routes stay.
    present = connect("hv11")
    assert pki_command(pki, gateway, "init", "--retire") == ExitCode.OK
    assert len(x509.load_pem_x509_certificates(pki.certificate.read_bytes())) == 1
    condition, text = stream_condition(host.read_to_end())
    assert condition == "not-authorized" and "no longer in tls.ca" in text
    assert [row["routes"] for row in gateway.ask("host.list")["items"] if row["name"] == "hv9"] == [1]
    present.ping()
    connect("hv9").ping()
    assert gateway.ask("status")["state"] == "ok", problems(gateway)


def foreign_list(directory: Path) -> bytes:
    """A list of another authority of the same name."""
    return PkiAuthority(directory / "foreign").crl.read_bytes()


def test_a_map_client_with_a_revoked_certificate_is_nobody(tmp_path: Path) -> None:
    pki = PkiAuthority(tmp_path / "etc")
    good, bad, away = pki.client("gw1"), pki.client("gw2"), pki.client("gw3")

    class Certified(Authority):
        """The server's certificate by ours."""

        def __init__(self) -> None:
            self.certificate = pki.certificate

        def issue(self, stem: str, common_name: str, *rest: object, **more: object) -> Credentials:
            return pki.map(stem, common_name)

    clients = '[[client]]\nname = "gw1"\n[[client]]\nname = "gw2"\n[[client]]\nname = "gw3"\n' + client("ann")
    server = MapProcess(tmp_path / "map", Certified(), clients)
    use_list(server.config, pki)
    server.start()
    try:
        raws = {
            name: RawConnection(server.port, context(str(pki.certificate), files))
            for name, files in (("gw1", good), ("gw2", bad), ("gw3", away))
        }
        for raw in raws.values():
            raw.send(BY_CERTIFICATE)
            assert raw.answer().status == 200
        assert len(server.ask("session.list")["items"]) == 3
        raws.pop("gw3").close()  # its session goes on for a while
        for name in ("gw2", "gw3"):
            pki.pki.revoke(name, "keyCompromise")
        wait_for(
            lambda: [row["client"] for row in server.ask("session.list")["items"]] == ["gw1"], "its session to end"
        )
        server.wait_log("the certificate of gw2", "keyCompromise")
        with RawConnection(server.port, context(str(pki.certificate), bad)) as again:
            again.send(BY_CERTIFICATE)
            assert again.answer().status == 401
        for raw in raws.values():
            raw.close()
        # Its own certificate is renewed as a gateway's is.
        pki.renew("map-one", fresh=True)
        server.wait_log("was read again")
        assert server.ask("status")["state"] == "ok", server.ask("status")["problems"]
    finally:
        server.kill()
    assert "Traceback" not in server.text(), server.text()


def test_an_agent_and_a_gateway_believe_each_other_no_more() -> None:
    async def scenario(world: World) -> None:
        world.authority = pki = PkiAuthority(world.directory / "etc")
        use_list(world.directory / "gateway-127.0.0.1.toml", pki)
        gateway = await world.gateway()
        settings = "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.1\nhold_time = 0.6\nstale_time = 5\n"
        host = await world.host(1, gateway, start=False, settings=settings)
        host.text = host.text.replace("[tls]\n", f'[tls]\ncrl = "{pki.crl}"\n')
        await host.start()
        await until(host.connected, "the session")
        assert host.daemon is not None
        (session,) = host.daemon._sessions
        assert list(host.daemon.agent.certificates.troubles()) == []
        # The host is revoked: the agent says why it has no session.
        pki.pki.revoke("hv1", "keyCompromise")
        assert gateway.daemon is not None
        gateway.daemon.certificates.poll()
        await until(lambda: "not-authorized" in session.last_error, "the host to be refused")
        assert "keyCompromise" in session.last_error
        await until(lambda: gateway.daemon.certificates.credentials.counters["refused"] > 1, "further attempts")  # type: ignore[union-attr]
        assert "not-authorized" in session.last_error, "said to one that comes anew, too"
        for file in (pki.directory / "hv1").iterdir():
            file.unlink()
        pki.host("hv1", DOMAIN, ["192.0.2.11"])
        await until(host.connected, "the session of the host that was enrolled anew")
        # The gateway: with the next keepalive.
        pki.pki.revoke(f"gateway-{gateway.address}", "keyCompromise")
        await until(lambda: "was revoked" in session.last_error, "the gateway to be refused")
        await until(lambda: host.daemon.agent.certificates.counters["refused"] > 1, "further attempts")  # type: ignore[union-attr]
        status = await host.call("status")
        assert "the gateway's certificate" in json.dumps(status["problems"])
        assert host.daemon.agent.certificates.counters["ended"] == 1

    play(scenario)
