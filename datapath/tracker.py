"""Desired state against the kernel's, for one kind of object: what is left to do.

After Felix's delta tracker. Two maps, desired and kernel, and on the side the keys on which they differ, in the order
in which they began to, so that the cost of finding the next thing to do doesn't depend on the size of the table. A key is
in at most one of:

    updates    wanted, and the kernel hasn't it or has something else
    removals   not wanted any more, and the kernel has it
    strays     never wanted in the life of this process, and the kernel has it: a removal once the sweep is allowed
    aside      an update or removal that failed and waits for its next try

Equal values are held once: after a dump the kernel's map refers to the desired keys and values, so that 100,000 routes
cost their memory once and not three times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from datapath.values import Key, Value


@dataclass(frozen=True, slots=True)
class Difference:
    """What a dump showed that differs from what was believed.

    missing, changed: objects that had been right and are gone or different. strays: objects of ours nobody wants.
    """

    missing: int
    changed: int
    strays: int


class DeltaTracker:
    """The pending changes between a desired and a kernel state of one kind."""

    __slots__ = ("_sweeping", "aside", "desired", "doubtful", "kernel", "removals", "strays", "updates")

    def __init__(self) -> None:
        self.desired: dict[Key, Value] = {}
        self.kernel: dict[Key, Value] = {}
        self.updates: dict[Key, None] = {}
        self.removals: dict[Key, None] = {}
        self.strays: dict[Key, None] = {}
        self.aside: dict[Key, None] = {}
        self.doubtful: dict[Key, Value] = {}
        """What the kernel held before an event that may have taken it away."""
        self._sweeping = False

    # The desired side

    def put(self, key: Key, value: Value) -> bool:
        """Want value under key. Returns whether there is something to do for it."""
        desired = self.desired
        if desired.get(key) == value:
            return key in self.updates or key in self.aside
        desired[key] = value
        if self.aside:
            self.aside.pop(key, None)
        have = self.kernel.get(key)
        if have is None:
            self.updates[key] = None
            return True
        self.removals.pop(key, None)
        self.strays.pop(key, None)
        if have == value:
            # Keep one copy of what is right.
            self.kernel[key] = value
            self.updates.pop(key, None)
            return False
        self.updates[key] = None
        return True

    def remove(self, key: Key) -> bool:
        """Want nothing under key; a stray is thereby given up for removal. Returns whether there is something to do."""
        wanted = self.desired.pop(key, None) is not None
        self.updates.pop(key, None)
        if wanted:
            self.aside.pop(key, None)
        before = self.doubtful.pop(key, None)
        if before is not None:
            # It may be there or not; deleting it again does no harm.
            self.kernel.setdefault(key, before)
        if key not in self.kernel:
            return False
        self.strays.pop(key, None)
        if key not in self.aside:
            self.removals[key] = None
        return True

    # The kernel's side

    def kernel_put(self, key: Key, value: Value) -> None:
        """The kernel now holds value."""
        want = self.desired.get(key)
        if self.doubtful:
            self.doubtful.pop(key, None)
        if want == value:
            self.kernel[key] = want
            self.updates.pop(key, None)
            if self.aside:
                self.aside.pop(key, None)
            return
        known = key in self.kernel
        self.kernel[key] = value
        if key in self.aside:
            return
        if want is not None:
            self.updates[key] = None
        elif self._sweeping or key in self.removals:
            self.removals[key] = None
        elif not known:
            self.strays[key] = None

    def kernel_put_wanted(self, keys: Sequence[Key]) -> None:
        """The kernel now holds what is wanted under each of these keys."""
        desired, kernel, updates = self.desired, self.kernel, self.updates
        for key in keys:
            kernel[key] = desired[key]
            updates.pop(key, None)
        for pending in (self.doubtful, self.aside):
            if pending:
                for key in keys:
                    pending.pop(key, None)

    def kernel_remove(self, key: Key) -> None:
        """The kernel holds nothing under key."""
        if self.doubtful:
            self.doubtful.pop(key, None)
        had = self.kernel.pop(key, None) is not None
        if key in self.desired:
            if had and key not in self.aside:
                self.updates[key] = None
            return
        self.removals.pop(key, None)
        self.strays.pop(key, None)
        self.aside.pop(key, None)

    def kernel_doubt(self, key: Key) -> bool:
        """The kernel may have lost what it held under key, so put it again if it is wanted.

        Unlike after kernel_remove() the driver is told what was there, so that it replaces instead of insisting on making
        a new object. Returns whether a right object became pending.
        """
        want = self.desired.get(key)
        before = self.kernel.get(key)
        if want is None or before is None:
            return False
        del self.kernel[key]
        self.doubtful[key] = before
        if key in self.aside or key in self.updates:
            return False
        self.updates[key] = None
        return True

    def replace_kernel(self, dump: dict[Key, Value]) -> Difference:
        """Take over a complete dump. The dictionary becomes the tracker's own."""
        desired = self.desired
        self.doubtful.clear()
        if dump == desired:
            # The common case by far, decided without a step of Python per object.
            self.kernel = dict(desired)
            for pending in (self.updates, self.removals, self.strays, self.aside):
                pending.clear()
            return Difference(0, 0, 0)
        missing = changed = 0
        kernel: dict[Key, Value] = {}
        updates: dict[Key, None] = {}
        aside: dict[Key, None] = {}
        for key, want in desired.items():
            have = dump.pop(key, None)
            if have == want:
                kernel[key] = want
                continue
            if have is not None:
                kernel[key] = have
            if self.kernel.get(key) == want:
                if have is None:
                    missing += 1
                else:
                    changed += 1
            if key in self.aside:
                aside[key] = None
            else:
                updates[key] = None
        strays = self._take_unwanted(dump, kernel, aside)
        self.kernel = kernel
        # Those that waited longest stay in front.
        self.updates = {key: None for key in self.updates if key in updates} | updates
        self.aside = aside
        return Difference(missing, changed, strays)

    def _take_unwanted(self, dump: dict[Key, Value], kernel: dict[Key, Value], aside: dict[Key, None]) -> int:
        """Sort what is left of a dump, which nobody wants, into removals and strays."""
        removals: dict[Key, None] = {}
        strays: dict[Key, None] = {}
        for key, have in dump.items():
            kernel[key] = have
            if key in self.aside:
                aside[key] = None
            elif self._sweeping or key in self.removals:
                removals[key] = None
            else:
                strays[key] = None
        found = sum(1 for key in dump if key not in self.kernel)
        self.removals = removals
        self.strays = strays
        return found

    # What is left to do

    def allow_sweep(self) -> None:
        """From now on objects of ours that nobody wants are removed."""
        self._sweeping = True
        self.removals.update(self.strays)
        self.strays.clear()

    def next_updates(self, count: int) -> list[tuple[Key, Value, Value | None]]:
        """Up to count (key, wanted value, value in the kernel or None) that are ready to be put."""
        desired, kernel, doubtful = self.desired, self.kernel, self.doubtful
        if not kernel and not doubtful:
            return [(key, desired[key], None) for key in islice(self.updates, count)]
        return [(key, desired[key], kernel.get(key) or doubtful.get(key)) for key in islice(self.updates, count)]

    def next_removals(self, count: int) -> list[tuple[Key, Value]]:
        """Up to count (key, value in the kernel) that are ready to be removed."""
        kernel = self.kernel
        return [(key, kernel[key]) for key in islice(self.removals, count)]

    def set_aside(self, key: Key) -> None:
        """A try failed: neither next_updates() nor next_removals() gives the key until it is brought back."""
        self.updates.pop(key, None)
        self.removals.pop(key, None)
        self.aside[key] = None

    def bring_back(self, keys: Iterable[Key]) -> None:
        """Let keys that were set aside be tried again."""
        for key in keys:
            if key in self.aside:
                del self.aside[key]
                if key in self.desired:
                    self.updates[key] = None
                else:
                    self.removals[key] = None

    def keys_in_kernel(self, matches: Callable[[Value], bool]) -> list[Key]:
        """Keys of the kernel's objects that match; reads the whole table."""
        return [key for key, value in self.kernel.items() if matches(value)]

    @property
    def pending(self) -> int:
        """Number of updates and removals left, failed ones among them."""
        return len(self.updates) + len(self.removals) + len(self.aside)
