"""Keeps the last known provisioning in a file, so that a gateway that starts while the MAP server is away works.

A thread writes, at most once in WRITE_INTERVAL seconds. A file that can't be read or written is logged and a problem of
the status; it is tried again.
"""

from __future__ import annotations

import asyncio
import logging

from gateway.map_file import MapFile
from gateway.map_snapshot import Snapshot
from gateway.provisioning import Provisioning
from gateway.status import Problem
from runtime.errors import OperatorError

log = logging.getLogger("vrfwire.gateway.map")

WRITE_INTERVAL = 1.0
"""Seconds from one write to the next: what comes meanwhile is written together."""
RETRY_INTERVAL = 30.0
"""Seconds to the next attempt after one that failed."""


class MapKeeper:
    """A provisioning and its file. Use it within one event loop."""

    def __init__(self, provisioning: Provisioning, file: MapFile) -> None:
        self._provisioning = provisioning
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._written = provisioning.revision
        self._next_write = 0.0
        """Not before then (time of the loop)."""
        self._failure: OperatorError | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def restore(self) -> bool:
        """Begin with what was kept; returns whether there was something."""
        try:
            kept = self._file.read()
        except OperatorError as error:
            self._failed(error)
            return False
        except ValueError as error:
            log.warning("provisioning %s: %s; it is ignored", self._file.path, error)
            return False
        if kept is None:
            return False
        self._provisioning.restore(kept.vpns, kept.attachments, kept.forfeited)
        self._written = self._provisioning.revision
        return True

    def changed(self) -> None:
        """The provisioning may have changed: write it, soon."""
        if self._handle is not None or self._task is not None or self._stopping:
            return
        if self._written != self._provisioning.revision or self._failure is not None:
            self._handle = self._loop.call_at(self._next_write, self._write)

    async def stop(self) -> None:
        """Write what is not written yet, and let go of the file."""
        self._stopping = True
        if self._handle is not None:
            self._handle.cancel()
        if self._task is not None:
            await self._task
        if self._written != self._provisioning.revision:
            await self._save()
        self._file.close()

    def problems(self) -> list[Problem]:
        """That it can't be kept."""
        failure = self._failure
        if failure is None:
            return []
        why = f"{failure.why}; after a restart nothing would be known before the map server is reached"
        return [Problem(failure.what, why, failure.hint)]

    def _write(self) -> None:
        self._handle = None
        self._next_write = self._loop.time() + WRITE_INTERVAL
        self._task = self._loop.create_task(self._save())

    async def _save(self) -> None:
        provisioning = self._provisioning
        revision = provisioning.revision
        # The values don't change, so that copies of the tables are all that the thread needs.
        snapshot = Snapshot(
            dict(provisioning.vpns), dict(provisioning.attachments), dict(provisioning.forfeited.items())
        )
        try:
            await asyncio.to_thread(self._file.write, snapshot)
        except OperatorError as error:
            self._failed(error)
        else:
            self._written = revision
            if self._failure is not None:
                self._failure = None
                log.info("provisioning %s: written again", self._file.path)
        finally:
            self._task = None
            self.changed()

    def _failed(self, error: OperatorError) -> None:
        if str(error) != str(self._failure):
            log.warning("%s; provisioning is not kept for the next start", error)
        self._failure = error
        self._next_write = self._loop.time() + RETRY_INTERVAL
