"""The XMPP stream to one gateway: slixmpp's client with a short way for what comes in bulk.

Imported late, and off the loop: slixmpp is the slowest import of the daemon, and no start waits for gateways.

Events, presence and the answers to our own requests are taken out by `Reader`, before slixmpp makes objects of them and
matches them against its handlers; the pub-sub plugin's own events are quadratic in the items of a message. slixmpp's
reconnection is not used: it hasn't any jitter and waits up to five minutes (agent.session has its own).

Streams are acknowledged and can be resumed (XEP-0198), by slixmpp's plugin, which counts what passes through `send` and
its handlers. What is taken before is counted here, and nothing but whitespace and the plugin's own elements may be
written past it. A request is either in the plugin's queue, which is sent again, or was never sent, and is kept here.

What TLS hands over at once may hold hundreds of routes. It is read piece by piece, with turns of the loop between, and
the connection isn't read further meanwhile: an attach or a question doesn't wait for a large table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element

import slixmpp

from agent.reader import Reader
from xmpp.errors import StreamError
from xmpp.namespaces import CLIENT, STANZA_ERRORS, STREAM_ERRORS, STREAMS, split_tag

_MESSAGE = f"{{{CLIENT}}}message"
_IQ = f"{{{CLIENT}}}iq"
_PRESENCE = f"{{{CLIENT}}}presence"
_ERROR = f"{{{STREAMS}}}error"
_STANZAS = frozenset((_MESSAGE, _IQ, _PRESENCE))
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")

PIECE = 32 << 10
"""Bytes of the stream that are read in one turn of the loop: some 70 routes, a few milliseconds."""
WINDOW = 100
"""Stanzas after which the gateway is asked what it has received."""
FEW = 8
"""Stanzas for which it isn't asked with a ping: at rest, every ping but one in eight stays alone."""
_COUNTER = 1 << 32

Answer = Callable[[Element], None]


class Presence(NamedTuple):
    """Presence of the service. type: "" for available; text: of an error, its condition and text."""

    type: str
    id: str
    text: str


class _Pending:
    """A request without answer."""

    __slots__ = ("iq", "on_answer", "sent")

    def __init__(self, iq: Any, on_answer: Answer) -> None:
        self.iq = iq
        self.on_answer = on_answer
        self.sent = False


class Stream(slixmpp.ClientXMPP):  # type: ignore[misc]
    """One client, used for one session after the other.

    service: JID of the gateway's service, the sender of everything. password: "" for EXTERNAL. on_message is called
    with every message of the service and returns whether that was one of ours; on_presence with its presence; on_heard
    at every stanza of it; on_error with condition and text of a stream error; on_fault when a handler failed, or the
    gateway sent what is no stream.
    """

    parser: Reader | None

    def __init__(
        self,
        jid: str,
        password: str,
        *,
        service: str,
        direct_tls: bool,
        on_message: Callable[[Element], bool],
        on_presence: Callable[[Presence], None],
        on_heard: Callable[[], None],
        on_error: Callable[[str, str], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        # A context of its own would load every authority of the system, to be replaced at once.
        super().__init__(jid, password, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._service = service
        self._on_message = on_message
        self._on_presence = on_presence
        self._on_heard = on_heard
        self._on_error = on_error
        self._on_fault = on_fault
        self._requests: dict[str, _Pending] = {}
        self._open = False
        """There is a session: what comes is believed, what is asked is sent."""
        self._unread = bytearray()
        self._taken = 0
        """Stanzas that were taken and that the plugin hasn't counted yet."""
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        self.enable_plaintext = False
        self.use_aiodns = False
        # Pings do that.
        self.whitespace_keepalive = False
        self.plugin["feature_mechanisms"].use_mechs = set(SCRAM) if password else {"EXTERNAL"}
        self.register_plugin("xep_0199")
        self.register_plugin("xep_0198", {"window": WINDOW})
        self._management = self.plugin["xep_0198"]
        # After that of the plugin: what comes here is in its queue.
        self.add_filter("out_sync", self._note_sent)
        self.add_event_handler("sm_enabled", self._on_enabled)

    # -- sessions

    def begin(self) -> None:
        """A session has begun, and nothing of an earlier one is expected."""
        self.forget_requests()
        self._open_up()

    def resume(self) -> None:
        """The session goes on, on another connection. What slixmpp had sent it sends again; the rest is sent now."""
        self._open_up()
        for pending in self._requests.values():
            if not pending.sent:
                self.send(pending.iq)

    def _open_up(self) -> None:
        self._open = True
        if self.parser is not None:
            self.parser.bulk()

    @property
    def resumable(self) -> bool:
        """Whether the gateway has promised to keep this stream for a while when the connection is lost."""
        return bool(self._management.sm_id)

    def give_up(self) -> None:
        """Don't resume the last stream: the next session starts from nothing."""
        self.forget_requests()
        self.event("session_end")

    def _on_enabled(self, stanza: Any) -> None:
        if not stanza["resume"]:
            self._management.sm_id = None

    # -- sending

    def request(self, kind: str, payload: Element, on_answer: Answer) -> None:
        """Send an IQ ("get" or "set") to the service; on_answer gets the result or error, never in this call.

        While the connection is lost it is kept for the resumed stream, or until forget_requests().
        """
        iq = self.Iq()
        iq["type"] = kind
        iq["to"] = self._service
        iq["id"] = self.new_id()
        iq.xml.append(payload)
        self._requests[iq["id"]] = _Pending(iq, on_answer)
        if self._open:
            self.send(iq)

    def forget_requests(self) -> None:
        """Expect no answers any more: the session is over."""
        self._requests.clear()

    def greet(self, identifier: str) -> None:
        """Directed presence (RFC 6121, section 4.6): what a service behind an XMPP server knows a client by."""
        presence = self.Presence()
        presence["to"] = self._service
        presence["id"] = identifier
        self.send(presence)

    def ask_for_acknowledgement(self) -> None:
        """Have the gateway say what it has received, so that it needn't be kept any longer; not for a few stanzas."""
        management = self._management
        if self.transport is not None and management.enabled_out and len(management.unacked_queue) >= FEW:
            management.request_ack()

    def _note_sent(self, stanza: Any) -> Any:
        if stanza.name == "iq" and (pending := self._requests.get(stanza["id"])) is not None:
            pending.sent = True
        return stanza

    # -- the connection

    @property
    def encrypted(self) -> bool:
        """Whether there is TLS on the connection."""
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The gateway's certificate (DER), which TLS has verified."""
        tls = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    def init_parser(self) -> None:
        """The stream begins, or begins anew (RFC 6120, section 4.3.3)."""
        if self.parser is not None:
            self.parser.close()
        self.xml_depth = 0
        self.xml_root = None
        self.parser = Reader(self._take)

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        """A connection begins (again, when TLS begins on it): what an earlier one has left unread isn't of it."""
        self._unread.clear()
        self._open = False
        super().connection_made(transport, send_event)

    def data_received(self, data: bytes) -> None:
        """Read the first piece now and the others later; slixmpp would read it all at once."""
        if self._unread:
            # Was under way when the connection was paused.
            self._unread += data
        elif len(data) <= PIECE:
            self._read(data)
        else:
            self._unread += data
            self.transport.pause_reading()
            self._read_piece()

    def _read_piece(self) -> None:
        if not self._unread:
            return  # the connection was lost meanwhile
        piece = bytes(self._unread[:PIECE])
        del self._unread[:PIECE]
        self._read(piece)
        if self.transport is None:
            self._unread.clear()
        elif self._unread:
            asyncio.get_running_loop().call_soon(self._read_piece)
        else:
            self.transport.resume_reading()

    def _read(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except StreamError as error:
            self._unread.clear()
            self._on_fault(error)
            self.abort()
        self._count()

    def abort(self) -> None:
        """slixmpp's, but for a connection that is closing: that closes it first, and a TLS transport that is closed
        twice forgets its protocol and can't be aborted any more (Python 3.11.2, Debian's, raises AttributeError)."""
        if self.transport is not None and self.transport.is_closing():
            self.cancel_connection_attempt()
            self.transport.abort()
        else:
            super().abort()

    def connection_lost(self, exception: BaseException | None) -> None:
        """The last words of the gateway may be among what is unread."""
        unread, self._unread = bytes(self._unread), bytearray()
        if unread and exception is None:
            self._read(unread)
        self._open = False
        if self.parser is not None:
            self.parser.close()
        # slixmpp would try to write what waits, and complain; what of it is ours is sent by resume().
        while not self.waiting_queue.empty():
            self.waiting_queue.get_nowait()
        super().connection_lost(exception)

    # -- what comes

    def _take(self, xml: Element) -> bool:
        """Take what is ours; slixmpp sees the rest. Stanzas that are taken are counted."""
        try:
            taken = self._is_ours(xml)
        except Exception as error:
            # A defect in a handler must not leave a half-read stream behind: the session starts over.
            self._on_fault(error)
            taken = True
        if taken:
            self._taken += xml.tag != _ERROR
        else:
            # It may be a question of how much was received.
            self._count()
        return taken

    def _count(self) -> None:
        taken, self._taken = self._taken, 0
        management = self._management
        if taken and management.enabled_in:
            management.handled = (management.handled + taken) % _COUNTER

    def _is_ours(self, xml: Element) -> bool:
        tag = xml.tag
        if tag == _ERROR:
            # slixmpp would follow see-other-host: to the same address, and with another name to be verified.
            self._on_error(*_condition(xml))
            return True
        if not self._open or tag not in _STANZAS:
            return False
        # Another client could have sent it through a server that relays stanzas.
        theirs = xml.get("from", self._service) == self._service
        if theirs:
            self._on_heard()
        if tag == _MESSAGE:
            return theirs and self._on_message(xml)
        kind = xml.get("type", "")
        if tag == _IQ:
            answer = theirs and kind in ("result", "error")
            pending = self._requests.pop(xml.get("id", ""), None) if answer else None
            if pending is not None:
                pending.on_answer(xml)
            return pending is not None
        if theirs:
            self._on_presence(Presence(kind, xml.get("id", ""), _words(xml) if kind == "error" else ""))
        # slixmpp would keep a roster, and answer who wants to be in it.
        return True


def _condition(error: Element) -> tuple[str, str]:
    """Condition and text of a stream error (RFC 6120, section 4.9.2)."""
    condition, text = "undefined-condition", ""
    for child in error:
        namespace, name = split_tag(child.tag) if isinstance(child.tag, str) else ("", "")
        words = " ".join((child.text or "").split())
        if namespace == STREAM_ERRORS and name == "text":
            text = words
        elif namespace == STREAM_ERRORS:
            condition = name
            text = text or words
    return condition, text


def _words(stanza: Element) -> str:
    """Condition and text of a stanza error."""
    found = []
    for child in stanza.iterfind(f"{{{CLIENT}}}error/*"):
        namespace, name = split_tag(child.tag) if isinstance(child.tag, str) else ("", "")
        if namespace == STANZA_ERRORS:
            found.append(" ".join((child.text or "").split()) if name == "text" else name)
    return ": ".join(filter(None, found)) or "no reason given"
