"""What another program on a host may have by the thousand: routes, and devices that come and go."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from datapath.channel import Channel
from datapath.wire import attribute, message
from lab.errors import LabError
from lab.namespace import Namespace

PROTOCOL = 186
"""RTPROT_BGP."""
MAIN = 254
_BATCH = 256
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTM_NEWROUTE, _RTM_DELROUTE = 24, 25
_REQUEST, _CREATE, _EXCLUSIVE, _REPLACE = 1, 0x400, 0x200, 0x100
_RTA_DST, _RTA_OIF, _RTA_TABLE = 1, 4, 15
_NETWORK = 198 << 24 | 18 << 16
"""198.18.0.0/15 (RFC 2544)."""


@dataclass(slots=True)
class Spent:
    """CPU seconds of this thread, the kernel's work for it included, and the notifications that it must have caused."""

    cpu: float = 0.0
    changes: int = 0

    @contextlib.contextmanager
    def counted(self, changes: int) -> Iterator[None]:
        """Count the CPU of the block, and so many changes."""
        began = time.thread_time()
        yield
        self.cpu += time.thread_time() - began
        self.changes += changes


def flap_devices(namespace: Namespace, times: int, spent: Spent) -> None:
    """A veth and the bridge that it is in come, go down and up again and again, and go. Five changes a time."""
    flap = ("link set crowd0 down", "link set crowd-bridge down", "link set crowd-bridge up", "link set crowd0 up")
    with spent.counted(times * (len(flap) + 1)):
        namespace.ip(
            "link add crowd-bridge type bridge",
            "link add crowd0 type veth peer name crowd1",
            "link set crowd0 master crowd-bridge",
            "link set crowd1 up",
            *(command for n in range(times) for command in (*flap, f"link set crowd1 alias crowd-{n}")),
            "link delete crowd0",
            "link delete crowd-bridge",
        )


class ForeignRoutes:
    """Routes of another program, to a device of the namespace. A context manager; what is added stays unless removed.

    spent: for all that was done. table: 254 is main.
    """

    def __init__(self, namespace: Namespace, device: str, table: int = MAIN) -> None:
        """Raises LabError when there is no such device, OSError."""
        self.spent = Spent()
        with namespace.entered():
            self._channel = Channel()
        index = self._channel.interface_index(device)
        if index is None:
            self._channel.close()
            raise LabError(f"{namespace.name} has no device {device}")
        self._index = index
        self._table = table

    def add(self, count: int) -> None:
        """Add that many, one after the other from 198.18.0.0/32 on."""
        self._send(_RTM_NEWROUTE, _CREATE | _EXCLUSIVE, range(count))

    def replace(self, count: int) -> None:
        """Put others in the place of the first ones."""
        self._send(_RTM_NEWROUTE, _CREATE | _REPLACE, range(count))

    def remove(self, count: int) -> None:
        """Remove the first ones."""
        self._send(_RTM_DELROUTE, 0, range(count))

    def _send(self, kind: int, flags: int, numbers: range) -> None:
        with self.spent.counted(len(numbers)):
            for start in range(0, len(numbers), _BATCH):
                batch = numbers[start : start + _BATCH]
                first = self._channel.reserve(len(batch))
                packed = [self._message(kind, flags, first + place, number) for place, number in enumerate(batch)]
                errors = self._channel.transact(packed, len(packed))
                for error in errors.values():
                    raise LabError(f"foreign routes: {error.text}")

    def _message(self, kind: int, flags: int, sequence: int, number: int) -> bytes:
        head = _RTMSG.pack(2, 32, 0, 0, self._table & 0xFF if self._table < 256 else 252, PROTOCOL, 0, 1, 0)
        body = (
            head
            + attribute(_RTA_DST, (_NETWORK + number).to_bytes(4, "big"))
            + attribute(_RTA_OIF, struct.pack("=I", self._index))
            + attribute(_RTA_TABLE, struct.pack("=I", self._table))
        )
        return message(kind, _REQUEST | flags, sequence, body)

    def close(self) -> None:
        """Give back the socket."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
