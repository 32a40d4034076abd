"""The part of the agent's benchmark that runs in the lab: one gateway, two hosts, real daemons on a real kernel.

python -m benchmarks.agent_lab [--ports N] [--cli N] [--vms N] [--routes N] [--no-rest] [--no-faults] RESULT

Writes a JSON object of figures to the file RESULT; progress goes to standard error. Times are those of the machine that
it runs in: in user-mode Linux a system call costs about 80 us, and all daemons share one CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import agent_faults, agent_rest
from benchmarks.processes import processor, resident
from lab.errors import LabError
from lab.namespace import Namespace
from lab.netns_guest import NamespaceGuest
from lab.node import PORT, Host
from lab.topology import DOMAIN, Lab, Vpn
from lab.wait import wait_until
from runtime.client import ControlClient

Figures = dict[str, float | int]

VPNS = (Vpn("blue", ["64512:1"]), Vpn("green", ["64512:2"]))
"""Ports are attached in blue; green has the many routes."""
REMOTE = "10.2.0.1"
"""The VM on the second host."""
FIRST_REPLY = 30.0
"""Seconds within which a new VM must answer."""
ENDS = 20
"""Ports at the start and at the end of the row whose attach times are compared."""
QUIET = 100
"""Ports of the host that is watched at rest."""
NEXT_HOPS = [f"198.18.0.{number}" for number in range(1, 101)]
NETWORK = "10.64.0.0"
PUBLISH = 600.0
PROGRAM = 600.0
"""Seconds for 100,000 routes to be published, and to be programmed."""
PROBE = 0.05
"""Seconds between two questions to an agent that is busy."""


def say(text: str) -> None:
    """Progress."""
    print(f"[{time.monotonic():7.1f} s] {text}", file=sys.stderr, flush=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` of the values don't exceed."""
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


def spread(name: str, seconds: Sequence[float]) -> Figures:
    """NAME_p50_ms, NAME_p99_ms and NAME_max_ms."""
    return {
        f"{name}_p50_ms": round(median(seconds) * 1000, 2),
        f"{name}_p99_ms": round(percentile(seconds, 99) * 1000, 2),
        f"{name}_max_ms": round(max(seconds) * 1000, 2),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def address(number: int) -> str:
    """Address of the VM behind a port."""
    return f"10.1.{number >> 8}.{number & 255}"


def attach_row(host: Host, count: int, rest: bool = False) -> Figures:
    """Taps attached one after the other by one client. rest: in the middle, the host is watched at rest."""
    figures: Figures = {}
    first = min(QUIET, count) if rest else count
    seconds, used = attach_taps(host, range(1, first + 1))
    if rest:
        settle(host, first)
        figures = agent_rest.at_rest(host, first) | agent_rest.crowd(host)
        say(f"at rest the agent wakes up {figures['rest_wakeups_per_s']} times a second")
    more, then = attach_taps(host, range(first + 1, count + 1))
    seconds += more
    settle(host, count)
    figures |= spread("attach", seconds) | {
        "ports": count,
        "attach_agent_cpu_ms": round((used + then) / count * 1000, 2),
        f"attach_first_{ENDS}_p50_ms": round(median(seconds[1 : ENDS + 1]) * 1000, 2),
        f"attach_last_{ENDS}_p50_ms": round(median(seconds[-ENDS:]) * 1000, 2),
        "attach_first_of_vpn_ms": round(seconds[0] * 1000, 2),
    }
    return figures | {f"rss_mib_{count}_ports": resident(host.daemon.pid)}


def attach_taps(host: Host, numbers: Iterable[int]) -> tuple[list[float], float]:
    """Seconds of each attach, and CPU seconds of the agent."""
    seconds = []
    used = processor(host.daemon.pid)
    with ControlClient(str(host.socket)) as client:
        for number in numbers:
            params = {
                "name": f"row-{number}",
                "vpn": "blue",
                "addresses": [address(number)],
                "kind": "tap",
                "interface": f"tap{number}",
                "wait": "programmed",
            }
            seconds.append(timed(lambda params=params: client.call("port.attach", params)))  # type: ignore[misc]
    return seconds, processor(host.daemon.pid) - used


def settle(host: Host, ports: int) -> None:
    """Wait until every port is announced and its route has come back."""

    def done() -> bool:
        status = host.call("status")
        return bool(status["ports_programmed"] == ports and status["routes"] >= ports and not status["pending"])

    wait_until(done, 60.0, f"{ports} ports to be announced", 0.2, lambda: json.dumps(host.call("status"), indent=1))


def attach_by_command(host: Host, first: int, count: int) -> Figures:
    """The same by a process of the CLI each."""
    seconds = []
    for number in range(first, first + count):
        arguments = ("port", "attach", f"cli-{number}", "--vpn", "blue", "--address", address(number))
        seconds.append(timed(lambda a=arguments, n=number: host.cli(*a, "--tap", f"tap{n}")))  # type: ignore[misc]
    start = min(timed(lambda: host.cli("--help")) for _ in range(5))
    return spread("attach_with_cli", seconds) | {"cli_start_ms": round(start * 1000, 2)}


def first_replies(lab: Lab, host: Host, remote: NamespaceGuest, first: int, count: int) -> Figures:
    """VMs in namespaces: from the call until the VM on the other host has a reply of the new one."""
    attached, replied, detached = [], [], []
    namespaces = [Namespace(f"vm-{number}") for number in range(first, first + count)]
    try:
        with ControlClient(str(host.socket)) as client:
            for number, namespace in enumerate(namespaces, first):
                params = {
                    "name": namespace.name,
                    "vpn": "blue",
                    "addresses": [address(number)],
                    "kind": "veth",
                    "netns": namespace.name,
                }
                began = time.perf_counter()
                client.call("port.attach", params)
                attached.append(time.perf_counter() - began)
                while not remote.ping(address(number), 1, 0.02).ok:
                    if time.perf_counter() - began > FIRST_REPLY:
                        raise LabError(f"{address(number)} does not answer", log=lab.tails())
                    time.sleep(0.002)
                replied.append(time.perf_counter() - began)
            for namespace in namespaces:
                gone = {"name": namespace.name}
                detached.append(timed(lambda gone=gone: client.call("port.detach", gone)))  # type: ignore[misc]
    finally:
        for namespace in namespaces:
            namespace.delete()
    return spread("attach_veth", attached) | spread("first_reply", replied) | spread("detach_veth", detached)


def many_routes(lab: Lab, host: Host, count: int) -> Figures:
    """Routes that the gateway has already, received by an agent that joins their VPN."""
    credentials = lab.authority.issue(
        "publisher", "publisher", dns=["publisher"], jids=[f"publisher@{DOMAIN}"], addresses=NEXT_HOPS
    )
    settings = {
        "gateway": lab.gateway.address,
        "port": PORT,
        "domain": DOMAIN,
        "host": "publisher",
        "vpn": "green",
        "routes": count,
        "network": NETWORK,
        "next_hops": NEXT_HOPS,
        **credentials.table(),
    }
    path = lab.directory / "publisher.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    before = resident(host.daemon.pid)
    with lab.gateway.namespace.entered():
        publisher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.publisher", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    try:
        assert publisher.stdout is not None
        published = json.loads(publisher.stdout.readline() or b"null")
        if published is None:
            raise LabError("the publisher failed", log=lab.tails())
        say(f"published in {published['seconds']:.1f} s")
        figures = receive_routes(host, count, before) | restart(host, count)
        return {"publish_s": round(published["seconds"], 2)} | figures
    finally:
        publisher.communicate()


def receive_routes(host: Host, count: int, before: float) -> Figures:
    """Join the VPN, ask the agent all the time, and wait until the kernel has everything."""
    questions: list[float] = []
    attaches: list[float] = []
    used = processor(host.daemon.pid)
    with ControlClient(str(host.socket)) as client:

        def attach(number: int) -> None:
            params = {"name": f"green-{number}", "vpn": "green", "addresses": [address(number)], "kind": "tap"}
            client.call("port.attach", params | {"interface": f"green{number}"}, timeout=120.0)

        began = time.perf_counter()
        attach(1)
        received = None
        while True:
            questions.append(timed(lambda: client.call("version", timeout=120.0)))
            if len(questions) % 20 == 0:
                attaches.append(timed(lambda: attach(2 + len(attaches))))
            status: dict[str, Any] = client.call("status", timeout=120.0)
            elapsed = time.perf_counter() - began
            if received is None and status["routes"] >= count:
                received = elapsed
            have, wanted = map(int, status["objects"]["vrf_route"].split("/"))
            if have >= count and not status["pending"]:
                break
            if elapsed > PROGRAM:
                raise LabError(f"{have} of {wanted} routes after {elapsed:.0f} s", log=host.daemon.tail())
            time.sleep(PROBE)
    used = processor(host.daemon.pid) - used
    figures: Figures = {
        "routes": count,
        "routes_received_s": round(received or elapsed, 2),
        "routes_programmed_s": round(elapsed, 2),
        "routes_agent_cpu_s": round(used, 2),
        "rss_mib_before_routes": before,
        "rss_mib_100k_routes" if count == 100_000 else f"rss_mib_{count}_routes": resident(host.daemon.pid),
    }
    return figures | spread("busy_question", questions) | (spread("busy_attach", attaches) if attaches else {})


def restart(host: Host, count: int) -> Figures:
    """A restart with all routes in the kernel: until the gateway has told them anew, and nothing is left to do."""
    host.daemon.stop()
    began = time.perf_counter()
    host.daemon.start()
    serves = time.perf_counter() - began

    def done() -> bool:
        status: dict[str, Any] = host.call("status", timeout=120.0)
        have = int(status["objects"]["vrf_route"].split("/")[1])
        return bool(have >= count and not status["pending"])

    wait_until(done, PROGRAM, "the routes after a restart", 0.2, host.daemon.tail)
    return {
        "restart_serves_s": round(serves, 2),
        "restart_complete_s": round(time.perf_counter() - began, 2),
        "rss_mib_after_restart": resident(host.daemon.pid),
    }


def run(arguments: argparse.Namespace) -> Figures:
    """Everything, in one lab but for the faults."""
    with Lab(hosts=["hv1", "hv2"], vpns=VPNS) as lab:
        lab.gateway.settings["gateway"]["max_items"] = max(10_000, arguments.routes)
        lab.start()
        one, two = lab.hosts["hv1"], lab.hosts["hv2"]
        say("daemons run")
        figures: Figures = {"rss_mib_idle": resident(one.daemon.pid)}
        remote = lab.attach("hv2", "remote", "blue", [REMOTE])
        assert isinstance(remote, NamespaceGuest)
        figures |= attach_row(one, arguments.ports, arguments.rest)
        say(f"{arguments.ports} ports attached: {figures['attach_p50_ms']} ms")
        next_port = arguments.ports + 1
        if arguments.cli:
            figures |= attach_by_command(one, next_port, arguments.cli)
            next_port += arguments.cli
            say(f"{arguments.cli} ports attached by the command: {figures['attach_with_cli_p50_ms']} ms")
        if arguments.vms:
            figures |= first_replies(lab, one, remote, next_port, arguments.vms)
            next_port += arguments.vms
            say(f"{arguments.vms} VMs reached: {figures['first_reply_p50_ms']} ms")
        if arguments.faults:
            vm = address(next_port)
            lab.attach("hv1", "kept", "blue", [vm])
            figures |= agent_faults.damage(one, remote, vm, lab.replies["kept"])
            say(f"damage repaired in {figures['repair_s']} s")
        if arguments.routes:
            figures |= many_routes(lab, two, arguments.routes)
            say(f"{arguments.routes} routes programmed: {figures['routes_programmed_s']} s")
    if arguments.faults:
        figures |= agent_faults.disturb()
        lost = {name: value for name, value in figures.items() if name.startswith("lost_")}
        say(f"packets lost: {lost}; forwarding {figures['flap_back_s']} s after the underlay")
    return figures


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agent_lab")
    parser.add_argument("--ports", type=int, default=200)
    parser.add_argument("--cli", type=int, default=40)
    parser.add_argument("--vms", type=int, default=40)
    parser.add_argument("--routes", type=int, default=100_000)
    parser.add_argument("--no-rest", dest="rest", action="store_false")
    parser.add_argument("--no-faults", dest="faults", action="store_false")
    parser.add_argument("result", type=Path)
    arguments = parser.parse_args()
    figures = run(arguments)
    arguments.result.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
