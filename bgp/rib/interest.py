"""Which VPN routes a peer wants, by the route-target membership that it announced (RFC 4684).

A route is wanted when any of its route targets is covered by any membership; the origin AS of a membership says nothing
about the route. Several memberships may cover one target, so each counts, and a target is lost with the last of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from bgp.nlri import Membership, split_rtc_key

_TARGET_BITS = 64


class Change(NamedTuple):
    """What changed since it was last asked: targets that may be wanted or not wanted any more.

    everything: memberships that are no single target (the default, an AS, a part of a target) came or went too.
    """

    targets: frozenset[bytes]
    everything: bool

    def __bool__(self) -> bool:
        return self.everything or bool(self.targets)


class Interest:
    """The memberships of a peer, by key (bgp.nlri). all_wanted: the peer doesn't speak RTC, and gets everything."""

    __slots__ = ("_changed", "_exact", "_keys", "_wide", "_wide_changed", "all_wanted")

    def __init__(self, *, all_wanted: bool = False) -> None:
        self.all_wanted = all_wanted
        self._keys: set[bytes] = set()
        self._exact: Counter[bytes] = Counter()
        self._wide: dict[int, Counter[int]] = {}
        """Memberships of more than one target: by the number of bits that count, and these; a peer may have many."""
        self._changed: set[bytes] = set()
        self._wide_changed = False

    def __len__(self) -> int:
        """Number of memberships."""
        return len(self._keys)

    def add(self, keys: Iterable[bytes]) -> None:
        """The peer announced memberships."""
        for key in keys:
            if key in self._keys:
                continue
            self._keys.add(key)
            membership = split_rtc_key(key)
            if membership.length == 32 + _TARGET_BITS:
                self._exact[membership.target] += 1
                if self._exact[membership.target] == 1:
                    self._changed.add(membership.target)
            else:
                bits, beginning = _beginning(membership)
                self._wide.setdefault(bits, Counter())[beginning] += 1
                self._wide_changed = True

    def discard(self, keys: Iterable[bytes]) -> None:
        """The peer withdrew memberships."""
        for key in keys:
            if key not in self._keys:
                continue
            self._keys.remove(key)
            membership = split_rtc_key(key)
            if membership.length != 32 + _TARGET_BITS:
                self._discard_wide(membership)
                continue
            target = membership.target
            self._exact[target] -= 1
            if not self._exact[target]:
                del self._exact[target]
                self._changed.add(target)

    def _discard_wide(self, membership: Membership) -> None:
        self._wide_changed = True
        bits, beginning = _beginning(membership)
        beginnings = self._wide[bits]
        beginnings[beginning] -= 1
        if not beginnings[beginning]:
            del beginnings[beginning]
            if not beginnings:
                del self._wide[bits]

    def take_change(self) -> Change:
        """What changed since the last call."""
        change = Change(frozenset(self._changed), self._wide_changed)
        self._changed.clear()
        self._wide_changed = False
        return change

    def wants(self, targets: tuple[bytes, ...]) -> bool:
        """Whether routes with the route targets (8 bytes each) are wanted."""
        if self.all_wanted:
            return True
        exact = self._exact
        if any(target in exact for target in targets):
            return True
        # Without a target in it a membership wants every route, also one without targets.
        return bool(self._wide) and (0 in self._wide or self._covers(targets))

    def _covers(self, targets: tuple[bytes, ...]) -> bool:
        numbers = [int.from_bytes(target, "big") for target in targets]
        return any(
            number >> (_TARGET_BITS - bits) in beginnings
            for bits, beginnings in self._wide.items()
            for number in numbers
        )


def _beginning(membership: Membership) -> tuple[int, int]:
    """How many bits of a target a membership names, and these."""
    bits = max(membership.length - 32, 0)
    return bits, int.from_bytes(membership.target, "big") >> (_TARGET_BITS - bits)
