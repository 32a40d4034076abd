"""Joins the service and its store: takes what waits in the service, has it committed, and hands the result back.

Group commit: while one batch is on its way to the disk, in a thread, the service collects the next. A client's answer
leaves after the commit that its request is in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, ParamSpec, TypeVar

from ifmap.server.store import Store, StoreError
from ifmap.service import Batch, MapService
from ifmap.slices import Work

log = logging.getLogger("vrfwire.map.store")

P = ParamSpec("P")
T = TypeVar("T")

BATCH = 10_000
"""Metadata in a transaction, about: what an fsync costs is nothing among so many."""
RETRY = 0.1
"""Seconds between attempts while the store fails; those who publish meanwhile wait so long for their SystemError."""
CHECK = 1.0
"""Seconds between attempts to write, while the store fails and nobody publishes."""
IDLE = 3600.0
TURN = 0.01
"""Seconds that planning a batch, or putting it into effect, goes on before others have their turn."""


class StoreProblem(NamedTuple):
    """Why nothing can be stored at present. since: Unix time."""

    what: str
    why: str
    hint: str
    since: float


@dataclass(slots=True)
class WriterCounters:
    """What has happened. batches: committed, with `records` records; seconds: that their commits took, together.
    failures: batches that couldn't be committed. foreign: records of other servers. reloads: the map was loaded again.
    """

    batches: int = 0
    records: int = 0
    seconds: float = 0.0
    failures: int = 0
    foreign: int = 0
    reloads: int = 0


class Writer(ABC):
    """The loop. Call wake() whenever the service has something waiting; flush is called whenever it has outputs.

    what: the store, for messages. now: the service's clock. All methods belong to the event loop's thread.
    """

    def __init__(self, service: MapService, what: str, flush: Callable[[], None], now: Callable[[], float]) -> None:
        self.counters = WriterCounters()
        self.problem: StoreProblem | None = None
        self._service = service
        self._flush = flush
        self._now = now
        self._what = what
        self._wake = asyncio.Event()
        self._stopping = False
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="map-store")
        self._task: asyncio.Task[None] | None = None
        self._calls = 0
        self.turns = 0
        """Times that the loop came round; nudge() makes it."""

    async def start(self) -> asyncio.Task[None]:
        """Begin. The task ends by stop() only; if it ends by an exception, the daemon should, too."""
        self._task = asyncio.create_task(self._run(), name="map writer")
        return self._task

    async def stop(self) -> None:
        """Commit what waits, if the store works; then close it."""
        self._stopping = True
        self._wake.set()
        try:
            if self._task is not None:
                # What went wrong there, if anything, whoever watches the task has seen.
                await asyncio.wait({self._task})
            await self._leave()
        finally:
            self._threads.shutdown()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def nudge(self) -> None:
        """Let the loop come round. One that waits for the store does well: a disk or database that is slow is told as a
        problem, and isn't made faster by a restart."""
        if self._calls:
            self.turns += 1
        self._wake.set()

    @abstractmethod
    async def _run(self) -> None:
        """Until `_stopping` is set and nothing is left to do."""

    @abstractmethod
    async def _leave(self) -> None:
        """Close the store."""

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have the store do something in its thread."""
        self._calls += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))
        finally:
            self._calls -= 1

    async def _woken(self, longest: float) -> None:
        """Return when there may be something to do, or after `longest` seconds."""
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest):
                    await self._wake.wait()
        self._wake.clear()
        self.turns += 1

    async def _pause(self) -> None:
        """Between attempts while the store fails; not when stopping."""
        self.turns += 1
        if not self._stopping:
            await asyncio.sleep(RETRY)

    async def _in_turns(self, work: Work[T]) -> T:
        """Do work of the service; others have their turn now and then."""
        self.turns += 1
        end = self._now() + TURN
        while True:
            try:
                next(work)
            except StopIteration as done:
                result: T = done.value
                return result
            if self._now() >= end:
                self._flush()
                await asyncio.sleep(0)
                self.turns += 1
                end = self._now() + TURN

    async def _committed(self, batch: Batch, took: float) -> None:
        await self._in_turns(self._service.committing(batch, self._now()))
        self.counters.batches += 1
        self.counters.records += len(batch.records)
        self.counters.seconds += took

    def _failed(self, batch: Batch, why: str) -> None:
        self._service.failed(batch, f"the server can't store anything at present: {why}")
        self.counters.failures += 1

    def _broken(self, error: Exception, hint: str = "") -> None:
        """Remember the problem; tell it when it is a new one."""
        why = str(error)
        if self.problem is None or self.problem.why != why:
            log.error("%s: %s", self._what, why)
            since = time.time() if self.problem is None else self.problem.since
            self.problem = StoreProblem(self._what, why, hint, since)

    def _mended(self) -> None:
        if self.problem is not None:
            log.info("%s: works again after %.1f s", self._what, time.time() - self.problem.since)
            self.problem = None


class LocalWriter(Writer):
    """With a store of this server's own."""

    def __init__(self, service: MapService, store: Store, flush: Callable[[], None], now: Callable[[], float]) -> None:
        super().__init__(service, store.what, flush, now)
        self._store = store

    async def _run(self) -> None:
        while not (self._stopping and not self._service.waiting):
            if not self._service.waiting:
                await self._woken(IDLE if self.problem is None else CHECK)
            try:
                if self._service.waiting:
                    await self._write()
                    # A batch that needs no store has waited for nothing, and the next may be there.
                    await asyncio.sleep(0)
                elif self.problem is not None:
                    await self._call(self._store.check)
                    self._mended()
            except StoreError as error:
                self._broken(error, "see that the disk has room and works")
                if self._stopping:
                    return
                await self._pause()

    async def _leave(self) -> None:
        await self._call(self._store.close)

    async def _write(self) -> None:
        """One batch. Raises StoreError, after those who wait for it have their answers."""
        batch = await self._in_turns(self._service.beginning(time.time(), BATCH))
        try:
            if batch is not None and not batch.durable:
                await self._in_turns(self._service.committing(batch, self._now()))
            elif batch is not None:
                began = time.perf_counter()
                try:
                    await self._call(self._store.commit, batch.records)
                except StoreError as error:
                    self._failed(batch, str(error))
                    raise
                await self._committed(batch, time.perf_counter() - began)
                self._mended()
        finally:
            self._flush()
