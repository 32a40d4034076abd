"""What attachments are entitled to, and were; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vpn.prefix import Prefix


class Grants(NamedTuple):
    """What an attachment is entitled to: the VPNs that it is bound to, and its prefixes."""

    vpns: frozenset[str]
    prefixes: frozenset[Prefix]

    def has(self, vpn: str, prefix: Prefix) -> bool:
        """Whether a prefix in a VPN is within these."""
        if vpn not in self.vpns:
            return False
        size, length = len(prefix.packed), prefix.length
        return any(
            len(one.packed) == size and one.length <= length and one.contains(prefix.packed) for one in self.prefixes
        )


NO_GRANTS = Grants(frozenset(), frozenset())


class Forfeited:
    """What attachments have lost and not got back; the newest `limit` attachments, `most` prefixes of each.

    An item that the map doesn't permit is withheld, whatever it was before. But what is said of it differs: of an
    attachment that was never permitted a host can't be let speak, one that was is `adminDown`. Sessions, restarts of
    the gateway and changes while it is down would make it forget which is which.
    """

    def __init__(self, limit: int = 10_000, most: int = 64) -> None:
        self._limit = limit
        self._most = most
        self._lost: dict[str, Grants] = {}

    def items(self) -> Mapping[str, Grants]:
        """By attachment, the latest last."""
        return self._lost

    def note(self, attachment: str, before: Grants, now: Grants) -> None:
        """An attachment is entitled to something else from now on."""
        old = self._lost.pop(attachment, NO_GRANTS)
        had = Grants(old.vpns | before.vpns, old.prefixes | before.prefixes)
        if len(had.prefixes) > self._most or len(had.vpns) > self._most:
            had = before
        if had.vpns <= now.vpns and had.prefixes <= now.prefixes:
            return
        self._lost[attachment] = had
        if len(self._lost) > self._limit:
            del self._lost[next(iter(self._lost))]

    def restore(self, lost: Mapping[str, Grants]) -> None:
        """Begin with what was kept."""
        self._lost = dict(lost)

    def permitted(self, attachment: str, vpn: str, prefix: Prefix | None) -> bool:
        """Whether the map permitted that once. prefix: None for whichever."""
        lost = self._lost.get(attachment, NO_GRANTS)
        return vpn in lost.vpns if prefix is None else lost.has(vpn, prefix)
