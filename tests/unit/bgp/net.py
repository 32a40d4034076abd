"""Speakers with tables and sessions, linked in memory; a clock that only the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from bgp.attributes import Attributes
from bgp.connection import State
from bgp.events import FamilyDisabled, RefreshReceived, SessionDown, SessionUp, UpdateReceived
from bgp.family import VPNV4, Family
from bgp.negotiation import RestartPolicy, SessionConfig
from bgp.nlri import Route
from bgp.rib.events import RibEvent
from bgp.rib.imports import Imported
from bgp.rib.peer import PeerPolicy, PrefixLimit
from bgp.rib.policy import Identity
from bgp.rib.rib import Rib
from bgp.rib.values import SourceKind
from tests.unit.bgp.pair import AS, Pair, Speaker
from tests.unit.bgp.routes import NEXT_HOP, attributes, target
from vpn.path import Path
from vpn.prefix import Prefix

CHUNK = 65536


class Node:
    """A gateway's BGP speaker without its shell. number: of its router id and address."""

    def __init__(self, name: str, number: int, asn: int = AS, limit: int = 4000) -> None:
        self.name = name
        self.asn = asn
        self.router_id = bytes((192, 0, 2, number))
        self.rib = Rib(Identity(asn, self.router_id, self.router_id), self.router_id)
        self.sessions: dict[str, Speaker] = {}
        self.events: list[RibEvent] = []
        self.vrfs: dict[str, dict[tuple[str, Prefix], Path]] = {}
        self.limit = limit

    def originate(self, *routes: Route, said: Attributes | None = None, family: Family = VPNV4) -> None:
        """Announce routes of hosts, with the target 64512:1 unless told otherwise."""
        self.rib.originate(family, said or attributes("64512:1"), NEXT_HOP, routes)

    def withdraw(self, *keys: bytes, family: Family = VPNV4) -> None:
        """Withdraw routes of hosts."""
        self.rib.unoriginate(family, keys)

    def want(self, *targets: str) -> None:
        """Import these route targets into VPNs of the same name, and say so."""
        self.rib.set_imports({one: [target(one)] for one in targets})
        self.rib.set_memberships(map(target, targets))

    def seen(self, family: Family = VPNV4) -> dict[bytes, bytes]:
        """Labels by key of all routes that came from peers and are the best."""
        return {one.key: one.paths[0].labels for one in self.rib.tables[family] if one.paths[0].source.kind.is_peer}

    def work(self, now: float) -> bool:
        """What the shell does between reads; whether anything was done."""
        worked = False
        while self.rib.step(self.limit):
            worked = True
        while imports := self.rib.take_imports():
            for change in imports:
                self._import(change)
        while (event := self.rib.next_event()) is not None:
            self.events.append(event)
        for name, speaker in self.sessions.items():
            connection = speaker.session.connection
            if connection is not None and connection.queued < CHUNK and (messages := self.rib.take(name, CHUNK)):
                speaker.session.send(messages)
                worked = True
        return worked

    def _import(self, change: Imported) -> None:
        vrf = self.vrfs.setdefault(change.vpn, {})
        where = (str(change.distinguisher), change.prefix)
        if change.path is None:
            del vrf[where]
        else:
            vrf[where] = change.path

    def take_events(self, peer: str, now: float) -> None:
        """Hand on what a session reports."""
        speaker = self.sessions[peer]
        speaker.poll()
        events, speaker.events = speaker.events, []
        for event in events:
            match event:
                case SessionUp():
                    self.rib.session_up(peer, event.negotiated, now)
                case SessionDown(negotiated=negotiated) if negotiated is not None:
                    self.rib.session_down(peer, event.preserved, now)
                case UpdateReceived():
                    self.rib.update(peer, event.update)
                case RefreshReceived():
                    self.rib.refresh(peer, event.family, event.kind, now)
                case FamilyDisabled():
                    self.rib.disable_family(peer, event.family)
                case _:
                    pass


@dataclass
class Link:
    """Two nodes and the sessions between them; frozen: nothing moves."""

    nodes: tuple[Node, Node]
    pair: Pair
    frozen: bool = False


@dataclass
class Network:
    """Nodes and links."""

    now: float = 100.0
    links: list[Link] = field(default_factory=list)

    @property
    def nodes(self) -> list[Node]:
        """All nodes once."""
        return list({id(node): node for link in self.links for node in link.nodes}.values())

    def link(
        self,
        left: Node,
        right: Node,
        *,
        left_is: SourceKind = SourceKind.INTERNAL,
        right_is: SourceKind = SourceKind.INTERNAL,
        families: tuple[Family, ...] = (VPNV4,),
        restart: RestartPolicy | None = None,
        limit: PrefixLimit | None = None,
        extended_message: bool = True,
    ) -> Link:
        """Join two nodes. left_is: what the left one is to the right one; limit: of what the left one takes."""

        def config(us: Node, them: Node, passive: bool) -> SessionConfig:
            return SessionConfig(
                us.asn,
                them.asn,
                us.router_id,
                families,
                passive=passive,
                hold_time=9,
                restart=restart,
                extended_message=extended_message,
                idle_hold=0.5,
            )

        if left.asn != right.asn:
            left_is = right_is = SourceKind.EXTERNAL
        pair = Pair(config(left, right, False), config(right, left, True))
        pair.now = self.now
        limits = dict.fromkeys(families, limit) if limit is not None else {}
        left.rib.add_peer(right.name, right.router_id, PeerPolicy(right_is, limits))
        right.rib.add_peer(left.name, left.router_id, PeerPolicy(left_is))
        left.sessions[right.name], right.sessions[left.name] = pair.left, pair.right
        link = Link((left, right), pair)
        self.links.append(link)
        pair.left.session.start(self.now)
        pair.right.session.start(self.now)
        return link

    def settle(self) -> None:
        """Until nothing moves any more at this time."""
        moved = True
        while moved:
            moved = False
            for link in self.links:
                link.pair.now = self.now
                if not link.frozen:
                    moved |= link.pair.dial()
                    for wire in link.pair.wires:
                        moved |= wire.move(self.now)
                    link.pair.wires = [wire for wire in link.pair.wires if not wire.cut]
                self.take_events(link)
            for node in self.nodes:
                moved |= node.work(self.now)

    def take_events(self, link: Link) -> None:
        """Let both ends of a link hand on what happened."""
        left, right = link.nodes
        left.take_events(right.name, self.now)
        right.take_events(left.name, self.now)

    def cut(self, link: Link) -> None:
        """The transport of a link is lost."""
        link.pair.now = self.now
        link.pair.cut()
        self.take_events(link)

    def advance(self, seconds: float) -> None:
        """Move the clock from deadline to deadline."""
        end = self.now + seconds
        self.settle()
        while True:
            sessions = [speaker.session for node in self.nodes for speaker in node.sessions.values()]
            deadlines = [one.get_timer() for one in sessions] + [node.rib.get_timer() for node in self.nodes]
            due = min((deadline for deadline in deadlines if deadline is not None), default=end)
            if due > end:
                break
            self.now = max(self.now, due)
            for session in sessions:
                session.handle_timer(self.now)
            for node in self.nodes:
                node.rib.handle_timer(self.now)
            self.settle()
            if due == end:
                break
        self.now = end

    def all_up(self) -> bool:
        """Whether every session is up."""
        return all(s.session.state is State.ESTABLISHED for node in self.nodes for s in node.sessions.values())
