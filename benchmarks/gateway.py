"""The gateway's XMPP service beside Prosody's and ejabberd's, and ten thousand hosts on one gateway.

All servers run on the loopback interface, one after the other, and are used by the same load generator
(benchmarks/xmpp_load.py); what isn't installed is left out. SIDE is vrfwire, prosody or ejabberd (with their own
publish-subscribe), component_prosody or component_ejabberd (ours behind them). An event is an item delivered to a
subscriber.

    SIDE_tls_events_per_s_SHAPE_N   delivered to N subscribers. SHAPE "lockstep": one item, the next one when all have
                                    it; "pipelined": requests of one item, 32 under way; "batch": requests of 100
                                    items, 2 under way, which the others' own services don't deliver
    SIDE_tls_us_per_event_SHAPE_N   CPU of the server for it, microseconds (component: of both)
    SIDE_tls_logins_per_s_N         of so many hosts, 32 at a time; login_ms_cpu: CPU of the server for one; login_kib:
                                    memory by which it has grown for one
    SIDE_tls_intake_*               publishes to nobody, by 4 hosts
    SIDE_plain_*                    the same without TLS (ours: benchmarks/gateway_plain.py)
    tls_events_vs_*                 ours, pipelined, through theirs: the smaller one of the ratios by number of
                                    subscribers; tls_lockstep_vs_*, tls_cpu_vs_*: other ratios. Above 1 is better than
                                    theirs
    crowd_*, kib_per_host_N         logins of the hosts up to N on one gateway, memory with N; logins_per_s,
                                    login_cpu_ms: of the largest number
    tls_bytes_per_host              memory for a host with TLS, all told, of the largest number
    handshake_*, *_at_most          of OpenSSL alone (benchmarks.gateway_handshake); login_vs_handshake: CPU of
                                    the gateway for a login through that of its end of a handshake
    rest_cpu_percent                of a CPU, when all hosts are silent but for their pings (every 10 s)
    recovery_s                      the gateway is restarted; all hosts come back as agents do, subscribe to two VPNs,
                                    publish 20 routes and get all 400 of their VPNs: from the signal until the last
                                    host has its last route
    many_vpns_*, one_vpn_*          from publish to delivery at 1,000 hosts, 1 % of the routes changing in a second: 20
                                    routes each in VPNs of 20 hosts; one each in a VPN of all. load_stall: of it may be
                                    the load generator's own
    publish_to_delivery_*           the worse one of both
    stopped_*                       a host stops reading (SIGSTOP) while changes go by: growth of the gateway in MiB,
                                    speed of the others as a share of that without, and what it is sent afterwards
    fairness_*                      see benchmarks.gateway_fairness

QUICK=1 in the environment: smaller numbers and fewer of them, for a minute.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import gateway_crowd, gateway_fairness, gateway_fanout, gateway_handshake, gateway_latency
from benchmarks.bgp import MANY
from benchmarks.gateway_crowd import CrowdPlan
from benchmarks.gateway_fanout import BATCHED, PIPELINED, PUBLISHERS, SINGLE, Figures, Plan, Shape, node_names
from benchmarks.gateway_latency import STOPPED, LatencyPlan
from benchmarks.gateway_load import Certificates
from benchmarks.gateway_servers import DOMAIN, OURS, Component, Gateway, Other, Side
from benchmarks.report import Figures as Report
from benchmarks.report import Progress
from lab.errors import LabError
from lab.xmpp_servers import SERVERS
from runtime.errors import OperatorError

INTAKE = (Shape("single", window=8), Shape("batch", 100, 2))
"""Of our gateway; the others' services take one item of a request."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. sizes: numbers of subscribers; seconds: of each measurement; plain: without TLS too."""

    sizes: Sequence[int]
    seconds: float
    plain: bool
    crowd: CrowdPlan
    latency: LatencyPlan
    routes: int = MANY
    """That come from a BGP peer; 0: that isn't measured."""


WHOLE = Extent((500, 1000), 3.0, True, CrowdPlan((1000, 5000, 10_000), 20.0), LatencyPlan(1000, 8.0))
QUICK = Extent((200,), 1.0, False, CrowdPlan((500, 1000), 4.0), LatencyPlan(200, 2.0), routes=0)


class Stage:
    """Where servers run: a directory for each, certificates for all of their hosts."""

    def __init__(self, directory: Path, progress: Progress) -> None:
        self.progress = progress
        self._directory = directory
        self._number = 0
        self._certificates = Certificates(directory / "hosts", DOMAIN)

    def handshakes(self) -> Figures:
        """What OpenSSL takes for one, alone."""
        self._certificates.issue([0])
        return gateway_handshake.measure(self._certificates.directory)

    def directory(self) -> Path:
        """A new one."""
        self._number += 1
        return self._directory / str(self._number)

    def gateway(self, hosts: Sequence[int], vpns: Sequence[str], *, plain: bool = False) -> Gateway:
        """Our gateway. hosts: numbers of those who log in."""
        self._certificates.issue(hosts)
        return Gateway(self.directory(), self._certificates, vpns, plain=plain)

    def running(self, side: Side, work: Callable[[], Figures]) -> Figures:
        """What is measured while it runs. Raises LabError with the end of its log."""
        with side:
            try:
                return work()
            except LabError as error:
                raise LabError(f"{side.name}: {error}", error.hint, f"{error.log}\n{side.tail()}") from None


def fan_out(stage: Stage, extent: Extent, *, tls: bool) -> Figures:
    """Delivery, logins and intake of all servers; one of others that fails is named and left out."""
    figures: Figures = {}
    sizes = extent.sizes if tls else extent.sizes[:1]
    hosts, nodes = range(PUBLISHERS + max(sizes)), node_names(sizes)
    ours = Plan(sizes, (SINGLE, PIPELINED, BATCHED), extent.seconds, INTAKE, tls)
    theirs = replace(ours, shapes=(SINGLE, PIPELINED), intake=INTAKE[:1])
    behind = replace(ours, sizes=sizes[:1], intake=())
    plans: list[tuple[Callable[[], Side], Plan]] = [(partial(stage.gateway, hosts, nodes, plain=not tls), ours)]
    for name in SERVERS:
        plans.append((partial(_other, stage, name), theirs))
        if tls:
            plans.append((partial(_component, stage, name, len(hosts), nodes), behind))
    for make, plan in plans:
        side = make()
        kind = "tls" if plan.tls else "plain"
        stage.progress(f"{side.name}, {kind}")
        try:
            found = stage.running(side, partial(gateway_fanout.measure, side, plan, stage.progress))
        except LabError as error:
            if side.name == OURS:
                raise
            stage.progress(
                f"{side.name} is left out: {error}" + "".join(f"\n{more}" for more in (error.hint, error.log) if more)
            )
            continue
        figures |= {f"{side.name}_{kind}_{key}": value for key, value in found.items()}
    return figures


def _other(stage: Stage, name: str) -> Side:
    return Other(name, stage.directory(), range(PUBLISHERS))


def _component(stage: Stage, name: str, hosts: int, nodes: Sequence[str]) -> Side:
    return Component(name, stage.directory(), hosts, nodes)


def ratios(figures: Figures, sizes: Sequence[int]) -> Figures:
    """Ours through theirs."""
    found: Figures = {}

    def ratio(key: str, other: str) -> float | None:
        ours, theirs = figures.get(f"{OURS}_{key}"), figures.get(f"{other}_{key}")
        return float(ours) / float(theirs) if ours and theirs else None

    def note(key: str, values: Sequence[float | None]) -> None:
        known = [value for value in values if value is not None]
        if known:
            found[key] = round(min(known), 2)

    for other in (*SERVERS, *(f"component_{name}" for name in SERVERS)):
        note(f"tls_events_vs_{other}", [ratio(f"tls_events_per_s_pipelined_{size}", other) for size in sizes])
        note(f"tls_lockstep_vs_{other}", [ratio(f"tls_events_per_s_lockstep_{size}", other) for size in sizes])
        for shape in ("lockstep", "pipelined"):
            costs = [ratio(f"tls_us_per_event_{shape}_{size}", other) for size in sizes]
            note(f"tls_cpu_{shape}_vs_{other}", [1 / cost if cost else None for cost in costs])
        note(f"plain_events_vs_{other}", [ratio(f"plain_events_per_s_pipelined_{size}", other) for size in sizes])
        note(f"tls_intake_vs_{other}", [ratio("tls_intake_single_iqs_per_s", other)])
    return found


def run(progress: Progress) -> Report:
    """See benchmarks.report.Benchmark."""
    extent = QUICK if os.environ.get("QUICK") else WHOLE
    with tempfile.TemporaryDirectory(prefix="vrfwire-bench-") as directory:
        stage = Stage(Path(directory), progress)
        try:
            return _measured(stage, extent)
        except LabError as error:
            progress(error.log)
            raise OperatorError("gateway benchmark", str(error), error.hint) from error


def _measured(stage: Stage, extent: Extent) -> Figures:
    figures = fan_out(stage, extent, tls=True)
    if extent.plain:
        figures |= fan_out(stage, extent, tls=False)
    compared = ratios(figures, extent.sizes)
    stage.progress(", ".join(f"{key} {value}" for key, value in compared.items()))
    figures = compared | figures
    latency, crowd = extent.latency, extent.crowd
    gateway = stage.gateway([*range(latency.hosts), STOPPED], gateway_latency.vpns(latency.hosts))
    figures |= stage.running(gateway, partial(gateway_latency.measure, gateway, latency, stage.progress))
    hosts = crowd.steps[-1]
    large = stage.gateway(range(hosts), gateway_crowd.vpn_names(hosts))
    figures |= stage.running(large, partial(gateway_crowd.measure, large, crowd, stage.progress))
    figures |= stage.handshakes()
    figures["login_vs_handshake"] = round(float(figures["login_cpu_ms"]) / float(figures["handshake_ms_server"]), 2)
    if extent.routes:
        stage.progress(f"{extent.routes} routes from a BGP peer")
        figures |= gateway_fairness.measure(stage.progress, extent.routes)
    return figures
