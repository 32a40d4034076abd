"""One BGP peer at work: its session (bgp.session), its transports, its place in the tables.

Whatever comes in is handled to its end at once: input, the events that the session makes of it, what is to be written.
An error of our own is logged with its traceback and costs this peer its session; no other peer sees anything of it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol

from bgp.connection import Connection
from bgp.errors import CeaseSubcode
from bgp.events import (
    ConnectCancelled,
    ConnectionClosed,
    ConnectRequested,
    Event,
    FamilyDisabled,
    RefreshReceived,
    SessionDown,
    SessionUp,
    UpdateReceived,
)
from bgp.family import Family
from bgp.negotiation import Negotiated
from bgp.notification import Notification
from bgp.rib.rib import Rib
from bgp.session import Session
from gateway import peer_socket
from gateway.peer_config import PeerSection, PeerSettings
from gateway.peer_dialler import Dialler
from gateway.peer_transport import PeerTransport
from runtime.log import fields

log = logging.getLogger("vrfwire.gateway.bgp")

P = ParamSpec("P")

CHUNK = 64 * 1024
"""Bytes of one write."""
CRASH_REST = 10.0
"""Seconds that a session rests after an error of our own."""
REPEAT = 300.0
"""Seconds until a failure that goes on is logged again."""


class Owner(Protocol):
    """What a peer uses of the speaker."""

    rib: Rib
    buffer: memoryview
    counters: Counter[str]

    def wake(self) -> None:
        """There is work in the tables, or another time to wake up."""

    def session_up(self, peer: PeerRuntime, negotiated: Negotiated) -> None:
        """A session has come up, and the tables know it."""


def _guarded(method: Callable[Concatenate[PeerRuntime, P], None]) -> Callable[Concatenate[PeerRuntime, P], None]:
    """Where the loop enters: an error ends this peer's session, and nothing else."""

    def entry(self: PeerRuntime, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            self.crashed()

    entry.__doc__ = method.__doc__
    return entry


class PeerRuntime:
    """section: its configuration; session: its FSM."""

    def __init__(self, owner: Owner, settings: PeerSettings, session: Session) -> None:
        self.settings = settings
        self.session = session
        self.failure = ""
        """Why this gateway itself has ended the session, until it comes up again."""
        self.unreachable = ""
        """What the kernel says about segments that don't arrive, until a connection is open (gateway.peer_watch)."""
        self.timed_out = False
        """The last attempt to connect got no answer at all."""
        self.since = time.time()
        """When the session came up or went down, Unix time."""
        self.changed_at = asyncio.get_running_loop().time()
        """The same by the loop's clock."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._dialler = Dialler(self._make_transport, self._dial_failed)
        self._transports: set[PeerTransport] = set()
        self._reported: dict[str, float] = {}
        """What the log had of late about why there is no session, and when."""

    @property
    def name(self) -> str:
        """What commands call it."""
        return self.settings.name

    @property
    def section(self) -> PeerSection:
        """Its configuration."""
        return self.settings.section

    @property
    def address(self) -> bytes:
        """Packed."""
        return self.settings.link.address.packed

    @property
    def problem(self) -> str:
        """What an operator should know, "" if nothing."""
        return self.failure or self.unreachable

    @property
    def is_up(self) -> bool:
        """Whether routes flow."""
        return self.session.connection is not None

    @property
    def transport(self) -> PeerTransport | None:
        """By which routes flow."""
        connection = self.session.connection
        transport = connection.transport if connection is not None else None
        return transport if isinstance(transport, PeerTransport) else None

    # -- commands

    @_guarded
    def start(self) -> None:
        """Bring the session up; also ends a rest."""
        self.session.start(self._loop.time())
        self._drain()

    @_guarded
    def stop(self, subcode: CeaseSubcode, text: str, *, hard: bool | None = None) -> None:
        """Take the session down with a NOTIFICATION."""
        self.session.stop(self._loop.time(), subcode, text, hard=hard)
        self._drain()

    @_guarded
    def leave(self, text: str) -> None:
        """Take the session down so that a peer with graceful restart keeps our routes (RFC 4724, section 4).

        Most peers do so only for a connection that ends without a NOTIFICATION.
        """
        now = self._loop.time()
        negotiated = self.session.negotiated
        connection = self.session.connection
        if connection is not None and negotiated is not None and negotiated.graceful_restart is not None:
            self.session.receive_eof(connection, now, text)
        self.session.stop(now, CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, text)
        self._drain()

    @_guarded
    def reset(self, text: str = "", *, hard: bool = False) -> None:
        """Take the session down and bring it up again; one that is down or rests is tried at once."""
        now = self._loop.time()
        self.failure = ""
        if self.session.connections:
            self.session.reset(now, text, hard=hard)
        else:
            self.session.stop(now)
            self.session.start(now)
        self._drain()

    @_guarded
    def fail(self, notification: Notification, text: str, restart_after: float | None) -> None:
        """End the session for a reason of ours."""
        self.session.fail(self._loop.time(), notification, text, restart_after)
        self._drain()

    def request_refresh(self, family: Family) -> bool:
        """Ask for all routes of a family again; whether that can be asked."""
        asked = self.session.request_refresh(family)
        self.flush()
        return asked

    def change(self, settings: PeerSettings) -> None:
        """Go on with other settings; the session begins anew where they matter to it."""
        old, self.settings = self.settings, settings
        self._owner.rib.peers[self.name].take_policy(settings.policy)
        if (old.link, old.session) == (settings.link, settings.session):
            return
        self.session.config = settings.session
        self.stop(CeaseSubcode.OTHER_CONFIGURATION_CHANGE, "", hard=False)
        self.failure = self.unreachable = ""
        self.start()

    async def wait_closed(self, timeout: float) -> None:
        """Until all sockets are closed; those that aren't in time are aborted."""
        await self._dialler.close()
        for wait in (timeout, 1.0):
            waiting = [transport.lost for transport in self._transports]
            if waiting:
                await asyncio.wait(waiting, timeout=wait)
            for transport in list(self._transports):
                transport.abort()

    # -- connections

    def _make_transport(self, outgoing: bool) -> PeerTransport:
        return PeerTransport(self, self._owner.buffer, outgoing=outgoing)

    def _dial(self) -> None:
        link = self.settings.link
        if self._dialler.is_dialling:
            self.timed_out = True
            self.session.last_connect_error = f"no answer from {link.address} port {link.port}"
            self._report(self.session.last_connect_error)
        self._dialler.dial(link)

    @_guarded
    def _dial_failed(self, error: OSError) -> None:
        link = self.settings.link
        where = f"{link.address} port {link.port}"
        if error.errno == errno.EADDRNOTAVAIL and link.local_address is not None:
            where = f"local_address {link.local_address}"
        self.timed_out = error.errno == errno.ETIMEDOUT
        text = f"{where}: {os.strerror(error.errno) if error.errno else error}"
        self.session.connect_failed(self._loop.time(), text)
        self._report(text)
        self._drain()

    def accept(self, sock: socket.socket) -> None:
        """The peer has opened a connection."""
        try:
            peer_socket.prepare(sock, self.settings.link)
        except OSError as error:
            sock.close()
            self._report(str(error))
            if isinstance(error, peer_socket.FarAway):
                self.unreachable = str(error)
            return
        self._dialler.adopt(sock)

    @_guarded
    def opened(self, transport: PeerTransport) -> None:
        """A transport is connected."""
        self._transports.add(transport)
        transport.lost.add_done_callback(lambda _: self._transports.discard(transport))
        self.timed_out = False
        now = self._loop.time()
        connection = self.session.connected(now) if transport.outgoing else self.session.accepted(now)
        if connection is None:
            self._owner.counters["refused/session at rest"] += not transport.outgoing
            transport.finish()
            return
        self.unreachable = ""
        connection.transport = transport
        transport.connection = connection
        self._drain()

    @_guarded
    def received(self, transport: PeerTransport, data: bytes) -> None:
        """Bytes came."""
        if transport.connection is not None:
            self.session.receive_data(transport.connection, data, self._loop.time())
            self._drain()

    @_guarded
    def ended(self, transport: PeerTransport, why: str) -> None:
        """A transport has ended."""
        if transport.connection is not None:
            self.session.receive_eof(transport.connection, self._loop.time(), why)
            self._drain()

    @_guarded
    def writable(self, transport: PeerTransport) -> None:
        """A transport takes more."""
        self._write(transport)

    @_guarded
    def handle_timer(self, now: float) -> None:
        """Fire what is due."""
        if (due := self.session.get_timer()) is not None and due <= now:
            self.session.handle_timer(now)
            self._drain()

    # -- output

    @_guarded
    def flush(self) -> None:
        """Write what may be written."""
        for connection in self.session.connections:
            if isinstance(connection.transport, PeerTransport):
                self._write(connection.transport)

    def _write(self, transport: PeerTransport) -> None:
        connection = transport.connection
        if connection is None:
            return
        routes = connection is self.session.connection
        took = False
        while not transport.paused:
            if routes and connection.queued < CHUNK and (messages := self._owner.rib.take(self.name, CHUNK)):
                self.session.send(messages)
                took = True
            data = connection.data_to_send(CHUNK)
            if not data:
                break
            transport.write(data)
        if took:
            # There is room again for what the tables hold back.
            self._owner.wake()

    # -- events

    def _drain(self) -> None:
        """Carry out what the session says, then write and have the rest done soon."""
        now = self._loop.time()
        session, rib, name = self.session, self._owner.rib, self.name
        while (event := session.next_event()) is not None:
            if type(event) is UpdateReceived:
                rib.update(name, event.update)
            else:
                self._handle(event, now)
        self.flush()
        self._owner.wake()

    def _handle(self, event: Event, now: float) -> None:
        rib, name = self._owner.rib, self.name
        match event:
            case ConnectRequested():
                self._dial()
            case ConnectCancelled():
                self._dialler.cancel()
            case ConnectionClosed(connection):
                self._close(connection)
            case SessionUp(_, negotiated):
                rib.session_up(name, negotiated, now)
                self._came_up(negotiated)
                self._owner.session_up(self, negotiated)
            case SessionDown():
                if event.negotiated is not None:
                    rib.session_down(name, event.preserved, now)
                self._went_down(event)
            case RefreshReceived(family, kind):
                log.debug("%s: route refresh, %s of %s", name, kind.name.lower(), family, extra=fields(peer=name))
                rib.refresh(name, family, kind, now)
            case FamilyDisabled(family, malformation):
                log.error("%s: %s is off: %s", name, family, malformation.why, extra=fields(peer=name))
                rib.disable_family(name, family)

    @staticmethod
    def _close(connection: Connection) -> None:
        transport = connection.transport
        if isinstance(transport, PeerTransport):
            transport.finish(connection.data_to_send())

    def _came_up(self, negotiated: Negotiated) -> None:
        self.failure = ""
        self._reported.clear()
        self._changed()
        transport = self.transport
        where = f" by {transport.local[0]} port {transport.local[1]}" if transport is not None else ""
        families = ", ".join(sorted(map(str, negotiated.families)))
        log.info(
            "session with %s is up%s: %s, hold time %d s",
            *(self.name, where, families, negotiated.hold_time),
            extra=fields(peer=self.name),
        )

    def _went_down(self, down: SessionDown) -> None:
        text = down.describe()
        if down.negotiated is None:
            self._report(text)
            return
        self._changed()
        kept = ", ".join(sorted(map(str, down.preserved)))
        rest = f"; its routes stay for its return ({kept})" if kept else ""
        log.warning("session with %s is down: %s%s", self.name, text, rest, extra=fields(peer=self.name))

    def _changed(self) -> None:
        self.since = time.time()
        self.changed_at = self._loop.time()

    def _report(self, text: str) -> None:
        """Log why there is no session, unless that was said of late: attempts often fail in turns in two ways."""
        now = self._loop.time()
        recent = {said: at for said, at in self._reported.items() if now - at < REPEAT}
        if text not in recent:
            recent[text] = now
            log.info("no session with %s: %s", self.name, text, extra=fields(peer=self.name))
        self._reported = dict(list(recent.items())[-32:])

    def crashed(self) -> None:
        """An exception that nobody expected: give up the session. Call it while the exception is handled."""
        log.exception("%s: error of this gateway; the session is reset", self.name, extra=fields(peer=self.name))
        self._owner.counters["errors"] += 1
        self.failure = "an error of this gateway ended the session; the journal has a traceback"
        now = self._loop.time()
        try:
            cease = Notification.cease(CeaseSubcode.OUT_OF_RESOURCES)
            self.session.fail(now, cease, "error of the gateway", CRASH_REST)
            while (event := self.session.next_event()) is not None:
                if isinstance(event, ConnectionClosed):
                    self._close(event.connection)
            self._dialler.cancel()
            for transport in list(self._transports):
                # Those that have a NOTIFICATION to send end by themselves.
                transport.finish()
            if self._owner.rib.peers[self.name].negotiated is not None:
                self._owner.rib.session_down(self.name, frozenset(), now)
                self._changed()
        except Exception:
            log.exception("%s: and a second error", self.name, extra=fields(peer=self.name))
            for transport in list(self._transports):
                transport.abort()
        self._owner.wake()
