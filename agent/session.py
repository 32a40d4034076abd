"""The session with one gateway: connects, logs in, watches, and connects again, for ever.

    DOWN --wait--> CONNECTING --logged in--> WAITING --the service is there--> CONNECTED --lost--> DOWN
                       +--refused, timed out----+--<--dismissed by the service-----+                ^
                       +---------------------------------------------------------------------------+

A gateway that is an XMPP server of its own is its own service, and there once the login is. Behind another server the
session is begun and ended by presence (docs/component.md), and the login outlives it.

A connection that is cut, and was acknowledged (XEP-0198), is tried once more before anybody is told: the gateway may
have kept the stream, and then nothing starts over. In any other case the next session starts from nothing.

What slixmpp lacks is here: a limit on the time of a login (a server that accepts and says nothing), liveness by pings
(XEP-0199) within a hold time, waits with jitter between connections (agent.reconnect).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import logging
import os
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from agent.reconnect import Loss, Lost, Reconnect, loss_of
from agent.requests import Request
from agent.session_values import Answered, SessionListener, SessionSettings, SessionState
from agent.stanzas import noticed, payload, ping, refusal
from agent.tls import tls_context
from runtime.config import read_secret
from runtime.errors import OperatorError
from runtime.log import fields
from runtime.tls import plain_words
from xmpp.errors import StreamError
from xmpp.liveness import Liveness, Verdict
from xmpp.notices import read_notices
from xmpp.notification import parse_event
from xmpp.stanza import Condition

if TYPE_CHECKING:
    from agent.stream import Presence, Stream

log = logging.getLogger("vrfwire.agent.session")

_RESUMPTIONS = 3
"""Connections that don't last, one after the other, until the stream is no longer resumed: it may be the stream."""
_ABSENT = frozenset(
    (
        Condition.SERVICE_UNAVAILABLE,
        Condition.RECIPIENT_UNAVAILABLE,
        Condition.REMOTE_SERVER_NOT_FOUND,
        Condition.REMOTE_SERVER_TIMEOUT,
    )
)
"""What a server answers to a ping of a component that isn't connected to it."""


class Session:
    """One gateway. The listener is told of every session; requests can be sent while there is one.

    refusal: why a gateway with this certificate (DER) is not believed, "" when it is; told whether it was until now.
    """

    def __init__(
        self,
        settings: SessionSettings,
        listener: SessionListener,
        refusal: Callable[[bytes | None, bool], str] = lambda der, live: "",
    ) -> None:
        self.settings = settings
        self.state = SessionState.DOWN
        self.since = time.time()
        """Wall clock of the last change of state."""
        self.last_error = ""
        self._listener = listener
        self._refusal = refusal
        self._reconnect = Reconnect(settings.reconnect_min, settings.reconnect_max, settings.reconnect_spread)
        self._extra = fields(peer=settings.address, gateway=settings.address)
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._ended: asyncio.Future[Lost] | None = None
        self._logged_in: asyncio.Future[bool] | None = None
        """Its result: whether the stream was resumed."""
        self._answer: asyncio.Future[str] | None = None
        """Of the service to our presence, or its dismissal while there is a session; why, or "" when we are welcome."""
        self._presences = map(str, itertools.count(1))
        self._presence = ""
        self._disconnected = asyncio.Event()
        self._live = False
        """The listener was told of a session, and not yet of its end."""
        self._began: float | None = None
        """When there was a session on this connection, by the loop's clock; None: there was none yet."""
        self._liveness = Liveness(0, 0)

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"session {self.settings.address}")

    async def stop(self) -> None:
        """Close the stream, so that the gateway needn't find out by itself; nothing is withdrawn."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            await asyncio.wait([task])
        if self._stream is not None and self._stream.is_connected():
            self._stream.disconnect(0.2, ignore_send_queue=True)
            await self._gone(0.5)
        await self._close()
        self._live = False
        self.state = SessionState.DOWN

    def request(self, request: Request, on_answer: Answered) -> None:
        """Send a request; on_answer is called with None or the refusal, unless the session ends before."""
        if self._stream is not None and self._live:
            kind, element = payload(request, self.settings.identity)
            self._stream.request(kind, element, lambda answer: on_answer(refusal(answer)))

    def check_gateway(self) -> None:
        """Others may be believed than before: end the session if the gateway isn't one of them."""
        if self._stream is not None and self.state is SessionState.CONNECTED:
            why = self._refusal(self._stream.peer_certificate, True)
            if why:
                self._end(why)

    @property
    def conflicted(self) -> bool:
        """Whether somebody else logs in by the name of this host, as far as the last sessions tell."""
        connected = self.state is SessionState.CONNECTED
        return self._reconnect.conflicts > 0 and not (connected and time.time() - self.since >= self._reconnect.settled)

    # -- the life of sessions

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # Seconds on a slow machine: the loop goes on meanwhile.
        module = await asyncio.to_thread(importlib.import_module, "agent.stream")
        while True:
            self._began = None
            try:
                await self._serve(await self._login(module))
            except Lost as lost:
                reason, loss = str(lost), lost.loss
            except (OperatorError, OSError) as error:
                reason, loss = str(error), Loss.FAILED
            except Exception as error:
                # Whatever a library may raise: the other gateways and the datapath are not to suffer.
                log.exception("gateway %s: session failed", self.settings.address, extra=self._extra)
                reason, loss = f"internal error: {error}", Loss.FAILED
            finally:
                self._set_state(SessionState.DOWN)
            lasted = 0.0 if self._began is None else loop.time() - self._began
            wait = self._reconnect.wait(loss, lasted)
            if reason != self.last_error or self._began is not None:
                log.warning("gateway %s: %s", self.settings.address, reason, extra=self._extra)
            self.last_error = reason
            if self._began is None or loss is not Loss.CUT or not self._resumable():
                self._over(reason)
                if self._stream is not None:
                    self._stream.give_up()
            await self._close()
            await asyncio.sleep(wait)

    def _resumable(self) -> bool:
        """Whether the next login may go on with the session."""
        stream = self._stream
        return self._live and stream is not None and stream.resumable and self._reconnect.failures <= _RESUMPTIONS

    def _set_state(self, state: SessionState) -> None:
        if state is not self.state:
            self.state = state
            self.since = time.time()

    async def _login(self, module: Any) -> bool:
        """Connect and log in; returns whether the last session goes on. Raises Lost, OperatorError, OSError."""
        self._set_state(SessionState.CONNECTING)
        settings = self.settings
        stream = self._stream
        if stream is None:
            stream = self._stream = self._make_stream(module)
        # Read again for every connection: certificates are renewed under a running daemon.
        stream.ssl_context = tls_context(settings.ca, settings.certificate, settings.key)
        loop = asyncio.get_running_loop()
        self._ended, self._logged_in = loop.create_future(), loop.create_future()
        self._disconnected.clear()
        stream.connect(settings.address, settings.port)
        outcomes: list[asyncio.Future[Any]] = [self._ended, self._logged_in]
        patience = self._reconnect.patience(settings.login_time)
        await asyncio.wait(outcomes, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            raise self._ended.result()
        if not self._logged_in.done():
            raise Lost(f"no session within {patience:g} s", Loss.SLOW)
        return self._logged_in.result()

    def _make_stream(self, module: Any) -> Stream:
        settings = self.settings
        password = "" if settings.password_file is None else read_secret(settings.password_file)
        stream: Stream = module.Stream(
            settings.identity.jid,
            password,
            service=settings.service,
            direct_tls=not settings.starttls,
            on_message=self._message,
            on_presence=self._on_presence,
            on_heard=self._on_heard,
            on_error=self._on_stream_error,
            on_fault=self._on_fault,
        )
        stream.add_event_handler("session_start", lambda _: self._on_login(False))
        stream.add_event_handler("session_resumed", lambda _: self._on_login(True))
        stream.add_event_handler("disconnected", self._on_disconnected)
        stream.add_event_handler("connection_failed", self._on_connection_failed)
        stream.add_event_handler("failed_auth", self._on_failed_auth)
        stream.add_event_handler("failed_all_auth", lambda _: self._end("login refused"))
        stream.add_event_handler("ssl_invalid_chain", lambda error: self._end(f"TLS: {error}"))
        return stream

    async def _serve(self, resumed: bool) -> None:
        """Sessions on one connection; always raises Lost."""
        assert self._stream is not None
        address = self.settings.address
        if not resumed:
            self._over(self.last_error)
            self._stream.begin()
        while True:
            if not resumed:
                await self._enter()
            log.info("gateway %s: session %s", address, "resumed" if resumed else "up", extra=self._extra)
            self._set_state(SessionState.CONNECTED)
            self._began = asyncio.get_running_loop().time()
            self._live = True
            if resumed:
                self._listener.session_resumed()
            else:
                self._listener.session_started()
            resumed = False
            self.last_error = await self._watch()
            log.warning("gateway %s: %s", address, self.last_error, extra=self._extra)
            self._set_state(SessionState.WAITING)
            self._over(self.last_error)
            # All of its hosts were told so.
            await self._pause(self._reconnect.wait(Loss.SHUTDOWN))

    def _over(self, reason: str) -> None:
        """The session, if there is one, is over for those above."""
        if self._live:
            self._live = False
            if self._stream is not None:
                self._stream.forget_requests()
            self._listener.session_ended(reason)

    async def _enter(self) -> None:
        """Directed presence to the service; returns when there is a session with it. Raises Lost."""
        assert self._stream is not None
        settings = self.settings
        waits = Reconnect(settings.reconnect_min, settings.reconnect_max, settings.reconnect_spread)
        while True:
            self._answer = asyncio.get_running_loop().create_future()
            self._presence = next(self._presences)
            self._stream.greet(self._presence)
            if not settings.component:
                return
            self._set_state(SessionState.WAITING)
            if not await self._wait(self._answer, settings.login_time):
                raise Lost(f"service {settings.service} doesn't answer", Loss.SLOW)
            if not (why := self._answer.result()):
                self._answer = asyncio.get_running_loop().create_future()
                return
            if why != self.last_error:
                log.warning("gateway %s: %s", settings.address, why, extra=self._extra)
            self.last_error = why
            await self._pause(waits.wait(Loss.FAILED))

    async def _watch(self) -> str:
        """Keep the session alive until the service ends it; returns why. Raises Lost."""
        assert self._stream is not None and self._answer is not None
        hold = self.settings.hold_time
        loop = asyncio.get_running_loop()
        self._liveness = Liveness(hold, loop.time())
        while True:
            at = self._liveness.timer()
            assert at is not None, "the hold time is more than nothing"
            if await self._wait(self._answer, max(0.0, at - loop.time())):
                return self._answer.result()
            verdict = self._liveness.judge(loop.time())
            if verdict is Verdict.DEAD:
                raise Lost(f"heard nothing for {hold:g} s", Loss.FAILED)
            self.check_gateway()
            if verdict is Verdict.PING:
                self._stream.request(*ping(), self._on_pong)
                self._stream.ask_for_acknowledgement()

    async def _wait(self, outcome: asyncio.Future[str], timeout: float) -> bool:
        """Whether the outcome has come within timeout. Raises Lost at the end of the connection."""
        assert self._ended is not None
        both: list[asyncio.Future[Any]] = [self._ended, outcome]
        await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            raise self._ended.result()
        return outcome.done()

    async def _pause(self, seconds: float) -> None:
        """Raises Lost when the connection ends meanwhile."""
        await self._wait(asyncio.get_running_loop().create_future(), seconds)

    async def _close(self) -> None:
        """Leave no connection and no attempt behind."""
        stream = self._stream
        if stream is None:
            return
        try:
            stream.cancel_connection_attempt()
            if stream.is_connected():
                stream.abort()
                await self._gone(2.0)
        except Exception:
            # The next session has a client of its own, and there is one in any case.
            log.exception("gateway %s: connection not closed", self.settings.address, extra=self._extra)
            self._over(self.last_error)
            self._stream = None

    async def _gone(self, most: float) -> None:
        """Until the connection is, at most so long. Not by wait_for: before Python 3.12 it can lose a cancellation."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most):
                await self._disconnected.wait()

    # -- what the stream reports

    def _end(self, reason: str, loss: Loss = Loss.FAILED) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(Lost(reason, loss))

    def _on_login(self, resumed: bool) -> None:
        """Before anything is believed that comes in the same bytes."""
        assert self._stream is not None
        if not self._stream.encrypted:
            self._end("the gateway doesn't offer TLS")
        elif why := self._refusal(self._stream.peer_certificate, False):
            self._end(why)
        elif resumed and not self._live:
            self._end("a stream was resumed that was given up")
        elif self._logged_in is not None and not self._logged_in.done():
            self._logged_in.set_result(resumed)
            if resumed:
                self._stream.resume()

    def _on_disconnected(self, reason: object) -> None:
        self._disconnected.set()
        why = plain_words(reason) if isinstance(reason, BaseException) else reason
        # slixmpp's own words are of an orderly end: there is no stream to be resumed.
        cut = reason is None or isinstance(reason, BaseException)
        self._end(f"connection lost: {why}" if why else "connection lost", Loss.CUT if cut else Loss.FAILED)

    def _on_connection_failed(self, reason: object) -> None:
        # slixmpp would try again by itself, on its own schedule.
        if self._stream is not None:
            self._stream.cancel_connection_attempt()
        if isinstance(reason, ssl.SSLError):
            self._end(f"TLS: {plain_words(reason)}")
        else:
            # asyncio's own words are "Connect call failed ('192.0.2.1', 5222)", whatever the kernel has said.
            number = getattr(reason, "errno", None)
            self._end(f"can't connect: {os.strerror(number) if number and number > 0 else reason}")

    def _on_failed_auth(self, stanza: Any) -> None:
        self._end(f"login refused: {stanza['condition']}")

    def _on_stream_error(self, condition: str, text: str) -> None:
        self._end(f"stream error {condition}: {text}" if text else f"stream error {condition}", loss_of(condition))

    def _on_heard(self) -> None:
        self._liveness.heard(asyncio.get_running_loop().time())

    def _on_pong(self, answer: Element) -> None:
        why = refusal(answer)
        if why is not None and self.settings.component and why.condition in _ABSENT:
            self._answered(f"service {self.settings.service} is away: {why}")

    def _on_presence(self, presence: Presence) -> None:
        service = self.settings.service
        match presence.type:
            case "" if presence.id == self._presence and not self._live:
                self._answered("")
            case "error" if presence.id == self._presence and not self._live:
                self._answered(f"service {service}: {presence.text}")
            case "unavailable" if self.settings.component:
                self._answered(f"service {service} has ended the session")

    def _answered(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(why)

    def _on_fault(self, error: Exception) -> None:
        if isinstance(error, StreamError):
            self._end(f"the gateway sent what is no XMPP stream: {error}")
            return
        log.error("gateway %s: stanza not handled", self.settings.address, exc_info=error, extra=self._extra)
        self._end(f"internal error: {error}")

    def _message(self, message: Element) -> bool:
        notices = read_notices(message)
        event = None if notices else parse_event(message)
        if self._live:
            for notice in notices:
                self._listener.notice_received(notice, noticed(notice, self.settings.identity))
            if event is not None:
                self._listener.event_received(event)
        return bool(notices) or event is not None
