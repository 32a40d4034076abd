"""Joins the gateway to a MAP server: provisioning in, state of attachments out. The asyncio shell of the modules map_*.

    MapConnection --results--> MapFeed --> Provisioning --> Switchover --> Service.reload(), Admission.regrant()
          ^                                     +---------> MapKeeper (file)
          +---- say() <-- AttachmentStates <-- items that were touched

Results are taken together for COALESCE seconds, in turns of TAKEN metadata. They take effect in turns of TURN
attachments and items; states are said at most every STATE_INTERVAL seconds. Losing the server changes nothing of what
is known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from gateway.attachment_state import AttachmentStates
from gateway.authorization import Authorization, Mode
from gateway.map_config import MapSection
from gateway.map_connection import MapConnection
from gateway.map_feed import MapFeed, subscriptions
from gateway.map_file import MapFile
from gateway.map_keeper import MapKeeper
from gateway.map_log import DecisionLog
from gateway.map_status import MapView, describe_attachments, describe_withheld
from gateway.policy import Policy, Vpn
from gateway.provisioning import Provisioning
from gateway.service import Service
from gateway.status import Document, timestamp
from gateway.switchover import Switchover
from ifmap.client_settings import ClientSettings
from ifmap.l3vpn import SchemaError
from ifmap.values import SearchSpec
from runtime.errors import OperatorError

log = logging.getLogger("vrfwire.gateway.map")

COALESCE = 0.02
"""Seconds from a result to what it does, in which more may come."""
TAKEN = 1000
"""Metadata of results, or names that they concern, taken before the loop looks at its sockets again: some 15 ms."""
TURN = 500
"""Attachments entitled, items judged or looked at for their state in such a turn."""
STATE_INTERVAL = 0.5
"""Seconds from a change of an item to what is said of its attachment, in which more may come."""


class Plan:
    """What [map] asks for, checked. Raises OperatorError."""

    def __init__(self, section: MapSection, name: str) -> None:
        self.section = section
        self.name = name
        self.settings: ClientSettings = section.client_settings()
        try:
            self.wanted: dict[str, SearchSpec] = subscriptions(section.groups)
        except SchemaError as error:
            raise OperatorError("map.groups", str(error)) from None

    @property
    def servers(self) -> tuple[str, ...]:
        """URLs of the servers, in the order in which they are tried."""
        return tuple(map(str, self.settings.endpoints))

    def same_session(self, other: Plan) -> bool:
        """Whether a session by the other is one by this."""
        mine, its = (replace(plan.section, authorization=Mode.OFF) for plan in (self, other))
        return (mine, self.name) == (its, other.name)


class MapLink:
    """Use it within one event loop. changed: called after tables or sessions may have something new to send."""

    def __init__(self, service: Service, changed: Callable[[], None], directory: Path) -> None:
        self.provisioning = Provisioning()
        self._service = service
        self._changed = changed
        self._states = AttachmentStates(service.rib, service.admission)
        self._keeper = MapKeeper(self.provisioning, MapFile(directory))
        self._log = DecisionLog()
        self._loop = asyncio.get_running_loop()
        self._plan: Plan | None = None
        self._static: tuple[Vpn, ...] = ()
        self._connection: MapConnection | None = None
        self._switching: asyncio.Task[None] | None = None
        self._work_handle: asyncio.Handle | None = None
        self._judge_handle: asyncio.Handle | None = None
        self._state_handle: asyncio.Handle | None = None
        self._restored = False
        self._disbelieved = False
        """As the log knows it."""
        self._switchover = Switchover(service, self.provisioning, self.policy)

    # -- life

    def start(self, plan: Plan, static: Iterable[Vpn]) -> None:
        """Begin, with what was known at the end of the last run. Call it before hosts connect."""
        self._restored = self._keeper.restore(plan.servers)
        if self._restored:
            vpns, attachments = len(self.provisioning.vpns), len(self.provisioning.attachments)
            as_of = timestamp(self._keeper.as_of or 0.0)
            log.info("of the last run: %d VPNs and %d attachments of the map, as of %s", vpns, attachments, as_of)
        self.reload(plan, static)

    def reload(self, plan: Plan, static: Iterable[Vpn]) -> None:
        """Take another [map] or other static VPNs in place."""
        before, self._plan, self._static = self._plan, plan, tuple(static)
        if before is None:
            self._begin(plan.section.authorization)
        elif before.section.authorization is not plan.section.authorization:
            self._change_mode(plan.section.authorization)
        self._switchover.policy_differs()
        self._judge()
        if before is None or not plan.same_session(before):
            if self._connection is not None and before is not None:
                self._confirm(self._connection, before)
            self._connect(plan)
        self.items_changed()

    def _begin(self, mode: Mode) -> None:
        provisioning = self.provisioning
        authorization = Authorization(mode, known=provisioning.known, forfeited=provisioning.forfeited)
        for name, grants in provisioning.attachments.items():
            authorization.grant(name, grants)
        self._service.admission.use(authorization)

    def _change_mode(self, mode: Mode) -> None:
        admission = self._service.admission
        assert admission.authorization is not None
        admission.authorization.mode = mode
        admission.judge_all()

    def accept(self) -> bool:
        """An operator says that the server's empty map is meant; returns whether it wasn't believed before."""
        if self._connection is None or not self._connection.feed.accept():
            return False
        log.warning("the empty map of the server is accepted by an operator")
        self._work()
        return True

    async def stop(self) -> None:
        """End the session, keep what is known for the next start, and permit everything."""
        for handle in (self._work_handle, self._judge_handle, self._state_handle):
            if handle is not None:
                handle.cancel()
        self._work_handle = self._judge_handle = self._state_handle = None
        if self._connection is not None and self._plan is not None:
            self._confirm(self._connection, self._plan)
        admission = self._service.admission
        admission.use(None)
        while admission.step(TURN):
            pass
        self._changed()
        connection, self._connection = self._connection, None
        if self._switching is not None:
            await self._switching
        if connection is not None:
            await connection.stop()
        await self._keeper.stop()

    def policy(self) -> Policy:
        """The VPNs of the map and of the configuration."""
        return self.provisioning.policy(self._static)

    def _connect(self, plan: Plan) -> None:
        old, before = self._connection, self._switching
        feed = MapFeed(self.provisioning, plan.wanted)
        new = self._connection = MapConnection(plan.settings, plan.wanted, feed, plan.name, self._news, self._ending)
        for presence, statement in self._states.presences().items():
            new.say(presence, statement)
        self._switching = self._loop.create_task(self._switch(before, old, new))

    async def _switch(self, before: asyncio.Task[None] | None, old: MapConnection | None, new: MapConnection) -> None:
        """One session after the other: a server ends that of the same user when there is a new one."""
        if before is not None:
            await before
        if old is not None:
            await old.stop()
        await new.start()

    def _confirm(self, connection: MapConnection, plan: Plan) -> None:
        """What is known is what those servers provision, if it is."""
        if connection.feed.settled:
            self._keeper.confirm(plan.servers)

    def _ending(self, connection: MapConnection) -> None:
        """A session is over."""
        if connection is self._connection and self._plan is not None:
            self._confirm(connection, self._plan)
            self._keeper.keep_time()
            self._news()

    # -- in

    def _news(self) -> None:
        if self._work_handle is None:
            self._work_handle = self._loop.call_later(COALESCE, self._work)

    def _work(self) -> None:
        """Take what has come to differ; the rest in the next turns."""
        self._work_handle = None
        if self._connection is None or self._plan is None:
            return
        known, feed = self.provisioning.known, self._connection.feed
        difference = feed.step(TAKEN)
        if feed.busy:
            self._work_handle = self._loop.call_soon(self._work)
        if difference is None:
            return
        if feed.disbelieved != self._disbelieved:
            self._disbelieved = feed.disbelieved
            if feed.disbelieved:
                log.warning("the map of the server is empty, as one that has lost its contents: what was known stays")
        self._confirm(self._connection, self._plan)
        if not difference and known == self.provisioning.known:
            return
        log.info(
            "the map has changed %d VPNs and %d attachments; it has %d and %d now",
            *(len(difference.vpns), len(difference.attachments)),
            *(len(self.provisioning.vpns), len(self.provisioning.attachments)),
        )
        self._switchover.differs(difference)
        self._keeper.changed()
        self._judge()

    def _judge(self) -> None:
        """Have changes take effect; the rest in the next turns."""
        if self._judge_handle is not None:
            self._judge_handle.cancel()
            self._judge_handle = None
        self._switchover.step(TURN)
        self._log.write(self._service.admission.take_decisions(), self._loop.time())
        if self._switchover.pending:
            self._judge_handle = self._loop.call_soon(self._judge)
        self._changed()

    # -- out

    def items_changed(self) -> None:
        """Hosts may have changed items, or begun or ended sessions."""
        if self._state_handle is None and self._states.pending:
            self._state_handle = self._loop.call_later(STATE_INTERVAL, self._say)

    def _say(self) -> None:
        self._state_handle = None
        changes = self._states.update(TURN)
        if self._connection is not None:
            for presence, statement in changes:
                self._connection.say(presence, statement)
        if self._states.pending:
            self._state_handle = self._loop.call_soon(self._say)

    # -- for people

    def view(self) -> MapView:
        """How it is."""
        assert self._plan is not None and self._connection is not None
        client = self._connection.status()
        waiting, refused = self._connection.unpublished()
        synchronised, now = self._synchronised(), time.time()
        return MapView(
            plan_servers=self._plan.servers,
            gateway=self._plan.name,
            authorization=self._plan.section.authorization,
            client=client,
            since=now - (self._loop.time() - client.since),
            synchronised=synchronised,
            as_of=now if synchronised else self._keeper.as_of,
            now=now,
            disbelieved=self._connection.feed.disbelieved,
            known=self.provisioning.known,
            restored=self._restored,
            vpns=len(self.provisioning.vpns),
            attachments=len(self.provisioning.attachments),
            bindings=self.provisioning.bindings,
            withheld=len(self._service.admission.withheld),
            presences=self._states.counts(),
            unpublished=waiting,
            unpublishable=tuple(refused),
            refused_subscriptions=dict(self._connection.refused),
            kept=tuple(self._keeper.problems()),
            troubles=tuple(self._connection.feed.problems() + self.provisioning.problems(self._is_static)),
        )

    def _synchronised(self) -> bool:
        """Whether all that the server has is here, and has taken effect."""
        assert self._connection is not None
        feed = self._connection.feed
        return feed.synchronised and not (feed.busy or feed.disbelieved or self._switchover.pending)

    def attachments(self) -> Document:
        """attachment.list: what is said of attachments in the map."""
        return describe_attachments(self._states)

    def withheld(self) -> Document:
        """attachment.list of withheld items."""
        return describe_withheld(self._service.admission.withheld)

    def _is_static(self, name: str) -> bool:
        return any(vpn.name == name for vpn in self._static)
