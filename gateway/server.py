"""The listening side of the gateway: accepts hosts, keeps their connections, has pending output pulled."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from gateway.connection import Connection
from gateway.delivery import Delivery
from gateway.greeting import Greeter
from gateway.guard import Guard, Reason
from gateway.hosts import Hosts, Permit
from gateway.records import HostRecords
from gateway.refusals import RefusalLog
from gateway.resumption import Resumption
from gateway.service import Service
from gateway.session import Session
from gateway.trust import Trust
from runtime.acceptor import Acceptor
from runtime.listen import Listen
from runtime.log import fields
from xmpp.errors import StreamCondition
from xmpp.events import StreamConfig
from xmpp.jid import Jid
from xmpp.stream_management import Management

log = logging.getLogger("vrfwire.gateway.server")

SESSIONS_PER_HOST = 8
SHUTDOWN_TIME = 3.0
"""Seconds that hosts have to take the end of their streams."""


class Server:
    """Connections of hosts around one service core. Use it within one event loop."""

    sessions_per_host = SESSIONS_PER_HOST

    def __init__(
        self,
        service: Service,
        hosts: Hosts,
        stream_config: StreamConfig,
        tls: ssl.SSLContext,
        *,
        max_sessions: int = 10000,
        guard: Guard | None = None,
        resume_time: float = 0.0,
    ) -> None:
        self.service = service
        self.hosts = hosts
        self.stream_config = stream_config
        self.tls = tls
        self.max_sessions = max_sessions
        self.guard = guard or Guard()
        """Says who takes too much; without one given, rates are unlimited."""
        self.resumption = Resumption(service, stream_config.random, resume_time, most=max_sessions)
        self.records = HostRecords(service, self.resumption.waiting)
        self.resumption.on_end = self.records.tidy
        self.connections: set[Connection] = set()
        self.on_change: Callable[[], None] = _nothing
        """Called after hosts may have changed items or subscriptions, before these are delivered."""
        self.trust: Trust | None = None
        """Says whose certificate is revoked; None: nobody's."""
        self._by_session: dict[Session, Connection] = {}
        self._acceptor = Acceptor(self._accepted, log)
        self.greeter = Greeter(self)
        self._delivery = Delivery(self._announce, service.forget_serialised)
        self._stale_handle: asyncio.TimerHandle | None = None
        self._refusals = RefusalLog()
        self._loop = asyncio.get_running_loop()

    # -- life

    def listen(self, addresses: Sequence[Listen]) -> list[Listen]:
        """Start to listen; returns the addresses with the ports that were chosen for port 0. Raises OperatorError."""
        self._acceptor.listen(addresses)
        return list(self._acceptor.bound)

    def stop_listening(self) -> None:
        """Accept nothing more."""
        self._acceptor.close()

    async def stop(self) -> None:
        """End every stream with system-shutdown, give hosts SHUTDOWN_TIME to take it, and close what is left.

        Hosts keep forwarding by what they know.
        """
        self.stop_listening()
        await self.greeter.close()
        connections = list(self.connections)
        for connection in connections:
            connection.close(StreamCondition.SYSTEM_SHUTDOWN, "the gateway stops")
        if connections:
            await asyncio.wait(
                [asyncio.ensure_future(connection.wait_lost()) for connection in connections], timeout=SHUTDOWN_TIME
            )
        for connection in list(self.connections):
            connection.abort()
        # An aborted transport says so in the next turn of the loop.
        rest = [asyncio.ensure_future(connection.wait_lost()) for connection in list(self.connections)]
        if rest:
            await asyncio.wait(rest, timeout=SHUTDOWN_TIME)
        self._delivery.close()
        if self._stale_handle is not None:
            self._stale_handle.cancel()
            self._stale_handle = None

    # -- accepting

    def _accepted(self, connection: socket.socket, address: Any) -> None:
        peer, now = _peer(address), self._loop.time()
        if (refusal := self.guard.refusal(peer[0], now)) is None:
            full = len(self.connections) + len(self.greeter) >= self.max_sessions
            if not full or self.greeter.make_room(peer):
                self.greeter.accept(connection, peer)
                return
            refusal = Reason.CROWDED, f"{self.max_sessions} connections are the most"
        reason, text = refusal
        self.guard.told(reason, f"connection from {peer[0]} refused: {text}", now, peer[0])
        connection.close()

    # -- sessions

    def sessions_of(self, host: str) -> int:
        """Number of sessions of a host."""
        return self.service.connected[host]

    def supersede(self, jid: Jid) -> None:
        """A new session of this JID begins: the older one ends with `conflict`."""
        session = self.service.session_of(jid)
        if session is not None:
            self._by_session[session].close(StreamCondition.CONFLICT, "replaced by a newer session")
        now = self._loop.time()
        self.resumption.supersede(jid, now)
        self.resumption.make_room(jid.localpart, self.sessions_per_host, now)

    def resume(self, host: str, identifier: str, permit: Permit, handled: int) -> tuple[Session, Management]:
        """Go on with a session of the host, for a connection that is its own. Raises NotResumable and StreamError."""
        connection = self._by_session.get(self.resumption.find(identifier, host))
        if connection is not None:
            connection.hand_over()
        session = self.resumption.find(identifier, host)
        return session, self.resumption.resume(session, permit, handled, self._loop.time())

    def started(self, connection: Connection, session: Session) -> None:
        """A connection has become a session."""
        self._by_session[session] = connection
        # Those shown in other sessions are in the record that this one replaces.
        trust, shown = self.trust, connection.certificate
        certificates = {} if trust is None else trust.certificates(session.host, session.number, shown)
        self.records.began(session, connection.peer[0], connection.flow, certificates)

    def ended(self, connection: Connection, session: Session, *, lost: bool) -> int:
        """A session has no stream any more. lost: it may be resumed; how many of the host's items are stale by that."""
        now = self._loop.time()
        stale = self.resumption.suspend(session, now) if lost else None
        if stale is None:
            stale = self.resumption.end(session, now)
        self._by_session.pop(session, None)
        self._delivery.forget(connection)
        self.records.left(session.host)
        self.changed()
        return stale

    def weigh(self, connection: Connection, held: int) -> None:
        """So much memory is held for a connection, bytes. When it is too much of all together, the largest goes."""
        holdings = self.guard.holdings
        if not holdings.note(connection, 0 if connection.condemned else held):
            return
        largest = holdings.largest()
        largest.condemned = True
        holdings.note(largest, 0)
        host, address = largest.session.host if largest.session is not None else "", largest.peer[0]
        who = f"host {host} at {address}" if host else f"connection from {address}"
        message = f"{who} is ended: most memory of all is held for it, and there is too much"
        self.guard.told(Reason.MEMORY, message, self._loop.time(), address, host)
        self._loop.call_soon(largest.exhaust)

    def end_revoked(self) -> list[str]:
        """Other certificates are revoked than before: end their sessions, withdraw what was published in them. Names of
        the hosts that lost something by that."""
        if self.trust is None:
            return []
        hosts = []
        for connection in [one for one in self.connections if not one.ended]:
            if why := self.trust.refusal(connection.certificate, connection.peer[0], live=True):
                hosts += [connection.session.host] if connection.session is not None else []
                connection.close(StreamCondition.NOT_AUTHORIZED, why)
                if connection.session is not None:
                    connection.abort()  # its stream is ending already, and may take its time
        for host, count in self.trust.withdraw():
            self.resumption.end_host(host, self._loop.time())
            self.records.tidy(host)
            if count:
                hosts.append(host)
                log.warning(
                    "host %s: its certificate was revoked; %d of its routes are withdrawn",
                    *(host, count),
                    extra=fields(host=host),
                )
        self.changed()
        return sorted(set(hosts))

    # -- output and timers

    def changed(self) -> None:
        """Something was handled: deliver what it changed, soon."""
        self._delivery.changed()

    def wake(self, connection: Connection) -> None:
        """A session has something to pull."""
        self._delivery.wake(connection)

    def _announce(self) -> list[Connection]:
        self.on_change()
        self._refusals.write(self.service.take_refusals(), self._loop.time())
        self._arm_stale()
        return [self._by_session[session] for session in self.service.take_pending()]

    @property
    def turns(self) -> int:
        """Turns of deliveries; nudge() brings one about."""
        return self._delivery.turns

    def nudge(self) -> None:
        """Let a delivery take place, although there may be nothing to deliver."""
        self.changed()

    def _arm_stale(self) -> None:
        due = min((due for due in (self.service.timer(), self.resumption.timer()) if due is not None), default=None)
        if self._stale_handle is not None:
            if due is not None and self._stale_handle.when() == due:
                return
            self._stale_handle.cancel()
            self._stale_handle = None
        if due is not None:
            self._stale_handle = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._stale_handle = None
        # One moment for both: no session may outlive its items, not even until the next turn of the loop.
        now = self._loop.time()
        for session in self.resumption.expire(now):
            log.debug("host %s did not come back to its session", session.host, extra=fields(host=session.host))
        self.records.expire(now)
        self.changed()
        self._arm_stale()


def _nothing() -> None:
    """Nobody listens."""


def _peer(address: tuple[str, int] | tuple[str, int, int, int]) -> tuple[str, int]:
    """Address and port as text, without a zone."""
    return str(ipaddress.ip_address(address[0].partition("%")[0])), address[1]
