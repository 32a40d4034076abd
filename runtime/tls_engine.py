"""The server's side of TLS on one connection: octets in, octets and data out; no I/O.

OpenSSL has no socket here. Given one, it takes all that comes until there are data, in a single call: who sends
messages of TLS's own without a pause (key updates, RFC 8446, section 4.6.3: 27 octets of a stranger for 12 us of ours)
has the event loop for itself. Handed over a read at a time, they take what a read takes, and are charged for. And
records that came together are one piece of data.

All connections of an event loop share Buffers: OpenSSL takes in what it is given, also a part of a record, and what it
has to send is fetched at once, so that between two calls nothing lies in them.
"""

from __future__ import annotations

import contextlib
import ssl

READ_SIZE = 16 * 1024 + 512
"""Octets of a read: a record of TLS and what belongs to it (RFC 8446, section 5.2)."""


class Buffers:
    """Of one event loop. octets: what its connections read into."""

    __slots__ = ("incoming", "octets", "outgoing")

    def __init__(self, size: int = READ_SIZE) -> None:
        self.octets = memoryview(bytearray(size))
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()


class TlsEngine:
    """After each call, output() has what is to be sent, also after one that has raised: an alert then."""

    __slots__ = ("_buffers", "_rest", "error", "object", "over")

    def __init__(self, context: ssl.SSLContext, buffers: Buffers) -> None:
        self._buffers = buffers
        self.object = context.wrap_bio(buffers.incoming, buffers.outgoing, server_side=True)
        """With the peer's certificate."""
        self._rest = b""
        """Came along with the end of the handshake."""
        self.over = False
        """The peer has said that it sends no more (close_notify)."""
        self.error: ssl.SSLError | None = None
        """Why nothing can be decrypted any more."""

    def handshake(self, octets: memoryview) -> bool:
        """Go on with the handshake. Whether it has ended. Raises ssl.SSLError when it has failed."""
        incoming = self._buffers.incoming
        incoming.write(octets)
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self._rest = incoming.read()
        return True

    @property
    def waits(self) -> bool:
        """Whether decrypt() has something to say without new octets."""
        return self.over or self.error is not None or bool(self._rest)

    def decrypt(self, octets: memoryview | bytes) -> bytes:
        """The data in what was received; b"" when there are none. Sets `over` and `error`, at the end of the data."""
        incoming, read = self._buffers.incoming, self.object.read
        if self._rest:
            incoming.write(self._rest)
            self._rest = b""
        incoming.write(octets)
        pieces: list[bytes] = []
        try:
            while incoming.pending or self.object.pending():
                piece = read(READ_SIZE)
                if not piece:
                    self.over = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.over = True
        except ssl.SSLError as error:
            self.error = error
        if incoming.pending:
            incoming.read()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """Records of it, behind what output() would have told. Raises ssl.SSLError."""
        size = len(data)
        written = self.object.write(data)
        if written < size:
            with memoryview(data) as view:
                while written < size:
                    written += self.object.write(view[written:])
        return self._buffers.outgoing.read()

    def output(self) -> bytes:
        """TLS's own messages that are to be sent."""
        outgoing = self._buffers.outgoing
        return outgoing.read() if outgoing.pending else b""

    def close(self) -> bytes:
        """What says that no more is sent (close_notify, RFC 8446, section 6.1)."""
        # The peer's own isn't waited for, and after a failure there is nothing to say.
        with contextlib.suppress(ssl.SSLError):
            self.object.unwrap()
        return self.output()
