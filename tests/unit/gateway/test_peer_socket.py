"""Sockets of BGP peers on the loopback interface, and the kernel's counters."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from gateway.peer_config import Address, Link
from gateway.peer_socket import FarAway, Md5Counters, dialler, listener, md5_counters, prepare, set_password, set_ttl
from runtime.listen import Listen

HERE, THERE = IPv4Address("127.0.0.31"), IPv4Address("127.0.0.32")
V6 = IPv6Address("::1")
SHORT = 0.3
"""Seconds in which a connection on this machine is up, if at all."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def link(port: int, *, to: Address = HERE, here: Address = THERE, **settings: object) -> Link:
    return Link(to, port, here, **{"ttl": 64, **settings})  # type: ignore[arg-type]


def listening(stack: ExitStack, address: Address = HERE) -> tuple[socket.socket, int]:
    sock = stack.enter_context(listener(Listen(address, 0)))
    return sock, sock.getsockname()[1]


def connect(stack: ExitStack, one: Link) -> socket.socket:
    sock = stack.enter_context(dialler(one))
    sock.settimeout(SHORT)
    sock.connect((str(one.address), one.port))
    return sock


def accept(stack: ExitStack, sock: socket.socket, one: Link) -> socket.socket:
    sock.settimeout(SHORT)
    accepted = stack.enter_context(sock.accept()[0])
    prepare(accepted, one)
    accepted.settimeout(SHORT)
    return accepted


def test_source_address_and_options(stack: ExitStack) -> None:
    server, port = listening(stack)
    client = connect(stack, link(port, ttl=7))
    accepted = accept(stack, server, link(port, ttl=9))
    assert accepted.getpeername()[0] == str(THERE)
    assert client.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 7
    assert accepted.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_listener_can_come_back_at_once(stack: ExitStack) -> None:
    server, port = listening(stack)
    client = connect(stack, link(port))
    accept(stack, server, link(port)).close()
    server.close()
    stack.enter_context(listener(Listen(HERE, port)))
    client.close()


@pytest.mark.parametrize("address", ["127.0.0.31", "::1"])
def test_passwords(stack: ExitStack, address: str) -> None:
    to = ip_address(address)
    here: Address = THERE if to.version == 4 else to
    server, port = listening(stack, to)
    set_password(server, here, b"one")
    before = md5_counters()
    connect(stack, link(port, to=to, here=here, password=b"one"))
    with pytest.raises(TimeoutError):
        connect(stack, link(port, to=to, here=here, password=b"two"))
    with pytest.raises(TimeoutError):
        connect(stack, link(port, to=to, here=here))
    new = md5_counters().since(before)
    assert new.failure and new.not_found
    set_password(server, here, b"two")
    connect(stack, link(port, to=to, here=here, password=b"two"))
    set_password(server, here, b"")
    connect(stack, link(port, to=to, here=here))
    set_password(server, here, b"")


def test_an_accepted_socket_has_the_password_of_the_listener(stack: ExitStack) -> None:
    server, port = listening(stack)
    set_password(server, THERE, b"x" * 80)
    client = connect(stack, link(port, password=b"x" * 80))
    accepted = accept(stack, server, link(port))
    client.sendall(b"signed")
    assert accepted.recv(10) == b"signed"
    # Another key takes effect on the next segment of the same connection.
    set_password(accepted, THERE, b"other")
    client.sendall(b"signed with the old key")
    with pytest.raises(TimeoutError):
        accepted.recv(10)


@pytest.mark.parametrize("address", ["127.0.0.31", "::1"])
def test_packets_from_afar_are_dropped(stack: ExitStack, address: str) -> None:
    to = ip_address(address)
    here: Address = THERE if to.version == 4 else to
    server, port = listening(stack, to)
    for ttl, arrives in ((255, True), (254, True), (253, False)):
        client = connect(stack, link(port, to=to, here=here, ttl=ttl))
        if arrives:
            accepted = accept(stack, server, link(port, ttl=255, min_ttl=254))
            client.sendall(b"hello")
            assert accepted.recv(10) == b"hello"
            # From here on the kernel looks.
            set_ttl(client, 253)
            client.sendall(b"hello")
            with pytest.raises(TimeoutError):
                accepted.recv(10)
        else:
            with pytest.raises(FarAway, match="a TTL of 253, and ttl_security takes no less than 254"):
                accept(stack, server, link(port, ttl=255, min_ttl=254))


def test_a_listener_answers_so_that_a_peer_with_gtsm_takes_it(stack: ExitStack) -> None:
    _, port = listening(stack)
    connect(stack, link(port, ttl=255, min_ttl=255))


def test_the_counters_of_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "netstat"
    path.write_text(
        "TcpExt: SyncookiesSent TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure Other\nTcpExt: 1 2 3 4 5\n"
        "IpExt: InNoRoutes\nIpExt: 0\n"
    )
    assert md5_counters(path) == Md5Counters(failure=4, not_found=2, unexpected=3)
    assert md5_counters(path).since(Md5Counters(1, 1, 1)) == Md5Counters(3, 1, 2)
    path.write_text("IpExt: InNoRoutes\nIpExt: 0\n")
    assert md5_counters(path) == md5_counters(tmp_path / "none") == Md5Counters()
