"""The BGP speaker of the gateway: one loop turns sockets, sessions, tables and timers; nothing of it is ever awaited.

    sockets --> PeerTransport --> PeerRuntime (Session) --events--> bgp.rib.rib.Rib <--> Exchange <--> VRF tables
       ^                              |                                |
       +----------- flush() ----------+<---------- take_ready() -------+

Input changes the tables at once. What follows from it (telling other peers, VRF tables, withdrawing what a lost peer
had) is done in slices of a few milliseconds, one a turn of the loop, so that hosts, other peers and timers have theirs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable

from bgp.errors import CeaseSubcode
from bgp.family import FAMILY_NAMES
from bgp.negotiation import Negotiated
from bgp.notification import Notification
from bgp.rib.events import ExportStarted, PrefixLimitExceeded, PrefixWarning, RibEvent, RoutesStale, RoutesSwept
from bgp.rib.rib import Rib
from bgp.session import Session
from bgp.update import AttributeTable
from gateway.exchange import Exchange
from gateway.peer_config import Address, BgpSettings, PeerSettings
from gateway.peer_listener import Listeners
from gateway.peer_runtime import PeerRuntime
from gateway.peer_transport import READ_SIZE
from gateway.peer_watch import Watch
from gateway.roster_file import RosterFile
from gateway.roster_keeper import RosterKeeper
from gateway.service import Service
from gateway.status import Document, Problem
from runtime.errors import ExitCode, OperatorError
from runtime.listen import Listen
from runtime.log import fields

log = logging.getLogger("vrfwire.gateway.bgp")

SLICE = 0.005
"""Seconds of work in one turn of the loop."""
STEP = 500
"""Routes of BGP tables, or items of hosts, between two looks at the clock."""
IMPORT_STEP = 100
"""Routes into VRF tables between two looks at the clock: they cost more, and some go into many VPNs."""
HOSTS = "hosts"
"""What hosts are called among those waited for after a start."""
PEER_PATIENCE = 15.0
"""Seconds after a start that a peer's session may take to come up: what isn't there can't send anything to wait for."""
STOP_TIME = 3.0
"""Seconds that peers have to take the end of their sessions."""
STRANGER_INTERVAL = 10.0
"""Seconds between two lines in the log about connections from addresses that are no peers."""
ERROR_REST = 1.0
"""Seconds until work goes on after an error of our own in it."""


class Speaker:
    """All peers of the gateway. Use it within one event loop.

    delivered: called when imports have changed VRF tables. linger: seconds that memberships outlive subscribers, and
    routes of hosts their sessions. hosts: where the hosts are recorded that a start waits for; None: it waits for none.
    """

    def __init__(
        self,
        settings: BgpSettings,
        service: Service,
        delivered: Callable[[], None],
        *,
        linger: float,
        hosts: RosterFile | None = None,
    ) -> None:
        self.rib = Rib(settings.identity, settings.local_address)
        self.peers: dict[str, PeerRuntime] = {}
        self.exchange: Exchange | None = None
        """Between the tables of hosts and those of BGP, once there is a peer."""
        self.buffer = memoryview(bytearray(READ_SIZE))
        self.counters: Counter[str] = Counter()
        self.turns = 0
        """Times that the work came round; nudge() makes it."""
        """"errors", "refused/unknown peer", "refused/session at rest" since the start."""
        self._settings = settings
        self._service = service
        self._delivered = delivered
        self._linger = linger
        self._loop = asyncio.get_running_loop()
        self._attributes = AttributeTable()
        self._listeners = Listeners(self._accept)
        self._watch = Watch(self.peers)
        self._work_handle: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._hosts = RosterKeeper(service, hosts)
        self._deferring = False
        self._next_stranger = 0.0
        self._closing: set[asyncio.Task[None]] = set()
        self._stopping = False

    # -- life

    @property
    def listening(self) -> list[Listen]:
        """Where peers can connect."""
        return self._listeners.addresses

    async def start(self) -> None:
        """Listen, and bring sessions up. Raises OperatorError."""
        settings = self._settings
        if not settings.peers:
            return
        self._listeners.apply(settings)
        now = self._loop.time()
        if settings.graceful_restart:
            # We may have been away: what hosts forward by is still there, and peers are told when we know it again.
            self._deferring = True
            self._hosts.start(now + settings.deferral_time + self._linger)
            names = [peer.name for peer in settings.peers]
            self.rib.defer_export(names if self._hosts.complete else [*names, HOSTS], now + settings.deferral_time)
            self._patience = self._loop.call_later(PEER_PATIENCE, self._give_up_absent)
        self._begin()
        for peer in settings.peers:
            self._add(peer, restarting=self._deferring)

    def _give_up_absent(self) -> None:
        """Peers without a session don't hold back the others: one router in maintenance is no reason to be silent."""
        self._patience = None
        for name, peer in self.peers.items():
            if not peer.is_up:
                self.rib.arrived(name)
        self.wake()

    def _begin(self) -> None:
        self.exchange = Exchange(self._service, self.rib, linger=self._linger)
        self._watch.start()

    def _add(self, settings: PeerSettings, *, restarting: bool = False) -> None:
        session = Session(settings.session, random.random, self._attributes)
        session.restarting = restarting
        self.rib.add_peer(settings.name, settings.link.address.packed, settings.policy)
        peer = self.peers[settings.name] = PeerRuntime(self, settings, session)
        peer.start()

    async def stop(self) -> None:
        """End all sessions: with graceful restart so that peers keep our routes, else with a NOTIFICATION (6/2)."""
        self._stopping = True
        self._listeners.close()
        self._watch.stop()
        for peer in self.peers.values():
            if self._settings.graceful_restart:
                peer.leave("the gateway stops")
            else:
                peer.stop(CeaseSubcode.ADMINISTRATIVE_SHUTDOWN, "the gateway stops")
        for handle in (self._work_handle, self._timer, self._patience):
            if handle is not None:
                handle.cancel()
        for peer in self.peers.values():
            self._let_go(peer)
        if self._closing:
            await asyncio.wait(self._closing)
        await self._hosts.stop()

    def reload(self, settings: BgpSettings) -> None:
        """Add, remove and change peers; sessions of peers that stay as they are go on. Raises OperatorError.

        The identity (router id, AS, cluster) is to be the old one as long as there are peers.
        """
        if self._stopping:
            return
        self._listeners.apply(settings)
        now = self._loop.time()
        if not self.peers and settings.peers:
            self.rib = Rib(settings.identity, settings.local_address)
            self._deferring = False
            self._begin()
        if settings.peers and settings.graceful_restart:
            self._hosts.start()
        self.rib.identity = settings.identity
        self._settings = settings
        wanted = {peer.name: peer for peer in settings.peers}
        for name, peer in list(self.peers.items()):
            new = wanted.get(name)
            same = new is not None and new.link.address == peer.settings.link.address
            if new is None or not same or new.policy.kind is not peer.settings.policy.kind:
                log.info("peer %s is not configured any more", name, extra=fields(peer=name))
                peer.stop(CeaseSubcode.PEER_DECONFIGURED, "")
                del self.peers[name]
                self.rib.remove_peer(name, now)
                self._let_go(peer)
            elif new != peer.settings:
                log.info("peer %s has changed", name, extra=fields(peer=name))
                peer.change(new)
        for name, new in wanted.items():
            if name not in self.peers:
                self._add(new)
        self.wake()

    def _let_go(self, peer: PeerRuntime) -> None:
        """Have its sockets closed."""
        task = self._loop.create_task(peer.wait_closed(STOP_TIME))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # -- commands

    def refresh(self, name: str, families: Iterable[str] | None = None) -> list[str]:
        """Ask a peer for all its routes again, of some families or all; returns those asked for."""
        peer = self._peer(name)
        negotiated = peer.session.negotiated
        if negotiated is None:
            raise OperatorError(f"peer {name}", "the session is not up", f"`vrfwire-gateway-ctl peer show {name}`")
        wanted = sorted(negotiated.families) if families is None else [FAMILY_NAMES[family] for family in families]
        return [str(family) for family in wanted if peer.request_refresh(family)]

    def reset(self, name: str, text: str = "", hard: bool = False) -> None:
        """Take a session down (6/4) and up again; text: for the peer's operator; hard: it shall forget our routes."""
        peer = self._peer(name)
        log.info("session with %s is reset by an operator", name, extra=fields(peer=name))
        peer.reset(text, hard=hard)

    def _peer(self, name: str) -> PeerRuntime:
        peer = self.peers.get(name)
        if peer is None:
            raise OperatorError(f"peer {name}", "no such peer", "`vrfwire-gateway-ctl peer list`", ExitCode.NOT_FOUND)
        return peer

    def summary(self) -> Document:
        """Of the status."""
        up = sum(peer.is_up for peer in self.peers.values())
        return {
            "listen": [str(address) for address in self.listening],
            "peers": len(self.peers),
            "up": up,
            "down": sorted(name for name, peer in self.peers.items() if not peer.is_up),
            "waiting_after_start": self._deferring,
            "waiting_for": self.waiting_for(),
            "unannounced_items": dict(self.exchange.problems) if self.exchange is not None else {},
            "counters": dict(sorted(self.counters.items())),
        }

    def problems(self) -> list[Problem]:
        """Peers that have been down for long, or that something is wrong with; a record of hosts that can't be kept."""
        return self._watch.problems() + self._hosts.problems()

    def waiting_for(self) -> list[str]:
        """After a start: who has to send everything before peers are told routes, for people; the first few hosts."""
        awaited = self.rib.awaited or set()
        found = [
            f"peer {name} ({'its End-of-RIB' if self.peers[name].is_up else 'no session'})"
            for name in sorted(awaited & self.peers.keys())
        ]
        return found + (self._hosts.waiting_for() if HOSTS in awaited else [])

    # -- what peers, hosts and listeners report

    def _accept(self, address: Address, sock: socket.socket) -> None:
        packed = address.packed
        for peer in self.peers.values():
            if peer.address == packed:
                peer.accept(sock)
                return
        sock.close()
        self.counters["refused/unknown peer"] += 1
        now = self._loop.time()
        if now >= self._next_stranger:
            self._next_stranger = now + STRANGER_INTERVAL
            log.warning(
                "BGP connection from %s refused: there is no [[bgp.peer]] of that address (%d refused since the start)",
                *(address, self.counters["refused/unknown peer"]),
                extra=fields(peer=str(address)),
            )

    def session_up(self, peer: PeerRuntime, negotiated: Negotiated) -> None:
        """A session has come up, and the tables know it."""
        restart = negotiated.graceful_restart
        if restart is None or restart.restarting:
            # It sends its End-of-RIB when it has ours, or none at all (RFC 4724, section 4.1).
            self.rib.arrived(peer.name)

    def changed(self) -> None:
        """Hosts may have changed items or subscriptions."""
        if self.exchange is None:
            return
        self._hosts.look()
        self.wake()

    # -- work

    def wake(self) -> None:
        """Have the work done that there is, soon."""
        if self._work_handle is None and not self._stopping:
            self._work_handle = self._loop.call_soon(self._work)

    def nudge(self) -> None:
        """Let the work come round, although there may be none."""
        self.wake()

    def _work(self) -> None:
        self._work_handle = None
        self.turns += 1
        try:
            busy = self._slice()
        except Exception:
            log.exception("error of this gateway in the BGP tables; going on")
            self.counters["errors"] += 1
            self._work_handle = self._loop.call_later(ERROR_REST, self._work)
            return
        if busy:
            self.wake()
        self._arm()

    def _slice(self) -> bool:
        """Work for SLICE; whether there is more."""
        exchange, rib = self.exchange, self.rib
        if exchange is None:
            return False
        end = time.perf_counter() + SLICE
        imported = 0
        busy = True
        while busy and time.perf_counter() < end:
            busy = False
            if exchange.has_work:
                exchange.export(self._loop.time(), STEP)
                busy = True
            elif self._deferring and self._hosts.complete:
                # Only now: what they have published comes before the End-of-RIB.
                rib.arrived(HOSTS)
            if rib.has_work:
                rib.step(STEP)
                busy = True
            if exchange.has_imports:
                imported += exchange.take_in(IMPORT_STEP)
                busy = True
        while (event := rib.next_event()) is not None:
            self._handle(event)
        for name in rib.take_ready():
            if (peer := self.peers.get(name)) is not None:
                peer.flush()
        for item in exchange.take_unannounced():
            log.warning(
                "item %s of host %s in VPN %s is not announced by BGP, or not wholly, and others like it: %s",
                *(item.item_id, item.host, item.vpn, item.obstacle),
                extra=fields(host=item.host, vpn=item.vpn),
            )
        if imported:
            self._delivered()
        return busy

    def _handle(self, event: RibEvent) -> None:
        match event:
            case PrefixWarning(name, family, count, limit):
                log.warning("%s: %d routes of %s, the limit is %d", name, count, family, limit, extra=fields(peer=name))
            case PrefixLimitExceeded(name, family, count, limit):
                peer = self.peers.get(name)
                if peer is None or not self.rib.peers[name].blocked:
                    return  # that session is over, by another cause or with the peer
                rest = peer.settings.max_prefixes_restart
                again = "until `peer reset`" if rest is None else f"for {rest:g} s"
                text = f"more than {limit} routes of {family} (max_prefixes); the session rests {again}"
                peer.fail(Notification.maximum_prefixes(family, limit), text, rest)
                peer.failure = text
            case RoutesStale(name, family, long_lived):
                how = "long-lived stale" if long_lived else "stale"
                log.info("%s: its routes of %s are %s", name, family, how, extra=fields(peer=name))
            case RoutesSwept(name, family, count):
                log.info("%s: %d old routes of %s are gone", name, count, family, extra=fields(peer=name))
            case ExportStarted(missing):
                self._deferring = False
                for peer in self.peers.values():
                    peer.session.restarting = False
                names = sorted(missing - {HOSTS}) + (self._hosts.waiting_for() if HOSTS in missing else [])
                late = f"; not waited any longer for {', '.join(names)}" if names else ""
                log.info("peers are told routes from now on%s", late)

    # -- timers

    def _arm(self) -> None:
        """Have _tick called when somebody wants. A timer that is too early is left: it only looks."""
        deadlines = [peer.session.get_timer() for peer in self.peers.values()]
        deadlines += [self.rib.get_timer(), self._hosts.get_timer()]
        if self.exchange is not None:
            deadlines.append(self.exchange.get_timer())
        due = min((deadline for deadline in deadlines if deadline is not None), default=None)
        if due is None or self._stopping:
            return
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        for peer in list(self.peers.values()):
            peer.handle_timer(now)
        try:
            self._hosts.handle_timer(now)
            self.rib.handle_timer(now)
            if self.exchange is not None:
                self.exchange.handle_timer(now)
        except Exception:
            log.exception("error of this gateway in a timer of the BGP tables; going on")
            self.counters["errors"] += 1
        self.wake()
