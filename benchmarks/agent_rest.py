"""Part of the agent's benchmark: what it uses when there is nothing to do, and when others on the host do much."""

from __future__ import annotations

import time

from benchmarks.processes import processor, resident, switches
from lab.crowd import ForeignRoutes, Spent, flap_devices
from lab.node import Host

Figures = dict[str, float | int]

REST = 20.0
"""Seconds that a host is watched at rest."""
HOLD = 30.0
"""Default of [signaling] hold_time: every third of it a gateway is sent a ping."""
WAKES = 2
"""Of each ping: for the time that it is due, and for the answer."""
ROUTES = 30_000
FLAPS = 100


def at_rest(host: Host, ports: int) -> Figures:
    """Nothing happens on the host, which has come to rest, and nobody asks."""
    pid = host.daemon.pid
    woken, used, began = switches(pid), processor(pid), time.perf_counter()
    time.sleep(REST)
    seconds = time.perf_counter() - began
    woken, used = switches(pid) - woken, processor(pid) - used
    return {
        f"rss_mib_{ports}_ports": resident(pid),
        "rest_wakeups_per_s": round(woken / seconds, 2),
        "rest_wakeups_of_keepalives_per_s": round(WAKES * len(host.gateways) / (HOLD / 3), 2),
        "rest_cpu_percent": round(used / seconds * 100, 2),
    }


def crowd(host: Host) -> Figures:
    """Routes and devices of another program come, change and go. CPU of the agent, and of what caused it."""
    pid = host.daemon.pid
    host.namespace.ip("link add foreign type dummy", "link set foreign up")
    try:
        with ForeignRoutes(host.namespace, "foreign") as routes:
            woken, used = switches(pid), processor(pid)
            routes.add(ROUTES)
            routes.replace(ROUTES)
            routes.remove(ROUTES)
            by_routes = switches(pid) - woken
            flaps = Spent()
            flap_devices(host.namespace, FLAPS, flaps)
            by_devices = switches(pid) - woken - by_routes
            used = processor(pid) - used
    finally:
        host.namespace.ip("link delete foreign")
    return {
        "foreign_changes_of_routes": routes.spent.changes,
        "foreign_changes_of_devices": flaps.changes,
        "foreign_routes_wakeups": by_routes,
        "foreign_devices_wakeups": by_devices,
        "foreign_agent_cpu_s": round(used, 2),
        "foreign_routes_cpu_s": round(routes.spent.cpu, 2),
    }
