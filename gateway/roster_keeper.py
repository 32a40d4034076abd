"""Keeps the record of hosts up to date, and knows after a start who is waited for.

The file is written by a thread (`StateWriter`): what the loop does for it is a copy of a dictionary. A record that
can't be read or written is logged and a problem of the status; it is tried again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from gateway.roster import Absent, Roster
from gateway.roster_file import RosterFile
from gateway.service import Service
from gateway.status import Problem
from runtime.errors import OperatorError
from runtime.state_writer import StateWriter

log = logging.getLogger("vrfwire.gateway.bgp")

NAMED = 5
"""Hosts that are named where there may be many."""


class RosterKeeper:
    """The roster of a service, and its file. Use it within one event loop."""

    def __init__(self, service: Service, file: RosterFile | None) -> None:
        self._service = service
        self._file = file
        self._roster = Roster(service.rib.count)
        self._loop = asyncio.get_running_loop()
        self._written = 0
        """Revision of the roster that is in the file; -1: something else is."""
        self._writer: StateWriter[dict[str, int]] | None = None
        if file is not None:
            self._writer = StateWriter(
                *(file, self._is_due, self._take, log),
                what="record of hosts",
                lost="the hosts of this gateway are not recorded",
            )

    # -- life

    def start(self, lapse: float | None = None) -> None:
        """Begin to keep the record. lapse: wait until then for the hosts recorded; None: we know them, replace it."""
        rib = self._service.rib
        if rib.touched is not None:
            return
        rib.touched = set(rib.hosts())
        if lapse is not None:
            self._roster = Roster(rib.count, self._read(), lapse)
        elif self._file is not None:
            # Whatever the file has is of an earlier run.
            self._written = -1
        self.look()

    def _read(self) -> dict[str, int]:
        if self._file is None or self._writer is None:
            return {}
        try:
            record = self._file.read()
        except OperatorError as error:
            self._writer.failed(error)
            return {}
        except ValueError as error:
            log.warning("record of hosts %s: %s; it is ignored, and hosts are not waited for", self._file.path, error)
            self._written = -1
            return {}
        return record or {}

    async def stop(self) -> None:
        """Write what is not written yet, and let go of the file."""
        if self._writer is not None:
            await self._writer.settle()
        self.look()
        if self._writer is not None:
            await self._writer.stop()

    # -- who is waited for

    @property
    def complete(self) -> bool:
        """Whether all recorded hosts are back."""
        return self._roster.complete

    def waiting_for(self) -> list[str]:
        """The hosts that aren't wholly back, for people: a few of them, and how many more."""
        absent, more = self._roster.absent(NAMED)
        return [*map(_describe, absent), *([f"{more} more host{'s' * (more > 1)}"] if more else [])]

    def look(self) -> None:
        """Hosts may have changed items or sessions."""
        rib = self._service.rib
        if rib.touched is None:
            return
        touched, rib.touched = rib.touched, set()
        now = self._loop.time()
        for host in touched:
            self._roster.look(host, host in self._service.connected, now)
        self._write_soon()

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called next."""
        return self._roster.get_timer()

    def handle_timer(self, now: float) -> None:
        """Whose time is over isn't waited for."""
        self._roster.handle_timer(now)
        self._write_soon()

    # -- the file

    def problems(self) -> list[Problem]:
        """That the record can't be kept."""
        failure = self._writer.failure if self._writer is not None else None
        if failure is None:
            return []
        why = (
            f"{failure.why}; after a restart hosts are not waited for, and peers may lose routes of theirs for a while"
        )
        return [Problem(failure.what, why, failure.hint)]

    def _write_soon(self) -> None:
        if self._writer is not None:
            self._writer.changed()

    def _is_due(self) -> bool:
        return self._written != self._roster.revision and self._service.rib.touched is not None

    def _take(self) -> tuple[dict[str, int], Callable[[], None]]:
        revision = self._roster.revision

        def durable() -> None:
            self._written = revision

        return self._roster.record(), durable


def _describe(absent: Absent) -> str:
    if not absent.connected:
        return f"host {absent.host} (no session)"
    return f"host {absent.host} ({absent.items} of {absent.recorded} routes)"
