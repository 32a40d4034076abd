"""The publish-subscribe service of a gateway: stanzas of sessions in, answers and events out; no I/O.

Sessions are opened and closed, stanzas handled, timers expired; each call may change tables, after which
take_pending() names the sessions that have something to pull (Session.next_output). Whatever one session does, others
see only routes. Every refusal is answered, counted and noted for the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from gateway.admission import Admission
from gateway.awaited import Awaited
from gateway.hosts import Permit
from gateway.item_cache import ItemCache
from gateway.policy import Policy
from gateway.publishing import check_publish, check_retract
from gateway.retrieval import retrieve
from gateway.rib import Rib
from gateway.session import Feed, Session, Subscription
from xmpp import pubsub
from xmpp.disco import Disco, is_ping
from xmpp.end_of_items import read_end_of_items
from xmpp.jid import Jid
from xmpp.notices import Notice, NoticeKind, encode_notice
from xmpp.stanza import Condition, ErrorType, Kind, Stanza, StanzaError, iq_error, iq_result, stanza_error


@dataclass(frozen=True, slots=True)
class Limits:
    """Quotas of a host."""

    items: int = 10_000
    """Published items, all VPNs together, stale ones included."""
    subscriptions: int = 4096
    """VPNs a session may be subscribed to."""


class Refusal(NamedTuple):
    """A stanza was refused: for the log. request: what it asked ("publish"); vpn: "" when it named none."""

    host: str
    vpn: str
    request: str
    reason: str


class _Repeated(StanzaError):
    """The same was refused before, and has been logged."""


class Service:
    """The service core. domain: the gateway's address; times are seconds of any monotonic clock."""

    def __init__(self, domain: str, rib: Rib, limits: Limits | None = None) -> None:
        self.domain = Jid.of("", domain)
        self.rib = rib
        self.limits = limits or Limits()
        self.sessions: dict[int, Session] = {}
        self.suspended: dict[int, Session] = {}
        """Sessions that have lost their stream and may be resumed, oldest first (gateway.resumption)."""
        self.admission = Admission(rib, self._session)
        self.connected: Counter[str] = Counter()
        """Number of sessions by host, of those that have any."""
        self.counters: Counter[str] = Counter()
        """"publish", "retract", "item", "refused/CONDITION", ... since the start."""
        self.joins = 0
        """Grows whenever a VPN gets its first subscriber or loses its last one (see joined())."""
        self._by_jid: dict[Jid, Session] = {}
        self._feeds: dict[str, Feed] = {}
        self._items = ItemCache()
        self._changed: dict[Feed, None] = {}
        """Those whose tables have changed since they were announced."""
        self._warm: dict[Feed, None] = {}
        """Those that keep messages."""
        self._refusals: list[Refusal] = []
        self._awaited = Awaited()
        self._told: dict[Session, None] = {}
        """Sessions with notices since the last call of take_pending()."""
        self._next_number = 1
        self._disco = Disco(self.domain, self._visible, self._sees)

    # -- sessions

    def session_of(self, jid: Jid) -> Session | None:
        """The session with this full JID."""
        return self._by_jid.get(jid)

    def open(self, jid: Jid, permit: Permit, now: float) -> Session:
        """A session was bound. The caller has closed any other of the same JID: the newest wins."""
        session = Session(self._next_number, jid, permit, now, self.domain)
        self._next_number += 1
        self._enter(session)
        self.rib.session_started(session.host, now)
        return session

    def _session(self, number: int) -> Session | None:
        return self.sessions.get(number) or self.suspended.get(number)

    def _enter(self, session: Session) -> None:
        self.sessions[session.number] = session
        self._by_jid[session.jid] = session
        self.connected[session.host] += 1

    def _leave(self, session: Session) -> bool:
        if self.sessions.pop(session.number, None) is None:
            return False
        self.connected[session.host] -= 1
        if not self.connected[session.host]:
            del self.connected[session.host]
        if self._by_jid.get(session.jid) is session:
            del self._by_jid[session.jid]
        return True

    def suspend(self, session: Session, now: float) -> int:
        """A session has lost its stream and may be resumed; how many of the host's items are stale meanwhile."""
        if not self._leave(session):
            return 0
        self.suspended[session.number] = session
        for subscription in session.subscriptions.values():
            subscription.feed.subscribers.pop(session)
            subscription.feed.suspended.add(session)
        return self.rib.session_ended(session.host, session.number, now)

    def resume(self, session: Session, now: float) -> None:
        """A suspended session has a stream again: what it has published is fresh, as if it had published it again."""
        del self.suspended[session.number]
        self._enter(session)
        for subscription in session.subscriptions.values():
            subscription.feed.suspended.remove(session)
            subscription.feed.subscribers[session] = subscription
        self.rib.session_resumed(session.host, session.number, now)

    def close(self, session: Session, now: float) -> int:
        """A session has ended, suspended or not; how many of the host's items are stale by that."""
        if not self._leave(session) and self.suspended.pop(session.number, None) is None:
            return 0
        for vpn in list(session.subscriptions):
            self._unsubscribe(session, vpn)
        self._awaited.close(session)
        self.admission.session_ended(session.number)
        return self.rib.session_ended(session.host, session.number, now)

    def subscribers(self, vpn: str) -> set[str]:
        """Hosts that are subscribed to a VPN."""
        feed = self._feeds.get(vpn)
        return {session.host for session in feed.subscribers} if feed is not None else set()

    def joined(self) -> Collection[str]:
        """VPNs that have at least one subscriber."""
        return self._feeds.keys()

    def take_pending(self) -> list[Session]:
        """Sessions with something to pull because of changes since the last call."""
        told, self._told = {**self._told, **self.admission.take_told()}, {}
        sessions = {session: None for session in told if session.number in self.sessions}
        changed = list(self._changed)
        self._changed.clear()
        for feed in changed:
            if feed.announce():
                for session, subscription in feed.subscribers.items():
                    session.fell_behind(subscription)
                    sessions[session] = None
        return list(sessions)

    def forget_serialised(self) -> None:
        """All who were pending have pulled: drop the messages kept for sharing."""
        for feed in self._warm:
            feed.forget()
        self._warm.clear()

    def take_refusals(self) -> list[Refusal]:
        """What was refused since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    # -- timers and policy

    def timer(self) -> float | None:
        """When expire() is to be called next."""
        return self.rib.timer()

    def expire(self, now: float) -> list[tuple[str, int]]:
        """Delete what is stale for too long: (host, number of items)."""
        return self.rib.expire(now)

    def reload(self, policy: Policy) -> None:
        """Take new VPNs and route targets in place. Who has to do with a VPN that is gone is told so, and so is who has
        waited for one that is there now; nobody loses a session."""
        for name in [name for name in self.rib.tables if name not in policy.vpns]:
            self._vpn_gone(name)
        fresh = [name for name in policy.vpns if name not in self.rib.tables]
        self.rib.reload(policy)
        for name in fresh:
            for session in self._awaited.take(name):
                self._tell(session, NoticeKind.AVAILABLE, name)

    def _vpn_gone(self, vpn: str) -> None:
        """Ends what sessions have in a VPN; its items go with its table."""
        feed = self._feeds.get(vpn)
        concerned = dict.fromkeys((*feed.subscribers, *feed.suspended) if feed is not None else ())
        for session in concerned:
            self._unsubscribe(session, vpn)
        gone = map(self._session, self.admission.vpn_gone(vpn))
        concerned.update((session, None) for session in gone if session is not None)
        hosts = {*self.rib.publishing(vpn)} - {session.host for session in concerned}
        if hosts:
            # They publish without listening.
            everybody = (*self.sessions.values(), *self.suspended.values())
            concerned.update((session, None) for session in everybody if session.host in hosts)
        for session in concerned:
            session.notices.drop(vpn)
            self._tell(session, NoticeKind.DELETED, vpn)
            self._awaited.note(session, vpn, self.limits.subscriptions)

    def _tell(self, session: Session, kind: NoticeKind, vpn: str) -> None:
        session.reply(encode_notice(self.domain, session.jid, Notice(kind, vpn)))
        self._told[session] = None

    # -- stanzas

    def handle(self, session: Session, stanza: Stanza, now: float) -> None:
        """Do what a stanza asks, and queue the answer."""
        self._items.tick(now)
        if not stanza.is_request:
            if stanza.kind is Kind.MESSAGE and stanza.type != "error":
                error = StanzaError(Condition.SERVICE_UNAVAILABLE, "this server takes no messages")
                session.reply(stanza_error(stanza, error))
            return
        try:
            self._request(session, stanza)
        except StanzaError as error:
            self._refuse(session, stanza, error)

    def _refuse(self, session: Session, stanza: Stanza, error: StanzaError) -> None:
        self.counters[f"refused/{error.condition}"] += 1
        name, node = "iq", ""
        payload = stanza.payload
        if payload is not None:
            action = next(iter(payload), payload)
            name, node = action.tag.rpartition("}")[2][:32], action.get("node", "")[: pubsub.NODE_MAX]
        if not isinstance(error, _Repeated):
            self._refusals.append(Refusal(session.host, node, name, str(error)))
        session.reply(iq_error(stanza, error))

    def _request(self, session: Session, stanza: Stanza) -> None:
        if stanza.to is not None and stanza.to != self.domain and stanza.to != session.jid.bare:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE, f"{stanza.to} is not served here, but {self.domain} is")
        if is_ping(stanza):
            session.reply_after_events(iq_result(stanza))
            return
        if (answer := self._disco.answer(stanza)) is not None:
            session.reply(answer)
            return
        if (ended := read_end_of_items(stanza)) is not None:
            self._end_of_items(session, ended)
            session.reply(iq_result(stanza))
            return
        if not pubsub.is_request(stanza):
            raise StanzaError(Condition.SERVICE_UNAVAILABLE, "this kind of request is not served here")
        request = pubsub.parse_request(stanza)
        match request:
            case pubsub.Subscribe():
                payload = self._subscribe(session, request)
            case pubsub.Unsubscribe():
                payload = self._unsubscribe_request(session, request)
            case pubsub.Publish():
                payload = self._publish(session, request)
            case pubsub.Retract():
                payload = self._retract(session, request)
            case pubsub.Items():
                self._check_vpn(session, request.node)
                payload = retrieve(self.rib.tables[request.node], request)
            case pubsub.Subscriptions():
                payload = self._subscriptions(session, request)
            case pubsub.Affiliations():
                payload = self._affiliations(session, request)
            case pubsub.OptionsGet():
                subscription = self._subscribed(session, request.node, request.jid)
                payload = pubsub.options_result(request.node, request.jid, subscription.instance_id)
            case pubsub.OptionsSet():
                self._subscribed(session, request.node, request.jid)
                if not request.cancelled:
                    self._set_instance(session, request.node, request.instance_id)
                payload = b""
            case _:
                assert_never(request)
        session.reply(iq_result(stanza, payload))

    def _check_vpn(self, session: Session, vpn: str, *, wanted: bool = False) -> None:
        """Raises StanzaError unless the VPN is there for the session. wanted: tell it when it comes."""
        if vpn not in self.rib.tables:
            if wanted and session.permit.allows_vpn(vpn):
                self._awaited.note(session, vpn, self.limits.subscriptions)
            raise StanzaError(Condition.ITEM_NOT_FOUND, f"there is no VPN {vpn!r} at this gateway")
        if not session.permit.allows_vpn(vpn):
            raise StanzaError(Condition.FORBIDDEN, f"host {session.host} may not join VPN {vpn!r}")

    def _check_jid(self, session: Session, jid: Jid) -> None:
        if jid not in (session.jid, session.jid.bare):
            text = f"{jid} is not the address of this session, {session.jid}"
            raise StanzaError(Condition.BAD_REQUEST, text, app="invalid-jid")

    def _visible(self, jid: Jid) -> Iterator[str]:
        session = self._by_jid.get(jid)
        return (name for name in sorted(self.rib.tables) if session is not None and session.permit.allows_vpn(name))

    def _sees(self, jid: Jid, vpn: str) -> bool:
        session = self._by_jid.get(jid)
        return vpn in self.rib.tables and session is not None and session.permit.allows_vpn(vpn)

    # -- subscriptions

    def _subscribe(self, session: Session, request: pubsub.Subscribe) -> bytes:
        self._check_vpn(session, request.node, wanted=True)
        self._check_jid(session, request.jid)
        subscription = session.subscriptions.get(request.node)
        if subscription is not None:
            self._set_instance(session, request.node, request.instance_id)
        elif len(session.subscriptions) >= self.limits.subscriptions:
            text = f"host {session.host} has {self.limits.subscriptions} subscriptions, which is the most allowed"
            raise StanzaError(Condition.POLICY_VIOLATION, text, app="too-many-subscriptions")
        else:
            feed = self._feeds.get(request.node)
            if feed is None:
                table = self.rib.tables[request.node]
                feed = Feed(self.domain, request.node, table, self._items, self._changed, self._warm)
                feed.announce()
                self._feeds[request.node] = feed
                self.joins += 1
            subscription = Subscription(feed, request.jid)
            session.subscriptions[request.node] = feed.subscribers[session] = subscription
            if session.recoverable:
                subscription.keep()
            session.fell_behind(subscription)
            self._set_instance(session, request.node, request.instance_id)
            self.counters["subscribe"] += 1
        return pubsub.subscription_result(request.node, request.jid)

    def _set_instance(self, session: Session, vpn: str, instance_id: int | None) -> None:
        session.subscriptions[vpn].instance_id = instance_id
        if instance_id is not None:
            self.rib.set_instance(vpn, session.host, instance_id)

    def _subscribed(self, session: Session, vpn: str, jid: Jid, absent: ErrorType = ErrorType.MODIFY) -> Subscription:
        """The session's subscription; absent: type of the error when there is none (XEP-0060: `modify` in section
        6.3.3.2, `cancel` in 6.2.3.2). Whose it isn't is `forbidden` (6.2.3.3, 6.3.3.1)."""
        self._check_vpn(session, vpn)
        if jid not in (session.jid, session.jid.bare):
            raise StanzaError(Condition.FORBIDDEN, f"the subscription of {jid} is not that of {session.jid}")
        subscription = session.subscriptions.get(vpn)
        if subscription is None:
            text = f"this session is not subscribed to {vpn!r}"
            raise StanzaError(Condition.UNEXPECTED_REQUEST, text, type=absent, app="not-subscribed")
        return subscription

    def _unsubscribe_request(self, session: Session, request: pubsub.Unsubscribe) -> bytes:
        self._subscribed(session, request.node, request.jid, ErrorType.CANCEL)
        self._unsubscribe(session, request.node)
        self.counters["unsubscribe"] += 1
        return b""

    def _unsubscribe(self, session: Session, vpn: str) -> None:
        subscription = session.subscriptions.pop(vpn)
        subscription.cursor.close()
        feed = subscription.feed
        feed.subscribers.pop(session, None)
        feed.suspended.discard(session)
        if not feed.subscribers and not feed.suspended:
            self._feeds.pop(vpn).close()
            self.joins += 1

    def _subscriptions(self, session: Session, request: pubsub.Subscriptions) -> bytes:
        if request.node is not None:
            self._check_vpn(session, request.node)
        wanted = [s for s in session.subscriptions.values() if request.node in (None, s.feed.vpn)]
        return pubsub.subscriptions_result(((s.feed.vpn, s.jid) for s in wanted), request.node)

    def _affiliations(self, session: Session, request: pubsub.Affiliations) -> bytes:
        if request.node is not None:
            self._check_vpn(session, request.node)
            return pubsub.affiliations_result([request.node], request.node)
        return pubsub.affiliations_result(self._visible(session.jid))

    # -- items

    def _publish(self, session: Session, request: pubsub.Publish) -> bytes:
        self._check_vpn(session, request.node, wanted=True)
        checked = check_publish(self.rib, self.admission.withheld, session, request, self.limits.items)
        forbidden = self.admission.refuse(session, request.node, checked)
        if forbidden is not None:
            raise (_Repeated if forbidden.repeated else StanzaError)(Condition.FORBIDDEN, forbidden.text)
        subscription = session.subscriptions.get(request.node)
        instance = subscription.instance_id if subscription is not None else None
        for item_id, (prefix, path, attachment) in checked.items():
            self.rib.publish(
                request.node, session.host, item_id, prefix, path, session.number, instance, attachment=attachment
            )
        self.counters["publish"] += 1
        self.counters["item"] += len(checked)
        return pubsub.publish_result(request.node, checked)

    def _retract(self, session: Session, request: pubsub.Retract) -> bytes:
        self._check_vpn(session, request.node)
        check_retract(self.rib, self.admission.withheld, session, request)
        for item_id in request.ids:
            self.admission.retract(session, request.node, item_id)
        self.counters["retract"] += len(request.ids)
        return b""

    def _end_of_items(self, session: Session, vpn: str) -> None:
        """What an earlier session has left isn't there any more; unless another one may still publish it again."""
        self._check_vpn(session, vpn)
        host, alone = session.host, self.connected[session.host] == 1
        if self.rib.stale(host) and alone and all(one.host != host for one in self.suspended.values()):
            self.rib.end_of_items(vpn, host)
        self.counters["end_of_items"] += 1
