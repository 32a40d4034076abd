"""Keeps a state file up to date from an event loop: by a thread, seldom, and again after failures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

from runtime.errors import OperatorError
from runtime.state_file import StateFile

T = TypeVar("T")

WRITE_INTERVAL = 1.0
"""Seconds from one write to the next: what comes meanwhile is written together."""
RETRY_INTERVAL = 30.0
"""Seconds to the next attempt after one that failed."""


class StateWriter(Generic[T]):
    """Use it within one event loop.

    due: whether there is something to write. take: what to write, a copy for the thread, and what to call when it is
    durable. what, lost: for the log, "WHAT PATH: ..." and what a failure means. failure: of the last attempt.
    """

    def __init__(
        self,
        file: StateFile[T],
        due: Callable[[], bool],
        take: Callable[[], tuple[T, Callable[[], None]]],
        log: logging.Logger,
        what: str,
        lost: str,
    ) -> None:
        self.failure: OperatorError | None = None
        self._file = file
        self._due = due
        self._take = take
        self._log = log
        self._what = what
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._next = 0.0
        """Not before then (time of the loop)."""
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def changed(self) -> None:
        """Something may be due: write it, soon."""
        if self._handle is not None or self._task is not None or self._stopping:
            return
        if self.failure is not None or self._due():
            self._handle = self._loop.call_at(self._next, self._write)

    def failed(self, error: OperatorError) -> None:
        """The file can't be read or written: log that once, and wait before the next attempt."""
        if str(error) != str(self.failure):
            self._log.warning("%s; %s", error, self._lost)
        self.failure = error
        self._next = self._loop.time() + RETRY_INTERVAL

    async def settle(self) -> None:
        """Begin no more writes, and wait for the one under way."""
        self._stopping = True
        if self._handle is not None:
            self._handle.cancel()
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Write what is due, and let go of the file."""
        await self.settle()
        if self._due():
            await self._save()
        self._file.close()

    def _write(self) -> None:
        self._handle = None
        self._next = self._loop.time() + WRITE_INTERVAL
        self._task = self._loop.create_task(self._save())

    async def _save(self) -> None:
        value, durable = self._take()
        try:
            await asyncio.to_thread(self._file.write, value)
        except OperatorError as error:
            self.failed(error)
        else:
            durable()
            if self.failure is not None:
                self.failure = None
                self._log.info("%s %s: written again", self._what, self._file.path)
        finally:
            self._task = None
            self.changed()
