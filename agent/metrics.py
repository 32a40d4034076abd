"""What a host measures, for Prometheus: ports, gateways, routes, kernel. docs/metrics.md lists every metric.

A snapshot costs what there are ports, VPNs and gateways; routes are only counted. No metric has a label for a prefix, a
port or a remote host: their number is bounded by the configuration and by the VPNs of the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from agent.drain_state import DrainPhase
from runtime.metrics import Description, Measured, Metric, grouped

if TYPE_CHECKING:
    from agent.hostagent import HostAgent
    from agent.peer import Peer

_GATEWAY = ("gateway",)
_KIND = ("kind",)

PORTS = Description(
    "vrfwire_agent_ports", "gauge", ("state",), "ports by state: `programmed`, `pending`, `error`, `detaching`"
)
ANNOUNCED = Description(
    "vrfwire_agent_announced_ports",
    "gauge",
    ("announced",),
    "ports by whether the gateways know them: `yes`, `partly`, `no`, `refused`",
)
BLOCKED = Description("vrfwire_agent_blocked_ports", "gauge", (), "ports with an address that every gateway forbids")
WITHOUT_CARRIER = Description(
    "vrfwire_agent_waiting_objects", "gauge", (), "routes and next hops that wait for a VM that doesn't run"
)
PROBLEMS = Description("vrfwire_agent_problems", "gauge", (), "problems that the status tells, 50 at the most")
DRAINED = Description("vrfwire_agent_drained", "gauge", (), "1 while the host is drained, or being drained")
VPNS = Description("vrfwire_agent_vpns", "gauge", (), "VPNs with a port here")
ROUTES = Description("vrfwire_agent_routes", "gauge", ("vpn",), "prefixes of a VPN, as the gateways announce them")
RECOVERED = Description(
    "vrfwire_agent_recovered",
    "gauge",
    (),
    "1 when all gateways have told all routes since the start, or had their time",
)
MTU = Description("vrfwire_agent_mtu_bytes", "gauge", (), "MTU that VMs are told")
GATEWAY_UP = Description("vrfwire_agent_gateway_up", "gauge", _GATEWAY, "1 when there is a session, else 0")
GATEWAY_CHANGED = Description(
    "vrfwire_agent_gateway_changed_timestamp_seconds", "gauge", _GATEWAY, "when its session last changed, Unix time"
)
GATEWAY_SYNCHRONISED = Description(
    "vrfwire_agent_gateway_synchronised", "gauge", _GATEWAY, "1 when it has told all its tables in this session"
)
GATEWAY_SESSIONS = Description("vrfwire_agent_gateway_sessions_total", "counter", _GATEWAY, "sessions with it")
GATEWAY_LOSSES = Description("vrfwire_agent_gateway_losses_total", "counter", _GATEWAY, "sessions that were lost")
GATEWAY_RESUMPTIONS = Description(
    "vrfwire_agent_gateway_resumptions_total", "counter", _GATEWAY, "connections that were lost without their session"
)
GATEWAY_ROUTES = Description("vrfwire_agent_gateway_routes", "gauge", _GATEWAY, "routes that it announces")
GATEWAY_REFUSED = Description(
    "vrfwire_agent_gateway_refused_items", "gauge", _GATEWAY, "items and subscriptions that it refuses or withholds"
)
GATEWAY_REFUSALS = Description(
    "vrfwire_agent_gateway_refusals_total", "counter", _GATEWAY, "requests that it has answered with an error"
)
GATEWAY_BAD = Description(
    "vrfwire_agent_gateway_bad_items_total", "counter", _GATEWAY, "items of it that couldn't be read"
)
OBJECTS_WANTED = Description("vrfwire_agent_objects_wanted", "gauge", _KIND, "objects that the kernel should hold")
OBJECTS_KERNEL = Description("vrfwire_agent_objects_in_kernel", "gauge", _KIND, "objects of ours that it holds")
OBJECTS_PENDING = Description(
    "vrfwire_agent_objects_pending", "gauge", _KIND, "changes to make, failed ones among them"
)
OBJECTS_FAILED = Description("vrfwire_agent_objects_failed", "gauge", _KIND, "objects whose last try failed")
OBJECTS_STRAY = Description(
    "vrfwire_agent_objects_stray", "gauge", _KIND, "objects of ours that nobody wants, kept until all routes are known"
)
REPAIRS = Description(
    "vrfwire_agent_repairs_total", "counter", _KIND, "objects put right that somebody else deleted or changed"
)
DUMPS = Description("vrfwire_agent_dumps_total", "counter", _KIND, "times that the kernel's objects were read")
UNREADABLE = Description("vrfwire_agent_objects_unreadable", "gauge", _KIND, "1 when the last reading of them failed")
LABELS = Description(
    "vrfwire_agent_labels", "gauge", ("state",), "labels: `used`, `resting` after use, `free` to be given out"
)

AGENT_METRICS = (
    *(PORTS, ANNOUNCED, BLOCKED, WITHOUT_CARRIER, PROBLEMS, DRAINED, VPNS, ROUTES, RECOVERED, MTU),
    *(GATEWAY_UP, GATEWAY_CHANGED, GATEWAY_SYNCHRONISED, GATEWAY_SESSIONS, GATEWAY_LOSSES, GATEWAY_RESUMPTIONS),
    *(GATEWAY_ROUTES, GATEWAY_REFUSED, GATEWAY_REFUSALS, GATEWAY_BAD),
    *(OBJECTS_WANTED, OBJECTS_KERNEL, OBJECTS_PENDING, OBJECTS_FAILED, OBJECTS_STRAY, REPAIRS, DUMPS, UNREADABLE),
    LABELS,
)
"""All of them, in the order of docs/metrics.md."""

_PORT_STATES = ("programmed", "pending", "error", "detaching")
_ANNOUNCEMENTS = ("yes", "partly", "no", "refused")


class AgentMetrics:
    """Takes snapshots of a host. status: the document of the control socket; certificates: CERTIFICATE_METRICS."""

    def __init__(
        self,
        agent: HostAgent,
        status: Callable[[], dict[str, object]],
        certificates: Callable[[], list[Metric]] = list,
    ) -> None:
        self._agent = agent
        self._status = status
        self._certificates = certificates

    def snapshot(self) -> list[Metric]:
        """Everything, now."""
        measured = chain(self._ports(), self._gateways(), self._objects(), self._labels())
        return [found for found in grouped(AGENT_METRICS, measured) if found.samples] + self._certificates()

    def _ports(self) -> Iterator[Measured]:
        agent, status = self._agent, self._status()
        attached = list(agent.inventory.attachments())
        states = Counter(agent.ports.state(entry)[0] for entry in attached)
        announced = Counter(agent.ports.announced(entry.name)[0] for entry in attached)
        for state in (*_PORT_STATES, *sorted(states.keys() - set(_PORT_STATES))):
            yield PORTS, (state,), states[state]
        for answer in (*_ANNOUNCEMENTS, *sorted(announced.keys() - set(_ANNOUNCEMENTS))):
            yield ANNOUNCED, (answer,), announced[answer]
        yield BLOCKED, (), sum(bool(entry.blocked) for entry in attached)
        yield WITHOUT_CARRIER, (), _number(status.get("without_carrier"))
        yield PROBLEMS, (), len(_list(status.get("problems")))
        yield DRAINED, (), agent.drain.phase is not DrainPhase.ACTIVE
        joined = agent.inventory.joined()
        yield VPNS, (), len(joined)
        for record in sorted(joined, key=lambda record: record.name):
            table = agent.tables.table(record.name)
            yield ROUTES, (record.name,), 0 if table is None else len(table)
        yield RECOVERED, (), agent.tables.complete
        yield MTU, (), agent.mtu

    def _gateways(self) -> Iterator[Measured]:
        agent = self._agent
        for peer in agent.peers.values():
            labels = (_end(peer),)
            signaling = peer.signaling
            yield GATEWAY_UP, labels, peer.connected
            yield GATEWAY_CHANGED, labels, peer.session.since
            synchronised = peer.connected and all(map(signaling.synchronised, signaling.joined))
            yield GATEWAY_SYNCHRONISED, labels, synchronised
            yield GATEWAY_SESSIONS, labels, peer.sessions
            yield GATEWAY_LOSSES, labels, peer.losses
            yield GATEWAY_RESUMPTIONS, labels, peer.resumptions
            yield GATEWAY_ROUTES, labels, agent.tables.routes(peer.gateway)
            yield GATEWAY_REFUSED, labels, len(signaling.refusals)
            yield GATEWAY_REFUSALS, labels, peer.refusals
            yield GATEWAY_BAD, labels, peer.bad_items

    def _objects(self) -> Iterator[Measured]:
        for figures in self._agent.datapath.reconciler.figures():
            labels = (figures.kind.name.lower(),)
            yield OBJECTS_WANTED, labels, figures.wanted
            yield OBJECTS_KERNEL, labels, figures.kernel
            yield OBJECTS_PENDING, labels, figures.pending
            yield OBJECTS_FAILED, labels, figures.failed
            yield OBJECTS_STRAY, labels, figures.strays
            yield REPAIRS, labels, figures.repaired
            yield DUMPS, labels, figures.dumps
            yield UNREADABLE, labels, bool(figures.dump_error)

    def _labels(self) -> Iterator[Measured]:
        labels = self._agent.inventory.labels
        yield LABELS, ("used",), labels.used
        yield LABELS, ("resting",), labels.resting
        free = self._agent.config.datapath.label_count - labels.used - labels.resting
        yield LABELS, ("free",), max(0, free)


def _end(peer: Peer) -> str:
    """A gateway: address and port, since two may share an address."""
    return f"[{peer.name}]:{peer.gateway.port}" if ":" in peer.name else f"{peer.name}:{peer.gateway.port}"


def _number(value: object) -> float:
    return value if isinstance(value, int | float) else 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
