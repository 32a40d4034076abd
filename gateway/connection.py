"""One connection of a host: bytes between the transport and the stream core, events of the core to the service.

    transport --data_received--> ServerStream --events--> Connection --stanzas--> Service
    transport <-----write------- ServerStream <--pieces-- Session.next_output <-----+

Back-pressure: while the transport takes no more, nothing is pulled, no event is handled and nothing is read, so a host
that stopped reading costs its write buffer and one piece; the hold time of the stream ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from gateway.guard import Reason
from gateway.holdings import LITTLE
from gateway.identity import Identity, identity_of
from gateway.login import log_in
from gateway.session import Session
from gateway.throttle import Throttle
from runtime.certificates import Certificate
from runtime.credentials import read_peer
from runtime.log import fields
from runtime.socket_transport import SocketTransport
from runtime.tls import handshake_failure
from xmpp.errors import StreamCondition
from xmpp.events import (
    Acknowledged,
    Authenticated,
    BindRequested,
    EnableRequested,
    Event,
    ResumeRequested,
    SessionStarted,
    StanzaReceived,
    StreamClosed,
    TlsRequested,
)
from xmpp.stream import ServerStream

if TYPE_CHECKING:
    from gateway.greeting import Greeting
    from gateway.limits import Flow
    from gateway.server import Server

log = logging.getLogger("vrfwire.gateway.session")

WRITE_HIGH = 128 * 1024
"""Bytes unsent in a transport above which nothing more is written to it."""
WRITE_CHUNK = 64 * 1024
"""Pieces are put together up to about this size for one write."""
CHUNKS_A_TURN = 4
"""Writes to one session before the others have their turn."""


class Connection(asyncio.Protocol):
    """A connection from accept to its end. peer: the host's address and port as text."""

    def __init__(self, server: Server, peer: tuple[str, int], greeting: Greeting) -> None:
        self.server = server
        self.peer = peer
        self._greeting = greeting
        self.session: Session | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._taken: Callable[[], tuple[int, float]] | None = None  # what receiving has cost: octets, seconds
        self._stream: ServerStream | None = None
        self.certificate: Certificate | None = None
        """That the host has shown."""
        self.identity = Identity()
        """What the certificate says."""
        self.mechanism = ""
        """By which the host has proved who it is."""
        self._paused = False
        self._running = False
        self._ended = False
        self._handed_over = False
        """Its session goes on with another connection."""
        self._unsent = 0
        self._securing = False
        """A TLS handshake is under way: nothing comes, and nothing may be written."""
        self._timer: asyncio.TimerHandle | None = None
        self._lost = self._loop.create_future()
        self._throttle = Throttle(server.guard, self._loop, peer[0], self._released)
        self._input_over = False
        """The host reads nothing more: what it asks for needn't be found."""
        self._narrow = False
        self.condemned = False
        """It is about to be ended for what is held for it."""

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._taken = transport.taken if isinstance(transport, SocketTransport) else None
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)
        secure = self._read_identity()
        config, began = self.server.stream_config, self._greeting.served  # the time of its handshake counts
        self._stream = ServerStream(config, began, secure=secure, identities=self.identity.jids)
        self.server.connections.add(self)
        self._arm()
        self._refuse_revoked()

    def data_received(self, data: bytes) -> None:
        if self._stream is not None:
            now = self._loop.time()
            octets, spent = self._taken() if self._taken is not None else (len(data), 0.0)
            if not self._throttle.received(octets):
                self._stream.close(now, StreamCondition.POLICY_VIOLATION, "too much was sent before the login")
            self._stream.receive_data(data, now)
            self._run(now - spent)

    def eof_received(self) -> None:
        self._input_over = True
        self._end_of_input()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._input_over = True
        self._end_of_input()
        self._end("the connection was lost")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.server.guard.holdings.note(self, 0)
        self.server.connections.discard(self)
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()
        self._weigh()

    def resume_writing(self) -> None:
        self._paused = False
        self._resume_reading()
        self.run()

    # -- for the server

    def close(self, condition: StreamCondition, text: str) -> None:
        """End the stream with a stream error."""
        if self._stream is not None and not self._ended:
            self._stream.close(self._loop.time(), condition, text)
            self._input_over = True  # nothing is sent any more: what has come is handled now, before any other session
            self._end_of_input()

    def hand_over(self) -> None:
        """End the stream; its session, if it is there yet, waits for another connection."""
        self._handed_over = True
        self.close(StreamCondition.CONFLICT, "its session goes on with another connection")

    def exhaust(self) -> None:
        """End it, since too much memory is held for it: what it holds has to go, whether it reads or not."""
        unread = self._transport is not None and self._transport.get_write_buffer_size() > 0
        self.close(StreamCondition.RESOURCE_CONSTRAINT, "too much memory is held for this connection")
        if unread:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def flow(self) -> Flow | None:
        """What its host takes, once it is a session."""
        return self._throttle.flow

    @property
    def ended(self) -> bool:
        """Whether its stream is over; what is left is to send the end."""
        return self._ended

    async def wait_lost(self) -> None:
        """Until the transport is gone."""
        await asyncio.shield(self._lost)

    def run(self) -> None:
        """Handle what the stream core has, send what is owed, and set the timer."""
        self._run(self._loop.time())

    def _run(self, began: float) -> None:
        if self._running:
            return
        self._running = True
        self._throttle.turn(began)
        try:
            self._drain_events()
            self._write()
        finally:
            self._running = False
        self._settle()
        self._arm()
        if self.session is not None and self.session.pending:
            self.server.wake(self)
        self.server.changed()

    def _settle(self) -> None:
        """Charge the host for what it has taken, and look what is held for it."""
        if why := self._throttle.settle(self._loop.time()):
            self.close(StreamCondition.POLICY_VIOLATION, why)
        elif self._throttle.held and self._transport is not None and self._stream is not None:
            self._transport.pause_reading()
            self._stream.deaf(self._throttle.until)
        self._weigh()

    def _released(self) -> None:
        """The throttle lets it go on."""
        self._throttle.turn(self._loop.time())
        self._resume_reading()
        self.run()

    def _resume_reading(self) -> None:
        transport = self._transport
        if transport is not None and not (transport.is_closing() or self._paused or self._throttle.held):
            transport.resume_reading()

    def _weigh(self) -> None:
        """Tell what memory is held for it; when that is too much of all, the largest goes."""
        held = self._stream.held if self._stream is not None and not self._ended else 0
        if self._transport is not None:
            held += self._transport.get_write_buffer_size()
        self.server.weigh(self, held)

    def pull(self) -> None:
        """Send what the session is owed, while the transport takes it."""
        if self._narrow is not self.server.guard.holdings.high and self._transport is not None:
            # Little memory is left: what is owed stays a cursor for longer.
            self._narrow = not self._narrow
            self._transport.set_write_buffer_limits(high=LITTLE if self._narrow else WRITE_HIGH)
        session, stream, more = self.session, self._stream, True
        for _ in range(CHUNKS_A_TURN):
            if session is None or stream is None or self._paused:
                return
            size = 0
            while more and size < WRITE_CHUNK and (piece := session.next_output()):
                stream.send_stanza(piece)
                size += len(piece)
                more = session.pending
            if not size:
                return
            self._write()
            if not more or self.session is not session:
                return
        self.server.wake(self)

    # -- events of the stream core

    def _drain_events(self) -> None:
        while self._stream is not None and not self._paused and not self._throttle.held:
            event = self._stream.next_event()
            if event is None:
                return
            self._handle(self._stream, event)
            if self._unsent >= WRITE_CHUNK:
                self._write()

    def _handle(self, stream: ServerStream, event: Event) -> None:
        now = self._loop.time()
        match event:
            case StanzaReceived(stanza):
                assert self.session is not None
                unread = self._input_over and stanza.type == "get"
                if unread and (self._throttle.overdue(now) or not self.session.recoverable):
                    self.session.lose_answer()
                    return
                try:
                    self.server.service.handle(self.session, stanza, now)
                except Exception:
                    extra = fields(peer=self.peer[0], host=self.session.host)
                    log.exception("host %s: error of this server; its stream ends", self.session.host, extra=extra)
                    stream.close(now, StreamCondition.INTERNAL_SERVER_ERROR, "error of this server")
                else:
                    before = self._unsent
                    self.send_replies()
                    if not self._input_over:
                        self._throttle.handled(self._unsent - before, self._loop.time())
            case TlsRequested():
                self._begin_tls()
            case Authenticated() | BindRequested() | SessionStarted() | ResumeRequested():
                log_in(self, stream, event, now)
            case EnableRequested(wish):
                assert self.session is not None
                stream.accept_enable(now, self.server.resumption.enable(self.session, wish))
            case Acknowledged(marks):
                assert self.session is not None
                self.session.acknowledged(marks)
            case StreamClosed(condition, text, by_peer, lost):
                if condition is not None and not by_peer:
                    self.server.guard.errors[condition] += 1
                reason = ": ".join(part for part in (condition, text) if part) or "closed"
                self._end(f"{reason} by the host" if by_peer else reason, lost=lost)

    def begin(self, session: Session, how: str, now: float) -> None:
        """The connection has a session from now on. how: for the log."""
        self.session = session
        self._throttle.begin(session.host, now)
        self.server.started(self, session)
        self.server.greeter.settled(self._greeting)
        who = session.host, how, session.jid, self.mechanism, self.peer[0]
        log.info("host %s %s %s by %s from %s", *who, extra=fields(peer=self.peer[0], host=session.host))

    def _end_of_input(self) -> None:
        if self._stream is not None and not self._stream.closed:
            self._stream.receive_eof(self._loop.time())
        # What it still sent counts, even when it reads no more.
        self._paused = False
        self._throttle.free()
        self.run()

    def _end(self, reason: str, *, lost: bool = False) -> None:
        """The stream is over: give up the session, send the rest, and then close. lost: the session may be resumed."""
        if self._ended:
            return
        self._ended = True
        now = self._loop.time()
        self._throttle.end(now)
        wanted = self.server.greeter.settled(self._greeting)
        session, self.session = self.session, None
        if session is not None:
            stale = self.server.ended(self, session, lost=lost or self._handed_over)
            extra = fields(peer=self.peer[0], host=session.host)
            log.info("host %s disconnected (%s); %d of its routes are stale", session.host, reason, stale, extra=extra)
        elif wanted:
            message = f"connection from {self.peer[0]} ended: {reason}"
            self.server.guard.told(Reason.LOGIN, message, now, self.peer[0])
        self._write()
        if self._transport is not None:
            self._transport.close()
            # A peer that doesn't take the rest must not keep the connection.
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self.server.stream_config.close_timeout, self.abort)

    # -- output

    def _write(self) -> None:
        if self._stream is not None and self._transport is not None and not self._securing:
            data = self._stream.data_to_send()
            self._unsent = 0
            if data:
                self._transport.write(data)

    def send_replies(self) -> None:
        """Answers leave before the next stanza is handled, so what a host asks for is bounded by what it reads."""
        assert self._stream is not None
        while self.session is not None and (reply := self.session.next_reply()):
            self._stream.send_stanza(reply)
            self._unsent += len(reply)

    # -- TLS

    def _read_identity(self) -> bool:
        """Whether the transport is TLS; its certificate's identity is kept."""
        assert self._transport is not None
        if (tls := self._transport.get_extra_info("ssl_object")) is None:
            return False
        der = tls.getpeercert(binary_form=True)
        self.certificate = read_peer(der)
        # A certificate that can't be looked up in a list proves nothing, even if others have understood it.
        known = der if self.certificate is not None else None
        self.identity = identity_of(known, self.server.stream_config.domain)
        return True

    def _refuse_revoked(self) -> None:
        """End a connection whose certificate is revoked, and say why."""
        if self.server.trust is not None and (why := self.server.trust.refusal(self.certificate, self.peer[0])):
            self.close(StreamCondition.NOT_AUTHORIZED, why)

    def _begin_tls(self) -> None:
        """Have the transport become TLS, behind <proceed/>."""
        assert isinstance(self._transport, SocketTransport)
        self._write()
        self._securing = True
        self._transport.start_tls(self.server.tls, self._secured)

    def _secured(self, error: OSError | None) -> None:
        """The handshake has ended."""
        assert self._stream is not None
        self._securing = False
        if error is not None:
            log.info("TLS with %s failed: %s", self.peer[0], handshake_failure(error), extra=fields(peer=self.peer[0]))
            self._end_of_input()
            return
        self._read_identity()
        self._stream.tls_started(self._loop.time(), self.identity.jids)
        self._refuse_revoked()
        self.run()

    # -- timer

    def _arm(self) -> None:
        """Have _tick called when the stream core wants. A timer that is too early is left: it only looks."""
        due = self._stream.get_timer() if self._stream is not None and not self._ended else None
        if due is None:
            return
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._stream is not None and self._transport is not None:
            self._stream.handle_timer(self._loop.time())
            if self._stream.closed:
                self._paused = False  # nobody reads: what is left to do is to end it
                self._throttle.free()
                self.run()
            else:
                # A ping at most: there is nothing to handle, and nothing has changed by that.
                self._write()
                self._stream.rest()
            self._arm()
