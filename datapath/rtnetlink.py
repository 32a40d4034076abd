"""A blocking rtnetlink socket for the low-rate kinds: several messages a system call, one result each, dumps.

Not pyroute2's IPRoute: that drives an event loop of its own for every call, so it can't be called from within ours; it
takes a call a change; its import costs more than everything else that the agent does at its start; and it doesn't know
the flower classifier. The tests use it as the independent reader of what is made here.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence

from datapath.attributes import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP_INTR,
    NLM_F_ROOT_MATCH,
    message,
    messages,
    parse,
    string,
)
from datapath.driver import DumpInterrupted, Failure

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1

_RECEIVE = 1 << 16
_TIMEOUT = 10
"""Seconds until a kernel that doesn't answer is an error rather than a daemon that hangs."""


class Rtnetlink:
    """One socket. Not for use from several threads."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _TIMEOUT, 0))
        self._socket.bind((0, 0))
        self.port: int = self._socket.getsockname()[0]
        """Port id: what nlmsg_pid of notifications about our own changes holds."""
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def request(self, batch: Sequence[bytes]) -> list[Failure | None]:
        """Send all messages at once; the outcome of each. The kernel goes on after a failed one. Raises OSError."""
        return self.exchange(batch)[0]

    def exchange(self, batch: Sequence[bytes]) -> tuple[list[Failure | None], list[bytes | None]]:
        """As request(), with the body of what a message of the batch that asks something was answered."""
        outcomes: list[Failure | None] = [None] * len(batch)
        answers: list[bytes | None] = [None] * len(batch)
        if not batch:
            return outcomes, answers
        first = self._sequence + 1
        self._sequence += len(batch)
        last = len(batch) - 1
        # Failures are always answered; so only the last message asks for an acknowledgement, as the end of the batch.
        self._socket.send(
            b"".join(
                _numbered(raw, first + index, NLM_F_ACK if index == last else 0) for index, raw in enumerate(batch)
            )
        )
        while True:
            for kind, flags, sequence, _, body in messages(self._receive()):
                index = sequence - first
                if not 0 <= index <= last:
                    continue
                if kind == NLMSG_ERROR:
                    outcomes[index] = _outcome(flags, body)
                    if index == last:
                        return outcomes, answers
                elif kind != NLMSG_DONE:
                    answers[index] = body

    def dump(self, kind: int, *parts: bytes) -> Iterator[bytes]:
        """The body of every object that the dump request gives. Raises DumpInterrupted, OSError."""
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(_numbered(message(kind, NLM_F_ROOT_MATCH, *parts), sequence, 0))
        interrupted = False
        while True:
            for answer, flags, number, _, body in messages(self._receive()):
                if number != sequence:
                    continue
                interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                if answer in (NLMSG_DONE, NLMSG_ERROR):
                    failure = _outcome(flags, body) if len(body) >= 4 else None
                    if failure is not None:
                        raise OSError(failure.errno, failure.text)
                    if interrupted:
                        raise DumpInterrupted
                    return
                yield body

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_RECEIVE)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, "the kernel does not answer on rtnetlink") from None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                raise DumpInterrupted from None
            raise


def _numbered(raw: bytes, sequence: int, flags: int) -> bytes:
    length, kind, given, _, _ = HEADER.unpack_from(raw)
    return HEADER.pack(length, kind, given | flags, sequence, 0) + raw[16:]


def _outcome(flags: int, body: bytes) -> Failure | None:
    """Outcome in an NLMSG_ERROR or NLMSG_DONE: the kernel's own words (extended acknowledgement) where it has some."""
    code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
    if code == 0:
        return None
    reason = os.strerror(code)
    if flags & NLM_F_ACK_TLVS and flags & NLM_F_CAPPED:
        words = string(parse(body, 20).get(NLMSGERR_ATTR_MSG))
        reason = f"{reason}: {words}" if words else reason
    return Failure(code, reason)
