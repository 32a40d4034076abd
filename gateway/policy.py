"""Which VPNs see which routes: import and export route targets (RFC 4364, section 4.3.5), no I/O.

A route published in a VPN carries that VPN's export targets; every VPN that imports one of them sees it. So a full
mesh is one target imported and exported; hub and spoke are two targets crossed over (a spoke then sees neither the
other spokes' routes nor its own, as it doesn't import what it exports); an extranet is a target that several import.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vpn.community import RouteTarget


class Source(enum.StrEnum):
    """Who provisions a VPN."""

    STATIC = "static"
    """A [[vpn]] of gateway.toml."""
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Vpn:
    """A VPN of this gateway. name: the pub-sub node (ASCII, 1..128 octets)."""

    name: str
    imports: frozenset[RouteTarget]
    exports: frozenset[RouteTarget]
    source: Source = Source.STATIC


class Policy:
    """The VPNs by name, with an index of importing VPNs by route target. Immutable; a reload makes a new one."""

    __slots__ = ("_importers", "_index", "vpns")

    def __init__(self, vpns: Iterable[Vpn]) -> None:
        self.vpns: Mapping[str, Vpn] = MappingProxyType({vpn.name: vpn for vpn in vpns})
        index: dict[RouteTarget, set[str]] = {}
        for vpn in self.vpns.values():
            for target in vpn.imports:
                index.setdefault(target, set()).add(vpn.name)
        self._index = index
        self._importers = {vpn.name: self.importers_of(vpn.exports) for vpn in self.vpns.values()}

    def importers(self, vpn: str) -> frozenset[str]:
        """Names of the VPNs that see what is published in the VPN of this name; none for an unknown VPN."""
        return self._importers.get(vpn, frozenset())

    def exports(self, vpn: str) -> frozenset[RouteTarget]:
        """Export targets of the VPN of this name; none for an unknown VPN."""
        known = self.vpns.get(vpn)
        return known.exports if known is not None else frozenset()

    def importers_of(self, targets: Iterable[RouteTarget]) -> frozenset[str]:
        """Names of the VPNs that import at least one of the targets."""
        return frozenset(name for target in targets for name in self._index.get(target, ()))
