"""The host agent: ports, datapath, routes and gateways brought together (docs/design/agent.md).

port.attach -> Ports: Inventory -> Store (durable) -> Planner -> Datapath --programmed--> Peers: subscribe, publish
                                                        ^                                       |
Datapath <------------------ VRF routes ----------- RouteFeed <------------ events -------------+
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agent.announcer import Announcer
from agent.boot import since_boot
from agent.certificates import Certificates
from agent.config import AgentConfig, GatewaySection
from agent.drain import Drain
from agent.drain_state import DrainPhase
from agent.events import Hub
from agent.feed import RouteFeed
from agent.inventory import Inventory
from agent.narrator import Narrator
from agent.peer import Peer, Transport
from agent.plan import Host
from agent.planner import Planner
from agent.ports import Ports
from agent.requests import Settled
from agent.routes import GatewayId, RouteTables
from agent.store import Store
from datapath.observe import Observer
from datapath.plane import Datapath
from datapath.values import Kind
from vpn.path import Encapsulation, Path
from vpn.prefix import Prefix

LOCAL_KINDS = (Kind.TUNNEL, Kind.VRF, Kind.PORT, Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)
"""Kinds that are planned from the attachments alone: complete as soon as the state is loaded."""

OVERHEAD = 28
"""Bytes around a VM's packet on the underlay: IPv4 20, GRE 4, one label 4 (RFC 4023)."""
DEFAULT_MTU = 1500 - OVERHEAD
"""Largest packet of a VM over an underlay that carries 1500 bytes."""

MakeSession = Callable[[Peer, GatewaySection], Transport]


class HostAgent:
    """One host. The datapath is started and stopped by its maker; start() and stop() are called in a running loop.

    make_session: the session of a peer, which it reports to. clock, uptime: see Ports. mtu: bytes of the largest packet
    that a VM can send to another host in one piece. observer: looks at the kernel, for explanations. Raises
    OperatorError when the kept state can't be used.
    """

    def __init__(
        self,
        config: AgentConfig,
        store: Store,
        datapath: Datapath,
        make_session: MakeSession,
        *,
        clock: Callable[[], float] = time.monotonic,
        uptime: Callable[[], float] = since_boot,
        mtu: int = DEFAULT_MTU,
        observer: Observer | None = None,
    ) -> None:
        self.config = config
        self.observer = observer
        self.mtu = mtu
        self.datapath = datapath
        self._make_session = make_session
        section, signaling = config.datapath, config.signaling
        encapsulations = tuple(Encapsulation(name) for name in section.encapsulations)
        self.certificates = Certificates(config.tls, config.state.directory)
        self.host = Host(config.host.address.packed, encapsulations)
        self.planner = Planner(self.host)
        self._gateways = {GatewayId(entry.address.packed, entry.port): entry for entry in config.gateway}
        self.peers = {
            gateway: Peer(gateway, str(entry.address), self, signaling.retry_time)
            for gateway, entry in self._gateways.items()
        }
        self.tables = RouteTables(
            tuple(self.peers),
            clock(),
            stale_time=signaling.stale_time,
            end_of_table_time=signaling.end_of_table_time,
        )
        self.feed = RouteFeed(self.tables, self.planner, datapath, clock)
        state = store.load()
        self.inventory = Inventory(
            state,
            label_base=section.label_base,
            label_count=section.label_count,
            quarantine=section.label_quarantine,
            table_base=section.table_base,
        )
        announcer = Announcer(self.host, self.peers.values(), signaling.login_time, clock)
        announcer.silent = state.drain.phase is not DrainPhase.ACTIVE
        self.ports = Ports(
            self.inventory,
            store,
            datapath,
            self.feed,
            announcer,
            closed=state.drain.phase is DrainPhase.DRAINED,
            clock=clock,
            uptime=uptime,
        )
        self.drain = Drain(state.drain, self.ports, store, clock=clock)
        self.hub = Hub()
        self._narrator = Narrator(self.hub, self.inventory, self.ports, self.planner, datapath)
        self.feed.watcher = self._narrator

    def plan(self) -> None:
        """Plan what was kept. The datapath may work from here on: what the kernel holds of that stays untouched."""
        self.ports.start()
        self.drain.start()
        self.feed.push()
        self.datapath.allow_sweep(*LOCAL_KINDS)
        self.feed.rearm()

    def connect(self) -> None:
        """Begin to connect to the gateways. Returns at once: sessions come when they come."""
        for gateway, entry in self._gateways.items():
            self.peers[gateway].open(lambda peer, entry=entry: self._make_session(peer, entry))  # type: ignore[misc]

    async def stop(self) -> None:
        """End the sessions. What is announced and programmed stays."""
        self.feed.close()
        await asyncio.gather(*(peer.close() for peer in self.peers.values()))
        await self.ports.stop()
        self.drain.stop()
        self.feed.close()

    # -- what the peers tell

    def peer_up(self, peer: Peer) -> None:
        """A session is up: its gateway owes the end of every table."""
        self.feed.session_started(peer.gateway)
        self._narrator.gateway(peer, "connected", "session up")
        self.ports.peers_changed()
        self.drain.advance()

    def peer_down(self, peer: Peer) -> None:
        """A session is lost."""
        self.feed.session_ended(peer.gateway)
        self._narrator.gateway(peer, "lost", f"session lost: {peer.session.last_error}")
        self.ports.peers_changed()
        self.drain.advance()

    def peer_settled(self, peer: Peer, settled: Settled) -> None:
        """A gateway answered requests."""
        for vpn in settled.tables:
            self.feed.end_of_table(peer.gateway, vpn)
            self._narrator.gateway(peer, "synchronised", f"has sent its whole table of VPN {vpn}", vpn)
        self.ports.settled(settled.items)
        self._narrator.settled(peer, settled.items)
        self.drain.advance()

    def subscription_refused(self, peer: Peer, vpn: str) -> None:
        """A gateway doesn't serve a VPN: it owes no table."""
        self._narrator.gateway(peer, "refused", f"doesn't serve VPN {vpn}: {peer.signaling.vpn_refusal(vpn)}", vpn)
        self.feed.end_of_table(peer.gateway, vpn)

    def routes_received(self, peer: Peer, vpn: str, changes: list[tuple[Prefix, Path | None]], purged: bool) -> None:
        """A gateway announced or retracted routes."""
        self.feed.received(peer.gateway, vpn, changes, purged=purged)
