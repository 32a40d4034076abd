"""Packet capture by our own packet socket, and pcap files for those who want to look with another tool."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.errors import LabError
from lab.frames import Packet, decode
from lab.namespace import Namespace

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 35
SOL_PACKET, PACKET_STATISTICS = 263, 6
BUFFER = 16 << 20
"""Bytes of frames that the kernel keeps for us between two looks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A captured frame. time: seconds since the epoch; outgoing: sent by this machine."""

    time: float
    interface: str
    outgoing: bool
    data: bytes

    @property
    def packet(self) -> Packet:
        """Decoded."""
        return decode(self.data)


class Capture:
    """Frames of one interface of a namespace, or of all, from now on. A context manager.

    Nothing runs in the background: the kernel keeps the frames until the next call of drain().
    """

    def __init__(self, namespace: Namespace, interface: str | None = None) -> None:
        # A packet socket made with a protocol receives from its first moment on, whatever the interface; so one for a
        # single interface gets its protocol when it is bound.
        protocol = socket.htons(ETH_P_ALL) if interface is None else 0
        with namespace.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                if interface is not None:
                    self._socket.bind((interface, ETH_P_ALL))
            except OSError:
                self._socket.close()
                raise

    def drain(self) -> list[Frame]:
        """What has come since the last call. Raises LabError when the kernel had to drop frames."""
        frames = []
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(65600, 64)
            except BlockingIOError:
                break
            except OSError:
                # ENETDOWN: the interface went down; more may come when it is up again.
                continue
            seconds = time.time()
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    whole, nano = struct.unpack("qq", value)
                    seconds = whole + nano / 1e9
            frames.append(Frame(seconds, address[0], address[2] == socket.PACKET_OUTGOING, data))
        _, dropped = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        if dropped:
            raise LabError(f"the kernel dropped {dropped} captured frames")
        return frames

    def wait(self, wanted: Callable[[Packet], bool], deadline: float = 5.0) -> Packet | None:
        """Wait up to `deadline` seconds for a frame that `wanted` accepts. Frames before it are gone."""
        end = time.monotonic() + deadline
        while True:
            for frame in self.drain():
                packet = frame.packet
                if wanted(packet):
                    return packet
            remaining = end - time.monotonic()
            if remaining <= 0 or not select.select([self._socket], [], [], remaining)[0]:
                return None

    def close(self) -> None:
        """End the capture."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pcap(frames: Iterable[Frame]) -> bytes:
    """The frames as a pcap file (magic for nanoseconds, link type Ethernet)."""
    parts = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    for frame in frames:
        seconds, fraction = divmod(frame.time, 1)
        length = len(frame.data)
        parts += [struct.pack("<IIII", int(seconds), int(fraction * 1e9), length, length), frame.data]
    return b"".join(parts)


def write_pcap(path: Path, frames: Iterable[Frame]) -> None:
    """Write the frames to a pcap file."""
    path.write_bytes(pcap(frames))
