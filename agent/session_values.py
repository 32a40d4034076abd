"""A session with a gateway as others see it: how it is reached, where it is, who is told of it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.requests import Refusal
from agent.stanzas import Identity
from vpn.prefix import Prefix
from xmpp.notices import Notice
from xmpp.notification import Event

RESOURCE = "vrfwire"
"""Resource of a host's JID."""

Answered = Callable[[Refusal | None], None]


class SessionState(enum.StrEnum):
    """Where the session is."""

    DOWN = "down"
    CONNECTING = "connecting"
    WAITING = "waiting"
    """Logged in, but the service doesn't answer."""
    CONNECTED = "connected"


class SessionListener(Protocol):
    """Who is told. Calls come from the loop and must not block."""

    def session_started(self) -> None:
        """Requests can be sent."""
        ...

    def session_resumed(self) -> None:
        """The connection was lost, and nothing that was said or asked on it."""
        ...

    def session_ended(self, reason: str) -> None:
        """The session is lost; answers still owed won't come."""
        ...

    def event_received(self, event: Event) -> None:
        """A gateway announced or retracted routes."""
        ...

    def notice_received(self, notice: Notice, prefixes: list[Prefix]) -> None:
        """A gateway said what has become of items of this host (prefixes), or of a VPN."""
        ...


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """One gateway and how to reach it; times in seconds.

    address, port: where to connect; domain: its XMPP domain, in its certificate; service: JID of its publish-subscribe
    service; host: name of this host, underlay: its address. certificate and key, or password_file.
    """

    address: str
    port: int
    domain: str
    service: str
    host: str
    underlay: str
    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    password_file: Path | None = None
    starttls: bool = False
    hold_time: float = 30.0
    login_time: float = 15.0
    reconnect_min: float = 0.5
    reconnect_max: float = 30.0
    reconnect_spread: float = 5.0

    @property
    def identity(self) -> Identity:
        """This host for that gateway."""
        return Identity(f"{self.host}@{self.domain}/{RESOURCE}", self.underlay)

    @property
    def component(self) -> bool:
        """Whether the service is a component of the server that this host logs in to."""
        return self.service != self.domain
