"""Requests and dumps of the low-rate kinds over a channel: several messages a system call, one result each.

Why not pyroute2: docs/design/datapath.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datapath.attributes import message
from datapath.channel import Channel
from datapath.driver import Failure
from datapath.wire import HEADER, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, Message, messages


class Rtnetlink:
    """A channel for messages made of attributes. Not for use from several threads. Raises OSError."""

    def __init__(self) -> None:
        self._channel = Channel()
        self.port: int = self._channel.port_id
        """Port id: what nlmsg_pid of notifications about our own changes holds."""

    def close(self) -> None:
        """Close the socket."""
        self._channel.close()

    def request(self, batch: Sequence[bytes]) -> list[Failure | None]:
        """Send all messages at once; the outcome of each. The kernel goes on after a failed one. Raises OSError."""
        return self.exchange(batch)[0]

    def exchange(self, batch: Sequence[bytes]) -> tuple[list[Failure | None], list[bytes | None]]:
        """As request(), with the body of what a message of the batch that asks something was answered."""
        first = self._channel.reserve(len(batch))
        answers: dict[int, bytes] = {}
        numbered = [_numbered(raw, first + i) for i, raw in enumerate(batch)]
        errors = self._channel.transact(numbered, len(batch), answers)
        sequences = range(first, first + len(batch))
        outcomes = [
            None if (error := errors.get(sequence)) is None else Failure(error.errno, error.text)
            for sequence in sequences
        ]
        return outcomes, [answers.get(sequence) for sequence in sequences]

    def dump(self, kind: int, *parts: bytes) -> Iterator[bytes]:
        """The body of every object that the dump request gives. Raises DumpInterrupted, OSError."""
        request = message(kind, NLM_F_DUMP, *parts)
        for bodies in self._channel.dump(lambda sequence: _numbered(request, sequence), _bodies):
            yield from bodies


def _numbered(raw: bytes, sequence: int) -> bytes:
    length, kind, flags, _, _ = HEADER.unpack_from(raw)
    return HEADER.pack(length, kind, flags, sequence, 0) + raw[HEADER.size :]


def _bodies(buffer: bytearray, size: int, others: list[Message]) -> list[bytes]:
    bodies = []
    for found in messages(buffer, size):
        control = found.type in (NLMSG_DONE, NLMSG_ERROR)
        if control or found.flags & NLM_F_DUMP_INTR:
            others.append(found)
        if not control:
            bodies.append(bytes(buffer[found.start : found.end]))
    return bodies
