"""Keeps state of lifetime session published: joins Published to a client.

Nothing is given up: a server in trouble (SystemError) is asked again after 0.5 to 30 s; what it refuses for another
reason after 5 s to 15 min, since its administrator may permit it.
"""

from __future__ import annotations

import asyncio
import logging
import random as randomness
from collections.abc import Awaitable, Callable, Sequence

from ifmap.client_errors import SessionLost
from ifmap.errors import ErrorCode, IfmapError
from ifmap.published import Batch, Place, Published
from ifmap.values import Edge, MetadataName, NewMetadata, PublishOperation
from runtime.backoff import Backoff

log = logging.getLogger("vrfwire.ifmap.publisher")

Publish = Callable[[Sequence[PublishOperation]], Awaitable[None]]


class Publisher:
    """Say what is wanted at any time, by set() and remove(); it goes out as soon as there is a session.

    publish: MapClient.publish. The client's listener tells session_started() and session_lost(). random: uniform in
    [0, 1), for waits.
    """

    def __init__(self, publish: Publish, *, random: Callable[[], float] = randomness.random) -> None:
        self.published = Published()
        self._trouble = Backoff(0.5, 30.0, random)
        self._refusals = Backoff(5.0, 900.0, random)
        self._retry: asyncio.TimerHandle | None = None
        self._told: dict[Place, str] = {}
        """Refusals that are in the log."""
        self._begun = asyncio.Event()
        """A session has begun since the last wait."""
        self._publish = publish
        self._session = 0
        """Number of the current session, 0 for none."""
        self._sessions = 0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Publish nothing any more. What is published stays as long as the session."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    def set(self, edge: Edge, metadata: NewMetadata) -> None:
        """Have this there. Raises ValueError for multiValue metadata."""
        self.published.set(edge, metadata)
        self._wake.set()

    def remove(self, edge: Edge, name: MetadataName) -> None:
        """Have nothing of that type there."""
        self.published.remove(edge, name)
        self._wake.set()

    def session_started(self) -> None:
        """There is a session, in which nothing is published yet."""
        self._sessions += 1
        self._session = self._sessions
        self.published.session_started()
        self._trouble.reset()
        self._refusals.reset()
        self._begun.set()
        self._wake.set()

    def session_lost(self) -> None:
        """The server has forgotten it all."""
        self._session = 0

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # What comes in the same turn of the loop goes out together.
            await asyncio.sleep(0)
            try:
                while (session := self._session) and await self._publish_batch(session):
                    pass
            except Exception:
                # A defect; what is published stays as it is until something changes.
                log.exception("session state can't be published")

    async def _publish_batch(self, session: int) -> bool:
        """Returns whether there may be more to publish."""
        batch = self.published.batch()
        if batch is None:
            return False
        try:
            await self._publish(batch.operations)
        except IfmapError as error:
            if session == self._session:
                await self._refused(batch, error)
        except SessionLost:
            # A new session publishes all of it again.
            return session != self._session
        else:
            if session == self._session:
                self.published.accepted(batch)
                self._trouble.reset()
                for place, _ in batch.places:
                    self._told.pop(place, None)
        return True

    async def _refused(self, batch: Batch, error: IfmapError) -> None:
        if error.code is ErrorCode.SYSTEM_ERROR:
            wait = self._trouble.next()
            log.warning("the map server is in trouble, next try in %.1f s: %s", wait, error)
            await self._pause(wait)
            return
        self.published.refused(batch, error)
        if len(batch.places) > 1:
            return
        place = batch.places[0][0]
        if self._told.get(place) != str(error):
            self._told[place] = str(error)
            log.warning("the map server refuses %s: %s: %s", place.name.local, error.code, error)
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._refusals.next(), self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self.published.retry_refused()
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        """Until then, or until a new session, which may be with another server."""
        self._begun.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._begun.wait()
        except TimeoutError:
            return
