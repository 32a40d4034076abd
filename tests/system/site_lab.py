"""The lab of the tests of faults, and what is asked of it again and again."""

from __future__ import annotations

from typing import Any

from lab.netns_guest import NamespaceGuest
from lab.node import Host
from lab.topology import Lab
from lab.wait import wait_until
from tests.system.observe import kernel_state, without_numbers
from tests.system.third_party import View


class Site(Lab):
    """hv1: blue-1, blue-2 (tap), red-1, red-2. hv2: blue-3. hv3: red-3.

    Attributes, all of hv1: foreign (what another program has there); bare (what the kernel held before the first
    attach) and whole (what it holds with all VMs), both without_numbers; untouched (settings before the agent began).
    """

    foreign: set[str]
    bare: set[str]
    whole: set[str]
    untouched: dict[str, str]

    def vm(self, name: str) -> NamespaceGuest:
        """A VM in a namespace."""
        found = self.vms[name]
        assert isinstance(found, NamespaceGuest)
        return found

    @property
    def hv1(self) -> Host:
        """The host that most happens to."""
        return self.hosts["hv1"]


def settle(lab: Lab) -> None:
    """Wait until every daemon says that all is well, every port is announced and every route in the kernel."""

    def settled() -> bool:
        for host in lab.hosts.values():
            status = host.call("status")
            if status["state"] != "ok" or not status["recovered"] or not host.connected():
                return False
            if any((port["state"], port["announced"]) != ("programmed", "yes") for port in host.items("port.list")):
                return False
            routes = host.items("route.list")
            if any(route["state"] != "programmed" and "no carrier" not in route["error"] for route in routes):
                return False  # that of a VM that isn't running waits, as it should
        return True

    wait_until(settled, 30, "all to be well", interval=0.1, detail=lab.tails)


def same(host: Host, before: set[str], deadline: float = 10.0) -> None:
    """Wait until the host's kernel holds what it held before, by whatever numbers."""
    difference: list[str] = []

    def equal() -> bool:
        now = without_numbers(kernel_state(host.namespace))
        gone, new = sorted(before - now), sorted(now - before)
        difference[:] = [*(f"- {line}" for line in gone), *(f"+ {line}" for line in new)]
        return now == before

    def detail() -> str:
        return "\n".join([*difference, host.daemon.tail()])

    wait_until(equal, deadline, f"{host.name} to be as before", 0.1, detail)


def view(site: Site) -> View:
    """The part of hv1 that is broken by others."""
    ports = {port["name"]: port for port in site.hv1.items("port.list")}
    (vpn,) = [vpn for vpn in site.hv1.items("vpn.list") if vpn["name"] == "blue"]
    return View(
        site.hv1,
        vpn["table"],
        vpn["device"],
        "10.1.1.3",
        site.hosts["hv2"].address,
        ports["blue-2"]["interface"],
        "10.1.1.2",
        ports["blue-1"]["interface"],
        ports["blue-1"]["label"],
    )


def reaches_all(site: Site) -> bool:
    """Whether blue-1 and blue-2 reach each other and the others, by both families."""
    ways = (("blue-1", 2), ("blue-1", 3), ("blue-2", 1), ("blue-2", 3), ("blue-3", 1), ("blue-3", 2))
    return all(
        site.vms[name].ping(address).ok
        for name, number in ways
        for address in (f"10.1.1.{number}", f"fd00:1::{number}")
    )


def routes_to(host: Host, address: str) -> list[dict[str, Any]]:
    return [route for route in host.items("route.list", vpn="blue") if route["prefix"].split("/")[0] == address]
