"""The transport over one socket: plain, TLS in place, back-pressure, and every way in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority, Credentials
from runtime.socket_transport import HANDSHAKE_MAX, LINGER_MAX, SocketTransport
from runtime.tls import server_context
from runtime.tls_engine import READ_SIZE, Buffers
from tests.unit.runtime.key_updates import key_updates

DEADLINE = 20.0
DOMAIN = "gw.example.net"


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.told: list[str] = []
        self.error: Exception | None = None
        self.on_data: Callable[[bytes], None] = self.data.extend
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tell("made")

    def data_received(self, data: bytes) -> None:
        self.on_data(data)
        self.changed.set()

    def eof_received(self) -> None:
        self._tell("eof")

    def pause_writing(self) -> None:
        self._tell("pause")

    def resume_writing(self) -> None:
        self._tell("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._tell("lost")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that what it is told brings about."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class Site:
    """A transport with its protocol, and the peer's end of the connection, which is a blocking socket."""

    def __init__(self, credentials: Credentials) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        listener.close()
        self.peer.settimeout(DEADLINE)
        self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.protocol = Recorder()
        self.transport = SocketTransport(asyncio.get_running_loop(), accepted, self.protocol, Buffers())
        self.server = server_context(Path(credentials.certificate), Path(credentials.key), None)
        self.client = ssl.create_default_context(cafile=credentials.ca)
        self.secured: list[OSError | None] = []

    def begin_tls(self) -> None:
        """Start TLS on the server's side."""
        self.transport.start_tls(self.server, self._note)

    def _note(self, error: OSError | None) -> None:
        self.secured.append(error)
        self.protocol.changed.set()

    async def tls(self) -> None:
        """TLS on both sides."""
        self.begin_tls()
        self.peer = await asyncio.to_thread(self.client.wrap_socket, self.peer, server_hostname=DOMAIN)
        await self.protocol.until(lambda: self.secured == [None])

    async def lost(self) -> None:
        """Wait for the end."""
        await self.protocol.until(lambda: "lost" in self.protocol.told)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Authority(tmp_path_factory.mktemp("pki")).gateway(DOMAIN, ["127.0.0.1"])


@contextlib.asynccontextmanager
async def site(credentials: Credentials, *, tls: bool) -> AsyncIterator[Site]:
    made = Site(credentials)
    try:
        made.transport.start()
        if tls:
            await made.tls()
        yield made
    finally:
        made.peer.close()
        made.transport.abort()
        await made.lost()


either = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@either
@in_loop
async def test_octets_pass_both_ways(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        here.peer.sendall(b"ping")
        await here.protocol.until(lambda: here.protocol.data == b"ping")
        here.transport.write(b"pong")
        assert await asyncio.to_thread(here.peer.recv, 100) == b"pong"
        assert (here.transport.get_extra_info("ssl_object") is not None) == tls
        assert here.transport.get_extra_info("absent", 7) == 7 and here.transport.is_reading()


@either
@in_loop
async def test_much_passes_both_ways_in_order(credentials: Credentials, tls: bool) -> None:
    """More than the kernel takes, in pieces that are no multiple of a record."""
    much = bytes(range(251)) * 20_000
    async with site(credentials, tls=tls) as here:
        sending = asyncio.create_task(asyncio.to_thread(here.peer.sendall, much))
        await here.protocol.until(lambda: len(here.protocol.data) == len(much))
        await sending
        assert here.protocol.data == much

        def read() -> bytes:
            got = bytearray()
            while len(got) < len(much):
                got += here.peer.recv(70_000)
            return bytes(got)

        reading = asyncio.create_task(asyncio.to_thread(read))
        for start in range(0, len(much), 100_003):
            here.transport.write(memoryview(much)[start : start + 100_003])
        assert await reading == much
        await here.protocol.until(lambda: here.transport.get_write_buffer_size() == 0)


@either
@in_loop
async def test_a_peer_that_reads_nothing_pauses_the_writer(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        here.transport.set_write_buffer_limits(high=100_000)
        written = 0
        while "pause" not in here.protocol.told:
            here.transport.write(b"x" * 50_000)
            written += 50_000
        assert here.transport.get_write_buffer_size() > 100_000

        def read() -> int:
            size = 0
            while size < written:
                size += len(here.peer.recv(100_000))
            return size

        reading = asyncio.create_task(asyncio.to_thread(read))
        await here.protocol.until(lambda: here.protocol.told[-1] == "resume")
        assert here.transport.get_write_buffer_size() <= 25_000
        assert await reading == written


@either
@in_loop
async def test_nothing_is_read_while_reading_is_paused(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:

        def first(data: bytes) -> None:
            here.protocol.data += data
            if data:
                here.transport.pause_reading()

        here.protocol.on_data = first
        here.peer.sendall(b"a" * (3 * READ_SIZE))
        await here.protocol.until(lambda: bool(here.protocol.data))
        taken = len(here.protocol.data)
        assert taken <= 2 * READ_SIZE and not here.transport.is_reading()
        here.transport.write(b"still there")
        assert await asyncio.to_thread(here.peer.recv, 100) == b"still there"
        assert len(here.protocol.data) == taken
        here.protocol.on_data = here.protocol.data.extend
        here.transport.resume_reading()
        await here.protocol.until(lambda: len(here.protocol.data) == 3 * READ_SIZE)


@in_loop
async def test_what_openssl_has_taken_is_not_left_lying(credentials: Credentials) -> None:
    """No selector tells of it: a record may be more than one read, and the end may come along with the last data."""
    async with site(credentials, tls=True) as here:
        here.transport._buffers = Buffers(1000)
        pieces: list[int] = []

        def paused(data: bytes) -> None:
            pieces.append(len(data))
            here.transport.pause_reading()
            asyncio.get_running_loop().call_soon(here.transport.resume_reading)

        here.protocol.on_data = paused
        here.peer.sendall(b"a" * 10_500 + b"b" * 100)
        unwrapping = asyncio.create_task(asyncio.to_thread(here.peer.unwrap))  # type: ignore[attr-defined]
        await here.protocol.until(lambda: "eof" in here.protocol.told)
        assert sum(pieces) == 10_600 and pieces.count(0) >= 9, "parts of a record are told, too"
        here.transport.abort()
        with contextlib.suppress(OSError):
            await unwrapping


@in_loop
async def test_a_flood_leaves_the_loop_its_turns(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        here.transport.pause_reading()
        size = 20 * READ_SIZE
        sending = asyncio.create_task(asyncio.to_thread(here.peer.sendall, b"x" * size))
        await sending
        reads_by_turn: list[int] = []
        loop = asyncio.get_running_loop()

        def turn() -> None:
            reads_by_turn.append(0)
            if len(here.protocol.data) < size:
                loop.call_soon(turn)

        def count(data: bytes) -> None:
            here.protocol.data += data
            reads_by_turn[-1] += 1

        here.protocol.on_data = count
        turn()
        here.transport.resume_reading()
        await here.protocol.until(lambda: len(here.protocol.data) == size)
        assert max(reads_by_turn) == 4


@either
@in_loop
async def test_close_sends_what_is_written_and_then_the_end(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        much = b"y" * 3_000_000
        here.transport.write(much)
        here.transport.close()
        here.transport.close()
        here.transport.write(b"dropped")
        assert here.transport.is_closing() and not here.transport.is_reading()

        def read() -> bytes:
            got = bytearray()
            # ragged ends would raise: close_notify has come
            if isinstance(here.peer, ssl.SSLSocket):
                setattr(here.peer, "suppress_ragged_eofs", False)  # noqa: B010
            while chunk := here.peer.recv(100_000):
                got += chunk
            return bytes(got)

        assert await asyncio.to_thread(read) == much
        assert "lost" not in here.protocol.told, "the peer may still read"
        here.peer.close()
        await here.lost()
        assert here.protocol.error is None


@either
@in_loop
async def test_what_the_peer_still_sends_does_not_cost_it_the_reason(credentials: Credentials, tls: bool) -> None:
    """Closing a socket with unread bytes in it resets the connection, and the peer loses what it hasn't read."""
    async with site(credentials, tls=tls) as here:
        here.transport.pause_reading()
        here.peer.sendall(b"z" * 100_000)
        here.transport.write(b"the reason")
        here.transport.close()
        await asyncio.to_thread(here.peer.sendall, b"z" * 100_000)
        assert await asyncio.to_thread(here.peer.recv, 100) == b"the reason"
        assert await asyncio.to_thread(here.peer.recv, 100) == b""
        here.peer.close()
        await here.lost()
        assert not here.protocol.data


@in_loop
async def test_who_never_stops_sending_is_cut_off(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        here.transport.close()

        def flood() -> int:
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 100 * LINGER_MAX:
                    sent += here.peer.send(b"x" * 65536)
            return sent

        assert await asyncio.to_thread(flood) < 100 * LINGER_MAX
        await here.lost()


@either
@in_loop
async def test_abort_drops_the_connection_at_once(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        here.transport.write(b"y" * 3_000_000)
        here.transport.abort()
        assert "lost" not in here.protocol.told, "never from within"
        await here.lost()
        here.transport.abort()
        here.transport.write(b"dropped")
        here.transport.close()
        assert here.protocol.told.count("lost") == 1


@either
@in_loop
async def test_the_peers_end_is_told_and_answered(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        here.peer.sendall(b"last words")
        if isinstance(here.peer, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                here.peer = await asyncio.to_thread(here.peer.unwrap)
        here.peer.shutdown(socket.SHUT_WR)
        await here.lost()
        assert here.protocol.data == b"last words" and here.protocol.error is None
        assert here.protocol.told == ["made", "eof", "lost"]


@in_loop
async def test_an_end_without_close_notify_is_an_end(credentials: Credentials) -> None:
    async with site(credentials, tls=True) as here:
        here.peer.sendall(b"last words")
        here.peer.shutdown(socket.SHUT_WR)  # of the socket alone
        await here.lost()
        assert here.protocol.data == b"last words" and here.protocol.told == ["made", "eof", "lost"]


@either
@in_loop
async def test_a_reset_is_told(credentials: Credentials, tls: bool) -> None:
    async with site(credentials, tls=tls) as here:
        here.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        here.peer.close()
        await here.lost()
        assert isinstance(here.protocol.error, ConnectionError)


@in_loop
async def test_garbage_in_tls_ends_it(credentials: Credentials) -> None:
    async with site(credentials, tls=True) as here:
        socket.socket.sendall(here.peer, b"\x17\x03\x03\x00\x20" + b"g" * 32)
        await here.lost()
        assert isinstance(here.protocol.error, ssl.SSLError) and not here.protocol.data


@in_loop
async def test_a_bug_of_the_protocol_ends_the_connection(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        caught: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: caught.append(context))

        def bug(data: bytes) -> None:
            raise ZeroDivisionError(data)

        here.protocol.on_data = bug
        here.peer.sendall(b"x")
        await here.lost()
        assert isinstance(caught[0]["exception"], ZeroDivisionError)


# -- TLS in place


@in_loop
async def test_tls_in_the_midst_of_a_stream(credentials: Credentials) -> None:
    """STARTTLS: what is written before leaves first, in plain; whatever comes behind is TLS's."""
    async with site(credentials, tls=False) as here:
        here.peer.sendall(b"starttls")
        await here.protocol.until(lambda: here.protocol.data == b"starttls")
        here.transport.write(b"proceed")
        here.begin_tls()
        assert here.transport.get_extra_info("ssl_object") is None
        assert await asyncio.to_thread(here.peer.recv, 7) == b"proceed"

        def go() -> None:
            here.peer = here.client.wrap_socket(here.peer, server_hostname=DOMAIN)
            here.peer.sendall(b"header")  # in one flight with the end of the handshake

        await asyncio.to_thread(go)
        await here.protocol.until(lambda: here.protocol.data == b"starttlsheader")
        assert here.secured == [None]


@in_loop
async def test_tls_waits_for_what_is_not_sent_yet(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        much = b"p" * 3_000_000
        here.transport.write(much)
        here.begin_tls()
        assert here.transport.get_write_buffer_size() > 0

        def go() -> bytes:
            got = bytearray()
            while len(got) < len(much):
                got += here.peer.recv(min(100_000, len(much) - len(got)))
            here.peer = here.client.wrap_socket(here.peer, server_hostname=DOMAIN)
            return bytes(got)

        assert await asyncio.to_thread(go) == much
        await here.protocol.until(lambda: here.secured == [None])


@in_loop
async def test_a_failed_handshake_is_told_to_both(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        here.begin_tls()
        here.peer.sendall(b"\x16\x03\x01\x00\x20" + b"no handshake" * 100)
        await here.protocol.until(lambda: bool(here.secured))
        assert isinstance(here.secured[0], ssl.SSLError) and here.transport.is_closing()
        # An alert (RFC 8446, section 6), and no reset, though there was more to read.
        alert = await asyncio.to_thread(here.peer.recv, 100)
        assert alert[:1] == b"\x15"
        assert await asyncio.to_thread(here.peer.recv, 100) == b""
        here.peer.close()
        await here.lost()


@in_loop
async def test_a_peer_that_leaves_in_the_handshake(credentials: Credentials) -> None:
    async with site(credentials, tls=False) as here:
        here.begin_tls()
        here.peer.sendall(b"\x16\x03\x01")
        here.peer.close()
        await here.lost()
        assert isinstance(here.secured[0], OSError)


@in_loop
async def test_a_peer_that_has_reset_before_tls(credentials: Credentials) -> None:
    """Wrapping the socket itself fails then."""
    async with site(credentials, tls=False) as here:
        here.transport.pause_reading()
        here.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        here.peer.close()
        here.begin_tls()
        await here.lost()
        assert len(here.secured) == 1 and isinstance(here.secured[0], OSError)


@pytest.mark.parametrize("end", ["close", "abort"])
@in_loop
async def test_the_owner_ends_a_handshake_that_takes_too_long(credentials: Credentials, end: str) -> None:
    async with site(credentials, tls=False) as here:
        here.begin_tls()
        here.peer.sendall(b"\x16\x03\x01")
        getattr(here.transport, end)()
        await here.lost()
        assert not here.secured, "there is nobody to be told"


@pytest.mark.parametrize(("high", "low"), [(10, 20), (-1, None), (10, -5)])
@in_loop
async def test_limits_that_contradict_each_other(credentials: Credentials, high: int, low: int | None) -> None:
    async with site(credentials, tls=False) as here:
        with pytest.raises(ValueError, match="must be"):
            here.transport.set_write_buffer_limits(high, low)


# -- TLS that has messages of its own to exchange (key updates, RFC 8446, section 4.6.3)


@in_loop
async def test_a_handshake_without_an_end(credentials: Credentials) -> None:
    """Records that TLS 1.3 has everybody pass over (RFC 8446, appendix D.4)."""
    async with site(credentials, tls=False) as here:
        here.begin_tls()
        hello = ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            here.client.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=DOMAIN).do_handshake()
        here.peer.sendall(hello.read())

        def flood() -> int:
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 100 * HANDSHAKE_MAX:
                    sent += here.peer.send(b"\x14\x03\x03\x00\x01\x01" * 1000)
            return sent

        flooding = asyncio.create_task(asyncio.to_thread(flood))
        await here.protocol.until(lambda: bool(here.secured))
        assert isinstance(here.secured[0], ssl.SSLError)
        here.transport.abort()
        assert await flooding < 100 * HANDSHAKE_MAX


@in_loop
async def test_key_updates_without_end_leave_the_loop_its_turns(credentials: Credentials, tmp_path: Path) -> None:
    """OpenSSL, had it the socket, would take all of them in one call."""
    async with site(credentials, tls=False) as here:
        here.client.keylog_filename = str(tmp_path / "keys")
        await here.tls()
        assert isinstance(here.peer, ssl.SSLSocket)
        flood = key_updates(here.peer, tmp_path / "keys", 2500)
        here.transport.pause_reading()
        here.transport.taken()
        socket.socket.sendall(here.peer, flood)
        told_by_turn: list[int] = []
        loop = asyncio.get_running_loop()
        octets, spent = 0, 0.0

        def turn() -> None:
            told_by_turn.append(0)
            if octets < len(flood):
                loop.call_soon(turn)

        def nothing(data: bytes) -> None:
            nonlocal octets, spent
            assert not data
            told_by_turn[-1] += 1
            taken = here.transport.taken()
            octets, spent = octets + taken[0], spent + taken[1]

        here.protocol.on_data = nothing
        turn()
        here.transport.resume_reading()
        await here.protocol.until(lambda: octets >= len(flood))
        assert max(told_by_turn) == 1 and sum(told_by_turn) >= len(flood) / READ_SIZE
        assert octets == len(flood) and spent > 0, "it can be charged for"
        assert "lost" not in here.protocol.told


@in_loop
async def test_key_updates_are_answered_and_bounded_by_what_the_peer_reads(
    credentials: Credentials, tmp_path: Path
) -> None:
    async with site(credentials, tls=False) as here:
        here.client.keylog_filename = str(tmp_path / "keys")
        await here.tls()
        assert isinstance(here.peer, ssl.SSLSocket)
        here.transport.write(b"before")
        socket.socket.sendall(here.peer, key_updates(here.peer, tmp_path / "keys", 1000, requested=True))
        await here.protocol.until(lambda: here.transport._octets >= 27_000)
        here.transport.write(b"after")
        got = b""
        while len(got) < 11:
            got += await asyncio.to_thread(here.peer.recv, 100)
        assert got == b"beforeafter", "our own keys have changed on the way"


@in_loop
async def test_answers_of_tls_that_nobody_reads_pause_the_protocol(credentials: Credentials, tmp_path: Path) -> None:
    async with site(credentials, tls=False) as here:
        here.client.keylog_filename = str(tmp_path / "keys")
        await here.tls()
        assert isinstance(here.peer, ssl.SSLSocket)
        here.transport.set_write_buffer_limits(high=1000)
        flood = key_updates(here.peer, tmp_path / "keys", 1000, requested=True)
        while here.transport.get_write_buffer_size() == 0:
            here.transport.write(b"x" * 500)
        socket.socket.sendall(here.peer, flood)
        await here.protocol.until(lambda: "pause" in here.protocol.told)
