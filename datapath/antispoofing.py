"""Driver of anti-spoofing: clsact and filters on the ports (datapath/filters.py says which)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from datapath import filters
from datapath.devices import Devices, read_alias
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.filters import Action, Filter, Hits, Responder
from datapath.values import AntiSpoofing, Key, Kind, Value

GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
"""What deleting a filter gives when the device, the qdisc or the filter is not there."""


def no_device(name: str) -> Failure:
    """The outcome for an object on a device that isn't there."""
    return Failure(errno.ENODEV, f"there is no device {name}")


class AntiSpoofingDriver:
    """Filters on the ingress of ports. Foreign filters and qdiscs are neither read nor touched; the clsact qdisc stays
    when the last filter goes, since nothing tells whose it is."""

    kind = Kind.ANTI_SPOOFING
    batch_size = 32

    def __init__(self, devices: Devices, responder: Responder | None) -> None:
        self._devices = devices
        self._netlink = devices.netlink
        self._responder = responder

    def dump(self) -> dict[Key, Value]:
        """Filters of every port of ours."""
        found: dict[Key, Value] = {}
        for device in self._devices.dump():
            if read_alias(device, "port") is not None:
                value = filters.read_filters(device.name, self._read(device.ifindex))
                if value is not None:
                    found[device.name] = value
        return found

    def hits(self, index: int) -> list[Hits]:
        """What the filters of a device have counted. Raises DumpInterrupted, OSError."""
        bodies = self._netlink.dump(filters.RTM_GETTFILTER, filters.dump_request(index))
        return [entry for body in bodies if (entry := filters.decode_hits(body)) is not None]

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Make, change and remove; all of a batch in one system call each way."""
        outcomes = self._apply(operations)
        again = [i for i, outcome in enumerate(outcomes) if outcome is not None and outcome.errno == errno.ENODEV]
        if again:
            # A device made anew has another index than the one remembered.
            for i in again:
                self._devices.forget(_value(operations[i]).device)
            for i, outcome in zip(again, self._apply([operations[i] for i in again]), strict=True):
                outcomes[i] = outcome
        return outcomes

    def _apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        index_of = self._devices.indices(_value(operation).device for operation in operations)
        outcomes: list[Outcome] = [None] * len(operations)
        batch: list[bytes] = []
        owners: list[tuple[int, Callable[[Failure], bool]]] = []
        for i, operation in enumerate(operations):
            device = _value(operation).device
            index = index_of.get(device)
            if index is None:
                outcomes[i] = None if operation.verb is Verb.REMOVE else no_device(device)
                continue
            for raw, ignored in self._requests(operation, index):
                batch.append(raw)
                owners.append((i, ignored))
        for (i, ignored), failure in zip(owners, self._netlink.request(batch), strict=True):
            if failure is not None and not ignored(failure) and outcomes[i] is None:
                outcomes[i] = failure
        return outcomes

    def _requests(self, operation: Operation, index: int) -> list[tuple[bytes, Callable[[Failure], bool]]]:
        """Requests of one operation, each with what failure of it doesn't matter."""
        value = _value(operation)
        wanted = filters.wanted_filters(value) if operation.verb is Verb.PUT else []
        actual = operation.actual
        if operation.verb is Verb.REMOVE or (isinstance(actual, AntiSpoofing) and not actual.mac):
            held = self._read(index)
        else:
            held = filters.wanted_filters(actual) if isinstance(actual, AntiSpoofing) else []
        requests: list[tuple[bytes, Callable[[Failure], bool]]] = []
        if wanted:
            requests.append((filters.make_clsact(index), _exists))
        kept = set(held).intersection(wanted)
        # matchall can't be replaced in place, only deleted and made again.
        clumsy = [one for one in held if one.keys is None and one not in kept and wanted]
        requests += [(filters.encode_delete(one, index), _gone) for one in clumsy]
        requests += [
            (filters.encode(one, index, self._responder), _exists if one.keys is None else _never)
            for one in wanted
            if one not in kept
        ]
        # A filter of a wanted handle has just been replaced. The final drop stays until the device goes: with the VM's
        # own filters gone, an open port would admit anything.
        handles = {(one.priority, one.protocol, one.handle) for one in wanted}
        requests += [
            (filters.encode_delete(one, index), _gone)
            for one in held
            if (one.priority, one.protocol, one.handle) not in handles
            and one not in clumsy
            and not (one.priority == filters.PRIORITY_DROP and one.action is Action.DROP)
        ]
        return requests

    def _read(self, index: int) -> list[Filter]:
        found = []
        for body in self._netlink.dump(filters.RTM_GETTFILTER, filters.dump_request(index)):
            one = filters.decode(body, self._responder)
            if one is not None:
                found.append(one)
        return found


def _value(operation: Operation) -> AntiSpoofing:
    assert isinstance(operation.value, AntiSpoofing)
    return operation.value


def _never(_failure: Failure) -> bool:
    return False


def _exists(failure: Failure) -> bool:
    return failure.errno == errno.EEXIST


def _gone(failure: Failure) -> bool:
    return failure.errno in GONE
