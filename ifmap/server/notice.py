"""Hears at once when another server has committed: LISTEN on a connection of its own.

Nothing depends on it but speed: whoever shares the map also looks into the log from time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import psycopg

from ifmap.server.database import CHANNEL, LEFT, Database

log = logging.getLogger("vrfwire.map.notice")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between attempts to connect; each doubles the one before."""


class Listener:
    """Calls back when another server has committed, when that may have been missed, and when the connection is lost."""

    def __init__(self, database: Database, own: Callable[[], int], heard: Callable[[bool], None]) -> None:
        """own: the id of this server, whose own commits aren't news. heard: whether one has left."""
        self._database = database
        self._own = own
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    def start(self) -> None:
        """Begin to listen, and keep at it."""
        self._task = asyncio.create_task(self._run(), name="map listener")

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(**self._database.arguments, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    self.connected = True
                    pause = FIRST_PAUSE
                    self._heard(False)
                    async for notice in connection.notifies():
                        if notice.payload != str(self._own()):
                            self._heard(notice.payload == LEFT)
            except (psycopg.Error, OSError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                log.debug("not listening: %s", self._database.without_secrets(reason))
            if self.connected:
                self.connected = False
                self._heard(False)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
