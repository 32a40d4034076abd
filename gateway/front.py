"""Where a gateway's hosts come in, as the daemon sees it: by connections of their own, or through an XMPP server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.config import GatewayConfig
from gateway.records import HostRecords
from gateway.status import Document, Problem
from runtime.metrics import Metric


class Gate(Protocol):
    """What moves stanzas between hosts and the service; a pulse of the watchdog, too (runtime.watchdog.Pulse)."""

    records: HostRecords
    """Hosts with a session, suspended or not, or stale routes."""
    on_change: Callable[[], None]
    """Called after hosts may have changed items or subscriptions."""

    @property
    def turns(self) -> int:
        """Deliveries done."""
        ...

    def nudge(self) -> None:
        """Let a delivery take place, although there may be nothing to deliver."""
        ...

    def changed(self) -> None:
        """Something was handled: deliver what it changed, soon."""
        ...


class Front(Protocol):
    """A gate with its configuration. Use it within one event loop."""

    @property
    def gate(self) -> Gate:
        """The gate."""
        ...

    def start(self) -> str:
        """Begin; where, for the log. Raises OperatorError."""
        ...

    async def stop(self) -> None:
        """End every session; hosts keep forwarding by what they know."""
        ...

    def poll(self) -> None:
        """Look whether files have changed. Called every second."""
        ...

    def prepare(self, config: GatewayConfig) -> Callable[[], None]:
        """Look at another configuration; what is returned puts it in force. Raises OperatorError."""
        ...

    def problems(self) -> list[Problem]:
        """What an operator should look at."""
        ...

    def document(self) -> Document:
        """What `status` shows of it."""
        ...

    def summary(self) -> str:
        """For the line of `systemctl status`, "" when there is nothing to say."""
        ...

    def metrics(self) -> list[Metric]:
        """Those of its own."""
        ...

    def reload_certificates(self) -> Document:
        """tls.reload: use the files as they are now; what that did. Raises OperatorError when there are none."""
        ...
