"""What a server stream is configured with and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xmpp.errors import StreamCondition
from xmpp.jid import Jid
from xmpp.scram import ScramKeys
from xmpp.stanza import Stanza
from xmpp.stream_management import EnableWish

_SECRET_OCTETS = 16


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Settings of every stream of a server; times in seconds, sizes in bytes.

    domain: the domain served, in prepared form; random: source of unpredictable bytes (secrets.token_bytes);
    scram_keys: keys of a user name (prepared localpart), None for an unknown one, or None when SCRAM isn't offered;
    scram_secret: secret of this process (16 bytes or more) that makes an unknown user look like a known one.
    hold_time: silence after which the peer is held for dead; it is pinged after a third of it. 0: never.
    keepalive: once nothing was sent for so long a space is (RFC 6120, section 4.6.1), at the latest after twice that.
    0: never.
    """

    domain: str
    random: Callable[[int], bytes]
    scram_keys: Callable[[str], ScramKeys | None] | None = None
    scram_secret: bytes = b""
    login_timeout: float = 10.0
    hold_time: float = 90.0
    keepalive: float = 30.0
    close_timeout: float = 2.0
    stanza_max: int = 1024 * 1024
    stanza_max_unauthenticated: int = 10 * 1024
    sasl_attempts: int = 3

    def __post_init__(self) -> None:
        if self.scram_keys is not None and len(self.scram_secret) < _SECRET_OCTETS:
            raise ValueError(f"scram_secret needs at least {_SECRET_OCTETS} bytes")


@dataclass(frozen=True, slots=True)
class TlsRequested:
    """The peer was told to proceed: send what data_to_send() has, start TLS, then call tls_started().

    No byte read before the TLS layer is in place may reach receive_data().
    """


@dataclass(frozen=True, slots=True)
class Authenticated:
    """SASL has proved who the peer is; answer with accept_auth() or reject_auth()."""

    jid: Jid
    mechanism: str


@dataclass(frozen=True, slots=True)
class BindRequested:
    """The peer wants this full JID (its resource made here when the peer named none); answer with accept_bind() or
    reject_bind(). With a session of that JID elsewhere the newest wins: close the old one with `conflict` first."""

    jid: Jid


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The resource is bound: stanzas flow both ways from here on."""

    jid: Jid


@dataclass(frozen=True, slots=True)
class EnableRequested:
    """The session is to have its stanzas counted (XEP-0198); answer with accept_enable()."""

    wish: EnableWish


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """The peer, authenticated as this bare JID, wants to go on with an earlier session, of which it has handled so many
    stanzas; answer with accept_resume(), reject_resume() or fail()."""

    jid: Jid
    id: str
    handled: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Marks of the outbox that the peer has reached (see xmpp.outbox), oldest first."""

    marks: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class StanzaReceived:
    """A stanza of the bound session. Each IQ request must be answered exactly once; broken ones were answered here."""

    stanza: Stanza


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """Nothing more follows: send what data_to_send() has and close the transport.

    condition: of the stream error, None when there was none; by_peer: whether the peer began it; lost: nobody ended it,
    so that the session may be resumed.
    """

    condition: StreamCondition | None
    text: str
    by_peer: bool
    lost: bool = False


Event = (
    TlsRequested
    | Authenticated
    | BindRequested
    | SessionStarted
    | EnableRequested
    | ResumeRequested
    | Acknowledged
    | StanzaReceived
    | StreamClosed
)
