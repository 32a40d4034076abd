"""HTTP over TLS made of a socket: sends any bytes, and reads answers as they are. For tests and for measurements."""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import Self

READ = 1 << 18
"""Octets read at a time."""
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An HTTP answer. head: all before the body, as it came."""

    status: int
    head: bytes
    body: bytes


class RawHttp:
    """One connection. name: the server's in its certificate; timeout: seconds that it may be silent.

    What reads raises ConnectionError when the server closes the connection, TimeoutError when it is silent.
    """

    def __init__(self, address: str, port: int, tls: ssl.SSLContext, name: str, timeout: float) -> None:
        plain = socket.create_connection((address, port), timeout=timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = tls.wrap_socket(plain, server_hostname=name)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send octets."""
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """At most so many octets; b"" at the end."""
        return self._socket.recv(size)

    def answer(self) -> HttpAnswer:
        """The next answer."""
        head = self.until(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = self.exactly(int(length[1])) if length is not None else b""
        return HttpAnswer(int(head.split(None, 2)[1]), head, body)

    def ended(self) -> bool:
        """Whether the server closes the connection (waits for that)."""
        try:
            return not self._buffer and self._socket.recv(1) == b""
        except ConnectionError:
            return True

    def until(self, mark: bytes) -> bytes:
        """What comes up to a mark, with it."""
        while (end := self._buffer.find(mark)) < 0:
            self._more()
        return self._take(end + len(mark))

    def exactly(self, size: int) -> bytes:
        """So many octets."""
        while len(self._buffer) < size:
            self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> None:
        data = self._socket.recv(READ)
        if not data:
            raise ConnectionError(f"the connection ended behind {bytes(self._buffer[:200])!r}")
        self._buffer += data
