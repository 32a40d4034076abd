"""The writer of a server that shares its store with others.

Each turn does what is due, in this order:

    no connection        connect again; meanwhile whoever publishes gets SystemError, and reads go on
    lease                renew it, remove servers that didn't, queue the end of their sessions
    something waits      lock - replay what others did - plan - commit - unlock
    otherwise            replay what others did

A turn begins when something waits, when the listener has heard of a commit, and after POLL seconds at the latest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ifmap.graph import Graph
from ifmap.server.notice import Listener
from ifmap.server.postgres import PostgresStore
from ifmap.server.replay import LogEntry, Unreplayable, record_from_text
from ifmap.server.storage import graph_of
from ifmap.server.store import LoadAgain, Loaded, StoreError
from ifmap.server.writer import BATCH, RETRY, Writer
from ifmap.service import MapService
from runtime.errors import OperatorError

log = logging.getLogger("vrfwire.map.store")

P = ParamSpec("P")
T = TypeVar("T")

POLL = 2.0
"""Seconds between looks into the log when no notice comes."""
MAX_PAUSES = 16
"""Times RETRY between attempts to reach PostgreSQL, at most."""
SLACK = 1.5
"""How many lease times PostgreSQL may take over one call, until the connection is given up."""


class SharedWriter(Writer):
    """With a store that others use, too. graph: the service's. abandoned: sessions to end before the server serves."""

    def __init__(
        self,
        service: MapService,
        store: PostgresStore,
        flush: Callable[[], None],
        now: Callable[[], float],
        graph: Graph,
        abandoned: tuple[str, ...],
    ) -> None:
        super().__init__(service, store.what, flush, now)
        self._store = store
        self._graph = graph
        self._abandoned = abandoned
        self._listener = Listener(store.database, lambda: store.id, self._heard)
        self._renew_at = 0.0
        self._load_again = False
        self._pauses = 1

    async def start(self) -> asyncio.Task[None]:
        """End the sessions of servers that are gone; then begin. Raises OperatorError."""
        if self._abandoned:
            self._service.expired(self._abandoned)
            try:
                await self._change()
            except StoreError as error:
                raise OperatorError(self._what, str(error), "start again") from error
        self._listener.start()
        return await super().start()

    async def _run(self) -> None:
        while not (self._stopping and not self._service.waiting):
            if not self._service.waiting and self.problem is None:
                await self._woken(min(POLL, max(0.0, self._renew_at - self._now())))
            try:
                await self._turn()
                self._mended()
                self._pauses = 1
            except LoadAgain as error:
                self._broken(error, "nothing is to be done: clients begin new sessions")
                self._load_again = True
            except (StoreError, OperatorError) as error:
                self._broken(error, "see that PostgreSQL runs and can be reached, and its log")
                self._refuse()
                if self._stopping:
                    return
                await self._back_off()

    async def _leave(self) -> None:
        await self._listener.stop()
        try:
            await self._call(self._store.leave)
        except StoreError as error:
            log.warning("the other servers end this one's sessions when its lease is over: %s", error)
        await self._call(self._store.close)

    def _heard(self, left: bool) -> None:
        if left:
            self._renew_at = 0.0
        self.wake()

    async def _turn(self) -> None:
        if self._load_again:
            await self._load()
        elif not self._store.connected:
            await self._reconnect()
        if self._now() >= self._renew_at:
            await self._renew()
        if self._service.waiting:
            await self._change()
        else:
            await self._follow()

    async def _renew(self) -> None:
        abandoned = await self._call(self._store.renew)
        self._renew_at = self._now() + self._store.lease / 3
        if abandoned:
            log.info("ending %d sessions of servers that are gone", len(abandoned))
            self._service.expired(abandoned)

    async def _follow(self) -> None:
        """Replay what others did."""
        while entries := await self._call(self._store.read):
            await self._replay(entries)

    async def _change(self) -> None:
        """One batch. Raises StoreError, after those who wait for it have their answers."""
        began = time.perf_counter()
        entries = await self._call(self._store.begin)
        try:
            await self._replay(entries)
            batch = await self._in_turns(self._service.beginning(time.time(), BATCH))
            if batch is None or not batch.durable:
                await self._call(self._store.rollback)
                if batch is not None:
                    await self._in_turns(self._service.committing(batch, self._now()))
                return
            try:
                await self._call(self._store.commit, batch.records)
            except StoreError as error:
                self._failed(batch, str(error))
                raise
            await self._committed(batch, time.perf_counter() - began)
        except LoadAgain:
            await self._call(self._store.rollback)
            raise
        finally:
            self._flush()

    async def _replay(self, entries: list[LogEntry]) -> None:
        """Raises LoadAgain."""
        for entry in entries:
            try:
                record = record_from_text(entry.text, self._graph.contents)
            except Unreplayable as error:
                # Set here, too: the store takes the entry for read, whatever else goes wrong now.
                self._load_again = True
                raise LoadAgain(f"record {entry.sequence} of the log can't be replayed: {error}") from error
            await self._in_turns(self._service.following(record, self._now()))
            self.counters.foreign += 1
        if entries:
            self._flush()

    async def _load(self) -> None:
        """Begin anew, as a server that has just been started: this one's sessions end."""

        def load() -> tuple[Loaded, Graph]:
            loaded = self._store.load()
            return loaded, graph_of(loaded)

        loaded, graph = await self._refusing(load)
        self._graph = graph
        self._service.reload(
            graph,
            publishers=loaded.publishers,
            next_key=loaded.next_key,
            elsewhere=loaded.sessions,
            reason="the server was out of touch with its database and has loaded the map again",
        )
        if loaded.abandoned:
            self._service.expired(loaded.abandoned)
        self._load_again = False
        self._renew_at = 0.0
        self.counters.reloads += 1
        self._flush()
        log.warning("%s: the map was loaded again, and all sessions of this server have ended", self._what)

    async def _reconnect(self) -> None:
        await self._refusing(self._store.reconnect)
        self._renew_at = 0.0

    async def _refusing(self, function: Callable[[], T]) -> T:
        """Have the store do something that may take long, while whoever publishes gets SystemError."""
        call = asyncio.ensure_future(self._call_patiently(function))
        while not call.done():
            await asyncio.wait({call}, timeout=RETRY)
            if not call.done():
                self._refuse()
        return call.result()

    async def _back_off(self) -> None:
        """From 0.1 to 1.6 s, while whoever publishes gets SystemError."""
        for _ in range(self._pauses):
            await self._pause()
            self._refuse()
        self._pauses = min(2 * self._pauses, MAX_PAUSES)

    def _refuse(self) -> None:
        """SystemError for those who wait; what can't be refused is queued again by the service."""
        batch = self._service.begin(time.time(), BATCH) if self._service.waiting else None
        if batch is not None:
            self._failed(batch, self.problem.why if self.problem else "the connection was lost")
        self._flush()

    async def _call_patiently(self, function: Callable[[], T]) -> T:
        return await super()._call(function)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As the base's; but a PostgreSQL that doesn't answer is given up after a time."""
        call = asyncio.ensure_future(super()._call(function, *args, **kwargs))
        done, _ = await asyncio.wait({call}, timeout=SLACK * self._store.lease)
        if not done:
            self._store.interrupt()
        return await call
