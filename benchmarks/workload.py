"""One measurement of the datapath benchmark: `python -m benchmarks.workload WAY COUNT`, JSON on stdout.

Runs in a private network namespace, and empties it before its end with the means of the datapath: the kernel takes a
minute to drop a namespace with 100,000 next hops that carry routes.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from datapath.channel import Channel
from datapath.driver import Driver, Operation, Verb
from datapath.nexthops import ID_RANGE, NextHopDriver, NextHopGroupDriver, NextHopIds
from datapath.reconciler import Reconciler
from datapath.routes import MplsRouteDriver, NeighbourDriver, VrfRouteDriver
from datapath.values import PROTOCOL, NextHop, Value, VrfRoute
from runtime.collector import collect_seldom
from vpn.prefix import Prefix, format_address

DEVICE = "bench0"
TABLE = 10_000
CHUNK = 500
"""Routes handed to the reconciler at a time: some messages of a gateway."""
CLONE_NEWNET = 0x40000000
FIRST_GATEWAY = 0x0A800001
FIRST_PREFIX = 0x14000000
FIRST_LABEL = 16


def enter_private_namespace() -> None:
    """A network namespace of this process alone, with a device for next hops. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    script = [
        f"link add {DEVICE} type veth peer name bench1",
        f"link set {DEVICE} up",
        "link set bench1 up",
        f"address add 192.0.2.7/24 dev {DEVICE}",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(script), text=True, check=True)


class Process:
    """Channel, drivers and reconciler, as the agent has them."""

    def __init__(self) -> None:
        self.channel = Channel()
        ids = NextHopIds()
        self.drivers: tuple[Driver, ...] = (
            NeighbourDriver(self.channel),
            NextHopDriver(self.channel, ids),
            NextHopGroupDriver(self.channel, ids),
            MplsRouteDriver(self.channel, range(16, 1 << 20)),
            VrfRouteDriver(self.channel, ids, range(TABLE, TABLE + 1)),
        )
        self.reconciler = Reconciler(self.drivers)
        self.longest = 0.0

    def work(self) -> None:
        """Step until there is nothing to do. Raises RuntimeError when something failed."""
        more = True
        while more:
            began = time.perf_counter()
            more = self.reconciler.step(began)
            self.longest = max(self.longest, time.perf_counter() - began)
        failures = self.reconciler.failures()
        if failures:
            raise RuntimeError(f"{len(failures)} failures, the first: {failures[0].status.error}")


def kernel_has_mpls() -> bool:
    """Whether next hops can push labels here."""
    process = Process()
    for driver in process.drivers:
        driver.dump()
    probe = NextHop(DEVICE, FIRST_GATEWAY.to_bytes(4, "big"), (FIRST_LABEL,))
    outcome = process.drivers[1].apply([Operation(Verb.PUT, probe)])[0]
    process.drivers[1].apply([Operation(Verb.REMOVE, probe)])
    process.channel.close()
    return outcome is None


def values(count: int, labels: bool) -> Iterator[tuple[NextHop, VrfRoute]]:
    """count VPN routes, each with its own next hop."""
    for place in range(count):
        gateway = (FIRST_GATEWAY + place).to_bytes(4, "big")
        hop = NextHop(DEVICE, gateway, (FIRST_LABEL + place,) if labels else ())
        yield hop, VrfRoute(TABLE, Prefix((FIRST_PREFIX + place).to_bytes(4, "big"), 32), hop)


def empty() -> None:
    """Delete everything of ours in the namespace."""
    process = Process()
    process.reconciler.allow_sweep()
    process.work()
    process.channel.close()


def resident() -> float:
    """Resident set of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def measure_vrfwire(count: int, labels: bool) -> dict[str, float]:
    """Load, resync, and a fresh process (another reconciler, channel and drivers) that finds all of it right."""
    routes = list(values(count, labels))
    feed = [[value for pair in routes[at : at + CHUNK] for value in pair] for at in range(0, count, CHUNK)]
    process = Process()
    process.work()
    began = time.perf_counter()
    for chunk in feed:
        process.reconciler.put_all(chunk)
        process.work()
    loaded = time.perf_counter()
    longest = process.longest
    process.reconciler.resync(None, "benchmark")
    process.work()
    resynced = time.perf_counter()
    rss = resident()
    assert process.channel.sent == 2 * count, "a resync of what is right writes nothing"
    process.channel.close()
    del process
    fresh = Process()
    wanted: list[Value] = [value for pair in routes for value in pair]
    fresh_began = time.perf_counter()
    fresh.reconciler.put_all(wanted)
    fresh.work()
    fresh_done = time.perf_counter()
    assert fresh.channel.sent == 0, "a fresh process rewrites nothing"
    for hop, route in routes:
        fresh.reconciler.remove(route.kind, route.key)
        fresh.reconciler.remove(hop.kind, hop)
    fresh.work()
    return {
        "load_s": loaded - began,
        "resync_s": resynced - loaded,
        "fresh_s": fresh_done - fresh_began,
        "step_s": longest,
        "rss_mb": rss,
        "labels": float(labels),
    }


def measure_ip_batch(count: int, labels: bool) -> dict[str, float]:
    """`ip -batch` with a file made beforehand."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii", suffix=".batch") as script:
        hops, routes = [], []
        for identity, (hop, route) in enumerate(values(count, labels), ID_RANGE.start):
            encap = f"encap mpls {hop.labels[0]} " if hop.labels else ""
            gateway = format_address(hop.gateway)
            hops.append(f"nexthop add id {identity} {encap}via {gateway} dev {DEVICE} onlink proto {PROTOCOL}\n")
            routes.append(f"route add {route.prefix} nhid {identity} table {TABLE} proto {PROTOCOL}\n")
        script.writelines(hops)
        script.writelines(routes)
        script.flush()
        began = time.perf_counter()
        subprocess.run(["ip", "-batch", script.name], check=True)
        seconds = time.perf_counter() - began
    empty()
    return {"load_s": seconds}


def measure_pyroute2(count: int, labels: bool) -> dict[str, float]:
    """One call of pyroute2 a route, with the next hop in it: pyroute2 has no nexthop objects."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr:
        oif = ipr.link_lookup(ifname=DEVICE)[0]
        began = time.perf_counter()
        for hop, route in values(count, labels):
            ipr.route(
                "add",
                dst=str(route.prefix),
                gateway=format_address(hop.gateway),
                oif=oif,
                flags=["onlink"],
                table=TABLE,
                proto=PROTOCOL,
                **({"encap": {"type": "mpls", "labels": str(hop.labels[0])}} if hop.labels else {}),
            )
        seconds = time.perf_counter() - began
    empty()
    return {"load_s": seconds}


WAYS: dict[str, Callable[[int, bool], dict[str, float]]] = {
    "vrfwire": measure_vrfwire,
    "ip-batch": measure_ip_batch,
    "pyroute2": measure_pyroute2,
}


def main(argv: list[str]) -> int:
    """The command."""
    way, count = argv
    enter_private_namespace()
    # As the agent does.
    collect_seldom()
    print(json.dumps(WAYS[way](int(count), kernel_has_mpls())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
