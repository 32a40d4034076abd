"""What the event monitor reports about the kernel; pure values between datapath/monitor.py and the reconciler.

The monitor is an object with `fileno()` (readable when there is something to report) and `drain()`, which never blocks
and returns the events since the last call. Rules it follows, so that our own work isn't reported back to us:

- Notifications of routes, neighbours and next hops carry the port id of the socket that asked for the change
  (nlmsg_pid). Those of our own sockets are dropped, in the kernel by a socket filter, or a load of 100,000 routes would
  overrun the monitor.
- LinkDown is reported for a change from up to down only, not for a link that was just made and isn't up yet.
- ObjectChanged is reported when an object no longer is what its driver made of it (a port taken out of its VRF, say),
  not for every RTM_NEWLINK.
- An object of ours replaced by one of another owner is reported as ObjectRemoved.

A report may be out of date by the time it is read (the object may be back already), and one too many costs a rewrite of
one object at most.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from datapath.values import Key, Kind, Value


@dataclass(frozen=True, slots=True)
class LinkGone:
    """A device was deleted (or renamed, or moved to another namespace): everything on it is gone."""

    name: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    """A device lost IFF_UP or its carrier. The kernel has dropped its nexthop objects, with the routes that use them;
    if it isn't up any more, its IPv4 routes and permanent neighbours too. There is no notification of any of that.

    up: whether it still has IFF_UP, so that only the carrier is gone.
    """

    name: str
    up: bool = False


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A device appeared or came up: what failed for the lack of it can be tried again."""

    name: str


@dataclass(frozen=True, slots=True)
class ObjectRemoved:
    """Somebody else deleted an object of ours."""

    kind: Kind
    key: Key


@dataclass(frozen=True, slots=True)
class ObjectChanged:
    """Somebody else changed an object of ours, or made one that looks like ours.

    value: what the kernel holds now; None when the notification doesn't tell it, which costs a dump of the kind.
    """

    kind: Kind
    key: Key
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Overrun:
    """Notifications were lost (ENOBUFS): dump everything again."""


KernelEvent = LinkGone | LinkDown | LinkChanged | ObjectRemoved | ObjectChanged | Overrun


class Monitor(Protocol):
    """A source of events."""

    def fileno(self) -> int:
        """File descriptor that is readable when drain() would return something."""
        ...

    def drain(self) -> list[KernelEvent]:
        """Events since the last call, without blocking. Losing notifications is an event (Overrun), no error."""
        ...

    def without_carrier(self) -> Set[str]:
        """Names of the devices that are up and have no carrier, as of the last drain(); not to be changed."""
        ...

    @property
    def untidy(self) -> bool:
        """Whether there is something for tidy() to do."""
        ...

    def tidy(self) -> list[KernelEvent]:
        """Do what had better not be done between the steps of an attach; events that were found by it."""
        ...
