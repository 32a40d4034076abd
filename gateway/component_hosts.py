"""Sessions of hosts that reach the gateway through an XMPP server: begun and ended by presence; no I/O.

    stanzas of hosts --handle--> ComponentHosts --> Service
    the server <--next_output--- ComponentHosts <-- Session.next_output

docs/component.md has the rules. Directed presence begins a session, since only then the server tells of its end (RFC
6121, section 4.6). A host without a session that behaves as if it had one is told by unavailable presence that it has
none, and begins again: that is how hosts find out that the gateway has been away.

All sessions share one stream. Answers go first, then each session that is owed events has its turn for one piece.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.component_guest import ASK_ID, Guest
from gateway.hosts import Hosts, Permit
from gateway.service import Refusal, Service
from gateway.session import Session
from xmpp import namespaces as ns
from xmpp.disco import Disco, is_ping
from xmpp.jid import Jid
from xmpp.liveness import Verdict
from xmpp.namespaces import split_tag
from xmpp.stanza import Condition, Kind, Stanza, StanzaError, escape, iq_error, stanza_error

_PUBSUB = f"{{{ns.PUBSUB}}}pubsub"
_SUBSCRIBE = f"{{{ns.PUBSUB}}}subscribe"
_GONE = frozenset(
    {
        Condition.GONE,
        Condition.ITEM_NOT_FOUND,
        Condition.RECIPIENT_UNAVAILABLE,
        Condition.REMOTE_SERVER_NOT_FOUND,
        Condition.SERVICE_UNAVAILABLE,
    }
)
"""Errors with which a server sends back what is for a session that it doesn't have (RFC 6121, section 8.5.3.2)."""
_CONDITIONS = {condition.value: condition for condition in Condition}
_SWEEPS = 12
"""Looks at all sessions in a hold time."""
_MAX_UNLISTED = 100
ANSWER_MAX = 500 * 1024
"""Bytes of an answer. Prosody ends a component's stream, and with it every session, at a stanza of 512 KiB."""
_EVENT = b"<message from='"
# A server keeps other messages for somebody who has gone; those of this type are dropped (RFC 6121, section 5.2.2).
_HEADLINE = b"<message type='headline' from='"


@dataclass(frozen=True, slots=True)
class ComponentRules:
    """domain: of the service; host_domains: those whose users are hosts; hold_time: silence after which a host is held
    for gone, seconds, 0: never."""

    domain: str
    host_domains: frozenset[str]
    hold_time: float = 90.0
    max_sessions: int = 10_000
    sessions_per_host: int = 8


LOST = "the XMPP server is lost"
"""Reason of every session's end at once."""


@dataclass(frozen=True, slots=True)
class Began:
    """A host has a session."""

    session: Session


@dataclass(frozen=True, slots=True)
class Ended:
    """A session is over. stale: items of the host that are stale by that."""

    session: Session
    reason: str
    stale: int


class ComponentHosts:
    """The hosts behind one server. hosts: who may do what. Times are seconds of any monotonic clock."""

    def __init__(self, service: Service, hosts: Hosts, rules: ComponentRules) -> None:
        self.hosts = hosts
        self.unlisted: dict[str, float] = {}
        """Hosts that can't be let in as configured, with when they last asked; some, when there are many."""
        self.guests: dict[Jid, Guest] = {}
        """By full JID."""
        self.waiting = 0
        """Bytes of answers that next_output() has."""
        self._service = service
        self._rules = rules
        self._domain = Jid("", rules.domain)
        self._disco = Disco(self._domain, lambda jid: (), lambda jid, node: False)
        self._answers: deque[bytes] = deque()
        self._ready: dict[Guest, None] = {}
        self._lost: dict[Jid, None] = {}
        """Who had a session when the server was lost, and isn't told yet."""
        self._events: deque[Began | Ended] = deque()
        self._refusals: list[Refusal] = []
        self._sweep_at: float | None = None

    def replace_hosts(self, hosts: Hosts) -> None:
        """Sessions that begin from now on go by these."""
        self.hosts = hosts
        self.unlisted.clear()

    # -- the stream with the server

    def attached(self, now: float) -> None:
        """There is a stream with the server: hosts that had a session before begin again."""
        for jid in self._lost:
            self._unavailable(jid)
        self._sweep_at = now + self._rules.hold_time / _SWEEPS if self._rules.hold_time else None

    def detached(self, now: float) -> None:
        """The stream is lost, and with it every session."""
        self._sweep_at = None
        self._answers.clear()
        self.waiting = 0
        for jid in list(self.guests):
            self._end(jid, LOST, now)
            self._lost[jid] = None

    def dismiss(self, now: float) -> None:
        """The gateway stops: tell every host."""
        for jid in list(self.guests):
            self._end(jid, "the gateway stops", now)
            self._unavailable(jid)

    def fault(self, jid: Jid, now: float) -> None:
        """A stanza of this JID has met an error of the gateway: its session is over."""
        if self._end(jid, "error of this gateway", now):
            self._unavailable(jid)

    def next_event(self) -> Began | Ended | None:
        """What has become of sessions."""
        return self._events.popleft() if self._events else None

    def take_refusals(self) -> list[Refusal]:
        """Who was refused since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    @property
    def held(self) -> int:
        """Hosts that must confirm what they were sent before they are sent more."""
        return sum(guest.held for guest in self.guests.values())

    # -- output

    def owed(self, sessions: list[Session]) -> None:
        """These have something to pull (Service.take_pending)."""
        for session in sessions:
            guest = self.guests.get(session.jid)
            if guest is not None:
                self._ready[guest] = None

    @property
    def pending(self) -> bool:
        """Whether next_output() may have something."""
        return bool(self._answers or self._ready)

    def next_output(self, now: float) -> bytes:
        """The next piece to send, whole stanzas; b"" when nothing can be sent now."""
        if self._answers:
            answer = self._answers.popleft()
            self.waiting -= len(answer)
            if not self._answers:
                # Not before: the server may be lost again while they are being told.
                self._lost.clear()
            return answer
        while self._ready:
            guest = next(iter(self._ready))
            # Behind the others, if it has more.
            del self._ready[guest]
            if guest.held:
                continue  # goes on with its answer
            piece = guest.session.next_output()
            if piece:
                self._ready[guest] = None
                return piece.replace(_EVENT, _HEADLINE) + guest.sent(len(piece), now)
        return b""

    def _send(self, stanza: bytes) -> None:
        if stanza:
            self._answers.append(stanza)
            self.waiting += len(stanza)

    # -- sessions

    def _admit(self, jid: Jid, now: float) -> Permit:
        """What a host may do; raises StanzaError when it isn't one, or has no place."""
        host, rules = jid.localpart, self._rules
        if not self._is_host(jid):
            raise StanzaError(Condition.FORBIDDEN, f"{jid} is no host: those are of {self._domains()}")
        permit = self.hosts.listed(host)
        if permit is None:
            text = f"host {host} has no next hops: set addresses of its [[host]] in the gateway's configuration"
            if host in self.unlisted or len(self.unlisted) < _MAX_UNLISTED:
                self.unlisted[host] = now
            raise StanzaError(Condition.FORBIDDEN, text)
        if len(self.guests) >= rules.max_sessions:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, f"{rules.max_sessions} sessions are the most")
        if self._service.connected[host] >= rules.sessions_per_host:
            text = f"host {host} has {rules.sessions_per_host} sessions, which is the most allowed"
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, text)
        return permit

    def _is_host(self, jid: Jid) -> bool:
        return bool(jid.localpart and jid.resource) and jid.domain in self._rules.host_domains

    def _domains(self) -> str:
        return ", ".join(sorted(self._rules.host_domains))

    def _begin(self, jid: Jid, now: float, *, announced: bool) -> Guest:
        permit = self._admit(jid, now)
        session = self._service.open(jid, permit, now)
        guest = Guest(session, self._domain, self._rules.hold_time, now, announced=announced)
        self.guests[jid] = guest
        self._lost.pop(jid, None)
        self._events.append(Began(session))
        return guest

    def _end(self, jid: Jid, reason: str, now: float) -> bool:
        """End the session of a JID; whether there was one."""
        guest = self.guests.pop(jid, None)
        if guest is None:
            return False
        self._ready.pop(guest, None)
        stale = self._service.close(guest.session, now)
        self._events.append(Ended(guest.session, reason, stale))
        return True

    def _unavailable(self, jid: Jid) -> None:
        self._send(self._presence(jid, " type='unavailable'"))

    def _presence(self, to: Jid, attributes: str) -> bytes:
        return f"<presence{attributes} from='{escape(str(self._domain))}' to='{escape(str(to))}'/>".encode()

    def _refuse(self, stanza: Stanza, error: StanzaError, what: str) -> None:
        self._service.counters[f"refused/{error.condition}"] += 1
        host = stanza.sender.localpart if self._is_host(stanza.sender) else str(stanza.sender)
        self._refusals.append(Refusal(host, "", what, str(error)))
        self._send(stanza_error(stanza, error))

    # -- input

    def handle(self, stanza: Stanza, now: float) -> None:
        """Do what a stanza asks, and queue the answer."""
        guest = self.guests.get(stanza.sender)
        if guest is not None:
            guest.heard(now)
        if stanza.kind is Kind.PRESENCE:
            self._on_presence(stanza, now)
        elif stanza.is_request:
            self._on_request(stanza, guest, now)
        elif stanza.kind is Kind.IQ:
            self._on_answer(stanza, guest, now)
        elif stanza.type == "error":
            if _condition(stanza) in _GONE:
                self._end(stanza.sender, "its server has sent back an event", now)
        else:
            self._send(stanza_error(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE, "no messages are taken here")))

    def _on_presence(self, stanza: Stanza, now: float) -> None:
        jid = stanza.sender
        if stanza.type == "":
            self._end(jid, "replaced by a newer session", now)
            try:
                self._begin(jid, now, announced=True)
            except StanzaError as error:
                self._refuse(stanza, error, "presence")
            else:
                self._send(self._presence(jid, f" id='{escape(stanza.id)}'" if stanza.id else ""))
        elif stanza.type == "unavailable":
            # What is said of an older session may come behind the presence of a newer one of the same JID, which then
            # has to begin again. Nobody is there to hear it otherwise.
            if self._end(jid, "closed by the host", now):
                self._unavailable(jid)
        elif stanza.type == "error":
            self._end(jid, "its server has sent back our presence", now)

    def _on_answer(self, stanza: Stanza, guest: Guest | None, now: float) -> None:
        if guest is None or not stanza.id.startswith(ASK_ID):
            return
        gone = stanza.type == "error" and _condition(stanza) in _GONE
        # A client that doesn't know pings may say service-unavailable; so does a server whose client is gone, but that
        # one has told so before if it knew of us by presence.
        if gone and not guest.announced:
            self._end(stanza.sender, "its server has sent back a ping", now)
            return
        question = guest.answered(stanza.id, now)
        if question is not None:
            self._send(question)
            self._ready[guest] = None

    def _on_request(self, stanza: Stanza, guest: Guest | None, now: float) -> None:
        if stanza.to != self._domain:
            text = f"{stanza.to} is not served here, but {self._domain} is"
            self._send(iq_error(stanza, StanzaError(Condition.SERVICE_UNAVAILABLE, text)))
            return
        if guest is None:
            try:
                guest = self._without_session(stanza, now)
            except StanzaError as error:
                self._refuse(stanza, error, "request")
                return
            if guest is None:
                return
        self._service.handle(guest.session, stanza, now)
        # Answers are counted here as long as they wait for the stream, whoever they are for.
        while reply := guest.session.next_reply():
            if len(reply) > ANSWER_MAX:
                text = f"the answer has {len(reply)} bytes, more than a component may send"
                reply = iq_error(stanza, StanzaError(Condition.RESOURCE_CONSTRAINT, text))
            self._send(reply)
        if guest.session.pending:
            self._ready[guest] = None

    def _without_session(self, stanza: Stanza, now: float) -> Guest | None:
        """A request of somebody without a session: the one that it begins, or None when it is answered.

        Raises StanzaError.
        """
        is_host = self._is_host(stanza.sender)
        # The answer to a ping of a host means that it has been sent the whole table, which it hasn't.
        if not (is_host and is_ping(stanza)) and (answer := self._disco.answer(stanza)) is not None:
            self._send(answer)
            return None
        if not is_host:
            raise StanzaError(Condition.FORBIDDEN, f"{stanza.sender} is no host: those are of {self._domains()}")
        payload = stanza.payload
        action = next(iter(payload), None) if payload is not None and payload.tag == _PUBSUB else None
        guest = None
        if action is not None and action.tag == _SUBSCRIBE and stanza.type == "set":
            guest = self._begin(stanza.sender, now, announced=False)
        # A host that had a session with a gateway before this one takes that as its end; others don't look at it.
        self._unavailable(stanza.sender)
        if guest is None:
            error = StanzaError(Condition.UNEXPECTED_REQUEST, f"begin a session by presence to {self._domain}")
            self._send(iq_error(stanza, error))
        return guest

    # -- time

    def timer(self) -> float | None:
        """When to call handle_timer(); None: not at all."""
        return self._sweep_at

    def handle_timer(self, now: float) -> None:
        """Ask who is silent, give up who stays so."""
        if self._sweep_at is None or now < self._sweep_at:
            return
        self._sweep_at = now + self._rules.hold_time / _SWEEPS
        for jid, guest in list(self.guests.items()):
            verdict, question = guest.judge(now)
            self._send(question)
            if verdict is Verdict.DEAD:
                self._end(jid, "nothing was heard or read for too long", now)
                self._unavailable(jid)


def _condition(stanza: Stanza) -> Condition | None:
    """The condition of an error that was received."""
    for child in stanza.element:
        if split_tag(child.tag)[1] == "error":
            for detail in child:
                namespace, name = split_tag(detail.tag)
                if namespace == ns.STANZA_ERRORS and name in _CONDITIONS:
                    return _CONDITIONS[name]
    return None
