"""Telling peers what changed: one encoding for all that are at the same point.

An update group is the peers of a family that see routes in the same way (Profile). Each has a cursor in the table's
log. Those at the same revision that take more go on together: the next changed destinations are looked at once, packed
by attribute set, and encoded once; each message goes to those of them that shall have it, by a mask with a bit a peer.
Nothing that a message says is peculiar to a peer but whether it gets it, so what differs between peers of a group
(route-target membership, the peer that a route came from) costs no further encoding.

A peer whose outbox is full stays where it is. It isn't waited for, and what it finds later is the newest state: the
last action per NLRI. What waits for it is bounded by its outbox; what it has to be told of a destination that is gone,
by the bit that says it was told of it.

In a batch announcements come before withdrawals: a VM that has moved is reachable at its new place before it is
withdrawn from the old one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bgp.attributes import Attributes
from bgp.errors import EncodeError
from bgp.family import RTC
from bgp.nlri import Route
from bgp.recent import Recent
from bgp.rib.member import Member
from bgp.rib.policy import Identity, Profile, may_send, sent_as
from bgp.rib.table import Destination, Table
from bgp.rib.values import DEFAULT_LOCAL_PREF, AttributeSet, Path, Source, SourceKind
from bgp.update import UpdateOptions
from bgp.update_encoder import UpdateEncoder

DEFAULT_MEMBERSHIP = b"\0"
"""Key of the membership that wants every route."""
_EXPORTED = 4096


class _Plan:
    """What becomes of routes with one attribute set from one source in a batch: routes by the mask of who gets them."""

    __slots__ = ("attributes", "path", "routes", "source", "want")

    def __init__(self, path: Path, want: int) -> None:
        self.path = path
        self.attributes = path.attributes
        self.source = path.source
        self.want = want
        self.routes: dict[int, list[Route]] = {}


class ExportGroup:
    """The update group of a family and profile. masks: makes equal masks one object, for all groups."""

    def __init__(self, table: Table, profile: Profile, identity: Identity, masks: dict[int, int]) -> None:
        self.table = table
        self.profile = profile
        self.members: dict[str, Member] = {}
        self.unsent = 0
        """Routes not announced because a message of the peer's size has no room for them (RFC 8654, section 4)."""
        self._identity = identity
        self._masks = masks
        self._turn = 0
        """Who is next among peers at different points."""
        self._by_bit: dict[int, Member] = {}
        self._is_rtc = table.family == RTC
        self._silent = self._is_rtc and profile.kind is SourceKind.CLIENT
        """To clients a reflector announces that it wants everything (greet), and nothing else; they then send all their
        routes, whoever wants them, and the reflector passes on what other peers want."""
        options = UpdateOptions(
            frozenset((table.family,)), profile.four_octet_as, internal=profile.kind is not SourceKind.EXTERNAL
        )
        self._encoder = UpdateEncoder(options, profile.max_length)
        self._exported: Recent[tuple[AttributeSet, SourceKind, bytes], tuple[Attributes, bytes]] = Recent(_EXPORTED)

    def join(self, member: Member) -> None:
        """A peer begins at the start of the table."""
        self.members[member.name] = member
        self._by_bit[member.bit] = member

    def leave(self, member: Member) -> None:
        """A peer is gone; the caller sees that its bit leaves the table."""
        del self.members[member.name]
        del self._by_bit[member.bit]

    # -- work

    @property
    def has_work(self) -> bool:
        """Whether step() would do something."""
        revision = self.table.log.revision
        return any(
            member.ready
            and (
                member.cursor < revision
                or member.rechecking
                or (bool(member.marks) and member.marks[0][0] <= member.cursor)
            )
            for member in self.members.values()
        )

    def step(self, limit: int) -> tuple[int, set[str]]:
        """Go on with about `limit` destinations in all; peers at different points have their turns.

        Returns how many were looked at, and the names of peers whose outbox got something.
        """
        touched: set[str] = set()
        log = self.table.log
        rechecking: list[Member] = []
        positions: dict[int, list[Member]] = {}
        for member in self.members.values():
            if member.ready:
                if member.rechecking:
                    rechecking.append(member)
                if member.cursor < log.revision:
                    positions.setdefault(member.cursor, []).append(member)
        turns: list[Member | list[Member]] = [*rechecking, *positions.values()]
        count = done = 0
        while done < len(turns) and count < limit:
            turn = turns[(self._turn + done) % len(turns)]
            done += 1
            if isinstance(turn, Member):
                count += self._recheck(turn, limit, touched)
            else:
                count += self._go_on(turn, limit, touched)
        if done:
            self._turn = (self._turn + done) % len(turns)
        for member in self.members.values():
            if member.marks and member.flush_marks():
                touched.add(member.name)
        return count, touched

    def _go_on(self, members: list[Member], limit: int, touched: set[str]) -> int:
        """Tell members that are at one point of the log what comes next there."""
        found, reached = self.table.log.read(members[0].cursor, limit)
        for member in members:
            member.cursor = reached
        self._tell(found, members, touched, differences=False)
        return len(found) or 1

    def _recheck(self, member: Member, limit: int, touched: set[str]) -> int:
        """Look again at what a peer may have come to want or not to want."""
        found: list[Destination] = []
        count = 1
        while (room := limit - len(found)) > 0:
            if member.recheck_rest:
                found += member.recheck_rest[-room:]
                del member.recheck_rest[-room:]
            elif member.recheck_targets:
                member.recheck_rest = list(self.table.targets.of(member.recheck_targets.popitem()[0]))
            else:
                break
        count += len(found)
        if member.walk is not None and room > 0:
            more, reached = self.table.log.read(member.walk, room)
            count += len(more)
            found += more
            member.walk = reached if reached < member.cursor else None
        # What is behind the cursor will be told in the ordinary way.
        cursor = member.cursor
        known = [destination for destination in found if 0 < destination.revision <= cursor]
        self._tell(known, [member], touched, differences=True)
        return count

    def _tell(
        self, destinations: Iterable[Destination], members: list[Member], touched: set[str], *, differences: bool
    ) -> None:
        """Tell members of destinations; differences: only what contradicts what they were told."""
        mask = sum(member.bit for member in members)
        plans: dict[tuple[AttributeSet, Source], _Plan] = {}
        gone: dict[int, list[bytes]] = {}
        forget: list[Destination] = []
        masks = self._masks
        plan: _Plan | None = None
        for destination in destinations:
            before = destination.advertised
            want = 0
            if destination.paths:
                best = destination.paths[0]
                if plan is None or plan.attributes is not best.attributes or plan.source is not best.source:
                    plan = self._plan(plans, best, members)
                want = plan.want
                told = want & ~before if differences else want
                if told:
                    route = (destination.key, best.labels)
                    try:
                        plan.routes[told].append(route)
                    except KeyError:
                        plan.routes[told] = [route]
            lost = before & mask & ~want
            if lost:
                gone.setdefault(lost, []).append(destination.key)
            after = before & ~mask | want
            if after != before:
                destination.advertised = masks.setdefault(after, after)
            if not after and not destination.paths:
                forget.append(destination)
        for plan in plans.values():
            for told, routes in plan.routes.items():
                self._announce(plan.path, told, routes, touched)
        for lost, keys in gone.items():
            self._withdraw(lost, keys, touched)
        for destination in forget:
            if destination.revision:
                self.table.forget(destination)

    def _plan(self, plans: dict[tuple[AttributeSet, Source], _Plan], best: Path, members: list[Member]) -> _Plan:
        index = (best.attributes, best.source)
        plan = plans.get(index)
        if plan is None:
            want = 0
            if not self._silent and may_send(best, self.profile):
                targets = best.attributes.targets
                for member in members:
                    if self._is_rtc or member.interest.wants(targets):
                        want |= member.bit
                want &= ~best.source.bit
            plan = plans[index] = _Plan(best, want)
        return plan

    def greet(self, member: Member, next_hop: bytes) -> None:
        """Tell a client of a reflector that all routes are wanted (RFC 4684, section 3.2); nothing to others.

        next_hop: our own address, 4 or 16 bytes.
        """
        if self._silent:
            said = Attributes(local_pref=DEFAULT_LOCAL_PREF)
            member.put(self._encoder.announce(RTC, said, next_hop, [(DEFAULT_MEMBERSHIP, b"")]))

    def _announce(self, path: Path, told: int, routes: list[Route], touched: set[str]) -> None:
        index = (path.attributes, path.source.kind, path.source.router_id)
        attributes, next_hop = self._exported.get(index) or self._exported.put(
            index, sent_as(path, self.profile, self._identity)
        )
        try:
            messages = self._encoder.announce(self.table.family, attributes, next_hop, routes)
        except EncodeError:
            # What was announced before under these keys no longer holds.
            self.unsent += len(routes)
            self._withdraw(told, [key for key, _ in routes], touched)
            return
        count = len(routes)
        for member in self._of(told):
            member.put(messages)
            member.announced += count
            touched.add(member.name)

    def _withdraw(self, lost: int, keys: list[bytes], touched: set[str]) -> None:
        messages = self._encoder.withdraw(self.table.family, keys)
        count = len(keys)
        for member in self._of(lost):
            member.put(messages)
            member.withdrawn += count
            touched.add(member.name)

    def _of(self, mask: int) -> Iterator[Member]:
        """The members whose bits are in a mask."""
        by_bit = self._by_bit
        while mask:
            bit = mask & -mask
            yield by_bit[bit]
            mask ^= bit
