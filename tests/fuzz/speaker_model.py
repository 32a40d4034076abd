"""What a BGP speaker must hold, told by somebody who looks at every route each time.

The model of one peer knows what the peer said and what it was told. It learns what happened from the same events as the
tables do, does the simplest thing with them, and is then compared with the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from bgp.attributes import WELL_KNOWN_LLGR_STALE, WELL_KNOWN_NO_LLGR, Attributes
from bgp.communities import is_transitive
from bgp.errors import EncodeError
from bgp.family import RTC, Family
from bgp.negotiation import Negotiated
from bgp.next_hop import decode_next_hop, encode_next_hop
from bgp.nlri import split_rtc_key
from bgp.rib.decision import best, multipath
from bgp.rib.policy import find_loop, may_send, sent_as
from bgp.rib.rib import Rib
from bgp.rib.table import Destination, Table
from bgp.rib.values import Path, SourceKind
from bgp.update import Update, UpdateOptions
from bgp.update_encoder import UpdateEncoder

FAMILIES = (RTC, Family(1, 128), Family(2, 128))


@dataclass(slots=True)
class Said:
    """A route as a peer said it. generation: how often everything of the family had become stale before."""

    attributes: Attributes
    next_hop: bytes
    labels: bytes
    generation: int


Told = tuple[Attributes, bytes, bytes]
"""Attributes, next hop and labels of a route that a peer was told."""


@dataclass
class PeerModel:
    """One peer, with or without a session. stale_time: seconds; limit: routes of a VPN family."""

    name: str
    stale_time: float
    limit: int | None
    said: dict[Family, dict[bytes, Said]] = field(default_factory=lambda: {family: {} for family in FAMILIES})
    told: dict[Family, dict[bytes, Told]] = field(default_factory=lambda: {family: {} for family in FAMILIES})
    generation: dict[Family, int] = field(default_factory=lambda: dict.fromkeys(FAMILIES, 0))
    """What is of an older one is stale."""
    negotiated: Negotiated | None = None
    ended: set[Family] = field(default_factory=set)
    """Families whose End-of-RIB we have sent."""
    complete: set[Family] = field(default_factory=set)
    """Families whose End-of-RIB the peer has sent."""
    refreshing: set[Family] = field(default_factory=set)
    blocked: bool = False
    restart_deadline: float | None = None
    restarting: set[Family] = field(default_factory=set)
    """Families that wait for the end of the restart time."""
    stale_deadlines: list[tuple[float, Family, int]] = field(default_factory=list)
    """When what is older than a generation goes."""
    long_time: dict[Family, int] = field(default_factory=dict)
    """Seconds that families of the last session may be long-lived stale."""
    long_deadlines: dict[Family, float] = field(default_factory=dict)
    expired: set[Family] = field(default_factory=set)
    """Families whose long-lived time was over before the peer had sent everything."""
    router_id: bytes = bytes(4)

    # -- what happens

    def session_up(self, negotiated: Negotiated, now: float) -> None:
        """A session has come up."""
        if negotiated.router_id != self.router_id:
            self.expired.clear()
            self.forget_stale(FAMILIES)
            self.router_id = negotiated.router_id
        self.negotiated = negotiated
        self.restart_deadline = None
        self.restarting.clear()
        restart = negotiated.graceful_restart
        briefly = {one.family for one in restart.families if one.forwarding} if restart is not None else set()
        for_long = {one.family for one in negotiated.long_lived if one.forwarding}
        for family in FAMILIES:
            if not self.has_stale(family) and family not in self.long_deadlines:
                continue
            if family in negotiated.families & (for_long if family in self.long_deadlines else briefly):
                self.stale_deadlines.append((now + self.stale_time, family, self.generation[family]))
            else:
                self.forget_stale((family,))
        self.told = {family: {} for family in FAMILIES}
        self.ended, self.complete, self.refreshing = set(), set(), set()
        self.blocked = False

    def session_down(self, preserved: frozenset[Family], now: float) -> None:
        """The session is lost."""
        negotiated, self.negotiated = self.negotiated, None
        assert negotiated is not None
        self.stale_deadlines = [one for one in self.stale_deadlines if one[1] not in self.long_deadlines]
        if not negotiated.notification_restart:
            self.forget_stale(family for family in FAMILIES if family not in self.long_deadlines)
        for family in negotiated.families:
            self.generation[family] += 1
        kept = preserved - self.expired
        self.expired.clear()
        self.forget_stale(negotiated.families - kept)
        self.long_time = {one.family: one.stale_time for one in negotiated.long_lived if one.stale_time}
        restart = negotiated.graceful_restart
        if restart is not None and restart.restart_time:
            self.restarting = {one.family for one in restart.families} & kept
            if self.restarting:
                self.restart_deadline = now + restart.restart_time
        self.restart_over(kept - self.restarting, now)
        self.refreshing.clear()

    def restart_over(self, families: Iterable[Family], now: float) -> None:
        """The peer hasn't come back in time."""
        for family in families:
            if family not in self.long_time and family not in self.long_deadlines:
                self.forget_stale((family,))
                continue
            self.long_deadlines.setdefault(family, now + self.long_time.get(family, 0))
            for key, one in list(self.said[family].items()):
                said = one.attributes
                if not self.is_stale(family, one) or WELL_KNOWN_LLGR_STALE in said.communities:
                    continue
                if WELL_KNOWN_NO_LLGR in said.communities:
                    del self.said[family][key]
                else:
                    one.attributes = replace(said, communities=(*said.communities, WELL_KNOWN_LLGR_STALE))

    def has_stale(self, family: Family) -> bool:
        """Whether anything of a family is stale."""
        return any(self.is_stale(family, one) for one in self.said[family].values())

    def is_stale(self, family: Family, one: Said) -> bool:
        """Whether a route hasn't been said since its family became stale."""
        return one.generation < self.generation[family]

    def forget_stale(self, families: Iterable[Family]) -> None:
        """What is stale is gone."""
        for family in families:
            self._forget(family, self.generation[family])
            self.stale_deadlines = [one for one in self.stale_deadlines if one[1] != family]
            self.long_deadlines.pop(family, None)
            self.restarting.discard(family)
            self.refreshing.discard(family)

    def _forget(self, family: Family, generation: int) -> None:
        self.said[family] = {key: one for key, one in self.said[family].items() if one.generation >= generation}

    def update(self, rib: Rib, update: Update) -> None:
        """The peer sent an UPDATE, as it was judged."""
        if self.blocked:
            return
        for family, keys in update.unreach:
            for key in keys:
                self.said[family].pop(key, None)
        if update.reach is not None and update.attributes is not None:
            family, next_hop, routes = update.reach
            looped = find_loop(rib.identity, update.attributes, next_hop) is not None
            for key, labels in routes:
                if looped:
                    self.said[family].pop(key, None)
                else:
                    self.said[family][key] = Said(update.attributes, next_hop, labels, self.generation[family])
            if self.limit is not None and family != RTC and not looped and len(self.said[family]) > self.limit:
                self.blocked = True
        if (family_ended := update.end_of_rib) is not None:
            self.complete.add(family_ended)
            self.expired.discard(family_ended)
            if family_ended not in self.refreshing:
                self.forget_stale((family_ended,))

    def refresh_began(self, family: Family, now: float) -> None:
        """BoRR; before the End-of-RIB of a peer with graceful restart it means nothing (RFC 7313, section 4)."""
        assert self.negotiated is not None
        if self.negotiated.remote.capabilities.graceful_restart is not None and family not in self.complete:
            return
        self.generation[family] += 1
        self.refreshing.add(family)
        self.stale_deadlines.append((now + self.stale_time, family, self.generation[family]))

    def refresh_ended(self, family: Family) -> None:
        """EoRR; without BoRR it means nothing."""
        if family in self.refreshing:
            self.forget_stale((family,))

    def handle_timer(self, now: float) -> None:
        """Let time pass."""
        due = [(at, 1, family, than) for at, family, than in self.stale_deadlines if at <= now]
        due += [(at, 2, family, 0) for family, at in self.long_deadlines.items() if at <= now]
        if self.restart_deadline is not None and self.restart_deadline <= now:
            due.append((self.restart_deadline, 0, RTC, 0))
            self.restart_deadline = None
        self.stale_deadlines = [one for one in self.stale_deadlines if one[0] > now]
        for at, kind, family, generation in sorted(due):
            if kind == 0:
                over, self.restarting = self.restarting, set()
                self.restart_over(over, now)
            elif kind == 1:
                self._forget(family, generation)
                if all(family != other for _, other, _ in self.stale_deadlines):
                    self.refreshing.discard(family)
            elif self.long_deadlines.get(family) == at:
                if self.negotiated is not None:
                    self.expired.add(family)
                self.forget_stale((family,))

    # -- what must hold

    def wants(self, targets: Collection[bytes]) -> bool:
        """Whether the peer wants VPN routes with these targets."""
        assert self.negotiated is not None
        if RTC not in self.negotiated.families:
            return True
        memberships = [split_rtc_key(key) for key in self.said[RTC]]
        everything = any(one.length <= 32 for one in memberships)
        return everything or any(one.covers(target) for one in memberships for target in targets)


def check_tables(rib: Rib, peers: dict[str, PeerModel]) -> None:
    """The tables hold what the peers said, and are consistent in themselves. Nothing must be left to do."""
    bits = sum(peer.source.bit for peer in rib.peers.values())
    for family, table in rib.tables.items():
        for source, adj in table.sources.items():
            if not source.kind.is_peer:
                continue
            assert source.name in peers and rib.peers[source.name].source is source, "a peer that isn't there any more"
            wanted = peers[source.name].said[family]
            assert not (more := adj.paths.keys() - wanted.keys()), f"{source.name}: kept {family} {more}"
            assert not (less := wanted.keys() - adj.paths.keys()), f"{source.name}: lost {family} {less}"
            for key, path in adj.paths.items():
                said = wanted[key]
                held = path.attributes
                assert (held.attributes, held.next_hop, path.labels) == (said.attributes, said.next_hop, said.labels)
                assert adj.is_stale(path) == peers[source.name].is_stale(family, said), (source.name, family, key)
        known = {source.name for source in table.sources}
        assert all(name in known for name, peer in peers.items() if peer.said[family])
        _check_table(table, bits)


def _check_table(table: Table, bits: int) -> None:
    by_target: dict[bytes, set[Destination]] = {}
    for key, destination in table.destinations.items():
        assert destination.key == key
        held = {source.name: adj.paths[key] for source, adj in table.sources.items() if key in adj.paths}
        paths = destination.paths
        assert {path.source.name: path for path in paths} == held and len(held) == len(paths), (key, paths, held)
        assert not destination.advertised & ~bits, "told of by nobody that is there"
        if not paths:
            assert destination.advertised, "gone, and nobody has to be told"
            continue
        assert paths[0] is best(paths) and paths[0] is best(paths[::-1])
        for target in paths[0].attributes.targets:
            by_target.setdefault(target, set()).add(destination)
    assert {target: set(table.targets.of(target)) for target in table.targets} == by_target
    assert len(table) == sum(bool(destination.paths) for destination in table.destinations.values())
    listed, reached = table.log.read(0, len(table.log) + 1)
    assert reached == table.log.revision
    assert len(listed) == len(set(listed)) and set(listed) == set(table.destinations.values())
    assert [one.revision for one in listed] == sorted({one.revision for one in listed})


def check_told(rib: Rib, model: PeerModel) -> None:
    """The peer was told what it shall know, and nothing else. Everything must have been sent and read."""
    peer, negotiated = rib.peers[model.name], model.negotiated
    assert negotiated is not None
    for family in FAMILIES:
        told = model.told[family]
        member = peer.members.get(family)
        if member is None or member.held:
            assert not told, "told before its time"
            assert member is None or family not in model.ended
            continue
        wanted = _wanted(rib, model, family)
        assert not (more := told.keys() - wanted.keys()), f"{model.name}: told for no reason {family} {more}"
        assert not (less := wanted.keys() - told.keys()), f"{model.name}: not told {family} {less}"
        for key, what in wanted.items():
            assert told[key] == what, (model.name, key, told[key], what)
        assert family in model.ended, "everything is told, and no End-of-RIB"


def _wanted(rib: Rib, model: PeerModel, family: Family) -> dict[bytes, Told]:
    """What the peer shall know of a family."""
    peer, negotiated = rib.peers[model.name], model.negotiated
    assert negotiated is not None
    profile = peer.policy.profile(negotiated)
    if family == RTC and profile.kind is SourceKind.CLIENT:
        return {b"\0": (Attributes(local_pref=100), rib._local_address, b"")}
    internal = profile.kind is not SourceKind.EXTERNAL
    options = UpdateOptions(frozenset((family,)), negotiated.four_octet_as, internal)
    found: dict[bytes, Told] = {}
    for destination in rib.tables[family]:
        path = destination.paths[0]
        if path.source is peer.source or not may_send(path, profile):
            continue
        if family != RTC and not model.wants(path.attributes.targets):
            continue
        attributes, next_hop = sent_as(path, profile, rib.identity)
        try:
            UpdateEncoder(options, profile.max_length).announce(
                family, attributes, next_hop, [(destination.key, path.labels)]
            )
        except EncodeError:
            continue
        if not internal:
            extended = tuple(filter(is_transitive, attributes.extended_communities))
            attributes = replace(attributes, extended_communities=extended)
        seen = decode_next_hop(family, encode_next_hop(family, next_hop))
        assert seen is not None
        found[destination.key] = (attributes, seen, path.labels)
    return found


def imports_of(rib: Rib, family: Family, wanted: dict[str, set[bytes]]) -> dict[tuple[str, bytes], set[bytes]]:
    """Labels (top of the stack, 3 bytes) that VPNs may use, by name and key; wanted: their import targets."""
    found: dict[tuple[str, bytes], set[bytes]] = {}
    for destination in rib.tables[family]:
        path = destination.paths[0]
        labels = {one.labels[:3] for one in _usable(destination.paths)}
        if not path.source.kind.is_peer or not labels:
            continue
        for vpn, targets in wanted.items():
            if targets.intersection(path.attributes.targets):
                found[vpn, destination.key] = labels
    return found


def _usable(paths: tuple[Path, ...]) -> list[Path]:
    return [path for path in multipath(paths) if int.from_bytes(path.labels[:3], "big") >> 4 >= 16]
