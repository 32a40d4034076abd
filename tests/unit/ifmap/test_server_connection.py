"""Connections: order of answers, limits, back-pressure, what is refused without the service. No sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Callable

import pytest

from ifmap.server import connection as connection_module
from ifmap.server import listener as listener_module
from ifmap.server import outgoing
from ifmap.server.connection import INLINE, MAX_AHEAD, MAX_DISCARD, Connection
from ifmap.server.exchange import pack, unpack
from ifmap.server.listener import HttpLimits
from ifmap.values import Poll
from tests.unit.ifmap.server_harness import AUTHORIZATION, Answers, FakeTransport, World, answers, post, run, until

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(autouse=True)
def _short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "LINGER", 0.02)


async def known(world: World) -> None:
    """Have the client's password known."""
    connection, transport = world.connect()
    connection.data_received(post())
    await until(lambda: answers(transport), "the first answer")
    assert answers(transport) == [(200, b"answer")]
    transport.close()
    await until(lambda: not world.listener.connections)
    world.backend.requests.clear()


def test_a_request_and_its_answer() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(post(b"body"))
        await until(lambda: answers(transport))
        assert world.backend.requests == [(connection.number, "ann", b"body")]
        transport.close()
        await until(lambda: world.backend.gone == [connection.number])
        world.close()

    run(scenario())


def test_answers_leave_in_order() -> None:
    """Requests behind each other, with some that the service never sees, and a poll that waits."""

    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: None
        connection, transport = world.connect()
        connection.data_received(
            post(b"poll") + post(b"next") + b"GET /health HTTP/1.1\r\n\r\n" + post(b"x", login=False) + post(b"last")
        )
        assert len(world.backend.requests) == 3
        assert answers(transport) == []
        assert transport.reading
        world.backend.deliver(connection.number, b"result")
        world.backend.deliver(connection.number, b"answer")
        assert [status for status, _ in answers(transport)] == [200, 200, 200, 401]
        world.backend.deliver(connection.number, b"last")
        assert [body for _, body in answers(transport)][0::2] == [b"result", b"{}", b"last"]
        world.close()

    run(scenario())


def test_no_more_than_some_requests_ahead() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: None
        connection, transport = world.connect()
        connection.data_received(post() * (MAX_AHEAD + 5))
        assert len(world.backend.requests) == MAX_AHEAD
        assert not transport.reading
        for count in range(1, 6):
            world.backend.deliver(connection.number, b"answer")
            assert len(world.backend.requests) == MAX_AHEAD + count
        assert transport.reading
        world.close()

    run(scenario())


def test_nothing_is_kept_of_who_did_not_log_in() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 5000)
        assert answers(transport)[0][0] == 401
        assert b"Connection: close" in transport.sent
        connection.data_received(b"x" * 100_000)
        assert world.backend.requests == []
        assert not connection._unfed
        transport.close()
        await until(lambda: not world.listener.connections)
        assert not world.listener._logins
        world.close()

    run(scenario())


def test_a_body_in_chunks_that_is_refused_is_read_to_a_limit() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        for _ in range(MAX_DISCARD // 0x10000 + 1):
            connection.data_received(chunk)
        assert connection.outgoing.ending
        await until(lambda: transport.closed)
        world.close()

    run(scenario())


def test_the_connection_stays_after_a_refused_login() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        connection, transport = world.connect()
        connection.data_received(post(login=False))
        connection.data_received(post())
        assert [status for status, _ in answers(transport)] == [401, 200]
        world.close()

    run(scenario())


def test_nothing_is_handled_while_a_password_is_checked() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(post(b"one"))
        connection.data_received(post(b"two"))
        assert not transport.reading
        await until(lambda: len(answers(transport)) == 2)
        assert [request for _, _, request in world.backend.requests] == [b"one", b"two"]
        assert transport.reading
        world.close()

    run(scenario())


def test_a_client_that_leaves_while_its_password_is_checked() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(post())
        transport.close()
        await until(lambda: not world.listener.connections)
        await known(world)
        assert world.backend.gone == [2]
        world.close()

    run(scenario())


def test_expect_continue() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: None if request == b"poll" else b"answer"
        connection, transport = world.connect()
        head = b"POST / HTTP/1.1\r\n" + AUTHORIZATION + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        connection.data_received(head)
        assert transport.sent == CONTINUE
        connection.data_received(b"poll")
        connection.data_received(head)
        assert transport.sent == CONTINUE, "the answer before it comes first"
        world.backend.deliver(connection.number, b"result")
        assert transport.sent.endswith(b"result" + CONTINUE)
        connection.data_received(b"last")
        assert transport.sent.endswith(b"answer")
        world.close()

    run(scenario())


def test_expect_continue_without_login_ends_the_connection() -> None:
    """Whether the body comes can't be known."""

    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert Answers(bytes(transport.sent)).found[0][0::2] == (401, False)
        world.close()

    run(scenario())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 405),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 405),
        (b"POST / HTTP/1.1\r\n" + AUTHORIZATION + b"Content-Length: 2000\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000, 413),
        (b"POST / HTTP/1.1\r\n" + AUTHORIZATION + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"POST / HTTP/1.1\r\nX: " + b"x" * 40_000, 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 200),
        (b"HEAD /health HTTP/1.1\r\n\r\n", 200),
    ],
)
def test_what_is_answered_without_the_service(request_: bytes, status: int) -> None:
    async def scenario() -> None:
        world = World(HttpLimits(max_request=1000))
        await known(world)
        connection, transport = world.connect()
        connection.data_received(request_)
        assert transport.sent.startswith(b"HTTP/1.1 %d " % status)
        assert world.backend.requests == []
        world.close()

    run(scenario())


def test_a_head_request_has_no_body() -> None:
    async def scenario() -> None:
        world = World()
        connection, transport = world.connect()
        connection.data_received(b"HEAD /health HTTP/1.1\r\n\r\n")
        assert b"Content-Length: 2\r\n" in transport.sent
        assert transport.sent.endswith(b"\r\n\r\n")
        world.backend.sound = False
        connection.data_received(b"GET /health?x HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1 503 " in transport.sent
        world.close()

    run(scenario())


def test_the_last_answer_is_not_lost_to_who_still_sends() -> None:
    async def scenario() -> None:
        world = World(HttpLimits(max_request=1000))
        connection, transport = world.connect()
        connection.data_received(b"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n")
        assert answers(transport)[0][0] == 413
        assert not transport.closed
        connection.data_received(b"x" * 2000)
        await until(lambda: transport.closed)
        world.close()

    run(scenario())


# -- gzip


def test_packed_bodies() -> None:
    async def scenario() -> None:
        world = World(HttpLimits(max_request=100_000))
        await known(world)
        world.backend.answers = lambda request: b"z" * 5000
        connection, transport = world.connect()
        fields = b"Content-Encoding: gzip\r\nAccept-Encoding: gzip\r\n"
        connection.data_received(post(gzip.compress(b"hello"), fields))
        await until(lambda: answers(transport))
        assert world.backend.requests[-1][2] == b"hello"
        assert gzip.decompress(answers(transport)[0][1]) == b"z" * 5000
        assert b"Content-Encoding: gzip" in transport.sent
        for body, status in ((b"no gzip", 400), (gzip.compress(b"x" * 200_000), 413), (gzip.compress(b"ok")[:-4], 400)):
            transport.sent.clear()
            connection.data_received(post(body, fields))
            await until(lambda: answers(transport))
            assert answers(transport)[0][0] == status
        assert len(world.backend.requests) == 1
        world.close()

    run(scenario())


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    assert unpack(bomb, 1_000_000) is None
    with pytest.raises(zlib.error):
        unpack(gzip.compress(b"x") + b"more", 100)
    assert unpack(gzip.compress(b"x" * 100), 100) == b"x" * 100


def test_small_answers_are_not_packed() -> None:
    assert pack(b"x" * 100).body == b"x" * 100
    assert len(pack(b"x" * 10_000).body) < 1000


def test_large_answers_are_packed_elsewhere_and_keep_their_order() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        large = b"z" * (INLINE + 1)
        world.backend.answers = lambda request: large if request == b"large" else b"small"
        connection, transport = world.connect()
        connection.data_received(post(b"large", b"Accept-Encoding: gzip\r\n") + post(b"small"))
        assert answers(transport) == []
        await until(lambda: len(answers(transport)) == 2)
        (_, first), (_, second) = answers(transport)
        assert (gzip.decompress(first), second) == (large, b"small")
        world.close()

    run(scenario())


def test_large_requests_are_read_elsewhere() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        connection, transport = world.connect()
        body = b"x" * (INLINE + 1)
        connection.data_received(post(body) + post(b"small"))
        await until(lambda: len(answers(transport)) == 2)
        assert [request for _, _, request in world.backend.requests] == [Poll(f"{len(body)} bytes"), b"small"]
        world.close()

    run(scenario())


# -- back-pressure


def test_a_client_that_does_not_read_is_not_read() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        large = b"z" * 3_000_000
        world.backend.answers = lambda request: large
        connection, transport = world.connect()
        transport.full = True
        connection.data_received(post())
        assert len(transport.sent) < 200_000
        connection.data_received(post())
        assert len(world.backend.requests) == 1
        assert not transport.reading
        connection.resume_writing()
        await until(lambda: len(answers(transport)) == 2)
        assert [body == large for _, body in answers(transport)] == [True, True]
        assert transport.reading
        world.close()

    run(scenario())


def test_a_large_answer_lets_others_have_their_turn() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: b"z" * 3_000_000
        connection, transport = world.connect()
        connection.data_received(post())
        assert len(transport.sent) <= outgoing.TURN + outgoing.PIECE
        await until(lambda: len(transport.sent) > 3_000_000)
        world.close()

    run(scenario())


def test_a_client_that_never_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "STALL", 0.02)

    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: b"z" * 3_000_000
        connection, transport = world.connect()
        transport.full = True
        connection.data_received(post())
        await until(lambda: transport.closed)
        assert world.listener.counters["stalled"] == 1
        world.close()

    run(scenario())


# -- time


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", None),
        (b"POST / HTTP/1.1\r\nContent", 408),
        (b"GET /health HTTP/1.1\r\n\r\n", 200),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 401),
    ],
)
def test_slow_ones_without_login_are_closed(sent: bytes, status: int | None) -> None:
    async def scenario() -> None:
        world = World(HttpLimits(login_time=0.05, request_time=60))
        connection, transport = world.connect()
        connection.data_received(sent)
        await until(lambda: transport.closed)
        assert [found for found, _ in answers(transport)][:1] == ([status] if status is not None else [])
        assert world.listener.counters["slow"] == 1
        world.close()

    run(scenario())


def test_a_slow_body_of_a_client() -> None:
    async def scenario() -> None:
        world = World(HttpLimits(login_time=60, request_time=0.05))
        await known(world)
        connection, transport = world.connect()
        connection.data_received(post(b"x" * 10)[:-5])
        await until(lambda: transport.closed)
        assert answers(transport)[0][0] == 408
        world.close()

    run(scenario())


def test_a_client_may_be_silent_between_requests_and_while_it_polls() -> None:
    async def scenario() -> None:
        world = World(HttpLimits(login_time=0.02, request_time=0.02))
        slow, waiting = world.connect(), world.connect()
        world.backend.answers = lambda request: None if request == b"poll" else b"answer"
        idle_connection, idle = slow
        poll_connection, poll = waiting
        idle_connection.data_received(post())
        poll_connection.data_received(post(b"poll"))
        await until(lambda: answers(idle) and len(world.backend.requests) == 2)
        probe_connection, probe = world.connect()
        assert probe_connection is not None
        await until(lambda: probe.closed)  # so that more than their time has passed
        assert not idle.closed and not poll.closed
        world.backend.deliver(poll_connection.number, b"result")
        assert answers(poll) == [(200, b"result")]
        world.close()

    run(scenario())


def test_an_error_of_the_server_costs_one_connection() -> None:
    async def scenario() -> None:
        world = World()
        broken, transport = world.connect()

        def fail(request: object) -> bytes:
            raise RuntimeError("a bug")

        world.backend.answers = fail
        broken.data_received(post())
        await until(lambda: transport.closed)
        world.backend.answers = lambda request: b"answer"
        await known(world)
        world.close()

    run(scenario())


def test_the_service_may_end_a_connection() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: None
        connection, transport = world.connect()
        connection.data_received(post())
        world.backend.deliver(connection.number, b"over", close=True)
        assert Answers(bytes(transport.sent)).found == [(200, b"over", False)]
        await until(lambda: transport.closed)
        world.close()

    run(scenario())


def test_stopping_sends_what_was_answered() -> None:
    async def scenario() -> None:
        world = World()
        await known(world)
        world.backend.answers = lambda request: b"z" * 3_000_000
        connection, transport = world.connect()
        connection.data_received(post())
        idle_transport: FakeTransport
        _, idle_transport = world.connect()
        await world.listener.stop()
        assert answers(transport)[0][1] == b"z" * 3_000_000
        assert idle_transport.closed and not world.listener.connections
        world.close()

    run(scenario())


def test_when_too_much_waits_to_be_read_the_slowest_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "MAX_UNSENT", 5_000_000)

    async def scenario() -> None:
        world = World()
        await known(world)
        sizes = iter((3_000_000, 1_500_000, 1_500_000))
        world.backend.answers = lambda request: b"z" * next(sizes)
        transports = []
        for _ in range(3):
            connection, transport = world.connect()
            transport.full = True
            connection.data_received(post())
            transports.append(transport)
        assert [transport.closed for transport in transports] == [True, False, False]
        await until(lambda: len(world.listener.connections) == 2)
        assert sum(connection.outgoing.unsent for connection in world.listener.connections.values()) < 5_000_000
        assert transports[1].protocol is not None
        transports[1].protocol.resume_writing()
        await until(lambda: answers(transports[1]))
        assert transports[1].protocol.outgoing.unsent == 0
        world.close()

    run(scenario())


def test_logins_of_a_network_and_of_all_are_bounded() -> None:
    async def scenario() -> None:
        world = World(HttpLimits(max_connections=10, max_logins=3))
        refused = [world.listener._full(peer) for peer in ("2001:db8::1", "192.0.2.1")]
        assert refused == ["", ""]
        world.listener._logins["2001:db8::"] += 3
        assert "address" in world.listener._full("2001:db8::5:6")
        assert world.listener._full("2001:db8:0:1::1") == ""
        world.listener._logins["198.51.100.1"] += 2
        assert "half" in world.listener._full("192.0.2.1")
        world.listener._logins.clear()
        world.close()

    run(scenario())


def test_a_connection_that_is_gone_before_its_handshake_was_noticed_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client leaves right behind the handshake: asyncio may tell the end before the beginning."""

    async def scenario() -> None:
        world = World()
        world.listener._logins["192.0.2.9"] = 2

        async def lost_at_once(made: Callable[[], Connection], *_: object, **__: object) -> None:
            transport = FakeTransport()
            transport.protocol = connection = made()
            connection.connection_made(transport)
            connection.connection_lost(None)
            raise ConnectionResetError

        monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", lost_at_once)
        with socket.socket() as accepted:
            await world.listener._greet(accepted, "192.0.2.9")
        assert world.listener._logins["192.0.2.9"] == 1
        world.close()

    run(scenario())
