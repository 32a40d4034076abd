"""BGP of a gateway in memory, as commands and metrics see it: sessions and tables joined without sockets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from bgp.family import FAMILY_NAMES
from bgp.rib.rib import Rib
from bgp.session import Session
from gateway.exchange import Exchange
from gateway.peer_config import PeerSection
from gateway.peer_status import PeerStatus
from gateway.policy import Policy
from gateway.rib import Rib as ItemRib
from gateway.service import Service
from tests.unit.bgp.net import Network, Node
from tests.unit.gateway.harness import DOMAIN, MESH

WALL = 1_700_000_000.0
"""Unix time when the clock of a network is at 0."""


@dataclass
class View:
    """A peer as the speaker has it."""

    section: PeerSection
    session: Session
    address: bytes
    problem: str = ""
    since: float = WALL


@dataclass
class FakeSpeaker:
    """The speaker of a node. asked: what refresh() and reset() were called with."""

    node: Node
    peers: dict[str, View] = field(default_factory=dict)
    asked: list[tuple[object, ...]] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    exchange: Exchange | None = None
    waiting: list[str] = field(default_factory=list)

    def waiting_for(self) -> list[str]:
        return self.waiting

    @property
    def rib(self) -> Rib:
        return self.node.rib

    def refresh(self, name: str, families: Iterable[str] | None = None) -> list[str]:
        session = self.peers[name].session
        assert session.negotiated is not None
        wanted = sorted(session.negotiated.families) if families is None else [FAMILY_NAMES[one] for one in families]
        self.asked.append(("refresh", name, families))
        return [str(family) for family in wanted if session.request_refresh(family)]

    def reset(self, name: str, text: str = "", hard: bool = False) -> None:
        self.asked.append(("reset", name, text, hard))


class Site:
    """A node and its network, with the documents about it. Make the links first."""

    def __init__(self, network: Network, node: Node, policy: Policy = MESH) -> None:
        self.network = network
        self.node = node
        self.service = Service(DOMAIN, ItemRib(policy))
        self.speaker = FakeSpeaker(node)
        for name, end in node.sessions.items():
            address = node.rib.peers[name].source.address
            self.speaker.peers[name] = View(PeerSection(ip_address(address)), end.session, address)
        self.status = PeerStatus(self.speaker, self.service, lambda: network.now, lambda: WALL + network.now)
