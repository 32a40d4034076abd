"""Many packets a second between VMs, both ways and in both families; every one that is missing is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from typing import Self

from lab.netns_guest import NamespaceGuest
from lab.wait import wait_until

PORT = 9100
INTERVAL = 0.004
"""Seconds between two packets of a flow."""
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_NUMBER = struct.Struct("!I")


class _Flow:
    """From a VM's address to another VM's: numbered datagrams. The kernel keeps what is received until the end."""

    def __init__(self, source: NamespaceGuest, target: NamespaceGuest, six: bool, port: int) -> None:
        self.name = f"{source.name} to {target.name}, IPv{6 if six else 4}"
        family = socket.AF_INET6 if six else socket.AF_INET
        here, there = (next(str(a) for a in vm.addresses if (a.version == 6) is six) for vm in (source, target))
        self.sent = 0
        with source.namespace.entered():
            self._sender = socket.socket(family, socket.SOCK_DGRAM)
        with target.namespace.entered():
            self._receiver = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._receiver.bind((there, port))
        self._sender.bind((here, 0))
        self._there = (there, port)
        self._seen: Counter[int] = Counter()

    def send(self) -> None:
        # An error is about this one or, by ICMP, about one before: either way one is missing, and counted so.
        with contextlib.suppress(OSError):
            self._sender.sendto(_NUMBER.pack(self.sent), self._there)
        self.sent += 1

    def read(self) -> bool:
        """Take what has come; whether that is all."""
        while True:
            try:
                self._seen[_NUMBER.unpack(self._receiver.recv(64))[0]] += 1
            except BlockingIOError:
                return len(self._seen) == self.sent

    def missing(self) -> list[int]:
        self.read()
        return [number for number in range(self.sent) if number not in self._seen]

    def close(self) -> None:
        self._sender.close()
        self._receiver.close()


class Flows:
    """Flows between pairs of VMs for the length of a with block: for each pair both ways in both families.

    sent, lost: final after the block. Each VM needs an address of each family.
    """

    def __init__(self, *pairs: tuple[NamespaceGuest, NamespaceGuest]) -> None:
        self._flows = [
            _Flow(*ends, six, PORT + number)
            for number, pair in enumerate(pairs)
            for ends in (pair, pair[::-1])
            for six in (False, True)
        ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._missing: dict[str, list[int]] = {}
        self._finished = False

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            for flow in self._flows:
                flow.send()
            due = max(due + INTERVAL, time.monotonic() - INTERVAL)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.progress(5)
        return self

    def progress(self, packets: int, deadline: float = 20.0) -> None:
        """Wait until that many more packets of each flow are sent."""
        start = [flow.sent for flow in self._flows]
        wait_until(
            lambda: all(flow.sent >= before + packets for flow, before in zip(self._flows, start, strict=True)),
            deadline,
            "traffic",
            interval=INTERVAL,
        )

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        # The last ones may be under way still; when some are lost this takes its time in vain.
        end = time.monotonic() + 0.5
        while time.monotonic() < end and not all(flow.read() for flow in self._flows):
            time.sleep(0.01)
        for flow in self._flows:
            if missing := flow.missing():
                self._missing[flow.name] = missing
            flow.close()

    @property
    def sent(self) -> int:
        """Packets of all flows."""
        return sum(flow.sent for flow in self._flows)

    @property
    def lost(self) -> int:
        """Packets that never came."""
        return sum(map(len, self._missing.values()))

    def __str__(self) -> str:
        lost = [f"{name}: {len(numbers)}, {numbers[:3]}..{numbers[-1]}" for name, numbers in self._missing.items()]
        return f"{self.lost} of {self.sent} lost; " + "; ".join(lost)
