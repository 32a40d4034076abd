"""One gateway of this host: the signaling core joined to its session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.requests import Ask, Refusal, Request, Settled
from agent.routes import GatewayId
from agent.session_values import Answered, SessionState
from agent.signaling import Signaling
from runtime.log import fields
from vpn.path import Path
from vpn.prefix import Prefix, PrefixError
from xmpp.notices import Notice, NoticeKind
from xmpp.notification import Event

log = logging.getLogger("vrfwire.agent.peer")


class Transport(Protocol):
    """What a peer needs of a session (agent.session.Session, or a fake)."""

    state: SessionState
    since: float
    last_error: str

    @property
    def conflicted(self) -> bool: ...

    def start(self) -> None: ...

    async def stop(self) -> None: ...

    def request(self, request: Request, on_answer: Answered) -> None: ...


class Owner(Protocol):
    """Who is told what a gateway says."""

    def peer_up(self, peer: Peer) -> None: ...

    def peer_down(self, peer: Peer) -> None: ...

    def peer_settled(self, peer: Peer, settled: Settled) -> None: ...

    def subscription_refused(self, peer: Peer, vpn: str) -> None: ...

    def routes_received(
        self, peer: Peer, vpn: str, changes: list[tuple[Prefix, Path | None]], purged: bool
    ) -> None: ...


class Peer:
    """A gateway. Change `signaling`, then call flush_soon()."""

    def __init__(self, gateway: GatewayId, name: str, owner: Owner, retry_time: float) -> None:
        self.gateway = gateway
        self.name = name
        """Its address in text form."""
        self.signaling = Signaling()
        self.met = False
        """There has been a session with it in this run."""
        self.bad_items = 0
        """Items of this gateway that could not be read."""
        self.sessions = self.losses = self.resumptions = self.refusals = 0
        """Sessions that there were, those that were lost, connections that were lost without their session, and
        requests that were answered with an error."""
        self._owner = owner
        self._retry_time = retry_time
        self._retry: asyncio.TimerHandle | None = None
        self._flushing = False
        self._refused: dict[tuple[str, str], Refusal] = {}
        """The last refusals of each prefix, and of subscriptions, that were logged; by VPN."""
        self._session: Transport | None = None

    def open(self, make: Callable[[Peer], Transport]) -> None:
        """Make the session and begin to connect."""
        self._session = make(self)
        self._session.start()

    async def close(self) -> None:
        """End the session; what was announced stays announced."""
        if self._retry is not None:
            self._retry.cancel()
        if self._session is not None:
            await self._session.stop()

    @property
    def session(self) -> Transport:
        """The session; there is one after open()."""
        assert self._session is not None
        return self._session

    @property
    def connected(self) -> bool:
        """Whether there is a session with the gateway."""
        return self.signaling.connected

    def flush_soon(self) -> None:
        """Send what is wanted in this turn of the loop: what several attaches want goes out together."""
        if not self._flushing and self.signaling.connected:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        session = self._session
        if session is None or not self.signaling.connected:
            return
        for request in self.signaling.next_requests():
            session.request(request, lambda refusal, request=request: self._answered(request, refusal))  # type: ignore[misc]

    def _answered(self, request: Request, refusal: Refusal | None) -> None:
        what = str(request.items[0][0]) if request.items else request.ask.value
        key = request.vpn, what
        if refusal is None:
            for prefix, _ in request.items:
                self._refused.pop((request.vpn, str(prefix)), None)
            self._refused.pop(key, None)
        elif len(request.items) <= 1:
            # What can't be retracted isn't there: a gateway that has restarted, or has given this host up meanwhile.
            # And it is asked again and again: the same answer is no news.
            # Nor does anything depend on whether a gateway takes the end of items.
            known = request.ask in (Ask.RETRACT, Ask.END_OF_ITEMS) or self._refused.get(key) == refusal
            self._refused[key] = refusal
            log.log(
                logging.DEBUG if known else logging.WARNING,
                "gateway %s: VPN %s: %s refused: %s",
                self.name,
                request.vpn,
                what,
                refusal,
                extra=self._fields(request.vpn, [prefix for prefix, _ in request.items]),
            )
        settled = self.signaling.answered(request, refusal)
        if refusal is not None and request.ask is not Ask.END_OF_ITEMS:
            self.refusals += 1
            self._retry_later()
            if request.ask is Ask.SUBSCRIBE:
                self._owner.subscription_refused(self, request.vpn)
        self._owner.peer_settled(self, settled)
        self.flush_soon()

    def _fields(self, vpn: str, prefixes: Sequence[Prefix] = ()) -> dict[str, object]:
        """For the journal. prefixes: that it is about; of several the first one is what can be looked for."""
        found = {"peer": self.name, "gateway": self.name, "vpn": vpn}
        return fields(**found, prefix=prefixes[0]) if prefixes else fields(**found)

    def _retry_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._retry_time, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self.signaling.retry_refused()
        self.flush_soon()

    # -- the session's listener

    def session_started(self) -> None:
        self.sessions += 1
        self.met = True
        self.signaling.session_started()
        self._owner.peer_up(self)
        self.flush_soon()

    def session_resumed(self) -> None:
        self.resumptions += 1

    def session_ended(self, reason: str) -> None:
        self.losses += 1
        self._refused.clear()
        self.signaling.session_ended()
        self._owner.peer_down(self)

    def notice_received(self, notice: Notice, prefixes: list[Prefix]) -> None:
        vpn = notice.node
        extra = self._fields(vpn, prefixes)
        shown = ", ".join(map(str, prefixes))
        settled = Settled()
        match notice.kind:
            case NoticeKind.WITHHELD:
                log.warning("gateway %s: VPN %s: %s withheld: %s", self.name, vpn, shown, notice.reason, extra=extra)
                settled = self.signaling.withheld(vpn, prefixes, notice.reason)
                self._retry_later()
            case NoticeKind.ADMITTED:
                log.info("gateway %s: VPN %s: %s admitted", self.name, vpn, shown, extra=extra)
                settled = self.signaling.admitted(vpn, prefixes)
            case NoticeKind.DELETED:
                log.warning("gateway %s: VPN %s was deleted there", self.name, vpn, extra=extra)
                self.signaling.deleted(vpn)
                self._owner.routes_received(self, vpn, [], True)
                self._owner.subscription_refused(self, vpn)
                self._retry_later()
            case NoticeKind.AVAILABLE:
                self.signaling.available(vpn)
        self._owner.peer_settled(self, settled)
        self.flush_soon()

    def event_received(self, event: Event) -> None:
        changes: list[tuple[Prefix, Path | None]] = []
        bad = [f"{item}: {error}" for item, error in event.bad]
        for item, entry in event.changes:
            if entry is not None and item == str(entry.prefix):
                changes.append((entry.prefix, entry.path))
            elif entry is not None:
                # A route under another name could never be retracted.
                bad.append(f"{item}: holds {entry.prefix}")
            else:
                try:
                    changes.append((Prefix.parse(item), None))
                except PrefixError as error:
                    bad.append(str(error))
        if bad:
            self.bad_items += len(bad)
            log.warning(
                "gateway %s: VPN %s: %d items can't be used, the first: %s",
                self.name,
                event.node,
                len(bad),
                bad[0],
                extra=self._fields(event.node),
            )
        self._owner.routes_received(self, event.node, changes, event.purged)
