"""Desired state against the kernel's, for one kind of object: what is left to do.

After Felix's delta tracker. The cost of finding the next thing to do doesn't depend on the size of the table, and what
is right is held once: `desired` has every wanted object, and a wanted object that isn't in one of the sets below is in
the kernel exactly as wanted. A key is in at most one of:

    updates    wanted, and the kernel hasn't it or has something else
    removals   not wanted any more, and the kernel has it
    aside      an update or removal that failed and waits for its next try
    strays     never wanted in the life of this process, and the kernel has it: a removal once the sweep is allowed

The first three map a key to the revision of the desired state that asked for it, oldest first but for what was aside; 0
when it was not asked for but found. `other` has what the kernel holds where that isn't what is wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from datapath.driver import Operation, Verb
from datapath.values import Key, NextHop, NextHopGroup, Value, VrfRoute


@dataclass(frozen=True, slots=True)
class Difference:
    """What a dump showed that differs from what was believed.

    missing, changed: objects that had been right and are gone or different. strays: objects of ours nobody wants.
    gone, altered: keys of the first two.
    """

    missing: int
    changed: int
    strays: int
    gone: Sequence[Key] = field(default=(), compare=False)
    altered: Sequence[Key] = field(default=(), compare=False)


def keyed(values: Sequence[Value]) -> dict[Key, Value]:
    """Values of one type by key. For those that come by the thousand no function is called for each."""
    if isinstance(values[0], NextHop | NextHopGroup):
        return dict(zip(cast(Sequence[Key], values), values, strict=True))
    if isinstance(values[0], VrfRoute):
        tables, prefixes, _ = zip(*cast(Sequence[VrfRoute], values), strict=True)
        return dict(zip(zip(tables, prefixes, strict=True), values, strict=True))
    return {value.key: value for value in values}


class DeltaTracker:
    """The pending changes between a desired and a kernel state of one kind."""

    __slots__ = (
        "_dumped",
        "_given_up",
        "_sweeping",
        "aside",
        "desired",
        "doubtful",
        "other",
        "outstanding",
        "removals",
        "strays",
        "updates",
    )

    def __init__(self) -> None:
        self.desired: dict[Key, Value] = {}
        self.other: dict[Key, Value] = {}
        self.updates: dict[Key, int] = {}
        self.removals: dict[Key, int] = {}
        self.aside: dict[Key, int] = {}
        self.strays: dict[Key, None] = {}
        self.doubtful: dict[Key, Value] = {}
        """What the kernel held before an event that may have taken it away, until it is put or deleted again."""
        self.outstanding: dict[int, int] = {}
        """How many pending changes each revision asked for, lowest revision first."""
        self._sweeping = False
        self._dumped = False
        self._given_up: set[Key] = set()
        """What was removed before the first dump: no strays if that shows them."""

    # The desired side

    def put(self, key: Key, value: Value, revision: int) -> bool:
        """Want value under key. Returns whether there is something to do for it."""
        desired = self.desired
        size = len(desired)
        want = desired.setdefault(key, value)
        if len(desired) > size:
            if not self.other or key not in self.other:
                # New, the common case: hash the key no oftener than needed.
                self.updates[key] = revision
                self.outstanding[revision] = self.outstanding.get(revision, 0) + 1
                return True
            del desired[key]
        elif want == value:
            return key in self.updates or key in self.aside
        before = None if key in self.doubtful else self.kernel_value(key)
        asked = self._forget_pending(key)
        desired[key] = value
        if before is None or before == value:
            self.other.pop(key, None)
        else:
            self.other[key] = before
        if before == value:
            return False
        self._ask(self.updates, key, asked or revision)
        return True

    def put_new(self, values: dict[Key, Value], revision: int) -> bool:
        """put() for many at once, if none of the keys is known: without a step of Python for each. Returns whether."""
        if not values:
            return True
        if not self.desired.keys().isdisjoint(values) or not self.other.keys().isdisjoint(values):
            return False
        self.desired.update(values)
        self.updates.update(dict.fromkeys(values, revision))
        self.outstanding[revision] = self.outstanding.get(revision, 0) + len(values)
        return True

    def remove(self, key: Key, revision: int) -> bool:
        """Want nothing under key; a stray is thereby given up for removal. Returns whether there is something to do."""
        if key in self.removals:
            return True
        if key not in self.desired:
            if key in self.strays:
                del self.strays[key]
                self._ask(self.removals, key, revision)
            return key in self.other
        # What was lost perhaps may be there after all: deleting it again does no harm.
        before = self.kernel_value(key) or self.doubtful.get(key)
        asked = self._forget_pending(key)
        del self.desired[key]
        if before is None:
            if not self._dumped:
                self._given_up.add(key)
            return False
        self.other[key] = before
        self._ask(self.removals, key, asked or revision)
        return True

    # The kernel's side

    def kernel_value(self, key: Key) -> Value | None:
        """What the kernel is believed to hold."""
        if key in self.updates or key in self.aside or key not in self.desired:
            return self.other.get(key)
        return self.desired[key]

    def kernel_items(self) -> Iterator[tuple[Key, Value]]:
        """All that the kernel is believed to hold."""
        updates, aside = self.updates, self.aside
        for key, value in self.desired.items():
            if key not in updates and key not in aside:
                yield key, value
        yield from self.other.items()

    def keys_in_kernel(self, matches: Callable[[Value], bool]) -> list[Key]:
        """Keys of the kernel's objects that match; reads the whole table."""
        # Few match, and looking a key up costs more than the question.
        updates, aside = self.updates, self.aside
        found = [key for key, value in self.desired.items() if matches(value)]
        keys = [key for key in found if key not in updates and key not in aside]
        return keys + [key for key, value in self.other.items() if matches(value)]

    def kernel_count(self) -> int:
        """Number of objects that the kernel is believed to hold."""
        wanted_aside = sum(1 for key in self.aside if key in self.desired)
        return len(self.desired) - len(self.updates) - wanted_aside + len(self.other)

    def is_right(self, key: Key) -> bool:
        """Whether the key is wanted and the kernel holds exactly that."""
        return key in self.desired and key not in self.updates and key not in self.aside

    def kernel_put(self, key: Key, value: Value) -> None:
        """The kernel now holds value."""
        self.doubtful.pop(key, None)
        want = self.desired.get(key)
        if want is None:
            self.other[key] = value
            if key not in self.removals and key not in self.aside:
                if self._sweeping:
                    self._ask(self.removals, key, 0)
                else:
                    self.strays[key] = None
            return
        if want == value:
            self._forget_pending(key)
            self.other.pop(key, None)
            return
        self.other[key] = value
        if key not in self.aside and key not in self.updates:
            self._ask(self.updates, key, 0)

    def kernel_put_wanted(self, keys: Sequence[Key]) -> None:
        """The kernel now holds what is wanted under each of these keys, which were updates."""
        for revision, count in Counter(map(self.updates.pop, keys)).items():
            self._carried_out(revision, count)
        for pending in (self.other, self.doubtful):
            if pending:
                for key in keys:
                    pending.pop(key, None)

    def kernel_remove(self, key: Key) -> None:
        """The kernel holds nothing under key."""
        self.doubtful.pop(key, None)
        if key not in self.desired:
            self.other.pop(key, None)
            self._forget_pending(key)
            return
        right = self.is_right(key)
        self.other.pop(key, None)
        if right:
            self._ask(self.updates, key, 0)

    def kernel_doubt(self, key: Key) -> bool:
        """The kernel may have lost what it held under key, so put it again if it is wanted.

        Unlike after kernel_remove() the driver is told what was there, so that it replaces instead of insisting on
        making a new object. Returns whether a right object became pending."""
        before = self.kernel_value(key)
        if before is None:
            return False
        self.doubtful[key] = before
        if key not in self.desired:
            # Deleting it does no harm if it is gone; wanting it again must not take it for there.
            return False
        right = self.is_right(key)
        self.other.pop(key, None)
        if right:
            self._ask(self.updates, key, 0)
        return right

    def replace_kernel(self, dump: dict[Key, Value]) -> Difference:
        """Take over a complete dump. The dictionary becomes the tracker's own."""
        self.doubtful.clear()
        self._dumped = True
        if dump == self.desired:
            self._given_up.clear()
            # The common case by far, decided without a step of Python per object.
            for pending in (self.updates, self.removals, self.aside, self.strays, self.other, self.outstanding):
                pending.clear()
            return Difference(0, 0, 0)
        gone: list[Key] = []
        altered: list[Key] = []
        other: dict[Key, Value] = {}
        updates: dict[Key, int] = {}
        for key, want in self.desired.items():
            have = dump.pop(key, None)
            if have == want:
                if key in self.updates or key in self.aside:
                    self._forget_pending(key)
                continue
            if have is not None:
                other[key] = have
            if key in self.updates or key in self.aside:
                continue
            updates[key] = 0
            (gone if have is None else altered).append(key)
        strays = self._take_unwanted(dump)
        other.update(dump)
        self.other = other
        for key in updates:
            self._ask(self.updates, key, 0)
        return Difference(len(gone), len(altered), strays, gone, altered)

    def _take_unwanted(self, dump: dict[Key, Value]) -> int:
        """Sort what is left of a dump, which nobody wants, into removals and strays. Returns how many are new."""
        for pending in (self.removals, self.aside):
            for key in [key for key in pending if key not in dump and key not in self.desired]:
                self._forget_pending(key)
        self.strays = {}
        found = 0
        for key in dump:
            found += key not in self.other
            if key in self.removals or key in self.aside:
                continue
            if self._sweeping or key in self._given_up:
                self._ask(self.removals, key, 0)
            else:
                self.strays[key] = None
        self._given_up.clear()
        return found

    # What is left to do

    def allow_sweep(self) -> None:
        """From now on objects of ours that nobody wants are removed."""
        self._sweeping = True
        for key in self.strays:
            self._ask(self.removals, key, 0)
        self.strays = {}

    def all_new(self) -> bool:
        """Whether the kernel is sure to hold nothing under the keys of the updates."""
        return not self.other and not self.doubtful

    def next_new(self, count: int) -> tuple[list[Key], list[Value]]:
        """next_updates() when all_new(): up to count keys that are ready to be put, and the values."""
        keys = list(islice(self.updates, count))
        return keys, list(map(self.desired.__getitem__, keys))

    def next_updates(self, count: int) -> tuple[list[Key], list[Operation]]:
        """Up to count keys that are ready to be put, and the operations."""
        desired, other, doubtful = self.desired, self.other, self.doubtful
        keys = list(islice(self.updates, count))
        return keys, [Operation(Verb.PUT, desired[key], other.get(key) or doubtful.get(key)) for key in keys]

    def next_removals(self, count: int) -> tuple[list[Key], list[Operation]]:
        """Up to count keys that are ready to be removed, and the operations."""
        keys = list(islice(self.removals, count))
        return keys, [Operation(Verb.REMOVE, self.other[key]) for key in keys]

    def set_aside(self, key: Key) -> None:
        """A try failed: neither next_updates() nor next_removals() gives the key until it is brought back."""
        pending = self.updates if key in self.updates else self.removals
        self.aside[key] = pending.pop(key)

    def bring_back(self, keys: Iterable[Key]) -> None:
        """Let keys that were set aside be tried again."""
        for key in keys:
            if key in self.aside:
                pending = self.updates if key in self.desired else self.removals
                pending[key] = self.aside.pop(key)

    def is_pending(self, key: Key) -> bool:
        """Whether there is something to do for the key."""
        return key in self.updates or key in self.removals or key in self.aside

    @property
    def pending(self) -> int:
        """Number of updates and removals left, failed ones among them."""
        return len(self.updates) + len(self.removals) + len(self.aside)

    def _ask(self, pending: dict[Key, int], key: Key, revision: int) -> None:
        pending[key] = revision
        if revision:
            self._note(revision)

    def _note(self, revision: int) -> None:
        """One more pending change that this revision asked for. Revisions come in ascending order but for a key whose
        older change is overtaken while another of the same revision is done."""
        outstanding = self.outstanding
        if revision in outstanding or not outstanding or revision > next(reversed(outstanding)):
            outstanding[revision] = outstanding.get(revision, 0) + 1
        else:
            self.outstanding = dict(sorted((*outstanding.items(), (revision, 1))))

    def _forget_pending(self, key: Key) -> int:
        """Nothing is pending for key any more; returns the revision that had asked for it, or 0."""
        self.strays.pop(key, None)
        for pending in (self.updates, self.removals, self.aside):
            revision = pending.pop(key, 0)
            if revision:
                self._carried_out(revision, 1)
                return revision
        return 0

    def _carried_out(self, revision: int, count: int) -> None:
        if revision:
            left = self.outstanding[revision] - count
            if left:
                self.outstanding[revision] = left
            else:
                del self.outstanding[revision]
