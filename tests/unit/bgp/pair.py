"""Sessions under test: one against scripted bytes, or two joined in memory, with a clock that only the test moves."""

from __future__ import annotations

from dataclasses import replace

from bgp.connection import Connection, State
from bgp.events import (
    ConnectCancelled,
    ConnectionClosed,
    ConnectRequested,
    Event,
    RefreshReceived,
    SessionDown,
    SessionUp,
    UpdateReceived,
)
from bgp.family import RTC, VPNV4, VPNV6
from bgp.framing import Framer
from bgp.message import MessageType
from bgp.negotiation import SessionConfig
from bgp.session import Session
from bgp.timers import Random

LOW = bytes((192, 0, 2, 1))
HIGH = bytes((192, 0, 2, 2))
AS = 64512


def config(router_id: bytes = LOW, **settings: object) -> SessionConfig:
    """Settings of an iBGP session with a hold time of 9 s."""
    base = SessionConfig(AS, AS, router_id, (VPNV4, VPNV6, RTC), hold_time=9)
    return replace(base, **settings)  # type: ignore[arg-type]


class Speaker:
    """A session and what its shell would do."""

    def __init__(self, settings: SessionConfig, random: Random = lambda: 1.0) -> None:
        self.session = Session(settings, random)
        self.events: list[Event] = []
        self.dialling = False
        self.closed: list[Connection] = []

    def poll(self) -> None:
        """Take the events."""
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, ConnectRequested):
                self.dialling = True
            elif isinstance(event, ConnectCancelled):
                self.dialling = False
            elif isinstance(event, ConnectionClosed):
                self.closed.append(event.connection)

    def of(self, kind: type) -> list[Event]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def ups(self) -> list[SessionUp]:
        return [event for event in self.events if isinstance(event, SessionUp)]

    @property
    def downs(self) -> list[SessionDown]:
        return [event for event in self.events if isinstance(event, SessionDown)]

    @property
    def updates(self) -> list[UpdateReceived]:
        return [event for event in self.events if isinstance(event, UpdateReceived)]

    @property
    def refreshes(self) -> list[RefreshReceived]:
        return [event for event in self.events if isinstance(event, RefreshReceived)]

    @property
    def up(self) -> bool:
        return self.session.state is State.ESTABLISHED


class Wire:
    """One transport between two speakers: ends[0] opened it."""

    def __init__(self, speakers: tuple[Speaker, Speaker], ends: tuple[Connection, Connection]) -> None:
        self.speakers = speakers
        self.ends = ends
        self.cut = False

    def move(self, now: float) -> bool:
        """Carry what waits, both ways; whether anything did."""
        moved = False
        for here, there in ((0, 1), (1, 0)):
            if self.ends[here].has_output and not self.cut:
                data = self.ends[here].data_to_send()
                moved = True
                self.speakers[there].session.receive_data(self.ends[there], data, now)
                self.speakers[there].poll()
            if self.ends[here].closing and not self.ends[here].has_output and not self.cut:
                self.cut = moved = True
                self.speakers[there].session.receive_eof(self.ends[there], now)
                self.speakers[there].poll()
        return moved


class Pair:
    """Two speakers and the wires between them."""

    def __init__(self, left: SessionConfig, right: SessionConfig, random: Random = lambda: 1.0) -> None:
        self.now = 100.0
        self.left = Speaker(left, random)
        self.right = Speaker(right, random)
        self.wires: list[Wire] = []
        self.reachable = True

    def start(self) -> Pair:
        """Start both and let them talk."""
        self.left.session.start(self.now)
        self.right.session.start(self.now)
        self.settle()
        return self

    def dial(self) -> bool:
        """Let connections come up that somebody asked for."""
        dialled = False
        for caller, callee in ((self.left, self.right), (self.right, self.left)):
            caller.poll()
            if not caller.dialling:
                continue
            dialled = True
            caller.dialling = False
            incoming = callee.session.accepted(self.now) if self.reachable else None
            if not self.reachable:
                caller.session.connect_failed(self.now, "connection refused")
                continue
            outgoing = caller.session.connected(self.now)
            assert outgoing is not None
            if incoming is None:
                caller.session.receive_eof(outgoing, self.now, "the peer closed the connection")
                caller.poll()
                continue
            self.wires.append(Wire((caller, callee), (outgoing, incoming)))
            callee.poll()
        return dialled

    def settle(self) -> None:
        """Until nothing moves any more at this time."""
        moved = True
        while moved:
            moved = self.dial()
            # Every wire a piece at a time, so that both connections of a collision go forward together.
            for wire in self.wires:
                moved |= wire.move(self.now)
            self.left.poll()
            self.right.poll()
        self.left.poll()
        self.right.poll()

    def advance(self, seconds: float) -> None:
        """Move the clock from deadline to deadline."""
        end = self.now + seconds
        while True:
            deadlines = [s.session.get_timer() for s in (self.left, self.right)]
            due = min((deadline for deadline in deadlines if deadline is not None), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            self.left.session.handle_timer(self.now)
            self.right.session.handle_timer(self.now)
            self.settle()
            if due == end:
                break
        self.now = end

    def cut(self) -> None:
        """All transports are lost, and both know."""
        for wire in self.wires:
            if not wire.cut:
                wire.cut = True
                for speaker, end in zip(wire.speakers, wire.ends, strict=True):
                    speaker.session.receive_eof(end, self.now, "connection reset")
        self.left.poll()
        self.right.poll()


def messages(data: bytes) -> list[tuple[MessageType, bytes]]:
    """Type and body of each message in a stream."""
    framer = Framer()
    framer.receive_data(data)
    found = []
    while (message := framer.next_message()) is not None:
        found.append(message)
    assert framer.buffered == 0
    return found
