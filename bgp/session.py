"""The session with one peer (RFC 4271, section 8), without I/O.

Bytes and the time go in, bytes, events and a deadline come out. The shell opens and accepts connections, moves bytes
between transports and Connection objects, and hands the routes on:

    start() --> ConnectRequested --> connected() -+--> Connection: data_to_send(), receive_data()
                                     accepted()  -+--> SessionUp --> UpdateReceived ... --> SessionDown

There may be two connections for a moment, ours and the peer's; the collision is resolved when the second one brings
its OPEN (section 6.8). Done to the letter, that can end both: each side may be done with one connection before it sees
the OPEN on the other. So an OPEN on the connection that would lose is not answered until the other one has had a moment
to bring its own. What the RFC calls the state of the session is here that of its most advanced connection; IDLE,
CONNECT and ACTIVE are the states without any.

After an error the session rests (IDLE) for a time that doubles, then tries again by itself. It only stays down after
stop(), or fail() without a time.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable

from bgp.collision import keeps_outgoing
from bgp.connection import Connection, State, Verdict
from bgp.errors import BgpError, CeaseSubcode, ErrorCode, FsmSubcode
from bgp.events import (
    ConnectCancelled,
    ConnectionClosed,
    ConnectRequested,
    Counters,
    DownReason,
    Event,
    SessionDown,
    SessionUp,
)
from bgp.family import Family
from bgp.intake import Intake
from bgp.message import MessageType
from bgp.negotiation import Negotiated, SessionConfig, negotiate
from bgp.notification import Notification, decode_notification
from bgp.open import Open, decode_open
from bgp.refresh import RouteRefresh
from bgp.timers import Backoff, Random, Timers, jittered
from bgp.update import AttributeTable

SEND_HOLD_TIMER_EXPIRED = Notification(8)
"""RFC 9687, section 4."""
COLLISION_WAIT = 2.0
"""Seconds that the OPEN of a connection waits for that of one that is to be preferred."""
_HARD = (CeaseSubcode.MAXIMUM_PREFIXES, CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, CeaseSubcode.PEER_DECONFIGURED)
"""Reasons that last, so that the peer shall not keep our routes (RFC 8538, section 5.1)."""
_FSM = {
    State.OPEN_SENT: FsmSubcode.IN_OPEN_SENT,
    State.OPEN_CONFIRM: FsmSubcode.IN_OPEN_CONFIRM,
    State.ESTABLISHED: FsmSubcode.IN_ESTABLISHED,
}
_NAMES = {kind: kind.name.lower().replace("_", "-") for kind in MessageType}


class _Timer(enum.Enum):
    CONNECT_RETRY = enum.auto()
    IDLE_HOLD = enum.auto()
    COLLISION = enum.auto()


class Session:
    """One peer. random: for jitter, e.g. random.random. restarting: we have just restarted and hosts kept forwarding
    (the R bit); the shell clears it when it has sent its end-of-RIB marks. table: where attribute sets are made one,
    for all sessions together. Times are seconds of any monotonic clock."""

    def __init__(self, config: SessionConfig, random: Random, table: AttributeTable | None = None) -> None:
        self.config = config
        self._table = AttributeTable() if table is None else table
        self.restarting = False
        self.counters = Counters()
        self.last_down: SessionDown | None = None
        """How the session, or an attempt at one, was last over; not that the peer hung up, if this says why."""
        self.down_since: float | None = None
        """When that was."""
        self._random = random
        self._enabled = False
        self._dialling = False
        self.last_connect_error = ""
        """Why the last attempt failed before there was a connection; "" once there was one."""
        self._connections: list[Connection] = []
        self._established: Connection | None = None
        self._up_since = 0.0
        self._intake: Intake | None = None
        self._timers: Timers[_Timer] = Timers()
        self._backoff = Backoff(config.idle_hold, config.idle_hold_max)
        self._events: deque[Event] = deque()

    # -- what the shell asks

    @property
    def state(self) -> State:
        """The state of the FSM."""
        if self._connections:
            return max(connection.state for connection in self._connections)
        if self._dialling:
            return State.CONNECT
        resting = not self._enabled or self._timers.deadline(_Timer.IDLE_HOLD) is not None
        return State.IDLE if resting else State.ACTIVE

    @property
    def enabled(self) -> bool:
        """Whether the session is to be up: after start(), until stop() or a fail() for good."""
        return self._enabled

    @property
    def connection(self) -> Connection | None:
        """The connection by which routes flow."""
        return self._established

    @property
    def connections(self) -> tuple[Connection, ...]:
        """All that are open."""
        return tuple(self._connections)

    @property
    def negotiated(self) -> Negotiated | None:
        """What holds for the session that is up."""
        return self._established.negotiated if self._established is not None else None

    @property
    def up_since(self) -> float | None:
        """When the session came up, None when it isn't."""
        return self._up_since if self._established is not None else None

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        deadlines = [self._timers.next(), *(connection.get_timer() for connection in self._connections)]
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Fire what is due; calling it early does nothing."""
        for connection in tuple(self._connections):
            deadline = connection.get_timer()
            if deadline is None or deadline > now or connection.closing:
                continue
            verdict = connection.handle_timer(now)
            if verdict is Verdict.SILENT:
                expired = Notification(ErrorCode.HOLD_TIMER_EXPIRED)
                self._end(connection, now, expired, DownReason.NOTIFICATION_SENT, "the hold timer expired")
            elif verdict is Verdict.BLOCKED:
                text = "the peer took nothing of what we sent"
                self._end(connection, now, SEND_HOLD_TIMER_EXPIRED, DownReason.NOTIFICATION_SENT, text)
        for timer in self._timers.pop_due(now):
            if timer is _Timer.IDLE_HOLD:
                self._begin(now)
            elif timer is _Timer.COLLISION:
                self._resume(now)
            elif not any(connection.outgoing for connection in self._connections):
                self._dial(now)

    # -- commands

    def start(self, now: float) -> None:
        """Bring the session up, and up again whenever it is lost. Also ends a rest."""
        if not self._enabled or self._timers.deadline(_Timer.IDLE_HOLD) is not None:
            self._enabled = True
            self._timers.clear()
            self._backoff.reset()
            self._begin(now)

    def stop(
        self,
        now: float,
        subcode: CeaseSubcode = CeaseSubcode.ADMINISTRATIVE_SHUTDOWN,
        text: str = "",
        *,
        hard: bool | None = None,
    ) -> None:
        """Take the session down until start(). text: for the peer's operator (RFC 9003), at most 255 bytes of UTF-8.

        hard: whether the peer shall forget our routes although graceful restart was agreed upon for NOTIFICATIONs too
        (RFC 8538); by default when the reason lasts (shutdown, de-configured).
        """
        self._enabled = False
        self._cancel()
        self._cease(Notification.cease(subcode, text), subcode in _HARD if hard is None else hard, now)

    def reset(self, now: float, text: str = "", *, hard: bool = False) -> None:
        """Take the session down and bring it up again (6/4)."""
        self._cease(Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, text), hard, now)

    def fail(self, now: float, notification: Notification, text: str, restart_after: float | None = None) -> None:
        """End the session because of something outside of it, e.g. too many prefixes (Notification.maximum_prefixes).

        restart_after: seconds until it is tried again; None: not before start().
        """
        self._cancel()
        self._enabled = False
        hard = notification.code == ErrorCode.CEASE and notification.subcode in _HARD
        self._cease(notification, hard, now, text)
        if restart_after is not None:
            self._enabled = True
            self._timers.set(_Timer.IDLE_HOLD, now + restart_after)

    def _cease(self, notification: Notification, hard: bool, now: float, text: str = "") -> None:
        for connection in tuple(self._connections):
            agreed = connection.negotiated is not None and connection.negotiated.notification_restart
            reason = notification.hard_reset() if hard and agreed else notification
            self._end(connection, now, reason, DownReason.NOTIFICATION_SENT, text or notification.text)

    def send(self, messages: Iterable[bytes]) -> None:
        """Queue UPDATEs and what must keep its place among them. Look at connection.queued before sending more."""
        if self._established is not None:
            self._established.send(messages)

    def request_refresh(self, family: Family) -> bool:
        """Ask the peer for all its routes again (RFC 2918); whether that can be asked."""
        connection, negotiated = self._established, self.negotiated
        if connection is None or negotiated is None or not negotiated.route_refresh:
            return False
        if family not in negotiated.families:
            return False
        connection.send_urgent(RouteRefresh(family).encode())
        return True

    # -- connections

    def connected(self, now: float) -> Connection | None:
        """The connection that ConnectRequested asked for is up; None: close it, it isn't wanted any more."""
        if not self._dialling:
            return None
        self._dialling = False
        self.last_connect_error = ""
        return self._open(True, now)

    def connect_failed(self, now: float, text: str = "") -> None:
        """It could not be opened, and why; it is tried again when the retry timer says so."""
        self._dialling = False
        self.last_connect_error = text

    def accepted(self, now: float) -> Connection | None:
        """The peer opened a connection; None: close it, the session is down or rests.

        A connection of the peer that has brought no session yet gives way: the peer has evidently lost it.
        """
        if not self._enabled or self._timers.deadline(_Timer.IDLE_HOLD) is not None:
            return None
        for other in tuple(self._connections):
            if not other.outgoing and other is not self._established:
                self._drop(other, Notification.cease(CeaseSubcode.CONNECTION_COLLISION))
        return self._open(False, now)

    def _open(self, outgoing: bool, now: float) -> Connection:
        config = self.config
        opened = config.open(restarting=self.restarting)
        connection = Connection(outgoing, opened, self._random, now, config.open_time)
        self._connections.append(connection)
        return connection

    def _begin(self, now: float) -> None:
        if not self.config.passive:
            self._dial(now)

    def _dial(self, now: float) -> None:
        self._dialling = True
        self._timers.set(_Timer.CONNECT_RETRY, now + jittered(self.config.connect_retry, self._random))
        self._events.append(ConnectRequested())

    def _cancel(self) -> None:
        """No attempt, and no timer that leads to one."""
        self._timers.clear()
        if self._dialling:
            self._dialling = False
            self._events.append(ConnectCancelled())

    def _drop(self, connection: Connection, notification: Notification | None) -> None:
        """Close a connection that isn't the session."""
        connection.close(notification)
        self.counters.sent_notifications += notification is not None
        self._connections.remove(connection)
        self._events.append(ConnectionClosed(connection))

    def _end(
        self, connection: Connection, now: float, notification: Notification | None, reason: DownReason, text: str
    ) -> None:
        """A connection is over, and with it the session or an attempt; rest, unless another connection is there."""
        if connection not in self._connections:
            return
        sent = notification if reason is DownReason.NOTIFICATION_SENT else None
        self._drop(connection, sent)
        negotiated = connection.negotiated if connection is self._established else None
        preserved: frozenset[Family] = frozenset()
        if negotiated is not None:
            self._established = None
            self._intake = None
            if now - self._up_since >= self.config.idle_hold_max:
                self._backoff.reset()
            if notification is None or (negotiated.notification_restart and not notification.is_hard_reset):
                preserved = negotiated.preserved
        elif self._connections:
            self._resume(now)
            return
        down = SessionDown(reason, notification, text, negotiated, preserved)
        hung_up = reason is DownReason.CONNECTION_LOST and connection.state is State.OPEN_SENT
        if not (hung_up and self.last_down and self.last_down.explains_silence(now - (self.down_since or 0.0))):
            self.last_down, self.down_since = down, now
        self._events.append(down)
        if not self._enabled or self._connections:
            return
        if hung_up:
            # Somebody knocked and went away, or hung up on us: no reason to rest (RFC 4271, event 18 in OpenSent). Two
            # speakers that both rested whenever the other did would never meet.
            if not self._dialling and self._timers.deadline(_Timer.CONNECT_RETRY) is None:
                if connection.outgoing:
                    self._timers.set(_Timer.CONNECT_RETRY, now + jittered(self.config.connect_retry, self._random))
                else:
                    self._begin(now)
            return
        self._cancel()
        self._timers.set(_Timer.IDLE_HOLD, now + jittered(self._backoff.next(), self._random))

    # -- input

    def receive_eof(self, connection: Connection, now: float, text: str = "") -> None:
        """The transport has ended, closed by the peer or lost; text: why, if that is known."""
        self._end(connection, now, None, DownReason.CONNECTION_LOST, text)

    def receive_data(self, connection: Connection, data: bytes, now: float) -> None:
        """Take bytes of the peer; never raises on what they hold."""
        if connection not in self._connections:
            return
        connection.feed(data)
        self._read(connection, now)

    def _read(self, connection: Connection, now: float) -> None:
        """Handle the messages that are complete."""
        framer = connection.framer
        received = self.counters.received
        heard = False
        try:
            while not (connection.closing or connection.postponed) and (message := framer.next_message()) is not None:
                kind, body = message
                heard = True
                received[_NAMES[kind]] += 1
                if kind is MessageType.UPDATE and connection is self._established and self._intake is not None:
                    self._intake.update(body)
                else:
                    self._on_message(connection, kind, body, now)
        except BgpError as error:
            self._end(connection, now, Notification.of(error), DownReason.NOTIFICATION_SENT, error.why)
        if heard and not connection.closing:
            connection.heard(now)

    def _resume(self, now: float) -> None:
        """Answer an OPEN that was made to wait."""
        for connection in tuple(self._connections):
            if connection.postponed is not None:
                theirs, connection.postponed = connection.postponed, None
                self._on_open(connection, theirs, now, wait=False)
                self._read(connection, now)

    def _on_message(self, connection: Connection, kind: MessageType, body: bytes, now: float) -> None:
        if kind is MessageType.NOTIFICATION:
            notification = decode_notification(body)
            self._end(connection, now, notification, DownReason.NOTIFICATION_RECEIVED, notification.text)
        elif kind is MessageType.OPEN and connection.state is State.OPEN_SENT:
            self._on_open(connection, decode_open(body), now)
        elif kind is MessageType.KEEPALIVE and connection.state is State.OPEN_CONFIRM:
            self._establish(connection, now)
        elif connection.state is not State.ESTABLISHED or kind is MessageType.OPEN:
            subcode = _FSM[connection.state]
            raise BgpError(ErrorCode.FINITE_STATE_MACHINE, subcode, b"", f"{_NAMES[kind]} in {connection.state.name}")
        elif kind is MessageType.ROUTE_REFRESH and self._intake is not None:
            self._intake.refresh(body)

    def _on_open(self, connection: Connection, theirs: Open, now: float, *, wait: bool = True) -> None:
        negotiated = negotiate(self.config, connection.opened, theirs)
        collision = Notification.cease(CeaseSubcode.CONNECTION_COLLISION)
        local, remote = (self.config.router_id, self.config.local_as), (theirs.router_id, theirs.asn)
        wins = connection.outgoing == keeps_outgoing(local, remote)
        for other in tuple(self._connections):
            if other is connection:
                continue
            if other is self._established:
                assert other.negotiated is not None
                # A peer with graceful restart that connects anew has restarted, and the old connection is dead
                # (RFC 4724, section 5); the check waited for the OPEN, so that anybody's SYN can't end a session.
                if other.negotiated.graceful_restart is None:
                    self._drop(connection, collision)
                    return
                self._end(other, now, None, DownReason.REPLACED, "")
            elif other.negotiated is None and other.postponed is None:
                if wait and not wins:
                    connection.postponed = theirs
                    self._timers.set(_Timer.COLLISION, now + COLLISION_WAIT)
                    return
            elif wins:
                self._drop(other, collision)
            else:
                self._drop(connection, collision)
                return
        connection.confirm(negotiated, self.config.send_hold_time, now)

    def _establish(self, connection: Connection, now: float) -> None:
        negotiated = connection.negotiated
        assert negotiated is not None
        collision = Notification.cease(CeaseSubcode.CONNECTION_COLLISION)
        for other in tuple(self._connections):
            if other is not connection:
                self._drop(other, collision)
        self._cancel()
        connection.state = State.ESTABLISHED
        self._established = connection
        self._up_since = now
        self.last_connect_error = ""
        self._intake = Intake(negotiated, self.config, self._table, self.counters, self._events)
        self.counters.established += 1
        self._events.append(SessionUp(connection, negotiated))
