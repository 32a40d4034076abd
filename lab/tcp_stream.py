"""A TCP connection between two VMs with data both ways: how long it stood still, and what was sent again."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.frames import IP

if TYPE_CHECKING:
    from lab.namespace import Namespace

CHUNK = bytes(512)
"""What each end sends in a turn."""
_CONNECT = 10.0
_ROOM = 1 << 16
_TCP_INFO_SIZE = 104
_TOTAL_RETRANSMISSIONS = 100
"""Offset of tcpi_total_retrans in struct tcp_info."""
_NUMBER = struct.Struct("=I")


@dataclass(slots=True)
class _End:
    """One end. stalled: longest time in seconds without anything new."""

    socket: socket.socket
    sent: int = 0
    received: int = 0
    last: float = 0.0
    stalled: float = 0.0

    def send(self) -> None:
        # A full buffer: the stream stands still, which the other end counts.
        with contextlib.suppress(BlockingIOError):
            self.sent += self.socket.send(CHUNK)

    def receive(self, now: float) -> None:
        got = 0
        with contextlib.suppress(BlockingIOError):
            while data := self.socket.recv(_ROOM):
                got += len(data)
                if len(data) < _ROOM:
                    break
            else:
                raise ConnectionResetError("the other end has closed the connection")
        self.stalled = max(self.stalled, now - self.last)
        if got:
            self.received += got
            self.last = now

    def retransmissions(self) -> int:
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        return int(_NUMBER.unpack_from(info, _TOTAL_RETRANSMISSIONS)[0])


class TcpStream:
    """A connection from one namespace and address to another, both ways in use.

    broken: why it ended, "" while it lives.
    """

    def __init__(self, name: str, one: tuple[Namespace, IP], two: tuple[Namespace, IP], port: int, now: float) -> None:
        """now: seconds (time.monotonic). Raises LabError when there is no connection within some seconds."""
        self.name = name
        self.broken = ""
        (here, source), (there, target) = one, two
        family = socket.AF_INET if source.version == 4 else socket.AF_INET6
        with there.entered():
            listener = socket.socket(family)
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(target), port))
            listener.listen()
            listener.settimeout(_CONNECT)
            with here.entered():
                near = socket.socket(family)
            try:
                near.settimeout(_CONNECT)
                near.bind((str(source), 0))
                near.connect((str(target), port))
                far, _ = listener.accept()
            except OSError as error:
                near.close()
                raise LabError(f"{name}: no connection: {error}") from error
        self._ends = (_End(near, last=now), _End(far, last=now))
        for end in self._ends:
            end.socket.setblocking(False)
            end.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn(self, now: float, send: bool = True) -> None:
        """Take what has come, and send more from both ends."""
        if self.broken:
            return
        try:
            for end in self._ends:
                end.receive(now)
            if send:
                for end in self._ends:
                    end.send()
        except OSError as error:
            self.broken = error.strerror or str(error)

    @property
    def complete(self) -> bool:
        """Whether everything that was sent has come."""
        one, two = self._ends
        return one.received == two.sent and two.received == one.sent

    @property
    def stalled(self) -> float:
        """Longest time in seconds in which an end got nothing new."""
        return max(end.stalled for end in self._ends)

    @property
    def retransmissions(self) -> int:
        """Segments that the kernel has sent again, of both ends."""
        return sum(end.retransmissions() for end in self._ends)

    def close(self) -> None:
        """Close both ends."""
        for end in self._ends:
            end.socket.close()
