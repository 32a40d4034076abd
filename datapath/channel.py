"""A NETLINK_ROUTE socket for batches and dumps.

A batch goes to the kernel in one send. The kernel carries out every message before the send returns and answers those
that fail; nobody asks for an acknowledgement of the others. A message that does nothing but is acknowledged ends the
batch: when its answer is read, there are no more. Answers are matched to messages by sequence number.

A channel works in the network namespace that its thread was in when it was opened.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from datapath.driver import DumpInterrupted
from datapath.wire import (
    HEADER,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    KernelError,
    Message,
    barrier,
    decode_done,
    decode_error,
    messages,
)

_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10
_NETLINK_EXT_ACK = 11
_NETLINK_GET_STRICT_CHK = 12
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SO_SNDBUFFORCE = 32
_NAME_SIZE = 16
_TIMEOUT = 10
"""Seconds until a kernel that doesn't answer is an error."""
_T = TypeVar("_T")
_SIOCGIFINDEX = 0x8933
_RECEIVE_BUFFER = 8 << 20
_SEND_BUFFER = 1 << 20
_READ_SIZE = 256 << 10
_SLACK = 128
"""Bytes behind the part of the buffer that is read into, so that a decoder may unpack a whole layout at its end."""


class Channel:
    """One netlink socket. Not for use by several threads at once.

    sent: messages sent so far that change something; for tests and introspection.
    """

    def __init__(self) -> None:
        """Raises OSError."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        for forced, option, size in (
            (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BUFFER),
            (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BUFFER),
        ):
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, forced, size)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, option, size)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT, 0))
        self._socket.bind((0, 0))
        self.port_id: int = self._socket.getsockname()[0]
        """Port id that the kernel puts into notifications of what this channel did."""
        self._sequence = 0
        self._buffer = bytearray(_READ_SIZE + _SLACK)
        self._view = memoryview(self._buffer)[:_READ_SIZE]
        self.sent = 0

    def close(self) -> None:
        """Give back the socket."""
        self._view.release()
        self._socket.close()

    def reserve(self, count: int) -> int:
        """The first of count consecutive sequence numbers for the messages of a batch."""
        first = self._sequence + 1
        if first + count > 0xFFFFFFF0:
            first = 1
        self._sequence = first + count - 1
        return first

    def transact(
        self, batch: Sequence[bytes | bytearray], count: int, answers: dict[int, bytes] | None = None
    ) -> dict[int, KernelError]:
        """Send messages (count of them, in as many pieces as there are) and return the errors of those that failed, by
        sequence number. answers: takes up the payload of what messages that ask for an object are answered.

        When the kernel lost answers for lack of memory, None of the outcomes is known: raises OSError (ENOBUFS). Raises
        OSError when the kernel can't be talked to.
        """
        if not count:
            return {}
        last = self.reserve(1)
        self.sent += count
        self._socket.send(b"".join((*batch, barrier(last))))
        errors: dict[int, KernelError] = {}
        lost = False
        while True:
            try:
                size = self._socket.recv_into(self._view)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # The barrier's answer may be among the lost: ask for another, which there is room for now.
                lost = True
                last = self.reserve(1)
                self._socket.send(barrier(last))
                continue
            for found in messages(self._buffer, size):
                if found.type != NLMSG_ERROR:
                    if answers is not None:
                        answers[found.sequence] = bytes(self._buffer[found.start : found.end])
                    continue
                failure = decode_error(self._buffer, found)
                if failure is not None:
                    if found.sequence == last:
                        raise OSError(failure.errno, failure.text)
                    errors[found.sequence] = failure
                elif found.sequence == last:
                    if lost:
                        raise OSError(errno.ENOBUFS, "the kernel's answers were lost")
                    return errors

    def dump(
        self, encode: Callable[[int], bytes], decode: Callable[[bytearray, int, list[Message]], list[_T]]
    ) -> Iterator[list[_T]]:
        """Dump objects: encode makes the request from a sequence number, decode reads one received buffer and passes on
        the messages that are no objects. Gives the objects buffer by buffer.

        Raises DumpInterrupted (at the end: the rest is read first), OSError, WireError.
        """
        request = encode(self.reserve(1))
        (_, _, _, sequence, _) = HEADER.unpack_from(request)
        self._socket.send(request)
        verdict = _Verdict()
        try:
            while not verdict.done:
                size = self._receive_dump(sequence, verdict)
                others: list[Message] = []
                objects = decode(self._buffer, size, others)
                for found in others:
                    verdict.take(self._buffer, found)
                yield objects
        finally:
            # What was asked for must be read to its end, or the socket can't be asked for anything else.
            while not verdict.done:
                for found in messages(self._buffer, self._receive_dump(sequence, verdict)):
                    verdict.take(self._buffer, found)
        if verdict.error is not None:
            raise OSError(verdict.error.errno, verdict.error.text)
        if verdict.interrupted:
            raise DumpInterrupted("the kernel's tables changed during the dump")

    def _receive_dump(self, sequence: int, verdict: _Verdict) -> int:
        """Size of the next buffer that belongs to a dump."""
        while True:
            try:
                size = self._socket.recv_into(self._view)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    verdict.done = True
                    raise
                verdict.interrupted = True
                continue
            if size >= HEADER.size and HEADER.unpack_from(self._buffer)[3] == sequence:
                return size

    def interface_index(self, name: str) -> int | None:
        """Index of a device of the channel's namespace; None when there is none of that name."""
        if not 0 < len(name.encode()) < _NAME_SIZE:
            return None
        try:
            answer = fcntl.ioctl(self._socket, _SIOCGIFINDEX, struct.pack("16si16x", name.encode(), 0))
        except OSError:
            return None
        return int(struct.unpack_from("16xi", answer)[0])


class _Verdict:
    """How a dump ended."""

    __slots__ = ("done", "error", "interrupted")

    def __init__(self) -> None:
        self.done = False
        self.error: KernelError | None = None
        self.interrupted = False

    def take(self, buffer: bytearray, found: Message) -> None:
        """A message that is no object, or is marked."""
        if found.flags & NLM_F_DUMP_INTR:
            self.interrupted = True
        if found.type == NLMSG_ERROR:
            self.error = decode_error(buffer, found)
            self.done = True
        elif found.type == NLMSG_DONE:
            self.error = decode_done(buffer, found)
            self.done = True


def attach_filter(netlink_socket: socket.socket, program: bytes) -> None:
    """Attach a packed classic BPF program to a socket. Raises OSError."""
    memory = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(memory))
    netlink_socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
