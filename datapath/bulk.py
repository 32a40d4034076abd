"""What the drivers of the bulk kinds share: one batch is one send, errors are matched to operations.

    driver              ours are those of our protocol number and ...      found by
    neighbours          on any device                                      device, address
    next hops           in our id range                                    content (ids are learnt from a dump)
    next-hop groups     in our id range                                    content
    MPLS routes         in our label range                                 label
    VRF routes          in our table range, unicast, of our metric         table, prefix

Everything else is another program's: it is neither read, changed nor deleted, and where it is in the way, making ours
fails."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Sequence

from datapath.channel import Channel
from datapath.driver import Failure, Operation, Outcome, Verb
from datapath.values import Key, Kind, Value
from datapath.wire import KernelError

BATCH_SIZE = 512
"""Operations a send: measured, more brings nothing and keeps the event loop waiting longer."""

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL})
"""What the kernel says when the object to be deleted, or its device, isn't there."""


class Unencodable(Exception):
    """An operation can't be put into a message: what it stands on isn't known to the kernel."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class AlreadyDone(Exception):
    """An operation needs no message: the object to be deleted isn't there."""


class Batch:
    """What goes out in one send: encoded messages, and the failures of operations that can't be put into one, by
    sequence number."""

    __slots__ = ("failures", "messages")

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.failures: dict[int, Failure] = {}


class BulkDriver(ABC):
    """A driver whose every operation is one packed message."""

    kind: Kind
    batch_size = BATCH_SIZE

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._indices: dict[str, int] = {}

    @abstractmethod
    def dump(self) -> dict[Key, Value]:
        """See Driver.dump()."""

    @abstractmethod
    def encode(self, operation: Operation, sequence: int) -> bytes:
        """The message of an operation. Raises Unencodable, AlreadyDone."""

    def succeeded(self, operations: Sequence[Operation]) -> None:
        """These operations are done; for drivers that keep books."""
        return

    def failed(self, operation: Operation, error: KernelError) -> None:
        """An operation failed; for drivers that keep books."""
        return

    def _encode_one(self, operation: Operation, sequence: int, batch: Batch) -> None:
        """The message of one operation, or the reason why there is none."""
        try:
            batch.messages.append(self.encode(operation, sequence))
        except Unencodable as missing:
            batch.failures[sequence] = missing.failure
        except AlreadyDone:
            return

    def make(self, values: Sequence[Value]) -> list[Outcome]:
        """See Maker.make()."""
        return self.apply([Operation(Verb.PUT, value) for value in values])

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """See Driver.apply()."""
        self._indices.clear()
        batch = Batch()
        first = self.channel.reserve(len(operations))
        for sequence, operation in enumerate(operations, first):
            self._encode_one(operation, sequence, batch)
        errors = self.channel.transact(batch.messages, len(batch.messages))
        outcomes: list[Outcome] = [None] * len(operations)
        if not errors and not batch.failures:
            self.succeeded(operations)
            return outcomes
        for sequence, failure in batch.failures.items():
            outcomes[sequence - first] = failure
        for sequence, error in errors.items():
            position = sequence - first
            if 0 <= position < len(operations):
                outcomes[position] = self.judge(operations[position], error)
        self.succeeded([operation for operation, outcome in zip(operations, outcomes, strict=True) if outcome is None])
        return outcomes

    def judge(self, operation: Operation, error: KernelError) -> Outcome:
        """What an error of the kernel means for an operation."""
        if operation.verb is Verb.REMOVE and error.errno in GONE:
            return None
        self.failed(operation, error)
        if error.errno == errno.EEXIST:
            return Failure(error.errno, f"{error.text} (an object of another program is in the way)")
        return Failure(error.errno, error.text)

    def index(self, device: str) -> int:
        """Index of a device, asked for once a batch: a device may be deleted and made again between two. Raises
        Unencodable."""
        index = self._indices.get(device)
        if index is None:
            index = self.channel.interface_index(device)
            if index is None:
                raise Unencodable(Failure(errno.ENODEV, f"ENODEV: there is no device {device}"))
            self._indices[device] = index
        return index

    def index_for_removal(self, device: str) -> int:
        """Like index(), for deleting: what was on a device that is gone is gone too. Raises AlreadyDone."""
        try:
            return self.index(device)
        except Unencodable:
            raise AlreadyDone from None
