"""The component's side of a stream with an XMPP server (XEP-0114, jabber:component:accept), without I/O.

    our header -> the server's header -> handshake -> <handshake/> -> stanzas -> close
                                                      Attached

The server has authenticated whoever sends stanzas through it, and says so by their `from`. A server that falls silent
is asked by a ping to our own address: it comes back by the way that stanzas of hosts take.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from xmpp import fragments, intake
from xmpp import namespaces as ns
from xmpp.errors import StreamCondition, StreamError
from xmpp.events import StanzaReceived, StreamClosed
from xmpp.jid import Jid, JidError
from xmpp.liveness import Liveness, Verdict
from xmpp.parser import End, Header, StreamParser
from xmpp.stanza import Kind, Stanza, escape, ping, stanza_error

_KINDS = {f"{{{ns.COMPONENT}}}{kind.value}": kind for kind in Kind}
_HANDSHAKE = f"{{{ns.COMPONENT}}}handshake"
_STREAM = f"{{{ns.STREAMS}}}stream"
_STREAM_ERROR = f"{{{ns.STREAMS}}}error"


@dataclass(frozen=True, slots=True)
class ComponentConfig:
    """Settings of the stream; times in seconds, sizes in bytes.

    domain: address of the component, in prepared form; secret: shared with the server; login_timeout: most time until
    the handshake is done; hold_time: silence after which the server is held for dead, 0: never.
    """

    domain: str
    secret: str
    login_timeout: float = 10.0
    hold_time: float = 90.0
    close_timeout: float = 2.0
    stanza_max: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Attached:
    """The server has taken the handshake: stanzas flow both ways from here on."""


ComponentEvent = Attached | StanzaReceived | StreamClosed


class ComponentStream:
    """One connection to the server. now: the time (any monotonic clock, seconds)."""

    def __init__(self, config: ComponentConfig, now: float) -> None:
        self._config = config
        self._domain = Jid("", config.domain)
        self._parser = StreamParser(config.stanza_max)
        self._output = [_header(config.domain)]
        self._events: deque[ComponentEvent] = deque()
        self._opened = self._attached = self._closing = self._closed = False
        self._deadline: float | None = now + config.login_timeout
        self._liveness = Liveness(config.hold_time, now)
        self._pings = 0
        self.unread = 0
        """Stanzas that were dropped, since their addresses are none or no server of RFC 6120 would pass them on."""

    @property
    def closed(self) -> bool:
        """Whether StreamClosed was reported (or waits in next_event)."""
        return self._closed

    def data_to_send(self) -> bytes:
        """Bytes to send now, taken out of the queue; b"" when there are none."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def next_event(self) -> ComponentEvent | None:
        """The next event, or None."""
        return self._events.popleft() if self._events else None

    def send_stanza(self, stanza: bytes) -> None:
        """Queue a whole stanza (or several); dropped silently unless the stream is attached and open."""
        if self._attached and not self._closing and not self._closed:
            self._output.append(stanza)

    # -- input

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the server; never raises on what they hold."""
        if self._closed or not data:
            return
        self._liveness.heard(now)
        self._parser.feed(data)
        try:
            while not self._closed and (item := self._parser.next()) is not None:
                if isinstance(item, Element):
                    self._on_element(item, now)
                elif isinstance(item, Header):
                    self._on_header(item)
                else:
                    self._on_end(item)
        except StreamError as error:
            self._fail(error)

    def receive_eof(self) -> None:
        """The transport has ended (closed by the server or lost)."""
        if not self._closed:
            self._finish(None, "" if self._closing else "the connection was lost", by_peer=not self._closing)

    def _on_header(self, header: Header) -> None:
        if header.tag != _STREAM or header.default_namespace != ns.COMPONENT:
            raise StreamError(StreamCondition.INVALID_NAMESPACE, "a server's stream for components is expected")
        self._opened = True
        stream_id = header.attributes.get("id", "")
        if not stream_id:
            # Prosody opens an anonymous stream to say what is wrong with ours.
            return
        proof = hashlib.sha1((stream_id + self._config.secret).encode(), usedforsecurity=False).hexdigest()
        self._output.append(b"<handshake>%b</handshake>" % proof.encode())

    def _on_end(self, _end: End) -> None:
        by_peer = not self._closing
        if by_peer:
            self._output.append(fragments.FOOTER)
        self._finish(None, "", by_peer=by_peer)

    def _on_element(self, element: Element, now: float) -> None:
        if element.tag == _STREAM_ERROR:
            condition, text = fragments.read_stream_error(element)
            if not self._closing:
                self._output.append(fragments.FOOTER)
            self._finish(condition, text, by_peer=True)
        elif self._closing:
            return
        elif self._attached:
            self._on_stanza(element)
        elif element.tag == _HANDSHAKE:
            self._attached = True
            self._deadline = None
            self._parser.bulk = True
            self._liveness.heard(now)
            self._events.append(Attached())
        else:
            raise StreamError(StreamCondition.NOT_AUTHORIZED, "a stanza came before the end of the handshake")

    def _on_stanza(self, element: Element) -> None:
        kind = _KINDS.get(element.tag)
        try:
            sender, to = Jid.parse(element.get("from", "")), Jid.parse(element.get("to", ""))
        except JidError:
            kind = None
        if kind is None or to.domain != self._domain.domain:
            self.unread += 1
            return
        if sender.domain == self._domain.domain:
            return  # our own ping has come back
        stanza = Stanza(kind, element.get("type", ""), element.get("id", ""), sender, to, element)
        if kind is Kind.IQ:
            try:
                intake.check_iq(stanza)
            except intake.Refused as refused:
                if refused.answered:
                    self._output.append(stanza_error(stanza, refused.error))
                return
        self._events.append(StanzaReceived(stanza))

    # -- time

    def get_timer(self) -> float | None:
        """The time at which handle_timer() wants to be called; None: not at all."""
        if self._closed:
            return None
        return self._deadline if self._deadline is not None else self._liveness.timer()

    def handle_timer(self, now: float) -> None:
        """Do what is due: end of a handshake that takes too long, ping after silence, hold time, end of the close."""
        due = self.get_timer()
        if due is None or now < due:
            return
        if self._closing:
            self._finish(None, "the server didn't close its stream", by_peer=False)
        elif not self._attached:
            self._fail(StreamError(StreamCondition.CONNECTION_TIMEOUT, "the handshake took too long"))
        elif self._liveness.judge(now) is Verdict.DEAD:
            self._fail(StreamError(StreamCondition.CONNECTION_TIMEOUT, "nothing was heard for too long"))
        else:
            self._pings += 1
            self._output.append(ping(f"vw-leg-{self._pings}", self._domain, self._domain))

    # -- the end

    def close(self, now: float) -> None:
        """Close the stream by the close handshake."""
        if self._closed or self._closing:
            return
        if not self._opened:
            self._finish(None, "", by_peer=False)
            return
        self._output.append(fragments.FOOTER)
        self._closing = True
        self._deadline = now + self._config.close_timeout

    def _fail(self, error: StreamError) -> None:
        if not self._closing:
            self._output += [fragments.stream_error(error.condition, error.text), fragments.FOOTER]
        self._finish(error.condition, error.text, by_peer=False)

    def _finish(self, condition: StreamCondition | None, text: str, *, by_peer: bool) -> None:
        self._closed = True
        self._parser.close()
        self._events.append(StreamClosed(condition, text, by_peer))


def _header(domain: str) -> bytes:
    """Section 3: `to` names the component; there is no version, and so there are no features."""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAMS}' to='{escape(domain)}'>"
    ).encode()
