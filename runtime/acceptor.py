"""The listening sockets of a server in an event loop: what is accepted there is handed on."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any

from runtime.errors import OperatorError
from runtime.listen import Listen, listening_socket

ACCEPTS_A_TURN = 64
"""Connections accepted before the loop looks at other sockets again."""
RETRY = 1.0
"""Seconds without accepting when it fails: there are no more files, or no memory."""
_OF_ONE = (
    *(errno.ECONNABORTED, errno.EPROTO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EPERM, errno.ETIMEDOUT),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENONET),
)
"""Errors of a connection that has ended before it was accepted, or that a packet filter refuses (accept(2))."""

Accepted = Callable[[socket.socket, Any], None]
"""Takes a connection, which doesn't block, and the peer's address as the socket module gives it."""


class Acceptor:
    """Use it within one event loop. log: where it says that it can't accept."""

    def __init__(self, accepted: Accepted, log: logging.Logger) -> None:
        self.bound: list[Listen] = []
        """Where it listens, with the ports that were chosen for port 0; stays after close()."""
        self._accepted = accepted
        self._log = log
        self._sockets: list[socket.socket] = []
        self._loop = asyncio.get_running_loop()

    def listen(self, addresses: Sequence[Listen]) -> None:
        """Start to listen there, too. Raises OperatorError, and then listens nowhere."""
        for address in addresses:
            try:
                listener = listening_socket(address)
            except OSError as error:
                self.close()
                hint = "another program listens there, or the address is not of this machine"
                raise OperatorError(f"listen {address}", error.strerror or str(error), hint) from error
            self._sockets.append(listener)
            self._loop.add_reader(listener, self._accept, listener)
            self.bound.append(Listen(address.address, listener.getsockname()[1]))

    def close(self) -> None:
        """Accept nothing more."""
        for listener in self._sockets:
            self._loop.remove_reader(listener)
            listener.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, address = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _OF_ONE:
                    continue
                self._log.error("cannot accept connections: %s; trying again in a second", error.strerror)
                self._loop.remove_reader(listener)
                self._loop.call_later(RETRY, self._resume, listener)
                return
            accepted.setblocking(False)
            self._accepted(accepted, address)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._sockets:
            self._loop.add_reader(listener, self._accept, listener)
