"""All tables of a gateway's BGP speaker and its peers, without I/O.

                 update(), session_up/down()                                   take() -> bytes of UPDATEs
    sessions ----------------------------------> adj-rib-in -> Table -> groups --------------------------> sessions
    hosts    -- originate(), unoriginate() ----> (one a family)      +-> imports --- take_imports() --------> VRF tables
    VPNs     -- set_imports(), set_memberships() ------^

Calls change tables at once and cost what they change. What may be long (the first dump, a lost peer's routes, a change
of interest in many routes) is done by step(), a slice at a time; between slices the shell reads sockets, fires timers.
Nothing is reported twice and no order of calls is wrong: a slice looks at what holds when it runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from bgp.attributes import Attributes
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.negotiation import Negotiated
from bgp.nlri import Route, rtc_key
from bgp.refresh import RefreshKind, RouteRefresh
from bgp.rib.events import ExportStarted, PrefixLimitExceeded, PrefixWarning, RibEvent, RoutesStale, RoutesSwept
from bgp.rib.export import ExportGroup
from bgp.rib.imports import Imported, ImportTable
from bgp.rib.interest import Interest
from bgp.rib.jobs import clear_bit, degrade, sweep
from bgp.rib.member import Member
from bgp.rib.peer import Peer, PeerPolicy
from bgp.rib.policy import Identity, Profile, find_loop
from bgp.rib.restart import Action, ActionKind
from bgp.rib.table import AdjRibIn, Table
from bgp.rib.values import AttributeSets, Source, SourceKind
from bgp.update import Update
from bgp.update_encoder import end_of_rib

VPN_FAMILIES = (VPNV4, VPNV6)


class Rib:
    """The tables. identity: who we are; local_address: next hop of our own memberships (4 or 16 bytes)."""

    def __init__(self, identity: Identity, local_address: bytes) -> None:
        self.identity = identity
        self.peers: dict[str, Peer] = {}
        self.tables = {family: Table(family) for family in (RTC, *VPN_FAMILIES)}
        self.imports = {family: ImportTable(self.tables[family]) for family in VPN_FAMILIES}
        self.groups: dict[tuple[Family, Profile], ExportGroup] = {}
        self._local_address = local_address
        self._local = Source("gateway", SourceKind.LOCAL, router_id=identity.router_id)
        self._hosts = Source("hosts", SourceKind.HOST, router_id=identity.router_id)
        self._memberships: frozenset[bytes] = frozenset()
        self._sets = AttributeSets()
        self._masks: dict[int, int] = {}
        self._free_bits: list[int] = []
        self._bits = 0
        self._jobs: deque[Iterator[int]] = deque()
        self._interested: set[str] = set()
        """Peers whose memberships changed."""
        self._ready: set[str] = set()
        self._events: deque[RibEvent] = deque()
        self.awaited: set[str] | None = None
        """Who is still to send everything before peers are told anything, after our restart; None: nobody."""
        self._export_deadline = 0.0

    # -- peers and sessions

    def add_peer(self, name: str, address: bytes, policy: PeerPolicy) -> Peer:
        """A peer was configured."""
        peer = self.peers[name] = Peer(name, address, policy)
        return peer

    def remove_peer(self, name: str, now: float) -> None:
        """A peer isn't configured any more: its routes go."""
        peer = self.peers[name]
        if peer.negotiated is not None:
            self.session_down(name, frozenset(), now)
        for table in self.tables.values():
            if (adj := table.sources.get(peer.source)) is not None:
                self._jobs.append(self._sweep(peer, table, adj, adj.age()))
        del self.peers[name]
        self._arrived(name)

    def session_up(self, name: str, negotiated: Negotiated, now: float) -> None:
        """A session has come up."""
        peer = self.peers[name]
        source = peer.source
        if source.router_id != negotiated.router_id:
            # Not the speaker that sent the stale routes.
            self._carry_out(peer, peer.helper.forget())
            source.router_id = negotiated.router_id
        peer.negotiated = negotiated
        source.bit = self._free_bits.pop() if self._free_bits else self._new_bit()
        peer.interest = Interest(all_wanted=RTC not in negotiated.families)
        if RTC in negotiated.families:
            peer.interest.add(self.tables[RTC].adj_rib_in(source).paths)
            peer.interest.take_change()
            peer.membership_deadline = now + peer.policy.membership_time
        self._carry_out(peer, peer.helper.came_up(negotiated, now, partial(self._generation, source)))
        profile = peer.policy.profile(negotiated)
        for family in sorted(negotiated.families & self.tables.keys()):
            group = self.groups.get((family, profile))
            if group is None:
                group = ExportGroup(self.tables[family], profile, self.identity, self._masks)
                self.groups[family, profile] = group
            member = Member(name, source.bit, peer.interest, held=True)
            group.join(member)
            peer.members[family], peer.groups[family] = member, group
            group.greet(member, self._local_address)
        self._release(peer)

    def _new_bit(self) -> int:
        self._bits += 1
        return 1 << (self._bits - 1)

    def session_down(self, name: str, preserved: frozenset[Family], now: float) -> None:
        """A session is over; preserved: families whose routes stay, stale (bgp.events.SessionDown)."""
        peer = self.peers[name]
        negotiated, bit = peer.negotiated, peer.source.bit
        if negotiated is None:
            return
        self._carry_out(peer, peer.helper.fails_again(negotiated))
        for family in negotiated.families & self.tables.keys():
            self.tables[family].adj_rib_in(peer.source).age()
        actions = peer.helper.went_down(negotiated, preserved & self.tables.keys(), now)
        for family, member in peer.members.items():
            peer.groups[family].leave(member)
        self._jobs.append(self._clear_bit(bit))
        peer.forget_session()
        self._ready.discard(name)
        for family in sorted(preserved & self.tables.keys()):
            self._events.append(RoutesStale(name, family, long_lived=False))
        self._carry_out(peer, actions)
        self._arrived(name)

    def _clear_bit(self, bit: int) -> Iterator[int]:
        """A session's bit leaves all destinations; then it may be another's."""
        yield from clear_bit(self.tables.values(), bit, self._masks)
        self._masks.clear()
        self._free_bits.append(bit)

    def _generation(self, source: Source, family: Family) -> int:
        return self.tables[family].adj_rib_in(source).generation

    def _carry_out(self, peer: Peer, actions: Iterable[Action]) -> None:
        for kind, family, generation in actions:
            table = self.tables.get(family)
            if table is None:
                continue
            adj = table.adj_rib_in(peer.source)
            generation = adj.generation if generation is None else generation
            if kind is ActionKind.SWEEP:
                self._jobs.append(self._sweep(peer, table, adj, generation))
            else:
                self._events.append(RoutesStale(peer.name, family, long_lived=True))
                self._jobs.append(degrade(table, adj, generation, self._sets, partial(self._lost, peer, family)))

    def _sweep(self, peer: Peer, table: Table, adj: AdjRibIn, generation: int) -> Iterator[int]:
        count = 0

        def withdrawn(keys: list[bytes]) -> None:
            nonlocal count
            count += len(keys)
            self._lost(peer, table.family, keys)

        yield from sweep(table, adj, generation, withdrawn)
        if not adj.paths and self.peers.get(peer.name) is not peer:
            table.sources.pop(adj.source, None)
        if count:
            self._events.append(RoutesSwept(peer.name, table.family, count))

    # -- what peers send

    def update(self, name: str, update: Update) -> None:
        """A peer with a session sent an UPDATE."""
        peer = self.peers[name]
        if peer.blocked or peer.negotiated is None:
            return
        for family, keys in update.unreach:
            self._withdraw(peer, family, keys)
        reach = update.reach
        if reach is not None and update.attributes is not None:
            family, next_hop, routes = reach
            if find_loop(self.identity, update.attributes, next_hop) is not None:
                peer.looped += len(routes)
                self._withdraw(peer, family, [key for key, _ in routes])
            else:
                self._announce(peer, family, update.attributes, next_hop, routes)
        if update.end_of_rib is not None:
            self._ended(peer, update.end_of_rib)

    def _announce(
        self, peer: Peer, family: Family, attributes: Attributes, next_hop: bytes, routes: list[Route]
    ) -> None:
        table = self.tables[family]
        adj = table.adj_rib_in(peer.source)
        table.update(adj, self._sets.of(attributes, next_hop), routes)
        if family == RTC:
            peer.interest.add(key for key, _ in routes)
            self._interested.add(peer.name)
        limit = peer.policy.limits.get(family)
        if limit is not None:
            count = len(adj)
            if count > limit.limit:
                peer.blocked = True
                self._events.append(PrefixLimitExceeded(peer.name, family, count, limit.limit))
            elif count >= limit.limit * limit.warning and family not in peer.warned:
                peer.warned.add(family)
                self._events.append(PrefixWarning(peer.name, family, count, limit.limit))

    def _withdraw(self, peer: Peer, family: Family, keys: list[bytes]) -> None:
        table = self.tables[family]
        table.withdraw(table.adj_rib_in(peer.source), keys)
        self._lost(peer, family, keys)

    def _lost(self, peer: Peer, family: Family, keys: Iterable[bytes]) -> None:
        """Routes of a peer are gone: those of membership were what it is interested in."""
        if family == RTC:
            peer.interest.discard(keys)
            self._interested.add(peer.name)

    def _ended(self, peer: Peer, family: Family) -> None:
        """End-of-RIB of a family."""
        self._carry_out(peer, peer.helper.all_sent(family))
        peer.ended.add(family)
        if family == RTC:
            peer.membership_deadline = None
            self._release(peer)
        if peer.negotiated is not None and peer.negotiated.families & self.tables.keys() <= peer.ended:
            self._arrived(peer.name)

    def disable_family(self, name: str, family: Family) -> None:
        """What a peer says of a family can't be understood any more: its routes of it go (RFC 4760, section 7)."""
        peer, table = self.peers[name], self.tables[family]
        adj = table.adj_rib_in(peer.source)
        self._jobs.append(self._sweep(peer, table, adj, adj.age()))

    def refresh(self, name: str, family: Family, kind: RefreshKind, now: float) -> None:
        """A peer asks for everything again, or begins or ends to send everything again (RFC 2918, RFC 7313)."""
        peer = self.peers[name]
        member, negotiated = peer.members.get(family), peer.negotiated
        if member is None or negotiated is None:
            return
        if kind is RefreshKind.BEGIN:
            if peer.may_begin_refresh(family):
                peer.helper.refresh_began(family, now, self.tables[family].adj_rib_in(peer.source).age())
        elif kind is RefreshKind.END:
            self._carry_out(peer, peer.helper.refresh_ended(family))
        elif not member.held:
            if negotiated.enhanced_route_refresh and not member.awaits(end_of_rib(family)):
                member.put((RouteRefresh(family, RefreshKind.BEGIN).encode(),))
                end = RouteRefresh(family, RefreshKind.END).encode()
                member.marks.append((self.tables[family].log.revision, end))
            self._ready.add(name)
            peer.groups[family].greet(member, self._local_address)
            member.cursor = 0
            member.walk = None

    # -- what we send

    def originate(self, family: Family, attributes: Attributes, next_hop: bytes, routes: Iterable[Route]) -> None:
        """Routes of hosts: in place of what was originated under the same keys."""
        table = self.tables[family]
        table.update(table.adj_rib_in(self._hosts), self._sets.of(attributes, next_hop), routes)

    def unoriginate(self, family: Family, keys: Iterable[bytes]) -> None:
        """Routes of hosts that are no more."""
        table = self.tables[family]
        table.withdraw(table.adj_rib_in(self._hosts), keys)

    def set_memberships(self, targets: Iterable[bytes]) -> None:
        """The route targets (8 bytes each) that we want routes of, all of them (RFC 4684).

        A reflector wants everything from its clients whatever it says here.
        """
        wanted = frozenset(targets)
        table = self.tables[RTC]
        adj = table.adj_rib_in(self._local)
        asn = self.identity.asn
        ours = self._sets.of(Attributes(local_pref=100), self._local_address)
        table.update(adj, ours, [(rtc_key(asn, target), b"") for target in sorted(wanted - self._memberships)])
        table.withdraw(adj, [rtc_key(asn, target) for target in sorted(self._memberships - wanted)])
        self._memberships = wanted

    def set_imports(self, imports: Mapping[str, Iterable[bytes]]) -> None:
        """Import targets (8 bytes each) of all VPNs by name."""
        wanted = {vpn: tuple(targets) for vpn, targets in imports.items()}
        for table in self.imports.values():
            table.set_vpns(wanted)

    def defer_export(self, names: Iterable[str], deadline: float) -> None:
        """We have restarted: peers are told nothing but our memberships until these have sent everything.

        names: of peers, and of what else the shell waits for (see arrived()); deadline: when to begin without them.
        """
        self.awaited = set(names)
        self._export_deadline = deadline

    def arrived(self, name: str) -> None:
        """Something that defer_export() waits for, and isn't a peer, is there."""
        self._arrived(name)

    def _arrived(self, name: str) -> None:
        if self.awaited is not None:
            self.awaited.discard(name)
            if not self.awaited:
                self._start_export()

    def _start_export(self) -> None:
        missing, self.awaited = frozenset(self.awaited or ()), None
        self._events.append(ExportStarted(missing))
        for peer in self.peers.values():
            self._release(peer)

    def _release(self, peer: Peer) -> None:
        """Let routes flow to a peer that nothing is to be waited for any more."""
        for family, member in peer.members.items():
            free = family == RTC or (self.awaited is None and peer.membership_deadline is None)
            if member.held and free:
                member.held = False
                member.marks.append((self.tables[family].log.revision, end_of_rib(family)))

    # -- work

    @property
    def has_work(self) -> bool:
        """Whether step() would do something."""
        return bool(self._jobs or self._interested) or any(group.has_work for group in self.groups.values())

    def step(self, limit: int = 4000) -> int:
        """Do a slice of what is to be done, about `limit` routes; returns how many, 0: nothing is left."""
        count = 0
        while self._jobs and count < limit:
            job = self._jobs[0]
            done = next(job, None)
            if done is None:
                self._jobs.popleft()
            else:
                count += done
        for name in self._interested:
            if (peer := self.peers.get(name)) is not None:
                count += self._recheck(peer)
        self._interested.clear()
        for group in list(self.groups.values()):
            if group.members:
                worked, touched = group.step(limit)
                count += worked + len(touched)
                self._ready |= touched
        return count

    def _recheck(self, peer: Peer) -> int:
        """A peer's memberships have changed: look again at the routes that they are about."""
        change = peer.interest.take_change()
        count = 0
        for family in VPN_FAMILIES:
            member = peer.members.get(family)
            if member is None or not member.cursor or not change:
                continue
            if change.everything:
                member.walk = 0
                continue
            member.recheck_targets.update(dict.fromkeys(change.targets))
            count += len(change.targets)
        return count

    def take_ready(self) -> set[str]:
        """Peers for whom there is something to take() since the last call."""
        ready, self._ready = self._ready, set()
        return ready

    def take(self, name: str, limit: int) -> list[bytes]:
        """Messages for a peer, taken out of what waits for it: about `limit` bytes."""
        return self.peers[name].take(limit)

    @property
    def has_imports(self) -> bool:
        """Whether step_imports() would find something to look at."""
        return any(table.has_work for table in self.imports.values())

    def step_imports(self, limit: int = 4000) -> tuple[int, list[Imported]]:
        """Look at `limit` changed routes at most: how many were, 0: nothing is left; and what VPNs are to use and not
        to use any more by that."""
        count = 0
        found: list[Imported] = []
        for table in self.imports.values():
            if count < limit and table.has_work:
                looked, imports = table.step(limit - count)
                count += looked
                found += imports
        return count, found

    def take_imports(self, limit: int = 4000) -> list[Imported]:
        """The next that VPNs are to use and not to use any more, however much is looked at until there is something;
        empty: nothing is left."""
        found: list[Imported] = []
        while not found and self.has_imports:
            found = self.step_imports(limit)[1]
        return found

    def next_event(self) -> RibEvent | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called."""
        deadlines = [self._export_deadline] if self.awaited is not None else []
        for peer in self.peers.values():
            deadlines += [at for at in (peer.helper.get_timer(), peer.membership_deadline) if at is not None]
        return min(deadlines, default=None)

    def handle_timer(self, now: float) -> None:
        """Fire what is due."""
        if self.awaited is not None and self._export_deadline <= now:
            self._start_export()
        for peer in self.peers.values():
            self._carry_out(peer, peer.helper.handle_timer(now))
            if peer.membership_deadline is not None and peer.membership_deadline <= now:
                peer.membership_deadline = None
                self._release(peer)
