"""What a host asks of a gateway, and what came of it; values of the signaling core."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple

from vpn.path import Path
from vpn.prefix import Prefix
from xmpp.stanza import Condition

_PASSING = frozenset((Condition.INTERNAL_SERVER_ERROR, Condition.REMOTE_SERVER_TIMEOUT, Condition.RESOURCE_CONSTRAINT))
"""Conditions of a gateway that can't answer at present."""


class Ask(enum.Enum):
    """Kinds of request."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    PUBLISH = "publish"
    RETRACT = "retract"
    BARRIER = "barrier"
    """A ping; its answer ends the tables of `vpns`."""
    END_OF_ITEMS = "end of items"
    """Everything that this host has in the VPN is published (xmpp.end_of_items)."""


class Offer(NamedTuple):
    """What is said of a prefix: its path, and the attachment that it is behind, as orchestration names it; or ""."""

    path: Path
    attachment: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send. items: (prefix, offer) to publish, (prefix, None) to retract."""

    ask: Ask
    vpn: str = ""
    instance_id: int = 0
    items: tuple[tuple[Prefix, Offer | None], ...] = ()
    vpns: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """A gateway's stanza error: its defined condition and its text (perhaps empty)."""

    condition: str
    text: str = ""

    @property
    def forbidden(self) -> bool:
        """Whether the gateway's policy is against it."""
        return self.condition == Condition.FORBIDDEN

    @property
    def passing(self) -> bool:
        """Whether it says nothing of what was asked about: the gateway can't answer at present."""
        return self.condition in _PASSING

    @property
    def unknown(self) -> bool:
        """Whether the server doesn't know this kind of request (RFC 6120, section 8.3.3)."""
        return self.condition in (Condition.SERVICE_UNAVAILABLE, Condition.FEATURE_NOT_IMPLEMENTED)

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else self.condition


class Announced(enum.StrEnum):
    """Whether a gateway has an item."""

    YES = "yes"
    NO = "no"
    """Not told, or not answered yet."""
    REFUSED = "refused"


class Settled(NamedTuple):
    """What an answer has settled: items by VPN and prefix, and tables that are now complete."""

    items: tuple[tuple[str, Prefix], ...] = ()
    tables: tuple[str, ...] = ()
