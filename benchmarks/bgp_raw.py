"""Raw BGP speakers of the benchmarks: precomputed bytes out, bytes with their time of arrival in, one thread for all.

While something is measured, nothing is done with what arrives but to keep it: it is read by messages when nothing has
come for a moment, so that the speaker under test has the machine for itself. The time of a route is that of the piece
of the stream that completed it.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from bgp.attributes import Attributes
from bgp.capabilities import Capabilities
from bgp.communities import pack_encapsulation, pack_route_target
from bgp.errors import BgpError
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.message import KEEPALIVE, MessageType
from bgp.negotiation import SessionConfig, negotiate
from bgp.nlri import Route, pack_labels
from bgp.notification import decode_notification
from bgp.open import Open, decode_open
from bgp.update import Update, UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder
from vpn.community import RouteTarget

ASN = 64512
PORT = 1790
NEXT_HOP = bytes((192, 0, 2, 1))
READ = 1 << 18
"""Bytes of one read."""
QUIET = 0.1
"""Seconds without input after which what has come is read."""
ATTEMPT = 5.0
"""Seconds for an attempt at a session."""
RETRY = 0.1
"""Seconds to the next attempt to connect."""
OPTIONS = UpdateOptions(frozenset((VPNV4, VPNV6, RTC)))


class RawError(Exception):
    """A session ended, or what was waited for didn't happen in time."""


def keys(count: int, first: int = 0, distinguisher: int = 1) -> list[bytes]:
    """Keys (bgp.nlri) of host routes of 10.0.0.0/8 and beyond, under the route distinguisher 64512:N."""
    head = (0).to_bytes(2, "big") + ASN.to_bytes(2, "big") + distinguisher.to_bytes(4, "big")
    return [head + (0x0A000000 + number).to_bytes(4, "big") + b"\x20" for number in range(first, first + count)]


def routes(count: int, first: int = 0, distinguisher: int = 1) -> list[Route]:
    """The same with labels, each its own as far as there are enough."""
    return [
        (key, pack_labels([16 + number % 1_000_000]))
        for number, key in enumerate(keys(count, first, distinguisher), first)
    ]


def target(number: int) -> bytes:
    """The route target 64512:N."""
    return pack_route_target(RouteTarget.parse(f"{ASN}:{number}"))


def stream(announced: Sequence[Route], each: int, targets: int = 1) -> bytes:
    """UPDATEs that announce routes, `each` in one, with the route targets 64512:1 to 64512:N by turns."""
    return encode(announced, each, range(1, targets + 1))


def encode(announced: Sequence[Route], each: int, targets: Sequence[int]) -> bytes:
    """The same with these targets."""
    encoder = UpdateEncoder(OPTIONS)
    sets = [
        Attributes(local_pref=100, extended_communities=(target(number), pack_encapsulation(2))) for number in targets
    ]
    messages: list[bytes] = []
    for number, start in enumerate(range(0, len(announced), each)):
        messages += encoder.announce(VPNV4, sets[number % len(sets)], NEXT_HOP, announced[start : start + each])
    return b"".join(messages)


def memberships(numbers: Iterable[int], *, withdraw: bool = False) -> bytes:
    """UPDATEs that announce or withdraw membership in route targets 64512:N."""
    encoder = UpdateEncoder(OPTIONS)
    wanted = [bytes((96,)) + ASN.to_bytes(4, "big") + target(number) for number in numbers]
    if withdraw:
        return b"".join(encoder.withdraw(RTC, wanted))
    return b"".join(encoder.announce(RTC, Attributes(local_pref=100), NEXT_HOP, [(key, b"") for key in wanted]))


class RawSession:
    """One session, which dials. local, remote: IPv4 addresses, local is the router id too; hold_time: seconds."""

    def __init__(
        self,
        local: str,
        remote: str,
        families: Sequence[Family] = (VPNV4,),
        *,
        port: int = PORT,
        hold_time: int = 90,
    ) -> None:
        self.local, self.remote, self.port = local, remote, port
        router_id = socket.inet_aton(local)
        self._open = Open(
            ASN, hold_time, router_id, Capabilities(families=tuple(families), four_octet_as=ASN, route_refresh=True)
        )
        self._config = SessionConfig(ASN, ASN, router_id, tuple(families))
        self.socket: socket.socket | None = None
        self._clear()

    def _clear(self) -> None:
        self.established = False
        self.hold_time = 0
        self.error = ""
        """Why the session is over."""
        self.held: set[bytes] = set()
        """Keys of VPN routes that the peer has announced and not withdrawn."""
        self.changed_at = 0.0
        """When the piece came that brought the newest change of `held`."""
        self.updates = 0
        self.octets = 0
        """UPDATEs and bytes received since reset_counts()."""
        self.ended: set[Family] = set()
        """Families whose End-of-RIB has come."""
        self.longest_silence = 0.0
        """Seconds between two pieces of the stream, at most, since reset_counts()."""
        self.output: deque[memoryview] = deque()
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._framer = Framer()
        self._decoder = UpdateDecoder(OPTIONS)
        self._heard_at = 0.0
        self._keepalive_at = 0.0

    def dial(self) -> socket.socket:
        """Begin anew: connect and say OPEN. Raises OSError."""
        self._clear()
        opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.bind((self.local, 0))
            opened.connect((self.remote, self.port))
        except OSError:
            opened.close()
            raise
        opened.setblocking(False)
        self.socket = opened
        self.send(self._open.encode())
        return opened

    def reset_counts(self) -> None:
        """Count from here on."""
        self.updates = self.octets = 0
        self.longest_silence = 0.0

    def send(self, data: bytes) -> None:
        """Queue whole messages."""
        self.output.append(memoryview(data))

    @property
    def unread(self) -> bool:
        """Whether something came that wasn't read by messages yet."""
        return bool(self._chunks)

    def read(self, now: float) -> None:
        """The socket has something, or its end."""
        assert self.socket is not None
        try:
            data = self.socket.recv(READ)
        except BlockingIOError:
            return
        except OSError as error:
            self.error = str(error)
            return
        if not data:
            self.digest()
            self.error = self.error or "the peer closed the connection"
            return
        self.octets += len(data)
        if self._heard_at:
            self.longest_silence = max(self.longest_silence, now - self._heard_at)
        self._heard_at = now
        self._chunks.append((now, data))
        if not self.established:
            self.digest()

    def write(self) -> None:
        """The socket takes more."""
        assert self.socket is not None
        try:
            while self.output:
                sent = self.socket.send(self.output[0])
                if sent < len(self.output[0]):
                    self.output[0] = self.output[0][sent:]
                    return
                self.output.popleft()
        except BlockingIOError:
            return
        except OSError as error:
            self.error = str(error)

    def keep_alive(self, now: float) -> None:
        """Send a KEEPALIVE when it is time, unless routes are on their way."""
        if self.established and self.hold_time and now >= self._keepalive_at:
            self._keepalive_at = now + self.hold_time / 3
            if not self.output:
                self.send(KEEPALIVE)

    def digest(self) -> bool:
        """Read the oldest piece of the stream by messages; whether there was one."""
        if not self._chunks:
            return False
        came, data = self._chunks.popleft()
        self._framer.receive_data(data)
        try:
            while (message := self._framer.next_message()) is not None:
                self._on_message(came, *message)
        except BgpError as error:
            self.error = f"what the peer sent can't be read: {error.why}"
        return True

    def _on_message(self, came: float, kind: MessageType, body: bytes) -> None:
        if kind is MessageType.UPDATE:
            self.updates += 1
            self._on_update(came, self._decoder.decode(body))
        elif kind is MessageType.OPEN:
            negotiated = negotiate(self._config, self._open, decode_open(body))
            self.hold_time = negotiated.hold_time
            self.send(KEEPALIVE)
        elif kind is MessageType.KEEPALIVE:
            self.established = True
        elif kind is MessageType.NOTIFICATION:
            self.error = f"the peer sent {decode_notification(body)}"

    def _on_update(self, came: float, update: Update) -> None:
        held = self.held
        before = len(held)
        if update.reach is not None and update.reach.family != RTC:
            held.update([key for key, _ in update.reach.routes])
        for family, gone in update.unreach:
            if family != RTC:
                held.difference_update(gone)
        if update.end_of_rib is not None:
            self.ended.add(update.end_of_rib)
        if len(held) != before:
            self.changed_at = came


class Peers:
    """Several raw sessions and the loop that moves their bytes."""

    def __init__(self, sessions: Sequence[RawSession]) -> None:
        self.sessions = list(sessions)
        self._selector = selectors.DefaultSelector()
        self._writing: set[RawSession] = set()

    def connect(self, deadline: float = 60.0) -> None:
        """Dial until all sessions are established. Raises RawError."""
        end = time.perf_counter() + deadline
        for session in self.sessions:
            while not session.established:
                try:
                    self._selector.register(session.dial(), selectors.EVENT_READ, session)
                    self.run(lambda session=session: session.established, ATTEMPT)  # type: ignore[misc]
                except (OSError, RawError) as error:
                    self.hang_up(session)
                    if time.perf_counter() > end:
                        raise RawError(f"no session of {session.local} with {session.remote}: {error}") from None
                    time.sleep(RETRY)

    def hang_up(self, session: RawSession) -> None:
        """Close a session without a word."""
        if session.socket is not None:
            self._selector.unregister(session.socket)
            self._writing.discard(session)
            session.socket.close()
            session.socket = None

    def close(self) -> None:
        """Close all."""
        for session in self.sessions:
            self.hang_up(session)
        self._selector.close()

    def run(self, until: Callable[[], bool], deadline: float) -> None:
        """Move bytes until a condition holds; it is asked when nothing comes any more, and every piece has been read.

        deadline: seconds. Raises RawError at the deadline, or when a session has ended.
        """
        now = time.perf_counter()
        end, last = now + deadline, now
        while True:
            for session in self.sessions:
                if session.socket is not None:
                    session.keep_alive(now)
                    self._watch(session)
            unread = [session for session in self.sessions if session.unread]
            quiet = now - last >= QUIET
            found = self._selector.select(0.0 if unread and quiet else QUIET / 5)
            now = time.perf_counter()
            for key, mask in found:
                session = key.data
                if mask & selectors.EVENT_READ:
                    session.read(now)
                    last = now
                if mask & selectors.EVENT_WRITE:
                    session.write()
                if session.error:
                    raise RawError(f"{session.local} with {session.remote}: {session.error}")
            if not found and quiet and unread:
                unread[0].digest()
            elif not found and not unread and until():
                return
            if now > end:
                raise RawError(f"timed out after {deadline:g} s")

    def _watch(self, session: RawSession) -> None:
        """Ask to be told when the socket takes more, as long as there is something."""
        assert session.socket is not None
        wants = bool(session.output)
        if wants != (session in self._writing):
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wants else 0)
            self._selector.modify(session.socket, events, session)
            (self._writing.add if wants else self._writing.discard)(session)
