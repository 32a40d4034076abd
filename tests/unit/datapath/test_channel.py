"""The channel with a socket that plays the kernel: batches, dumps, and what the kernel may do wrong."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable

import pytest

from datapath import wire
from datapath.channel import Channel
from datapath.driver import DumpInterrupted
from datapath.wire import KernelError
from datapath.wire_route import decode_route_dump, encode_route, encode_route_dump

Answer = bytes | OSError


class Kernel:
    """Stands for the socket; `play` answers what is sent: buffers, or errors of recv()."""

    def __init__(self) -> None:
        self.play: Callable[[list[bytes]], list[Answer]] = lambda sent: []
        self.waiting: list[Answer] = []
        self.sent: list[bytes] = []

    def setsockopt(self, *_: object) -> None:
        pass

    def bind(self, _: object) -> None:
        pass

    def getsockname(self) -> tuple[int, int]:
        return 4711, 0

    def close(self) -> None:
        pass

    def send(self, data: bytes) -> int:
        found = [data[m.start - 16 : m.end] for m in wire.messages(data, len(data))]
        self.sent += found
        self.waiting += self.play(found)
        return len(data)

    def recv_into(self, view: memoryview) -> int:
        answer = self.waiting.pop(0)
        if isinstance(answer, OSError):
            raise answer
        view[: len(answer)] = answer
        return len(answer)


def lost() -> OSError:
    return OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))


def sequence(message: bytes) -> int:
    return int(wire.HEADER.unpack_from(message)[3])


def answer(message: bytes, code: int = 0, text: str = "") -> bytes:
    """NLMSG_ERROR for a message, with NETLINK_CAP_ACK."""
    extra = wire.attribute(wire.NLMSGERR_ATTR_MSG, text.encode() + b"\0") if text else b""
    flags = wire.NLM_F_CAPPED | (wire.NLM_F_ACK_TLVS if text else 0)
    return wire.message(wire.NLMSG_ERROR, flags, sequence(message), struct.pack("=i", -code) + message[:16] + extra)


def routes(request: bytes, count: int, flags: int = wire.NLM_F_MULTI) -> bytes:
    found = b""
    for place in range(count):
        body = encode_route(0, 10000, bytes([10, 0, 0, place]), 32, 5)[16:]
        found += wire.HEADER.pack(16 + len(body), wire.RTM_NEWROUTE, flags, sequence(request), 0) + body
    return found


def done(request: bytes, code: int = 0) -> bytes:
    return wire.message(wire.NLMSG_DONE, wire.NLM_F_MULTI, sequence(request), struct.pack("=i", -code))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(socket, "socket", lambda *_: made)
    return made


@pytest.fixture
def channel(kernel: Kernel) -> Channel:
    return Channel()


def batch(channel: Channel, count: int) -> tuple[int, list[bytes | bytearray]]:
    first = channel.reserve(count)
    return first, [encode_route(first + place, 10000, bytes([10, 0, 0, place]), 32, 5) for place in range(count)]


def dump(channel: Channel) -> list[int]:
    """Sizes of the chunks of a dump."""
    chunks = channel.dump(lambda number: encode_route_dump(2, number), decode_route_dump)
    return [len(chunk) for chunk in chunks]


def test_a_batch_is_one_send_with_a_barrier(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [answer(sent[-1])]
    _, pieces = batch(channel, 3)
    assert channel.transact(pieces, 3) == {}
    assert channel.sent == 3
    assert [wire.HEADER.unpack_from(message)[1] for message in kernel.sent] == [24, 24, 24, wire.RTM_GETNETCONF]
    assert [wire.HEADER.unpack_from(message)[2] & wire.NLM_F_ACK for message in kernel.sent] == [
        0,
        0,
        0,
        wire.NLM_F_ACK,
    ]


def test_a_barrier_that_is_refused_ends_the_wait(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [answer(sent[-1], errno.EPERM)]
    _, pieces = batch(channel, 1)
    with pytest.raises(OSError, match="EPERM") as caught:
        channel.transact(pieces, 1)
    assert caught.value.errno == errno.EPERM


def test_errors_are_matched_by_sequence_number(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [
        answer(sent[1], errno.EEXIST, "there already") + answer(sent[2], errno.EINVAL),
        answer(sent[-1]),
    ]
    first, pieces = batch(channel, 4)
    assert channel.transact(pieces, 4) == {
        first + 1: KernelError(errno.EEXIST, "there already"),
        first + 2: KernelError(errno.EINVAL, ""),
    }


def test_nothing_to_send(kernel: Kernel, channel: Channel) -> None:
    assert channel.transact([], 0) == {}
    assert kernel.sent == []


def test_answers_that_were_lost(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [lost()] if len(sent) > 1 else [answer(sent[-1])]
    _, pieces = batch(channel, 3)
    with pytest.raises(OSError, match="answers were lost") as error:
        channel.transact(pieces, 3)
    assert error.value.errno == errno.ENOBUFS
    kernel.play = lambda sent: [answer(sent[-1])]
    assert channel.transact(batch(channel, 3)[1], 3) == {}


def test_sequence_numbers_start_again(channel: Channel) -> None:
    assert channel.reserve(3) == 1
    assert channel.reserve(1) == 4
    assert channel.reserve(0xFFFFFF00) == 5
    assert channel.reserve(0x1000) == 1


def test_a_dump_of_several_buffers(kernel: Kernel, channel: Channel) -> None:
    stale = wire.message(wire.NLMSG_DONE, 0, 0, struct.pack("=i", 0))
    kernel.play = lambda sent: [stale, routes(sent[0], 3), routes(sent[0], 2) + done(sent[0])]
    assert dump(channel) == [3, 2]


def test_an_interrupted_dump_is_read_to_its_end(kernel: Kernel, channel: Channel) -> None:
    interrupted = wire.NLM_F_MULTI | wire.NLM_F_DUMP_INTR
    kernel.play = lambda sent: [routes(sent[0], 1, interrupted), routes(sent[0], 2), done(sent[0])]
    with pytest.raises(DumpInterrupted):
        dump(channel)
    assert kernel.waiting == []
    kernel.play = lambda sent: [routes(sent[0], 2), done(sent[0])]
    assert dump(channel) == [2, 0]


def test_a_dump_that_lost_buffers(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [routes(sent[0], 1), lost(), routes(sent[0], 2), done(sent[0])]
    with pytest.raises(DumpInterrupted):
        dump(channel)


@pytest.mark.parametrize("in_done", [True, False])
def test_a_dump_that_the_kernel_refuses(kernel: Kernel, channel: Channel, in_done: bool) -> None:
    def play(sent: list[bytes]) -> list[Answer]:
        return [done(sent[0], errno.EINVAL) if in_done else answer(sent[0], errno.EINVAL, "Invalid values in header")]

    kernel.play = play
    with pytest.raises(OSError, match="EINVAL"):
        dump(channel)


def test_a_dump_given_up_by_its_reader_leaves_the_channel_usable(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [routes(sent[0], 1), routes(sent[0], 1), done(sent[0])]
    chunks = channel.dump(lambda number: encode_route_dump(2, number), decode_route_dump)
    assert len(next(chunks)) == 1
    chunks.close()  # type: ignore[attr-defined]
    assert kernel.waiting == []


def test_a_kernel_that_does_not_answer(kernel: Kernel, channel: Channel) -> None:
    kernel.play = lambda sent: [BlockingIOError(errno.EAGAIN, "timed out")]
    with pytest.raises(BlockingIOError):
        dump(channel)
    with pytest.raises(BlockingIOError):
        channel.transact(batch(channel, 1)[1], 1)


def test_names_that_no_device_can_have(channel: Channel) -> None:
    assert channel.interface_index("") is None
    assert channel.interface_index("a-name-that-is-too-long") is None


def test_the_loopback_device_of_this_machine() -> None:
    channel = Channel()
    try:
        assert channel.interface_index("lo") == 1
        assert channel.interface_index("vw-nothing") is None
        assert channel.port_id > 0
    finally:
        channel.close()
