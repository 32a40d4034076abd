"""From the proof of who a host is to its session: admission, binding, and resuming an earlier session."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.guard import Reason
from gateway.hosts import Permit
from gateway.resumption import NotResumable
from runtime.log import fields
from vpn.prefix import parse_address
from xmpp.errors import StreamCondition, StreamError
from xmpp.events import Authenticated, BindRequested, ResumeRequested, SessionStarted
from xmpp.jid import Jid
from xmpp.stanza import Condition, StanzaError
from xmpp.stream import ServerStream

if TYPE_CHECKING:
    from gateway.connection import Connection

log = logging.getLogger("vrfwire.gateway.session")

LoginEvent = Authenticated | BindRequested | SessionStarted | ResumeRequested


def log_in(connection: Connection, stream: ServerStream, event: LoginEvent, now: float) -> None:
    """Answer what the stream of a connection asks on its way to a session, and give it the session."""
    match event:
        case Authenticated(jid, mechanism):
            connection.mechanism = mechanism
            log.debug("%s authenticated by %s", jid, mechanism, extra=fields(peer=connection.peer[0]))
            _admit(connection, stream, jid.localpart, now)
        case BindRequested(jid):
            _bind(connection, stream, jid, now)
        case SessionStarted(jid):
            session = connection.server.service.open(jid, _permit(connection, jid.localpart), now)
            connection.begin(session, "connected as", now)
        case ResumeRequested():
            _resume(connection, stream, event, now)


def _admit(connection: Connection, stream: ServerStream, host: str, now: float) -> None:
    """Let a host in that has proved who it is; one that comes too often has to wait."""
    server, address = connection.server, connection.peer[0]
    wait = server.guard.limiter.login(host, now)
    if not wait:
        stream.accept_auth(now)
        return
    message = f"host {host} at {address} logs in too often: it waits {wait:.1f} s"
    server.guard.told(Reason.LOGIN_RATE, message, now, address, host)
    if wait < server.stream_config.login_timeout:
        asyncio.get_running_loop().call_later(wait, _admit_now, connection, stream)
    else:
        stream.close(now, StreamCondition.POLICY_VIOLATION, f"logs in too often; try again in {wait:.0f} s")


def _admit_now(connection: Connection, stream: ServerStream) -> None:
    if not stream.closed:
        stream.accept_auth(asyncio.get_running_loop().time())
        connection.run()


def _bind(connection: Connection, stream: ServerStream, jid: Jid, now: float) -> None:
    server = connection.server
    server.supersede(jid)
    others = server.sessions_of(jid.localpart)
    if others >= server.sessions_per_host:
        text = f"host {jid.localpart} has {others} sessions, which is the most allowed"
        stream.reject_bind(now, StanzaError(Condition.RESOURCE_CONSTRAINT, text))
    else:
        stream.accept_bind(now)


def _permit(connection: Connection, host: str) -> Permit:
    certified = connection.identity.addresses if connection.mechanism == "EXTERNAL" else frozenset()
    return connection.server.hosts.permit(host, certified, parse_address(connection.peer[0]))


def _resume(connection: Connection, stream: ServerStream, wanted: ResumeRequested, now: float) -> None:
    host = wanted.jid.localpart
    try:
        session, management = connection.server.resume(host, wanted.id, _permit(connection, host), wanted.handled)
    except NotResumable as error:
        log.info("host %s can't go on with its session: %s", host, error, extra=fields(host=host))
        stream.reject_resume(now, error.handled)
    except StreamError as error:
        stream.fail(error)
    else:
        # What comes along with <resume/> waits in the stream, and what was lost goes first.
        connection.begin(session, "resumed its session as", now)
        stream.accept_resume(now, session.jid, management)
        connection.send_replies()
