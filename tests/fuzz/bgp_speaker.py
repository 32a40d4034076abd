"""Fuzzing of sessions and tables together: a BGP speaker among peers that say right and wrong things at any time.

    python -m tests.fuzz.bgp_speaker [--seconds N] [--seed N] [--episodes N]

An episode is a speaker (a Rib with a Session for each of two or three peers, put together as its shell does) to which a
few hundred things happen: connections come and go, messages are good, mutated, cut or in pieces, peers fall silent or
take nothing, hosts and policy change, time passes. At every pause the tables are held against tests.fuzz.speaker_model.
The seed of an episode is the whole of it: the seed that a failure prints is given with --episodes 1 to have it again.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from bgp.as_path import AsPath, Segment, SegmentKind
from bgp.attributes import (
    WELL_KNOWN_LLGR_STALE,
    WELL_KNOWN_NO_ADVERTISE,
    WELL_KNOWN_NO_EXPORT,
    WELL_KNOWN_NO_LLGR,
    Attributes,
    Origin,
)
from bgp.capabilities import Capabilities, GracefulRestart, LongLivedFamily, RestartFamily
from bgp.communities import pack_route_target
from bgp.connection import Connection, State
from bgp.errors import BgpError, CeaseSubcode, ErrorCode
from bgp.events import (
    ConnectCancelled,
    ConnectionClosed,
    ConnectRequested,
    DownReason,
    Event,
    FamilyDisabled,
    RefreshReceived,
    SessionDown,
    SessionUp,
    UpdateReceived,
)
from bgp.family import RTC, VPNV4, VPNV6, Family
from bgp.framing import Framer
from bgp.message import KEEPALIVE, MessageType
from bgp.negotiation import RestartPolicy, SessionConfig
from bgp.nlri import pack_labels, rtc_key, vpn_key
from bgp.notification import Notification
from bgp.open import Open
from bgp.refresh import RefreshKind, RouteRefresh, decode_route_refresh
from bgp.rib.events import PrefixLimitExceeded
from bgp.rib.peer import Peer as RibPeer
from bgp.rib.peer import PeerPolicy, PrefixLimit
from bgp.rib.policy import Identity
from bgp.rib.rib import Rib
from bgp.rib.values import SourceKind
from bgp.session import Session
from bgp.update import Update, UpdateDecoder, UpdateOptions
from bgp.update_encoder import UpdateEncoder, end_of_rib
from tests.fuzz.bgp_codec import corpus, mutations
from tests.fuzz.budget import Budget, begin
from tests.fuzz.speaker_model import FAMILIES, PeerModel, check_tables, check_told, imports_of
from vpn.community import RouteDistinguisher, RouteTarget
from vpn.prefix import Prefix

AS = 64512
HOLD = 9
STEPS = 300
"""Things that happen in an episode."""
WORK = 20_000
"""Slices of work until there must be nothing left to do."""
TARGETS = [pack_route_target(RouteTarget.parse(text)) for text in ("64512:1", "64512:2", "192.0.2.1:3", "4200000000:4")]
_RDS = [RouteDistinguisher.parse(text) for text in ("64512:1", "192.0.2.7:1")]
_KEYS: dict[Family, list[bytes]] = {
    VPNV4: [vpn_key(rd, Prefix.parse(text)) for rd in _RDS for text in ("10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0")],
    VPNV6: [vpn_key(rd, Prefix.parse(text)) for rd in _RDS for text in ("2001:db8::/64", "::/0")],
    RTC: [rtc_key(None), rtc_key(AS), *(rtc_key(AS, target) for target in TARGETS), rtc_key(65001, TARGETS[0])],
}
_KEYS[RTC].append(bytes((64,)) + AS.to_bytes(4, "big") + TARGETS[0][:4])
_COMMUNITIES = (
    WELL_KNOWN_NO_EXPORT,
    WELL_KNOWN_NO_ADVERTISE,
    WELL_KNOWN_LLGR_STALE,
    WELL_KNOWN_NO_LLGR,
    AS << 16,
)
_NOBODY = RibPeer("nobody", b"", PeerPolicy(SourceKind.INTERNAL))
_BLUR = 1e-6
"""Seconds by which sums of floating point numbers may differ."""
_OWN = bytes((192, 0, 2, 1))


class Wire:
    """A transport connection, seen from the peer."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.framer = Framer()
        self.opened = False
        """Whether the peer has sent its OPEN."""
        self.closed = False
        self.heard = 0.0
        """When a message of the peer was complete."""


class Peer:
    """A peer: its session in the speaker, its model, and the wires on which it talks."""

    def __init__(self, chance: random.Random, number: int, kind: SourceKind) -> None:
        self.chance = chance
        self.kind = kind
        self.address = bytes((192, 0, 2, 10 + number))
        self.asn = AS if kind is not SourceKind.EXTERNAL else 65000 + number
        families = tuple(family for family in FAMILIES if chance.random() < 0.8) or (VPNV4,)
        restart = None
        if chance.random() < 0.6:
            restart = RestartPolicy(chance.choice((5, 40)), families, chance.choice((0, 0, 100)))
        self.config = SessionConfig(
            AS,
            self.asn,
            _OWN,
            families,
            passive=chance.random() < 0.3,
            hold_time=HOLD,
            restart=restart,
            extended_message=chance.random() < 0.5,
            disable_families=chance.random() < 0.5,
        )
        limit = PrefixLimit(5) if chance.random() < 0.2 else None
        limits = {VPNV4: limit, VPNV6: limit} if limit is not None else {}
        stale_time = chance.choice((20.0, 100.0))
        self_hop = _OWN if kind is SourceKind.EXTERNAL and chance.random() < 0.5 else None
        self.policy = PeerPolicy(kind, limits, next_hop_self=self_hop, stale_time=stale_time)
        self.model = PeerModel(f"peer{number}", stale_time, limit.limit if limit is not None else None)
        self.session = Session(self.config, chance.random)
        self.wires: list[Wire] = []
        self.live: Wire | None = None
        self.dialling = False
        self.talks = True
        """Whether it sends a KEEPALIVE in time."""
        self.reads = True
        """Whether it takes what is sent to it."""
        self.said = 0.0
        """When it last said something on the live wire."""
        self.spoken = 0.0
        """When it last was sent something on the live wire."""
        self.decoder: UpdateDecoder | None = None
        self.encoder: UpdateEncoder | None = None
        self.expected: list[Update] = []
        """UPDATEs that are on their way into the session."""

    @property
    def name(self) -> str:
        """As the tables know it."""
        return self.model.name

    def open(self) -> Open:
        """An OPEN of the peer, mostly a good one."""
        chance = self.chance
        families = tuple(family for family in self.config.families if chance.random() < 0.9) or self.config.families
        restart, long_lived = None, None
        if chance.random() < 0.6:
            if chance.random() < 0.5:
                long_lived = tuple(
                    LongLivedFamily(family, chance.choice((0, 60, 200)), chance.random() < 0.7) for family in families
                )
            kept = tuple(RestartFamily(family, chance.random() < 0.7) for family in families if chance.random() < 0.9)
            restart = GracefulRestart(chance.choice((0, 5, 40)), kept, chance.random() < 0.5, chance.random() < 0.5)
        said = Capabilities(
            families,
            self.asn if chance.random() < 0.8 else None,
            route_refresh=chance.random() < 0.8,
            enhanced_route_refresh=chance.random() < 0.7,
            extended_message=chance.random() < 0.5,
            graceful_restart=restart,
            long_lived=long_lived,
        )
        opened = Open(self.asn, HOLD if chance.random() < 0.9 else 0, self.address, said)
        if chance.random() < 0.1:
            wrong = (replace(opened, router_id=_OWN), replace(opened, hold_time=2), replace(opened, asn=64999))
            opened = chance.choice(wrong)
            if said.four_octet_as is not None:
                opened = replace(opened, capabilities=replace(said, four_octet_as=opened.asn))
        return opened

    def attributes(self) -> Attributes:
        """Attributes of a route that it announces."""
        chance = self.chance
        path: AsPath = () if self.kind is not SourceKind.EXTERNAL else (Segment(SegmentKind.SEQUENCE, (self.asn,)),)
        if chance.random() < 0.2:
            path += (Segment(SegmentKind.SEQUENCE, (chance.choice((AS, 4200000000, 65009)),)),)
        internal = self.kind is not SourceKind.EXTERNAL
        return Attributes(
            origin=chance.choice(list(Origin)),
            as_path=path,
            med=chance.choice((None, None, 0, 5)),
            local_pref=chance.choice((None, 100, 200)) if internal else None,
            communities=tuple(chance.sample(_COMMUNITIES, k=chance.choice((0, 0, 0, 1, 2)))),
            originator_id=chance.choice((None, None, None, b"aaaa", _OWN)) if internal else None,
            cluster_list=chance.choice(((), (), (b"bbbb",), (_OWN,))) if internal else (),
            extended_communities=tuple(chance.sample(TARGETS, k=chance.choice((0, 1, 1, 2, 3)))),
            large_communities=(bytes(12),) if chance.random() < 0.1 else (),
        )


class World:
    """A speaker and its peers. Raises AssertionError when something doesn't hold."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.now = 1000.0
        self.history: deque[str] = deque(maxlen=60)
        self.rib = Rib(Identity(AS, _OWN, _OWN, frozenset((_OWN,))), _OWN)
        kinds = [SourceKind.CLIENT, SourceKind.INTERNAL, SourceKind.EXTERNAL]
        self.peers: dict[str, Peer] = {}
        for number in range(chance.choice((2, 2, 3))):
            self.add(number, chance.choice(kinds))
        self.hosts: dict[tuple[Family, bytes], None] = {}
        self.imports: dict[str, set[bytes]] = {}
        self.vrfs: dict[tuple[str, str, Prefix], set[int]] = {}
        self.exact = chance.random() < 0.7
        """Timers are fired when they are due, and not late."""
        self.mutated = mutations(chance, corpus())
        if chance.random() < 0.2:
            self.rib.defer_export([*self.peers, "hosts"], self.now + 30)

    def add(self, number: int, kind: SourceKind) -> None:
        """A peer is configured."""
        peer = Peer(self.chance, number, kind)
        self.peers[peer.name] = peer
        self.rib.add_peer(peer.name, peer.address, peer.policy)
        peer.session.start(self.now)
        self.take_events(peer)

    def note(self, peer: Peer, what: object) -> None:
        """Keep in mind what happened, for who looks for the reason of a failure."""
        self.history.append(f"{self.now:9.2f} {peer.name} {what}")

    # -- the shell

    def take_events(self, peer: Peer) -> None:
        """Hand on what a session reports, to the tables and to the model."""
        while (event := peer.session.next_event()) is not None:
            self._on_event(peer, event)

    def _on_event(self, peer: Peer, event: Event) -> None:
        model = peer.model
        self.note(peer, event)
        match event:
            case ConnectRequested():
                peer.dialling = True
            case ConnectCancelled():
                peer.dialling = False
            case ConnectionClosed():
                for wire in peer.wires:
                    if wire.connection is event.connection:
                        self.read(peer, wire)
                        wire.closed = True
                peer.wires = [wire for wire in peer.wires if not wire.closed]
            case SessionUp():
                assert peer.live is None
                peer.live = next(wire for wire in peer.wires if wire.connection is event.connection)
                agreed = event.negotiated
                options = UpdateOptions(agreed.families, agreed.four_octet_as, agreed.internal)
                peer.decoder, peer.encoder = UpdateDecoder(options), UpdateEncoder(options, agreed.max_length)
                peer.spoken = self.now
                self.rib.session_up(peer.name, agreed, self.now)
                model.session_up(agreed, self.now)
            case SessionDown(negotiated=negotiated) if negotiated is not None:
                self._check_end(peer, event)
                peer.live = None
                peer.expected.clear()
                self.rib.session_down(peer.name, event.preserved, self.now)
                model.session_down(event.preserved, self.now)
            case UpdateReceived():
                if peer.expected:
                    assert event.update == peer.expected.pop(0)
                model.update(self.rib, event.update)
                self.rib.update(peer.name, event.update)
            case RefreshReceived():
                if event.kind is RefreshKind.BEGIN:
                    model.refresh_began(event.family, self.now)
                elif event.kind is RefreshKind.END:
                    model.refresh_ended(event.family)
                self.rib.refresh(peer.name, event.family, event.kind, self.now)
            case FamilyDisabled():
                model.said[event.family].clear()
                self.rib.disable_family(peer.name, event.family)
            case _:
                pass

    def _check_end(self, peer: Peer, event: SessionDown) -> None:
        """A session ended, and its routes are kept only where that was agreed upon."""
        agreed = event.negotiated
        assert agreed is not None and agreed is peer.model.negotiated
        notification = event.notification
        expired = Notification(ErrorCode.HOLD_TIMER_EXPIRED)
        if event.reason is DownReason.NOTIFICATION_SENT and notification == expired:
            assert peer.live is not None and agreed.hold_time
            silence = self.now - peer.live.heard
            assert silence > agreed.hold_time - _BLUR, f"ended after {silence} s without a word"
        ours, theirs = peer.config.restart, agreed.remote.capabilities.graceful_restart
        may = ours is not None and theirs is not None
        if notification is not None:
            may = may and theirs is not None and theirs.notification and not notification.is_hard_reset
        named = {one.family for one in theirs.families} if theirs is not None else set()
        named |= {one.family for one in agreed.long_lived if one.stale_time}
        assert event.preserved == (named & agreed.families if may else set())

    def work(self) -> None:
        """What the shell does between reads, until nothing is left, in slices of any size."""
        rib, chance = self.rib, self.chance
        limit = chance.choice((1, 3, 4000))
        for _ in range(WORK):
            for peer in self.peers.values():
                self.take_events(peer)
            busy = rib.has_work
            if busy:
                assert rib.step(limit) or not rib.has_work, "work that is never done"
            while imports := rib.take_imports(limit):
                for vpn, distinguisher, prefix, path in (change[:4] for change in imports):
                    where = (vpn, str(distinguisher), prefix)
                    if path is None:
                        del self.vrfs[where]
                    else:
                        self.vrfs[where] = {hop.label for hop in path.next_hops}
            while (event := rib.next_event()) is not None:
                # It may be about a peer that isn't there any more, or about one of the same name before this one.
                if isinstance(event, PrefixLimitExceeded) and rib.peers.get(event.peer, _NOBODY).blocked:
                    peer = self.peers[event.peer]
                    reason = Notification.maximum_prefixes(event.family, event.limit)
                    peer.session.fail(self.now, reason, "too many", chance.choice((None, 5.0)))
                    self.take_events(peer)
                    busy = True
            for peer in self.peers.values():
                connection = peer.session.connection
                if connection is not None and connection.queued < 4096:
                    messages = rib.take(peer.name, chance.choice((1, 65536)))
                    peer.session.send(messages)
                    busy = busy or bool(messages)
                for wire in tuple(peer.wires):
                    if peer.reads and wire.connection.has_output:
                        self.read(peer, wire)
                        busy = True
            if not busy:
                return
        raise AssertionError("there is always something left to do")

    def fire(self) -> None:
        """Let everybody look at the clock."""
        for peer in self.peers.values():
            peer.session.handle_timer(self.now)
            self.take_events(peer)
            deadline = peer.session.get_timer()
            assert deadline is None or deadline > self.now, "a timer that is due again at once"
        for peer in self.peers.values():
            peer.model.handle_timer(self.now)
        self.rib.handle_timer(self.now)
        deadline = self.rib.get_timer()
        assert deadline is None or deadline > self.now, "a timer of the tables that is due again at once"

    def pass_time(self, seconds: float) -> None:
        """Let time pass: from deadline to deadline, or in one go."""
        end = self.now + seconds
        for _ in range(WORK):
            due = [peer.session.get_timer() for peer in self.peers.values()]
            due += [peer.said + HOLD / 3 for peer in self.peers.values() if peer.talks and peer.live is not None]
            due.append(self.rib.get_timer())
            soonest = min((deadline for deadline in due if deadline is not None), default=end)
            self.now = min(max(self.now, soonest), end) if self.exact else end
            for peer in self.peers.values():
                if peer.talks and peer.live is not None and self.now >= peer.said + HOLD / 3:
                    self.say(peer, peer.live, KEEPALIVE)
            self.fire()
            self.work()
            self.check_pace()
            if self.now >= end:
                return
        raise AssertionError("time stands still")

    def check_pace(self) -> None:
        """Hold timers are respected on both sides."""
        for peer in self.peers.values():
            agreed = peer.session.negotiated
            if not self.exact or agreed is None or not agreed.hold_time or peer.live is None:
                continue
            assert self.now - peer.live.heard < agreed.hold_time + _BLUR, (
                "the peer is silent for longer than the hold time"
            )
            if peer.reads:
                assert self.now - peer.spoken < agreed.hold_time / 3 + _BLUR, "no KEEPALIVE in time"

    # -- the peer's side of a wire

    def read(self, peer: Peer, wire: Wire) -> None:
        """A peer reads what it is sent."""
        while wire.connection.has_output:
            wire.framer.receive_data(wire.connection.data_to_send(self.chance.choice((1, 65536))))
            while (found := wire.framer.next_message()) is not None:
                if wire is peer.live:
                    peer.spoken = self.now
                    if wire.connection.negotiated is not None:
                        wire.framer.max_length = wire.connection.negotiated.max_length
                    self._on_message(peer, *found)

    def _on_message(self, peer: Peer, kind: MessageType, body: bytes) -> None:
        model = peer.model
        assert peer.decoder is not None
        if kind is MessageType.UPDATE:
            update = peer.decoder.decode(body)
            assert not update.problems, update.problems
            if update.end_of_rib is not None:
                assert update.end_of_rib not in model.ended, "two Ends-of-RIB"
                model.ended.add(update.end_of_rib)
            for family, keys in update.unreach:
                for key in keys:
                    assert key in model.told[family], "withdrawn what was never told"
                    del model.told[family][key]
            if update.reach is not None and update.attributes is not None:
                family, next_hop, routes = update.reach
                for key, labels in routes:
                    model.told[family][key] = (update.attributes, next_hop, labels)
        elif kind is MessageType.ROUTE_REFRESH:
            refresh = decode_route_refresh(body)
            assert refresh is not None
            if refresh.kind is not RefreshKind.REQUEST:
                assert refresh.family in model.ended, "BoRR before the End-of-RIB (RFC 7313, section 4.1)"

    def say(self, peer: Peer, wire: Wire, data: bytes) -> None:
        """A peer sends something, in one piece or in several."""
        if wire is peer.live:
            peer.said = self.now
        while data and not wire.closed:
            size = len(data) if self.chance.random() < 0.8 else self.chance.randrange(1, len(data) + 1)
            piece, data = data[:size], data[size:]
            before = peer.session.counters.received.total()
            peer.session.receive_data(wire.connection, piece, self.now)
            if peer.session.counters.received.total() > before:
                wire.heard = self.now
            self.take_events(peer)

    # -- what happens

    def step(self) -> None:
        """One thing happens."""
        peer = self.chance.choice(list(self.peers.values()))
        happens = self.chance.choices(
            (
                *(self.connect, self.greet, self.announce, self.withdraw, self.end_of_rib, self.refresh),
                *(self.garbage, self.notify, self.hang_up, self.mood, self.operator, self.hosts_change),
                *(self.policy_changes, self.configuration, self.wait),
            ),
            (8, 12, 16, 6, 6, 3, 4, 1, 2, 2, 1, 4, 3, 0.3, 6),
        )[0]
        self.note(peer, happens.__name__)
        happens(peer)
        if self.chance.random() < 0.6:
            self.work()
            self.check()

    def connect(self, peer: Peer) -> None:
        """A connection comes up, or doesn't."""
        if peer.dialling and self.chance.random() < 0.8:
            peer.dialling = False
            if self.chance.random() < 0.7:
                connection = peer.session.connected(self.now)
            else:
                peer.session.connect_failed(self.now, "connection refused")
                connection = None
        else:
            connection = peer.session.accepted(self.now)
        if connection is not None:
            peer.wires.append(Wire(connection))
        self.take_events(peer)
        if connection is not None and self.chance.random() < 0.8:
            self.greet(peer)

    def greet(self, peer: Peer) -> None:
        """The peer sends its OPEN, and a KEEPALIVE."""
        for wire in tuple(peer.wires):
            if wire is not peer.live and not wire.closed:
                if not wire.opened:
                    wire.opened = True
                    self.say(peer, wire, peer.open().encode())
                if not wire.closed and self.chance.random() < 0.9:
                    peer.said = self.now
                    self.say(peer, wire, KEEPALIVE)

    def _family(self, peer: Peer) -> Family | None:
        agreed = peer.session.negotiated
        if agreed is None or peer.live is None or peer.encoder is None:
            return None
        return self.chance.choice(sorted(agreed.families))

    def announce(self, peer: Peer) -> None:
        """The peer announces some routes."""
        chance = self.chance
        family = self._family(peer)
        if family is None or peer.encoder is None:
            return
        keys = chance.sample(_KEYS[family], k=chance.randrange(1, 4))
        labels = [b"" if family == RTC else pack_labels([chance.choice((3, 100, 200))]) for _ in keys]
        hop = chance.choice((peer.address, peer.address, bytes((198, 51, 100, 1)), _OWN))
        routes = list(zip(keys, labels, strict=True))
        said = peer.attributes()
        self._send(peer, peer.encoder.announce(family, said, hop, routes))

    def withdraw(self, peer: Peer) -> None:
        """The peer withdraws some routes, of which it may have announced none."""
        family = self._family(peer)
        if family is not None and peer.encoder is not None:
            keys = self.chance.sample(_KEYS[family], k=self.chance.randrange(1, 4))
            self._send(peer, peer.encoder.withdraw(family, keys))

    def end_of_rib(self, peer: Peer) -> None:
        """The peer has sent everything."""
        if (family := self._family(peer)) is not None:
            self._send(peer, [end_of_rib(family)])

    def _send(self, peer: Peer, messages: list[bytes]) -> None:
        """Send good UPDATEs: exactly what they say must arrive."""
        wire, agreed = peer.live, peer.session.negotiated
        assert wire is not None and agreed is not None
        options = UpdateOptions(
            agreed.families,
            agreed.four_octet_as,
            agreed.internal,
            peer.config.disable_families,
            first_as=peer.config.first_as,
        )
        disabled = peer.session.counters.last_malformation is not None and peer.config.disable_families
        if not disabled and not wire.connection.framer.buffered:
            peer.expected = [UpdateDecoder(options).decode(message[19:]) for message in messages]
        for message in messages:
            self.say(peer, wire, message)
        assert not peer.expected or peer.live is not wire, "an UPDATE that didn't arrive"
        peer.expected.clear()

    def refresh(self, peer: Peer) -> None:
        """The peer wants everything again, or sends everything again; or we want it to."""
        family = self._family(peer)
        if family is None or peer.live is None:
            return
        if self.chance.random() < 0.2:
            peer.session.request_refresh(family)
            return
        self.say(peer, peer.live, RouteRefresh(family, self.chance.choice(list(RefreshKind))).encode())

    def garbage(self, peer: Peer) -> None:
        """A message with something wrong in it, on any wire; or bytes that are none."""
        if not peer.wires:
            return
        wire = self.chance.choice(peer.wires)
        data = next(self.mutated)
        if self.chance.random() < 0.1:
            data = self.chance.randbytes(self.chance.randrange(1, 60))
        # A cut one makes what comes next part of it.
        length = int.from_bytes(data[16:18], "big")
        if wire is peer.live and length == len(data) and data[18:19] == bytes((MessageType.UPDATE,)):
            self._garbled(peer, wire, data)
        else:
            self.say(peer, wire, data)

    def _garbled(self, peer: Peer, wire: Wire, message: bytes) -> None:
        """A mutated UPDATE: the session ends exactly when the codec alone says so."""
        agreed = peer.session.negotiated
        if agreed is None or wire.connection.framer.buffered or peer.config.disable_families:
            self.say(peer, wire, message)
            return
        options = UpdateOptions(agreed.families, agreed.four_octet_as, agreed.internal, first_as=peer.config.first_as)
        code: int | None = None
        try:
            if not 23 <= len(message) <= agreed.max_length:
                code = ErrorCode.MESSAGE_HEADER
            else:
                UpdateDecoder(options).decode(message[19:])
        except BgpError as error:
            code = error.code
        self.say(peer, wire, message)
        last = peer.session.last_down
        assert (peer.live is None) == (code is not None), code
        if code is not None:
            assert last is not None and last.notification is not None and last.notification.code == code

    def notify(self, peer: Peer) -> None:
        """The peer ends it."""
        if peer.wires:
            reasons = (
                Notification.cease(CeaseSubcode.ADMINISTRATIVE_RESET, "for now"),
                Notification.cease(CeaseSubcode.ADMINISTRATIVE_SHUTDOWN).hard_reset(),
                Notification(ErrorCode.HOLD_TIMER_EXPIRED),
            )
            self.say(peer, self.chance.choice(peer.wires), self.chance.choice(reasons).encode())

    def hang_up(self, peer: Peer) -> None:
        """A transport is lost, or all are."""
        lost = [wire for wire in peer.wires if self.chance.random() < 0.7]
        for wire in lost:
            wire.closed = True
            peer.session.receive_eof(wire.connection, self.now, "connection reset")
            self.take_events(peer)
        peer.wires = [wire for wire in peer.wires if not wire.closed]

    def mood(self, peer: Peer) -> None:
        """The peer falls silent, or takes nothing, or is itself again."""
        peer.talks = self.chance.random() < 0.7
        peer.reads = self.chance.random() < 0.7

    def operator(self, peer: Peer) -> None:
        """Somebody does something to the session."""
        session = peer.session
        does: Callable[[], None] = self.chance.choice(
            (
                lambda: session.stop(self.now, text="maintenance"),
                lambda: session.start(self.now),
                lambda: session.start(self.now),
                lambda: session.start(self.now),
                lambda: session.reset(self.now, "again", hard=self.chance.random() < 0.5),
            )
        )
        does()
        self.take_events(peer)

    def hosts_change(self, _peer: Peer) -> None:
        """Hosts have routes, or not any more."""
        family = self.chance.choice((VPNV4, VPNV6))
        keys = self.chance.sample(_KEYS[family], k=self.chance.randrange(1, 4))
        if self.chance.random() < 0.6:
            targets = tuple(self.chance.sample(TARGETS, k=self.chance.choice((1, 2))))
            said = Attributes(local_pref=self.chance.choice((0, 100)), extended_communities=targets)
            label = pack_labels([self.chance.choice((300, 400))])
            self.rib.originate(family, said, bytes((203, 0, 113, 1)), [(key, label) for key in keys])
            self.hosts.update(dict.fromkeys((family, key) for key in keys))
        else:
            self.rib.unoriginate(family, keys)
            for key in keys:
                self.hosts.pop((family, key), None)

    def policy_changes(self, _peer: Peer) -> None:
        """VPNs come, go, and import other targets; memberships follow."""
        vpns = self.chance.sample(("blue", "red", "green"), k=self.chance.randrange(4))
        self.imports = {vpn: set(self.chance.sample(TARGETS, k=self.chance.randrange(3))) for vpn in vpns}
        self.rib.set_imports(self.imports)
        self.rib.set_memberships({target for targets in self.imports.values() for target in targets})

    def configuration(self, peer: Peer) -> None:
        """A peer goes and another comes in its place."""
        peer.session.stop(self.now, CeaseSubcode.PEER_DECONFIGURED)
        self.take_events(peer)
        self.rib.remove_peer(peer.name, self.now)
        del self.peers[peer.name]
        if self.chance.random() < 0.3:
            self.work()
            self.check()
        self.add(int(peer.name[4:]), self.chance.choice((SourceKind.CLIENT, SourceKind.INTERNAL, SourceKind.EXTERNAL)))

    def wait(self, _peer: Peer) -> None:
        """Time passes."""
        self.rib.arrived("hosts")
        self.pass_time(self.chance.choice((0.1, 1.0, 3.0, 10.0, 45.0, 150.0)))

    # -- what must hold

    def check(self) -> None:
        """Everything, while nothing is left to do."""
        check_tables(self.rib, {name: peer.model for name, peer in self.peers.items()})
        held = {
            (family, key)
            for family in (VPNV4, VPNV6)
            for key in self.rib.tables[family].adj_rib_in(self.rib._hosts).paths
        }
        assert held == set(self.hosts)
        for peer in self.peers.values():
            wire = peer.live
            assert (peer.session.connection is None) == (wire is None)
            assert len(peer.session.connections) == len(peer.wires)
            if wire is not None and peer.reads and not peer.session.connections[0].has_output:
                check_told(self.rib, peer.model)
            assert peer.session.state is State.ESTABLISHED or wire is None
        wanted = {
            (vpn, family, key): {int.from_bytes(label, "big") >> 4 for label in labels}
            for family in (VPNV4, VPNV6)
            for (vpn, key), labels in imports_of(self.rib, family, self.imports).items()
        }
        got = {
            (vpn, VPNV4 if prefix.afi == 1 else VPNV6, vpn_key(RouteDistinguisher.parse(rd), prefix)): labels
            for (vpn, rd, prefix), labels in self.vrfs.items()
        }
        assert got == wanted, [(where, got.get(where), wanted.get(where)) for where in got.keys() | wanted.keys()]


def episode(seed: int) -> None:
    """Everything that happens with a seed; raises what goes wrong."""
    world = World(seed)
    try:
        for _ in range(STEPS):
            begin()
            world.step()
        begin()
        # In the end everybody behaves, and what holds then must hold at once.
        for peer in world.peers.values():
            peer.talks = peer.reads = True
        world.pass_time(700.0)
        world.check()
    except BaseException:
        print(*world.history, f"seed {seed}", sep="\n", file=sys.stderr)
        raise


def fuzz(seed: int, *, seconds: float | None = None, count: int | None = None) -> int:
    """Episodes until the time is over or that many are done; returns how many were."""
    number = 0
    with Budget(seconds) as budget:
        while number != count and not budget.spent:
            episode(seed + number)
            number += 1
    return number


def main() -> None:
    """The command."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names is part of what happens.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser(description="Fuzz BGP sessions and tables.")
    parser.add_argument("--seconds", type=float, help="of CPU time (60)")
    parser.add_argument("--episodes", type=int)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    seconds = 60.0 if options.seconds is None and options.episodes is None else options.seconds
    print(f"{fuzz(options.seed, seconds=seconds, count=options.episodes)} episodes")


if __name__ == "__main__":
    main()
