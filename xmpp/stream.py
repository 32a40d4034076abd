"""The server's side of an XMPP stream (RFC 6120), without I/O.

Bytes and the time go in, bytes, events and a deadline come out: the shell around it moves bytes between a transport and
this object, and decides what the events ask.

    header, features -> STARTTLS -> header, features -> SASL -> header, features -> bind -> stanzas -> close
                        TlsRequested                    Authenticated            BindRequested, SessionStarted
                                                                                 or ResumeRequested

At each of the questions to the shell the stream stands still: bytes received meanwhile wait, up to the limit of a
stanza. Acknowledgement and resumption: xmpp.stream_management.
"""

from __future__ import annotations

import base64
import enum
from collections import deque
from xml.etree.ElementTree import Element

from xmpp import fragments, intake, opening, stream_management
from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError
from xmpp.events import (
    Acknowledged,
    Authenticated,
    BindRequested,
    EnableRequested,
    Event,
    ResumeRequested,
    SessionStarted,
    StanzaReceived,
    StreamClosed,
    StreamConfig,
    TlsRequested,
)
from xmpp.jid import Jid, JidError
from xmpp.liveness import Keepalive, Liveness, Verdict
from xmpp.namespaces import split_tag
from xmpp.parser import WAITING_WEIGHT, End, Header, StreamParser
from xmpp.sasl import Challenge, SaslCondition, SaslError, SaslServer, Success
from xmpp.stanza import Condition, Kind, Stanza, StanzaError, iq_error, iq_result, ping, stanza_error
from xmpp.stream_management import Management

_STREAM_ERROR = f"{{{ns.STREAMS}}}error"
_STARTTLS = f"{{{ns.TLS}}}starttls"
_BIND = f"{{{ns.BIND}}}bind"
_RESOURCE = f"{{{ns.BIND}}}resource"
_SESSION = f"{{{ns.SESSION}}}session"
_STREAM_ID_OCTETS = 15
_RESOURCE_OCTETS = 9
_PING_ID = "vw-ping-"


class _Wait(enum.Enum):
    """What the stream waits for the shell to decide."""

    TLS = enum.auto()
    AUTH = enum.auto()
    BIND = enum.auto()
    RESUME = enum.auto()
    ENABLE = enum.auto()


class _Life(enum.Enum):
    """OPEN; CLOSING: our end tag is sent, the peer's awaited; CLOSED: StreamClosed was reported."""

    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


class ServerStream:
    """One client connection.

    config: settings; now: the time (any monotonic clock, seconds); secure: the transport is TLS already (direct TLS),
    else STARTTLS is required; identities: bare JIDs that the client's valid certificate names (SASL EXTERNAL is offered
    only when there are some in the domain served); tls_available: whether STARTTLS can succeed.
    """

    def __init__(
        self,
        config: StreamConfig,
        now: float,
        *,
        secure: bool = False,
        identities: tuple[Jid, ...] = (),
        tls_available: bool = True,
    ) -> None:
        self._config = config
        self._domain = Jid("", config.domain)
        self._secure = secure
        self._tls_available = tls_available
        self._parser = StreamParser(config.stanza_max_unauthenticated)
        self._output: list[bytes] = []
        self._events: deque[Event] = deque()
        self._life = _Life.OPEN
        self._wait: _Wait | None = None
        self._header_sent = False
        self._sasl = self._new_sasl(identities)
        self._sasl_failures = 0
        self._success: Success | None = None
        self._jid: Jid | None = None
        self._bind_request: tuple[Stanza, Jid] | None = None
        self._bound = False
        self._management: Management | None = None
        self._deadline: float | None = now + config.login_timeout
        self._liveness = Liveness(config.hold_time, now)
        self._keepalive = Keepalive(config.keepalive, now)
        self._pings_sent = 0

    def _new_sasl(self, identities: tuple[Jid, ...]) -> SaslServer:
        config = self._config
        ours = tuple(jid.bare for jid in identities if jid.domain == config.domain and jid.localpart)
        return SaslServer(config.domain, ours, config.scram_keys, config.scram_secret, config.random)

    # What the shell asks.

    @property
    def jid(self) -> Jid | None:
        """The full JID once bound, the bare one once authenticated, else None."""
        return self._jid

    @property
    def closed(self) -> bool:
        """Whether StreamClosed was reported (or waits in next_event)."""
        return self._life is _Life.CLOSED

    @property
    def held(self) -> int:
        """Bytes of memory, about, that what was received and is not handled takes."""
        return self._parser.held + WAITING_WEIGHT * len(self._events)

    def data_to_send(self) -> bytes:
        """Bytes to send now, taken out of the queue; b"" when there are none."""
        if not self._output:
            return b""
        data = b"".join(self._output)
        self._output.clear()
        self._keepalive.sent()
        return data

    def next_event(self) -> Event | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    # Input.

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the peer; never raises on what they hold."""
        if self._life is _Life.CLOSED or not data:
            return
        self._liveness.heard(now)
        if self._wait is _Wait.TLS:
            # Plaintext behind <starttls/>: an attempt at injection (RFC 6120, section 5.3.2), nothing to say to it.
            self._finish(StreamCondition.POLICY_VIOLATION, "plaintext after <starttls/>", by_peer=False)
            return
        self._parser.feed(data)
        self._pump(now)

    def receive_eof(self, now: float) -> None:
        """The transport has ended (closed by the peer or lost)."""
        if self._life is not _Life.CLOSED:
            lost = self._life is _Life.OPEN
            self._finish(None, "the connection was lost" if lost else "", by_peer=lost, lost=lost)

    def _pump(self, now: float) -> None:
        try:
            while self._wait is None and self._life is not _Life.CLOSED:
                item = self._parser.next()
                if item is None:
                    return
                if isinstance(item, Element):
                    self._on_element(item, now)
                elif isinstance(item, Header):
                    self._on_header(item)
                else:
                    self._on_end(item)
            if self._wait is not None and self._parser.pending > self._parser.stanza_max:
                raise StreamError(StreamCondition.POLICY_VIOLATION, "too much was sent ahead")
        except StreamError as error:
            self._fail(error)

    def _on_header(self, header: Header) -> None:
        if self._life is _Life.CLOSING:
            return
        self._send_header(opening.client_address(header), opening.language(header))
        opening.check(header, self._config.domain, self._jid)
        self._send_features()

    def _send_header(self, to: str = "", language: str = opening.DEFAULT_LANGUAGE) -> None:
        stream_id = base64.urlsafe_b64encode(self._config.random(_STREAM_ID_OCTETS)).decode()
        self._output.append(fragments.header(stream_id, self._config.domain, to, language))
        self._header_sent = True

    def _send_features(self) -> None:
        if not self._secure:
            self._output.append(fragments.FEATURES_STARTTLS)
        elif self._jid is not None:
            self._output.append(fragments.FEATURES_BIND)
        elif self._sasl.mechanisms:
            self._output.append(fragments.features_sasl(self._sasl.mechanisms))
        else:
            raise StreamError(
                StreamCondition.NOT_AUTHORIZED,
                "no client certificate that names an address of this domain was presented",
            )

    def _on_end(self, _end: End) -> None:
        by_peer = self._life is _Life.OPEN
        if by_peer:
            self._output.append(fragments.FOOTER)
        self._finish(None, "", by_peer=by_peer)

    def _on_element(self, element: Element, now: float) -> None:
        if element.tag == _STREAM_ERROR:
            self._on_stream_error(element)
        elif self._life is _Life.CLOSING:
            return
        elif element.tag in stream_management.NAMES:
            self._on_management(element)
        elif self._bound:
            self._on_stanza(element)
        elif element.tag.startswith(f"{{{ns.CLIENT}}}"):
            self._on_early_stanza(element)
        elif element.tag == _STARTTLS and not self._secure:
            self._on_starttls()
        elif element.tag.startswith(f"{{{ns.SASL}}}") and self._jid is None:
            self._on_sasl(split_tag(element.tag)[1], element, now)
        else:
            raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this element is not expected here")

    def _on_stream_error(self, element: Element) -> None:
        condition, text = fragments.read_stream_error(element)
        if self._life is _Life.OPEN:
            self._output.append(fragments.FOOTER)
        self._finish(condition, text, by_peer=True)

    # STARTTLS (section 5).

    def _on_starttls(self) -> None:
        if not self._tls_available:
            self._output += [fragments.TLS_FAILURE, fragments.FOOTER]
            self._finish(None, "TLS is not available", by_peer=False)
            return
        if not self._parser.idle:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "plaintext after <starttls/>")
        self._output.append(fragments.PROCEED)
        self._wait = _Wait.TLS
        self._events.append(TlsRequested())

    def tls_started(self, now: float, identities: tuple[Jid, ...] = ()) -> None:
        """TLS is in place after TlsRequested; identities: bare JIDs of the client's valid certificate."""
        if not self._answered(_Wait.TLS):
            return
        self._secure = True
        self._sasl = self._new_sasl(identities)
        # Nothing learnt before TLS is kept (section 5.4.3.3).
        self._parser = StreamParser(self._config.stanza_max_unauthenticated)
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._header_sent = False
        self._pump(now)

    def _answered(self, wait: _Wait) -> bool:
        """Whether the shell's answer still counts; raises RuntimeError when nothing was asked."""
        if self._life is not _Life.OPEN:
            return False
        if self._wait is not wait:
            raise RuntimeError(f"the stream doesn't wait for {wait.name}")
        self._wait = None
        return True

    # SASL (section 6).

    def _on_sasl(self, name: str, element: Element, now: float) -> None:
        payload = element.text or ""
        try:
            if not self._secure:
                raise SaslError(SaslCondition.ENCRYPTION_REQUIRED)
            if name == "auth":
                step = self._sasl.start(element.get("mechanism", ""), payload)
            elif name == "response":
                step = self._sasl.respond(payload)
            elif name == "abort":
                self._sasl.abort()
                raise SaslError(SaslCondition.ABORTED)
            else:
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE, "this element is not expected here")
        except SaslError as error:
            self._sasl_failure(error.condition, error.text)
            return
        if isinstance(step, Challenge):
            self._output.append(fragments.challenge(base64.b64encode(step.data).decode()))
        else:
            self._success = step
            self._wait = _Wait.AUTH
            self._events.append(Authenticated(step.jid, step.mechanism))

    def _sasl_failure(self, condition: SaslCondition, text: str) -> None:
        self._output.append(fragments.sasl_failure(condition, text))
        self._sasl_failures += 1
        if self._sasl_failures >= self._config.sasl_attempts:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many failed attempts")

    def accept_auth(self, now: float) -> None:
        """Let the peer of the Authenticated event in."""
        if self._answered(_Wait.AUTH) and self._success is not None:
            self._jid = self._success.jid
            self._output.append(fragments.success(base64.b64encode(self._success.data).decode()))
            self._parser.stanza_max = self._config.stanza_max
            self._parser.restart()
            self._restart(now)

    def reject_auth(self, now: float, condition: str = SaslCondition.NOT_AUTHORIZED, text: str = "") -> None:
        """Refuse it with a SASL failure condition (section 6.5), e.g. "account-disabled"."""
        failure = SaslCondition(condition)
        if self._answered(_Wait.AUTH):
            self._success = None
            try:
                self._sasl_failure(failure, text)
            except StreamError as error:
                self._fail(error)
            else:
                self._pump(now)

    # Resource binding (section 7).

    def _on_early_stanza(self, element: Element) -> None:
        bind = next(iter(element), None)
        kind = split_tag(element.tag)[1]
        if self._jid is None or bind is None or bind.tag != _BIND or kind != Kind.IQ or element.get("type") != "set":
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "log in and bind a resource first")
        request = Stanza(Kind.IQ, "set", element.get("id", ""), self._jid, None, element)
        try:
            self._bind_request = (request, self._wanted(request, bind))
        except StanzaError as error:
            self._output.append(iq_error(request, error))
        else:
            self._wait = _Wait.BIND
            self._events.append(BindRequested(self._bind_request[1]))

    def _wanted(self, request: Stanza, bind: Element) -> Jid:
        """The full JID a bind request is for; raises StanzaError."""
        if not request.id:
            raise StanzaError(Condition.BAD_REQUEST, "an IQ has no id")
        resource = (bind.findtext(_RESOURCE) or "").strip(" \t\r\n")
        if not resource:
            resource = base64.urlsafe_b64encode(self._config.random(_RESOURCE_OCTETS)).decode()
        try:
            return request.sender.with_resource(resource)
        except JidError as error:
            raise StanzaError(Condition.BAD_REQUEST, str(error)) from None

    def accept_bind(self, now: float) -> None:
        """Bind the JID of the BindRequested event; SessionStarted follows."""
        if self._answered(_Wait.BIND) and self._bind_request is not None:
            request, self._jid = self._bind_request
            self._output.append(fragments.bind_result(request.id, str(self._jid)))
            self._events.append(SessionStarted(self._jid))
            self._begin(now)

    def _begin(self, now: float) -> None:
        """The session is there: stanzas from now on."""
        self._bound = True
        self._deadline = None
        self._parser.bulk = True
        self._liveness.heard(now)
        self._pump(now)

    def reject_bind(self, now: float, error: StanzaError) -> None:
        """Refuse it; the peer may ask again."""
        if self._answered(_Wait.BIND) and self._bind_request is not None:
            self._output.append(iq_error(self._bind_request[0], error))
            self._pump(now)

    # Acknowledgement and resumption (XEP-0198).

    def _on_management(self, element: Element) -> None:
        management = self._management
        kind = stream_management.NAMES[element.tag]
        if kind == "r" and management is not None:
            self._output.append(stream_management.answer(management))
        elif kind == "a" and management is not None:
            marks = management.outbox.acknowledge(stream_management.read_count(element))
            if marks:
                self._events.append(Acknowledged(tuple(marks)))
        elif kind == "enable" and self._bound and management is None:
            self._wait = _Wait.ENABLE
            self._events.append(EnableRequested(stream_management.read_enable(element)))
        elif kind == "resume" and self._jid is not None and not self._bound:
            resume = stream_management.read_resume(element)
            if resume is None:
                self._output.append(stream_management.failed(Condition.BAD_REQUEST))
            else:
                self._wait = _Wait.RESUME
                self._events.append(ResumeRequested(self._jid, *resume))
        else:
            # The order of things is the server's to enforce, and the stream goes on (section 3).
            self._output.append(stream_management.failed(Condition.UNEXPECTED_REQUEST))

    def accept_enable(self, now: float, management: Management) -> None:
        """Count from here on, after EnableRequested. What the caller sends is to be noted in the outbox."""
        if self._answered(_Wait.ENABLE):
            self._management = management
            self._output.append(stream_management.enabled(management))
            self._pump(now)

    def accept_resume(self, now: float, jid: Jid, management: Management) -> None:
        """Go on with the session of this full JID, after ResumeRequested; what the peer lacks the caller sends."""
        if self._answered(_Wait.RESUME):
            self._jid = jid
            self._management = management
            self._output.append(stream_management.resumed(management))
            self._begin(now)

    def reject_resume(self, now: float, handled: int | None = None) -> None:
        """There is no such session to be had; handled: how many of its stanzas had come, when that is known."""
        if self._answered(_Wait.RESUME):
            self._output.append(stream_management.failed(Condition.ITEM_NOT_FOUND, handled))
            self._pump(now)

    def _reply(self, stanza: bytes) -> None:
        """Send a stanza of the stream's own."""
        if self._management is not None:
            self._management.outbox.keep(stanza)
        self._output.append(stanza)

    # Stanzas (section 8).

    def _on_stanza(self, element: Element) -> None:
        assert self._jid is not None
        if self._management is not None:
            self._management.received()
        try:
            stanza = intake.check(element, self._jid)
        except intake.Refused as refused:
            if refused.answered:
                self._reply(stanza_error(refused.stanza, refused.error))
            return
        if stanza.kind is Kind.IQ and self._handled_here(stanza):
            return
        self._events.append(StanzaReceived(stanza))

    def _handled_here(self, iq: Stanza) -> bool:
        payload = iq.payload
        if not iq.is_request:
            return iq.id.startswith(_PING_ID)
        if payload is not None and iq.type == "set" and (iq.to is None or iq.to == self._domain):
            if payload.tag == _SESSION:
                self._reply(iq_result(iq))
                return True
            if payload.tag == _BIND:
                self._reply(iq_error(iq, StanzaError(Condition.NOT_ALLOWED, "a resource is bound already")))
                return True
        return False

    def send_stanza(self, stanza: bytes) -> None:
        """Queue a whole stanza (or several); dropped silently once the stream is closing.

        With an outbox the caller has noted there what it is. Raises RuntimeError before the session has started.
        """
        if self._life is _Life.OPEN:
            if not self._bound:
                raise RuntimeError("no session yet")
            self._output.append(stanza)
            if self._management is not None:
                outbox = self._management.outbox
                if outbox.sent >= outbox.ask_at and outbox.ask():
                    self._output.append(stream_management.REQUEST)

    # Time.

    def get_timer(self) -> float | None:
        """The time at which handle_timer() wants to be called; None: not at all."""
        if self._life is _Life.CLOSED:
            return None
        if self._deadline is not None:
            return self._deadline
        return min((due for due in (self._liveness.timer(), self._keepalive.timer()) if due is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due: login deadline, ping after silence, hold time, keepalive, end of the close handshake."""
        due = self.get_timer()
        if due is None or now < due:
            return
        if self._life is _Life.CLOSING:
            self._finish(None, "the peer didn't close its stream", by_peer=False)
        elif self._jid is None or not self._bound:
            self._fail(StreamError(StreamCondition.CONNECTION_TIMEOUT, "the login took too long"))
        else:
            verdict = self._liveness.judge(now)
            if verdict is Verdict.DEAD:
                self._fail(StreamError(StreamCondition.CONNECTION_TIMEOUT, "nothing was heard for too long"), lost=True)
                return
            if verdict is Verdict.PING:
                self._pings_sent += 1
                ping_id = f"{_PING_ID}{self._pings_sent}"
                self._output.append(ping(ping_id, self._domain, self._jid))
                if self._management is not None:
                    self._management.outbox.skip()
            self._keep_alive(now)

    def _keep_alive(self, now: float) -> None:
        quiet = self._keepalive.due(now)
        if self._management is not None and self._management.outbox.ask(idle=True):
            self._output.append(stream_management.REQUEST)
        elif quiet and not self._output:
            self._output.append(b" ")

    def deaf(self, until: float) -> None:
        """The peer isn't read from until then, so that it isn't dead for being silent."""
        self._liveness.deaf(until)

    def rest(self) -> None:
        """Nothing is expected for a while: let go of what can be made again."""
        self._parser.rest()

    # The end (section 4.4 and 4.9).

    def close(self, now: float, condition: StreamCondition | None = None, text: str = "") -> None:
        """Close the stream: at once with a stream error, or by the close handshake without one."""
        if self._life is not _Life.OPEN:
            return
        if condition is not None:
            self._fail(StreamError(condition, text))
        elif not self._header_sent or self._wait is _Wait.TLS:
            self._finish(None, text, by_peer=False)
        else:
            self._output.append(fragments.FOOTER)
            self._life = _Life.CLOSING
            self._wait = None
            self._deadline = now + self._config.close_timeout
            self._pump(now)

    def fail(self, error: StreamError) -> None:
        """End the stream with this error, if it is open."""
        if self._life is _Life.OPEN:
            self._fail(error)

    def _fail(self, error: StreamError, *, lost: bool = False) -> None:
        if self._life is _Life.OPEN and self._wait is not _Wait.TLS:
            if not self._header_sent:
                # A header must come first, so that the error is inside a stream (section 4.9.1.2).
                self._send_header()
            self._output += [fragments.stream_error(error.condition, error.text, error.detail), fragments.FOOTER]
        self._finish(error.condition, error.text, by_peer=False, lost=lost)

    def _finish(self, condition: StreamCondition | None, text: str, *, by_peer: bool, lost: bool = False) -> None:
        self._life = _Life.CLOSED
        self._wait = None
        self._parser.close()
        self._events.append(StreamClosed(condition, text, by_peer, lost))
