"""Removal of everything of ours, over the fake kernel."""

from __future__ import annotations

import errno

from datapath.fake import FakeKernel
from datapath.removal import remove_all
from datapath.values import Kind
from tests.unit.datapath.samples import EVERYTHING, PORT


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def full_kernel() -> FakeKernel:
    kernel = FakeKernel()
    for value in EVERYTHING:
        kernel.put(value, notify=False)
    return kernel


def held(kernel: FakeKernel) -> dict[Kind, int]:
    counts = {driver.kind: len(driver.dump()) for driver in kernel.drivers()}
    return {kind: count for kind, count in counts.items() if count}


def test_everything_goes_and_is_counted() -> None:
    kernel, clock = full_kernel(), Clock()
    before = held(kernel)
    assert set(before) == set(Kind)
    done = remove_all(kernel.drivers(), clock=clock, sleep=clock.sleep)
    assert held(kernel) == {}
    assert done.removed == before
    assert done.left == ()
    assert clock.now == 0.0, "nothing to wait for"


def test_nothing_there_is_nothing_to_remove() -> None:
    clock = Clock()
    done = remove_all(FakeKernel().drivers(), clock=clock, sleep=clock.sleep)
    assert (done.removed, done.left, clock.now) == ({}, (), 0.0)


def test_what_fails_at_first_is_tried_again() -> None:
    kernel, clock = full_kernel(), Clock()
    kernel.fail(errno.EBUSY, kind=Kind.PORT, times=2)
    kernel.fail_dump(Kind.VRF, errno.EIO, times=1)
    done = remove_all(kernel.drivers(), clock=clock, sleep=clock.sleep)
    assert held(kernel) == {}
    assert done.left == ()
    assert 0.0 < clock.now < 30.0


def test_what_stays_is_named_at_the_deadline_and_stops_nothing_else() -> None:
    kernel, clock = full_kernel(), Clock()
    routes = held(kernel)[Kind.VRF_ROUTE]
    kernel.fail(errno.EBUSY, kind=Kind.PORT, key=PORT.key, times=1000)
    done = remove_all(kernel.drivers(), deadline=5.0, clock=clock, sleep=clock.sleep)
    assert [text.split(":")[0] for text in done.left] == [f"port {PORT.name}"]
    assert held(kernel)[Kind.PORT] == 1
    assert Kind.VRF_ROUTE not in held(kernel)
    assert done.removed[Kind.VRF_ROUTE] == routes
    assert clock.now == 5.0


def test_a_kind_that_cannot_be_read_is_told() -> None:
    kernel, clock = full_kernel(), Clock()
    kernel.fail_dump(Kind.NEXT_HOP, errno.EIO, times=1000)
    done = remove_all(kernel.drivers(), deadline=2.0, clock=clock, sleep=clock.sleep)
    assert any(text.startswith("next hop") for text in done.left)
