"""What the gateway measures of its stream with an XMPP server, for Prometheus; no I/O. Only as a component."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from gateway.component_hosts import ComponentHosts
from runtime.metrics import Description, Measured

UP = Description("vrfwire_component_up", "gauge", (), "1 when the XMPP server has taken the gateway, else 0")
CHANGED = Description(
    "vrfwire_component_changed_timestamp_seconds", "gauge", (), "when it came up or went down, Unix time"
)
ATTEMPTS = Description("vrfwire_component_attempts_total", "counter", (), "connections to the XMPP server tried")
ATTACHMENTS = Description("vrfwire_component_attachments_total", "counter", (), "those that it has taken")
HELD = Description(
    "vrfwire_component_held_hosts", "gauge", (), "hosts that are sent nothing until they confirm what they were sent"
)
UNLISTED = Description(
    "vrfwire_component_unlisted_hosts", "gauge", (), "hosts refused for lack of a [[host]] with addresses"
)
WAITING = Description("vrfwire_component_waiting_bytes", "gauge", (), "answers that the XMPP server has not taken yet")

COMPONENT_METRICS = (UP, CHANGED, ATTEMPTS, ATTACHMENTS, HELD, UNLISTED, WAITING)
"""All of them, in the order of docs/metrics.md."""


class GateView(Protocol):
    """What is measured of the gate."""

    hosts: ComponentHosts
    since: float
    attempts: int
    attachments: int

    @property
    def connected(self) -> bool: ...


def measure_component(gate: GateView, unlisted: int) -> Iterator[Measured]:
    """Everything, now."""
    yield UP, (), gate.connected
    yield CHANGED, (), gate.since
    yield ATTEMPTS, (), gate.attempts
    yield ATTACHMENTS, (), gate.attachments
    yield HELD, (), gate.hosts.held
    yield UNLISTED, (), unlisted
    yield WAITING, (), gate.hosts.waiting
