"""What others did is named, once, and so is that it was put right."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from datapath.drift import CHANGED, DELETED, MOST, Drift, DriftLog
from datapath.driver import Verb
from datapath.fake import FakeKernel
from datapath.plane import Datapath
from datapath.values import Kind, MplsRoute
from tests.unit.datapath.samples import EVERYTHING, MPLS_ROUTE, NEIGHBOURS, PORT, ROUTES, VRF

NAMES = [(value.kind, value.key) for value in EVERYTHING]


def test_found_and_put_right() -> None:
    log = DriftLog()
    log.found(Kind.MPLS_ROUTE, 1000, DELETED)
    log.found(Kind.MPLS_ROUTE, 1000, CHANGED)
    log.found(Kind.MPLS_ROUTE, 1001, CHANGED)
    assert log.take(10.0) == ([Drift(Kind.MPLS_ROUTE, 1000, DELETED), Drift(Kind.MPLS_ROUTE, 1001, CHANGED)], 0)
    log.settled(Kind.MPLS_ROUTE, [999, 1000])
    log.forget(Kind.MPLS_ROUTE, 1001)
    log.settled(Kind.MPLS_ROUTE, [1001])
    assert log.take(12.0) == ([Drift(Kind.MPLS_ROUTE, 1000, "", repaired=True)], 0)
    assert not log
    assert log.repairs(Kind.MPLS_ROUTE, 1000) == (1, 12.0)
    assert log.repairs(Kind.MPLS_ROUTE, 1001) is None


def test_repairs_are_counted_for_each_object() -> None:
    log = DriftLog()
    for when in (1.0, 2.0, 3.0):
        log.found(Kind.PORT, "tap0", DELETED)
        log.settled(Kind.PORT, ["tap0"])
        log.take(when)
    assert log.repairs(Kind.PORT, "tap0") == (3, 3.0)


def test_only_so_many_are_named_and_remembered() -> None:
    log = DriftLog()
    for label in range(MOST + 7):
        log.found(Kind.MPLS_ROUTE, label, DELETED)
    named, more = log.take(1.0)
    assert (len(named), more) == (MOST, 7)
    log.settled(Kind.MPLS_ROUTE, range(MOST + 7))
    assert len(log.take(2.0)[0]) == MOST
    for label in range(MOST, MOST + 5):
        log.found(Kind.MPLS_ROUTE, label, DELETED)
        log.settled(Kind.MPLS_ROUTE, [label])
    log.take(3.0)
    remembered = [label for label in range(MOST + 7) if log.repairs(Kind.MPLS_ROUTE, label)]
    assert remembered == list(range(5, MOST + 5)), "the oldest are forgotten first"


def run(scenario: Callable[[FakeKernel, Datapath, list[Drift]], Awaitable[None]]) -> None:
    """A datapath that has all of the samples; what it tells of drift is collected."""

    async def main() -> None:
        kernel = FakeKernel()
        datapath = Datapath(kernel.drivers(), kernel.monitor)
        told: list[Drift] = []
        datapath.listen_drift(lambda news, more: told.extend(news))
        await datapath.start()
        try:
            datapath.put(*EVERYTHING)
            await datapath.wait(NAMES, 5)
            assert told == [], "making is no repair"
            await scenario(kernel, datapath, told)
        finally:
            await datapath.stop()
            kernel.monitor.close()

    asyncio.run(main())


async def repaired(told: list[Drift], wanted: Drift) -> None:
    end = time.monotonic() + 5
    while wanted not in told:
        assert time.monotonic() < end, told
        await asyncio.sleep(0.001)


def test_what_was_deleted_is_named_and_repaired() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        for value in (MPLS_ROUTE, ROUTES[0], NEIGHBOURS[0]):
            kernel.delete(value.kind, value.key)
            await repaired(told, Drift(value.kind, value.key, "", repaired=True))
            assert Drift(value.kind, value.key, DELETED) in told
            found = datapath.repairs(value.kind, value.key)
            assert found is not None
            assert found[0].times == 1
            assert 0 <= found[1] < 5

    run(scenario)


def test_what_was_changed_is_named_and_repaired() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        kernel.put(MplsRoute(MPLS_ROUTE.label, MPLS_ROUTE.device, bytes(4)))
        await repaired(told, Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, "", repaired=True))
        assert told[0] == Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, CHANGED)

    run(scenario)


def test_what_stood_on_a_deleted_device_says_so() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        kernel.delete(Kind.PORT, PORT.key)
        await repaired(told, Drift(Kind.PORT, PORT.key, "", repaired=True))
        await repaired(told, Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, "", repaired=True))
        assert Drift(Kind.PORT, PORT.key, DELETED) in told
        assert Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, f"lost: {PORT.name} was {DELETED}") in told

    run(scenario)


def test_what_only_a_dump_shows_says_so() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key, notify=False)
        datapath.resync(None, "periodic")
        await repaired(told, Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, "", repaired=True))
        assert told[0] == Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, "found missing: periodic")

    run(scenario)


def test_what_is_put_back_by_others_counts_as_repaired() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        kernel.fail(1, kind=Kind.VRF, times=-1)
        kernel.put(VRF.__class__(VRF.name, VRF.table + 1, VRF.vpn))
        await repaired(told, Drift(Kind.VRF, VRF.key, CHANGED))
        kernel.put(VRF)
        datapath.resync([Kind.VRF], "test")
        await repaired(told, Drift(Kind.VRF, VRF.key, "", repaired=True))

    run(scenario)


def test_what_is_not_wanted_any_more_is_never_repaired() -> None:
    async def scenario(kernel: FakeKernel, datapath: Datapath, told: list[Drift]) -> None:
        kernel.fail(1, kind=Kind.MPLS_ROUTE, verb=Verb.PUT, times=-1)
        kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key)
        await repaired(told, Drift(Kind.MPLS_ROUTE, MPLS_ROUTE.key, DELETED))
        revision = datapath.remove((Kind.MPLS_ROUTE, MPLS_ROUTE.key))
        assert await datapath.wait_revision(revision, 5)
        assert not datapath.reconciler.drift
        assert not any(one.repaired for one in told)

    run(scenario)
