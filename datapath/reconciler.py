"""Makes the kernel hold what is wanted: which object to touch next, in which order, and what became of it.

A core without I/O of its own: time is handed in (`now`, float seconds of any monotonic clock) and the kernel is behind the
drivers. The shell calls step() for as long as it returns True, then sleeps until next_deadline() or the next event:

        put(), remove()            handle(event)
              |                         |
              v                         v
        +-----------------------------------------+   one step:  1. dump a kind that is not in sync (lowest layer first)
        |  desired  <- DeltaTracker ->  kernel    |              2. put a batch of updates (lowest layer first)
        |             one per kind                |              3. remove a batch (highest layer first)
        +-----------------------------------------+
              | Operation batch         ^ Outcome per operation, dump
              v                         |
            Driver of the kind  ->   the kernel

The gate. Nothing of a kind is made or deleted before that kind and those of the layers below were dumped with success:
a process that has just started knows nothing, and what it wants is mostly there already. Objects of ours that a dump shows
and nobody wants ("strays") are kept until allow_sweep(): when an agent starts, it knows its local objects at once, but VRF
routes only after every gateway's end of table. Until then an unknown route may well be right and carry traffic, and so
may the next hop it uses and the neighbour behind that; a sweep of those therefore waits for the routes' leave as well. What
was wanted in the life of this process and no longer is (remove()) is deleted without such leave.

One bad object stops nobody: its failure is kept with it and tried again, later and later. Success in a lower layer, or a
device coming up, lets the failed objects above it be tried at once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from datapath.driver import Driver, DumpInterrupted, Failure, Operation, Outcome, Verb
from datapath.events import KernelEvent, LinkChanged, LinkDown, LinkGone, ObjectChanged, ObjectRemoved
from datapath.relations import DEVICE_KINDS, LOST_WHEN_DOWN, LOST_WHEN_GONE, REFERRERS, device_of, uses_next_hop
from datapath.retry import Jitter, RetryQueue, delay
from datapath.status import Change, KindFigures, State, Status
from datapath.tracker import DeltaTracker
from datapath.values import Key, Kind, NextHop, NextHopGroup, Value

RESYNC_INTERVAL = 600.0
"""Seconds between two dumps of everything, in case an event was missed."""

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})
_BULK_KINDS = (Kind.NEIGHBOUR, Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP, Kind.MPLS_ROUTE, Kind.VRF_ROUTE)
_AT_ONCE = float("-inf")


class _Layer:
    """What the reconciler knows about one kind."""

    __slots__ = (
        "driver",
        "dump_attempts",
        "dump_due",
        "dump_error",
        "dumps",
        "kicked",
        "kind",
        "open",
        "repaired",
        "sweep",
        "tracker",
        "watched",
    )

    def __init__(self, driver: Driver) -> None:
        self.kind = driver.kind
        self.driver = driver
        self.tracker = DeltaTracker()
        self.open: dict[Key, int] = {}
        """Revision of the oldest change of the desired state that isn't carried out, oldest first."""
        self.dumps = 0
        self.dump_due: float | None = _AT_ONCE
        self.dump_attempts = 0
        self.dump_error = ""
        self.repaired = 0
        self.sweep = False
        self.kicked = False
        """Something below has improved since the failed objects of this kind were tried."""
        self.watched = False

    @property
    def in_sync(self) -> bool:
        return self.dumps > 0

    def pending_keys(self) -> set[Key]:
        tracker = self.tracker
        return {*tracker.updates, *tracker.removals, *tracker.aside}


class Reconciler:
    """Desired state, what the kernel is believed to hold, and the next step from one to the other.

    drivers: one for each kind that will be used. jitter: spreads retries (see retry.Jitter). resync_interval: seconds
    between two dumps of everything.
    """

    def __init__(
        self, drivers: Iterable[Driver], *, jitter: Jitter = lambda: 0.0, resync_interval: float = RESYNC_INTERVAL
    ) -> None:
        self._layers = sorted((_Layer(driver) for driver in drivers), key=lambda layer: layer.kind)
        self._by_kind: list[_Layer | None] = [None] * (max(Kind) + 1)
        for layer in self._layers:
            if self._by_kind[layer.kind] is not None:
                raise ValueError(f"two drivers for {layer.kind.name}")
            self._by_kind[layer.kind] = layer
        self._jitter = jitter
        self._retries = RetryQueue(jitter)
        self._resync_interval = resync_interval
        self._next_resync: float | None = None
        self._revision = 0
        self._changes: list[Change] = []
        self._removed_devices: set[str] = set()
        self.resync_reason = "start"
        """Why the last dump was asked for."""

    # What is wanted

    def put(self, value: Value) -> int:
        """Want an object, or another value for its key. Returns the revision of the desired state (see reached()).

        Raises ValueError when there is no driver for its kind.
        """
        layer = self._by_kind[value.kind] or self._no_driver(value.kind)
        self._revision += 1
        self._put(layer, value)
        return self._revision

    def put_all(self, values: Iterable[Value]) -> int:
        """put() for many; all get one revision, which is returned."""
        self._revision += 1
        for value in values:
            self._put(self._by_kind[value.kind] or self._no_driver(value.kind), value)
        return self._revision

    def _put(self, layer: _Layer, value: Value) -> None:
        key = value.key
        tracker = layer.tracker
        if tracker.desired.get(key) == value:
            return
        if tracker.put(key, value):
            layer.open.setdefault(key, self._revision)
        else:
            layer.open.pop(key, None)
        if tracker.aside or self._retries.of(layer.kind):
            self._retries.forget(layer.kind, key)
        if layer.watched and key not in tracker.updates:
            self._changed(layer, key)

    def remove(self, kind: Kind, key: Key) -> int:
        """Want no object under this key any more; it is deleted if it is in the kernel. Returns the revision.

        Raises ValueError when there is no driver for the kind.
        """
        layer = self._by_kind[kind] or self._no_driver(kind)
        self._revision += 1
        wanted = key in layer.tracker.desired
        pending = layer.tracker.remove(key)
        if wanted:
            self._retries.forget(kind, key)
        if pending:
            layer.open.setdefault(key, self._revision)
        else:
            layer.open.pop(key, None)
            if wanted:
                self._changed(layer, key)
        return self._revision

    def _no_driver(self, kind: Kind) -> _Layer:
        raise ValueError(f"no driver for {kind.name}")

    def allow_sweep(self, *kinds: Kind) -> None:
        """Say that the desired state of these kinds (none given: of all) is complete, so that strays may be deleted.

        It can't be taken back. Strays on which objects of other kinds may stand (relations.REFERRERS) are kept until
        those kinds have the leave and were dumped too.
        """
        for layer in self._layers:
            if not kinds or layer.kind in kinds:
                layer.sweep = True
        self._begin_sweeps()

    def _begin_sweeps(self) -> None:
        for layer in self._layers:
            above = [self._by_kind[kind] for kind in REFERRERS.get(layer.kind, ())]
            if layer.sweep and all(other is None or (other.sweep and other.in_sync) for other in above):
                layer.tracker.allow_sweep()

    # What became of it

    def status(self, kind: Kind, key: Key) -> Status:
        """Status of one object. Raises ValueError when there is no driver for the kind."""
        layer = self._by_kind[kind] or self._no_driver(kind)
        tracker = layer.tracker
        wanted = key in tracker.desired
        trouble = self._retries.of(kind).get(key)
        if trouble is not None:
            return Status(State.FAILED, wanted, trouble.failure.text, trouble.attempts, trouble.next_retry)
        if wanted:
            pending = key in tracker.updates or key in tracker.aside
            return Status(State.PENDING if pending else State.PROGRAMMED, True)
        return Status(State.PENDING if key in tracker.kernel else State.ABSENT, False)

    def reached(self, revision: int) -> bool:
        """Whether every change of the desired state up to this revision is carried out (or was overtaken by a later one
        that is). An object that somebody else took away since doesn't count against it."""
        return all(next(iter(layer.open.values()), revision + 1) > revision for layer in self._layers)

    @property
    def revision(self) -> int:
        """Revision of the desired state."""
        return self._revision

    @property
    def in_sync(self) -> bool:
        """Whether every kind was dumped with success."""
        return all(layer.in_sync for layer in self._layers)

    def desired(self, kind: Kind) -> Mapping[Key, Value]:
        """The wanted objects of a kind, read-only."""
        return MappingProxyType((self._by_kind[kind] or self._no_driver(kind)).tracker.desired)

    def kernel(self, kind: Kind) -> Mapping[Key, Value]:
        """The objects of ours of a kind that the kernel is believed to hold, read-only."""
        return MappingProxyType((self._by_kind[kind] or self._no_driver(kind)).tracker.kernel)

    def failures(self) -> list[Change]:
        """Every object whose last try failed."""
        return [
            Change(layer.kind, key, self.status(layer.kind, key))
            for layer in self._layers
            for key in self._retries.of(layer.kind)
        ]

    def figures(self) -> list[KindFigures]:
        """Counts per kind, in layer order, for introspection."""
        return [
            KindFigures(
                kind=layer.kind,
                wanted=len(layer.tracker.desired),
                kernel=len(layer.tracker.kernel),
                pending=layer.tracker.pending,
                failed=len(self._retries.of(layer.kind)),
                strays=len(layer.tracker.strays),
                repaired=layer.repaired,
                dumps=layer.dumps,
                in_sync=layer.in_sync,
                dump_error=layer.dump_error,
            )
            for layer in self._layers
        ]

    def watch(self, *kinds: Kind) -> None:
        """Keep the status changes of these kinds for take_changes()."""
        for kind in kinds:
            (self._by_kind[kind] or self._no_driver(kind)).watched = True

    def take_changes(self) -> list[Change]:
        """Status changes of watched kinds since the last call, oldest first; an object may be in it more than once. The
        failures of other kinds are in it too."""
        changes, self._changes = self._changes, []
        return changes

    def _changed(self, layer: _Layer, key: Key) -> None:
        if layer.watched:
            self._changes.append(Change(layer.kind, key, self.status(layer.kind, key)))

    # What happened in the kernel

    def resync(self, kinds: Iterable[Kind] | None, reason: str) -> None:
        """Dump these kinds (None: all) again before anything else is done. reason: for introspection."""
        self.resync_reason = reason
        for layer in self._layers:
            if (kinds is None or layer.kind in kinds) and layer.dump_due is None:
                layer.dump_due = _AT_ONCE

    def handle(self, events: Iterable[KernelEvent]) -> None:
        """Take note of what others did to the kernel."""
        lost: set[NextHop | NextHopGroup] = set()
        for event in events:
            match event:
                case LinkGone(name):
                    self._link_lost(name, True, lost)
                case LinkDown(name):
                    self._link_lost(name, False, lost)
                case LinkChanged(_):
                    self._kick(self._layers)
                case ObjectRemoved(kind, key):
                    if (layer := self._by_kind[kind]) is not None:
                        self._doubt(layer, [key])
                    if isinstance(key, NextHop | NextHopGroup):
                        lost.add(key)
                case ObjectChanged(kind, key, value):
                    self._object_changed(kind, key, value)
                case _:
                    self.resync(None, "notifications were lost")
        if lost:
            self._next_hops_lost(lost)

    def _link_lost(self, name: str, gone: bool, lost: set[NextHop | NextHopGroup]) -> None:
        """A device went away or down; lost takes up the next hops that went with it."""
        if name in self._removed_devices:
            # Our own doing: what stood on it was unwanted as well.
            if gone:
                self._removed_devices.discard(name)
            return
        for kind in DEVICE_KINDS:
            layer = self._by_kind[kind]
            if layer is None or name not in layer.tracker.kernel:
                continue
            if gone:
                self._doubt(layer, [name])
                if kind is Kind.VRF:
                    self.resync([Kind.PORT], f"{name} is gone")
            else:
                self.resync([kind], f"{name} went down")
        for kind in LOST_WHEN_GONE if gone else LOST_WHEN_DOWN:
            layer = self._by_kind[kind]
            if layer is None:
                continue
            keys = layer.tracker.keys_in_kernel(lambda value: device_of(value) == name)
            if kind is Kind.NEXT_HOP:
                lost.update(key for key in keys if isinstance(key, NextHop))
            self._doubt(layer, keys)

    def _next_hops_lost(self, lost: set[NextHop | NextHopGroup]) -> None:
        """Next hops are gone, and with them their routes and their places in groups."""
        groups = self._by_kind[Kind.NEXT_HOP_GROUP]
        if groups is not None and groups.tracker.keys_in_kernel(lambda value: uses_next_hop(value, lost)):
            # What is left of a group after losing a member is another group: let the kernel tell.
            self.resync([Kind.NEXT_HOP_GROUP, Kind.VRF_ROUTE], "a next-hop group lost a member")
        routes = self._by_kind[Kind.VRF_ROUTE]
        if routes is not None:
            self._doubt(routes, routes.tracker.keys_in_kernel(lambda value: uses_next_hop(value, lost)))

    def _doubt(self, layer: _Layer, keys: Sequence[Key]) -> None:
        """The kernel has lost these objects, or may have: put those that are wanted again."""
        tracker = layer.tracker
        for key in keys:
            right = tracker.kernel.get(key) == tracker.desired.get(key) is not None
            if layer.kind in _BULK_KINDS:
                tracker.kernel_doubt(key)
            else:
                tracker.kernel_remove(key)
            if right:
                layer.repaired += 1
                self._changed(layer, key)

    def _object_changed(self, kind: Kind, key: Key, value: Value | None) -> None:
        layer = self._by_kind[kind]
        if layer is None:
            return
        if value is None:
            self.resync([kind], f"{kind.name} {key!r} was changed by another program")
            return
        tracker = layer.tracker
        want = tracker.desired.get(key)
        if want is not None and want != value and tracker.kernel.get(key) == want:
            layer.repaired += 1
        tracker.kernel_put(key, value)
        self._changed(layer, key)

    def _kick(self, layers: Iterable[_Layer]) -> None:
        for layer in layers:
            layer.kicked = True

    # What to do next

    def step(self, now: float) -> bool:
        """Do one piece of work: one dump, or one batch of a driver. Returns whether there is more to do at once."""
        for kind, key in self._retries.take_due(now):
            if (layer := self._by_kind[kind]) is not None:
                layer.tracker.bring_back([key])
        if self._next_resync is None:
            self._next_resync = now + self._resync_interval
        elif self._next_resync <= now:
            self._next_resync = now + self._resync_interval
            self.resync(None, "periodic")
        return self._dump_one(now) or self._update_one(now) or self._remove_one(now)

    def next_deadline(self) -> float | None:
        """When step() has something to do again by itself, in seconds of `now`; None before the first step."""
        times = [layer.dump_due for layer in self._layers]
        times += [self._retries.next_time(), self._next_resync]
        return min((time for time in times if time is not None), default=None)

    def _dump_one(self, now: float) -> bool:
        """Dump the lowest kind that is due. A kind waits until those below are in sync: the dump of routes can't be read
        without the next hops."""
        for layer in self._layers:
            if layer.dump_due is not None and layer.dump_due <= now:
                self._dump(layer, now)
                return True
            if not layer.in_sync:
                return False
        return False

    def _dump(self, layer: _Layer, now: float) -> None:
        try:
            dump = layer.driver.dump()
        except (DumpInterrupted, OSError) as error:
            layer.dump_attempts += 1
            layer.dump_due = now + delay(layer.dump_attempts, self._jitter)
            layer.dump_error = str(error) or type(error).__name__
            return
        first = not layer.in_sync
        layer.dumps += 1
        layer.dump_due = None
        layer.dump_attempts = 0
        layer.dump_error = ""
        before = layer.pending_keys() if layer.watched else set()
        difference = layer.tracker.replace_kernel(dump)
        self._settle_after_dump(layer, before)
        if first:
            self._begin_sweeps()
            return
        found = difference.missing + difference.changed
        layer.repaired += found
        if found and layer.kind in (Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP):
            # An id may mean another next hop now: read again what goes by it.
            self.resync(REFERRERS[layer.kind], "next hops were changed by another program")

    def _settle_after_dump(self, layer: _Layer, before: set[Key]) -> None:
        """Close what the dump showed to be done, and report what changed."""
        tracker = layer.tracker
        if not tracker.pending:
            layer.open.clear()
            self._retries.of(layer.kind).clear()
        else:
            for pending in (layer.open, self._retries.of(layer.kind)):
                for key in [k for k in pending if not self._is_pending(tracker, k)]:
                    del pending[key]
        if layer.watched:
            for key in before ^ layer.pending_keys():
                self._changed(layer, key)

    @staticmethod
    def _is_pending(tracker: DeltaTracker, key: Key) -> bool:
        return key in tracker.updates or key in tracker.removals or key in tracker.aside

    def _update_one(self, now: float) -> bool:
        for layer in self._layers:
            if not layer.in_sync:
                return False
            tracker = layer.tracker
            if layer.kicked:
                layer.kicked = False
                tracker.bring_back(list(tracker.aside))
            if tracker.updates:
                self._update(layer, now)
                return True
        return False

    def _update(self, layer: _Layer, now: float) -> None:
        work = layer.tracker.next_updates(layer.driver.batch_size)
        outcomes = self._apply(layer, [Operation(Verb.PUT, value, actual) for _, value, actual in work])
        if any(outcomes):
            done = []
            for (key, value, actual), outcome in zip(work, outcomes, strict=True):
                if outcome is None:
                    done.append((key, value, actual))
                    continue
                if actual is not None and outcome.errno in _GONE:
                    # It isn't there to be changed: make it anew next time.
                    layer.tracker.kernel_remove(key)
                self._failed(layer, key, outcome, now)
            work = done
        layer.tracker.kernel_put_wanted([key for key, _, _ in work])
        if layer.kind in DEVICE_KINDS:
            self._removed_devices.difference_update(key for key, _, _ in work if isinstance(key, str))
        self._done(layer, [key for key, _, _ in work])
        if work:
            self._kick(above for above in self._layers if above.kind > layer.kind)

    def _remove_one(self, now: float) -> bool:
        for layer in reversed(self._layers):
            if layer.in_sync and layer.tracker.removals:
                self._remove(layer, now)
                return True
        return False

    def _remove(self, layer: _Layer, now: float) -> None:
        work = layer.tracker.next_removals(layer.driver.batch_size)
        outcomes = self._apply(layer, [Operation(Verb.REMOVE, value) for _, value in work])
        done: list[Key] = []
        for (key, _), outcome in zip(work, outcomes, strict=True):
            if outcome is None:
                done.append(key)
                layer.tracker.kernel_remove(key)
            else:
                self._failed(layer, key, outcome, now)
        if layer.kind in DEVICE_KINDS:
            self._removed_devices.update(key for key in done if isinstance(key, str))
        elif layer.kind in (Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP):
            self._doubt_waiting(layer, done)
        self._done(layer, done)

    def _doubt_waiting(self, layer: _Layer, removed: Sequence[Key]) -> None:
        """The kernel deleted with these next hops whatever still went by them; that can only be what waits to be changed."""
        lost = {key for key in removed if isinstance(key, NextHop | NextHopGroup)}
        for kind in REFERRERS[layer.kind]:
            if (above := self._by_kind[kind]) is None:
                continue
            tracker = above.tracker
            for key in [*tracker.updates, *tracker.aside]:
                have = tracker.kernel.get(key)
                if have is not None and uses_next_hop(have, lost):
                    tracker.kernel_doubt(key)

    def _apply(self, layer: _Layer, operations: list[Operation]) -> list[Outcome]:
        try:
            return layer.driver.apply(operations)
        except OSError as error:
            failure = Failure(error.errno or errno.EIO, str(error) or type(error).__name__)
            return [failure] * len(operations)

    def _failed(self, layer: _Layer, key: Key, failure: Failure, now: float) -> None:
        layer.tracker.set_aside(key)
        trouble = self._retries.failed(layer.kind, key, failure, now)
        if failure.errno == errno.ENOBUFS or (failure.errno == errno.EEXIST and trouble.attempts == 1):
            # What we believe the kernel to hold isn't so.
            self.resync([layer.kind], failure.text)
        self._changes.append(Change(layer.kind, key, self.status(layer.kind, key)))

    def _done(self, layer: _Layer, keys: Sequence[Key]) -> None:
        """These objects are settled."""
        if layer.open:
            close = layer.open.pop
            for key in keys:
                close(key, None)
        if self._retries.of(layer.kind):
            for key in keys:
                self._retries.forget(layer.kind, key)
        if layer.watched:
            for key in keys:
                self._changed(layer, key)
