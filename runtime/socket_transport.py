"""An asyncio transport over a connected socket that may become TLS in place.

asyncio's own TLS has a read buffer and two memory BIOs for each connection, and moves every byte through two
transports. Here all connections of a server share them (runtime/tls_engine.py): half the time for each message, and a
third of the memory of an idle connection (docs/design/gateway-performance.md). STARTTLS takes over the very socket, so
no byte can come out of TLS before it is in place, and none of TLS's can be read as plain text.

    plain --start_tls()--> handshake --> TLS        close(): flush, close_notify, FIN, read to the end, connection_lost
                               +-------> failed: FIN, read to the end, connection_lost

A socket that is closed with unread bytes in it is reset, and with it goes what the peer has not read yet: the reason
why. So at the end what still comes is read and dropped, until the peer closes or the owner calls abort().
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from runtime.tls_engine import Buffers, TlsEngine

READS_A_TURN = 4
"""Reads of one connection before the loop looks at the others."""
WRITE_HIGH = 64 * 1024
LINGER_MAX = 4 * 1024 * 1024
"""Octets read and dropped after the end; who sends more is reset."""
HANDSHAKE_MAX = 256 * 1024
"""Octets of a handshake, of which the client's certificates may be 100 KiB (OpenSSL's limit)."""

_AGAIN = (BlockingIOError, InterruptedError)

_EXTRA: dict[str, Any] = {}
Secured = Callable[[OSError | None], None]
"""Told how a handshake ended: None when TLS is in place."""


class SocketTransport(asyncio.Transport):
    """Owns a non-blocking, connected socket, and tells the protocol what asyncio's transports tell theirs, and
    data_received(b"") when octets came that hold no data: messages of TLS's own, or a part of a record.

    buffers: shared with other transports of the same loop. start() begins to read.
    """

    __slots__ = (
        *("_backlog", "_buffers", "_descriptor", "_high", "_loop", "_low", "_protocol", "_socket", "_tls", "_tls_next"),
        *("_closing", "_dropped", "_eof", "_gone", "_handshake", "_lingering", "_octets", "_paused", "_spent"),
        *("_reader", "_reading", "_writer"),
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, protocol: asyncio.Protocol, buffers: Buffers
    ) -> None:
        super().__init__(_EXTRA)
        self._loop = loop
        self._socket = connection
        self._descriptor = connection.fileno()  # asyncio describes socket objects at length, to throw it away
        self._protocol = protocol
        self._buffers = buffers
        self._tls: TlsEngine | None = None
        """Where TLS is in place or under way."""
        self._tls_next: tuple[ssl.SSLContext, Secured] | None = None
        self._handshake: Secured | None = None
        self._backlog: bytearray | None = None
        self._high, self._low = WRITE_HIGH, WRITE_HIGH // 4
        self._paused = False
        """The protocol was told to write nothing more."""
        self._reading = False
        self._closing = self._lingering = self._gone = self._eof = False
        self._dropped = 0
        self._octets = 0
        self._spent = 0.0
        self._reader = self._writer = False
        """What the loop watches for."""

    # -- asyncio.BaseTransport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """ "ssl_object": the SSLObject once TLS is in place; "socket"."""
        if name == "ssl_object":
            return default if self._tls is None or self._handshake is not None else self._tls.object
        return self._socket if name == "socket" else default

    def is_closing(self) -> bool:
        """Whether close() or abort() was called, or the connection has ended."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell this one from now on."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told."""
        return self._protocol

    def start(self) -> None:
        """Tell the protocol that the connection is made, and read."""
        self._protocol.connection_made(self)
        self.resume_reading()

    def taken(self) -> tuple[int, float]:
        """Octets that came since this was asked last, or since TLS is in place; seconds that decrypting them took."""
        taken = self._octets, self._spent
        self._octets, self._spent = 0, 0.0
        return taken

    # -- TLS

    def start_tls(self, context: ssl.SSLContext, secured: Secured) -> None:
        """Become the server's side of TLS once everything written is sent. Nothing is read or may be written until
        `secured` is called; when it is called with an error, the transport is closing already. The owner bounds the
        time, by abort()."""
        assert self._tls is None and self._tls_next is None
        self._tls_next = context, secured
        self._reading = False
        if self._backlog is None:
            self._wrap()
        self._watch()

    def _wrap(self) -> None:
        assert self._tls_next is not None
        (context, self._handshake), self._tls_next = self._tls_next, None
        self._octets = 0
        self._tls = TlsEngine(context, self._buffers)

    def _shake(self) -> None:
        tls, buffer = self._tls, self._buffers.octets
        assert tls is not None
        try:
            size = self._socket.recv_into(buffer)
            self._octets += size
            if not size:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the connection ended in the handshake")
            if self._octets > HANDSHAKE_MAX:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, f"a handshake of more than {HANDSHAKE_MAX} octets")
            done = tls.handshake(buffer[:size])
        except _AGAIN:
            return
        except OSError as error:
            self._secured(error, tls.output())
            return
        self._push(tls.output())
        if done and not self._gone:
            self._secured(None)

    def _secured(self, error: OSError | None, alert: bytes = b"") -> None:
        assert self._handshake is not None
        secured, self._handshake = self._handshake, None
        self._octets = 0
        if error is None:
            self._reading = True
        else:
            self._closing = True
            self._push(alert)
            if not self._gone and self._backlog is None:
                self._finish()
        secured(error)
        self._watch()
        self._look()

    # -- asyncio.ReadTransport

    def is_reading(self) -> bool:
        """Whether received data are handed to the protocol."""
        return self._reading

    def pause_reading(self) -> None:
        """Read nothing more."""
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        """Read again."""
        if self._closing or self._eof or self._reading or self._handshake is not None or self._tls_next is not None:
            return
        self._reading = True
        self._watch()
        self._look()

    def _look(self) -> None:
        """No selector knows of what was taken from the socket already."""
        if self._reading and self._tls is not None and self._tls.waits:
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        if self._handshake is not None:
            self._shake()
        elif self._lingering:
            self._drop()
        elif self._reading:
            self._read()

    def _read(self) -> None:
        buffer = self._buffers.octets
        for _ in range(READS_A_TURN):
            tls = self._tls
            size = 0
            if tls is None or not tls.waits:
                try:
                    size = self._socket.recv_into(buffer)
                except _AGAIN:
                    return
                except OSError as error:
                    self._fail(error)
                    return
                if not size:
                    self._at_eof()
                    return
                self._octets += size
            data = bytes(buffer[:size]) if tls is None else self._decrypt(tls, buffer[:size])
            if self._gone:
                return
            if size or data:
                try:
                    self._protocol.data_received(data)
                except BaseException:
                    self._fail(None)
                    raise
            if not self._reading:
                return
            if tls is not None and tls.error is not None:
                self._fail(tls.error)
            elif tls is not None and tls.over:
                self._at_eof()
            # A short read has emptied the socket, most likely; the loop says so if it has not. And what holds no data
            # may have taken its time.
            if self._closing or self._eof or size < len(buffer) or not data:
                return

    def _decrypt(self, tls: TlsEngine, octets: memoryview) -> bytes:
        began = self._loop.time()
        data = tls.decrypt(octets)
        if output := tls.output():
            self._push(output)
        self._spent += self._loop.time() - began
        return data

    def _at_eof(self) -> None:
        self._eof = True
        self._reading = False
        if not self._protocol.eof_received():
            self.close()
        self._watch()

    # -- asyncio.WriteTransport

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's."""
        if high is None:
            high = WRITE_HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low

    def get_write_buffer_size(self) -> int:
        """Octets written and not yet taken by the kernel."""
        return 0 if self._backlog is None else len(self._backlog)

    def can_write_eof(self) -> bool:
        """TLS has no such thing."""
        return False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, or keep until the kernel takes more. Dropped silently once the transport is closing."""
        if self._closing or not data:
            return
        assert self._handshake is None and self._tls_next is None, "nothing may be written while TLS is started"
        if self._tls is None:
            self._push(data)
            return
        try:
            self._push(self._tls.encrypt(data))
        except ssl.SSLError as error:
            self._fail(error)

    def _push(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Octets for the socket."""
        if self._gone or not data:
            return
        if self._backlog is not None:
            self._backlog += data
        else:
            sent = self._send(data)
            if self._gone or sent == len(data):
                return
            self._backlog = bytearray(memoryview(data)[sent:])
            self._watch()
        if len(self._backlog) > self._high and not self._paused and not self._closing and self._handshake is None:
            self._paused = True
            self._protocol.pause_writing()

    def _send(self, data: bytes | bytearray | memoryview[Any]) -> int:
        """How much of it the socket takes; the connection is gone after an error."""
        sent, size = 0, len(data)
        try:
            sent = self._socket.send(data)
            if sent < size:
                with memoryview(data) as view:
                    while sent < size:
                        sent += self._socket.send(view[sent:])
        except _AGAIN:
            pass
        except OSError as error:
            self._fail(error)
        return sent

    def _flush(self) -> None:
        if self._gone or self._backlog is None:
            return
        sent = self._send(self._backlog)
        if self._gone:
            return
        del self._backlog[:sent]
        if not self._backlog:
            self._backlog = None
            if self._closing:
                self._finish()
            elif self._tls_next is not None:
                self._wrap()
        self._watch()
        if self._paused and self.get_write_buffer_size() <= self._low:
            self._paused = False
            if not self._closing:
                self._protocol.resume_writing()

    # -- the end

    def close(self) -> None:
        """Send what is written, then say the end, and wait for the peer's; abort() cuts that short."""
        if self._closing:
            return
        self._closing = True
        self._reading = False
        if self._handshake is not None or self._tls_next is not None:
            self._fail(None)
        elif self._backlog is None:
            self._finish()
        self._watch()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._fail(None)

    def _finish(self) -> None:
        """Everything is sent: close_notify, if it is TLS, and no more."""
        if self._tls is not None:
            tls, self._tls = self._tls, None  # what the peer still sends isn't decrypted
            self._push(tls.close())
            if self._gone or self._backlog is not None:
                return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._fail(error)
            return
        if self._eof:
            self._fail(None)
        else:
            self._lingering = True

    def _drop(self) -> None:
        try:
            size = self._socket.recv_into(self._buffers.octets)
        except _AGAIN:
            return
        except OSError:
            size = 0
        self._dropped += size
        if not size or self._dropped > LINGER_MAX:
            self._fail(None)

    def _fail(self, error: OSError | None) -> None:
        if self._gone:
            return
        self._gone = self._closing = True
        self._reading = self._lingering = False
        self._handshake = self._tls_next = self._backlog = None
        self._unwatch()
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._tls = None
            self._socket.close()

    # -- the loop

    def _watch(self) -> None:
        """Have the loop watch for what can be done now, and for nothing else."""
        if self._gone:
            return
        reader = self._reading or self._lingering or self._handshake is not None
        writer = self._backlog is not None
        if reader is not self._reader:
            self._reader = reader
            if reader:
                self._loop.add_reader(self._descriptor, self._readable)
            else:
                self._loop.remove_reader(self._descriptor)
        if writer is not self._writer:
            self._writer = writer
            if writer:
                self._loop.add_writer(self._descriptor, self._flush)
            else:
                self._loop.remove_writer(self._descriptor)

    def _unwatch(self) -> None:
        if self._reader:
            self._loop.remove_reader(self._descriptor)
        if self._writer:
            self._loop.remove_writer(self._descriptor)
        self._reader = self._writer = False
