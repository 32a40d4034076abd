"""Part of the agent's benchmark: what traffic loses while daemons come and go, and how soon damage is repaired."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lab.errors import LabError
from lab.netns_guest import NamespaceGuest
from lab.node import Host
from lab.topology import Lab
from lab.traffic import Traffic
from lab.wait import wait_until

Figures = dict[str, float | int]

SETTLE = 0.5
"""Seconds of traffic before and after each disturbance."""
DEADLINE = 30.0
"""Seconds in which everything must be as before."""


def disturb(lab: Lab, host: Host, remote: NamespaceGuest, address: str) -> Figures:
    """Pings of a VM on another host to one of `host`, while daemons restart and crash."""

    def restart() -> None:
        host.daemon.restart()

    def kill() -> None:
        host.daemon.kill()
        host.daemon.start()

    def restart_gateway() -> None:
        lab.gateway.daemon.restart()

    figures: Figures = {}
    disturbances = {"restart": restart, "kill9": kill, "gateway_restart": restart_gateway}
    for name, action in disturbances.items():
        with Traffic(remote, address) as traffic:
            time.sleep(SETTLE)
            action()
            lab.wait_connected()
            time.sleep(SETTLE)
        figures |= {f"lost_{name}": traffic.lost, f"pings_{name}": traffic.sent}
    return figures


def damage(host: Host, remote: NamespaceGuest, address: str, port: dict[str, object]) -> Figures:
    """What a third party breaks: from the start of its command until the VM is reached, the longest of all times.

    port: what attach was answered.
    """
    table = next(vpn["table"] for vpn in host.items("vpn.list") if vpn["name"] == port["vpn"])
    commands: dict[str, tuple[str, ...]] = {
        "label": ("ip", "-f", "mpls", "route", "del", str(port["label"])),
        "link_down": ("ip", "link", "set", str(port["interface"]), "down"),
        "route": ("ip", "route", "del", f"{remote.addresses[0]}/32", "table", str(table)),
        "next_hops": ("ip", "nexthop", "flush", "proto", "108"),
    }
    figures: Figures = {}
    for name, command in commands.items():
        wait_until(lambda: _quiet(host), DEADLINE, "the agent to have nothing to do", 0.1)
        figures[f"repair_{name}_s"] = round(_until_reached(remote, address, host, command), 3)
    return {"repair_s": max(figures.values()), **figures}


def _quiet(host: Host) -> bool:
    return bool(host.call("status")["pending"] == 0)


def _until_reached(remote: NamespaceGuest, address: str, host: Host, command: Sequence[str]) -> float:
    began = time.perf_counter()
    host.namespace.output(*command)
    while not remote.ping(address, 1, 0.05).ok:
        if time.perf_counter() - began > DEADLINE:
            raise LabError(f"{address} is not reached again")
    return time.perf_counter() - began
