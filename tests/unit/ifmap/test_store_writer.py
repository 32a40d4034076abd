"""The writer of a server with a store of its own: group commit, failures, its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import pytest

from ifmap.delta import Change
from ifmap.journal import Record
from ifmap.server.store import Loaded, StoreError
from ifmap.server.writer import LocalWriter
from ifmap.service import Batch, MapService
from ifmap.slices import Work
from tests.unit.ifmap.store_values import NODE, in_loop, metadata, record

DEADLINE = 10.0


@dataclass
class ScriptedService:
    """What a writer sees of a MapService: records wait; batches become what they became."""

    queue: list[Record] = field(default_factory=list)
    done: list[tuple[str, tuple[Record, ...]]] = field(default_factory=list)
    durable: bool = True
    texts: list[str] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return len(self.queue)

    def beginning(self, wall_time: float, limit: int) -> Work[Batch]:
        yield
        records, self.queue = tuple(self.queue), []
        return Batch(records, self.durable)

    def committing(self, batch: Batch, now: float) -> Work[None]:
        yield
        self.done.append(("committed", batch.records))

    def failed(self, batch: Batch, text: str) -> None:
        self.done.append(("failed", batch.records))
        self.texts.append(text)


class ScriptedStore:
    """A store whose commits take as long as the test wants, and fail when it wants."""

    shared: Literal[False] = False
    what = "store /tmp/it"

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: str | None = None
        self.commits: list[tuple[Record, ...]] = []
        self.checks = 0
        self.closed = False

    def load(self) -> Loaded:
        return Loaded()

    def commit(self, records: Sequence[Record]) -> None:
        assert self.may_go_on.wait(DEADLINE)
        self._fail()
        self.commits.append(tuple(records))

    def check(self) -> None:
        self.checks += 1
        self._fail()

    def close(self) -> None:
        self.closed = True

    def _fail(self) -> None:
        if self.error is not None:
            raise StoreError(self.error)


class Site:
    """A writer between the two."""

    def __init__(self) -> None:
        self.service = ScriptedService()
        self.store = ScriptedStore()
        self.flushes = 0
        self.writer = LocalWriter(cast(MapService, self.service), self.store, self._flush, lambda: 5.0)

    def _flush(self) -> None:
        self.flushes += 1

    def publish(self, *records: Record) -> None:
        self.service.queue.extend(records)
        self.writer.wake()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110 (any condition, with a deadline)
                await asyncio.sleep(0.002)


ONE, TWO, THREE = (record(Change(NODE, (metadata(key),))) for key in (1, 2, 3))


@in_loop
async def test_what_queues_during_a_commit_is_one_transaction() -> None:
    site = Site()
    site.store.may_go_on.clear()
    await site.writer.start()
    site.publish(ONE)
    await site.until(lambda: not site.service.queue)
    site.publish(TWO)
    site.publish(THREE)
    await asyncio.sleep(0)
    assert site.service.done == [] and site.service.waiting == 2
    site.store.may_go_on.set()
    await site.until(lambda: len(site.service.done) == 2)
    await site.writer.stop()
    assert site.store.commits == [(ONE,), (TWO, THREE)]
    assert site.service.done == [("committed", (ONE,)), ("committed", (TWO, THREE))]
    assert site.flushes == 2
    counters = site.writer.counters
    assert (counters.batches, counters.records, counters.failures) == (2, 3, 0) and counters.seconds > 0


@in_loop
async def test_what_needs_no_store_waits_for_none() -> None:
    site = Site()
    site.service.durable = False
    site.store.error = "full"
    await site.writer.start()
    site.publish(ONE)
    await site.until(lambda: site.service.done)
    await site.writer.stop()
    assert site.service.done == [("committed", (ONE,))] and site.store.commits == [] and site.flushes == 1


@in_loop
async def test_a_failure_is_told_and_the_next_commit_mends_it(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.store.error = "database or disk is full"
    await site.writer.start()
    site.publish(ONE)
    await site.until(lambda: site.service.done)
    assert site.service.done == [("failed", (ONE,))]
    assert site.service.texts == ["the server can't store anything at present: database or disk is full"]
    await site.until(lambda: site.writer.problem)
    problem = site.writer.problem
    assert problem is not None and (problem.what, problem.why) == ("store /tmp/it", "database or disk is full")
    assert "room" in problem.hint and problem.since > 0
    site.store.error = None
    site.publish(TWO)
    await site.until(lambda: site.writer.problem is None)
    await site.writer.stop()
    assert site.store.commits == [(TWO,)]
    assert [entry.levelname for entry in caplog.records] == ["ERROR"], caplog.text


@in_loop
async def test_a_store_that_works_again_is_noticed_without_a_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifmap.server.writer.CHECK", 0.01)
    site = Site()
    site.store.error = "disk I/O error"
    await site.writer.start()
    site.publish(ONE)
    await site.until(lambda: site.store.checks > 1)
    assert site.writer.problem is not None
    site.store.error = None
    await site.until(lambda: site.writer.problem is None)
    await site.writer.stop()


@in_loop
async def test_stop_commits_what_waits_and_closes_the_store() -> None:
    site = Site()
    site.store.may_go_on.clear()
    await site.writer.start()
    site.publish(ONE)
    await site.until(lambda: not site.service.queue)
    site.publish(TWO)
    stopping = asyncio.create_task(site.writer.stop())
    await asyncio.sleep(0)
    assert not site.store.closed
    site.store.may_go_on.set()
    await stopping
    assert site.store.commits == [(ONE,), (TWO,)] and site.store.closed


@in_loop
async def test_stop_does_not_wait_for_a_store_that_fails() -> None:
    site = Site()
    site.store.error = "full"
    await site.writer.start()
    site.publish(ONE)
    async with asyncio.timeout(DEADLINE):
        await site.writer.stop()
    assert site.store.closed and site.service.done == [("failed", (ONE,))]


@in_loop
async def test_a_fault_of_the_service_ends_the_task() -> None:
    """The daemon ends with it; a client must not wait for ever."""
    site = Site()

    def fault(wall_time: float, limit: int) -> Batch:
        raise ZeroDivisionError("a fault")

    site.service.beginning = fault  # type: ignore[assignment, method-assign]
    task = await site.writer.start()
    site.publish(ONE)
    await asyncio.wait({task}, timeout=DEADLINE)
    assert isinstance(task.exception(), ZeroDivisionError)
    await site.writer.stop()
    assert site.store.closed


@in_loop
async def test_it_comes_round_when_it_is_nudged_and_while_the_store_is_slow() -> None:
    site = Site()
    await site.writer.start()
    for _ in range(3):
        before = site.writer.turns
        site.writer.nudge()
        await site.until(lambda before=before: site.writer.turns > before)  # type: ignore[misc]
    site.store.may_go_on.clear()
    site.publish(ONE)
    await site.until(lambda: site.writer.counters.batches == 0 and not site.service.queue and site.writer._calls)
    before = site.writer.turns
    site.writer.nudge()
    assert site.writer.turns == before + 1, "a slow disk isn't made faster by a restart"
    site.store.may_go_on.set()
    await site.until(lambda: site.service.done)
    assert site.writer._task is not None
    site.writer._task.cancel()
    await site.until(site.writer._task.done)
    before = site.writer.turns
    site.writer.nudge()
    assert site.writer.turns == before
    await site.writer.stop()
