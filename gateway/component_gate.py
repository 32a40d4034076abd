"""Keeps the gateway attached to an XMPP server as a component, and moves stanzas between it and the hosts' sessions.

    server <-- Leg <--pieces--- ComponentHosts <-- Session.next_output
    server --> Leg --stanzas--> ComponentHosts --> Service

Output is pulled while the connection takes it, a slice in a round of deliveries; answers go at once. A stream that is
lost is made anew after a wait with jitter; hosts that had a session are told then to begin again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable

from gateway.component_hosts import LOST, Began, ComponentHosts, Ended
from gateway.component_leg import Leg
from gateway.delivery import Delivery
from gateway.records import HostRecords
from gateway.refusals import RefusalLog
from gateway.service import Service
from runtime.backoff import Backoff
from runtime.log import fields
from xmpp.component import ComponentConfig
from xmpp.stanza import Stanza

log = logging.getLogger("vrfwire.gateway.component")

WRITE_CHUNK = 64 * 1024
"""Pieces are put together up to about this size for one write."""
TURN_BYTES = 512 * 1024
"""Bytes of events made in one round."""
ANSWERS_MAX = 8 * 1024 * 1024
"""Bytes of answers that may wait for the server before nothing more is read from it."""
SHUTDOWN_TIME = 3.0
"""Seconds that the server has to close its stream."""
STEADY = 10.0
"""Seconds after which the end of a stream was no accident: the next is tried after the shortest wait."""
SHORTEST, LONGEST = 0.5, 30.0
"""Ceiling of the wait between two attempts, seconds."""


class ComponentGate:
    """See gateway.front.Gate. config: of the next stream. Use it within one event loop."""

    def __init__(
        self, service: Service, hosts: ComponentHosts, config: ComponentConfig, address: str, port: int
    ) -> None:
        self.hosts = hosts
        self.config = config
        self.records = HostRecords(service)
        self.on_change: Callable[[], None] = _nothing
        """Called after hosts may have changed items or subscriptions, before these are delivered."""
        self.since = time.time()
        """When the stream came up or went down, Unix time."""
        self.last_error = ""
        """Why there was no stream last time."""
        self.attempts = self.attachments = 0
        """Connections tried, and those that became a stream."""
        self._service = service
        self._where = (address, port)
        self._leg: Leg | None = None
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._delivery = Delivery(self._announce, self._delivered)
        self._timer: asyncio.TimerHandle | None = None
        self._refusals = RefusalLog()
        self._loop = asyncio.get_running_loop()

    # -- life

    def start(self) -> None:
        """Begin to connect."""
        self._task = self._loop.create_task(self._run(), name="component")

    async def stop(self) -> None:
        """Tell the hosts, and close the stream. They keep forwarding by what they know."""
        self._stopping = True
        leg = self._leg
        if leg is not None and leg.attached:
            self.hosts.dismiss(self._loop.time())
            self._note()
            while self.hosts.waiting:
                leg.send(self.hosts.next_output(self._loop.time()))
            leg.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(leg.wait_lost(), SHUTDOWN_TIME)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._delivery.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def connected(self) -> bool:
        """Whether the server has taken us."""
        return self._leg is not None and self._leg.attached

    async def _run(self) -> None:
        backoff = Backoff(SHORTEST, LONGEST, random.random)
        while True:
            self.attempts += 1
            try:
                reason, lasted = await self._live()
            except OSError as error:
                # asyncio's own words are "Connect call failed", whatever the kernel has said; its timeout has none.
                said = os.strerror(error.errno) if error.errno else str(error)
                reason, lasted = said or f"no answer in {self.config.login_timeout:g} s", 0.0
            if reason != self.last_error and not self._stopping:
                log.warning("no stream with the XMPP server at %s: %s", self.where, reason)
            self.last_error = reason
            if self._stopping:
                return
            if lasted >= STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.next())

    async def _live(self) -> tuple[str, float]:
        """One connection: why it ended, and for how many seconds there was a stream. Raises OSError."""
        address, port = self._where
        leg = self._leg = Leg(self, self.config)
        try:
            async with asyncio.timeout(self.config.login_timeout):
                await self._loop.create_connection(lambda: leg, address, port)
            await leg.wait_lost()
        finally:
            leg.abort()
            self._leg = None
        return leg.reason, self._loop.time() - leg.since if leg.since else 0.0

    @property
    def where(self) -> str:
        """Address and port of the server."""
        address, port = self._where
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    # -- of the leg

    def attached(self, leg: Leg) -> None:
        """The server has taken us."""
        self.attachments += 1
        self.since, self.last_error = time.time(), ""
        log.info("attached to the XMPP server at %s as %s", self.where, self.config.domain)
        self.hosts.attached(self._loop.time())

    def lost(self, leg: Leg) -> None:
        """A connection has ended."""
        if not leg.attached:
            return
        self.since = time.time()
        count = len(self.hosts.guests)
        self.hosts.detached(self._loop.time())
        if self._stopping:
            log.info("detached from the XMPP server at %s", self.where)
        else:
            log.warning("the XMPP server at %s is lost, and with it %d sessions: %s", self.where, count, leg.reason)
        self.last_error = leg.reason  # said by now
        self._note()
        self.changed()

    def received(self, stanza: Stanza) -> None:
        """A stanza of some host."""
        now = self._loop.time()
        try:
            self.hosts.handle(stanza, now)
        except Exception:
            host = stanza.sender.localpart
            log.exception("host %s: error of this server; the session is closed", host, extra=fields(host=host))
            self.hosts.fault(stanza.sender, now)

    def handled(self, leg: Leg) -> None:
        """Answers leave now, and soon what was changed; who has subscribed needn't wait for others' changes."""
        self._pull(leg, 0)
        self._note()
        if self.hosts.pending:
            self._delivery.wake(self)
        self.changed()

    def writable(self, leg: Leg) -> None:
        """Go on."""
        self._delivery.wake(self)

    def _note(self) -> None:
        """Keep records of what has become of sessions, and log it."""
        while (event := self.hosts.next_event()) is not None:
            session = event.session
            extra = fields(host=session.host)
            match event:
                case Began():
                    self.records.began(session)
                    log.info("host %s has a session as %s", session.host, session.jid, extra=extra)
                case Ended(_, reason, stale):
                    self.records.left(session.host)
                    self.records.tidy(session.host)
                    level = logging.DEBUG if reason == LOST else logging.INFO
                    text = "host %s disconnected (%s); %d of its routes are stale"
                    log.log(level, text, session.host, reason, stale, extra=extra)

    # -- output and timers

    def changed(self) -> None:
        """Something was handled: deliver what it changed, soon."""
        self._delivery.changed()

    @property
    def turns(self) -> int:
        """Turns of deliveries; nudge() brings one about."""
        return self._delivery.turns

    def nudge(self) -> None:
        """Let a delivery take place, although there may be nothing to deliver."""
        self.changed()

    def _announce(self) -> list[ComponentGate]:
        self.on_change()
        refusals = self._service.take_refusals() + self.hosts.take_refusals()
        self._refusals.write(refusals, self._loop.time())
        self.hosts.owed(self._service.take_pending())
        return [self] if self.hosts.pending else []

    def pull(self) -> None:
        """See gateway.delivery.Pulled: sessions take turns within what one stream is sent."""
        leg = self._leg
        if leg is not None and leg.attached:
            self._pull(leg, TURN_BYTES)
            if self.hosts.pending and not leg.paused:
                self._delivery.wake(self)

    def _delivered(self) -> None:
        if not self.hosts.pending:
            self._service.forget_serialised()
        self._arm()

    def _pull(self, leg: Leg, events: int) -> None:
        """Send the answers, and of events up to about so many bytes, while the connection takes them."""
        made = unwritten = 0
        while not leg.paused and (self.hosts.waiting or made < events):
            piece = self.hosts.next_output(self._loop.time())
            if not piece:
                break
            leg.send(piece)
            made += len(piece)
            unwritten += len(piece)
            if unwritten >= WRITE_CHUNK:
                leg.write()
                unwritten = 0
        leg.write()
        leg.throttle(self.hosts.waiting > ANSWERS_MAX)

    def _arm(self) -> None:
        due = min((one for one in (self._service.timer(), self.hosts.timer()) if one is not None), default=None)
        if self._timer is not None:
            if due is not None and self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_at(due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        self.hosts.handle_timer(now)
        self.records.expire(now)
        self._note()
        self.changed()
        self._arm()


def _nothing() -> None:
    """Nobody listens."""
