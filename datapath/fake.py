"""A kernel in memory: drivers for every kind, with the rules of the real one that hurt, and faults on demand.

    kernel = FakeKernel()
    datapath = Datapath(kernel.drivers(), kernel.monitor)
    kernel.fail(errno.EBUSY, kind=Kind.PORT, times=2)           # the next two
    kernel.before(Kind.NEXT_HOP, 3, lambda: kernel.delete_link("vw-gre"))   # vanishes before the third operation
    kernel.delete(Kind.VRF_ROUTE, key)                           # a third party

What it shares with Linux: a route needs its next hop; deleting a next hop deletes its routes without a word, and takes
it out of its groups, which live on under their ids with the rest; a device that goes down loses its neighbours and next
hops, one without carrier its next hops, one that is deleted loses all; making what is there already is EEXIST, changing
what isn't there makes it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

from datapath.driver import Driver, DumpInterrupted, Failure, Operation, Outcome, Verb
from datapath.events import (
    KernelEvent,
    LinkChanged,
    LinkDown,
    LinkGone,
    ObjectChanged,
    ObjectRemoved,
    Overrun,
)
from datapath.relations import DEVICE_KINDS, LOST_WHEN_DOWN, LOST_WHEN_GONE, device_of, uses_next_hop
from datapath.values import Key, Kind, NextHop, NextHopGroup, Port, Value, VrfRoute

GroupIds = dict[Key, int]
"""Ids of groups as the drivers of one process know them, by content."""

_EXCLUSIVE = (Kind.MPLS_ROUTE, Kind.VRF_ROUTE)
"""Kinds of which making an object that is there already fails."""


@dataclass(slots=True)
class _Fault:
    errno: int
    kind: Kind | None
    verb: Verb | None
    key: Key | None
    skip: int
    times: int

    def hits(self, kind: Kind, operation: Operation) -> bool:
        if (
            self.times == 0
            or self.kind not in (None, kind)
            or self.verb not in (None, operation.verb)
            or self.key not in (None, operation.value.key)
        ):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True, slots=True)
class Write:
    """One operation that reached the kernel, failed ones included."""

    kind: Kind
    verb: Verb
    key: Key


class FakeMonitor:
    """Reports what was done to the kernel other than by its drivers."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._events: list[KernelEvent] = []

    def fileno(self) -> int:
        return self._reader

    def report(self, event: KernelEvent) -> None:
        """Queue an event."""
        if not self._events:
            os.write(self._writer, b"x")
        self._events.append(event)

    def drain(self) -> list[KernelEvent]:
        events, self._events = self._events, []
        if events:
            os.read(self._reader, 1)
        return events

    def without_carrier(self) -> Set[str]:
        return {name for name, up in self._kernel.links.items() if up and name in self._kernel.dark}

    untidy = False

    def tidy(self) -> list[KernelEvent]:
        return []

    def close(self) -> None:
        """Give back the file descriptors."""
        os.close(self._reader)
        os.close(self._writer)


class FakeKernel:
    """The objects of every kind, the links, and what is to go wrong.

    kinds: kinds to have drivers for. latency: seconds that every operation takes. batch_size: of every driver.
    """

    def __init__(self, kinds: Iterable[Kind] = tuple(Kind), *, latency: float = 0.0, batch_size: int = 256) -> None:
        self.kinds = tuple(kinds)
        self.latency = latency
        self.batch_size = batch_size
        self.objects: dict[Kind, dict[Key, Value]] = {kind: {} for kind in Kind}
        """Objects that are ours."""
        self.foreign: dict[Kind, set[Key]] = {kind: set() for kind in Kind}
        """Keys taken by objects that aren't ours: no driver sees or changes them, and making one of ours fails."""
        self.links: dict[str, bool] = {}
        """Devices; whether they are up."""
        self.dark: set[str] = set()
        """Names of devices that have no carrier, or won't have one when they are made."""
        self.writes: list[Write] = []
        self.dumps: list[Kind] = []
        self.monitor = FakeMonitor(self)
        self._group_ids: GroupIds = {}
        self._last_id = 0
        self._faults: list[_Fault] = []
        self._dump_faults: dict[Kind, list[Exception]] = {kind: [] for kind in Kind}
        self._interruptions: dict[Kind, list[tuple[int, Callable[[], None]]]] = {kind: [] for kind in Kind}
        self._operations = dict.fromkeys(Kind, 0)

    def drivers(self) -> list[Driver]:
        """A driver for every kind. Several sets may be made: a second process that has no memory."""
        ids: GroupIds = {}
        return [FakeDriver(self, kind, ids) for kind in self.kinds]

    # Faults

    def fail(
        self,
        error: int,
        *,
        kind: Kind | None = None,
        verb: Verb | None = None,
        key: Key | None = None,
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Let operations fail with an errno: those of a kind, verb and key (None: any), after skip of them, this many
        times (-1: for ever, see heal())."""
        self._faults.append(_Fault(error, kind, verb, key, skip, times))

    def fail_dump(self, kind: Kind, error: int | None = None, times: int = 1) -> None:
        """Let the next dumps of a kind fail: interrupted (None), or with an errno such as ENOBUFS."""
        fault = DumpInterrupted() if error is None else OSError(error, os.strerror(error))
        self._dump_faults[kind] += [fault] * times

    def before(self, kind: Kind, nth: int, action: Callable[[], None]) -> None:
        """Do something before the nth operation (from 1) of a kind from now on, in the middle of a batch for
        instance."""
        self._interruptions[kind].append((self._operations[kind] + nth, action))

    def heal(self) -> None:
        """Forget every fault."""
        self._faults.clear()
        for kind in Kind:
            self._dump_faults[kind].clear()
            self._interruptions[kind].clear()

    # Third parties

    def add_link(self, name: str, up: bool = True) -> None:
        """A device appears that no driver made (the underlay's, or a tap of a VM)."""
        self.links[name] = up
        self.monitor.report(LinkChanged(name))

    def set_link(self, name: str, up: bool) -> None:
        """Somebody sets a device up or down."""
        if self.links[name] == up:
            return
        self.links[name] = up
        if up:
            self.monitor.report(LinkChanged(name))
            return
        self._lose_on(name, LOST_WHEN_DOWN)
        self.monitor.report(LinkDown(name))

    def set_carrier(self, name: str, carrier: bool, *, late: bool = False) -> None:
        """A VM is switched on or off. late: the kernel has not yet dropped the next hops of a device that lost its
        carrier, which it does up to a second later (call this again), and takes no new ones already."""
        if carrier:
            self.dark.discard(name)
            self.monitor.report(LinkChanged(name))
            return
        self.dark.add(name)
        if not late:
            self._lose_on(name, (Kind.NEXT_HOP,))
        self.monitor.report(LinkDown(name, up=True))

    def delete_link(self, name: str, notify: bool = True) -> None:
        """Somebody deletes a device, and with it what stands on it."""
        if self.links.pop(name, None) is None:
            return
        self._lose_on(name, LOST_WHEN_GONE)
        for kind in DEVICE_KINDS:
            self.objects[kind].pop(name, None)
        if notify:
            self.monitor.report(LinkGone(name))

    def delete(self, kind: Kind, key: Key, notify: bool = True) -> None:
        """Somebody deletes an object of ours. notify: whether the monitor sees it."""
        if kind in DEVICE_KINDS and isinstance(key, str):
            self.delete_link(key, notify)
            return
        if self.objects[kind].pop(key, None) is None:
            return
        self._group_ids.pop(key, None)
        if isinstance(key, NextHop | NextHopGroup):
            self._lose_next_hops({key})
        if notify:
            self.monitor.report(ObjectRemoved(kind, key))

    def put(self, value: Value, notify: bool = True) -> None:
        """Somebody makes or changes an object so that it looks like ours."""
        self.objects[value.kind][value.key] = value
        if value.kind in DEVICE_KINDS:
            self.links.setdefault(str(value.key), True)
        if notify:
            self.monitor.report(ObjectChanged(value.kind, value.key, value))

    def overrun(self) -> None:
        """The monitor loses its notifications."""
        self.monitor.drain()
        self.monitor.report(Overrun())

    # Rules

    def _lose_on(self, device: str, kinds: Iterable[Kind]) -> None:
        for kind in kinds:
            lost = [key for key, value in self.objects[kind].items() if device_of(value) == device]
            for key in lost:
                del self.objects[kind][key]
            if kind is Kind.NEXT_HOP:
                self._lose_next_hops({key for key in lost if isinstance(key, NextHop)})

    def _lose_next_hops(self, lost: set[NextHop] | set[NextHopGroup] | set[NextHop | NextHopGroup]) -> None:
        gone: set[NextHop | NextHopGroup] = set(lost)
        groups = self.objects[Kind.NEXT_HOP_GROUP]
        routes = self.objects[Kind.VRF_ROUTE]
        for group in [g for g in groups if isinstance(g, NextHopGroup) and uses_next_hop(g, gone)]:
            rest = NextHopGroup(tuple(member for member in group.members if member not in gone))
            if rest.members:
                self._change_group(group, rest)
            else:
                gone.add(group)
                del groups[group]
                self._group_ids.pop(group, None)
        for key in [key for key, route in routes.items() if uses_next_hop(route, gone)]:
            del routes[key]

    def _change_group(self, old: NextHopGroup, new: NextHopGroup) -> None:
        """A group gets other members, under its id; the routes by it stay."""
        groups, routes = self.objects[Kind.NEXT_HOP_GROUP], self.objects[Kind.VRF_ROUTE]
        identity = self._id_of(old)
        if new in groups:
            # Two of one content: a dump shows the second one as what nobody wants.
            new = NextHopGroup((NextHop(f"/{identity}", b""),))
        del groups[old], self._group_ids[old]
        groups[new] = new
        self._group_ids[new] = identity
        for key, route in routes.items():
            if isinstance(route, VrfRoute) and route.via == old:
                routes[key] = route._replace(via=new)

    def _id_of(self, group: Key) -> int:
        if group not in self._group_ids:
            self._last_id += 1
            self._group_ids[group] = self._last_id
        return self._group_ids[group]

    def _held(self, group: Key, ids: GroupIds) -> NextHopGroup | None:
        """What the group is now that a process made or found with this content."""
        groups = self.objects[Kind.NEXT_HOP_GROUP]
        identity = ids.get(group)
        return next((g for g in groups if isinstance(g, NextHopGroup) and self._id_of(g) == identity), None)

    def _missing(self, value: Value) -> Failure | None:
        """What a value stands on that isn't there."""
        if isinstance(value, Port):
            return None if value.vrf in self.links else Failure(errno.ENODEV, f"{value.vrf}: no such device")
        if value.kind in DEVICE_KINDS:
            return None
        if isinstance(value, VrfRoute):
            kind = Kind.NEXT_HOP if isinstance(value.via, NextHop) else Kind.NEXT_HOP_GROUP
            there = value.via in self.objects[kind]
            return None if there else Failure(errno.EAGAIN, "next hop not programmed")
        if isinstance(value, NextHopGroup):
            there = all(member in self.objects[Kind.NEXT_HOP] for member in value.members)
            return None if there else Failure(errno.EAGAIN, "next hop not programmed")
        device = device_of(value)
        if device not in self.links:
            return Failure(errno.ENODEV, f"{device}: no such device")
        if value.kind in LOST_WHEN_DOWN and not self.links[device]:
            return Failure(errno.ENETDOWN, f"{device} is down")
        if value.kind is Kind.NEXT_HOP and device in self.dark:
            return Failure(errno.ENETDOWN, f"{device} has no carrier")
        return None

    # What the drivers call

    def dump(self, kind: Kind, ids: GroupIds) -> dict[Key, Value]:
        """See Driver.dump()."""
        self.dumps.append(kind)
        if self._dump_faults[kind]:
            raise self._dump_faults[kind].pop(0)
        if kind is Kind.NEXT_HOP_GROUP:
            ids.clear()
            ids.update((group, self._id_of(group)) for group in self.objects[kind])
        return dict(self.objects[kind])

    def apply(self, kind: Kind, operation: Operation, ids: GroupIds) -> Outcome:
        """One operation of Driver.apply()."""
        self._operations[kind] += 1
        for entry in [e for e in self._interruptions[kind] if e[0] == self._operations[kind]]:
            self._interruptions[kind].remove(entry)
            entry[1]()
        if self.latency:
            time.sleep(self.latency)
        key = operation.value.key
        self.writes.append(Write(kind, operation.verb, key))
        for fault in self._faults:
            if fault.hits(kind, operation):
                return Failure(fault.errno, os.strerror(fault.errno))
        if operation.verb is Verb.PUT:
            return self._make(kind, key, operation, ids)
        if kind in DEVICE_KINDS:
            self.delete_link(str(key))
            return None
        if kind is Kind.NEXT_HOP_GROUP:
            key = self._held(key, ids) or key
            ids.pop(operation.value.key, None)
        if self.objects[kind].pop(key, None) is not None and isinstance(key, NextHop | NextHopGroup):
            self._group_ids.pop(key, None)
            self._lose_next_hops({key})
        return None

    def _make(self, kind: Kind, key: Key, operation: Operation, ids: GroupIds) -> Outcome:
        value = operation.value
        if isinstance(value, VrfRoute) and isinstance(value.via, NextHopGroup):
            value = value._replace(via=self._held(value.via, ids) or value.via)
        if (missing := self._missing(value)) is not None:
            return missing
        there = key in self.objects[kind]
        if key in self.foreign[kind] or (there and operation.actual is None and kind in _EXCLUSIVE):
            return Failure(errno.EEXIST, "an object of another owner is in the way")
        if isinstance(value, NextHopGroup):
            self._make_group(value, ids)
        self.objects[kind][key] = value
        if kind in DEVICE_KINDS:
            self.links[str(key)] = True
        return None

    def _make_group(self, group: NextHopGroup, ids: GroupIds) -> None:
        groups = self.objects[Kind.NEXT_HOP_GROUP]
        held = self._held(group, ids)
        if group in groups and held != group:
            self._change_group(group, group)
        if held is not None:
            self._change_group(held, group)
        ids[group] = self._id_of(group)


class FakeDriver:
    """Driver of one kind of a FakeKernel."""

    def __init__(self, kernel: FakeKernel, kind: Kind, ids: GroupIds) -> None:
        self.kernel = kernel
        self.kind = kind
        self._ids = ids
        self.batch_size = kernel.batch_size

    def dump(self) -> dict[Key, Value]:
        return self.kernel.dump(self.kind, self._ids)

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        return [self.kernel.apply(self.kind, operation, self._ids) for operation in operations]

    def make(self, values: Sequence[Value]) -> list[Outcome]:
        """See Maker.make()."""
        return self.apply([Operation(Verb.PUT, value) for value in values])
