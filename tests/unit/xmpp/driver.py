"""A server stream under test: bytes in, bytes and events out, a clock that only the test moves."""

from __future__ import annotations

import base64
import itertools
from dataclasses import replace
from typing import Any

from xmpp.events import (
    Authenticated,
    BindRequested,
    SessionStarted,
    StanzaReceived,
    StreamClosed,
    StreamConfig,
    TlsRequested,
)
from xmpp.jid import Jid
from xmpp.scram import ScramKeys
from xmpp.stanza import Stanza
from xmpp.stream import ServerStream

DOMAIN = "vpn.example.net"
HOST = Jid("hv1", DOMAIN)
FULL = Jid("hv1", DOMAIN, "vrfwire")
PASSWORD = "correct horse"
KEYS = ScramKeys.derive(PASSWORD, b"0123456789abcdef")
SECRET = b"a secret of this process"


def header(
    to: str = DOMAIN, version: str = "1.0", xmlns: str = "jabber:client", extra: str = "", declaration: bool = True
) -> bytes:
    """A client's stream header."""
    xml = "<?xml version='1.0'?>" if declaration else ""
    return (
        f"{xml}<stream:stream xmlns='{xmlns}' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{to}' version='{version}'{extra}>"
    ).encode()


def auth(mechanism: str, payload: str = "=") -> bytes:
    """A SASL <auth/> element."""
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{payload}</auth>".encode()


def response(payload: bytes) -> bytes:
    """A SASL <response/> element."""
    text = base64.b64encode(payload).decode()
    return f"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{text}</response>".encode()


STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
BIND = b"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>vrfwire</resource></bind></iq>"
END = b"</stream:stream>"


class Told:
    """Whoever is told of a stream's events."""

    events: list[Any]

    @property
    def stanzas(self) -> list[Stanza]:
        """Those received."""
        return [event.stanza for event in self.events if isinstance(event, StanzaReceived)]

    @property
    def end(self) -> StreamClosed | None:
        """How the stream ended, if it did."""
        return next((event for event in self.events if isinstance(event, StreamClosed)), None)


class Peer(Told):
    """A stream with the shell's answers built in: it takes TLS, lets the peer in and binds what is asked."""

    def __init__(
        self,
        *,
        secure: bool = True,
        identities: tuple[Jid, ...] = (HOST,),
        tls_available: bool = True,
        **config: object,
    ) -> None:
        counter = itertools.count(1)
        base = StreamConfig(
            DOMAIN,
            lambda size: next(counter).to_bytes(size, "big"),
            scram_keys={"hv1": KEYS}.get,
            scram_secret=SECRET,
        )
        self.now = 1000.0
        self.config = replace(base, **config)  # type: ignore[arg-type]
        self.identities = identities
        self.stream = ServerStream(
            self.config, self.now, secure=secure, identities=identities if secure else (), tls_available=tls_available
        )
        self.events = []
        self.sent = b""

    def send(self, *pieces: bytes) -> bytes:
        """Deliver bytes; what the server sent in answer."""
        for piece in pieces:
            self.stream.receive_data(piece, self.now)
            self._answer()
        return self.output()

    def _answer(self) -> None:
        while (event := self.stream.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, TlsRequested):
                self.stream.tls_started(self.now, self.identities)
            elif isinstance(event, Authenticated):
                self.stream.accept_auth(self.now)
            elif isinstance(event, BindRequested):
                self.stream.accept_bind(self.now)

    def output(self) -> bytes:
        """What the server sent since the last call."""
        data = self.stream.data_to_send()
        self.sent += data
        return data

    def advance(self, seconds: float) -> bytes:
        """Move the clock and fire the timer when it is due; what was sent."""
        self.now += seconds
        self.stream.handle_timer(self.now)
        self._answer()
        return self.output()

    def login(self) -> Peer:
        """Go through EXTERNAL and bind."""
        return self.login_from(header(), auth("EXTERNAL"), header(), BIND)

    def login_from(self, *pieces: bytes) -> Peer:
        """Send what is left of a login."""
        self.send(*pieces)
        assert SessionStarted(FULL) in self.events
        return self
