"""The client of MAP servers: one session at a time, for ever, with whichever server of a list gives one.

    start --> connecting --newSession--> session --any error--> waiting --back-off--> connecting ...
                  +----refused, unreachable: the next server at once, after the last one: waiting

Any error ends the session, and in one place (`_run`): connections are closed, the listener is told, after a wait there
is a new session with all subscriptions, whose first results show what has changed meanwhile.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import random as randomness
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from ifmap.answers import Answer, ReceivedItem, ReceivedPart, SearchResult
from ifmap.client_errors import ClientError, MapUnavailable, SessionLost
from ifmap.client_session import Dialler, Session, end_session, open_session
from ifmap.client_settings import ClientSettings
from ifmap.client_wanted import Trouble, WantedSubscriptions
from ifmap.endpoint import Endpoint, Failover
from ifmap.errors import IfmapError
from ifmap.values import Publish, PublishOperation, PurgePublisher, Request, Search, SearchSpec
from runtime.backoff import Backoff

log = logging.getLogger("vrfwire.ifmap.client")

_END_TIMEOUT = 1.0
"""Seconds that a server has to take the end of a session."""


class MapListener(Protocol):
    """Who is told. Calls come from the loop and must not block."""

    def session_started(self, session_id: str, publisher_id: str) -> None:
        """There is a session; results follow."""
        ...

    def result(self, part: ReceivedPart) -> None:
        """The next result of a subscription, in the server's order; never of an earlier session."""
        ...

    def subscription_refused(self, name: str, error: IfmapError) -> None:
        """The server doesn't take a subscription, or has given it up. It is tried again after a while."""
        ...

    def session_lost(self, reason: str) -> None:
        """What session_started() began is over; a new session follows by itself."""
        ...


class ClientState(enum.StrEnum):
    """Where the client is."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """For people. server: the URL of the session, or that is tried next. since: time of the loop when the state began.
    sessions: how many there were. last_error: of the last session or attempt, "" for none. subscriptions: by name,
    "complete", "waiting" or an error. results: parts of polls that were handed over."""

    state: ClientState
    server: str
    publisher_id: str
    since: float
    sessions: int
    last_error: str
    subscriptions: Mapping[str, str]
    results: int


class MapClient:
    """listener: is told of sessions and results; without one there are no subscriptions, and no second connection.
    random: uniform in [0, 1), for waits."""

    def __init__(
        self,
        settings: ClientSettings,
        listener: MapListener | None = None,
        *,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self._settings = settings
        self._listener = listener
        backoff = Backoff(settings.retry_min, settings.retry_max, random)
        self._failover = Failover(settings.endpoints, backoff)
        self._wanted = WantedSubscriptions(random, settings.retry_min, settings.retry_max)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._session: Session | None = None
        self._ready: list[asyncio.Future[None]] = []
        self._failures: dict[Endpoint, str] = {}
        """Of this round: why there was no session."""
        self._state = ClientState.STOPPED
        self._since = 0.0
        self._sessions = 0
        self._results = 0
        self._last_error = ""

    # -- life

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def ready(self) -> None:
        """Wait for a session. Raises MapUnavailable when every server of the list was tried in vain."""
        if self._task is None:
            raise MapUnavailable("the client is stopped")
        if self._session is None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._ready.append(future)
            await future

    async def stop(self) -> None:
        """End the session, in an orderly way if the server answers soon. The listener isn't told."""
        self._listener = None
        self._stopping = True
        if self._session is not None:
            await end_session(self._session, _END_TIMEOUT)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._enter(ClientState.STOPPED)
        self._tell_ready(MapUnavailable("the client is stopped"))

    async def __aenter__(self) -> Self:
        await self.start()
        try:
            await self.ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def status(self) -> ClientStatus:
        """How it is."""
        return ClientStatus(
            state=self._state,
            server=str(self._failover.current),
            publisher_id=self._session.publisher_id if self._session else "",
            since=self._since,
            sessions=self._sessions,
            last_error=self._last_error,
            subscriptions=self._wanted.states(),
            results=self._results,
        )

    # -- operations

    async def publish(self, operations: Sequence[PublishOperation]) -> None:
        """All operations or none. Raises IfmapError (refused), SessionLost (nobody knows)."""
        await self._ask(lambda session: Publish(session.session_id, tuple(operations)))

    async def search(self, spec: SearchSpec) -> tuple[ReceivedItem, ...]:
        """Search. Raises IfmapError, SessionLost."""
        answer = await self._ask(lambda session: Search(session.session_id, spec))
        assert isinstance(answer, SearchResult)
        return answer.items

    async def purge(self, publisher_id: str = "") -> None:
        """Delete all that a publisher has published, "" for ourselves. Raises IfmapError, SessionLost."""
        await self._ask(lambda session: PurgePublisher(session.session_id, publisher_id or session.publisher_id))

    def subscribe(self, name: str, spec: SearchSpec) -> None:
        """Have a subscription in this and every later session, in the place of one of that name. name: 1 to 20
        characters, as some servers take no more."""
        if self._listener is None:
            raise ValueError("there is no listener for results")
        if not 1 <= len(name) <= 20:
            raise ValueError(f"the name of subscription {name!r} isn't of 1 to 20 characters")
        self._wanted.subscribe(name, spec)
        if self._session is not None:
            self._session.changed()

    def unsubscribe(self, name: str) -> None:
        """End a subscription; no result of it is handed over any more."""
        self._wanted.unsubscribe(name)
        if self._session is not None:
            self._session.changed()

    async def _ask(self, request: Callable[[Session], Request]) -> Answer:
        if self._session is None:
            raise SessionLost(self._last_error or "there is no session with a map server yet")
        return await self._session.ask(request(self._session))

    # -- sessions

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            self._enter(ClientState.CONNECTING)
            endpoint = self._failover.current
            try:
                session = await open_session(
                    Dialler(self._settings, endpoint),
                    self._wanted,
                    self._deliver,
                    self._troubled,
                    polls=self._listener is not None,
                )
            except ClientError as error:
                await self._unreachable(endpoint, str(error))
            except IfmapError as error:
                await self._unreachable(endpoint, f"{error.code}: {error}")
            except Exception as error:
                log.exception("no session with %s", endpoint)
                await self._unreachable(endpoint, f"internal error: {error!r}")
            else:
                began = loop.time()
                reason = await self._hold(endpoint, session)
                self._log(logging.WARNING, "the session with %s is over: %s", endpoint, reason)
                await self._wait(self._failover.lost(loop.time() - began))

    async def _hold(self, endpoint: Endpoint, session: Session) -> str:
        """A session from its begin to its end; returns why it ended."""
        self._session = session
        self._sessions += 1
        self._failures.clear()
        self._wanted.session_started()
        self._enter(ClientState.CONNECTED)
        self._log(logging.INFO, "session with %s as publisher %s", endpoint, session.publisher_id)
        # Of the session that ends because the client does.
        reason = "the client is stopped"
        try:
            if self._listener is not None:
                self._listener.session_started(session.session_id, session.publisher_id)
            self._tell_ready(None)
            await session.run()
        except ClientError as error:
            self._last_error = reason = str(error)
        except Exception as error:
            # A defect in a listener must not leave results half applied: the session starts over.
            log.exception("the session with %s failed", endpoint)
            self._last_error = reason = f"internal error: {error!r}"
        finally:
            self._session = None
            await session.close(reason)
        if self._listener is not None:
            self._listener.session_lost(reason)
        return reason

    async def _unreachable(self, endpoint: Endpoint, reason: str) -> None:
        known = self._failures.get(endpoint)
        level = logging.DEBUG if known == reason else logging.WARNING
        self._log(level, "no session with %s: %s", endpoint, reason)
        self._failures[endpoint] = reason
        self._last_error = f"{endpoint}: {reason}"
        wait = self._failover.unreachable()
        if wait is not None:
            told = "; ".join(f"{server}: {why}" for server, why in self._failures.items())
            self._tell_ready(MapUnavailable(told))
            await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        if not self._stopping:
            self._enter(ClientState.WAITING)
            await asyncio.sleep(seconds)

    def _tell_ready(self, error: MapUnavailable | None) -> None:
        waiting, self._ready = self._ready, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

    def _deliver(self, part: ReceivedPart) -> None:
        self._results += 1
        if self._listener is not None:
            self._listener.result(part)

    def _troubled(self, troubles: list[Trouble]) -> None:
        for name, error, fresh in troubles:
            self._log(logging.WARNING if fresh else logging.DEBUG, "subscription %s: %s: %s", name, error.code, error)
            if self._listener is not None:
                self._listener.subscription_refused(name, error)

    def _enter(self, state: ClientState) -> None:
        self._state = state
        self._since = asyncio.get_running_loop().time()

    def _log(self, level: int, text: str, *values: object) -> None:
        # Without a listener it is a command, which tells its user itself.
        log.log(level if self._listener is not None else logging.DEBUG, text, *values)
