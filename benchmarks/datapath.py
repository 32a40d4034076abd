"""VPN routes into the kernel: the reconciler with its drivers against `ip -batch` and pyroute2 one by one.

Every measurement is a process of its own in a private network namespace (benchmarks/workload.py), the ways by turns,
and the best of the rounds counts for each: others on the machine can make a round slower and never faster. Where the
kernel has MPLS encapsulation every next hop pushes a label, as in reality; elsewhere the next hops are plain.

    routes     next hop and route, 10,000 to 100,000 of them, put in chunks as they come from a gateway
    resync     dump and compare of 100,000 that are right already; nothing may be written
    memory     resident set of the process that did that
    lab        routes with MPLS encapsulation, in the lab's kernel, when this one has none. 10,000 of them: `ip -batch`
               takes 4 KiB of memory a line, and the guest has 1 GiB
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.report import Figures, Progress
from runtime.errors import ExitCode, OperatorError

SIZES = (10_000, 50_000, 100_000)
ROUNDS = 4
PYROUTE2_SAMPLE = 2_000
"""Routes put one by one: enough to know the rate, which doesn't depend on the number."""
TIMEOUT = 300.0
"""Seconds for one measurement."""


LAB = (sys.executable, "-m", "lab", "run", "--")
"""Runs a command in the lab."""
LAB_SIZE = 10_000
LAB_ROUNDS = 2


def _measure(way: str, count: int, where: Sequence[str] = ()) -> dict[str, float]:
    """One measurement in a process of its own. Raises OperatorError."""
    argv = [*where, sys.executable, "-m", "benchmarks.workload", way, str(count)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise OperatorError(f"datapath benchmark, {way}", why)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _best(results: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure."""
    return {key: min(result[key] for result in results) for key in results[0]}


def run(progress: Progress) -> Figures:
    """See benchmarks.report.Benchmark."""
    if os.geteuid() != 0:
        raise OperatorError("datapath benchmark", "only root can make network namespaces", "", ExitCode.NOT_PERMITTED)
    figures: dict[str, float | int | str] = {}
    rate: dict[int, float] = {}
    rate_ip: dict[int, float] = {}
    ours: dict[str, float] = {}
    for count in SIZES:
        results: dict[str, list[dict[str, float]]] = {"ip-batch": [], "vrfwire": []}
        for turn in range(ROUNDS):
            for way, found in results.items():
                found.append(_measure(way, count))
                progress(f"{count} routes, round {turn + 1}, {way}: {count / found[-1]['load_s']:,.0f} routes/s")
        ours = _best(results["vrfwire"])
        rate[count] = count / ours["load_s"]
        rate_ip[count] = count / _best(results["ip-batch"])["load_s"]
        name = f"{count // 1000}k"
        figures[f"routes_per_s_{name}"] = round(rate[count])
        figures[f"ip_batch_routes_per_s_{name}"] = round(rate_ip[count])
        figures[f"routes_vs_ip_batch_{name}"] = round(rate[count] / rate_ip[count], 2)
    single = _measure("pyroute2", PYROUTE2_SAMPLE)
    progress(f"pyroute2 one by one: {PYROUTE2_SAMPLE / single['load_s']:,.0f} routes/s")
    largest = SIZES[-1]
    figures["pyroute2_routes_per_s"] = round(PYROUTE2_SAMPLE / single["load_s"])
    figures["routes_vs_pyroute2"] = round(rate[largest] * single["load_s"] / PYROUTE2_SAMPLE, 1)
    figures["routes_vs_ip_batch"] = figures[f"routes_vs_ip_batch_{largest // 1000}k"]
    figures["rate_100k_over_10k"] = round(rate[largest] / rate[SIZES[0]], 2)
    figures["resync_100k_s"] = round(ours["resync_s"], 3)
    figures["fresh_start_100k_s"] = round(ours["fresh_s"], 3)
    figures["longest_step_100k_ms"] = round(1000 * ours["step_s"], 1)
    figures["rss_100k_mb"] = round(ours["rss_mb"], 1)
    figures["mpls"] = "yes" if ours["labels"] else "no"
    if not ours["labels"]:
        figures |= _in_lab(progress)
    return figures


def _in_lab(progress: Progress) -> Figures:
    """The same with labels."""
    seconds: dict[str, list[float]] = {"ip-batch": [], "vrfwire": []}
    for turn in range(LAB_ROUNDS):
        for way, found in seconds.items():
            found.append(_measure(way, LAB_SIZE, LAB)["load_s"])
            progress(
                f"lab, {LAB_SIZE} routes with labels, round {turn + 1}, {way}: {LAB_SIZE / found[-1]:,.0f} routes/s"
            )
    return {
        "lab_mpls_routes_per_s_10k": round(LAB_SIZE / min(seconds["vrfwire"])),
        "lab_mpls_ip_batch_routes_per_s_10k": round(LAB_SIZE / min(seconds["ip-batch"])),
        "lab_mpls_routes_vs_ip_batch_10k": round(min(seconds["ip-batch"]) / min(seconds["vrfwire"]), 1),
    }
