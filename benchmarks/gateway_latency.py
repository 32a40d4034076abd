"""From a publish to its delivery: a thousand hosts whose routes change, and one host that has stopped reading."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.gateway_crowd import HOSTS_OF_VPN, ROUTES, VPNS_OF_HOST, vpn_names
from benchmarks.gateway_fanout import BATCHED, Figures
from benchmarks.gateway_load import LoadProcess
from benchmarks.gateway_servers import Gateway

ONE = "one"
"""The VPN that all hosts are in."""
CHURN = 0.01
"""Share of all routes that changes in a second."""
STOPPED = 9_999
"""Number of the host that stops reading."""
SETTLE = 0.5
RECEIVE_BUFFER = 64 * 1024
"""Of the host that stops: what the kernel keeps isn't what is measured."""


@dataclass(frozen=True, slots=True)
class LatencyPlan:
    """hosts: how many; seconds: of each measurement."""

    hosts: int
    seconds: float


def vpns(hosts: int) -> list[str]:
    """VPNs that measure() uses."""
    return [ONE, *vpn_names(hosts)]


def measure(gateway: Gateway, plan: LatencyPlan, progress: Callable[[str], None]) -> Figures:
    """Of a gateway that is running and has the VPNs of vpns(). Raises LabError."""
    figures: Figures = {}
    hosts = plan.hosts
    with LoadProcess(gateway.settings()) as load:
        # Spread over many VPNs: many changes for a few hosts each.
        expected = ROUTES * HOSTS_OF_VPN
        shape = {"nodes": vpn_names(hosts), "per_host": VPNS_OF_HOST, "routes": ROUTES, "expected": expected}
        load.ask("plan", first=0, count=hosts, **shape)
        load.connect(0, hosts)
        load.ask("wait", whole=hosts, quiet=SETTLE)
        rate = CHURN * hosts * ROUTES
        figures |= _named("many_vpns", _churn(gateway, load, hosts, rate, plan.seconds))
    with LoadProcess(gateway.settings()) as load:
        # All in one VPN with a route each: every change goes to all.
        load.ask("plan", first=0, count=hosts, nodes=[ONE], per_host=1, routes=1)
        load.connect(0, hosts)
        load.ask("wait", whole=hosts, quiet=SETTLE)
        found = _churn(gateway, load, hosts, CHURN * hosts, plan.seconds)
        figures |= _named("one_vpn", found)
        worst = max(float(figures["many_vpns_p99_ms"]), float(figures["one_vpn_p99_ms"]))
        figures |= {"publish_to_delivery_p99_ms": worst}
        figures["publish_to_delivery_p50_ms"] = max(
            float(figures["many_vpns_p50_ms"]), float(figures["one_vpn_p50_ms"])
        )
        progress(", ".join(f"{key} {value}" for key, value in figures.items()))
        stopped = _stopped(gateway, load, plan)
        progress(", ".join(f"{key} {value}" for key, value in stopped.items()))
    return figures | stopped


def _churn(gateway: Gateway, load: LoadProcess, hosts: int, rate: float, seconds: float) -> dict[str, Any]:
    spent = gateway.cpu()
    found = load.ask("churn", first=0, count=hosts, rate=rate, seconds=seconds)
    return found | {"cpu_percent": (gateway.cpu() - spent) / seconds * 100}


def _named(name: str, found: dict[str, Any]) -> Figures:
    return {
        f"{name}_p50_ms": round(found["p50_s"] * 1000, 2),
        f"{name}_p99_ms": round(found["p99_s"] * 1000, 2),
        f"{name}_max_ms": round(found["max_s"] * 1000, 2),
        f"{name}_load_stall_ms": round(found["stall_s"] * 1000, 2),
        f"{name}_missing": found["wanted"] - found["deliveries"],
        f"{name}_cpu_percent": round(found["cpu_percent"], 1),
    }


def _stopped(gateway: Gateway, load: LoadProcess, plan: LatencyPlan) -> Figures:
    """One more host of the VPN is stopped, a flood of changes goes by, then the churn again, and it reads again."""
    flood = {"hosts": [0], "node": ONE, "each": BATCHED.each, "window": BATCHED.window, "routes": 2000}
    flood |= {"subscribers": plan.hosts, "seconds": plan.seconds}
    with LoadProcess(replace(gateway.settings(), receive_buffer=RECEIVE_BUFFER)) as other:
        other.ask("plan", first=STOPPED, count=1, nodes=[ONE])
        other.connect(STOPPED, 1)
        load.ask("publish", **flood)
        other.ask("wait", quiet=SETTLE)
        before = gateway.resident()
        free = load.ask("publish", **flood)
        grown_free = gateway.resident() - before
        read = other.ask("count")["items"]
        os.kill(other.pid, signal.SIGSTOP)
        before = gateway.resident()
        held = load.ask("publish", **flood)
        grown = gateway.resident() - before
        after = _churn(gateway, load, plan.hosts, CHURN * plan.hosts, plan.seconds)
        os.kill(other.pid, signal.SIGCONT)
        began = time.monotonic()
        other.ask("wait", quiet=SETTLE)
        caught_up = other.ask("count")
        return {
            "stopped_growth_mb": round(grown, 2),
            "stopped_growth_without_mb": round(grown_free, 2),
            "stopped_rate_ratio": round(held["delivered"] / held["seconds"] / (free["delivered"] / free["seconds"]), 3),
            "stopped_p99_ms": round(after["p99_s"] * 1000, 2),
            "stopped_missed_items": held["items"] + after["changes"] - (caught_up["items"] - read),
            "stopped_got_items": caught_up["items"] - read,
            "stopped_catch_up_s": round(max(0.0, caught_up["last"] - began), 3),
            "stopped_ended": caught_up["lost"],
        }
