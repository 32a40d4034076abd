"""Makes the kernel hold what is wanted: which object to touch next, in which order, and what became of it.

A core without I/O of its own: time is handed in (`now`, float seconds of any monotonic clock) and the kernel is behind
the drivers. The shell calls step() for as long as it returns True, then sleeps until next_deadline() or the next event:

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
a process that has just started knows nothing, and what it wants is mostly there already. Objects of ours that a dump
shows and nobody wants ("strays") are kept until allow_sweep(): when an agent starts, it knows its local objects at
once, but VRF routes only after every gateway's end of table. Until then an unknown route may well be right and carry
traffic, and so may the next hop it uses and the neighbour behind that; a sweep of those therefore waits for the routes'
leave as well. What was wanted in the life of this process and no longer is (remove()) is deleted without such leave.

One bad object stops nobody: its failure is kept with it and tried again, later and later. When something is made
that it stands on, or its device comes up, it is tried at once; what can't succeed before that (retry.WAITING) is hardly
tried otherwise.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from datapath.drift import DriftLog
from datapath.driver import Driver, DumpInterrupted, Failure, Operation, Outcome
from datapath.events import KernelEvent
from datapath.layer import AT_ONCE, KernelView, Layer, Layers
from datapath.losses import Losses
from datapath.relations import DEVICE_KINDS, REFERRERS, SUPPORTS_ALL, SUPPORTS_SOME
from datapath.retry import Jitter, RetryQueue, delay
from datapath.status import Change, KindFigures, State, Status
from datapath.tracker import keyed
from datapath.values import Key, Kind, Value

RESYNC_INTERVAL = 600.0
"""Seconds between two dumps of everything, in case an event was missed."""

_GONE = frozenset({errno.ENOENT, errno.ENODEV, errno.ESRCH})
_BULK = 16
"""Objects of a kind from which on it pays to put them together."""
_T = TypeVar("_T")
_NEXT_HOP_KINDS = (Kind.NEXT_HOP, Kind.NEXT_HOP_GROUP)


class Reconciler:
    """Desired state, what the kernel is believed to hold, and the next step from one to the other.

    drivers: one for each kind that will be used. jitter: spreads retries (see retry.Jitter). resync_interval: seconds
    between two dumps of everything.
    """

    def __init__(
        self, drivers: Iterable[Driver], *, jitter: Jitter = lambda: 0.0, resync_interval: float = RESYNC_INTERVAL
    ) -> None:
        self._layers = Layers(drivers)
        self.drift = DriftLog()
        """What others did, by name."""
        self._losses = Losses(self._layers, self.resync, self._changed, self.drift)
        self._jitter = jitter
        self._retries = RetryQueue(jitter)
        self._resync_interval = resync_interval
        self._next_resync: float | None = None
        self._revision = 0
        self._changes: list[Change] = []
        self.resync_reason = "start"
        """Why the last dump was asked for."""

    # What is wanted

    def put(self, value: Value) -> int:
        """Want an object, or another value for its key. Returns the revision of the desired state (see reached()).

        Raises ValueError when there is no driver for its kind.
        """
        return self.put_all((value,))

    def put_all(self, values: Iterable[Value]) -> int:
        """put() for many; all get one revision, which is returned."""
        self._revision = revision = self._revision + 1
        wanted: Sequence[Value] = values if isinstance(values, Sequence) else list(values)
        troubled = bool(self._retries)
        for of_type in {type(value) for value in wanted}:
            group: list[Value] = [value for value in wanted if type(value) is of_type]
            layer = self._layers[group[0].kind]
            if len(group) >= _BULK and not troubled and layer.tracker.put_new(keyed(group), revision):
                continue
            for value in group:
                self._put(layer, value, revision)
        return revision

    def _put(self, layer: Layer, value: Value, revision: int) -> None:
        key = value.key
        if layer.tracker.desired.get(key) != value:
            self._retries.forget(layer.kind, key)
        if not layer.tracker.put(key, value, revision) and layer.watched:
            self._changed(layer, key)

    def remove(self, kind: Kind, key: Key) -> int:
        """Want no object under this key any more; it is deleted if it is in the kernel. Returns the revision.

        Raises ValueError when there is no driver for the kind.
        """
        layer = self._layers[kind]
        self._revision += 1
        wanted = key in layer.tracker.desired
        pending = layer.tracker.remove(key, self._revision)
        if wanted:
            self._retries.forget(kind, key)
            self.drift.forget(kind, key)
            if not pending:
                self._changed(layer, key)
        return self._revision

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
            above = [self._layers.get(kind) for kind in REFERRERS.get(layer.kind, ())]
            if layer.sweep and all(other is None or (other.sweep and other.in_sync) for other in above):
                layer.tracker.allow_sweep()

    # What became of it

    def status(self, kind: Kind, key: Key) -> Status:
        """Status of one object. Raises ValueError when there is no driver for the kind."""
        tracker = self._layers[kind].tracker
        wanted = key in tracker.desired
        trouble = self._retries.of(kind).get(key)
        if trouble is not None:
            failure = trouble.failure
            return Status(State.FAILED, wanted, failure.text, trouble.attempts, trouble.next_retry, failure.errno)
        if wanted:
            return Status(State.PROGRAMMED if tracker.is_right(key) else State.PENDING, True)
        return Status(State.PENDING if key in tracker.other else State.ABSENT, False)

    def reached(self, revision: int) -> bool:
        """Whether every change of the desired state up to this revision is carried out (or was overtaken by a later one
        that is). An object that somebody else took away since doesn't count against it."""
        return all(next(iter(layer.tracker.outstanding), revision + 1) > revision for layer in self._layers)

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
        return MappingProxyType(self._layers[kind].tracker.desired)

    def kernel(self, kind: Kind) -> Mapping[Key, Value]:
        """The objects of ours of a kind that the kernel is believed to hold, read-only."""
        return KernelView(self._layers[kind].tracker)

    def unwanted(self, kind: Kind) -> list[Key]:
        """Objects of ours of a kind that the kernel is believed to hold and nobody wants."""
        tracker = self._layers[kind].tracker
        return [key for key in tracker.other if key not in tracker.desired]

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
                kernel=layer.tracker.kernel_count(),
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
            self._layers[kind].watched = True

    def take_changes(self) -> list[Change]:
        """Status changes of watched kinds since the last call, oldest first; an object may be in it more than once. Of
        other kinds, the failures are in it, and what was programmed after one."""
        changes, self._changes = self._changes, []
        return changes

    def _changed(self, layer: Layer, key: Key) -> None:
        if layer.watched:
            self._changes.append(Change(layer.kind, key, self.status(layer.kind, key)))

    # What happened in the kernel

    def resync(self, kinds: Iterable[Kind] | None, reason: str) -> None:
        """Dump these kinds (None: all) again before anything else is done. reason: for introspection."""
        self.resync_reason = reason
        for layer in self._layers:
            if (kinds is None or layer.kind in kinds) and layer.dump_due is None:
                layer.dump_due = AT_ONCE

    def handle(self, events: Iterable[KernelEvent]) -> None:
        """Take note of what others did to the kernel."""
        self._losses.handle(events)

    # What to do next

    def step(self, now: float) -> bool:
        """Do one piece of work: one dump, or one batch of a driver. Returns whether there is more to do at once."""
        for kind, key in self._retries.take_due(now):
            self._layers[kind].tracker.bring_back([key])
        if self._next_resync is None:
            self._next_resync = now + self._resync_interval
        elif self._next_resync <= now:
            self._next_resync = now + self._resync_interval
            self.resync(None, "periodic")
        return self._dump_one(now) or self._update_one(now) or self._remove_one(now) or self._losses.look_at_groups()

    def next_deadline(self) -> float | None:
        """When step() has something to do again by itself, in seconds of `now`; None before the first step."""
        times = [self._retries.next_time(), self._next_resync]
        for layer in self._layers:
            times.append(layer.dump_due)
            if not layer.in_sync:
                # Those above wait for this one.
                break
        return min((time for time in times if time is not None), default=None)

    def _dump_one(self, now: float) -> bool:
        """Dump the lowest kind that is due. A kind waits until those below are in sync: a dump of routes can't be read
        without the next hops."""
        for layer in self._layers:
            if layer.dump_due is not None and layer.dump_due <= now:
                self._dump(layer, now)
                return True
            if not layer.in_sync:
                return False
        return False

    def _dump(self, layer: Layer, now: float) -> None:
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
        self.drift.settled(layer.kind, [key for key in self.drift.open(layer.kind) if layer.tracker.is_right(key)])
        self._recovered(layer, [key for key in self._retries.of(layer.kind) if not layer.tracker.is_pending(key)])
        if layer.kind is Kind.NEXT_HOP_GROUP:
            self._losses.groups_read()
        if layer.watched:
            for key in before ^ layer.pending_keys():
                self._changed(layer, key)
        if first:
            self._begin_sweeps()
            return
        found = difference.missing + difference.changed
        layer.repaired += found
        for keys, what in ((difference.gone, "found missing"), (difference.altered, "found changed")):
            for key in keys:
                self.drift.found(layer.kind, key, f"{what}: {self.resync_reason}")
        if found and layer.kind in _NEXT_HOP_KINDS:
            # An id may mean another next hop now: read again what goes by it.
            self.resync(REFERRERS[layer.kind], "next hops were changed by another program")

    def _update_one(self, now: float) -> bool:
        for layer in self._layers:
            if not layer.in_sync:
                return False
            tracker = layer.tracker
            if layer.kicked or layer.improved:
                layer.bring_back()
            if tracker.updates:
                self._update(layer, now)
                return True
        return False

    def _update(self, layer: Layer, now: float) -> None:
        tracker = layer.tracker
        operations: list[Operation] | None = None
        if layer.maker is not None and tracker.all_new():
            keys, values = tracker.next_new(layer.driver.batch_size)
            outcomes = self._guarded(layer.maker.make, values)
        else:
            keys, operations = tracker.next_updates(layer.driver.batch_size)
            outcomes = self._guarded(layer.driver.apply, operations)
        if any(outcomes):
            done = []
            for place, (key, outcome) in enumerate(zip(keys, outcomes, strict=True)):
                if outcome is None:
                    done.append(key)
                    continue
                if operations is not None and operations[place].actual is not None and outcome.errno in _GONE:
                    # It isn't there to be changed: make it anew next time.
                    tracker.kernel_remove(key)
                self._failed(layer, key, outcome, now)
            keys = done
        tracker.kernel_put_wanted(keys)
        if layer.kind in DEVICE_KINDS:
            self._losses.devices_made(keys)
        elif layer.kind is Kind.NEXT_HOP_GROUP:
            self._losses.groups_made(keys)
        self._done(layer, keys)
        if keys:
            self._improved(layer.kind, keys)

    def _improved(self, kind: Kind, keys: Sequence[Key]) -> None:
        """Let what failed above for the lack of these objects be tried again.

        Nothing else: a host with many VMs that don't run has as many next hops that fail, and trying each of them at
        every attach would make that slower and slower.
        """
        for above in self._layers:
            if above.kind > kind:
                if kind in SUPPORTS_ALL:
                    above.kicked = True
                elif kind in SUPPORTS_SOME:
                    above.note_improved(keys)

    def _remove_one(self, now: float) -> bool:
        for layer in reversed(self._layers.ascending):
            if layer.in_sync and layer.tracker.removals:
                self._remove(layer, now)
                return True
        return False

    def _remove(self, layer: Layer, now: float) -> None:
        keys, operations = layer.tracker.next_removals(layer.driver.batch_size)
        outcomes = self._guarded(layer.driver.apply, operations)
        done: list[Key] = []
        for key, outcome in zip(keys, outcomes, strict=True):
            if outcome is None:
                done.append(key)
                layer.tracker.kernel_remove(key)
            else:
                self._failed(layer, key, outcome, now)
        if layer.kind in DEVICE_KINDS:
            self._losses.devices_removed(done)
        elif layer.kind in _NEXT_HOP_KINDS:
            self._losses.next_hops_removed(layer.kind, done)
        self._done(layer, done)

    @staticmethod
    def _guarded(call: Callable[[list[_T]], list[Outcome]], work: list[_T]) -> list[Outcome]:
        """A driver's batch; one that can't talk to the kernel has failed for each of its operations."""
        try:
            return call(work)
        except OSError as error:
            failure = Failure(error.errno or errno.EIO, str(error) or type(error).__name__)
            return [failure] * len(work)

    def _failed(self, layer: Layer, key: Key, failure: Failure, now: float) -> None:
        layer.tracker.set_aside(key)
        trouble = self._retries.failed(layer.kind, key, failure, now)
        if failure.errno == errno.ENOBUFS or (failure.errno == errno.EEXIST and trouble.attempts == 1):
            # What we believe the kernel to hold isn't so.
            self.resync([layer.kind], failure.text)
        elif failure.errno == errno.EINVAL and trouble.attempts == 2 and layer.kind is Kind.VRF_ROUTE:
            self.resync(_NEXT_HOP_KINDS, "a route's next hop is refused")
        elif failure.errno == errno.EINVAL and trouble.attempts == 1 and layer.kind is Kind.MPLS_ROUTE:
            self.resync([Kind.TUNNEL], "a label is refused: the label table may have been made smaller")
        self._changes.append(Change(layer.kind, key, self.status(layer.kind, key)))

    def _done(self, layer: Layer, keys: Sequence[Key]) -> None:
        """These objects are settled."""
        if self._retries:
            self._recovered(layer, keys)
        if self.drift:
            self.drift.settled(layer.kind, keys)
        if layer.watched:
            for key in keys:
                self._changed(layer, key)

    def _recovered(self, layer: Layer, keys: Iterable[Key]) -> None:
        """If any of these objects was in trouble, it isn't any more."""
        for key in keys:
            if self._retries.forget(layer.kind, key) and not layer.watched:
                self._changes.append(Change(layer.kind, key, self.status(layer.kind, key)))
