"""Routes as the gateways announce them: one table for each VPN with the gateways as sources, and recovery.

Forwarding outlives signaling. When a session is lost, what it brought stays, marked stale and less preferred. It goes
when the gateway announces the prefix anew or retracts it, or with the sweep. The sweep of a gateway's stale paths in a
VPN comes

- when it is back: `stale_time` after its end of table. Its table may be complete and yet poor: a gateway that restarted
  knows only the hosts that have found it again. A stale path that is gone in truth costs little meanwhile: its label
  rests at the other host, longer than this;
- when it stays away: after the same time, but only if another gateway has been complete in the VPN for as long;
- never while a gateway that is connected still owes its end of table and its deadline isn't reached;
- never while all gateways are away.

`complete` says the same of the start: whether what the kernel holds beside the plan can be no one's route any more.

Time is handed in: `now`, seconds of any clock that doesn't jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from vpn.cursor import Cursor
from vpn.path import Path
from vpn.prefix import Prefix
from vpn.table import VrfTable, first

_READ = 1024


class GatewayId(NamedTuple):
    """A gateway: packed address and TCP port; their order is the order of preference."""

    address: bytes
    port: int


class RouteChange(NamedTuple):
    """The selected path of a prefix in a VPN; None: there is none any more."""

    vpn: str
    prefix: Prefix
    path: Path | None


class _Feed:
    """One gateway in one VPN."""

    __slots__ = ("connected", "ended", "owed_until", "stale_since", "sweep_at")

    def __init__(self) -> None:
        self.connected = False
        self.owed_until: float | None = None
        """Deadline of an end of table that is owed."""
        self.ended: float | None = None
        """When the end of table came, in this session."""
        self.stale_since: float | None = None
        """When the session was lost; None as long as nothing can be stale."""
        self.sweep_at: float | None = None


class _Vpn:
    __slots__ = ("cursor", "feeds", "initial", "table")

    def __init__(self, initial: bool) -> None:
        self.table: VrfTable[GatewayId] = VrfTable(first)
        self.cursor: Cursor[GatewayId] = self.table.cursor()
        self.feeds: dict[GatewayId, _Feed] = {}
        self.initial = initial
        """Joined at the start: the kernel may hold routes of it from before."""


class RouteTables:
    """Tables of all VPNs of a host.

    gateways: all that are configured. stale_time, end_of_table_time: seconds. now: start of the recovery.
    """

    def __init__(
        self, gateways: Sequence[GatewayId], now: float, *, stale_time: float = 45.0, end_of_table_time: float = 30.0
    ) -> None:
        self._gateways = tuple(gateways)
        self._stale_time = stale_time
        self._end_of_table_time = end_of_table_time
        self._start = now
        self._connected: set[GatewayId] = set()
        self._vpns: dict[str, _Vpn] = {}
        self._changed: dict[str, None] = {}
        self.complete = False
        """Whether every route that may be right has been heard of since the start."""

    # -- VPNs

    def join(self, name: str, now: float, *, initial: bool = False) -> None:
        """Keep a table for a VPN. initial: at the start of the agent, for an attachment that was there before."""
        if name in self._vpns:
            return
        vpn = self._vpns[name] = _Vpn(initial)
        for gateway in self._gateways:
            feed = vpn.feeds[gateway] = _Feed()
            if gateway in self._connected:
                self._owe(feed, now)

    def leave(self, name: str) -> None:
        """Forget a VPN. No changes are reported for it: its routes went with the VPN."""
        vpn = self._vpns.pop(name, None)
        if vpn is not None:
            vpn.cursor.close()
            self._changed.pop(name, None)

    def _owe(self, feed: _Feed, now: float) -> None:
        feed.connected = True
        feed.owed_until = now + self._end_of_table_time
        feed.ended = None
        feed.sweep_at = None

    # -- sessions

    def session_started(self, gateway: GatewayId, now: float) -> None:
        """A gateway is connected: it owes the end of every table."""
        self._connected.add(gateway)
        for vpn in self._vpns.values():
            self._owe(vpn.feeds[gateway], now)

    def session_ended(self, gateway: GatewayId, now: float) -> None:
        """A session is lost: what it brought is stale, and stays."""
        self._connected.discard(gateway)
        for name, vpn in self._vpns.items():
            feed = vpn.feeds[gateway]
            feed.connected = False
            if feed.stale_since is None or feed.ended is not None:
                # What a session has told in full was right until now; of half a table it isn't known.
                feed.stale_since = now
            feed.owed_until = feed.ended = feed.sweep_at = None
            vpn.table.mark_stale(gateway)
            self._changed[name] = None

    def subscription_refused(self, gateway: GatewayId, name: str, now: float) -> None:
        """A gateway doesn't serve a VPN: it owes nothing."""
        self.end_of_table(gateway, name, now)

    def end_of_table(self, gateway: GatewayId, name: str, now: float) -> None:
        """A gateway has told everything it had in a VPN."""
        vpn = self._vpns.get(name)
        if vpn is None or not vpn.feeds[gateway].connected:
            return
        feed = vpn.feeds[gateway]
        feed.owed_until = None
        if feed.ended is None:
            feed.ended = now
            feed.sweep_at = now + self._stale_time

    def update(self, gateway: GatewayId, name: str, changes: Iterable[tuple[Prefix, Path | None]]) -> None:
        """A gateway announced (path) or retracted (None) prefixes. Events of a VPN that was left come late: ignored."""
        vpn = self._vpns.get(name)
        if vpn is None:
            return
        table = vpn.table
        for prefix, path in changes:
            if path is None:
                table.withdraw(gateway, prefix)
            else:
                table.update(gateway, prefix, path)
        self._changed[name] = None

    def purge(self, gateway: GatewayId, name: str) -> None:
        """A gateway has removed all routes of a VPN."""
        vpn = self._vpns.get(name)
        if vpn is not None:
            vpn.table.withdraw_source(gateway)
            self._changed[name] = None

    # -- the stream of changes

    def changes(self, most: int | None = None) -> Iterator[RouteChange]:
        """Every selected path that has changed since the last call, the newest state of each; `most` of them at the
        most, the others come with the next call (see `changed`)."""
        left = most
        while self._changed:
            name = next(iter(self._changed))
            cursor = self._vpns[name].cursor
            while batch := cursor.read(_READ if left is None else min(_READ, left)):
                for prefix, path in batch:
                    yield RouteChange(name, prefix, path)
                if left is not None:
                    left -= len(batch)
                    if left <= 0:
                        return
            self._changed.pop(name, None)

    @property
    def changed(self) -> bool:
        """Whether changes() may have something."""
        return bool(self._changed)

    # -- recovery

    def get_timer(self) -> float | None:
        """When handle_timer() is to be called, or None."""
        times = []
        for vpn in self._vpns.values():
            for feed in vpn.feeds.values():
                if feed.owed_until is not None:
                    times.append(feed.owed_until)
                if (at := self._sweep_time(vpn, feed)) is not None:
                    times.append(at)
        if not self.complete and (at := self._complete_time()) is not None:
            times.append(at)
        return min(times, default=None)

    def handle_timer(self, now: float) -> None:
        """Pass deadlines and sweep what is due at `now`."""
        for name, vpn in self._vpns.items():
            for gateway, feed in vpn.feeds.items():
                if feed.owed_until is not None and feed.owed_until <= now:
                    # Treated as an end of table: whoever can't end a table mustn't hold up the others for ever.
                    self.end_of_table(gateway, name, now)
            for gateway, feed in vpn.feeds.items():
                at = self._sweep_time(vpn, feed)
                if at is not None and at <= now:
                    feed.sweep_at = None
                    feed.stale_since = None
                    if vpn.table.sweep(gateway):
                        self._changed[name] = None
        if not self.complete:
            at = self._complete_time()
            self.complete = at is not None and at <= now

    def _sweep_time(self, vpn: _Vpn, feed: _Feed) -> float | None:
        """When a gateway's stale paths in a VPN may go; None: not in sight."""
        if feed.stale_since is None or any(other.owed_until is not None for other in vpn.feeds.values()):
            return None
        if feed.connected:
            return feed.sweep_at
        settled = [other.ended + self._stale_time for other in vpn.feeds.values() if other.ended is not None]
        return max(min(settled), feed.stale_since + self._stale_time) if settled else None

    def _complete_time(self) -> float | None:
        """When the start's recovery is over: every gateway has ended every table of the start or is given up, at least
        one has, and the others of the network had time to find it again."""
        latest = self._start
        for vpn in self._vpns.values():
            if not vpn.initial or not vpn.feeds:
                continue
            ended = []
            for feed in vpn.feeds.values():
                if feed.owed_until is not None:
                    return None
                if feed.ended is not None:
                    ended.append(feed.ended)
                else:
                    latest = max(latest, self._start + self._end_of_table_time)
            if not ended:
                return None
            latest = max(latest, min(ended) + self._stale_time)
        return latest

    # -- reading

    def table(self, name: str) -> VrfTable[GatewayId] | None:
        """The table of a VPN, to be read only; None when it isn't joined."""
        vpn = self._vpns.get(name)
        return None if vpn is None else vpn.table

    def routes(self, gateway: GatewayId) -> int:
        """Number of paths that a gateway has announced."""
        return sum(vpn.table.source_size(gateway) for vpn in self._vpns.values())

    def owing(self) -> list[tuple[GatewayId, str]]:
        """Connected gateways and VPNs whose end of table is owed."""
        return [
            (gateway, name)
            for name, vpn in self._vpns.items()
            for gateway, feed in vpn.feeds.items()
            if feed.owed_until is not None
        ]
