"""Nexthop objects and groups of them: the mapping between contents and kernel ids, and the drivers.

The kernel finds a nexthop object by a number, vrfwire by what it says. The mapping is learnt from a dump, so that a
fresh process goes on with the ids of the one before. What doesn't fit in has a key of its own that nobody wants, so
that it is swept like any stray after nothing uses it any more: an object that says what another one of ours says
already (a duplicate), or says something that vrfwire never would.

Ids are given out in a circle: one that was deleted isn't used again soon, lest a route that was overlooked sends to
another tenant.
"""

from __future__ import annotations

import errno
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import cast

from datapath.bulk import AlreadyDone, BulkDriver, Unencodable
from datapath.channel import Channel
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.links import device_names
from datapath.values import PROTOCOL, Key, Kind, NextHop, NextHopGroup, Value
from datapath.wire import NEW, SET, KernelError, decode_labels, encode_labels
from datapath.wire_nexthop import (
    RawNextHop,
    decode_dump,
    encode_delete,
    encode_dump,
    encode_group,
    encode_next_hop,
    encode_next_hops,
)

ID_RANGE = range(100_000_000, 200_000_000)
"""Ids of our nexthop objects and groups, unless configured otherwise."""

NOT_PROGRAMMED = Failure(errno.EAGAIN, "next hop not programmed")
"""What uses a next hop that the kernel hasn't got yet (see retry.WAITING)."""


def odd_next_hop(identity: int) -> NextHop:
    """The key of an object that can't be wanted; no device has a slash in its name."""
    return NextHop(f"/{identity}", b"")


class NextHopIds:
    """Which kernel id says what, for next hops and groups; one for all drivers of a namespace."""

    def __init__(self, ids: range = ID_RANGE) -> None:
        self.range = ids
        self.by_id: dict[int, NextHop | NextHopGroup] = {}
        self.by_value: dict[NextHop | NextHopGroup, int] = {}
        self._taken: set[int] = set()
        """Ids of our range that other programs use."""
        self._next = ids.start

    def learn(self, objects: Mapping[int, NextHop | NextHopGroup], taken: Iterable[int], groups: bool) -> None:
        """Take over a dump of all next hops (or all groups): ids of ours with their contents, each once, and ids of our
        range used by others."""
        for identity, value in list(self.by_id.items()):
            if isinstance(value, NextHopGroup) is groups:
                self._drop(identity, value)
        self.by_id.update(objects)
        for identity, value in objects.items():
            self.by_value[value] = identity
        if not groups:
            self._taken = set(taken)
        if objects:
            self._next = max(self._next, max(objects) + 1)

    def put(self, identity: int, value: NextHop | NextHopGroup) -> None:
        """An object was made."""
        self.by_id[identity] = value
        self.by_value[value] = identity

    def put_all(self, values: Sequence[NextHop | NextHopGroup], identities: Sequence[int]) -> None:
        """Objects were made."""
        self.by_id.update(zip(identities, values, strict=True))
        self.by_value.update(zip(values, identities, strict=True))

    def forget(self, value: NextHop | NextHopGroup) -> None:
        """An object was deleted."""
        identity = self.by_value.get(value)
        if identity is not None:
            self._drop(identity, value)

    def _drop(self, identity: int, value: NextHop | NextHopGroup) -> None:
        self.by_id.pop(identity, None)
        if self.by_value.get(value) == identity:
            del self.by_value[value]

    def take(self, identity: int) -> None:
        """Another program has this id."""
        self._taken.add(identity)

    def allocate_together(self, count: int) -> range | None:
        """Consecutive ids that nothing has, or None when they aren't to be had at this place of the circle."""
        start = self._next if self._next in self.range else self.range.start
        found = range(start, start + count)
        if found.stop > self.range.stop or not self._taken.isdisjoint(found) or not self.by_id.keys().isdisjoint(found):
            return None
        self._next = found.stop
        return found

    def allocate(self) -> int:
        """An id that nothing has. Raises Unencodable when there is none."""
        for _ in range(len(self.range)):
            if self._next not in self.range:
                self._next = self.range.start
            identity = self._next
            self._next += 1
            if identity not in self.by_id and identity not in self._taken:
                return identity
        raise Unencodable(Failure(errno.ENOSPC, f"all {len(self.range)} nexthop ids are in use"))


class _IdDriver(BulkDriver):
    """Making and deleting by id."""

    def __init__(self, channel: Channel, ids: NextHopIds) -> None:
        super().__init__(channel)
        self.ids = ids
        self._new: dict[NextHop | NextHopGroup, int] = {}

    def encode(self, operation: Operation, sequence: int) -> bytes:
        value = operation.value
        assert isinstance(value, NextHop | NextHopGroup)
        identity = self.ids.by_value.get(value)
        if operation.verb is Verb.REMOVE:
            if identity is None:
                raise AlreadyDone
            return encode_delete(sequence, identity)
        flags = SET
        if identity is None:
            identity = self.ids.allocate()
            flags = NEW
        message = self.encode_object(sequence, identity, value, flags)
        self._new[value] = identity
        return message

    @abstractmethod
    def encode_object(self, sequence: int, identity: int, value: NextHop | NextHopGroup, flags: int) -> bytes:
        """The message that makes an object."""

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        self._new.clear()
        return super().apply(operations)

    def succeeded(self, operations: Sequence[Operation]) -> None:
        ids, new = self.ids, self._new
        for operation in operations:
            value = operation.value
            assert isinstance(value, NextHop | NextHopGroup)
            if operation.verb is Verb.PUT:
                ids.put(new[value], value)
            else:
                ids.forget(value)

    def failed(self, operation: Operation, error: KernelError) -> None:
        value = operation.value
        assert isinstance(value, NextHop | NextHopGroup)
        if operation.verb is Verb.PUT and error.errno == errno.EEXIST and value in self._new:
            self.ids.take(self._new[value])

    def ours(self, raw: RawNextHop) -> bool:
        """Whether an object is ours."""
        return raw.protocol == PROTOCOL and raw.id in self.ids.range


class NextHopDriver(_IdDriver):
    """Nexthop objects with one gateway."""

    kind = Kind.NEXT_HOP

    def encode_object(self, sequence: int, identity: int, value: NextHop | NextHopGroup, flags: int) -> bytes:
        assert isinstance(value, NextHop)
        labels = value.labels
        return encode_next_hop(
            sequence, identity, self.index(value.device), value.gateway, encode_labels(labels) if labels else b"", flags
        )

    def make(self, values: Sequence[Value]) -> list[Outcome]:
        """See Maker.make(). Next hops of one shape, which come by the thousand, are encoded column by column."""
        hops = cast(Sequence[NextHop], values)
        devices, gateways, labels = zip(*hops, strict=True)
        one_shape = len(set(devices)) == len(set(map(len, gateways))) == len(set(map(len, labels))) == 1
        oif = self.channel.interface_index(devices[0])
        known = not self.ids.by_value.keys().isdisjoint(hops)
        identities = self.ids.allocate_together(len(hops))
        if not one_shape or oif is None or identities is None or known:
            return super().make(values)
        first = self.channel.reserve(len(values))
        packed = encode_next_hops(range(first, first + len(hops)), identities, oif, gateways, labels, NEW)
        errors = self.channel.transact([packed], len(hops))
        outcomes: list[Outcome] = [None] * len(hops)
        for sequence, error in errors.items():
            outcomes[sequence - first] = self.judge(Operation(Verb.PUT, hops[sequence - first]), error)
            if error.errno == errno.EEXIST:
                self.ids.take(identities[sequence - first])
        self.ids.put_all(hops, identities)
        for sequence in errors:
            self.ids.forget(hops[sequence - first])
        return outcomes

    def dump(self) -> dict[Key, Value]:
        """See Driver.dump(). Raises DumpInterrupted, OSError, WireError."""
        names = device_names(self.channel)
        ids = self.ids.range
        known = self.ids.by_id
        new = tuple.__new__
        found: dict[int, NextHop | NextHopGroup] = {}
        values: dict[Key, Value] = {}
        taken = []
        stacks: dict[bytes, tuple[int, ...]] = {}
        for chunk in self.channel.dump(partial(encode_dump, False), decode_dump):
            for identity, protocol, oif, gateway, stack, members, plain in chunk:
                if identity not in ids:
                    continue
                if protocol != PROTOCOL:
                    taken.append(identity)
                    continue
                if members is not None:
                    continue
                labels = stacks.get(stack)
                if labels is None:
                    labels = stacks[stack] = decode_labels(stack)
                value: NextHop = new(NextHop, (names.get(oif, ""), gateway, labels))
                if not plain or value in values:
                    value = odd_next_hop(identity)
                elif (before := known.get(identity)) == value:
                    # Keep one copy.
                    value = before
                found[identity] = value
                values[value] = value
        self.ids.learn(found, taken, groups=False)
        return values


class NextHopGroupDriver(_IdDriver):
    """Groups of nexthop objects, for multipath."""

    kind = Kind.NEXT_HOP_GROUP

    def encode_object(self, sequence: int, identity: int, value: NextHop | NextHopGroup, flags: int) -> bytes:
        assert isinstance(value, NextHopGroup)
        members = []
        for member in value.members:
            member_id = self.ids.by_value.get(member)
            if member_id is None:
                raise Unencodable(NOT_PROGRAMMED)
            members.append(member_id)
        return encode_group(sequence, identity, tuple(members), flags)

    def dump(self) -> dict[Key, Value]:
        """See Driver.dump(). Needs the next hops' dump before. Raises DumpInterrupted, OSError, WireError."""
        found: dict[int, NextHop | NextHopGroup] = {}
        values: dict[Key, Value] = {}
        for chunk in self.channel.dump(partial(encode_dump, True), decode_dump):
            for raw in chunk:
                if raw.members is None or not self.ours(raw):
                    continue
                members = [self.ids.by_id.get(identity) for identity in raw.members]
                hops = tuple(sorted(member for member in members if isinstance(member, NextHop)))
                value = NextHopGroup(hops)
                if not raw.plain or len(hops) != len(members) or value in values:
                    value = NextHopGroup((odd_next_hop(raw.id),))
                found[raw.id] = value
                values[value] = value
        self.ids.learn(found, (), groups=True)
        return values
