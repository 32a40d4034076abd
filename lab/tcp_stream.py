"""A TCP connection that carries data from one VM to another: how long it stood still, and what had to be sent again."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from contextlib import AbstractContextManager
from typing import Protocol

from lab.errors import LabError
from lab.frames import IP

CHUNK = bytes(1024)
"""What is sent in a turn."""
_CONNECT = 10.0
_ROOM = 1 << 16
_TCP_INFO_SIZE = 224
_TOTAL_RETRANSMISSIONS, _DUPLICATES = 100, 216
"""Offsets of tcpi_total_retrans and tcpi_dsack_dups in struct tcp_info."""
_NUMBER = struct.Struct("=I")


class Place(Protocol):
    """Where sockets are made: a lab.namespace.Namespace."""

    def entered(self) -> AbstractContextManager[None]: ...


class TcpStream:
    """A connection from one place and address to another. One way: an end that only receives doesn't put off its
    acknowledgements until it has something to say, which would be as long as TCP's shortest pause.

    sent, received: octets. stalled: longest time in seconds without anything new. broken: why it ended, "" while it
    lives.
    """

    def __init__(self, name: str, source: tuple[Place, IP], target: tuple[Place, IP], port: int, now: float) -> None:
        """now: seconds (time.monotonic). Raises LabError when there is no connection within some seconds."""
        self.name = name
        self.sent = 0
        self.received = 0
        self.stalled = 0.0
        self.broken = ""
        self._last = now
        (here, near), (there, far) = source, target
        family = socket.AF_INET if near.version == 4 else socket.AF_INET6
        with there.entered():
            listener = socket.socket(family)
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(far), port))
            listener.listen()
            listener.settimeout(_CONNECT)
            with here.entered():
                self._sender = socket.socket(family)
            try:
                self._sender.settimeout(_CONNECT)
                self._sender.bind((str(near), 0))
                self._sender.connect((str(far), port))
                self._receiver, _ = listener.accept()
            except OSError as error:
                self._sender.close()
                raise LabError(f"{name}: no connection: {error}") from error
        self._sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for end in (self._sender, self._receiver):
            end.setblocking(False)

    def turn(self, now: float, send: bool = True) -> None:
        """Take what has come, and send more."""
        if self.broken:
            return
        try:
            self._receive(now)
            if send:
                # A full buffer: the stream stands still, which the receiver counts.
                with contextlib.suppress(BlockingIOError):
                    self.sent += self._sender.send(CHUNK)
            elif code := self._sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.broken = os.strerror(code)
        except OSError as error:
            self.broken = error.strerror or str(error)

    def _receive(self, now: float) -> None:
        if self.complete:
            self._last = now  # there was nothing to wait for
        got = 0
        with contextlib.suppress(BlockingIOError):
            data = self._receiver.recv(_ROOM)
            got = len(data)
            if not data:
                raise ConnectionResetError("closed by the other end")
        self.stalled = max(self.stalled, now - self._last)
        if got:
            self.received += got
            self._last = now

    @property
    def complete(self) -> bool:
        """Whether everything that was sent has come."""
        return self.received == self.sent

    @property
    def retransmissions(self) -> int:
        """Segments that the kernel has sent again because they were lost. Those that the receiver had already (RFC
        2883), as after a pause of the whole machine, aren't counted."""
        info = self._sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        again, needless = (_NUMBER.unpack_from(info, at)[0] for at in (_TOTAL_RETRANSMISSIONS, _DUPLICATES))
        return int(again - needless)

    def close(self) -> None:
        """Close both ends."""
        self._sender.close()
        self._receiver.close()
