"""The reconciler over a kernel in memory: gate, order, retries, revisions, events."""

from __future__ import annotations

import errno

import pytest

from datapath.driver import Verb
from datapath.events import LinkChanged, LinkDown, ObjectChanged, Overrun
from datapath.fake import FakeKernel
from datapath.reconciler import Reconciler
from datapath.relations import SUPPORTS_ALL
from datapath.retry import FIRST_DELAY, LAST_DELAY, TOGETHER, delay
from datapath.status import Change, State
from datapath.values import Kind, MplsRoute, NextHop, NextHopGroup, Vrf, VrfRoute
from tests.unit.datapath.samples import (
    EVERYTHING,
    FILTERS,
    GROUP,
    LOCAL_HOP,
    LOCAL_ROUTE,
    MPLS_ROUTE,
    MULTIPATH,
    NEIGHBOURS,
    NEXT_HOPS,
    PORT,
    ROUTES,
    TUNNEL,
    VRF,
)
from vpn.prefix import Prefix


class World:
    """A kernel, a reconciler, and a clock that is set by hand."""

    def __init__(self, kernel: FakeKernel | None = None, *, resync_interval: float = 1e9) -> None:
        self.kernel = kernel or FakeKernel()
        self.reconciler = Reconciler(self.kernel.drivers(), resync_interval=resync_interval)
        self.now = 1000.0

    def run(self) -> None:
        """Take in events and work until there is nothing to do at this time."""
        self.reconciler.handle(self.kernel.monitor.drain())
        for _ in range(10_000):
            if not self.reconciler.step(self.now):
                return
        raise AssertionError("the reconciler doesn't come to rest")

    def run_for(self, seconds: float) -> None:
        """Work until that time has passed, retries included."""
        end = self.now + seconds
        self.run()
        while (deadline := self.reconciler.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.run()
        self.now = end

    def writes(self, verb: Verb | None = None) -> list[tuple[Kind, object]]:
        """What reached the kernel since the last call."""
        found: list[tuple[Kind, object]] = [
            (write.kind, write.key) for write in self.kernel.writes if verb in (None, write.verb)
        ]
        self.kernel.writes.clear()
        return found


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def full(world: World) -> World:
    world.reconciler.put_all(EVERYTHING)
    world.reconciler.allow_sweep()
    world.run()
    assert all(world.reconciler.status(value.kind, value.key).settled for value in EVERYTHING)
    world.writes()
    return world


# Gate


def test_nothing_is_written_before_the_dump(world: World) -> None:
    world.reconciler.put_all(EVERYTHING)
    for kind in Kind:
        world.kernel.fail_dump(kind, errno.ENOBUFS)
    world.run()
    assert world.writes() == []
    assert not world.reconciler.in_sync
    assert "No buffer space" in world.reconciler.figures()[0].dump_error
    world.run_for(5)
    assert world.reconciler.in_sync
    assert len(world.kernel.objects[Kind.VRF_ROUTE]) == 6


def test_a_kind_waits_for_the_dumps_below(world: World) -> None:
    world.reconciler.put_all(EVERYTHING)
    world.kernel.fail_dump(Kind.NEXT_HOP, times=3)
    world.run()
    assert {kind for kind, _ in world.writes()} == {kind for kind in Kind if kind < Kind.NEXT_HOP}
    assert Kind.VRF_ROUTE not in world.kernel.dumps
    world.run_for(5)
    assert world.reconciler.in_sync


def test_a_fresh_process_writes_nothing_when_all_is_right(full: World) -> None:
    second = World(full.kernel)
    second.reconciler.put_all(EVERYTHING)
    second.reconciler.allow_sweep()
    second.run()
    assert second.writes() == []
    assert all(second.reconciler.status(value.kind, value.key).settled for value in EVERYTHING)


def test_strays_are_kept_until_the_sweep_is_allowed(full: World) -> None:
    second = World(full.kernel)
    second.reconciler.put_all((TUNNEL, VRF, PORT))
    second.run()
    assert second.writes() == []
    assert sum(figures.strays for figures in second.reconciler.figures()) == len(EVERYTHING) - 3
    second.reconciler.allow_sweep()
    second.run()
    assert {kind for kind, _ in second.writes(Verb.REMOVE)} == set(Kind) - {Kind.TUNNEL, Kind.VRF, Kind.PORT}
    assert not full.kernel.objects[Kind.NEXT_HOP]


def test_a_next_hop_is_not_swept_from_under_routes_that_may_be_right(full: World) -> None:
    second = World(full.kernel)
    second.reconciler.put_all((TUNNEL, VRF, PORT))
    second.reconciler.allow_sweep(Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP, Kind.MPLS_ROUTE)
    second.run()
    assert second.writes() == [(Kind.MPLS_ROUTE, MPLS_ROUTE.key)]
    second.reconciler.put_all((*NEIGHBOURS, *NEXT_HOPS, *ROUTES))
    second.reconciler.allow_sweep(Kind.VRF_ROUTE)
    second.run()
    assert not {(Kind.NEXT_HOP, hop) for hop in NEXT_HOPS} & set(second.writes())
    assert full.kernel.objects[Kind.NEXT_HOP].keys() == set(NEXT_HOPS)
    assert full.kernel.objects[Kind.VRF_ROUTE].keys() == {route.key for route in ROUTES}


def test_what_was_wanted_is_removed_without_leave(world: World) -> None:
    world.reconciler.put_all(EVERYTHING)
    world.run()
    world.reconciler.remove(Kind.MPLS_ROUTE, MPLS_ROUTE.key)
    world.run()
    assert not world.kernel.objects[Kind.MPLS_ROUTE]
    assert world.reconciler.status(Kind.MPLS_ROUTE, MPLS_ROUTE.key).state is State.ABSENT


# Order


def test_making_goes_up_and_breaking_goes_down(world: World) -> None:
    world.reconciler.put_all(reversed(EVERYTHING))
    world.run()
    kinds = [kind for kind, _ in world.writes()]
    assert kinds == sorted(kinds)
    for value in EVERYTHING:
        world.reconciler.remove(value.kind, value.key)
    world.run()
    kinds = [kind for kind, _ in world.writes()]
    assert len(kinds) == len(EVERYTHING)
    assert kinds == sorted(kinds, reverse=True)


def test_an_attach_does_not_wait_for_a_large_table(world: World) -> None:
    world.kernel.batch_size = 8
    world.reconciler = Reconciler(world.kernel.drivers())
    world.reconciler.put_all((TUNNEL, VRF))
    world.run()
    hops = [NextHop("vw-gre", bytes([192, 0, 2, 11]), (label,)) for label in range(16, 816)]
    world.reconciler.put_all(hops)
    world.reconciler.put_all(
        VrfRoute(10000, Prefix(bytes([10, 8, *divmod(n, 256)]), 32), h) for n, h in enumerate(hops)
    )
    world.reconciler.step(world.now)
    port = (PORT, FILTERS, MPLS_ROUTE)
    world.reconciler.put_all(port)
    for _ in port:
        world.reconciler.step(world.now)
    assert all(world.reconciler.status(value.kind, value.key).settled for value in port)
    assert len(world.kernel.objects[Kind.NEXT_HOP]) == 8


def test_a_changed_route_is_moved_before_its_old_next_hop_is_deleted(full: World) -> None:
    moved = ROUTES[0]._replace(via=NEXT_HOPS[1])
    full.reconciler.put(moved)
    full.reconciler.put(MULTIPATH._replace(via=NEXT_HOPS[1]))
    full.reconciler.remove(Kind.NEXT_HOP_GROUP, GROUP)
    full.reconciler.remove(Kind.NEXT_HOP, NEXT_HOPS[0])
    full.run()
    assert full.writes() == [
        (Kind.VRF_ROUTE, moved.key),
        (Kind.VRF_ROUTE, MULTIPATH.key),
        (Kind.NEXT_HOP_GROUP, GROUP),
        (Kind.NEXT_HOP, NEXT_HOPS[0]),
    ]
    assert full.kernel.objects[Kind.VRF_ROUTE][moved.key] == moved


def test_a_step_is_one_batch(world: World) -> None:
    world.kernel.batch_size = 3
    world.reconciler = Reconciler(world.kernel.drivers())
    world.run()
    world.reconciler.put(Vrf("vw-blue", 10000, "blue"))
    world.reconciler.put_all(MplsRoute(label, "vw-blue", bytes([10, 0, 0, 1])) for label in range(100, 107))
    world.writes()
    sizes = []
    while world.reconciler.step(world.now):
        sizes.append(len(world.writes()))
    assert sizes == [1, 3, 3, 1]


# Failures


def test_one_bad_object_does_not_stop_the_others(world: World) -> None:
    world.reconciler.put_all(EVERYTHING)
    world.kernel.fail(errno.EBUSY, kind=Kind.MPLS_ROUTE, times=-1)
    world.run()
    status = world.reconciler.status(Kind.MPLS_ROUTE, MPLS_ROUTE.key)
    assert (status.state, status.attempts) == (State.FAILED, 1)
    assert "busy" in status.error
    assert world.reconciler.status(Kind.VRF_ROUTE, ROUTES[0].key).state is State.PROGRAMMED
    assert [change.key for change in world.reconciler.failures()] == [MPLS_ROUTE.key]


def test_retries_come_later_and_later(world: World) -> None:
    world.reconciler.put_all((VRF, PORT))
    world.kernel.fail(errno.EBUSY, kind=Kind.PORT, times=-1)
    times = []
    for _ in range(14):
        world.run()
        retry = world.reconciler.status(Kind.PORT, PORT.key).next_retry
        assert retry is not None
        assert world.reconciler.next_deadline() == retry
        times.append(retry - world.now)
        world.now = retry
    assert times[0] == pytest.approx(FIRST_DELAY / 2)
    assert times == sorted(times)
    assert times[-1] == pytest.approx(LAST_DELAY / 2)
    world.kernel.heal()
    world.run()
    status = world.reconciler.status(Kind.PORT, PORT.key)
    assert (status.state, status.attempts, status.error) == (State.PROGRAMMED, 0, "")


@pytest.mark.parametrize(
    ("attempts", "jitter", "seconds"), [(1, 0.0, 0.025), (1, 1.0, 0.05), (2, 1.0, 0.1), (99, 1.0, 30.0)]
)
def test_back_off(attempts: int, jitter: float, seconds: float) -> None:
    assert delay(attempts, lambda: jitter) == pytest.approx(seconds)


def test_success_below_lets_what_failed_above_be_tried_at_once(world: World) -> None:
    world.kernel.fail(errno.EBUSY, kind=Kind.TUNNEL, times=6)
    world.reconciler.put_all(EVERYTHING)
    world.run()
    assert world.reconciler.status(Kind.VRF_ROUTE, ROUTES[0].key).state is State.FAILED
    world.run_for(0.5)
    assert world.reconciler.status(Kind.TUNNEL, TUNNEL.key).state is State.FAILED
    retry = world.reconciler.status(Kind.TUNNEL, TUNNEL.key).next_retry
    assert retry is not None
    world.run_for(2)
    assert all(world.reconciler.status(value.kind, value.key).settled for value in EVERYTHING)


def test_what_waits_for_an_event_is_tried_together(world: World) -> None:
    """However many there are, and whenever each of them began to wait."""
    world.kernel.fail(errno.ENETDOWN, kind=Kind.NEXT_HOP, times=-1)
    for value in NEXT_HOPS:
        world.reconciler.put_all((TUNNEL, value))
        world.run()
        world.now += 0.7
    retries = {world.reconciler.status(value.kind, value.key).next_retry for value in NEXT_HOPS}
    assert len(NEXT_HOPS) > 2
    assert len(retries) == 1
    (retry,) = retries
    assert retry is not None
    assert LAST_DELAY / 2 <= retry - world.now <= LAST_DELAY + TOGETHER


def test_a_label_that_is_refused_has_the_label_table_looked_at(world: World) -> None:
    """It is the tunnel's to keep it large enough; somebody may have made it smaller."""
    world.reconciler.put_all(EVERYTHING)
    world.run()
    dumps = {figures.kind: figures.dumps for figures in world.reconciler.figures()}
    world.kernel.fail(errno.EINVAL, kind=Kind.MPLS_ROUTE, times=2)
    world.reconciler.put(MplsRoute(100001, MPLS_ROUTE.device, MPLS_ROUTE.gateway))
    world.run_for(2)
    more = {figures.kind: figures.dumps - dumps[figures.kind] for figures in world.reconciler.figures()}
    assert {kind for kind, count in more.items() if count} == {Kind.TUNNEL}
    assert more[Kind.TUNNEL] == 1


def test_strays_go_with_a_device_that_is_removed(world: World) -> None:
    """A next hop that a restart has not yet asked for is not taken for there when its tunnel was removed and made again
    in between."""
    world.reconciler.put_all((TUNNEL, NEXT_HOPS[0]))
    world.run()
    after = World(world.kernel)
    after.reconciler.put(TUNNEL)
    after.run()
    after.reconciler.remove(Kind.TUNNEL, TUNNEL.key)
    after.reconciler.step(after.now)
    after.reconciler.put_all((TUNNEL, NEXT_HOPS[0]))
    after.run()
    assert after.kernel.objects[Kind.NEXT_HOP] == {NEXT_HOPS[0]: NEXT_HOPS[0]}
    assert after.reconciler.status(Kind.NEXT_HOP, NEXT_HOPS[0]).state is State.PROGRAMMED


def test_a_device_that_comes_up_kicks(world: World) -> None:
    world.kernel.add_link("tap9", up=False)
    world.run()
    hop = NextHop("tap9", bytes([10, 1, 1, 9]))
    world.reconciler.put(hop)
    route = VrfRoute(VRF.table, Prefix(hop.gateway, 32), hop)
    world.reconciler.put_all((VRF, route))
    world.run()
    world.kernel.set_link("tap9", True)
    world.run()
    assert world.reconciler.status(Kind.NEXT_HOP, hop).settled
    assert world.reconciler.status(Kind.VRF_ROUTE, route.key).settled


def test_what_waits_for_a_device_is_hardly_tried(world: World) -> None:
    """VMs that don't run cost nothing: neither time nor work for others lets them be tried, nor is a dump made."""
    hops = [NextHop(f"tap{number}", bytes([10, 9, 1, number])) for number in range(1, 20)]
    for hop in hops:
        world.kernel.add_link(hop.device, up=False)
    world.reconciler.put_all((VRF, *hops, *(VrfRoute(VRF.table, Prefix(hop.gateway, 32), hop) for hop in hops)))
    world.run()
    world.writes()
    world.kernel.dumps.clear()
    world.run_for(LAST_DELAY / 2 - 1)
    world.reconciler.put_all(value for value in EVERYTHING if value.kind not in SUPPORTS_ALL)
    world.run()
    waiting = {(Kind.NEXT_HOP, hop) for hop in hops} | {
        (Kind.VRF_ROUTE, (VRF.table, Prefix(h.gateway, 32))) for h in hops
    }
    assert not waiting.intersection(world.writes())
    assert not world.kernel.dumps
    assert {world.reconciler.status(kind, key).attempts for kind, key in waiting} == {1}
    world.run_for(1 + TOGETHER)
    assert {world.reconciler.status(kind, key).attempts for kind, key in waiting} == {2}, "in case an event was missed"


def test_lost_notifications_let_what_waits_be_tried(world: World) -> None:
    hop = NextHop("tap9", bytes([10, 1, 1, 9]))
    world.kernel.add_link("tap9", up=False)
    world.reconciler.put(hop)
    world.run()
    world.kernel.set_link("tap9", True)
    world.kernel.monitor.drain()
    world.run()
    assert not world.reconciler.status(Kind.NEXT_HOP, hop).settled
    world.reconciler.handle([Overrun()])
    world.run()
    assert world.reconciler.status(Kind.NEXT_HOP, hop).settled


def test_a_new_value_is_tried_at_once(world: World) -> None:
    world.reconciler.put_all((VRF, MplsRoute(100, "nowhere", b"\x0a\0\0\1")))
    world.run_for(20)
    world.reconciler.put(MplsRoute(100, "vw-blue", b"\x0a\0\0\1"))
    world.run()
    assert world.reconciler.status(Kind.MPLS_ROUTE, 100).state is State.PROGRAMMED


def test_a_device_that_vanishes_in_the_middle_of_a_batch(world: World) -> None:
    world.reconciler.put_all((TUNNEL, VRF))
    world.run()
    hops = [NextHop("vw-gre", bytes([192, 0, 2, host]), (host,)) for host in range(20, 30)]
    world.kernel.before(Kind.NEXT_HOP, 5, lambda: world.kernel.delete_link("vw-gre"))
    world.reconciler.put_all(hops)
    world.run_for(5)
    assert world.kernel.objects[Kind.NEXT_HOP].keys() == set(hops)
    assert all(world.reconciler.status(Kind.NEXT_HOP, hop).settled for hop in hops)


def test_an_object_of_another_owner_is_left_alone_and_reported(world: World) -> None:
    world.kernel.foreign[Kind.VRF_ROUTE].add(ROUTES[0].key)
    world.reconciler.put_all(EVERYTHING)
    world.run_for(10)
    status = world.reconciler.status(Kind.VRF_ROUTE, ROUTES[0].key)
    assert status.state is State.FAILED
    assert "another owner" in status.error
    assert world.kernel.dumps.count(Kind.VRF_ROUTE) == 2, "the first EEXIST asks for a dump, the others don't"
    assert world.reconciler.status(Kind.VRF_ROUTE, ROUTES[1].key).settled


def test_eexist_of_our_own_is_found_by_a_dump(full: World) -> None:
    full.kernel.objects[Kind.VRF_ROUTE][LOCAL_ROUTE.key] = LOCAL_ROUTE
    full.reconciler.remove(Kind.VRF_ROUTE, ROUTES[0].key)
    full.run()
    full.kernel.put(ROUTES[0], notify=False)
    full.reconciler.put(ROUTES[0])
    full.run()
    assert full.reconciler.status(Kind.VRF_ROUTE, ROUTES[0].key).settled


def test_a_driver_that_cannot_talk_to_the_kernel_fails_its_batch(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run()
    layer_apply = "datapath.fake.FakeDriver.apply"

    def broken(*_: object) -> list[None]:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr(layer_apply, broken)
    world.reconciler.put_all((VRF, PORT))
    world.run()
    assert "No buffer" in world.reconciler.status(Kind.VRF, VRF.key).error
    monkeypatch.undo()
    world.run_for(5)
    assert world.reconciler.status(Kind.PORT, PORT.key).settled


def test_a_failed_removal_is_tried_again(full: World) -> None:
    full.kernel.fail(errno.EBUSY, kind=Kind.PORT, verb=Verb.REMOVE, times=2)
    full.reconciler.remove(Kind.PORT, PORT.key)
    full.run()
    assert full.reconciler.status(Kind.PORT, PORT.key).state is State.FAILED
    full.run_for(5)
    assert full.reconciler.status(Kind.PORT, PORT.key).state is State.ABSENT
    assert not full.kernel.objects[Kind.PORT]


# Revisions


def test_a_revision_is_reached_when_all_before_it_is_done(world: World) -> None:
    first = world.reconciler.put_all((VRF, PORT))
    second = world.reconciler.put(TUNNEL)
    world.kernel.fail(errno.EBUSY, kind=Kind.TUNNEL)
    assert not world.reconciler.reached(first)
    world.run()
    assert world.reconciler.reached(first)
    assert not world.reconciler.reached(second)
    world.run_for(1)
    assert world.reconciler.reached(second)
    third = world.reconciler.remove(Kind.TUNNEL, TUNNEL.key)
    assert not world.reconciler.reached(third)
    world.run()
    assert world.reconciler.reached(third)
    assert world.reconciler.revision == third


def test_an_overtaken_change_counts_until_the_later_one_is_done(world: World) -> None:
    first = world.reconciler.put(MplsRoute(100, "vw-blue", b"\x0a\0\0\1"))
    world.run()
    world.reconciler.put(MplsRoute(100, "vw-blue", b"\x0a\0\0\2"))
    assert not world.reconciler.reached(first)
    world.reconciler.put(VRF)
    world.run()
    assert world.reconciler.reached(world.reconciler.revision)


def test_a_change_taken_back_is_reached(world: World) -> None:
    revision = world.reconciler.put(VRF)
    world.reconciler.remove(Kind.VRF, VRF.key)
    assert world.reconciler.reached(revision)
    assert world.reconciler.status(Kind.VRF, VRF.key).state is State.ABSENT


# Events


def test_a_deleted_route_is_put_back(full: World) -> None:
    full.kernel.delete(Kind.VRF_ROUTE, ROUTES[0].key)
    full.run()
    assert full.writes() == [(Kind.VRF_ROUTE, ROUTES[0].key)]
    assert full.kernel.dumps.count(Kind.VRF_ROUTE) == 1
    assert next(f.repaired for f in full.reconciler.figures() if f.kind is Kind.VRF_ROUTE) == 1


def test_a_deleted_next_hop_takes_its_routes_with_it_and_all_come_back(full: World) -> None:
    full.kernel.delete(Kind.NEXT_HOP, NEXT_HOPS[2])
    assert len(full.kernel.objects[Kind.VRF_ROUTE]) == 4
    full.run()
    assert len(full.kernel.objects[Kind.VRF_ROUTE]) == 6
    assert full.kernel.objects[Kind.VRF_ROUTE][ROUTES[2].key] == ROUTES[2]


def test_a_group_that_lost_a_member_is_made_again(full: World) -> None:
    full.kernel.delete(Kind.NEXT_HOP, NEXT_HOPS[0])
    full.run()
    assert full.kernel.objects[Kind.NEXT_HOP_GROUP].keys() == {GROUP}
    assert full.kernel.objects[Kind.VRF_ROUTE][MULTIPATH.key] == MULTIPATH


@pytest.mark.parametrize("device", ["vw-gre", "tap0", "vw-blue"])
def test_a_deleted_device_comes_back_with_all_that_stood_on_it(full: World, device: str) -> None:
    before = {kind: dict(objects) for kind, objects in full.kernel.objects.items()}
    full.kernel.delete_link(device)
    full.run()
    assert full.kernel.objects == before


@pytest.mark.parametrize("device", ["vw-gre", "tap0"])
def test_a_device_that_goes_down_and_up(full: World, device: str) -> None:
    before = {kind: dict(objects) for kind, objects in full.kernel.objects.items()}
    full.kernel.set_link(device, False)
    full.run()
    full.kernel.set_link(device, True)
    full.run_for(1)
    assert full.kernel.objects == before


def test_our_own_deletion_of_a_device_is_no_loss(full: World) -> None:
    full.reconciler.remove(Kind.PORT, PORT.key)
    full.run()
    full.writes()
    full.run()
    assert full.writes() == []
    assert next(f.repaired for f in full.reconciler.figures() if f.kind is Kind.MPLS_ROUTE) == 0


def test_lost_notifications_mean_a_dump_of_everything(full: World) -> None:
    full.kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key, notify=False)
    full.kernel.put(ROUTES[0]._replace(via=NEXT_HOPS[1]), notify=False)
    full.reconciler.handle([Overrun()])
    full.run()
    assert set(full.writes()) == {(Kind.MPLS_ROUTE, MPLS_ROUTE.key), (Kind.VRF_ROUTE, ROUTES[0].key)}


def test_a_periodic_dump_finds_what_no_event_told() -> None:
    world = World(resync_interval=60)
    world.reconciler.put_all(EVERYTHING)
    world.run()
    world.kernel.delete(Kind.NEXT_HOP, NEXT_HOPS[2], notify=False)
    world.run_for(61)
    assert world.reconciler.resync_reason != "start"
    assert len(world.kernel.objects[Kind.VRF_ROUTE]) == 6


def test_a_changed_object_is_put_right(full: World) -> None:
    full.kernel.put(ROUTES[0]._replace(via=NEXT_HOPS[1]))
    full.run()
    assert full.writes() == [(Kind.VRF_ROUTE, ROUTES[0].key)]
    full.kernel.objects[Kind.VRF] = {VRF.key: Vrf(VRF.name, 10001, "red")}
    full.reconciler.handle([ObjectChanged(Kind.VRF, VRF.key)])
    full.run()
    assert full.kernel.objects[Kind.VRF] == {VRF.key: VRF}


def test_a_lost_carrier_takes_next_hops_and_what_goes_by_them(full: World) -> None:
    full.kernel.dumps.clear()
    full.reconciler.handle([LinkDown("tap0", up=True)])
    full.run()
    assert full.writes() == [(Kind.NEXT_HOP, LOCAL_HOP), (Kind.VRF_ROUTE, LOCAL_ROUTE.key)]
    assert not full.kernel.dumps, "a VM that stops or starts costs no dump"


def test_traffic_does_not_wait_for_the_dump_of_a_group_that_lost_a_member(full: World) -> None:
    """Whoever plans hears that the next hop is refused, and wants the group without it, before anything is dumped."""
    shared = NextHopGroup((LOCAL_HOP, *GROUP.members))
    moved = MULTIPATH._replace(via=shared)
    full.reconciler.put_all((shared, moved))
    full.run()
    full.kernel.dumps.clear()
    full.reconciler.take_changes()
    full.kernel.set_carrier(PORT.name, False)
    full.reconciler.handle(full.kernel.monitor.drain())
    told: list[Change] = []
    while not told:
        assert full.reconciler.step(full.now)
        told = [change for change in full.reconciler.take_changes() if change.key == LOCAL_HOP]
    assert told[0].status.errno == errno.ENETDOWN
    full.reconciler.put(MULTIPATH)
    full.reconciler.remove(Kind.NEXT_HOP_GROUP, shared)
    full.run()
    assert full.kernel.objects[Kind.VRF_ROUTE][MULTIPATH.key] == MULTIPATH
    assert full.kernel.dumps == []


def test_a_group_that_lost_a_member_unnoticed_is_looked_at_in_the_end(full: World) -> None:
    """The carrier was away for so short a time that the next hop could be made again at once."""
    shared = NextHopGroup((LOCAL_HOP, *GROUP.members))
    full.reconciler.put_all((shared, MULTIPATH._replace(via=shared)))
    full.run()
    full.kernel.set_carrier(PORT.name, False)
    full.kernel.set_carrier(PORT.name, True)
    assert shared not in full.kernel.objects[Kind.NEXT_HOP_GROUP]
    full.run()
    assert shared in full.kernel.objects[Kind.NEXT_HOP_GROUP]
    assert full.kernel.objects[Kind.VRF_ROUTE][MULTIPATH.key] == MULTIPATH._replace(via=shared)


def test_an_event_out_of_date_costs_a_rewrite_and_no_more(full: World) -> None:
    full.reconciler.handle([LinkDown("vw-gre"), LinkChanged("vw-gre")])
    full.run()
    # There is a group, so that groups are dumped, and found right.
    assert {kind for kind, _ in full.writes()} == {Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.VRF_ROUTE}
    assert next(f.dumps for f in full.reconciler.figures() if f.kind is Kind.NEXT_HOP_GROUP) == 2
    assert full.reconciler.failures() == []


# Changes


def test_changes_of_watched_kinds_are_told(world: World) -> None:
    world.reconciler.watch(Kind.MPLS_ROUTE)
    world.reconciler.put_all(EVERYTHING)
    world.run()
    told = world.reconciler.take_changes()
    assert [(change.key, change.status.state) for change in told] == [(MPLS_ROUTE.key, State.PROGRAMMED)]
    world.kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key)
    world.run()
    assert [change.status.state for change in world.reconciler.take_changes()] == [State.PENDING, State.PROGRAMMED]


def test_of_other_kinds_failures_are_told_and_how_they_end(world: World) -> None:
    world.kernel.dark.add(PORT.name)
    world.reconciler.put_all(EVERYTHING)
    world.run()
    told = [(change.key, change.status.state) for change in world.reconciler.take_changes()]
    assert told == [(LOCAL_HOP, State.FAILED), (LOCAL_ROUTE.key, State.FAILED)]
    world.kernel.set_carrier(PORT.name, True)
    world.run()
    told = [(change.key, change.status.state) for change in world.reconciler.take_changes()]
    assert told == [(LOCAL_HOP, State.PROGRAMMED), (LOCAL_ROUTE.key, State.PROGRAMMED)]
    world.kernel.fail(errno.EBUSY, kind=Kind.MPLS_ROUTE)
    world.kernel.delete(Kind.MPLS_ROUTE, MPLS_ROUTE.key)
    world.run()
    assert [change.status.state for change in world.reconciler.take_changes()] == [State.FAILED]
    world.kernel.put(MPLS_ROUTE, notify=False)
    world.reconciler.resync([Kind.MPLS_ROUTE], "test")
    world.run()
    assert [change.status.state for change in world.reconciler.take_changes()] == [State.PROGRAMMED]


def test_what_the_dump_shows_to_be_right_is_told_too(full: World) -> None:
    second = World(full.kernel)
    second.reconciler.watch(Kind.MPLS_ROUTE)
    second.reconciler.put_all(EVERYTHING)
    second.run()
    assert [change.status.state for change in second.reconciler.take_changes()] == [State.PROGRAMMED]


def test_an_object_put_when_the_kernel_has_it_is_told_at_once(full: World) -> None:
    second = World(full.kernel)
    second.reconciler.watch(Kind.MPLS_ROUTE)
    second.run()
    second.reconciler.put(MPLS_ROUTE)
    assert [change.status.state for change in second.reconciler.take_changes()] == [State.PROGRAMMED]


def test_views_and_figures(full: World) -> None:
    assert full.reconciler.desired(Kind.VRF_ROUTE)[MULTIPATH.key] == MULTIPATH
    kernel = full.reconciler.kernel(Kind.VRF_ROUTE)
    assert isinstance(kernel[ROUTES[0].key], VrfRoute)
    assert len(kernel) == len(list(kernel)) == 6
    assert kernel.get((9, ROUTES[0].prefix)) is None
    figures = {f.kind: f for f in full.reconciler.figures()}
    assert (figures[Kind.VRF_ROUTE].wanted, figures[Kind.VRF_ROUTE].kernel, figures[Kind.VRF_ROUTE].pending) == (
        6,
        6,
        0,
    )


def test_a_kind_without_driver_is_refused() -> None:
    reconciler = Reconciler(FakeKernel([Kind.VRF]).drivers())
    with pytest.raises(ValueError, match="no driver for TUNNEL"):
        reconciler.put(TUNNEL)
    with pytest.raises(ValueError, match="two drivers for VRF"):
        Reconciler([*FakeKernel([Kind.VRF]).drivers(), *FakeKernel([Kind.VRF]).drivers()])


def test_many_at_once(world: World) -> None:
    routes = [MplsRoute(label, "vw-blue", bytes([10, 0, 0, 1])) for label in range(100, 1100)]
    world.reconciler.watch(Kind.MPLS_ROUTE)
    first = world.reconciler.put_all([VRF, *routes[:900]])
    second = world.reconciler.put_all(routes)
    assert not world.reconciler.reached(first)
    world.run()
    assert world.reconciler.reached(second)
    assert world.kernel.objects[Kind.MPLS_ROUTE].keys() == {route.label for route in routes}
    assert len(world.reconciler.take_changes()) == 1000
    world.reconciler.put_all([route._replace(gateway=bytes([10, 0, 0, 2])) for route in routes])
    world.run()
    held = world.kernel.objects[Kind.MPLS_ROUTE].values()
    assert {route.gateway for route in held if isinstance(route, MplsRoute)} == {bytes([10, 0, 0, 2])}
