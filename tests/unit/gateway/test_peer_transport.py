"""Transports of BGP sessions: how a connection ends."""

from __future__ import annotations

import asyncio
import errno
import socket

from gateway.peer_transport import PeerTransport


class Endpoint:
    """Ends the session at the end of its connection, as PeerRuntime does."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def opened(self, transport: PeerTransport) -> None:
        pass

    def received(self, transport: PeerTransport, data: bytes) -> None:
        pass

    def writable(self, transport: PeerTransport) -> None:
        pass

    def ended(self, transport: PeerTransport, why: str) -> None:
        self.ends.append(why)
        transport.finish(b"last words")

    def closed(self, transport: PeerTransport) -> None:
        pass


class ResetTransport(asyncio.Transport):
    """A connection that the peer has reset right behind its FIN; asyncio has seen only the FIN."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: object) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


def test_a_connection_that_was_reset_can_be_finished() -> None:
    async def scenario() -> None:
        endpoint = Endpoint()
        transport = PeerTransport(endpoint, memoryview(bytearray(100)), outgoing=True)
        one, two = socket.socketpair()
        with one, two:
            connection = ResetTransport(one)
            transport.connection_made(connection)
            transport.eof_received()
        assert endpoint.ends == ["the peer closed the connection"]
        assert connection.aborted

    asyncio.run(scenario())
