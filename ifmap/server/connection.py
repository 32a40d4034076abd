"""One connection of a client: requests from its bytes, to the service in their order, and the answers back.

    transport --data_received--> RequestReader --events--> Exchange --request--> service
    transport <-----write------- head and body <----------- Exchange <--answer-- service

Everything that is refused without the service (who is it, is it too large, ...) is refused from the head, before
anything of the body is kept. Answers leave in the order of the requests, whoever makes them and however long it takes.

Back-pressure: while a password is checked, too much waits for its answer, or the client doesn't read, no event of the
reader is handled; once there is something to handle, nothing more is read.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections import deque
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ifmap.errors import IfmapError
from ifmap.server.certificate import Shown, shown
from ifmap.server.exchange import Exchange, oversized, pack, unpack
from ifmap.server.http import CONTINUE, Broken, Data, End, Event, Head, RequestReader, Response, plain, unauthorized
from ifmap.server.outgoing import Outgoing
from ifmap.values import Request
from runtime.log import fields

if TYPE_CHECKING:
    from ifmap.server.listener import Listener

log = logging.getLogger("vrfwire.map.connection")

PIECE = 64 * 1024
"""Bytes given to the reader at a time."""
MAX_AHEAD = 16
"""Requests of one connection without an answer; more are read when there are fewer."""
MAX_DISCARD = 1 << 20
"""Bytes of the body of a refused request that are read, so that the connection can go on; longer ones close it."""
LINGER = 1.0
"""Seconds that a client has to read why its connection is closed, while it still sends."""
INLINE = 32 * 1024
"""Bytes up to which a body is read or packed at once, in a millisecond; larger ones are in a thread."""


class Connection(asyncio.Protocol):
    """A connection from its TLS handshake to its end. number: never used again; peer: the client's address.
    client: who it was last, None: nobody yet. outgoing: what it has to send."""

    def __init__(self, listener: Listener, number: int, peer: str) -> None:
        self.listener = listener
        self.number = number
        self.peer = peer
        self.client: str | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.outgoing: Outgoing
        self.shown = Shown()
        self._reader = RequestReader()
        self._unfed = bytearray()
        self._events: deque[Event] = deque()
        self._arriving: Exchange | None = None
        self._queue: deque[Exchange] = deque()
        """Not answered wholly, in order."""
        self._asked: deque[Exchange] = deque()
        """Those of them that the service has."""
        self._asked_size = 0
        self._task: asyncio.Task[None] | None = None  # it has to end before the next event is handled
        self._packing: set[asyncio.Task[None]] = set()
        self._reading = True
        self._running = False
        self._lingering = False
        self._phase: tuple[str, int] = ("", 0)
        self._since = self._loop.time()
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.outgoing = Outgoing(self._transport, self.listener.counters, self._finish, self._stalled)
        tls = transport.get_extra_info("ssl_object")
        if isinstance(tls, ssl.SSLObject):
            self.shown = self.listener.believed(shown(tls), self.peer)
        self.listener.opened(self)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self.listener.counters["bytes_received"] += len(data)
        if self._lingering:
            return
        self._unfed += data
        self._run()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._task, *self._packing):
            if task is not None:
                task.cancel()
        self._unfed.clear()
        self._events.clear()
        self.outgoing.drop()
        self.listener.closed(self)

    def pause_writing(self) -> None:
        self.outgoing.pause()

    def resume_writing(self) -> None:
        self.outgoing.resume()
        self._run()

    # -- for the listener

    def close(self) -> None:
        """Send what was answered, then close."""
        if self._transport is not None:
            self.outgoing.end()

    def abort(self) -> None:
        """Drop it at once."""
        if self._transport is not None:
            self._transport.abort()

    def answer(self, body: bytes, close: bool) -> None:
        """The service's answer to the oldest request that it was asked. close: the connection is of no more use."""
        try:
            exchange = self._asked.popleft()
            self._asked_size -= exchange.size
            exchange.close = exchange.close or close
            if exchange.head.gzip and len(body) > INLINE:
                task = self._loop.create_task(self._pack(exchange, body))
                self._packing.add(task)
                task.add_done_callback(self._packing.discard)
            else:
                self._respond(exchange, pack(body) if exchange.head.gzip else Response(200, body))
        except Exception:
            self._mistake()
        self._run()

    # -- input

    @property
    def _held(self) -> bool:
        """Whether the next event has to wait."""
        full = len(self._queue) >= MAX_AHEAD and self._arriving is None
        large = self._asked_size > self.listener.limits.max_request
        return self._task is not None or self.outgoing.paused or self.outgoing.ending or full or large

    def _run(self) -> None:
        """Handle what has come, as far as that is possible now."""
        if self._running or self._transport is None:
            return
        self._running = True
        try:
            while not self._held and (self._events or self._unfed):
                if self._events:
                    self._handle(self._events.popleft())
                else:
                    piece = bytes(self._unfed[:PIECE])
                    del self._unfed[:PIECE]
                    self._events.extend(self._reader.feed(piece))
        except Exception:
            self._mistake()
        finally:
            self._running = False
        self._throttle()
        self._watch()

    def _throttle(self) -> None:
        """Read only while what comes can be handled; but without need keep reading, to see the connection's end."""
        reading = self._lingering or not (self._held and (self._events or self._unfed))
        if self._transport is None or reading == self._reading or self._transport.is_closing():
            return
        self._reading = reading
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _handle(self, event: Event) -> None:
        match event:
            case Head():
                self._count += 1
                exchange = Exchange(event)
                self._queue.append(exchange)
                self._arriving = exchange
                self._route(exchange)
            case Data(data):
                if self._arriving is not None:
                    self._take(self._arriving, data)
            case End():
                exchange, self._arriving = cast(Exchange, self._arriving), None
                exchange.complete = True
                if exchange.response is None:
                    self._submit(exchange)
            case Broken(status, text):
                log.info("%s sent what is no request: %s", self.peer, text, extra=fields(peer=self.peer))
                self._fail(plain(status, text))

    def _fail(self, response: Response) -> None:
        """What comes can't be followed any more: answer it like this, if it has no answer yet, and close."""
        exchange = self._arriving
        if exchange is None:
            exchange = Exchange(Head())
            self._queue.append(exchange)
        if exchange.response is None:
            self._refuse(exchange, response, close=True)
        else:
            self.close()

    def _route(self, exchange: Exchange) -> None:
        """Decide by the head what becomes of a request."""
        head = exchange.head
        limit = self.listener.limits.max_request
        if head.path == "/health" and head.method in ("GET", "HEAD"):
            response = self.listener.backend.health()
            self._refuse(exchange, replace(response, bodiless=head.method == "HEAD"))
        elif head.method != "POST":
            self._refuse(exchange, plain(405, "IF-MAP is spoken by POST", "Allow: POST"))
        elif head.length is not None and head.length > limit:
            self._refuse(exchange, oversized(limit), close=True)
        elif head.encoding not in ("", "gzip", "x-gzip"):
            self._refuse(exchange, plain(415, "content codings are gzip and identity", "Accept-Encoding: gzip"))
        elif head.authorization is None:
            self._admit(exchange, self.listener.authenticator.certified(self.shown.common_name))
        elif (client := self.listener.authenticator.known(head.authorization)) is not None:
            self._admit(exchange, client)
        else:
            self._begin(self._verify(exchange, head.authorization))

    async def _verify(self, exchange: Exchange, authorization: bytes) -> None:
        verdict = await self.listener.authenticator.verify(authorization, self.peer)
        if verdict.client is not None:
            self._admit(exchange, verdict.client)
            return
        if verdict.delay:
            await asyncio.sleep(verdict.delay)
        self._refuse(exchange, unauthorized(verdict.text) if verdict.status == 401 else plain(503, verdict.text))

    def _admit(self, exchange: Exchange, client: str | None) -> None:
        if client is None:
            self._refuse(exchange, unauthorized())
            return
        if self.client is None:
            self.listener.admitted(self)
        self.client = exchange.client = client
        self._flush()

    def _take(self, exchange: Exchange, data: bytes) -> None:
        exchange.size += len(data)
        if exchange.response is not None:
            if exchange.size > MAX_DISCARD:
                exchange.close = True
                if exchange not in self._queue:
                    self.close()
        elif exchange.size > self.listener.limits.max_request:
            self._refuse(exchange, oversized(self.listener.limits.max_request), close=True)
        else:
            exchange.body += data

    def _submit(self, exchange: Exchange) -> None:
        """A request is complete: unpack it and hand it over."""
        if exchange.head.encoding or exchange.size > INLINE:
            self._begin(self._prepare(exchange))
        else:
            self._ask(exchange, bytes(exchange.body))

    async def _prepare(self, exchange: Exchange) -> None:
        """What takes long is done in a thread: unpacking, and reading XML."""
        body = bytes(exchange.body)
        if exchange.head.encoding:
            try:
                unpacked = await self.listener.in_thread(unpack, body, self.listener.limits.max_request)
            except zlib.error:
                self._refuse(exchange, plain(400, "the body is not packed as gzip does it"))
                return
            if unpacked is None:
                self._refuse(exchange, oversized(self.listener.limits.max_request))
                return
            body = unpacked
        exchange.size = len(body)
        request = body if len(body) <= INLINE else await self.listener.in_thread(self.listener.backend.read, body)
        self._ask(exchange, request)

    def _mistake(self) -> None:
        """An exception that nobody expected: it costs this connection, and nobody else anything."""
        log.exception("%s: error of this server; the connection is closed", self.peer, extra=fields(peer=self.peer))
        self._events.clear()
        self._unfed.clear()
        self.abort()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._task is None
        self._task = self._loop.create_task(self._work(work))

    async def _work(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            self._mistake()
        self._task = None
        self._run()

    def _ask(self, exchange: Exchange, request: bytes | Request | IfmapError) -> None:
        assert exchange.client is not None
        exchange.body.clear()
        self._asked.append(exchange)
        self._asked_size += exchange.size
        self.listener.backend.request(self.number, exchange.client, request, self.peer)

    # -- output

    def _refuse(self, exchange: Exchange, response: Response, close: bool = False) -> None:
        """Answer without the service; what still comes of the request is thrown away."""
        head = exchange.head
        exchange.body.clear()
        if not exchange.complete:
            # Who waits for 100 may send the body or not; who sends more than we'd throw away is cut off.
            close = close or head.expects or (head.length or 0) > MAX_DISCARD
        exchange.close = exchange.close or close
        self._respond(exchange, response)

    def _respond(self, exchange: Exchange, response: Response) -> None:
        self.listener.counters[f"responses/{response.status}"] += 1
        exchange.response = response
        self._flush()

    async def _pack(self, exchange: Exchange, body: bytes) -> None:
        self._respond(exchange, await self.listener.in_thread(pack, body))
        self._run()

    def _flush(self) -> None:
        """Give the transport the answers whose turn it is."""
        while self._queue and not self.outgoing.ending:
            exchange = self._queue[0]
            if exchange.response is None:
                if exchange.client is not None and exchange.head.expects and not exchange.complete:
                    exchange.head.expects = False
                    self.outgoing.put(CONTINUE)
                break
            self._queue.popleft()
            keep = exchange.head.keep_alive and not exchange.close
            head = exchange.response.head(self.listener.date(), keep, exchange.head.old)
            self.outgoing.put(head, b"" if exchange.response.bodiless else exchange.response.body)
            self.outgoing.ending = not keep
        self.outgoing.write()

    def _finish(self) -> None:
        """All is written; close, without losing the answer for a client that still sends.

        A socket that is closed with something unread in it resets the connection, and the client may never see what
        was sent last (RFC 9112, section 9.6). So what still comes is read and thrown away for a while.
        """
        unread = self._arriving is not None or self._reader.broken or bool(self._unfed)
        self._unfed.clear()
        self._events.clear()
        if unread:
            self._lingering = True
            self._throttle()
            self._loop.call_later(LINGER, self._close_transport)
        else:
            self._close_transport()

    def _close_transport(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # -- time

    def _watch(self) -> None:
        """Note what is waited for, and since when."""
        if self._held or self._lingering:
            name = ""
        elif self._reader.in_head:
            name = "head"
        elif self._arriving is not None:
            name = "body" if self._arriving.client is not None else "login"
        else:
            name = "login" if self.client is None else ""
        if (phase := (name, self._count)) != self._phase:
            self._phase = phase
            self._since = self._loop.time()
        if not name:
            return
        due = self._since + self._patience()
        if self._timer is not None:
            if self._timer.when() <= due:
                return  # one that is early only looks
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _patience(self) -> float:
        """Seconds that what is waited for may take."""
        limits = self.listener.limits
        return limits.request_time if self._phase[0] == "body" else limits.login_time

    def _tick(self) -> None:
        self._timer = None
        if not self._phase[0] or self._transport is None:
            return
        if self._loop.time() < self._since + self._patience():
            self._watch()
            return
        log.info("%s is too slow (%s); closed", self.peer, self._phase[0], extra=fields(peer=self.peer))
        self.listener.counters["slow"] += 1
        if self._reader.in_head or self._arriving is not None:
            self._fail(plain(408, "the request took too long to arrive"))
        else:
            self.close()

    def _stalled(self) -> None:
        log.info("%s does not read its answers; dropped", self.peer, extra=fields(peer=self.peer))
        self.listener.counters["stalled"] += 1
        self.abort()
