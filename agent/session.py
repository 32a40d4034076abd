"""The session with one gateway: connects, logs in, watches, and connects again, for ever.

    DOWN --backoff--> CONNECTING --logged in--> CONNECTED --lost--> DOWN
                          +--refused, timed out----------------------^

What slixmpp lacks is here: a limit on the time of a login (a server that accepts and says nothing), liveness by pings
(XEP-0199) within a hold time, waits of 0.5 to 30 s with jitter between connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import importlib
import logging
import os
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from xml.etree.ElementTree import Element

from agent.requests import Refusal, Request
from agent.stanzas import Identity, noticed, payload, ping, refusal
from runtime.config import read_secret
from runtime.errors import OperatorError
from runtime.log import fields
from runtime.tls import plain_words
from vpn.prefix import Prefix
from xmpp.notices import Notice, read_notices
from xmpp.notification import Event, parse_event

if TYPE_CHECKING:
    from agent.stream import Stream

log = logging.getLogger("vrfwire.agent.session")

RESOURCE = "vrfwire"
"""Resource of a host's JID."""
_STEADY = 5.0
"""Seconds after which a session was no accident: the next one is tried with the shortest wait."""

Answered = Callable[[Refusal | None], None]


class SessionState(enum.StrEnum):
    """Where the session is."""

    DOWN = "down"
    CONNECTING = "connecting"
    CONNECTED = "connected"


class SessionListener(Protocol):
    """Who is told. Calls come from the loop and must not block."""

    def session_started(self) -> None:
        """Requests can be sent."""
        ...

    def session_ended(self, reason: str) -> None:
        """The session is lost; answers still owed won't come."""
        ...

    def event_received(self, event: Event) -> None:
        """A gateway announced or retracted routes."""
        ...

    def notice_received(self, notice: Notice, prefixes: list[Prefix]) -> None:
        """A gateway said what has become of items of this host (prefixes), or of a VPN."""
        ...


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """One gateway and how to reach it; times in seconds.

    address, port: where to connect; domain: its XMPP domain, in its certificate; host: name of this host, underlay: its
    address. certificate and key, or password_file.
    """

    address: str
    port: int
    domain: str
    host: str
    underlay: str
    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    password_file: Path | None = None
    starttls: bool = False
    hold_time: float = 30.0
    login_time: float = 15.0
    reconnect_min: float = 0.5
    reconnect_max: float = 30.0

    @property
    def identity(self) -> Identity:
        """This host for that gateway."""
        return Identity(f"{self.host}@{self.domain}/{RESOURCE}", self.underlay)


class Backoff:
    """Waits between attempts: doubled each time from shortest to longest, each between half of it and all of it."""

    def __init__(self, shortest: float, longest: float, jitter: Callable[[], float] = random.random) -> None:
        self._shortest = shortest
        self._longest = longest
        self._jitter = jitter
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now."""
        full = min(self._longest, self._shortest * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return full * (0.5 + 0.5 * self._jitter())

    def reset(self) -> None:
        """The last attempt was a success."""
        self._failures = 0


class _Lost(Exception):
    """The session, or the attempt at one, is over; the text says why."""


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
        self._task: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._ended: asyncio.Future[str] | None = None
        self._logged_in: asyncio.Future[None] | None = None
        self._disconnected = asyncio.Event()
        self._heard = 0.0

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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._disconnected.wait(), 0.5)
        await self._close()
        self.state = SessionState.DOWN

    def request(self, request: Request, on_answer: Answered) -> None:
        """Send a request; on_answer is called with None or the refusal, unless the session ends before."""
        kind, element = payload(request, self.settings.identity)
        self._send(kind, element, lambda answer: on_answer(refusal(answer)))

    def check_gateway(self) -> None:
        """Others may be believed than before: end the session if the gateway isn't one of them."""
        if self._stream is not None and self.state is SessionState.CONNECTED:
            why = self._refusal(self._stream.peer_certificate, True)
            if why:
                self._end(why)

    def _send(self, kind: str, element: Element, on_answer: Callable[[Element], None]) -> None:
        if self._stream is not None and self.state is SessionState.CONNECTED:
            self._stream.request(kind, element, on_answer)

    # -- the life of sessions

    async def _run(self) -> None:
        settings = self.settings
        backoff = Backoff(settings.reconnect_min, settings.reconnect_max)
        extra = fields(peer=settings.address, gateway=settings.address)
        loop = asyncio.get_running_loop()
        # Seconds on a slow machine: the loop goes on meanwhile.
        module = await asyncio.to_thread(importlib.import_module, "agent.stream")
        while True:
            self._set_state(SessionState.CONNECTING)
            began = None
            try:
                await self._login(module)
                began = loop.time()
                self._set_state(SessionState.CONNECTED)
                log.info("gateway %s: session up", settings.address, extra=extra)
                self._listener.session_started()
                await self._watch()
            except (_Lost, OperatorError, OSError) as error:
                reason = str(error)
            except Exception as error:
                # Whatever a library may raise: the other gateways and the datapath are not to suffer.
                log.exception("gateway %s: session failed", settings.address, extra=extra)
                reason = f"internal error: {error}"
            finally:
                self._set_state(SessionState.DOWN)
                if self._stream is not None:
                    self._stream.forget_requests()
            if reason != self.last_error or began is not None:
                log.warning("gateway %s: %s", settings.address, reason, extra=extra)
            self.last_error = reason
            if began is not None:
                self._listener.session_ended(reason)
                if loop.time() - began >= _STEADY:
                    backoff.reset()
            try:
                await self._close()
            except Exception:
                # The next session has a client of its own, and there is one in any case.
                log.exception("gateway %s: connection not closed", settings.address, extra=extra)
                self._stream = None
            await asyncio.sleep(backoff.next())

    def _set_state(self, state: SessionState) -> None:
        if state is not self.state:
            self.state = state
            self.since = time.time()

    async def _login(self, module: Any) -> None:
        """Connect and log in; returns with a session, or raises _Lost, OperatorError, OSError."""
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
        await asyncio.wait(outcomes, timeout=settings.login_time, return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            raise _Lost(self._ended.result())
        if not self._logged_in.done():
            raise _Lost(f"no session within {settings.login_time:g} s")
        if not stream.encrypted:
            raise _Lost("the gateway doesn't offer TLS")
        if why := self._refusal(stream.peer_certificate, False):
            raise _Lost(why)

    def _make_stream(self, module: Any) -> Stream:
        settings = self.settings
        password = "" if settings.password_file is None else read_secret(settings.password_file)
        stream: Stream = module.Stream(
            settings.identity.jid,
            password,
            gateway=settings.domain,
            direct_tls=not settings.starttls,
            on_message=self._message,
            on_heard=self._on_heard,
            on_fault=self._on_fault,
        )
        stream.add_event_handler("session_start", self._on_session_start)
        stream.add_event_handler("disconnected", self._on_disconnected)
        stream.add_event_handler("connection_failed", self._on_connection_failed)
        stream.add_event_handler("failed_auth", self._on_failed_auth)
        stream.add_event_handler("failed_all_auth", lambda _: self._end("login refused"))
        stream.add_event_handler("stream_error", self._on_stream_error)
        stream.add_event_handler("ssl_invalid_chain", lambda error: self._end(f"TLS: {error}"))
        return stream

    async def _watch(self) -> None:
        """Ping every third of the hold time until the session is lost; always raises _Lost."""
        assert self._ended is not None
        hold = self.settings.hold_time
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        while True:
            done, _ = await asyncio.wait([self._ended], timeout=hold / 3)
            if done:
                raise _Lost(self._ended.result())
            if loop.time() - self._heard > hold:
                raise _Lost(f"heard nothing for {hold:g} s")
            self.check_gateway()
            self._send(*ping(), lambda answer: None)

    async def _close(self) -> None:
        """Leave no connection and no attempt behind."""
        stream = self._stream
        if stream is None:
            return
        stream.cancel_connection_attempt()
        if stream.is_connected():
            stream.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._disconnected.wait(), 2.0)

    # -- what slixmpp reports

    def _end(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    def _on_session_start(self, _: object) -> None:
        if self._logged_in is not None and not self._logged_in.done():
            self._logged_in.set_result(None)

    def _on_disconnected(self, reason: object) -> None:
        self._disconnected.set()
        why = plain_words(reason) if isinstance(reason, BaseException) else reason
        self._end(f"connection lost: {why}" if why else "connection lost")

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

    def _on_stream_error(self, stanza: Any) -> None:
        text = f": {stanza['text']}" if stanza["text"] else ""
        self._end(f"stream error {stanza['condition']}{text}")

    def _on_heard(self) -> None:
        self._heard = asyncio.get_running_loop().time()

    def _on_fault(self, error: Exception) -> None:
        address = self.settings.address
        extra = fields(peer=address, gateway=address)
        log.error("gateway %s: stanza not handled", address, exc_info=error, extra=extra)
        self._end(f"internal error: {error}")

    def _message(self, message: Element) -> bool:
        notices = read_notices(message)
        event = None if notices else parse_event(message)
        if self.state is SessionState.CONNECTED:
            for notice in notices:
                self._listener.notice_received(notice, noticed(notice, self.settings.identity))
            if event is not None:
                self._listener.event_received(event)
        return bool(notices) or event is not None


def tls_context(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Context of a client that checks the gateway's name and shows its own certificate. Raises OperatorError."""
    _look_at("certificates", ca)
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(f"certificates {ca}", plain_words(error), "it must hold certificates in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        # Looked at one by one: OpenSSL doesn't say which of the two it couldn't read.
        for what, path in (("certificate", certificate), ("key", key)):
            if path is not None:
                _look_at(what, path)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(
                f"certificate {certificate}",
                plain_words(error),
                "certificate and key must be PEM, belong together, and the key have no passphrase",
            ) from error
    return context


def _look_at(what: str, path: Path) -> None:
    """Raises OperatorError when a file can't be read."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        hint = f"it must be there, and readable by the daemon's user: ls -l {path}"
        raise OperatorError(f"{what} {path}", error.strerror or str(error), hint) from error
