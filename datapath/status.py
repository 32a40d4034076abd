"""Status of one object of the desired state, as an operator sees it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from datapath.values import Key, Kind


class State(enum.StrEnum):
    """Where an object stands."""

    PENDING = "pending"
    """To be made, changed or deleted; not tried yet, or to be put right after somebody else's change."""
    PROGRAMMED = "programmed"
    """Wanted, and the kernel holds exactly that."""
    FAILED = "failed"
    """The last try failed; there will be another."""
    ABSENT = "absent"
    """Not wanted, and not in the kernel."""


@dataclass(frozen=True, slots=True)
class Status:
    """State of one object.

    wanted: whether the desired state has it. error: text for an operator, "" unless FAILED. attempts: tries that failed
    in a row. next_retry: time of the next try in seconds of the reconciler's clock; None unless FAILED. errno: of the
    last try, 0 unless FAILED.
    """

    state: State
    wanted: bool
    error: str = ""
    attempts: int = 0
    next_retry: float | None = None
    errno: int = 0

    @property
    def settled(self) -> bool:
        """Whether the kernel agrees with the desired state on this object."""
        return self.state is (State.PROGRAMMED if self.wanted else State.ABSENT)


@dataclass(frozen=True, slots=True)
class Change:
    """The status of an object of a watched kind changed."""

    kind: Kind
    key: Key
    status: Status


@dataclass(frozen=True, slots=True)
class KindFigures:
    """Introspection of one kind.

    wanted, kernel: number of objects. pending: updates and deletions to do, failed ones among them. failed: objects
    whose last try failed. strays: objects of ours that nobody wants, kept until the sweep is allowed. repaired: objects
    that somebody else deleted or changed, found so far. dumps: successful dumps. in_sync: whether there was one.
    dump_error: text of the last dump if it failed, else "".
    """

    kind: Kind
    wanted: int
    kernel: int
    pending: int
    failed: int
    strays: int
    repaired: int
    dumps: int
    in_sync: bool
    dump_error: str
