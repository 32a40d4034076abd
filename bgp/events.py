"""What a session reports to its shell, and what it counts."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

from bgp.connection import Connection
from bgp.errors import ErrorCode, Malformation
from bgp.family import Family
from bgp.negotiation import Negotiated
from bgp.notification import Notification
from bgp.refresh import RefreshKind
from bgp.update import Update

REST_MAX = 120.0
"""Seconds that speakers rest after an error, at most, as far as one can tell."""


@dataclass(frozen=True, slots=True)
class ConnectRequested:
    """Open a connection to the peer: then connected(), or connect_failed(). One that is under way is given up."""


@dataclass(frozen=True, slots=True)
class ConnectCancelled:
    """Give up the connection that is being opened, if any."""


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """Send what the connection's data_to_send() still has, then close the transport. Nothing more is read from it."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class SessionUp:
    """Routes may flow, by this connection."""

    connection: Connection
    negotiated: Negotiated


@dataclass(frozen=True, slots=True)
class UpdateReceived:
    """An UPDATE, already judged: what it withdraws because it was malformed is among what it withdraws.

    UPDATEs that follow each other and say the same of different routes may be one here.
    """

    update: Update


@dataclass(frozen=True, slots=True)
class RefreshReceived:
    """REQUEST: send all routes of the family again. BEGIN, END: what is between them is all that the peer has."""

    family: Family
    kind: RefreshKind


@dataclass(frozen=True, slots=True)
class FamilyDisabled:
    """Forget the peer's routes of the family: it can't be understood any more (RFC 4760, section 7)."""

    family: Family
    malformation: Malformation


class DownReason(enum.StrEnum):
    """Why a session is over, or an attempt at one."""

    CONNECTION_LOST = "connection lost"
    NOTIFICATION_RECEIVED = "notification received"
    NOTIFICATION_SENT = "notification sent"
    REPLACED = "the peer opened a new connection"


@dataclass(frozen=True, slots=True)
class SessionDown:
    """No routes flow any more, after SessionUp; or an attempt failed (negotiated is None then).

    preserved: families whose routes stay, stale, for the peer to come back (RFC 4724, RFC 8538, RFC 9494).
    """

    reason: DownReason
    notification: Notification | None
    text: str
    negotiated: Negotiated | None
    preserved: frozenset[Family]

    def explains_silence(self, age: float) -> bool:
        """Whether this says why the peer hangs up on us without a word, `age` seconds later.

        A Cease of the peer holds until there is a session again; after any other NOTIFICATION it rests for a while.
        """
        if self.notification is None:
            return False
        received = self.reason is DownReason.NOTIFICATION_RECEIVED
        return (received and self.notification.code == ErrorCode.CEASE) or age <= REST_MAX

    def describe(self) -> str:
        """Why, in one line."""
        if self.notification is None:
            return self.text or str(self.reason)
        line = f"{self.reason}: {self.notification}"
        return line if self.text in ("", self.notification.text) else f"{line} ({self.text})"


Event = (
    ConnectRequested
    | ConnectCancelled
    | ConnectionClosed
    | SessionUp
    | UpdateReceived
    | RefreshReceived
    | FamilyDisabled
    | SessionDown
)


@dataclass(slots=True)
class Counters:
    """Since the session object was made; messages are counted by type name ("update")."""

    received: Counter[str] = field(default_factory=Counter)
    sent_notifications: int = 0
    established: int = 0
    """Times that the session came up."""
    treated_as_withdraw: int = 0
    """Malformed UPDATEs whose routes were withdrawn (RFC 7606)."""
    attributes_discarded: int = 0
    """UPDATEs that lost an attribute (RFC 7606), or were of a family that wasn't agreed on."""
    last_malformation: Malformation | None = None
