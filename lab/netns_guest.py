"""A VM as a network namespace: the agent moves one end of a veth into it, the rest is this kernel's own stack.

Pings are sent by raw sockets of this process in the namespace: a `ping` process takes 100 ms in user-mode Linux.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterable
from typing import Self

from lab import craft, echo
from lab.capture import Capture
from lab.echo import EchoError, Pings, Reply
from lab.frames import IP, Packet, decode_icmp6, decode_ip
from lab.namespace import Namespace

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 10, 23
PMTUDISC_DONT, PMTUDISC_PROBE = 0, 3
IP_FREEBIND, IPV6_FREEBIND = 15, 78


class NamespaceGuest:
    """A VM in a namespace of its own, which it makes, or is given, and deletes. A context manager.

    It answers on echo.IDENTITY_PORT with its name, and all that it receives is captured.
    """

    def __init__(self, name: str, addresses: Iterable[IP], namespace: Namespace | None = None) -> None:
        self.name = name
        self.addresses = tuple(addresses)
        self.namespace = Namespace(name) if namespace is None else namespace
        self._capture: Capture | None = None
        self._packets: list[Packet] = []
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._wake = (-1, -1)

    def open(self) -> Self:
        """Start to answer and to capture. The addresses need not be there yet."""
        if self._thread is None:
            try:
                self._open()
            except BaseException:
                self.close()
                raise
        return self

    def _open(self) -> None:
        self._capture = Capture(self.namespace)
        with self.namespace.entered():
            for address in self.addresses:
                self._sockets.append(_identity_socket(address))
        self._wake = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name=f"guest {self.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and delete the namespace. Again: does nothing."""
        if self._thread is not None:
            os.write(self._wake[1], b"x")
            self._thread.join()
            self._thread = None
            for descriptor in self._wake:
                os.close(descriptor)
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        if self._capture is not None:
            self._capture.close()
            self._capture = None
        self.namespace.delete()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake[0], selectors.EVENT_READ)
            for each in self._sockets:
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if not isinstance(key.fileobj, socket.socket):
                        return
                    # An ICMP error about an earlier answer is reported here; it doesn't concern us.
                    with contextlib.suppress(OSError):
                        _, asker = key.fileobj.recvfrom(64)
                        key.fileobj.sendto(self.name.encode(), asker)

    def frames(self) -> list[Packet]:
        """All frames received so far, oldest first."""
        if self._capture is not None:
            self._packets += [frame.packet for frame in self._capture.drain() if not frame.outgoing]
        return list(self._packets)

    def senders(self) -> set[str]:
        """Names of the VMs whose pings have come in, as their payload tells."""
        return echo.senders(self.frames())

    def ping(
        self,
        destination: IP | str,
        count: int = 1,
        timeout: float = 2.0,
        size: int = 56,
        df: bool = False,
        source: IP | str | None = None,
    ) -> Pings:
        """Ping `count` times, one after the other. timeout: seconds for each; size: bytes of payload; df: never
        fragment, and send however small the known path MTU is."""
        dst = echo.parse(destination)
        src = None if source is None else echo.parse(source)
        with self._echo_socket(dst, src, df) as raw:
            return _ping(raw, self.name, dst, count, timeout, size)

    def _echo_socket(self, destination: IP, source: IP | None, df: bool) -> socket.socket:
        four = destination.version == 4
        with self.namespace.entered():
            raw = socket.socket(
                socket.AF_INET if four else socket.AF_INET6, socket.SOCK_RAW, craft.echo_protocol(destination)
            )
        level, option = (socket.IPPROTO_IP, IP_MTU_DISCOVER) if four else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        raw.setsockopt(level, option, PMTUDISC_PROBE if df else PMTUDISC_DONT)
        if source is not None:
            raw.bind((str(source), 0))
        return raw

    def ask(self, destination: IP | str, timeout: float = 2.0) -> str | None:
        """The name of the VM that has an address, told by itself; None without an answer."""
        dst = echo.parse(destination)
        with self.namespace.entered():
            question = socket.socket(socket.AF_INET if dst.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        with question:
            question.settimeout(timeout)
            try:
                question.connect((str(dst), echo.IDENTITY_PORT))
                question.send(b"?")
                return question.recv(64).decode()
            except OSError:
                return None


def _identity_socket(address: IP) -> socket.socket:
    """A UDP socket bound to an address that may not be there yet."""
    four = address.version == 4
    made = socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if four:
        made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    made.bind((str(address), echo.IDENTITY_PORT))
    return made


def _ping(raw: socket.socket, name: str, dst: IP, count: int, timeout: float, size: int) -> Pings:
    identifier = int.from_bytes(os.urandom(2), "big")
    body = echo.payload(name, size)
    replies: list[Reply] = []
    errors: list[EchoError] = []
    for sequence in range(1, count + 1):
        # The kernel fills in the checksum of ICMPv6, whose pseudo header has the source that it chooses.
        message = craft.echo(dst, dst, identifier, sequence, body)
        start = time.monotonic()
        try:
            raw.sendto(message, (str(dst), 0))
        except OSError as error:
            errors.append(EchoError(None, sequence, error.strerror or str(error)))
            continue
        outcome = _answer(raw, dst, identifier, sequence, start + timeout)
        if isinstance(outcome, EchoError):
            errors.append(outcome)
        elif outcome is not None:
            replies.append(Reply(outcome, sequence, time.monotonic() - start))
    return Pings(count, tuple(replies), tuple(errors))


def _answer(raw: socket.socket, dst: IP, identifier: int, sequence: int, end: float) -> IP | EchoError | None:
    """Source of the reply to one ping, or the error about it, or None when time is up."""
    while True:
        remaining = end - time.monotonic()
        if remaining <= 0:
            return None
        raw.settimeout(remaining)
        try:
            data, sender = raw.recvfrom(65535)
        except TimeoutError:
            return None
        except OSError as error:
            return EchoError(None, sequence, error.strerror or str(error))
        source = echo.parse(sender[0].partition("%")[0])
        packet = decode_ip(data) if dst.version == 4 else decode_icmp6(data)
        matched = echo.match(packet, identifier)
        if matched is not None and matched[0] == sequence:
            problem = matched[1]
            if problem is None:
                return source
            return EchoError(source, problem.sequence, problem.text, problem.mtu)
