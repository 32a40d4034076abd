"""What the running kernel can really create: tried in a throw-away network namespace, not guessed from versions."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

MODULES = [
    "vrf",
    "mpls_router",
    "mpls_iptunnel",
    "mpls_gso",
    "gre",
    "ip_gre",
    "ip6_gre",
    "tun",
    "veth",
    "dummy",
    "bridge",
    "vxlan",
    "cls_bpf",
    "act_bpf",
    "cls_flower",
    "cls_matchall",
    "act_gact",
    "act_mirred",
    "act_police",
    "act_skbedit",
    "sch_ingress",
    "sch_netem",
    "sch_tbf",
    "af_packet",
]
"""Kernel modules that the product and the lab use; many kernels have some of them built in."""

TRIALS: dict[str, str] = {
    "vrf": "ip link add probe-vrf type vrf table 10000",
    "gre": "ip link add probe-gre type gre local 192.0.2.1",
    "tap": "ip tuntap add dev probe-tap mode tap",
    "veth": "ip link add probe-v0 type veth peer name probe-v1",
    "bridge": "ip link add probe-br type bridge",
    "mpls": "echo 1000 >/proc/sys/net/mpls/platform_labels && ip -f mpls route add 100 dev lo",
    "mpls-encapsulation": "ip route add 198.51.100.0/24 encap mpls 100 via inet 127.0.0.2 dev lo",
    "flower": "tc qdisc add dev lo clsact && tc filter add dev lo ingress protocol ip flower action pass",
}
"""Feature -> shell command that uses it, run in order in a fresh namespace."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Outcome of the trials. missing: feature -> why it can't be used (one line); empty when the kernel has all."""

    missing: dict[str, str]

    @property
    def capable(self) -> bool:
        return not self.missing

    def __str__(self) -> str:
        if self.capable:
            return "this kernel has everything"
        return "this kernel has no " + ", ".join(self.missing)


def script(trials: dict[str, str]) -> str:
    """A shell script that runs every trial and prints `NAME ok` or `NAME failed: FIRST LINE OF ITS MESSAGE`."""
    lines = []
    for name, command in trials.items():
        lines.append(
            f'if said=$( ({command}) 2>&1 ); then echo "{name} ok"; '
            f'else echo "{name} failed: $(echo "$said" | head -n 1)"; fi'
        )
    return "\n".join(lines)


def parse(output: str, trials: dict[str, str]) -> Probe:
    """Read what script() printed. A trial without a line didn't run and counts as missing."""
    said: dict[str, str] = {}
    for line in output.splitlines():
        name, _, rest = line.partition(" ")
        said[name] = rest
    missing = {
        name: said.get(name, "the trial did not run").removeprefix("failed: ") or "the trial failed"
        for name in trials
        if said.get(name) != "ok"
    }
    return Probe(missing)


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def probe(run: Callable[[list[str]], str] = _run, uid: int | None = None) -> Probe:
    """Try everything in a fresh network namespace, after asking for the kernel modules. Needs root.

    run: runs a command and returns its stdout (for tests). Raises nothing: what can't be tried is missing.
    """
    if (os.geteuid() if uid is None else uid) != 0:
        return Probe({"root": "namespaces and modules need root"})
    try:
        if shutil.which("modprobe"):
            run(["modprobe", "-a", "-q", *MODULES])
        output = run(["unshare", "--mount", "--net", "--", "sh", "-c", f"ip link set lo up\n{script(TRIALS)}"])
    except (OSError, subprocess.SubprocessError) as error:
        return Probe({"namespaces": str(error)})
    return parse(output, TRIALS)
