"""Whatever goes wrong, the kernel ends as it is wanted: reconciler over the fake kernel, by hypothesis."""

from __future__ import annotations

import errno

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datapath.driver import Verb
from datapath.fake import FakeKernel
from datapath.reconciler import Reconciler
from datapath.relations import DEVICE_KINDS
from datapath.status import State
from datapath.values import Key, Kind, NextHop, NextHopGroup, Value, VrfRoute
from tests.unit.datapath.samples import EVERYTHING, LOCAL_HOP, NEXT_HOPS, ROUTES
from vpn.prefix import Prefix

ERRORS = st.sampled_from([errno.EEXIST, errno.ENOENT, errno.EBUSY, errno.ENOBUFS, errno.ENODEV, errno.EINVAL])
KINDS = st.sampled_from(list(Kind))
SHARED = NextHopGroup((LOCAL_HOP, NEXT_HOPS[0]))
"""Of a VM here, that may be switched off, and one elsewhere."""
VALUES = st.sampled_from((*EVERYTHING, SHARED, VrfRoute(10000, Prefix.parse("10.8.0.0/16"), SHARED)))
DEVICES = st.sampled_from(["vw-gre", "vw-blue", "tap0"])
FOREIGN = VrfRoute(10000, ROUTES[0].prefix._replace(packed=bytes([10, 200, 0, 1])), NEXT_HOPS[0])
"""A route that looks like ours and that nobody wants."""


def closure(wanted: set[Value]) -> set[Value]:
    """What is wanted and what it stands on: a planner never asks for less."""
    found = set(wanted)
    for value in wanted:
        if isinstance(value, VrfRoute):
            found.add(value.via)
    for value in list(found):
        if isinstance(value, NextHopGroup):
            found.update(value.members)
    devices = {value.device for value in found if isinstance(value, NextHop)}
    devices |= {getattr(value, "device", "") for value in found}
    found |= {value for value in EVERYTHING if value.kind in DEVICE_KINDS and value.key in devices}
    if any(value.kind is Kind.PORT for value in found):
        found |= {value for value in EVERYTHING if value.kind is Kind.VRF}
    return found


class Convergence(RuleBasedStateMachine):
    """Random wishes, faults and third parties; then calm, and the kernel must be as wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = FakeKernel(batch_size=3)
        self.now = 0.0
        self.start()

    def start(self) -> None:
        self.wanted: set[Value] = set()
        self.asked: set[Value] = set()
        self.reconciler = Reconciler(self.kernel.drivers(), resync_interval=1e9)
        self.reconciler.watch(*Kind)
        self.last: dict[tuple[Kind, Key], State] = {}
        self.swept = False

    def ask(self, wanted: set[Value]) -> None:
        complete = closure(wanted)
        for value in self.asked - complete:
            self.reconciler.remove(value.kind, value.key)
        self.reconciler.put_all(complete - self.asked)
        self.wanted, self.asked = wanted, complete

    @rule(values=st.sets(VALUES))
    def want(self, values: set[Value]) -> None:
        self.ask(values)

    @rule(route=st.sampled_from(ROUTES), hop=st.sampled_from(NEXT_HOPS))
    def move(self, route: VrfRoute, hop: NextHop) -> None:
        self.ask({value for value in self.wanted if value.key != route.key} | {route._replace(via=hop)})

    @rule(steps=st.integers(1, 8), seconds=st.floats(0, 0.3))
    def work(self, steps: int, seconds: float) -> None:
        self.reconciler.handle(self.kernel.monitor.drain())
        for _ in range(steps):
            self.reconciler.step(self.now)
        self.now += seconds

    @rule(
        error=ERRORS, kind=KINDS, verb=st.sampled_from([None, *Verb]), skip=st.integers(0, 3), times=st.integers(1, 4)
    )
    def fail(self, error: int, kind: Kind, verb: Verb | None, skip: int, times: int) -> None:
        self.kernel.fail(error, kind=kind, verb=verb, skip=skip, times=times)

    @rule(kind=KINDS, error=st.sampled_from([None, errno.ENOBUFS]), times=st.integers(1, 3))
    def fail_dump(self, kind: Kind, error: int | None, times: int) -> None:
        self.kernel.fail_dump(kind, error, times)

    @rule(device=DEVICES, kind=KINDS, nth=st.integers(1, 4))
    def vanish_later(self, device: str, kind: Kind, nth: int) -> None:
        self.kernel.before(kind, nth, lambda: self.kernel.delete_link(device))

    @rule(device=DEVICES)
    def delete_device(self, device: str) -> None:
        self.kernel.delete_link(device)

    @rule(device=DEVICES, up=st.booleans())
    def set_link(self, device: str, up: bool) -> None:
        if device in self.kernel.links:
            self.kernel.set_link(device, up)

    @rule(carrier=st.booleans(), late=st.booleans())
    def switch(self, carrier: bool, late: bool) -> None:
        if "tap0" in self.kernel.links:
            self.kernel.set_carrier("tap0", carrier, late=late)

    @rule(kind=KINDS, place=st.integers(0, 20), overrun=st.booleans())
    def delete(self, kind: Kind, place: int, overrun: bool) -> None:
        keys = list(self.kernel.objects[kind])
        if keys:
            self.kernel.delete(kind, keys[place % len(keys)], notify=not overrun)
            if overrun:
                self.kernel.overrun()

    @rule()
    def add_stray(self) -> None:
        if FOREIGN.via in self.kernel.objects[Kind.NEXT_HOP]:
            self.kernel.put(FOREIGN)

    @rule()
    def sweep(self) -> None:
        self.reconciler.allow_sweep()
        self.swept = True

    @rule(kind=st.sampled_from([None, *Kind]))
    def resync(self, kind: Kind | None) -> None:
        self.reconciler.resync(None if kind is None else [kind], "test")

    @rule()
    def restart(self) -> None:
        """A process without memory takes over; the notifications of the time between are lost."""
        wanted = self.wanted
        self.kernel.monitor.drain()
        self.start()
        self.ask(wanted)

    @rule()
    def calm(self) -> None:
        """No more faults: all must be as wanted."""
        self.kernel.heal()
        for device in list(self.kernel.links):
            self.kernel.set_link(device, True)
        for device in list(self.kernel.dark):
            self.kernel.set_carrier(device, True)
        for _ in range(4000):
            self.reconciler.handle(self.kernel.monitor.drain())
            if not self.reconciler.step(self.now):
                deadline = self.reconciler.next_deadline()
                assert deadline is not None
                if deadline > self.now + 100:
                    break
                self.now = max(self.now, deadline)
        else:
            raise AssertionError("the reconciler doesn't come to rest")
        for value in self.asked:
            assert self.kernel.objects[value.kind].get(value.key) == value
            assert self.reconciler.status(value.kind, value.key).state is State.PROGRAMMED
        if self.swept:
            held = {value for objects in self.kernel.objects.values() for value in objects.values()}
            assert held == self.asked
        assert self.reconciler.failures() == []
        assert self.reconciler.reached(self.reconciler.revision)
        for kind in Kind:
            # A stray that was lost with what it stood on is believed to be there until it is deleted.
            believed = dict(self.reconciler.kernel(kind))
            assert self.kernel.objects[kind].items() <= believed.items()
            assert self.swept <= (believed == self.kernel.objects[kind])

    @invariant()
    def changes_tell_the_truth(self) -> None:
        for change in self.reconciler.take_changes():
            self.last[change.kind, change.key] = change.status.state
        for (kind, key), state in self.last.items():
            if state is State.PROGRAMMED and self.reconciler.status(kind, key).state is State.PROGRAMMED:
                assert key in self.reconciler.desired(kind)

    def teardown(self) -> None:
        self.calm()
        self.kernel.monitor.close()


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
