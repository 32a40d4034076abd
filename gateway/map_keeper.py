"""Keeps the last known provisioning in a file, so that a gateway that starts while the MAP server is away works.

A thread writes (`StateWriter`). A file that can't be read or written is logged and a problem of the status; it is tried
again. The file says of which servers it is, and when it was last known to be theirs: after a change, when a session is
lost (as long as that is news), and at the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from gateway.map_file import MapFile
from gateway.map_snapshot import Snapshot
from gateway.provisioning import Provisioning
from gateway.status import Problem
from runtime.errors import OperatorError
from runtime.state_writer import StateWriter

log = logging.getLogger("vrfwire.gateway.map")

NEWS = 60.0
"""Seconds by which the time in the file is behind when it is written for that alone."""


class MapKeeper:
    """A provisioning and its file. Use it within one event loop. clock: Unix time."""

    def __init__(self, provisioning: Provisioning, file: MapFile, clock: Callable[[], float] = time.time) -> None:
        self.as_of: float | None = None
        """Unix time at which the provisioning was last known to be the servers'; None: never."""
        self._provisioning = provisioning
        self._file = file
        self._clock = clock
        self._servers: tuple[str, ...] = ()
        self._written: tuple[int, tuple[str, ...]] = provisioning.revision, ()
        """What the file has: the provisioning's revision, and of which servers."""
        self._written_as_of = 0.0
        self._ending = False
        self._writer = StateWriter(
            *(file, self._is_due, self._take, log),
            what="provisioning",
            lost="provisioning is not kept for the next start",
        )

    def restore(self, servers: Iterable[str]) -> bool:
        """Begin with what was kept of any of these servers (URLs); returns whether there was something."""
        try:
            kept = self._file.read()
        except OperatorError as error:
            self._writer.failed(error)
            return False
        except ValueError as error:
            log.warning("provisioning %s: %s; it is ignored", self._file.path, error)
            return False
        if kept is None:
            return False
        if not set(kept.servers) & set(servers):
            log.warning(
                "provisioning %s is of %s, which [map] doesn't name; it is ignored",
                *(self._file.path, ", ".join(kept.servers)),
            )
            return False
        self._provisioning.restore(kept.vpns, kept.attachments, kept.forfeited)
        self.as_of, self._servers = kept.time, kept.servers
        self._written, self._written_as_of = self._state, kept.time
        return True

    @property
    def _state(self) -> tuple[int, tuple[str, ...]]:
        return self._provisioning.revision, self._servers

    def confirm(self, servers: Iterable[str]) -> None:
        """The provisioning is that of these servers, now."""
        self._servers, self.as_of = tuple(servers), self._clock()
        self.changed()

    def keep_time(self) -> None:
        """Nobody will confirm it for a while: have the time in the file, too."""
        if self.as_of is not None and self.as_of - self._written_as_of > NEWS:
            self._written = -1, ()
            self.changed()

    def changed(self) -> None:
        """The provisioning may have changed: write it, soon."""
        self._writer.changed()

    async def stop(self) -> None:
        """Write what is not written yet, and let go of the file."""
        self._ending = True
        await self._writer.stop()

    def problems(self) -> list[Problem]:
        """That it can't be kept."""
        failure = self._writer.failure
        if failure is None:
            return []
        why = f"{failure.why}; after a restart nothing would be known before the map server is reached"
        return [Problem(failure.what, why, failure.hint)]

    def _is_due(self) -> bool:
        # The time alone is reason enough at the end only.
        return self._written != self._state or (self._ending and self._written_as_of != (self.as_of or 0.0))

    def _take(self) -> tuple[Snapshot, Callable[[], None]]:
        provisioning = self._provisioning
        state, as_of = self._state, self.as_of or 0.0

        def durable() -> None:
            self._written, self._written_as_of = state, as_of

        # The values don't change, so that copies of the tables are all that the thread needs.
        snapshot = Snapshot(
            dict(provisioning.vpns),
            dict(provisioning.attachments),
            dict(provisioning.forfeited.items()),
            *(self._servers, as_of),
        )
        return snapshot, durable
