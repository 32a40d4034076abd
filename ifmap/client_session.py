"""One session with one MAP server: two connections, requests in order, polls, renewals. It ends with the first error.

    SSRC: newSession, then subscribe | publish | search | purgePublisher | renewSession, one at a time
    ARC:  poll, and the next poll before the last answer is read

(IF-MAP 2.2, synchronous send-receive channel and asynchronous receive channel.) What ends a session, and what begins
the next one, is decided by its owner, ifmap.client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from ifmap.answers import (
    Answer,
    EndSessionResult,
    NewSessionResult,
    PollResult,
    Received,
    ReceivedPart,
    SearchResult,
    read_answer,
)
from ifmap.client_channel import Channel, open_channel
from ifmap.client_errors import ClientError, HttpError, SessionLost
from ifmap.client_http import HttpAnswer, basic, request_head
from ifmap.client_settings import ClientSettings
from ifmap.client_wanted import Trouble, WantedSubscriptions
from ifmap.endpoint import Endpoint
from ifmap.errors import ErrorCode, IfmapError, UnreadableAnswer
from ifmap.requests_writer import write_request
from ifmap.values import (
    EndSession,
    NewSession,
    Poll,
    Publish,
    PurgePublisher,
    RenewSession,
    Request,
    ResultKind,
    Search,
    Subscribe,
)

_LARGE = 256 << 10
"""Bytes of an answer that is read in a thread, so that the loop goes on meanwhile."""

_ENDED = "the server ended the session: another program has logged in as the same user, or it was taken for dead"
_UNKNOWN = (
    "the server doesn't know the session any more: it has restarted, or another program logged in as the same user"
)

_STRANGE = "the server's answer is one to something else"

_EXPECTED: dict[type, type] = {
    Search: SearchResult,
    EndSession: EndSessionResult,
    **dict.fromkeys((Publish, PurgePublisher, RenewSession, Subscribe), Received),
}
"""What says that a request was granted."""


class _Asked(NamedTuple):
    body: bytes
    expected: type
    answer: asyncio.Future[Answer]


class Dialler:
    """Opens connections to one server as one client; the files of the settings are read when it is made.

    Raises ClientError when they can't be used.
    """

    def __init__(self, settings: ClientSettings, endpoint: Endpoint) -> None:
        self.settings = settings
        self._endpoint = endpoint
        self._context: ssl.SSLContext = settings.tls_context()
        self._head = request_head(endpoint, basic(settings.user, settings.secret()) if settings.user else "")

    async def dial(self) -> Channel:
        """A new connection. Raises ClientError."""
        settings = self.settings
        return await open_channel(
            self._endpoint, self._context, self._head, settings.max_answer, settings.connect_timeout
        )

    def check(self, answer: HttpAnswer) -> bytes:
        """The body of an answer. Raises HttpError for a status other than 200: IF-MAP's own errors have that, too."""
        if answer.status == 200:
            return answer.body
        text = f"{answer.status} {answer.reason}".strip()
        if answer.status in (401, 403):
            who = f"user {self.settings.user!r}" if self.settings.user else "our certificate"
            raise HttpError(f"the server doesn't accept {who} ({text})")
        raise HttpError(f"the server answers with HTTP status {text}")


class Session:
    """Made by open_session(); run() until it raises, then close().

    wanted: subscriptions; call changed() when they have changed. deliver: gets every result of a wanted subscription;
    troubled: what the server refuses of them. Both are called from the loop.
    """

    def __init__(
        self,
        dialler: Dialler,
        ssrc: Channel,
        arc: Channel | None,
        started: NewSessionResult,
        wanted: WantedSubscriptions,
        deliver: Callable[[ReceivedPart], None],
        troubled: Callable[[list[Trouble]], None],
    ) -> None:
        self.session_id = started.session_id
        self.publisher_id = started.publisher_id
        self._dialler = dialler
        self._settings = dialler.settings
        self._ssrc = ssrc
        self._arc = arc
        self._wanted = wanted
        self._deliver = deliver
        self._troubled = troubled
        self._loop = asyncio.get_running_loop()
        self._asked: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._over: SessionLost | None = None
        self._broken: ClientError | None = None
        ssrc.on_lost = self._break

    def changed(self) -> None:
        """The wanted subscriptions have changed."""
        self._wake.set()

    def ask(self, request: Request) -> asyncio.Future[Answer]:
        """Put a request in line. The future's result is the answer, or IfmapError (refused), or SessionLost."""
        future: asyncio.Future[Answer] = self._loop.create_future()
        if self._over is not None:
            future.set_exception(self._over)
        else:
            self._asked.append(_Asked(write_request(request), _EXPECTED[type(request)], future))
            self._wake.set()
        return future

    async def run(self) -> None:
        """Do what is asked and wanted until the session is over. Raises ClientError with the reason, never returns."""
        work: list[Coroutine[None, None, None]] = [self._requests()]
        if self._arc is not None:
            work.append(self._polls(self._arc))
        tasks = [self._loop.create_task(one) for one in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self, reason: str) -> None:
        """Close the connections; whoever waits for an answer gets SessionLost."""
        self._over = SessionLost(reason)
        while self._asked:
            self._give(self._asked.popleft(), self._over)
        await _close([self._ssrc] if self._arc is None else [self._ssrc, self._arc])

    # -- SSRC

    async def _requests(self) -> None:
        renewal = self._loop.time() + self._settings.renew_interval
        while self._broken is None:
            self._wake.clear()
            now = self._loop.time()
            if operations := self._wanted.next(now) if self._arc is not None else ():
                try:
                    await self._exchange(write_request(Subscribe(self.session_id, operations)), Received)
                except IfmapError as error:
                    self._troubled(self._wanted.refused(operations, error, self._loop.time()))
                else:
                    self._wanted.accepted(operations)
            elif self._asked:
                await self._answer(self._asked[0])
                self._asked.popleft()
            elif now >= renewal:
                await self._exchange(write_request(RenewSession(self.session_id)), Received)
            else:
                timer = self._wanted.timer()
                await self._wait(renewal if timer is None else min(renewal, timer))
                continue
            renewal = self._loop.time() + self._settings.renew_interval
        raise self._broken

    def _break(self, error: ClientError) -> None:
        self._broken = error
        self._wake.set()

    async def _wait(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _answer(self, asked: _Asked) -> None:
        if asked.answer.done():
            return  # it was cancelled before its turn
        try:
            answer = await self._exchange(asked.body, asked.expected)
        except IfmapError as error:
            self._give(asked, error)
        else:
            if not asked.answer.done():
                asked.answer.set_result(answer)
            if isinstance(answer, EndSessionResult):
                raise SessionLost(_ENDED)

    @staticmethod
    def _give(asked: _Asked, error: Exception) -> None:
        if not asked.answer.done():
            asked.answer.set_exception(error)

    async def _exchange(self, body: bytes, expected: type) -> Answer:
        """One request and its answer. Raises IfmapError when it is refused, ClientError when the session is over."""
        if self._ssrc.closing:
            await self._ssrc.close()
            self._ssrc = await self._dialler.dial()
            self._ssrc.on_lost = self._break
        answer = await self._read(await self._ssrc.call(body, self._settings.answer_timeout))
        if isinstance(answer, expected):
            return answer
        raise SessionLost(_ENDED if isinstance(answer, EndSessionResult) else _STRANGE)

    # -- ARC

    async def _polls(self, arc: Channel) -> None:
        poll = write_request(Poll(self.session_id))
        pending = arc.send(poll)
        while True:
            answer = await pending
            if arc.closing:
                await arc.close()
                arc = self._arc = await self._dialler.dial()
            # The server fills the next answer while we read this one.
            pending = arc.send(poll)
            try:
                result = await self._read(answer)
            except IfmapError as error:
                if error.code is not ErrorCode.POLL_RESULTS_TOO_BIG:
                    raise SessionLost(f"the server refuses a poll: {error.code}: {error}") from None
                # All subscriptions are gone, but the session is not.
                self._troubled(self._wanted.all_given_up(error, self._loop.time()))
                self._wake.set()
                continue
            if isinstance(result, EndSessionResult):
                raise SessionLost(_ENDED)
            if not isinstance(result, PollResult):
                raise SessionLost(_STRANGE)
            for part in result.parts:
                self._take(part)

    def _take(self, part: ReceivedPart) -> None:
        if part.name not in self._wanted:
            return  # it was unsubscribed meanwhile
        if part.kind is ResultKind.SEARCH:
            self._wanted.delivered(part.name, self._loop.time())
        self._deliver(part)
        if part.code is not None:
            error = IfmapError(part.code, part.text or "the server says no more")
            self._troubled(self._wanted.given_up(part.name, error, self._loop.time()))
            self._wake.set()

    async def _read(self, answer: HttpAnswer) -> Answer:
        """Raises IfmapError when something is refused, ClientError when the session is over."""
        return await read(self._dialler.check(answer))


async def read(body: bytes) -> Answer:
    """The answer in a body.

    Raises IfmapError for an errorResult that leaves the session alive; ClientError for one that doesn't and for what
    can't be read: nobody knows what it said, so only a new session helps.
    """
    try:
        if len(body) < _LARGE:
            return read_answer(body)
        return await asyncio.to_thread(read_answer, body)
    except UnreadableAnswer as error:
        raise ClientError(f"the server's answer can't be read: {error}") from None
    except IfmapError as error:
        if error.code is ErrorCode.INVALID_SESSION_ID:
            raise SessionLost(f"{_UNKNOWN} ({error})") from None
        raise


async def open_session(
    dialler: Dialler,
    wanted: WantedSubscriptions,
    deliver: Callable[[ReceivedPart], None],
    troubled: Callable[[list[Trouble]], None],
    *,
    polls: bool,
) -> Session:
    """Connect and begin a session. polls: open the ARC, too. Raises ClientError, IfmapError."""
    settings = dialler.settings
    channels: list[Channel] = []
    try:
        channels.append(await dialler.dial())
        request = NewSession(settings.max_poll_result if polls else None)
        answer = await read(dialler.check(await channels[0].call(write_request(request), settings.answer_timeout)))
        if not isinstance(answer, NewSessionResult):
            raise ClientError(_STRANGE)
        if polls:
            channels.append(await dialler.dial())
    except BaseException:
        await _close(channels)
        raise
    return Session(dialler, channels[0], channels[1] if polls else None, answer, wanted, deliver, troubled)


async def _close(channels: list[Channel]) -> None:
    # All of them first: we may be cancelled while we wait.
    for channel in channels:
        channel.abort()
    for channel in channels:
        await channel.close()


async def end_session(session: Session, timeout: float) -> None:
    """Say that it is over, so that the server forgets what was published for the session. timeout: seconds."""
    try:
        async with asyncio.timeout(timeout):
            await session.ask(EndSession(session.session_id))
    except (TimeoutError, ClientError, IfmapError):
        # The server finds out by itself.
        return
