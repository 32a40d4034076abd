"""What the gateway measures of the map, for Prometheus; no I/O. Only with a [map]."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.admission import Admission
from runtime.metrics import Description, Measured

if TYPE_CHECKING:
    from gateway.map_status import MapView

UP = Description("vrfwire_map_up", "gauge", (), "1 when there is a session with a MAP server, else 0")
SYNCHRONISED = Description(
    "vrfwire_map_synchronised", "gauge", (), "1 when all that the server provisions is here, as of this session"
)
DISBELIEVED = Description(
    "vrfwire_map_disbelieved", "gauge", (), "1 when the server's map is empty and not believed: the former stays"
)
SESSIONS = Description("vrfwire_map_sessions_total", "counter", (), "sessions with a MAP server")
RESULTS = Description("vrfwire_map_results_total", "counter", (), "results of subscriptions received")
VPNS = Description("vrfwire_map_vpns", "gauge", (), "VPNs that the map provisions")
ATTACHMENTS = Description("vrfwire_map_attachments", "gauge", (), "attachments that the map has permissions of")
BINDINGS = Description("vrfwire_map_bindings", "gauge", (), "bindings of an attachment to a VPN")
PROBLEMS = Description("vrfwire_map_problems", "gauge", (), "problems with the map that the status tells")
WITHHELD = Description("vrfwire_map_withheld_items", "gauge", (), "items of hosts that the map doesn't permit")
ITEMS = Description(
    "vrfwire_map_items_total",
    "counter",
    ("decision",),
    "items `refused` when published, `withdrawn` and `admitted` by changes of the map",
)
PUBLISHED = Description(
    "vrfwire_map_published_attachments", "gauge", ("state",), "attachments published: `up`, `down`, `adminDown`"
)
UNPUBLISHED = Description("vrfwire_map_unpublished_metadata", "gauge", (), "metadata that the server doesn't have yet")

MAP_METRICS = (
    *(UP, SYNCHRONISED, DISBELIEVED, SESSIONS, RESULTS, VPNS, ATTACHMENTS, BINDINGS, PROBLEMS, WITHHELD, ITEMS),
    *(PUBLISHED, UNPUBLISHED),
)
"""All of them, in the order of docs/metrics.md."""

_DECISIONS = ("admitted", "refused", "withdrawn")


def measure_map(view: MapView, admission: Admission) -> Iterator[Measured]:
    """Samples: metric, labels, value."""
    yield UP, (), view.connected
    yield SYNCHRONISED, (), view.synchronised
    yield DISBELIEVED, (), view.disbelieved
    yield SESSIONS, (), view.client.sessions
    yield RESULTS, (), view.client.results
    yield VPNS, (), view.vpns
    yield ATTACHMENTS, (), view.attachments
    yield BINDINGS, (), view.bindings
    yield PROBLEMS, (), len(view.problems())
    yield WITHHELD, (), view.withheld
    for decision in _DECISIONS:
        yield ITEMS, (decision,), admission.counters[decision]
    for state, number in view.published().items():
        yield PUBLISHED, (state,), number
    yield UNPUBLISHED, (), view.unpublished
