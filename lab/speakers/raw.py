"""A BGP speaker made of a socket: says what it is told to, right or wrong, and remembers what it hears.

There is no thread: it reads when its owner waits for something, and answers each KEEPALIVE with one (so it stays up
with any hold time, as long as its owner looks at it now and then). One that isn't looked at is a peer that hangs.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TypeVar

from bgp.attributes import Attributes
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.message import EXTENDED_MAX_LENGTH, HEADER_LENGTH, KEEPALIVE, MAX_LENGTH, MessageType
from bgp.nlri import pack_labels
from bgp.notification import Notification, decode_notification
from bgp.open import Open, decode_open
from bgp.refresh import RefreshKind, RouteRefresh, decode_route_refresh
from bgp.update import UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from lab.errors import LabError
from lab.namespace import Namespace
from lab.speakers.raw_values import (
    Route,
    membership_key,
    opening,
    read_membership,
    read_route,
    route_attributes,
    route_key,
)
from lab.wait import wait_until
from vpn.prefix import parse_address

T = TypeVar("T")

PORT = 1790
DEADLINE = 15.0
"""Seconds until what is waited for has to come; far more than it takes."""
TCP_MD5SIG = 14
"""Socket option (linux/tcp.h) that the socket module has no name for."""
_CHECK = 0.02
"""Seconds between two looks at a condition that isn't about this speaker's own socket alone."""


def set_md5(sock: socket.socket, peer: str, password: str) -> None:
    """TCP-MD5 (RFC 2385) towards a peer: before connect(), and on a listening socket before the peer's SYN."""
    key = password.encode()
    if ":" in peer:
        packed = struct.pack("=HHI16sI100x", socket.AF_INET6, 0, 0, parse_address(peer), 0)
    else:
        packed = struct.pack("=HH4s120x", socket.AF_INET, 0, parse_address(peer))
    sock.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, packed + struct.pack("=BBHi80s", 0, 0, len(key), 0, key))


class RawSpeaker:
    """One side of a session with `remote`.

    address: to be at, and the router id where opened says nothing else; opened: the OPEN to send, its families also say
    what is understood; internal: whether the other side is of the same AS. receive_buffer: bytes that the kernel keeps
    for us, None: as it likes; ttl: of what is sent.
    """

    def __init__(
        self,
        address: str,
        remote: str,
        opened: Open | None = None,
        *,
        remote_port: int = PORT,
        internal: bool = True,
        namespace: Namespace | None = None,
        password: str | None = None,
        receive_buffer: int | None = None,
        ttl: int | None = None,
    ) -> None:
        self.address = address
        self.remote = remote
        self.opened = opening(address) if opened is None else opened
        self.remote_port = remote_port
        self.internal = internal
        self.answering = True
        """Whether a KEEPALIVE is answered with one."""
        self._namespace = namespace
        self._password = password
        self._receive_buffer = receive_buffer
        self._ttl = ttl
        self._listener: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._forget()

    def __enter__(self) -> RawSpeaker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- connections

    def _make(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with self._namespace.entered() if self._namespace is not None else contextlib.nullcontext():
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self._receive_buffer is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        if self._password is not None:
            set_md5(made, self.remote, self._password)
        if self._ttl is not None:
            six = family == socket.AF_INET6
            level, option = (
                (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if six else (socket.IPPROTO_IP, socket.IP_TTL)
            )
            made.setsockopt(level, option, self._ttl)
        return made

    def connect(self, deadline: float = DEADLINE) -> None:
        """Open a connection; nothing is said on it. Raises OSError (TimeoutError at the deadline)."""
        self.disconnect()
        made = self._make()
        try:
            made.bind((self.address, 0))
            made.settimeout(deadline)
            made.connect((self.remote, self.remote_port))
        except BaseException:
            made.close()
            raise
        self._begin(made)

    def listen(self, port: int = PORT) -> None:
        """Let the other side connect; accept() takes the connection."""
        self._listener = self._make()
        self._listener.bind((self.address, port))
        self._listener.listen(8)

    def accept(self, deadline: float = DEADLINE) -> None:
        """Take a connection of the other side, in place of the one there is."""
        assert self._listener is not None, "listen() comes first"
        self.disconnect()
        self._listener.settimeout(deadline)
        made, _ = self._listener.accept()
        self._begin(made)

    def _begin(self, made: socket.socket) -> None:
        made.settimeout(DEADLINE)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = made
        self._forget()

    def _forget(self) -> None:
        """What was heard belongs to a connection."""
        self.theirs: Open | None = None
        """The OPEN of the other side."""
        self.established = False
        self.notification: Notification | None = None
        """That of the other side."""
        self.ended = ""
        """Why nothing more comes: "closed" or "reset"."""
        self.received: Counter[MessageType] = Counter()
        """Messages by type."""
        self.octets = self.largest = 0
        """Bytes that came, in all and of the largest message."""
        self.routes: dict[Family, dict[bytes, tuple[bytes, Attributes, bytes]]] = {VPNV4: {}, VPNV6: {}, RTC: {}}
        """Label stack, attributes and next hop by family and key."""
        self.announced: Counter[bytes] = Counter()
        self.withdrawn: Counter[bytes] = Counter()
        """How often each key was."""
        self.ends: list[Family] = []
        """End-of-RIB marks in their order."""
        self.refreshes: list[RouteRefresh] = []
        self._framer = Framer()
        self._decoder = UpdateDecoder(UpdateOptions(frozenset(self.routes)))
        self._encoder = UpdateEncoder(UpdateOptions(frozenset(self.routes)))

    def close(self) -> None:
        """End the connection, and listen no more."""
        self.disconnect()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def disconnect(self) -> None:
        """End the connection as a program that exits does (FIN, or RST when something hasn't been read)."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def abort(self) -> None:
        """End the connection as a crash does (RST)."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.disconnect()

    def finish(self) -> None:
        """Say that nothing more is sent (FIN), and read on."""
        assert self._socket is not None, "there is no connection"
        self._socket.shutdown(socket.SHUT_WR)

    # -- waiting

    def pump(self) -> None:
        """Read what is there, without waiting."""
        while self._socket is not None and not self.ended and select.select([self._socket], [], [], 0)[0]:
            self._read()

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionError:
            self.ended = "reset"
            return
        if not data:
            self.ended = "closed"
            return
        self.octets += len(data)
        self._framer.receive_data(data)
        while (message := self._framer.next_message()) is not None:
            self._take(*message)

    def wait(self, condition: Callable[[], T], what: str, deadline: float = DEADLINE) -> T:
        """Read until the condition is true, and return what it returned. Raises LabError at the deadline."""
        end = time.monotonic() + deadline
        while True:
            self.pump()
            value = condition()
            if value:
                return value
            left = end - time.monotonic()
            if left <= 0:
                raise LabError(f"{self.address}: timed out after {deadline:g} s waiting for {what}; {self}")
            if self._socket is not None and not self.ended:
                select.select([self._socket], [], [], min(left, _CHECK))
            else:
                time.sleep(min(left, _CHECK))

    def __str__(self) -> str:
        counts = ", ".join(f"{kind.name} {count}" for kind, count in self.received.items())
        return (
            f"established: {self.established}, ended: {self.ended or 'no'}, {self.notification or counts or 'silence'}"
        )

    def wait_open(self, deadline: float = DEADLINE) -> Open:
        """Wait for the other side's OPEN."""
        self.wait(lambda: self._unless_ended(self.theirs is not None), "an OPEN", deadline)
        assert self.theirs is not None
        return self.theirs

    def wait_up(self, deadline: float = DEADLINE) -> None:
        """Wait until the session is up."""
        self.wait(lambda: self._unless_ended(self.established), "the session", deadline)

    def _unless_ended(self, value: bool) -> bool:
        if not value and self.ended:
            raise LabError(f"{self.address}: the other side ended the connection; {self}")
        return value

    def wait_notification(self, deadline: float = DEADLINE) -> Notification:
        """Wait for a NOTIFICATION and the end of the connection."""
        self.wait(lambda: self.ended, "the end of the connection", deadline)
        if self.notification is None:
            raise LabError(f"{self.address}: the connection ended without NOTIFICATION; {self}")
        return self.notification

    def establish(self, deadline: float = DEADLINE) -> RawSpeaker:
        """Connect, again while the other side doesn't want us yet, and bring the session up."""

        def attempt() -> bool:
            try:
                self.connect(deadline)
                self.handshake(deadline)
            except (ConnectionError, TimeoutError, LabError):
                return False
            return True

        wait_until(attempt, deadline, f"{self.address} to have a session", 0.05, detail=lambda: str(self))
        return self

    def handshake(self, deadline: float = DEADLINE) -> None:
        """OPEN and KEEPALIVE of both sides, on a connection that is there. Raises LabError when it ends instead."""
        self.send(self.opened.encode())
        self.wait_open(deadline)
        self.send(KEEPALIVE)
        self.wait_up(deadline)

    # -- hearing

    def _take(self, kind: MessageType, body: bytes) -> None:
        self.received[kind] += 1
        self.largest = max(self.largest, HEADER_LENGTH + len(body))
        if kind is MessageType.OPEN:
            self.theirs = decode_open(body)
            self._agree(self.theirs)
        elif kind is MessageType.KEEPALIVE:
            if self.established and self.answering:
                with contextlib.suppress(ConnectionError):
                    self.send(KEEPALIVE)
            self.established = True
        elif kind is MessageType.NOTIFICATION:
            self.notification = decode_notification(body)
        elif kind is MessageType.ROUTE_REFRESH:
            refresh = decode_route_refresh(body)
            assert refresh is not None, body.hex()
            self.refreshes.append(refresh)
        else:
            self._update(body)

    def _agree(self, theirs: Open) -> None:
        """Read and write from now on as the two OPENs say."""
        ours = self.opened.capabilities
        extended = ours.extended_message and theirs.capabilities.extended_message
        self._framer.max_length = EXTENDED_MAX_LENGTH if extended else MAX_LENGTH
        four_octet = ours.four_octet_as is not None and theirs.capabilities.four_octet_as is not None
        options = UpdateOptions(frozenset(self.routes), four_octet, self.internal)
        self._decoder = UpdateDecoder(options)
        self._encoder = UpdateEncoder(options, self._framer.max_length)

    def _update(self, body: bytes) -> None:
        update = self._decoder.decode(body)
        if update.problems:
            raise LabError(f"{self.address} was sent a malformed UPDATE: {update.problems[0].why}", log=body.hex())
        for family, keys in update.unreach:
            for key in keys:
                self.withdrawn[key] += 1
                self.routes[family].pop(key, None)
        if update.reach is not None and update.attributes is not None:
            family, next_hop, routes = update.reach
            for key, labels in routes:
                self.announced[key] += 1
                self.routes[family][key] = (labels, update.attributes, next_hop)
        if update.end_of_rib is not None:
            self.ends.append(update.end_of_rib)

    def table(self) -> dict[tuple[str, str], Route]:
        """The VPN routes that were heard, by route distinguisher and prefix."""
        found = {}
        for family in (VPNV4, VPNV6):
            for key, heard in self.routes[family].items():
                route = read_route(family, key, *heard)
                found[route.rd, route.prefix] = route
        return found

    def prefixes(self) -> set[str]:
        """The prefixes of the VPN routes that were heard."""
        return {prefix for _, prefix in self.table()}

    def memberships(self) -> set[str]:
        """The route targets that the other side wants; "" is the default membership."""
        return set(map(read_membership, self.routes[RTC]))

    # -- saying

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are. Raises ConnectionError."""
        assert self._socket is not None, "there is no connection"
        self._socket.sendall(data)

    def announce(
        self,
        rd: str,
        prefix: str,
        label: int = 1000,
        attributes: Attributes | None = None,
        next_hop: str = "192.0.2.99",
    ) -> None:
        """Announce one VPN route; by default with route target 64512:1."""
        self.announce_all([(route_key(rd, prefix), pack_labels([label]))], attributes, next_hop, six=":" in prefix)

    def announce_all(
        self,
        routes: Iterable[tuple[bytes, bytes]],
        attributes: Attributes | None = None,
        next_hop: str = "192.0.2.99",
        *,
        six: bool = False,
    ) -> None:
        """Announce routes (key and label stack each) of one family with the same attributes, packed."""
        given = route_attributes() if attributes is None else attributes
        family = VPNV6 if six else VPNV4
        for message in self._encoder.announce(family, given, parse_address(next_hop), routes):
            self.send(message)

    def withdraw(self, rd: str, prefix: str) -> None:
        """Withdraw one VPN route."""
        for message in self._encoder.withdraw(VPNV6 if ":" in prefix else VPNV4, [route_key(rd, prefix)]):
            self.send(message)

    def want(self, *targets: str) -> None:
        """Announce membership in route targets; "" is everything."""
        asn = self.opened.asn
        routes = [(membership_key(asn, target), b"") for target in targets]
        attributes = Attributes(local_pref=100 if self.internal else None)
        for message in self._encoder.announce(RTC, attributes, parse_address(self.address), routes):
            self.send(message)

    def unwant(self, *targets: str) -> None:
        """Withdraw membership."""
        for message in self._encoder.withdraw(RTC, [membership_key(self.opened.asn, target) for target in targets]):
            self.send(message)

    def end(self, *families: Family) -> None:
        """Say End-of-RIB."""
        for family in families:
            self.send(end_of_rib(family))

    def refresh(self, family: Family, kind: RefreshKind = RefreshKind.REQUEST) -> None:
        """Ask for all routes of a family again, or say that ours begin or end."""
        self.send(RouteRefresh(family, kind).encode())
