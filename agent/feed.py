"""From the gateways' events to the datapath: tables, planner, and the timer of the recovery.

Events that arrive in one turn of the loop are planned together at its end, so that a table of many messages costs one
delta for what was read at once, and a route that flaps within it nothing. Of very many, a slice a turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from agent.planner import Planner
from agent.routes import GatewayId, RouteTables
from datapath.plane import Datapath
from datapath.status import Change, State
from datapath.values import Kind, NextHop
from vpn.path import Path
from vpn.prefix import Prefix

log = logging.getLogger("vrfwire.agent.routes")

_SLICE = 2000
"""Routes that are planned in one turn of the loop, some 20 ms."""


class RouteWatcher(Protocol):
    """Somebody who may want to hear of routes."""

    def __bool__(self) -> bool: ...

    def route(self, vpn: str, prefix: Prefix, path: Path | None) -> None: ...


class RouteFeed:
    """Keeps the plan's VRF routes as the gateways announce them. clock: monotonic seconds."""

    def __init__(self, tables: RouteTables, planner: Planner, datapath: Datapath, clock: Callable[[], float]) -> None:
        self.tables = tables
        self.planner = planner
        self._datapath = datapath
        self._clock = clock
        self._due = False
        self._timer: asyncio.TimerHandle | None = None
        self._swept = False
        self.watcher: RouteWatcher | None = None
        """Is told every change of a selected path while it is true."""
        datapath.listen((Kind.NEXT_HOP,), self._next_hop_changed, failures_only=True)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def push(self) -> None:
        """Hand the plan's changes to the datapath."""
        delta = self.planner.take()
        if delta.puts:
            self._datapath.put(*delta.puts)
        if delta.removes:
            self._datapath.remove(*[(value.kind, value.key) for value in delta.removes])

    # -- VPNs

    def join(self, vpn: str, *, initial: bool = False) -> None:
        """A VPN has its first attachment."""
        self.tables.join(vpn, self._clock(), initial=initial)
        self.rearm()

    def leave(self, vpn: str) -> None:
        """The last attachment of a VPN is gone."""
        self.tables.leave(vpn)
        self.rearm()

    # -- gateways

    def session_started(self, gateway: GatewayId) -> None:
        """A gateway is connected."""
        self.tables.session_started(gateway, self._clock())
        self.rearm()

    def session_ended(self, gateway: GatewayId) -> None:
        """A session is lost."""
        self.tables.session_ended(gateway, self._clock())
        self._apply_soon()
        self.rearm()

    def end_of_table(self, gateway: GatewayId, vpn: str) -> None:
        """A gateway has told everything it had in a VPN, or doesn't serve it."""
        self.tables.end_of_table(gateway, vpn, self._clock())
        self.rearm()

    def received(
        self, gateway: GatewayId, vpn: str, changes: list[tuple[Prefix, Path | None]], *, purged: bool = False
    ) -> None:
        """A gateway announced or retracted routes."""
        if purged:
            self.tables.purge(gateway, vpn)
        self.tables.update(gateway, vpn, changes)
        self._apply_soon()

    # -- planning

    def _apply_soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._apply)

    def _apply(self) -> None:
        self._due = False
        watcher = self.watcher or None
        for vpn, prefix, path in self.tables.changes(_SLICE):
            self.planner.route(vpn, prefix, path)
            if watcher is not None:
                watcher.route(vpn, prefix, path)
        self.push()
        if self.tables.changed:
            # When a gateway is lost, all of its routes may go by another one: others wait meanwhile.
            self._apply_soon()
        elif self.tables.complete and not self._swept:
            # Not before all of it is planned: what isn't wanted yet would be swept.
            self._swept = True
            log.info("all routes are known: what else the kernel holds of ours is swept")
            self._datapath.allow_sweep()

    def _next_hop_changed(self, change: Change) -> None:
        """The kernel took a next hop, or refused it. The plan follows at once: the datapath makes next hops before
        groups and routes, so that none of these is tried with one that it hasn't got."""
        failed = change.status.state is State.FAILED
        if isinstance(change.key, NextHop) and self.planner.next_hop(change.key, taken=not failed):
            self.push()

    # -- recovery

    def rearm(self) -> None:
        """Set the timer anew; the deadlines of the recovery may have changed."""
        self.close()
        at = self.tables.get_timer()
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self._on_timer)

    def _on_timer(self) -> None:
        self.tables.handle_timer(self._clock())
        self._apply_soon()
        self.rearm()
