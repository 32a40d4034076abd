"""The server's side of an XMPP stream (RFC 6120), without I/O.

Bytes and the time go in, bytes, events and a deadline come out: the shell around it moves bytes between a transport and
this object, and decides what the events ask.
"""

from __future__ import annotations

from xmpp.errors import StreamCondition
from xmpp.events import Event, StreamConfig
from xmpp.jid import Jid
from xmpp.stanza import StanzaError


class ServerStream:
    """One client connection.

    config: settings; now: the time (any monotonic clock, seconds); secure: the transport is TLS already (direct TLS), else
    STARTTLS is required; identities: bare JIDs that the client's valid certificate names (SASL EXTERNAL is offered only
    when there are some); tls_available: whether STARTTLS can succeed.
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
        raise NotImplementedError

    @property
    def jid(self) -> Jid | None:
        """The full JID once bound, the bare one once authenticated, else None."""
        raise NotImplementedError

    @property
    def closed(self) -> bool:
        """Whether StreamClosed was reported (or waits in next_event)."""
        raise NotImplementedError

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes of the peer; never raises on what they hold."""
        raise NotImplementedError

    def receive_eof(self, now: float) -> None:
        """The transport has ended (closed by the peer or lost)."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Bytes to send now, taken out of the queue; b"" when there are none."""
        raise NotImplementedError

    def next_event(self) -> Event | None:
        """The next event, or None."""
        raise NotImplementedError

    def get_timer(self) -> float | None:
        """The time at which handle_timer() wants to be called; None: not at all."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Do what is due: login deadline, ping after silence, hold time, end of the close handshake."""
        raise NotImplementedError

    def tls_started(self, now: float, identities: tuple[Jid, ...] = ()) -> None:
        """TLS is in place after TlsRequested; identities: bare JIDs of the client's valid certificate."""
        raise NotImplementedError

    def accept_auth(self, now: float) -> None:
        """Let the peer of the Authenticated event in."""
        raise NotImplementedError

    def reject_auth(self, now: float, condition: str = "not-authorized", text: str = "") -> None:
        """Refuse it with a SASL failure condition (RFC 6120, section 6.5), e.g. "account-disabled"."""
        raise NotImplementedError

    def accept_bind(self, now: float) -> None:
        """Bind the JID of the BindRequested event; SessionStarted follows."""
        raise NotImplementedError

    def reject_bind(self, now: float, error: StanzaError) -> None:
        """Refuse it; the peer may ask again."""
        raise NotImplementedError

    def send_stanza(self, stanza: bytes) -> None:
        """Queue a whole stanza (or several); dropped silently once the stream is closing."""
        raise NotImplementedError

    def close(self, now: float, condition: StreamCondition | None = None, text: str = "") -> None:
        """Close the stream: at once with a stream error, or by the close handshake without one."""
        raise NotImplementedError
