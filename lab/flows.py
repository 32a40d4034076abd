"""Many packets a second between VMs, both ways and in both families; every one that is missing is told."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from typing import Protocol, Self

from lab.errors import LabError
from lab.frames import IP, Packet, Ports
from lab.guest import Guest
from lab.netns_guest import NamespaceGuest
from lab.wait import wait_until

PORT = 9100
INTERVAL = 0.004
"""Seconds between two packets of a flow."""
_SO_RCVBUFFORCE = 33
_BUFFER = 16 << 20
_MARK = b"flow"
_NUMBER = struct.Struct("!4sI")

Vm = Guest | NamespaceGuest


class _End(Protocol):
    """A VM's end of a flow: sends numbers to the other end, and has the numbers that have come from there."""

    def send(self, number: int) -> None: ...

    def read(self) -> Counter[int]:
        """All that has come so far."""
        ...

    def close(self) -> None: ...


class _KernelEnd:
    """Of a VM in a namespace: a socket. The kernel keeps what is received until it is read."""

    def __init__(self, vm: NamespaceGuest, here: IP, there: IP, port: int) -> None:
        with vm.namespace.entered():
            self._socket = socket.socket(
                socket.AF_INET if here.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
            )
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.bind((str(here), port))
        self._there = (str(there), port)
        self._seen: Counter[int] = Counter()

    def send(self, number: int) -> None:
        # An error is about this one or, by ICMP, about one before: either way one is missing, and counted so.
        with contextlib.suppress(OSError):
            self._socket.sendto(_NUMBER.pack(_MARK, number), self._there)

    def read(self) -> Counter[int]:
        while True:
            try:
                mark, number = _NUMBER.unpack(self._socket.recv(64))
            except BlockingIOError:
                return self._seen
            except OSError:
                continue  # an ICMP error about what was sent
            if mark == _MARK:
                self._seen[number] += 1

    def close(self) -> None:
        self._socket.close()


class _TapEnd:
    """Of a VM on a tap: its own stack, which keeps all frames."""

    def __init__(self, vm: Guest, there: IP, port: int) -> None:
        self._vm = vm
        self._there = there
        self._port = port
        self._mark = vm.mark()

    def send(self, number: int) -> None:
        with contextlib.suppress(LabError):  # no answer from the first hop: one is missing
            self._vm.send_udp(self._there, _NUMBER.pack(_MARK, number), (self._port, self._port))

    def read(self) -> Counter[int]:
        def ours(packet: Packet) -> bool:
            ports = packet.get(Ports)
            return ports is not None and ports.destination == self._port and packet.payload.startswith(_MARK)

        return Counter(_NUMBER.unpack(packet.payload)[1] for packet in self._vm.frames(ours, self._mark))

    def close(self) -> None:
        pass


def _address(vm: Vm, version: int) -> IP:
    addresses = vm.stack.addresses if isinstance(vm, Guest) else vm.addresses
    return next(address for address in addresses if address.version == version)


def _end(vm: Vm, other: Vm, version: int, port: int) -> _End:
    here, there = _address(vm, version), _address(other, version)
    return _TapEnd(vm, there, port) if isinstance(vm, Guest) else _KernelEnd(vm, here, there, port)


class _Flow:
    """Numbered datagrams one way."""

    def __init__(self, name: str, source: _End, target: _End) -> None:
        self.name = name
        self.source = source
        self.target = target
        self.sent = 0

    def send(self) -> None:
        self.source.send(self.sent)
        self.sent += 1

    def complete(self) -> bool:
        return len(self.target.read()) == self.sent

    def missing(self) -> list[int]:
        seen = self.target.read()
        return [number for number in range(self.sent) if number not in seen]


class Flows:
    """Flows between pairs of VMs for the length of a with block: for each pair both ways in both families.

    sent, lost: final after the block. Each VM needs an address of each family; the first is used.
    """

    def __init__(self, *pairs: tuple[Vm, Vm], interval: float = INTERVAL, port: int = PORT) -> None:
        """interval: seconds between two packets of a flow. port: UDP port of the first pair; the others follow."""
        self.interval = interval
        self._ends: list[_End] = []
        self._flows: list[_Flow] = []
        for number, (one, two) in enumerate(pairs):
            for version in (4, 6):
                near, far = _end(one, two, version, port + number), _end(two, one, version, port + number)
                self._ends += [near, far]
                self._flows += [
                    _Flow(f"{one.name} to {two.name}, IPv{version}", near, far),
                    _Flow(f"{two.name} to {one.name}, IPv{version}", far, near),
                ]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)
        self._began = 0.0
        self._rounds: list[float] = []
        self._missing: dict[str, list[int]] = {}

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self._rounds.append(time.monotonic())
            for flow in self._flows:
                flow.send()
            due = max(due + self.interval, time.monotonic() - self.interval)
            self._stop.wait(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Self:
        self._began = time.monotonic()
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
            interval=self.interval,
        )

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        # The last ones may be under way still; when some are lost this takes its time in vain.
        end = time.monotonic() + 0.5
        while time.monotonic() < end and not all(flow.complete() for flow in self._flows):
            time.sleep(0.01)
        for flow in self._flows:
            if missing := flow.missing():
                self._missing[flow.name] = missing
        for one in self._ends:
            one.close()

    @property
    def sent(self) -> int:
        """Packets of all flows."""
        return sum(flow.sent for flow in self._flows)

    @property
    def lost(self) -> int:
        """Packets that never came."""
        return sum(map(len, self._missing.values()))

    def __str__(self) -> str:
        """With what is missing by flow: how many, and the seconds from the start when first and last were sent."""
        lost = [
            f"{name}: {len(numbers)}, {self._second(numbers[0]):.2f}..{self._second(numbers[-1]):.2f} s"
            for name, numbers in self._missing.items()
        ]
        return "; ".join([f"{self.lost} of {self.sent} lost", *lost])

    def _second(self, number: int) -> float:
        return self._rounds[number] - self._began
