"""The XMPP stream to one gateway: slixmpp's client with a short way for what comes in bulk.

Imported late, and off the loop: slixmpp is the slowest import of the daemon, and no start waits for gateways.

Events and the answers to our own requests are taken out in `incoming_filter`, before slixmpp matches a stanza against
its handlers or makes objects of it; the pub-sub plugin's own events are quadratic in the items of a message. slixmpp's
reconnection is not used: it hasn't any jitter and waits up to five minutes (agent.session has its own).

What TLS hands over at once may hold hundreds of routes. It is read piece by piece, with turns of the loop between, and
the connection isn't read further meanwhile: an attach or a question doesn't wait for a large table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from xml.etree.ElementTree import Element

import slixmpp

from xmpp.namespaces import CLIENT

_MESSAGE = f"{{{CLIENT}}}message"
_IQ = f"{{{CLIENT}}}iq"
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")

PIECE = 32 << 10
"""Bytes of the stream that are read in one turn of the loop: some 70 routes, a few milliseconds."""

Answer = Callable[[Element], None]


class Stream(slixmpp.ClientXMPP):  # type: ignore[misc]
    """One client, used for one session after the other.

    gateway: its JID, the sender of everything. password: "" for EXTERNAL. on_message is called with every message of
    the gateway and returns whether that was one of ours; on_heard at every stanza; on_fault when a handler failed.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        *,
        gateway: str,
        direct_tls: bool,
        on_message: Callable[[Element], bool],
        on_heard: Callable[[], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        # A context of its own would load every authority of the system, to be replaced at once.
        super().__init__(jid, password, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        self._gateway = gateway
        self._on_message = on_message
        self._on_heard = on_heard
        self._on_fault = on_fault
        self._answers: dict[str, Answer] = {}
        self._unread = bytearray()
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        self.enable_plaintext = False
        self.use_aiodns = False
        # Pings do that.
        self.whitespace_keepalive = False
        self.plugin["feature_mechanisms"].use_mechs = set(SCRAM) if password else {"EXTERNAL"}
        self.register_plugin("xep_0199")

    def request(self, kind: str, payload: Element, on_answer: Answer) -> None:
        """Send an IQ ("get" or "set") to the gateway; on_answer gets the result or error, never in this call.

        Without connection nothing is sent: slixmpp would keep it for the next session, which starts from nothing.
        """
        if self.transport is None:
            return
        iq = self.Iq()
        iq["type"] = kind
        iq["to"] = self._gateway
        iq["id"] = self.new_id()
        iq.xml.append(payload)
        self._answers[iq["id"]] = on_answer
        self.send(iq)

    def forget_requests(self) -> None:
        """Expect no answers any more: the session is over."""
        self._answers.clear()

    @property
    def encrypted(self) -> bool:
        """Whether there is TLS on the connection."""
        return self.transport is not None and self.transport.get_extra_info("ssl_object") is not None

    @property
    def peer_certificate(self) -> bytes | None:
        """The gateway's certificate (DER), which TLS has verified."""
        tls = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        return None if tls is None else tls.getpeercert(binary_form=True)

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        """A connection begins (again, when TLS begins on it): what an earlier one has left unread isn't of it."""
        self._unread.clear()
        super().connection_made(transport, send_event)

    def data_received(self, data: bytes) -> None:
        """Read the first piece now and the others later; slixmpp would read it all at once."""
        if self._unread:
            # Was under way when the connection was paused.
            self._unread += data
        elif len(data) <= PIECE:
            super().data_received(data)
        else:
            self._unread += data
            self.transport.pause_reading()
            self._read_piece()

    def _read_piece(self) -> None:
        if not self._unread:
            return  # the connection was lost meanwhile
        piece = bytes(self._unread[:PIECE])
        del self._unread[:PIECE]
        super().data_received(piece)
        if self.transport is None:
            self._unread.clear()
        elif self._unread:
            asyncio.get_running_loop().call_soon(self._read_piece)
        else:
            self.transport.resume_reading()

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
            super().data_received(unread)
        super().connection_lost(exception)

    def incoming_filter(self, xml: Element) -> Element:
        """Take what is ours; slixmpp gets an empty message in its place."""
        try:
            return Element(_MESSAGE) if self._take(xml) else xml
        except Exception as error:
            # A defect in a handler must not leave a half-read stream behind: the session starts over.
            self._on_fault(error)
            return Element(_MESSAGE)

    def _take(self, xml: Element) -> bool:
        self._on_heard()
        if xml.tag == _MESSAGE:
            # Another client could have sent it through a server that relays messages.
            return xml.get("from", self._gateway) == self._gateway and self._on_message(xml)
        if xml.tag == _IQ and xml.get("type") in ("result", "error"):
            on_answer = self._answers.pop(xml.get("id", ""), None)
            if on_answer is not None:
                on_answer(xml)
                return True
        return False
