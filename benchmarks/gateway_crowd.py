"""Ten thousand hosts of one gateway: logins, memory, CPU at rest, and how long it takes until all are back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway_fanout import Figures
from benchmarks.gateway_load import LoadProcess
from benchmarks.gateway_servers import Gateway

A_PROCESS = 5000
"""Hosts of one process of the load generator: both processors take part in its work."""
LOGINS_AT_ONCE = 32
"""By each process."""
ROUTES = 20
"""Of a host, in VPNS_OF_HOST VPNs."""
VPNS_OF_HOST = 2
HOSTS_OF_VPN = 20
RECOVERY = 180.0


@dataclass(frozen=True, slots=True)
class CrowdPlan:
    """steps: numbers of hosts, growing; rest: seconds of doing nothing."""

    steps: Sequence[int]
    rest: float


def vpn_names(hosts: int) -> list[str]:
    """VPNs that so many hosts are spread over."""
    return [f"v{number}" for number in range(max(VPNS_OF_HOST, hosts * VPNS_OF_HOST // HOSTS_OF_VPN))]


class Crowd:
    """Hosts in as many processes as they need."""

    def __init__(self, loads: Sequence[LoadProcess], hosts: int) -> None:
        self._loads = loads
        self._hosts = hosts

    def all(self, do: str, **parameters: Any) -> list[dict[str, Any]]:
        """Have the same done by all processes."""
        for load in self._loads:
            load.begin(do, **parameters)
        return [load.finish() for load in self._loads]

    def shares(self, first: int, last: int) -> Iterator[tuple[LoadProcess, int, int]]:
        """Process, first number and number of the hosts of first..last in it."""
        for place, load in enumerate(self._loads):
            start, end = max(first, place * A_PROCESS), min(last, (place + 1) * A_PROCESS)
            if start < end:
                yield load, start, end - start

    def each(self, do: str, first: int, last: int, **parameters: Any) -> list[dict[str, Any]]:
        """Have something done by hosts first..last, by all processes at the same time."""
        shares = list(self.shares(first, last))
        for load, start, count in shares:
            load.begin(do, first=start, count=count, **parameters)
        return [load.finish() for load, _, _ in shares]

    @property
    def up(self) -> int:
        """Hosts that are connected."""
        return sum(found["up"] for found in self.all("count"))


@contextlib.contextmanager
def crowd(gateway: Gateway, hosts: int) -> Iterator[Crowd]:
    """Processes for so many hosts."""
    with contextlib.ExitStack() as stack:
        number = -(-hosts // A_PROCESS)
        yield Crowd([stack.enter_context(LoadProcess(gateway.settings())) for _ in range(number)], hosts)


def measure(gateway: Gateway, plan: CrowdPlan, progress: Callable[[str], None]) -> Figures:
    """Of a gateway that is running and has the VPNs of vpn_names(). Raises LabError."""
    figures: Figures = {}
    hosts = plan.steps[-1]
    with crowd(gateway, hosts) as people:
        empty = gateway.resident()
        figures["empty_mb"] = empty
        before = 0
        for step in plan.steps:
            figures |= _log_in(gateway, people, before, step, empty)
            before = step
            progress(
                f"{step} hosts: " + ", ".join(f"{key} {value}" for key, value in figures.items() if str(step) in key)
            )
        figures["login_cpu_ms"] = figures[f"crowd_login_ms_cpu_{hosts}"]
        figures["logins_per_s"] = figures[f"crowd_logins_per_s_{hosts}"]
        figures["tls_bytes_per_host"] = round(float(figures[f"kib_per_host_{hosts}"]) * 1024)
        spent = gateway.cpu()
        time.sleep(plan.rest)
        figures["rest_cpu_percent"] = round((gateway.cpu() - spent) / plan.rest * 100, 2)
        progress(f"{hosts} hosts at rest for {plan.rest:g} s: {figures['rest_cpu_percent']} % of a CPU")
        figures |= _recover(gateway, people, hosts)
        progress("restart: " + ", ".join(f"{key} {value}" for key, value in figures.items() if "recovery" in key))
    return figures


def _log_in(gateway: Gateway, people: Crowd, first: int, last: int, empty: float) -> Figures:
    spent, began = gateway.cpu(), time.monotonic()
    found = people.each("connect", first, last, at_once=LOGINS_AT_ONCE)
    seconds = time.monotonic() - began
    failed = sum(each["failed"] for each in found)
    return {
        f"crowd_logins_per_s_{last}": round((last - first) / seconds, 1),
        f"crowd_login_ms_cpu_{last}": round((gateway.cpu() - spent) / (last - first) * 1000, 3),
        f"crowd_failed_{last}": failed,
        f"kib_per_host_{last}": round((gateway.resident() - empty) * 1024 / last, 1),
    }


def _recover(gateway: Gateway, people: Crowd, hosts: int) -> Figures:
    """The gateway is restarted; all hosts subscribe and publish anew and get all routes of their VPNs."""
    names = vpn_names(hosts)
    routes = ROUTES * HOSTS_OF_VPN // VPNS_OF_HOST * VPNS_OF_HOST
    people.each("plan", 0, hosts, nodes=names, per_host=VPNS_OF_HOST, routes=ROUTES, expected=routes)
    people.all("recover")
    began = time.monotonic()
    gateway.daemon.stop()
    stopped = time.monotonic() - began
    gateway.start()
    served = time.monotonic() - began
    for load, _, count in (shares := list(people.shares(0, hosts))):
        load.begin("wait", whole=count, deadline=RECOVERY)
    found = [load.finish() for load, _, _ in shares]
    last = max(each["whole_at"] for each in found)
    return {
        "recovery_s": round(last - began, 2),
        "recovery_stopped_s": round(stopped, 2),
        "recovery_serving_s": round(served, 2),
        "recovery_cpu_s": round(gateway.cpu(), 2),
        "recovery_surplus_items": sum(each["surplus"] for each in found),
        "recovery_mb": gateway.resident(),
    }
