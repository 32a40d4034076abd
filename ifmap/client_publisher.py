"""Keeps state of lifetime session published: joins Published to a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from ifmap.client_errors import SessionLost
from ifmap.errors import IfmapError
from ifmap.published import Published
from ifmap.values import Edge, MetadataName, NewMetadata, PublishOperation

log = logging.getLogger("vrfwire.ifmap.publisher")

Publish = Callable[[Sequence[PublishOperation]], Awaitable[None]]


class Publisher:
    """Say what is wanted at any time, by set() and remove(); it goes out as soon as there is a session.

    publish: MapClient.publish. The client's listener tells session_started() and session_lost().
    """

    def __init__(self, publish: Publish) -> None:
        self.published = Published()
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
                self.published.refused(batch, error)
                if len(batch.places) == 1:
                    log.warning("the map server refuses %s: %s", batch.places[0][0].name.local, error)
        except SessionLost:
            # A new session publishes all of it again.
            return session != self._session
        else:
            if session == self._session:
                self.published.accepted(batch)
        return True
