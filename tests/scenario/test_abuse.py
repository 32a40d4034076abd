"""Hosts and strangers that take too much: each is slowed or sent away, counted and named, and others notice nothing."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority
from lab.speakers.base import die_with_parent
from tests.scenario.bystander import Bystander
from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import DEADLINE, wait_for
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.scenario.raw_host import HEADER, RawHost, client_context, entry, stream_condition
from tests.stream_elements import CLIENT
from tests.unit.gateway.harness import refusal
from tests.unit.runtime.key_updates import key_updates
from xmpp import namespaces as ns

MEGABYTE = 1024 * 1024
PING = f"<iq type='get' id='p' to='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>"
HELLO = b"\x16\x03\x01\x02\x00\x01"
"""The begin of a TLS handshake that doesn't go on."""
ELSEWHERE = "127.0.0.2"
"""An address that isn't the attacker's."""

LIMITS = """
[limits]
stanza_rate = 200
byte_rate = 262144
memory = 6000000
idle_logins_per_address = 10
failure_rate = 5
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GatewayProcess]:
    """One with low limits: 2,000 stanzas and 2.5 MiB at once, 50 connections of an address that come to nothing."""
    process = GatewayProcess(tmp_path_factory.mktemp("abused"), authority, "max_items = 500", MESH + LIMITS)
    process.start()
    yield process
    assert process.stop() == 0, process.text()
    assert "Traceback" not in process.text() and "Warning" not in process.text(), process.text()


@pytest.fixture
def bystander(gateway: GatewayProcess, authority: Authority) -> Iterator[Bystander]:
    context = client_context(authority.host("bystander", DOMAIN, ["127.0.0.1"]), str(authority.certificate))
    with RawHost(gateway.port, "bystander", context, source=ELSEWHERE).login() as host, Bystander(host) as talking:
        yield talking


def limited(gateway: GatewayProcess, reason: str) -> int:
    """How often a limit was met."""
    count: int = gateway.ask("status")["limited"].get(reason, 0)
    return count


def row(gateway: GatewayProcess, name: str) -> dict[str, Any]:
    """Of `host list`."""
    found: dict[str, Any] = next(item for item in gateway.ask("host.list")["items"] if item["name"] == name)
    return found


def pour(host: RawHost, data: bytes) -> None:
    """Send it, while answers are read, as far as it is taken. (In one thread: OpenSSL lets no two use a connection.)"""
    rest = memoryview(data)
    host.socket.setblocking(False)
    while rest and not host.ended:
        try:
            rest = rest[host.socket.send(rest) :]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            select.select([host.socket], [host.socket], [], DEADLINE)
        except OSError:
            break
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            while not host.ended:
                host._feed(host._recv())
    host.socket.settimeout(DEADLINE)


def connections(gateway: GatewayProcess, number: int, data: bytes, address: str = "127.0.0.1") -> list[socket.socket]:
    """That have sent this."""
    made = []
    for _ in range(number):
        made.append(socket.create_connection(("127.0.0.1", gateway.port), DEADLINE, (address, 0)))
        made[-1].sendall(data)
    return made


def closed(connection: socket.socket) -> bool:
    """Whether the gateway has closed it."""
    connection.setblocking(False)
    try:
        return not connection.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True


# -- hosts


def test_a_host_that_sends_too_many_stanzas_is_slowed_and_loses_nothing(
    gateway: GatewayProcess, connect: Connect, bystander: Bystander
) -> None:
    flooder = connect(gateway, "flooder")
    flooder.send(PING * 2300)
    gateway.wait_log("host flooder at 127.0.0.1 is slowed", "stanzas")
    assert row(gateway, "flooder")["slowed"] == "stanzas"
    assert "host flooder" in {problem["what"] for problem in gateway.ask("status")["problems"]}
    assert row(gateway, "bystander")["slowed"] == ""
    bystander.goes_on()
    for _ in range(2300):
        assert flooder.read_until(lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == "p").get("type") == "result"
    assert limited(gateway, "slowed") >= 1


def test_a_host_that_is_not_read_from_is_not_dead_for_its_silence(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("hold_time = 0.6", tables=f"{MESH}[limits]\nstanza_rate = 40\n")
    host = connect(gateway, "slow")
    host.send(PING * 460)  # 60 above the burst, so that nothing is read for 1.5 s
    for _ in range(460):
        assert host.read_until(lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == "p").get("type") == "result"
    host.send(PING)
    host.read_until(lambda e: e.tag == f"{CLIENT}iq" and e.get("id") == "p")
    assert not host.ended


def test_to_connect_anew_does_not_help(gateway: GatewayProcess, connect: Connect, bystander: Bystander) -> None:
    first = connect(gateway, "returning")
    first.send(PING * 2600)
    gateway.wait_log("host returning at 127.0.0.1 is slowed")
    first.close()
    again = connect(gateway, "returning")
    again.ping()
    assert row(gateway, "returning")["slowed"] == "stanzas"


@pytest.mark.parametrize("flood", ["whitespace", "large answers", "subscriptions"])
def test_floods_of_all_kinds_slow_the_flooder_alone(
    flood: str, gateway: GatewayProcess, connect: Connect, bystander: Bystander
) -> None:
    name = f"flood-{flood.replace(' ', '-')}"
    host = connect(gateway, name)
    if flood == "whitespace":
        data = " " * 3 * MEGABYTE
    elif flood == "subscriptions":
        pubsub = f"<iq type='set' id='s'><pubsub xmlns='{ns.PUBSUB}'>%s</pubsub></iq>"
        actions = (f"<{action} node='blue' jid='{host.jid}'/>" for action in ("subscribe", "unsubscribe"))
        data = "".join(pubsub % action for action in actions) * 1100
    else:
        items = "".join(f"<item id='x{n}'>{entry(f'10.8.{n}.0/24', 100, '127.0.0.1')}</item>" for n in range(200))
        assert host.pubsub(f"<publish node='blue'>{items}</publish>").get("type") == "result"
        data = f"<iq type='get' id='i'><pubsub xmlns='{ns.PUBSUB}'><items node='blue'/></pubsub></iq>" * 36
    pour(host, data.encode())
    bystander.goes_on()
    host.ping()
    gateway.wait_log(f"host {name} at 127.0.0.1 is slowed", "stanzas" if flood == "subscriptions" else "bytes")
    assert not host.ended


def test_whoever_floods_regardless_is_sent_away(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway(tables=f"{MESH}[limits]\nstanza_rate = 300\nflood_time = 1\n")
    flooder, other = connect(gateway, "flooder"), connect(gateway, "other")
    pour(flooder, (PING * 5000).encode())
    condition, text = stream_condition(flooder.read_to_end())
    assert condition == "policy-violation" and text.startswith("more than allowed (stanzas) for ")
    gateway.wait_log("host flooder at 127.0.0.1 is sent away")
    assert limited(gateway, "flood") == 1
    other.ping()


def test_a_host_that_publishes_far_more_than_its_quota(
    gateway: GatewayProcess, connect: Connect, bystander: Bystander
) -> None:
    """6,250 routes: it gets its 500, and then refusals, at the same cost however long it goes on."""
    greedy = connect(gateway, "greedy")

    def publish(part: int) -> str:
        routes = (f"10.{part}.{n // 250}.{n % 250}/32" for n in range(250))
        items = "".join(f"<item id='127.0.0.1:1:{r}'>{entry(r, 100, '127.0.0.1')}</item>" for r in routes)
        return f"<publish node='blue'>{items}</publish>"

    answers = [greedy.pubsub(publish(part)) for part in range(20, 45)]
    assert [answer.get("type") for answer in answers] == ["result"] * 2 + ["error"] * 23
    condition, _, text = refusal(answers[-1])
    assert condition == "policy-violation" and "over the 500 allowed" in text
    assert row(gateway, "greedy")["routes"] == 500
    assert gateway.ask("status")["counters"]["refused/policy-violation"] >= 23


def test_memory_has_a_ceiling_and_the_largest_goes_first(
    gateway: GatewayProcess, connect: Connect, bystander: Bystander
) -> None:
    modest, greedy = connect(gateway, "modest"), connect(gateway, "eater")
    modest.send("<iq type='get' id='m'>" + "<a>" + "x" * 200_000)
    wait_for(lambda: gateway_held(gateway), "the modest one's stanza to be held")
    # Few bytes, much memory: each element takes twenty times what it is long.
    pour(greedy, b"<iq type='get' id='x'>" + b"<a/>" * 70_000)
    assert stream_condition(greedy.read_to_end())[0] == "resource-constraint"
    gateway.wait_log("host eater at 127.0.0.1 is ended", "most memory")
    assert limited(gateway, "memory") == 1
    modest.send("</a></iq>")
    assert modest.read_until(lambda e: e.get("id") == "m").get("type") == "error", "it was answered like any other"


def gateway_held(gateway: GatewayProcess) -> bool:
    """Whether memory is held for somebody."""
    return bool(gateway.ask("status")["held_bytes"] > 200_000)


def test_an_attribute_of_twenty_megabytes(gateway: GatewayProcess, connect: Connect, bystander: Bystander) -> None:
    host = connect(gateway, "endless")
    before = gateway.resident()
    pour(host, b"<message to='" + b"x" * (20 * MEGABYTE))
    gateway.wait_log("host endless disconnected (policy-violation: a stanza is larger than 1048576 bytes)")
    assert gateway.resident() - before < 16 * MEGABYTE


# -- strangers


def test_a_stranger_may_send_what_a_login_needs(gateway: GatewayProcess, bystander: Bystander) -> None:
    [stranger] = connections(gateway, 1, HEADER.encode())
    with stranger:
        received = bytearray()
        with contextlib.suppress(OSError):
            stranger.sendall(b" " * MEGABYTE)
        with contextlib.suppress(OSError):
            while chunk := stranger.recv(65536):
                received += chunk
    assert b"policy-violation" in received and b"before the login" in received


def test_messages_of_tls_alone_are_counted(
    gateway: GatewayProcess, authority: Authority, bystander: Bystander, tmp_path: Path
) -> None:
    context = client_context(None, str(authority.certificate))
    context.keylog_filename = str(tmp_path / "keys")
    with (
        socket.create_connection(("127.0.0.1", gateway.port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=DOMAIN) as stranger,
    ):
        flood = key_updates(stranger, tmp_path / "keys", 5000)
        with contextlib.suppress(OSError):
            socket.socket.sendall(stranger, flood)
        gateway.wait_log("connection from 127.0.0.1 ended", "too much was sent before the login")


def test_slow_handshakes_hold_nobody_up(
    gateway: GatewayProcess, authority: Authority, connect: Connect, bystander: Bystander
) -> None:
    """Slow-loris, in TLS and before it: few of an address are kept, and others log in meanwhile."""
    context = client_context(authority.host("newcomer", DOMAIN, ["127.0.0.1"]), str(authority.certificate))
    slow = connections(gateway, 15, HELLO) + connections(gateway, 15, b"")
    try:
        with RawHost(gateway.port, "newcomer", context, source=ELSEWHERE).login() as host:
            host.ping()
        wait_for(lambda: sum(map(closed, slow)) >= 20, "all but ten to be dropped")
        assert gateway.ask("status")["logins"]["idle"] == 10
        assert limited(gateway, "idle") == 20
        gateway.wait_log("connection from 127.0.0.1 dropped", "don't get on with their login")
        connect(gateway, "neighbour").ping()
    finally:
        for connection in slow:
            connection.close()


def test_an_address_of_failures_is_shut_out(gateway: GatewayProcess, connect: Connect, bystander: Bystander) -> None:
    attacker = "127.0.0.66"
    for _ in range(60):
        for connection in connections(gateway, 1, b"GET / HTTP/1.1\r\n\r\n", attacker):
            with contextlib.suppress(OSError):
                while connection.recv(65536):
                    pass
            connection.close()
    gateway.wait_log("connection from 127.0.0.66 refused", "came to nothing")
    assert limited(gateway, "shut_out") >= 1
    connect(gateway, "hv1").ping()


def test_a_failed_handshake_does_not_linger(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("login_timeout = 300")
    connect(gateway, "hv1").ping()
    files = Path(f"/proc/{gateway.pid}/fd")
    before = len(list(files.iterdir()))
    [stranger] = connections(gateway, 1, b"\x16\x03\x01\x00\x20" + b"no handshake" * 3)
    with stranger:
        gateway.wait_log("TLS with 127.0.0.1 failed")
        wait_for(lambda: len(list(files.iterdir())) == before, "its socket to be closed")


def test_who_comes_and_leaves_at_once_is_shut_out(
    gateway: GatewayProcess, connect: Connect, bystander: Bystander
) -> None:
    for connection in connections(gateway, 200, b"", "127.0.0.67"):
        connection.close()
    gateway.wait_log("connection from 127.0.0.67: it has gone")

    def refused() -> bool:
        for connection in connections(gateway, 1, b"", "127.0.0.67"):
            connection.close()
        return "connection from 127.0.0.67 refused" in gateway.text()

    wait_for(refused, "the address to be shut out")
    connect(gateway, "hv2").ping()


def test_who_has_gone_while_it_waited_is_passed_over(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway(tables=f"{MESH}[limits]\nlogins = 1\n")
    [first] = connections(gateway, 1, HELLO)
    with first:
        wait_for(lambda: gateway.ask("status")["logins"]["under_way"] == 1, "the first to be served")
        for connection in connections(gateway, 5, HELLO):
            connection.close()
        wait_for(lambda: gateway.ask("status")["logins"]["waiting"] == 5, "the others to wait")
        # After a second the first is no reason to wait any more.
        connect(gateway, "hv1").ping()
        assert limited(gateway, "gone") == 5
        assert limited(gateway, "handshake") == 0


def test_a_storm_of_logins(make_gateway: MakeGateway, authority: Authority) -> None:
    """Forty sessions at once, two logins at a time: all get in, and a session goes on meanwhile."""
    gateway = make_gateway(tables=f"{MESH}[limits]\nlogins = 2\n")
    names = ["bystander", *(f"storm{number}" for number in range(5))]
    contexts = {
        name: client_context(authority.host(name, DOMAIN, ["127.0.0.1"]), str(authority.certificate)) for name in names
    }
    back: list[str] = []

    def come(name: str, resource: str) -> None:
        with RawHost(gateway.port, name, contexts[name], starttls=resource == "r0") as host:
            host.login(resource).ping()
            back.append(host.jid)

    with RawHost(gateway.port, "bystander", contexts["bystander"]).login() as host, Bystander(host):
        storm = [(name, f"r{number}") for number in range(8) for name in names[1:]]
        threads = [threading.Thread(target=come, args=one, daemon=True) for one in storm]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
    assert sorted(back) == sorted(f"{name}@{DOMAIN}/{resource}" for name, resource in storm)
    assert gateway.ask("status")["logins"] == {"waiting": 0, "under_way": 0, "idle": 0}


def test_tls_1_2_is_not_renegotiated(gateway: GatewayProcess, authority: Authority, bystander: Bystander) -> None:
    credentials = authority.host("renegotiator", DOMAIN, ["127.0.0.1"])
    command = ["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{gateway.port}"]
    command += ["-CAfile", str(authority.certificate), "-cert", str(credentials.certificate), "-key"]
    client = subprocess.Popen(
        [*command, str(credentials.key)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=die_with_parent,
    )
    said, _ = client.communicate(b"R\nR\nR\n", timeout=DEADLINE)
    assert b"RENEGOTIATING" in said and b"no renegotiation" in said, said
