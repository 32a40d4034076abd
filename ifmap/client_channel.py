"""One connection to a MAP server: TLS, requests out, answers in, each within its time. The caller says what is in them.

A dead server is noticed by TCP: keep-alive on an idle connection, TCP_USER_TIMEOUT on what is not acknowledged (both
channels need that: a poll may wait for days, and what is asked on the other is rare).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast

from ifmap.client_errors import ClientError, HttpError
from ifmap.client_http import AnswerReader, HttpAnswer, request
from ifmap.endpoint import Endpoint
from runtime.tcp import watch_peer
from runtime.tls import plain_words

_STAGGER = 0.25
"""Seconds between the addresses of a name (RFC 8305)."""


class Channel(asyncio.Protocol):
    """A connection. head: of every request (client_http.request_head); limit: bytes of an answer.

    Made by open_channel(). on_lost: called once when it is lost or of no use any more, unless the server has announced
    that, or we have closed it.
    """

    def __init__(self, head: bytes, limit: int) -> None:
        self._head = head
        self._reader = AnswerReader(limit)
        self._waiting: deque[asyncio.Future[HttpAnswer]] = deque()
        self._transport: asyncio.Transport | None = None
        self.closing = False
        """The server has said that it closes the connection, which isn't an error: a new one takes its place."""
        self.on_lost: Callable[[ClientError], None] | None = None
        self._error: ClientError | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, body: bytes) -> asyncio.Future[HttpAnswer]:
        """Send a request; the answer comes as the future's result, or a ClientError: then the channel is of no use."""
        future: asyncio.Future[HttpAnswer] = asyncio.get_running_loop().create_future()
        if self._error is not None or self._transport is None:
            future.set_exception(self._error or ClientError("the connection is closed"))
            future.exception()
        else:
            self._waiting.append(future)
            self._transport.write(request(self._head, body))
        return future

    async def call(self, body: bytes, timeout: float) -> HttpAnswer:
        """Send a request and wait for the whole answer. timeout: seconds. Raises ClientError."""
        future = self.send(body)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            error = ClientError(f"the server hasn't answered within {timeout:g} s")
            self._fail(error)
            raise error from None

    def abort(self) -> None:
        """Close it at once."""
        self.on_lost = None
        self._fail(ClientError("the connection is closed"))

    async def close(self) -> None:
        """Close it at once; returns when it is."""
        self.abort()
        # Not awaited itself: whoever is cancelled here would cancel it for all.
        await asyncio.wait({self._closed})

    def _fail(self, error: ClientError) -> None:
        """It is over: everybody who waits gets the error."""
        if self._error is None:
            self._error = error
            if self.on_lost is not None and not self.closing:
                self.on_lost(error)
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(self._error)
                future.exception()  # whoever has sent it may have gone

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        try:
            watch_peer(transport.get_extra_info("socket"))
        except OSError as error:
            # It is gone already.
            self._fail(ClientError(reason(error)))

    def data_received(self, data: bytes) -> None:
        if self._error is not None:
            return
        try:
            self._answered(self._reader.feed(data))
        except HttpError as error:
            self._fail(error)

    def eof_received(self) -> None:
        if self._error is not None:
            return
        try:
            answer = self._reader.end()
            if answer is not None:
                self._answered([answer])
        except HttpError as error:
            self._fail(error)
        self._fail(ClientError("the server closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(
            ClientError(f"the connection was lost: {reason(exc)}" if exc else "the server closed the connection")
        )
        if not self._closed.done():
            self._closed.set_result(None)

    def _answered(self, answers: list[HttpAnswer]) -> None:
        for answer in answers:
            if not self._waiting:
                raise HttpError("the server answers what nobody asked")
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(answer)
            if not answer.keep:
                self.closing = True
                self._fail(ClientError("the server closed the connection"))


async def open_channel(endpoint: Endpoint, context: ssl.SSLContext, head: bytes, limit: int, timeout: float) -> Channel:
    """Connect. timeout: seconds for all of it. Raises ClientError."""
    channel = Channel(head, limit)
    try:
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().create_connection(
                lambda: channel,
                endpoint.host,
                endpoint.port,
                ssl=context,
                server_hostname=endpoint.host,
                ssl_handshake_timeout=timeout,
                happy_eyeballs_delay=_STAGGER,
            )
    except TimeoutError as error:
        channel.abort()
        # The kernel's is an OSError with a number; ours has none.
        raise ClientError(reason(error) if error.errno else f"no connection within {timeout:g} s") from None
    except (OSError, UnicodeError) as error:
        raise ClientError(reason(error)) from None
    except asyncio.CancelledError:
        # It may be connected just now; asyncio would wait for the server's consent to the end of TLS.
        channel.abort()
        raise
    return channel


def reason(error: BaseException) -> str:
    """An error of TLS or of the network in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate isn't accepted: {plain_words(error)}"
    return f"TLS: {plain_words(error)}" if isinstance(error, ssl.SSLError) else plain_words(error)
