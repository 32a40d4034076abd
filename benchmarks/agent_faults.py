"""Part of the agent's benchmark: what traffic loses while daemons come and go and the underlay flaps, and how soon
damage is repaired."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lab.converged import wait_settled
from lab.counter import RATE, Counter
from lab.errors import LabError
from lab.netns_guest import NamespaceGuest
from lab.node import Host
from lab.topology import Lab
from lab.wait import wait_until

Figures = dict[str, float | int]

DEADLINE = 30.0
"""Seconds in which everything must be as before."""
HOLD, KEPT = 3.0, 1.5
"""Seconds of silence after which a gateway is given up, and that the routes of a lost session are kept after the next
one: short, so that the sweep is within what is measured."""
SOON = RATE
"""Packets of a flow between two restarts: a second."""
FLAP = 3 * RATE
"""Packets of a flow while the underlay is away."""


class _Scene(NamedTuple):
    """Two hosts with a VM each, and two gateways."""

    lab: Lab
    host: Host
    one: NamespaceGuest
    two: NamespaceGuest


def disturb() -> Figures:
    """Traffic between two hosts of two gateways, while daemons restart, die and hang, and the underlay goes away."""
    with Lab(["hv1", "hv2"], gateways=["gw1", "gw2"]) as lab:
        for host in lab.hosts.values():
            host.settings["signaling"] = {
                "hold_time": HOLD,
                "stale_time": KEPT,
                "reconnect_min": 0.1,
                "reconnect_max": 0.5,
            }
        lab.start()
        vms = [lab.attach(f"hv{n}", f"vm-{n}", "blue", [f"10.1.0.{n}", f"fd00:1::{n}"]) for n in (1, 2)]
        one, two = [vm for vm in vms if isinstance(vm, NamespaceGuest)]
        scene = _Scene(lab, lab.hosts["hv1"], one, two)
        figures: Figures = {}
        for name, fault in _FAULTS.items():
            figures |= _lost(scene, name, fault)
        for name, flap in _FLAPS.items():
            figures |= _back(scene, name, flap)
    return figures


def _lost(scene: _Scene, name: str, fault: Callable[[_Scene, Counter], None]) -> Figures:
    wait_settled(scene.lab)
    with Counter((scene.one, scene.two)) as counter:
        fault(scene, counter)
        wait_settled(scene.lab)
        counter.progress(int(KEPT * RATE) + RATE // 4)
    return {f"lost_{name}": counter.lost, f"packets_{name}": counter.sent, **_streams(name, counter)}


def _streams(name: str, counter: Counter) -> Figures:
    return {
        f"tcp_broken_{name}": len(counter.broken),
        f"tcp_sent_again_{name}": counter.retransmissions,
        f"tcp_stalled_{name}_s": round(counter.stalled, 2),
    }


def _restart(scene: _Scene, counter: Counter) -> None:
    scene.host.daemon.restart()


def _restart_twice(scene: _Scene, counter: Counter) -> None:
    """The second time perhaps in the middle of the start."""
    daemon = scene.host.daemon
    daemon.stop()
    daemon.launch()
    counter.progress(SOON)
    daemon.stop()
    daemon.start()


def _kill(scene: _Scene, counter: Counter) -> None:
    scene.host.daemon.kill()
    scene.host.daemon.start()


def _restart_gateway(scene: _Scene, counter: Counter) -> None:
    scene.lab.gateway.daemon.restart()


def _restart_gateways(scene: _Scene, counter: Counter) -> None:
    daemons = [gateway.daemon for gateway in scene.lab.gateways]
    for daemon in daemons:
        daemon.stop()
    for daemon in daemons:
        daemon.launch()
    for daemon in daemons:
        daemon.wait_ready()


def _silence_gateway(scene: _Scene, counter: Counter) -> None:
    daemon = scene.lab.gateway.daemon
    daemon.pause()
    try:
        wait_until(lambda: not scene.host.connected(), DEADLINE, "the session to be given up", 0.1, scene.lab.tails)
    finally:
        daemon.resume()


_FAULTS: dict[str, Callable[[_Scene, Counter], None]] = {
    "restart": _restart,
    "restart_twice": _restart_twice,
    "kill9": _kill,
    "gateway_restart": _restart_gateway,
    "gateways_restart": _restart_gateways,
    "gateway_silent": _silence_gateway,
}


def _back(scene: _Scene, name: str, flap: Callable[[Host], Callable[[], None]]) -> Figures:
    """Seconds from when the underlay is back until the last packet was sent that is lost."""
    wait_settled(scene.lab)
    with Counter((scene.one, scene.two)) as counter:
        mend = flap(scene.host)
        counter.progress(FLAP)
        mend()
        back = time.monotonic()
        counter.progress(3 * RATE)
    if not counter.lost:
        raise LabError(f"nothing was lost while the underlay was away: {counter}")
    return {f"{name}_back_s": round(max(0.0, counter.last_loss - back), 3), **_streams(name, counter)}


def _device_down(host: Host) -> Callable[[], None]:
    host.namespace.ip(f"address delete {host.address}/24 dev eth0", "link set eth0 down")
    return lambda: host.namespace.ip("link set eth0 up", f"address add {host.address}/24 dev eth0")


def _carrier_lost(host: Host) -> Callable[[], None]:
    host.link(up=False)
    return lambda: host.link(up=True)


_FLAPS = {"flap": _device_down, "flap_carrier": _carrier_lost}


def damage(host: Host, remote: NamespaceGuest, address: str, port: dict[str, object]) -> Figures:
    """What a third party breaks: from the start of its command until the VM is reached, the longest of all times.

    port: what attach was answered.
    """
    table = next(vpn["table"] for vpn in host.items("vpn.list") if vpn["name"] == port["vpn"])
    route, device = f"{remote.addresses[0]}/32", str(port["interface"])
    commands: dict[str, tuple[str, ...]] = {
        "label": ("ip", "-f", "mpls", "route", "del", str(port["label"])),
        "link_down": ("ip", "link", "set", device, "down"),
        "vrf_left": ("ip", "link", "set", device, "nomaster"),
        "route": ("ip", "route", "del", route, "table", str(table)),
        "route_replaced": ("ip", "route", "replace", route, "dev", "lo", "table", str(table)),
        "next_hops": ("ip", "nexthop", "flush", "proto", "108"),
        "neighbours": ("ip", "neigh", "flush", "dev", "vw-gre", "nud", "permanent"),
        "tunnel": ("ip", "link", "delete", "vw-gre"),
        "tunnel_down": ("ip", "link", "set", "vw-gre", "down"),
        "forwarding": ("sysctl", "-q", "-w", "net.ipv4.ip_forward=0"),
        "mpls_input": ("sysctl", "-q", "-w", "net.mpls.conf.vw-gre.input=0"),
    }
    before = host.call("status")["repaired"]
    figures: Figures = {}
    for name, command in commands.items():
        wait_until(lambda: _quiet(host), DEADLINE, "the agent to have nothing to do", 0.1)
        figures[f"repair_{name}_s"] = round(_until_reached(remote, address, host, command), 3)
    return {"repair_s": max(figures.values()), "repaired": host.call("status")["repaired"] - before, **figures}


def _quiet(host: Host) -> bool:
    return bool(host.call("status")["pending"] == 0)


def _until_reached(remote: NamespaceGuest, address: str, host: Host, command: Sequence[str]) -> float:
    began = time.perf_counter()
    host.namespace.output(*command)
    while not remote.ping(address, 1, 0.05).ok:
        if time.perf_counter() - began > DEADLINE:
            raise LabError(f"{address} is not reached again")
    return time.perf_counter() - began
