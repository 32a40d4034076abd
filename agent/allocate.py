"""Numbers that a host gives out: labels, table ids, instance ids. Pure: the caller keeps them on disk.

A label is bound to an attachment's name and VPN. A freed label rests in quarantine: a packet sent with it by a host
that has not yet heard of the withdrawal must not reach another tenant. Only the same attachment gets it back earlier.

Time is handed in: `now`, seconds of a clock that doesn't jump (agent.boot).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from runtime.errors import ExitCode, OperatorError
from vpn.label import LABEL_MAX, LABEL_MIN

INSTANCE_IDS = range(1, 0x10000)
"""Instance ids: 16 bits (draft-ietf-l3vpn-end-system-06, section 6.1); 0 is left out."""


class Owner(NamedTuple):
    """Whom a label is bound to."""

    attachment: str
    vpn: str


class Quarantined(NamedTuple):
    """A freed label: who had it, and since when it rests."""

    label: int
    owner: Owner
    since: float


class LabelPool:
    """Labels of one host, base <= label < base + size.

    quarantine: seconds that a freed one rests. used, quarantined: what was given out before; labels outside the range
    (the configuration was changed) stay valid until they are freed.
    """

    def __init__(
        self, base: int, size: int, quarantine: float, used: Iterable[int] = (), quarantined: Iterable[Quarantined] = ()
    ) -> None:
        if size < 1 or base < LABEL_MIN or base + size - 1 > LABEL_MAX:
            raise OperatorError(
                "[datapath] label_base",
                f"labels {base}..{base + size - 1} are not within {LABEL_MIN}..{LABEL_MAX}",
                "choose another label_base or label_count",
            )
        self._labels = range(base, base + size)
        self._seconds = quarantine
        self._used = set(used)
        self._quarantined = {entry.label: entry for entry in quarantined}
        self._resting = {entry.owner: entry.label for entry in self._quarantined.values()}
        # Labels are given out in turn, not lowest first: the longer a freed one rests, the better.
        known = [label for label in (*self._used, *self._quarantined) if label in self._labels]
        self._next = max(known) + 1 if known else base

    def allocate(self, owner: Owner, now: float) -> int:
        """A label for the owner: the one it had, while that rests; else one that nobody has.

        Raises OperatorError (CONFLICT) when every label is used or rests.
        """
        known = self._resting.pop(owner, None)
        if known is not None:
            del self._quarantined[known]
            self._used.add(known)
            return known
        start = self._next if self._next in self._labels else self._labels.start
        for label in chain(range(start, self._labels.stop), range(self._labels.start, start)):
            if label in self._used:
                continue
            resting = self._quarantined.get(label)
            if resting is not None:
                if not self._rested(resting, now):
                    continue
                self._forget(resting)
            self._used.add(label)
            self._next = label + 1
            return label
        raise OperatorError(
            "label",
            f"all {len(self._labels)} labels are in use or resting after use",
            f"detach ports and wait {self._seconds:.0f} s, or raise [datapath] label_count",
            ExitCode.CONFLICT,
        )

    def resting_of(self, owner: Owner) -> Quarantined | None:
        """The label that rests for an owner, which allocate() would give it."""
        label = self._resting.get(owner)
        return None if label is None else self._quarantined[label]

    def give_back(self, label: int, before: Quarantined | None) -> None:
        """Undo allocate() of a label that nobody was told of. before: resting_of() the owner before it."""
        self._used.discard(label)
        if before is not None:
            self._quarantined[label] = before
            self._resting[before.owner] = label

    def release(self, quarantined: Quarantined) -> None:
        """Free a label: from now on it rests."""
        self._used.discard(quarantined.label)
        self._quarantined[quarantined.label] = quarantined
        self._resting[quarantined.owner] = quarantined.label

    def expired(self, now: float) -> list[int]:
        """Labels whose rest is over; they are forgotten here, and can be on disk too."""
        over = [entry for entry in self._quarantined.values() if self._rested(entry, now)]
        for entry in over:
            self._forget(entry)
        return [entry.label for entry in over]

    def _rested(self, entry: Quarantined, now: float) -> bool:
        return entry.since + self._seconds <= now

    def _forget(self, entry: Quarantined) -> None:
        del self._quarantined[entry.label]
        if self._resting.get(entry.owner) == entry.label:
            del self._resting[entry.owner]

    @property
    def used(self) -> int:
        """Number of labels in use."""
        return len(self._used)

    @property
    def resting(self) -> int:
        """Number of labels in quarantine."""
        return len(self._quarantined)


def lowest_free(numbers: range, used: set[int], what: str, hint: str) -> int:
    """The lowest number not in used; raises OperatorError (CONFLICT) when there is none."""
    for number in numbers:
        if number not in used:
            return number
    raise OperatorError(what, f"all of {numbers.start}..{numbers.stop - 1} are in use", hint, ExitCode.CONFLICT)
