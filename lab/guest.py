"""A VM on a real tap: the small stack of lab/stack.py behind the tap's file descriptor, as a virtual machine monitor
would be. A thread receives; everything else is called from the test.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self

from lab import craft, echo
from lab.echo import EchoError, Pings, Reply
from lab.errors import LabError
from lab.frames import IP, UDP, Packet, Ports, decode
from lab.namespace import Namespace
from lab.stack import Stack

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000

Filter = Callable[[Packet], bool]


def open_tap(name: str, namespace: Namespace) -> int:
    """File descriptor of a tap in a namespace, made if it isn't there. Raises OSError (EBUSY: somebody has it open)."""
    with namespace.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        except OSError:
            os.close(descriptor)
            raise
    return descriptor


class Guest:
    """A VM on the tap `interface` of a host. A context manager: the tap has carrier while it is open."""

    def __init__(self, name: str, interface: str, namespace: Namespace, mac: bytes, addresses: Iterable[IP]) -> None:
        self.name = name
        self.interface = interface
        self.namespace = namespace
        self.stack = Stack(name, mac, addresses)
        self._frames: list[tuple[float, Packet]] = []
        self._news = threading.Condition()
        self._descriptor = -1
        self._wake = (-1, -1)
        self._thread: threading.Thread | None = None

    def open(self) -> Self:
        """Take the tap and start to answer."""
        if self._thread is None:
            self._descriptor = open_tap(self.interface, self.namespace)
            self._wake = os.pipe2(os.O_CLOEXEC)
            self._thread = threading.Thread(target=self._serve, name=f"guest {self.name}", daemon=True)
            self._thread.start()
        return self

    def close(self) -> None:
        """Let the tap go, as a VM that is switched off does. Again: does nothing."""
        if self._thread is not None:
            os.write(self._wake[1], b"x")
            self._thread.join()
            self._thread = None
            for descriptor in (self._descriptor, *self._wake):
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._wake[0] in ready:
                return
            try:
                frame = os.read(self._descriptor, 65600)
            except BlockingIOError:
                continue
            except OSError as error:
                # The device is gone, or down (EIO): wait for the wake-up, but don't spin on POLLERR.
                if select.select([self._wake[0]], [], [], 0.05)[0]:
                    return
                if error.errno == errno.EBADFD:  # the tap was deleted, there is nothing more to come
                    poll.unregister(self._descriptor)
                continue
            now = time.monotonic()
            packet = decode(frame)
            with self._news:
                self._frames.append((now, packet))
                answers = self.stack.receive(packet)
                self._news.notify_all()
            for answer in answers:
                self.send(answer)

    # -- receiving

    def mark(self) -> int:
        """A place in the list of received frames: now. For `since` of the others."""
        with self._news:
            return len(self._frames)

    def frames(self, wanted: Filter | None = None, since: int = 0) -> list[Packet]:
        """Received so far, oldest first."""
        with self._news:
            return [packet for _, packet in self._frames[since:] if wanted is None or wanted(packet)]

    def received(self, wanted: Filter, deadline: float = 5.0, count: int = 1, since: int = 0) -> list[Packet]:
        """Wait up to `deadline` seconds for `count` frames that `wanted` accepts; returns them, maybe fewer."""
        found = self._wait(lambda: len(self.frames(wanted, since)) >= count, deadline)
        packets = self.frames(wanted, since)
        return packets[:count] if found else packets

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        with self._news:
            return self._news.wait_for(condition, timeout)

    # -- sending

    def send(self, frame: bytes) -> None:
        """Send a frame as it is, spoofed or not. A device that is down drops it, as a cable would."""
        try:
            os.write(self._descriptor, frame)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADFD):  # down, deleted
                raise

    def resolve(self, target: IP | str, timeout: float = 2.0, attempts: int = 3) -> bytes | None:
        """MAC address of a neighbour by ARP or neighbour discovery, from the cache if known; None without an answer."""
        address = echo.parse(target)
        for _ in range(attempts):
            if address in self.stack.neighbours:
                return self.stack.neighbours[address]
            self.send(self.stack.question(address))
            self._wait(lambda: address in self.stack.neighbours, timeout / attempts)
        return self.stack.neighbours.get(address)

    def forget(self) -> None:
        """Empty the neighbour cache."""
        self.stack.neighbours.clear()

    def send_packet(self, destination: IP, packet: bytes, mac: bytes | None = None) -> None:
        """Send an IP packet through the first hop. mac: Ethernet source instead of the own one.

        Raises LabError when the first hop doesn't answer.
        """
        hop = self.stack.first_hops[destination.version]
        lladdr = self.resolve(hop)
        if lladdr is None:
            raise LabError(f"{self.name}: first hop {hop} doesn't answer")
        frame = self.stack.frame(destination, packet, lladdr)
        self.send(frame if mac is None else frame[:6] + mac + frame[12:])

    def send_udp(
        self,
        destination: IP | str,
        payload: bytes,
        ports: tuple[int, int] = (40000, 40000),
        source: IP | str | None = None,
        mac: bytes | None = None,
    ) -> None:
        """Send a UDP datagram. ports: source and destination; source, mac: spoofed ones instead of the own."""
        dst = echo.parse(destination)
        src = self.stack.source(dst) if source is None else echo.parse(source)
        self.send_packet(dst, craft.packet(src, dst, UDP, craft.udp(src, dst, *ports, payload)), mac)

    def ping(
        self,
        destination: IP | str,
        count: int = 1,
        timeout: float = 2.0,
        size: int = 56,
        df: bool = False,
        source: IP | str | None = None,
    ) -> Pings:
        """Ping `count` times, one after the other. timeout: seconds for each; size: bytes of payload."""
        dst = echo.parse(destination)
        src = self.stack.source(dst) if source is None else echo.parse(source)
        identifier = int.from_bytes(os.urandom(2), "big")
        replies: list[Reply] = []
        errors: list[EchoError] = []
        body = echo.payload(self.name, size)
        for sequence in range(1, count + 1):
            message = craft.echo(src, dst, identifier, sequence, body)
            packet = craft.packet(src, dst, craft.echo_protocol(dst), message, df=df)
            since, start = self.mark(), time.monotonic()
            try:
                self.send_packet(dst, packet)
            except LabError as error:
                errors.append(EchoError(None, sequence, str(error)))
                continue
            found = self._answer(identifier, sequence, since, timeout)
            if found is None:
                continue
            at, answer, problem = found
            if problem is not None:
                errors.append(problem)
            elif answer.ip is not None:
                replies.append(Reply(answer.ip.src, sequence, at - start))
        return Pings(count, tuple(replies), tuple(errors))

    def _answer(
        self, identifier: int, sequence: int, since: int, timeout: float
    ) -> tuple[float, Packet, EchoError | None] | None:
        """The first reply or error for one ping among the frames from `since` on."""
        found: list[tuple[float, Packet, EchoError | None]] = []
        looked = since

        def look() -> bool:
            nonlocal looked
            for at, packet in self._frames[looked:]:
                matched = echo.match(packet, identifier)
                if matched is not None and matched[0] == sequence:
                    found.append((at, packet, matched[1]))
            looked = len(self._frames)
            return bool(found)

        return found[0] if self._wait(look, timeout) else None

    def ask(self, destination: IP | str, timeout: float = 2.0) -> str | None:
        """The name of the VM that has an address, told by itself; None without an answer."""
        dst = echo.parse(destination)
        port = 20000 + int.from_bytes(os.urandom(2), "big") % 20000
        since = self.mark()
        try:
            self.send_udp(dst, b"?", (port, echo.IDENTITY_PORT))
        except LabError:
            return None  # the first hop doesn't answer

        def answered(packet: Packet) -> bool:
            ports = packet.get(Ports)
            return ports is not None and (ports.source, ports.destination) == (echo.IDENTITY_PORT, port)

        answers = self.received(answered, timeout, since=since)
        return answers[0].payload.decode() if answers else None

    def senders(self) -> set[str]:
        """Names of the VMs whose pings have come in, as their payload tells."""
        return echo.senders(self.frames())
