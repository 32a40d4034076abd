"""The asyncio shell over the fake kernel. Times are real, and short."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Awaitable, Callable

import pytest

from datapath.events import KernelEvent, ObjectRemoved
from datapath.fake import FakeKernel
from datapath.plane import QUIET, Datapath
from datapath.status import Change, State
from datapath.values import Key, Kind
from tests.unit.datapath.samples import (
    EVERYTHING,
    LOCAL_HOP,
    MPLS_ROUTE,
    NEIGHBOURS,
    NEXT_HOPS,
    PORT,
    ROUTES,
    TUNNEL,
    VRF,
)

FIRST = NEIGHBOURS[0]
NAMES = [(value.kind, value.key) for value in EVERYTHING]


def run(scenario: Callable[[FakeKernel, Datapath], Awaitable[None]]) -> None:
    """A scenario with a started datapath, stopped afterwards."""

    async def main() -> None:
        kernel = FakeKernel()
        datapath = Datapath(kernel.drivers(), kernel.monitor)
        await datapath.start()
        try:
            await scenario(kernel, datapath)
        finally:
            await datapath.stop()
            kernel.monitor.close()

    asyncio.run(main())


def test_wait_until_programmed() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        datapath.put(*EVERYTHING)
        statuses = await datapath.wait(NAMES, 5)
        assert [status.state for status in statuses] == [State.PROGRAMMED] * len(NAMES)
        assert len(kernel.objects[Kind.VRF_ROUTE]) == 6
        assert await datapath.wait_in_sync(0)

    run(scenario)


def test_wait_gives_up_on_what_keeps_failing() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        kernel.fail(errno.EBUSY, kind=Kind.PORT, times=-1)
        datapath.put(VRF, PORT)
        started = time.monotonic()
        (status,) = await datapath.wait([(Kind.PORT, PORT.key)], 20)
        assert time.monotonic() - started < 5
        assert not status.settled
        assert status.attempts == 3
        assert "busy" in status.error
        kernel.heal()
        assert (await datapath.wait([(Kind.PORT, PORT.key)], 20, attempts=9))[0].settled

    run(scenario)


def test_wait_ends_in_time() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        kernel.fail_dump(Kind.TUNNEL, errno.EPERM, times=100)
        datapath.put(TUNNEL)
        (status,) = await datapath.wait([(Kind.TUNNEL, TUNNEL.key)], 0.05)
        assert status.state is State.PENDING
        assert not await datapath.wait_revision(1, 0.01)
        assert not await datapath.wait_in_sync(0.01)

    run(scenario)


def test_wait_for_a_revision_and_for_removal() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        assert await datapath.wait_revision(datapath.put(*EVERYTHING), 5)
        assert await datapath.wait_revision(datapath.remove(*NAMES), 5)
        assert not any(kernel.objects.values())
        assert all(status.state is State.ABSENT for status in await datapath.wait(NAMES, 0))

    run(scenario)


def test_what_others_delete_is_back_within_a_second() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        datapath.put(*EVERYTHING)
        await datapath.wait(NAMES, 5)
        seen: list[Change] = []
        back = asyncio.Event()

        def listener(change: Change) -> None:
            seen.append(change)
            if change.status.settled and change.key == ROUTES[2].key:
                back.set()

        stop = datapath.listen([Kind.VRF_ROUTE], listener)
        kernel.delete(Kind.NEXT_HOP, NEXT_HOPS[2])
        async with asyncio.timeout(1):
            await back.wait()
        assert {change.kind for change in seen} == {Kind.VRF_ROUTE}
        assert kernel.objects[Kind.VRF_ROUTE][ROUTES[2].key] == ROUTES[2]
        stop()
        seen.clear()
        kernel.delete(Kind.VRF_ROUTE, ROUTES[0].key)
        datapath.remove((Kind.MPLS_ROUTE, MPLS_ROUTE.key))
        await datapath.wait([(Kind.MPLS_ROUTE, MPLS_ROUTE.key)], 5)
        assert seen == []

    run(scenario)


def test_the_monitor_tidies_up_when_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while something is being made; and what it finds is repaired."""

    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        tidied: list[float] = []

        def tidy() -> list[KernelEvent]:
            tidied.append(time.monotonic())
            kernel.monitor.untidy = False
            kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key, notify=False)
            return [ObjectRemoved(Kind.MPLS_ROUTE, MPLS_ROUTE.key)]

        monkeypatch.setattr(kernel.monitor, "tidy", tidy)
        kernel.monitor.untidy = True
        datapath.put(*EVERYTHING)
        await datapath.wait(NAMES, 5)
        done = time.monotonic()
        assert tidied == []
        while not tidied or MPLS_ROUTE.key not in kernel.objects[Kind.MPLS_ROUTE]:
            assert time.monotonic() - done < 5
            await asyncio.sleep(0.005)
        assert tidied[0] - done > QUIET / 2
        assert len(tidied) == 1

    run(scenario)


def test_whoever_waits_is_released_by_stop() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        kernel.fail_dump(Kind.TUNNEL, errno.EPERM, times=100)
        datapath = Datapath(kernel.drivers(), kernel.monitor)
        await datapath.start()
        revision = datapath.put(TUNNEL)
        waiting = asyncio.create_task(datapath.wait_revision(revision, 60))
        await asyncio.sleep(0)
        await datapath.stop()
        assert await waiting is False
        kernel.monitor.close()

    asyncio.run(main())


def test_stop_leaves_the_kernel_alone_and_a_new_process_finds_it_right() -> None:
    async def main() -> None:
        kernel = FakeKernel()
        first = Datapath(kernel.drivers(), kernel.monitor)
        await first.start()
        first.put(*EVERYTHING)
        await first.wait(NAMES, 5)
        await first.stop()
        await first.stop()
        before = {kind: dict(objects) for kind, objects in kernel.objects.items()}
        kernel.writes.clear()
        second = Datapath(kernel.drivers(), kernel.monitor)
        await second.start()
        second.put(*EVERYTHING)
        second.allow_sweep()
        assert all(status.settled for status in await second.wait(NAMES, 5))
        await second.stop()
        assert kernel.writes == []
        assert kernel.objects == before
        kernel.monitor.close()

    asyncio.run(main())


def test_a_resync_can_be_asked_for() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        datapath.put(*EVERYTHING)
        await datapath.wait(NAMES, 5)
        kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key, notify=False)
        told = asyncio.Event()
        datapath.listen([Kind.MPLS_ROUTE], lambda change: told.set() if change.status.settled else None)
        datapath.resync([Kind.MPLS_ROUTE], "asked for")
        async with asyncio.timeout(5):
            await told.wait()
        assert kernel.objects[Kind.MPLS_ROUTE] == {MPLS_ROUTE.key: MPLS_ROUTE}

    run(scenario)


def test_failures_are_logged_once_and_not_by_the_thousand(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        kernel.fail(errno.EBUSY, kind=Kind.NEIGHBOUR, times=-1)
        from_many = [FIRST._replace(address=bytes([10, 0, 0, n])) for n in range(30)]
        datapath.put(TUNNEL, *from_many)
        await datapath.wait([(Kind.NEIGHBOUR, value.key) for value in from_many], 10)

    with caplog.at_level(logging.WARNING, logger="vrfwire.datapath"):
        run(scenario)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 11
    assert lines[-1] == "and 20 more failures"
    assert lines[0] == "neighbour 10.0.0.0 dev vw-gre: Device or resource busy"


def test_a_vm_that_does_not_run_is_told_and_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[Key, State]] = []

    async def scenario(kernel: FakeKernel, datapath: Datapath) -> None:
        kernel.dark.add(PORT.name)
        datapath.listen([Kind.NEXT_HOP], lambda c: seen.append((c.key, c.status.state)), failures_only=True)
        datapath.put(*EVERYTHING)
        await datapath.wait(NAMES, 5, attempts=1)
        assert datapath.without_carrier() == {PORT.name}
        kernel.set_carrier(PORT.name, True)
        assert all(status.settled for status in await datapath.wait(NAMES, 5, attempts=99))
        assert datapath.without_carrier() == set()

    with caplog.at_level(logging.INFO, logger="vrfwire.datapath"):
        run(scenario)
    assert seen == [(LOCAL_HOP, State.FAILED), (LOCAL_HOP, State.PROGRAMMED)]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "tap0 has no carrier, next hops waiting for it: 1")
    ]
    assert Datapath(FakeKernel().drivers()).without_carrier() == set()


def test_a_defect_ends_the_work_loudly(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        kernel = FakeKernel()
        datapath = Datapath(kernel.drivers(), kernel.monitor)

        def defect(now: float) -> bool:
            raise ZeroDivisionError

        datapath.reconciler.step = defect  # type: ignore[method-assign]
        await datapath.start()
        with pytest.raises(ZeroDivisionError):
            await datapath.run_forever()
        with pytest.raises(ZeroDivisionError):
            await datapath.stop()
        kernel.monitor.close()

    with caplog.at_level(logging.CRITICAL, logger="vrfwire.datapath"):
        asyncio.run(main())
    assert "stopped working" in caplog.text
