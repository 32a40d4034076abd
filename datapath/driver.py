"""The seam between the reconciler and the kernel: one driver per kind of object."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from datapath.values import Key, Kind, Value


class DumpInterrupted(Exception):
    """A dump was inconsistent (NLM_F_DUMP_INTR, ENOBUFS); dump again."""


class Verb(enum.Enum):
    """What is asked of a driver."""

    PUT = "put"
    """Make the object, or change it in place to the wanted value."""
    REMOVE = "remove"
    """Delete the object. Not there counts as done."""


class Operation(NamedTuple):
    """One change of one object.

    value: the wanted value (PUT) or the value that the kernel holds (REMOVE). actual: what the kernel holds, or held
    before an event that may have taken it away (PUT of an object that differs), or None: nothing.
    """

    verb: Verb
    value: Value
    actual: Value | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation failed: errno, text for an operator, and whether the whole object is gone with its device."""

    errno: int
    text: str


Outcome = Failure | None
"""None: done."""


class Driver(Protocol):
    """One kind of kernel object. Calls block for one batch at the most; a batch is cut by the reconciler."""

    kind: Kind
    batch_size: int
    """Most operations of one apply()."""

    def dump(self) -> dict[Key, Value]:
        """Every object of this kind that is ours by the ownership rules, wanted or not.

        A value equals the wanted one exactly when nothing has to be changed. Raises DumpInterrupted, OSError.
        """
        ...

    def apply(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Carry out; one outcome per operation, in order. One failure doesn't stop the others. Raises OSError only
        when the kernel can't be talked to at all."""
        ...


@runtime_checkable
class Maker(Driver, Protocol):
    """A driver that has a shorter way for what comes in bulk."""

    def make(self, values: Sequence[Value]) -> list[Outcome]:
        """apply() of a PUT of each value, none of which the kernel holds anything of."""
        ...
