"""Packets that count: numbered datagrams at a thousand a second and flow, and TCP streams beside them, between VMs in
namespaces, both ways and in both families.

    with Counter((vm1, vm2)) as counter:
        ...  # what traffic is to survive
    assert counter.flawless, str(counter)

Every datagram has a number, so what is lost is known one by one, and with it when it was sent. The streams must not
break; how long they stood still is measured, and what TCP has sent again comes from the kernel (TCP_INFO).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from lab.errors import LabError
from lab.frames import IP
from lab.mmsg import Receiver, Sender
from lab.netns_guest import NamespaceGuest
from lab.tally import Outage, Rounds, Tally
from lab.tcp_stream import TcpStream
from lab.wait import wait_until

RATE = 1000
"""Datagrams a second of each flow."""
TICK = 0.01
"""Seconds between two rounds."""
PORT = 9200
_DRAIN = 25
"""Rounds between two looks at what has come: the sockets keep much more than that."""
_STREAM = 2
"""Rounds between two turns of the TCP streams."""
_BUFFER = 16 << 20
_SO_RCVBUFFORCE = 33
_LAST_ONES = 1.0
"""Seconds that the last packets may be under way."""
_STREAMS_END = 10.0
"""Seconds in which the streams may make good at the end what they had to send again."""

Pair = tuple[NamespaceGuest, NamespaceGuest]
_Place = tuple[NamespaceGuest, IP]


class _Flow:
    """Datagrams one way."""

    def __init__(self, name: str, source: _Place, target: _Place, port: int) -> None:
        self.tally = Tally(name)
        self._sockets = contextlib.ExitStack()
        (sender, near), (receiver, far) = source, target
        try:
            self._sender = Sender(self._open(sender, near, port), str(far), port + 1)
            self._receiver = Receiver(self._open(receiver, far, port + 1))
        except BaseException:
            self._sockets.close()
            raise

    def _open(self, vm: NamespaceGuest, address: IP, port: int) -> socket.socket:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        with vm.namespace.entered():
            made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sockets.enter_context(made)
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.bind((str(address), port))
        return made

    def send(self, first: int, count: int) -> None:
        self._sender.send(first, count)

    def receive(self) -> None:
        self.tally.add(self._receiver.numbers())

    def close(self) -> None:
        self._sockets.close()


def _address(vm: NamespaceGuest, version: int) -> IP:
    return next(address for address in vm.addresses if address.version == version)


class Counter:
    """See the module. Each VM needs an address of each family; the first is used.

    Final after the block: sent, lost, outages, repeated, stalled, retransmissions, broken, rate.
    """

    def __init__(self, *pairs: Pair, rate: int = RATE, port: int = PORT) -> None:
        """rate: datagrams a second of each flow, at most 3000. port: the first of four a pair, of UDP and TCP."""
        self.outages: list[Outage] = []
        self.stalled = 0.0
        self.retransmissions = 0
        self.broken: list[str] = []
        self.rate = 0.0
        """Datagrams a second and flow, really sent: less than asked for when the machine was busy."""
        self._asked = rate
        self._pairs = pairs
        self._port = port
        self._flows: list[_Flow] = []
        self._streams: list[TcpStream] = []
        self._rounds = Rounds()
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._guard, name="counter", daemon=True)
        self._began = 0.0

    def __enter__(self) -> Self:
        try:
            for number, (one, two) in enumerate(self._pairs):
                for version in (4, 6):
                    near, far = (one, _address(one, version)), (two, _address(two, version))
                    self._add(near, far, self._port + 4 * number)
                    self._add(far, near, self._port + 4 * number + 2)
            self._began = time.monotonic()
            self._thread.start()
            self.progress(RATE // 10)
        except BaseException:
            self._end()
            raise
        return self

    def _add(self, source: _Place, target: _Place, port: int) -> None:
        (sender, near), (receiver, far) = source, target
        name = f"{sender.name} to {receiver.name}, IPv{near.version}"
        self._flows.append(_Flow(name, source, target, port))
        ends = (sender.namespace, near), (receiver.namespace, far)
        self._streams.append(TcpStream(f"TCP {name}", *ends, port + 1, time.monotonic()))

    def progress(self, packets: int, deadline: float = 20.0) -> None:
        """Wait until each flow has sent that many more datagrams."""
        goal = self._rounds.total + packets
        wait_until(lambda: self._rounds.total >= goal or not self._thread.is_alive(), deadline, "traffic")

    def _guard(self) -> None:
        try:
            self._run()
        except Exception as error:
            # Shown where the block is left: a thread's own end would go unseen.
            self._error = error

    def _run(self) -> None:
        rounds, due, last = 0, 0.0, self._began
        while not self._stop.is_set():
            now = time.monotonic()
            due += (now - last) * self._asked
            # A machine that was busy doesn't catch up: bursts would overflow queues of the kernel that have room for a
            # thousand packets, and what is lost there says nothing.
            due = min(due, 2 * TICK * self._asked)
            last = now
            self._round(now, int(due))
            due -= int(due)
            rounds += 1
            if rounds % _STREAM == 0:
                for stream in self._streams:
                    stream.turn(now)
            if rounds % _DRAIN == 0:
                self._drain()
            self._stop.wait(max(TICK / 4, TICK - (time.monotonic() - now)))

    def _round(self, now: float, count: int) -> None:
        if count <= 0:
            return
        first = self._rounds.total
        self._rounds.add(now, count)
        for flow in self._flows:
            flow.send(first, count)

    def _drain(self) -> None:
        for flow in self._flows:
            flow.receive()

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        self._stop.set()
        self._thread.join()
        self.rate = self._rounds.total / max(TICK, time.monotonic() - self._began)
        try:
            if self._error is None:
                self._conclude()
        finally:
            self._end()
        if self._error is not None and value is None:
            raise self._error

    def _conclude(self) -> None:
        """Wait for what is under way, then count."""
        self._wait(_LAST_ONES, lambda: all(flow.tally.received >= self._rounds.total for flow in self._flows))
        self._wait(_STREAMS_END, lambda: all(stream.complete or stream.broken for stream in self._streams))
        self.outages = [outage for flow in self._flows for outage in flow.tally.outages(self._rounds)]
        self.stalled = max(stream.stalled for stream in self._streams)
        self.retransmissions = sum(stream.retransmissions for stream in self._streams)
        for stream in self._streams:
            if stream.broken or not stream.complete:
                self.broken.append(f"{stream.name}: {stream.broken or 'data is missing'}")

    def _wait(self, seconds: float, done: Callable[[], bool]) -> None:

        def look() -> bool:
            now = time.monotonic()
            self._drain()
            for stream in self._streams:
                stream.turn(now, send=False)
            return done()

        with contextlib.suppress(LabError):  # what is missing then is counted
            wait_until(look, seconds, "the last packets")

    def _end(self) -> None:
        self._stop.set()
        for flow in self._flows:
            flow.close()
        for stream in self._streams:
            stream.close()

    @property
    def sent(self) -> int:
        """Datagrams of all flows."""
        return self._rounds.total * len(self._flows)

    @property
    def lost(self) -> int:
        """Datagrams that never came."""
        return sum(outage.count for outage in self.outages)

    @property
    def repeated(self) -> int:
        """Datagrams that came more than once."""
        return sum(flow.tally.repeated for flow in self._flows)

    @property
    def last_loss(self) -> float:
        """When the last datagram was sent that is lost (time.monotonic); 0 when none is."""
        return max((outage.last for outage in self.outages), default=0.0)

    @property
    def flawless(self) -> bool:
        """Whether nothing was lost, repeated, broken off or sent again."""
        return not (self.outages or self.repeated or self.broken or self.retransmissions)

    def __str__(self) -> str:
        """One line, with the outages in seconds from the start."""
        return "; ".join(
            [
                f"{self.lost} of {self.sent} lost, {self.repeated} repeated, {self.rate:.0f}/s",
                f"TCP stood still for {self.stalled:.2f} s, {self.retransmissions} segments sent again",
                *self.broken,
                *self._shown(self.outages),
            ]
        )

    def _shown(self, outages: Sequence[Outage]) -> list[str]:
        return [
            f"{one.flow}: {one.count} at {one.first - self._began:.2f}..{one.last - self._began:.2f} s"
            for one in outages[:20]
        ]
