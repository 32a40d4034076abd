"""Whether a lab has come to rest: every session up, nothing stale, every route where it belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.errors import LabError
from lab.speakers.base import ESTABLISHED
from lab.wait import wait_until
from runtime.errors import OperatorError

if TYPE_CHECKING:
    from lab.node import Gateway, Host
    from lab.router import Router
    from lab.topology import Lab

DEADLINE = 40.0


def unsettled(lab: Lab) -> str:
    """What is still to come, one thing; "" when there is nothing."""
    for host in lab.hosts.values():
        if why := _host(host):
            return f"{host.name}: {why}"
    for gateway in lab.gateways:
        if why := _gateway(gateway, {host.name for host in lab.hosts.values() if gateway in host.gateways}):
            return f"{gateway.name}: {why}"
    for router in (*lab.reflectors, *lab.pes):
        if why := _router(router):
            return f"{router.name}: {why}"
    return ""


def wait_settled(lab: Lab, deadline: float = DEADLINE) -> None:
    """Wait until nothing is to come any more. Raises LabError, which says what was."""
    why = ""

    def settled() -> bool:
        nonlocal why
        try:
            why = unsettled(lab)
        except (OSError, OperatorError, LabError) as error:  # a daemon that is just being started
            why = str(error)
        return not why

    wait_until(settled, deadline, "the lab to come to rest", 0.1, lambda: f"{why}\n{lab.tails()}")


def _host(host: Host) -> str:
    status = host.call("status")
    if status["state"] != "ok" or not status["recovered"]:
        return f"status {status['state']}: {status['problems']}"
    if not host.connected():
        return "a gateway isn't connected"
    for port in host.items("port.list"):
        if (port["state"], port["announced"]) != ("programmed", "yes"):
            return f"port {port['name']} is {port['state']}, announced: {port['announced']}"
    for route in host.items("route.list"):
        if route["state"] != "programmed":
            return f"route {route['prefix']} of {route['vpn']} is {route['state']}"
    return ""


def _gateway(gateway: Gateway, hosts: set[str]) -> str:
    known = {host["name"]: host["state"] for host in gateway.items("host.list")}
    if known != dict.fromkeys(hosts, "connected"):
        return f"hosts are {known}"
    if not gateway.peers:
        return ""
    if why := gateway.unheard():
        return why
    waiting = gateway.call("status")["bgp"]["waiting_after_start"]
    return "waits for its hosts before it tells routes" if waiting else ""


def _router(router: Router) -> str:
    for peer, state in router.speaker.sessions().items():
        if state != ESTABLISHED:
            return f"session with {peer} is {state}"
    for family in ("vpnv4", "vpnv6"):
        for path in router.speaker.received(family):
            if path.stale:
                return f"{path.prefix} of {path.rd} is stale"
    return ""
