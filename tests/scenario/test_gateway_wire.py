"""Bad input on the wire: each gets its reason, in the answer and in the log, and never hurts the session of others."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.server import SESSIONS_PER_HOST
from lab.pki import Authority
from tests.scenario.conftest import Connect, MakeGateway
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import DOMAIN, GatewayProcess
from tests.scenario.raw_host import HEADER, RawHost, client_context, entry, mechanisms, stream_condition
from tests.stream_elements import CLIENT
from tests.unit.gateway.harness import refusal
from xmpp import namespaces as ns


@pytest.fixture
def witness(shared_gateway: GatewayProcess, connect: Connect) -> Iterator[RawHost]:
    """Another host in the middle of its work; it must have noticed nothing."""
    host = connect(shared_gateway, "witness")
    assert host.subscribe("blue").get("type") == "result"
    host.announce("blue", "10.7.7.7/32", label=777)
    host.ping()
    assert host.events["blue"] == {"10.7.7.7/32": [("127.0.0.1", 777)]}
    yield host
    host.ping()
    assert host.events["blue"]["10.7.7.7/32"] == [("127.0.0.1", 777)]
    assert host.announce("blue", "10.7.7.7/32", label=778).get("type") == "result"
    host.ping()
    assert host.events["blue"]["10.7.7.7/32"] == [("127.0.0.1", 778)]
    host.retract("blue", "127.0.0.1:1:10.7.7.7/32")


MEGABYTE = 1024 * 1024
STREAM_CASES = {
    "malformed": ("<iq type='get' id='x'><ping></iq>", "not-well-formed"),
    "undeclared prefix": ("<iq type='get' id='x'><a:ping/></iq>", "not-well-formed"),
    "comment": ("<iq type='get' id='x'><!-- hello --></iq>", "restricted-xml"),
    "processing instruction": ("<?target data?>", "restricted-xml"),
    "entity": ("<iq type='get' id='x'>&xxe;</iq>", "restricted-xml"),
    "deep nesting": ("<iq type='get' id='x'>" + "<a>" * 1000, "policy-violation"),
    "oversized stanza": ("<message>" + "x" * (2 * MEGABYTE) + "</message>", "policy-violation"),
    "endless attribute": ("<message to='" + "x" * (2 * MEGABYTE), "policy-violation"),
    "not a stanza": ("<unknown xmlns='urn:example:x'/>", "unsupported-stanza-type"),
    "control character": ("<message>\x01</message>", "not-well-formed"),
}


@pytest.mark.parametrize("case", STREAM_CASES)
def test_what_breaks_the_stream_ends_it_alone(
    case: str, shared_gateway: GatewayProcess, connect: Connect, witness: RawHost
) -> None:
    data, condition = STREAM_CASES[case]
    name = f"bad-{case.replace(' ', '-')}"
    host = connect(shared_gateway, name)
    try:
        host.send(data)
    except OSError:
        assert len(data) > MEGABYTE, "only what is endless is cut off while it is sent"
    given, _ = stream_condition(host.read_to_end())
    assert given == condition
    shared_gateway.wait_log(name, "disconnected", condition)


PROLOGUES: dict[str, tuple[str | bytes, str]] = {
    "dtd": ("<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER, "restricted-xml"),
    "utf-16": (HEADER.encode("utf-16"), ""),
    "no xml": ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""),
    "wrong domain": (HEADER.replace(DOMAIN, "other.example.net"), "host-unknown"),
    "wrong namespace": (HEADER.replace(ns.CLIENT, "jabber:server"), "invalid-namespace"),
    "early stanza": (HEADER + "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "not-authorized"),
    "endless prologue": (" " * MEGABYTE, ""),
    "large stanza before login": (HEADER + "<auth>" + "x" * 20_000, "policy-violation"),
}


@pytest.mark.parametrize("case", PROLOGUES)
def test_what_comes_before_a_login_is_checked_as_well(
    case: str, shared_gateway: GatewayProcess, authority: Authority, witness: RawHost
) -> None:
    data, condition = PROLOGUES[case]
    plain = socket.create_connection(("127.0.0.1", shared_gateway.port))
    with plain:
        try:
            plain.sendall(data if isinstance(data, bytes) else data.encode())
        except OSError:
            assert len(data) >= MEGABYTE
        received = bytearray()
        while True:
            try:
                chunk = plain.recv(65536)
            except ConnectionResetError:
                break
            if not chunk:
                break
            received += chunk
    assert condition.encode() in received


def test_plain_text_behind_starttls_is_an_injection(shared_gateway: GatewayProcess, witness: RawHost) -> None:
    with socket.create_connection(("127.0.0.1", shared_gateway.port)) as plain:
        plain.sendall(f"{HEADER}<starttls xmlns='{ns.TLS}'/><iq type='set' id='evil'/>".encode())
        received = bytearray()
        while chunk := plain.recv(65536):
            received += chunk
    assert b"policy-violation" in received and b"<proceed" not in received


def test_without_a_certificate_external_is_not_offered(
    shared_gateway: GatewayProcess, authority: Authority, witness: RawHost
) -> None:
    context = client_context(None, str(authority.certificate))
    with pytest.raises(AssertionError, match="not-authorized"):
        RawHost(shared_gateway.port, "nobody", context)


def test_a_certificate_of_another_authority_is_refused(
    shared_gateway: GatewayProcess, authority: Authority, tmp_path_factory: pytest.TempPathFactory, witness: RawHost
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "stranger").host("witness", DOMAIN, ["127.0.0.1"])
    context = client_context(stranger, str(authority.certificate))
    with pytest.raises((OSError, AssertionError)):
        RawHost(shared_gateway.port, "witness", context)
    shared_gateway.wait_log("TLS with 127.0.0.1 failed: the client's certificate isn't accepted: ")


def test_an_expired_certificate_is_refused(
    shared_gateway: GatewayProcess, authority: Authority, witness: RawHost
) -> None:
    expired = authority.issue("expired", "hv9", jids=[f"hv9@{DOMAIN}"], expired=True)
    with pytest.raises((OSError, AssertionError)):
        RawHost(shared_gateway.port, "hv9", client_context(expired, str(authority.certificate)))


def test_a_login_as_somebody_else_fails(shared_gateway: GatewayProcess, connect: Connect, witness: RawHost) -> None:
    host = connect(shared_gateway, "impostor", login=False)
    assert mechanisms(host) == {"EXTERNAL"}
    host.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>d2l0bmVzc0B2cG4uZXhhbXBsZS5uZXQ=</auth>")
    failure = host.read_until(lambda e: e.tag == f"{{{ns.SASL}}}failure")
    assert failure.find(f"{{{ns.SASL}}}invalid-authzid") is not None or len(failure)


def test_refused_requests_name_their_reason(shared_gateway: GatewayProcess, connect: Connect, witness: RawHost) -> None:
    host = connect(shared_gateway, "hv-bad")
    foreign = "192.0.2.99:1:10.1.1.1/32"
    cases = [
        (host.subscribe("green"), "item-not-found", "", "green"),
        (host.announce("green", "10.1.1.1/32"), "item-not-found", "", "green"),
        (host.announce("blue", "10.1.1.1/32", item_id=foreign), "forbidden", "", "another host"),
        (host.retract("blue", "127.0.0.1:1:10.7.7.7/32"), "forbidden", "", "another host"),
        (host.announce("blue", "10.1.1.1/32", next_hop="192.0.2.99"), "not-acceptable", "", "192.0.2.99"),
        (host.announce("blue", "10.1.1.1/32", label=1048576), "bad-request", "invalid-payload", "1048576"),
        (host.announce("blue", "10.1.1.1/32", label=3), "bad-request", "invalid-payload", "label"),
        (host.announce("blue", "10.1.1.1/32", label="ten"), "bad-request", "invalid-payload", "label"),
        (host.announce("blue", "10.1.1/24"), "bad-request", "invalid-payload", "10.1.1"),
        (host.announce("blue", "10.1.1.1/33"), "bad-request", "invalid-payload", "33"),
        (host.announce("blue", "10.1.1.1/24"), "bad-request", "invalid-payload", "host bits"),
        (host.subscribe("blue", f"witness@{DOMAIN}/vrfwire"), "bad-request", "invalid-jid", "witness"),
        (host.subscribe("blue", "@@"), "bad-request", "invalid-jid", ""),
    ]
    for answer, condition, app, reason in cases:
        assert refusal(answer)[:2] == (condition, app)
        assert reason in refusal(answer)[2]
    for reason in ("green", "another host", "192.0.2.99", "1048576", "host bits", "invalid-jid"):
        shared_gateway.wait_log("refused", "hv-bad", reason)
    assert host.announce("red", "10.1.1.1/32").get("type") == "result", "the session goes on"
    assert shared_gateway.ask("status")["counters"]["refused/forbidden"] >= 2


def test_the_newest_session_of_a_jid_wins(shared_gateway: GatewayProcess, connect: Connect, witness: RawHost) -> None:
    old = connect(shared_gateway, "hv-twice")
    old.announce("red", "10.2.2.2/32")
    new = connect(shared_gateway, "hv-twice")
    assert stream_condition(old.read_to_end())[0] == "conflict"
    assert new.announce("red", "10.2.2.2/32", label=200).get("type") == "result"
    shared_gateway.wait_log("hv-twice", "disconnected", "conflict")
    assert shared_gateway.routes("red")["10.2.2.2/32"] == [("127.0.0.1", 200)]


def test_a_second_resource_is_another_session(shared_gateway: GatewayProcess, connect: Connect) -> None:
    one = connect(shared_gateway, "hv-two")
    two = connect(shared_gateway, "hv-two", login=False).login("other")
    one.ping()
    two.ping()
    assert two.jid == f"hv-two@{DOMAIN}/other"


def test_a_silent_connection_is_dropped_at_the_deadline(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("login_timeout = 0.4")
    with socket.create_connection(("127.0.0.1", gateway.port)) as silent:
        silent.settimeout(10)
        assert silent.recv(1) == b""
    with socket.create_connection(("127.0.0.1", gateway.port)) as begun:
        begun.settimeout(10)
        begun.sendall(HEADER.encode())
        received = bytearray()
        while chunk := begun.recv(65536):
            received += chunk
    assert b"connection-timeout" in received
    with socket.create_connection(("127.0.0.1", gateway.port)) as handshake:
        handshake.settimeout(10)
        handshake.sendall(b"\x16\x03\x01")
        assert handshake.recv(65536) == b""
    connect(gateway, "hv1").ping()


def test_a_host_that_falls_silent_is_given_up(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("hold_time = 0.6")
    host = connect(gateway, "hv1")
    ping = host.read_until(lambda e: e.tag == f"{CLIENT}iq" and e.find(f"{{{ns.PING}}}ping") is not None)
    assert ping.get("type") == "get" and ping.get("from") == DOMAIN
    assert stream_condition(host.read_to_end())[0] == "connection-timeout"


def test_a_host_that_stops_reading_costs_little_and_delays_nobody(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("hold_time = 0\nmax_items = 100000")
    stuck, reader, writer = (connect(gateway, name) for name in ("stuck", "reader", "writer"))
    stuck.subscribe("blue"), reader.subscribe("blue")
    memory = gateway.resident()
    for label in range(16, 166):
        routes = [(f"10.0.{n}.0/24", label) for n in range(200)]
        items = "".join(
            f"<item id='127.0.0.1:1:{prefix}'>{entry(prefix, label, '127.0.0.1')}</item>" for prefix, label in routes
        )
        answer = writer.pubsub(f"<publish node='blue'>{items}</publish>")
        assert answer.get("type") == "result"
        if label % 20 == 0:
            reader.ping()
    reader.ping()
    assert {hops[0][1] for hops in reader.events["blue"].values()} == {165}
    assert gateway.resident() - memory < 16 * MEGABYTE
    # When it reads again it gets, after what was under way, the newest state alone.
    stuck.ping()
    assert {hops[0][1] for hops in stuck.events["blue"].values()} == {165}
    assert len(stuck.received) < 2 * MEGABYTE


def test_too_many_connections_are_refused(make_gateway: MakeGateway, connect: Connect) -> None:
    gateway = make_gateway("max_sessions = 2")
    one, _two = connect(gateway, "hv1"), connect(gateway, "hv2")
    with pytest.raises((OSError, AssertionError)):
        connect(gateway, "hv3")
    gateway.wait_log("refused", "2 connections are the most")
    one.ping()
    one.close()
    wait_for(lambda: gateway.ask("status")["sessions"] == 1, "the session to end")
    connect(gateway, "hv3").ping()


def test_a_host_has_a_limited_number_of_sessions(shared_gateway: GatewayProcess, connect: Connect) -> None:
    for n in range(SESSIONS_PER_HOST):
        connect(shared_gateway, "hv-many", login=False).login(f"r{n}")
    with pytest.raises(AssertionError, match="resource-constraint"):
        connect(shared_gateway, "hv-many", login=False).login("one-more")
    connect(shared_gateway, "hv-many", login=False).login("r0").ping()
