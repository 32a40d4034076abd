"""Which VPNs import which routes, by route target.

A VPN imports a route when any of the route's targets is one of its import targets. What comes out is, per VPN and
route, the paths to use: the best one and those equal to it. Routes of this gateway's own hosts are left out, since the
VRF tables have them already; where such a route is better than what peers say of the same NLRI, theirs isn't imported.

What the decision compares beyond LOCAL_PREF and sequence number goes with a path as its tie-break, so that a VRF
table, which sees paths of several NLRIs, goes on in the same order: AS_PATH length, ORIGIN, hosts before eBGP before
iBGP. Routes of hosts of other gateways count as hosts' there, so that every gateway has the same idea of what is best
in a VPN, wherever a host is connected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bgp.as_path import path_length
from bgp.communities import TUNNEL_GRE, TUNNEL_MPLS_IN_UDP, TUNNEL_VXLAN, encapsulations, mac_mobility
from bgp.family import Family
from bgp.next_hop import address
from bgp.nlri import split_vpn_key
from bgp.recent import Recent
from bgp.rib import decision
from bgp.rib.table import Destination, Table
from bgp.rib.values import DEFAULT_LOCAL_PREF, AttributeSet
from bgp.rib.values import Path as BgpPath
from vpn.community import RouteDistinguisher
from vpn.label import LABEL_MIN
from vpn.path import Encapsulation, NextHop, Path
from vpn.prefix import Prefix

_NONE: frozenset[str] = frozenset()
_RD_OF_ADDRESS = b"\0\1"
"""Type of a route distinguisher that is an address and a number (RFC 4364, section 4.2)."""
_SAID = 8192
"""Attribute sets whose reading is remembered."""
_ENCAPSULATIONS = {
    TUNNEL_GRE: Encapsulation.GRE,
    TUNNEL_MPLS_IN_UDP: Encapsulation.UDP,
    TUNNEL_VXLAN: Encapsulation.VXLAN,
}


class Imported(NamedTuple):
    """A route that a VPN is to use from now on, or, without path, not any more.

    stale: it is long-lived stale, and less preferred than any other that is not (RFC 9494, section 4.3).
    """

    vpn: str
    distinguisher: RouteDistinguisher
    prefix: Prefix
    path: Path | None
    stale: bool = False


class _Said(NamedTuple):
    """What an attribute set says to a VRF table."""

    address: bytes
    encapsulations: tuple[Encapsulation, ...]
    local_preference: int
    sequence_number: int
    tie_break: int
    """Of a host's route; others have less."""
    host: bytes
    """How the key of the route begins if the next hop is a host, b"" when it can't be one."""


def _read(said: AttributeSet) -> _Said:
    """A route without encapsulation community goes by GRE (RFC 9012, section 4.1, leaves the choice to us).

    Long-lived stale routes get LOCAL_PREF 0, as RFC 9494 has it for those who don't know what it is about: so a host
    that has a better path from another gateway uses that.
    """
    attributes = said.attributes
    mobility = mac_mobility(attributes)
    known = [_ENCAPSULATIONS[kind] for kind in encapsulations(attributes) if kind in _ENCAPSULATIONS]
    next_hop = address(said.next_hop)
    stale = said.is_long_lived_stale
    preference = DEFAULT_LOCAL_PREF if attributes.local_pref is None else attributes.local_pref
    return _Said(
        next_hop,
        tuple(known) or (Encapsulation.GRE,),
        0 if stale else preference,
        mobility.sequence_number if mobility is not None else 0,
        -(path_length(attributes.as_path) << 4 | attributes.origin << 2),
        _RD_OF_ADDRESS + next_hop if known and len(next_hop) == 4 else b"",
    )


def _tie_break(said: _Said, path: BgpPath, key: bytes) -> int:
    """Greater is better. Routes in the form that gateways give hosts' (RD and next hop are the same address, with an
    encapsulation) are hosts'."""
    if said.host and key.startswith(said.host) and path.source.kind.is_internal:
        return said.tie_break
    return said.tie_break - (2 if path.source.kind.is_internal else 1)


class ImportTable:
    """The imports of one family; it takes what is dirty in the table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._dirty: dict[Destination, None] = {}
        self._queue: dict[Destination, None] = {}
        """What was dirty before, the next one last."""
        table.dirty = self._dirty
        self._vpns: dict[bytes, frozenset[str]] = {}
        """VPNs by import target."""
        self._by_targets: dict[tuple[bytes, ...], frozenset[str]] = {}
        self._said: Recent[AttributeSet, _Said] = Recent(_SAID)
        self._imported: dict[bytes, frozenset[str]] = {}
        """VPNs that have a route, by key."""

    def __len__(self) -> int:
        """Number of routes that at least one VPN has imported."""
        return len(self._imported)

    @property
    def has_work(self) -> bool:
        """Whether step() would find something to look at."""
        return bool(self._dirty or self._queue)

    def set_vpns(self, imports: Mapping[str, Iterable[bytes]]) -> None:
        """Import targets (8 bytes each) by VPN, all VPNs there are. Routes come into and leave VPNs at step()."""
        by_target: dict[bytes, set[str]] = {}
        for vpn, targets in imports.items():
            for target in targets:
                by_target.setdefault(target, set()).add(vpn)
        vpns = {target: frozenset(names) for target, names in by_target.items()}
        changed = {target for target in vpns.keys() | self._vpns.keys() if vpns.get(target) != self._vpns.get(target)}
        self._vpns = vpns
        self._by_targets.clear()
        for target in changed:
            self._dirty.update(dict.fromkeys(self.table.targets.of(target)))

    def vpns_of(self, targets: tuple[bytes, ...]) -> frozenset[str]:
        """VPNs that import routes with these targets."""
        found = self._by_targets.get(targets)
        if found is None:
            sets = [self._vpns[target] for target in targets if target in self._vpns]
            found = sets[0] if len(sets) == 1 else frozenset().union(*sets)
            if len(self._by_targets) > 2 * len(self.table.targets) + 1024:
                self._by_targets.clear()
            self._by_targets[targets] = found
        return found

    def imported_by(self, key: bytes) -> frozenset[str]:
        """VPNs that have the route of a key (bgp.nlri)."""
        return self._imported.get(key, _NONE)

    def step(self, limit: int) -> tuple[int, list[Imported]]:
        """Look at `limit` routes at most that have changed; how many were, and what VPNs are to do."""
        queue = self._queue
        imported = self._imported
        found: list[Imported] = []
        count = 0
        if not (self._vpns or imported):
            # A reflector without VPNs has nothing to look for.
            count = len(queue) + len(self._dirty)
            queue.clear()
            self._dirty.clear()
            return count, found
        while count < limit:
            if not queue:
                if not self._dirty:
                    break
                # The next round, whole: what becomes dirty meanwhile waits for the one after it.
                queue = self._queue = self._dirty
                self.table.dirty = self._dirty = {}
            destination, _ = queue.popitem()
            count += 1
            key, paths = destination.key, destination.paths
            if not paths and self._superseded(destination):
                continue
            after = _NONE
            if paths and paths[0].source.is_peer:
                after = self.vpns_of(paths[0].attributes.targets)
            before = imported.get(key, _NONE)
            if not (before or after):
                continue
            path = self._path(key, paths) if after else None
            if path is None:
                after = _NONE
            stale = path is not None and paths[0].attributes.is_long_lived_stale
            self._emit(found, self.table.family, key, before, after, path, stale)
            if after:
                imported[key] = after
            elif before:
                del imported[key]
        return count, found

    def _path(self, key: bytes, paths: tuple[BgpPath, ...]) -> Path | None:
        """The paths to use as a VRF table wants them, by the top label of each; None when no label can be used."""
        best = paths[0].attributes
        first = self._said.get(best) or self._said.put(best, _read(best))
        if len(paths) == 1:
            label = _top_label(paths[0].labels)
            if label < LABEL_MIN:
                return None
            hop = NextHop(first.address, label, first.encapsulations)
            return Path((hop,), first.local_preference, first.sequence_number, _tie_break(first, paths[0], key))
        next_hops: dict[tuple[bytes, int], NextHop] = {}
        for path in decision.multipath(paths):
            said = self._said.get(path.attributes) or self._said.put(path.attributes, _read(path.attributes))
            label = _top_label(path.labels)
            if label >= LABEL_MIN:
                hop = NextHop(said.address, label, said.encapsulations)
                next_hops.setdefault((said.address, label), hop)
        if not next_hops:
            return None
        hops = tuple(next_hops[where] for where in sorted(next_hops))
        return Path(hops, first.local_preference, first.sequence_number, _tie_break(first, paths[0], key))

    def _superseded(self, destination: Destination) -> bool:
        """Whether a destination that is gone was made anew under the same key: then that one says what holds."""
        return self.table.destinations.get(destination.key, destination) is not destination

    @staticmethod
    def _emit(
        found: list[Imported],
        family: Family,
        key: bytes,
        before: frozenset[str],
        after: frozenset[str],
        path: Path | None,
        stale: bool,
    ) -> None:
        distinguisher, prefix = split_vpn_key(family, key)
        if len(after) == 1 and before <= after:
            found.append(Imported(next(iter(after)), distinguisher, prefix, path, stale))
            return
        found += [Imported(vpn, distinguisher, prefix, path, stale) for vpn in sorted(after)]
        found += [Imported(vpn, distinguisher, prefix, None) for vpn in sorted(before - after)]


def _top_label(stack: bytes) -> int:
    """The label on top of a stack (bgp.nlri), 0 when there is none."""
    return stack[0] << 12 | stack[1] << 4 | stack[2] >> 4 if stack else 0
