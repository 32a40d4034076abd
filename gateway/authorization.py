"""Whether a host may announce a prefix, by what orchestration says of attachments; no I/O.

    strict     the prefix is an address of an attachment that is bound to the VPN, or within a prefix of one; where the
               host names the attachment: of that one
    binding    a named attachment that is bound to the VPN may announce anything; without a name as strict
    off        anything

A check costs one look-up for each prefix length that any attachment has, whatever the number of attachments; a change
of an attachment costs its VPNs times its prefixes, and names the places (VPN, prefix) at which judgements may differ.
It is made in two steps: what an attachment has got counts at once, as does what it has lost for whoever names it; for
items that name nobody the latter counts from release() on, so that others may get it before.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from gateway.grants import NO_GRANTS, Forfeited, Grants
from vpn.prefix import Prefix

Place = tuple[str, Prefix]
"""A VPN and a prefix that an attachment has there."""

NOTHING_KNOWN = "nothing is known of attachments yet, since no MAP server has been reached"


class Mode(enum.StrEnum):
    """How hosts are judged."""

    STRICT = "strict"
    BINDING = "binding"
    OFF = "off"


class Verdict(NamedTuple):
    """reason: why not, "" when it is permitted. attachment: whose the prefix is, as named or found; "" for nobody's."""

    reason: str
    attachment: str


class Authorization:
    """Judges by the attachments that it was told. known: whether they have been told at all; until then nothing is
    permitted (fail closed). forfeited: what others note there; nobody is judged by it."""

    def __init__(self, mode: Mode, *, known: bool = False, forfeited: Forfeited | None = None) -> None:
        self.mode = mode
        self.known = known
        self._forfeited = forfeited or Forfeited()
        self._grants: dict[str, Grants] = {}
        self._holders: dict[Place, dict[str, None]] = {}
        self._leaving: dict[str, set[Place]] = {}
        """Places that attachments have lost and still hold."""
        self._lengths: Counter[tuple[int, int]] = Counter()
        """Number of places by size of address (bytes) and length of prefix (bits)."""
        self._longest: dict[int, tuple[int, ...]] = {4: (), 16: ()}
        """Lengths in use by size of address, the longest first."""

    def grant(self, attachment: str, grants: Grants) -> set[Place]:
        """What an attachment is entitled to from now on; returns the places that came by that."""
        old = _places(self._grants.get(attachment, NO_GRANTS)) | self._leaving.pop(attachment, set())
        new = _places(grants)
        if grants == NO_GRANTS:
            self._grants.pop(attachment, None)
        else:
            self._grants[attachment] = grants
        if left := old - new:
            self._leaving[attachment] = left
        came = new - old
        for place in came:
            self._holders.setdefault(place, {})[attachment] = None
            self._count(place[1], 1)
        return came

    def release(self, attachment: str) -> set[Place]:
        """An attachment lets go of what it has lost; returns the places that went by that."""
        left = self._leaving.pop(attachment, set())
        for place in left:
            holders = self._holders[place]
            del holders[attachment]
            if not holders:
                del self._holders[place]
            self._count(place[1], -1)
        return left

    def _count(self, prefix: Prefix, change: int) -> None:
        size, key = len(prefix.packed), (len(prefix.packed), prefix.length)
        self._lengths[key] += change
        if self._lengths[key] == max(change, 0):
            # The first or the last of its length.
            if not self._lengths[key]:
                del self._lengths[key]
            found = (length for of, length in self._lengths if of == size)
            self._longest[size] = tuple(sorted(found, reverse=True))

    def judge(self, vpn: str, prefix: Prefix, attachment: str) -> Verdict:
        """Whether a prefix may be announced in a VPN. attachment: as the host named it, "" when it didn't."""
        if self.mode is Mode.OFF:
            return Verdict("", attachment or self._holder(vpn, prefix) or "")
        if not self.known:
            return Verdict(NOTHING_KNOWN, attachment)
        if not attachment:
            holder = self._holder(vpn, prefix)
            if holder is None:
                return Verdict(f"{prefix} is no address of an attachment that is bound to VPN {vpn}", "")
            return Verdict("", holder)
        grants = self._grants.get(attachment, NO_GRANTS)
        if vpn not in grants.vpns:
            return Verdict(f"attachment {attachment} is not bound to VPN {vpn}", attachment)
        if self.mode is Mode.BINDING or any(place[1] in grants.prefixes for place in self._covering(vpn, prefix)):
            return Verdict("", attachment)
        return Verdict(f"{prefix} is no address of attachment {attachment}", attachment)

    def permitted_once(self, vpn: str, prefix: Prefix, attachment: str) -> bool:
        """Whether the map has permitted that of a named attachment before, and has taken it back."""
        return self._forfeited.permitted(attachment, vpn, None if self.mode is Mode.BINDING else prefix)

    def _holder(self, vpn: str, prefix: Prefix) -> str | None:
        """The attachment with the longest prefix that covers this one; "" when several have it, None when none has."""
        for place in self._covering(vpn, prefix):
            if holders := self._holders.get(place):
                return next(iter(holders)) if len(holders) == 1 else ""
        return None

    def _covering(self, vpn: str, prefix: Prefix) -> Iterator[Place]:
        """Where a prefix that covers this one would be, of the lengths that there are; the longest first."""
        packed = prefix.packed
        size = len(packed)
        bits, value = size * 8, int.from_bytes(packed, "big")
        for length in self._longest[size]:
            if length <= prefix.length:
                shift = bits - length
                yield vpn, Prefix((value >> shift << shift).to_bytes(size, "big"), length)


def _places(grants: Grants) -> set[Place]:
    return {(vpn, prefix) for vpn in grants.vpns for prefix in grants.prefixes}
