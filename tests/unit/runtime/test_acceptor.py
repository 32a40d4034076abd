"""The listening sockets of a server."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from runtime import acceptor
from runtime.acceptor import Acceptor
from runtime.errors import OperatorError
from runtime.listen import Listen

log = logging.getLogger("vrfwire.test")
HERE = Listen(IPv4Address("127.0.0.1"), 0)


class Taken:
    """What an acceptor has handed on."""

    def __init__(self) -> None:
        self.acceptor = Acceptor(self._take, log)
        self.peers: list[tuple[str, int]] = []
        self._sockets: list[socket.socket] = []
        self._changed = asyncio.Event()

    def _take(self, accepted: socket.socket, address: Any) -> None:
        assert accepted.gettimeout() == 0
        self._sockets.append(accepted)
        self.peers.append(address[:2])
        self._changed.set()

    async def wait(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.peers) < count:
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        self.acceptor.close()
        for one in self._sockets:
            one.close()


def play(scenario: Callable[[Taken], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        taken = Taken()
        try:
            await scenario(taken)
        finally:
            taken.close()

    asyncio.run(run())


def test_what_is_accepted_is_handed_on() -> None:
    async def scenario(taken: Taken) -> None:
        taken.acceptor.listen([HERE, Listen(IPv6Address("::1"), 0)])
        four, six = taken.acceptor.bound
        assert four.port and six.port and str(six.address) == "::1"
        with (
            socket.create_connection(("127.0.0.1", four.port)) as one,
            socket.create_connection(("::1", six.port)) as other,
        ):
            await taken.wait(2)
            assert sorted(taken.peers) == sorted([one.getsockname(), other.getsockname()[:2]])
        taken.acceptor.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", four.port))

    play(scenario)


def test_an_address_that_is_taken() -> None:
    async def scenario(taken: Taken) -> None:
        taken.acceptor.listen([HERE])
        (bound,) = taken.acceptor.bound
        again = Acceptor(lambda accepted, address: None, log)
        with pytest.raises(OperatorError) as caught:
            again.listen([Listen(IPv4Address("127.0.0.2"), 0), bound])
        assert caught.value.what == f"listen {bound}" and "in use" in caught.value.why
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", again.bound[0].port))

    play(scenario)


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EHOSTUNREACH])
def test_a_connection_that_fails_is_passed_over(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [OSError(number, os.strerror(number))]
    accept = socket.socket.accept

    def fails_once(listener: socket.socket) -> Any:
        if failing:
            raise failing.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", fails_once)

    async def scenario(taken: Taken) -> None:
        taken.acceptor.listen([HERE])
        with socket.create_connection(("127.0.0.1", taken.acceptor.bound[0].port)):
            await taken.wait(1)

    play(scenario)
    assert not failing and not caplog.records


def test_without_files_it_waits(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And doesn't spin: the socket stays readable all the time."""
    monkeypatch.setattr(acceptor, "RETRY", 0.01)
    tries = []
    accept = socket.socket.accept

    def out_of_files(listener: socket.socket) -> Any:
        tries.append(listener)
        if len(tries) < 3:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", out_of_files)

    async def scenario(taken: Taken) -> None:
        taken.acceptor.listen([HERE])
        with socket.create_connection(("127.0.0.1", taken.acceptor.bound[0].port)):
            await taken.wait(1)

    play(scenario)
    assert caplog.text.count("cannot accept connections: Too many open files") == 2
