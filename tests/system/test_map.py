"""VPNs from a MAP server, on a real kernel: who isn't bound is cut off, both ways, and nobody else notices; what the
gateways know of the map outlives it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.flows import Flows
from lab.map_server import MapServer
from lab.topology import Lab
from lab.wait import wait_until

INTERVAL = 0.02
"""Seconds between two packets of a flow."""
PACKETS = 15
PLACES = {
    "blue-1": ("hv1", 1, False),
    "blue-2": ("hv1", 2, True),
    "blue-3": ("hv2", 3, False),
    "blue-4": ("hv2", 4, True),
}
"""Host, number, whether on a tap."""
IN_FORCE = 20.0
"""Seconds for a change in the map to be in force everywhere."""


def addresses(number: int) -> tuple[str, str]:
    return f"10.1.1.{number}", f"fd00:1::{number}"


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    """Both hosts connect to both gateways; PLACES in VPN blue."""
    with Lab(["hv1", "hv2"], (), gateways=["gw1", "gw2"], provisioned=True) as made:
        for host in made.hosts.values():
            host.settings["signaling"] = {"reconnect_min": 0.1, "reconnect_max": 0.5, "retry_time": 0.5}
        made.start()
        server(made).operate("vpn", "create", "blue", "--route-target", "64512:1")
        for name, (host_name, number, tap) in PLACES.items():
            bind(made, name)
            made.attach(host_name, name, "blue", addresses(number), tap=tap)
        wait_until(lambda: reaches_all(made), IN_FORCE, "all to reach all", detail=made.tails)
        yield made
        for daemon in made.daemons():
            assert "Traceback" not in daemon.log.read_text(), daemon.tail(200)


@pytest.fixture(autouse=True)
def well(lab: Lab) -> Iterator[None]:
    """After each test all is as it was before."""
    yield
    wait_until(lambda: reaches_all(lab), IN_FORCE, "all to reach all again", detail=lab.tails)


def server(lab: Lab) -> MapServer:
    assert lab.map is not None
    return lab.map


def bind(lab: Lab, name: str) -> None:
    given = [f"--address={address}" for address in addresses(PLACES[name][1])]
    server(lab).operate("bind", name, "blue", *given)


def reaches_all(lab: Lab) -> bool:
    return all(
        lab.vms[source].ping(address, timeout=0.5).replies
        for source in PLACES
        for target, (_, number, _) in PLACES.items()
        if target != source
        for address in addresses(number)
    )


def wait_announced(lab: Lab, name: str, wanted: str) -> None:
    host = lab.hosts[PLACES[name][0]]

    def announced() -> bool:
        return bool(host.call("port.show", {"name": name})["announced"] == wanted)

    wait_until(announced, IN_FORCE, f"{name} to be announced: {wanted}", 0.05, lab.tails)


def wait_known(lab: Lab, connected: bool = True) -> None:
    """Wait until the gateways' sessions with the map are as they should be."""

    def known() -> bool:
        shown = [gateway.call("map.show") for gateway in lab.gateways]
        return all((one["state"] == "connected" and one["synchronised"]) is connected for one in shown)

    wait_until(known, IN_FORCE, f"the gateways to be {'' if connected else 'dis'}connected", 0.05, lab.tails)


@pytest.mark.parametrize("name", ["blue-1", "blue-4"])
def test_who_is_not_bound_is_cut_off_both_ways_and_nobody_else(lab: Lab, name: str) -> None:
    others = [other for other in PLACES if other != name]
    pairs = [(lab.vms[others[0]], lab.vms[others[1]]), (lab.vms[others[1]], lab.vms[others[2]])]
    cut = lab.vms[name]
    with Flows(*pairs, interval=INTERVAL) as flows:
        flows.progress(PACKETS)
        server(lab).operate("unbind", name, "blue")
        wait_announced(lab, name, "refused")
        # What it still sends arrives nowhere: neither on the host that it is on, nor on another.
        with Flows(*((cut, lab.vms[other]) for other in others), interval=INTERVAL, port=9200) as dead:
            dead.progress(PACKETS)
        assert dead.lost == dead.sent > 0
        flows.progress(PACKETS)
        bind(lab, name)
        wait_announced(lab, name, "yes")
        flows.progress(PACKETS)
    assert flows.lost == 0, str(flows)


def test_who_was_cut_off_stays_so_over_a_restart_of_its_agent(lab: Lab) -> None:
    name = "blue-3"
    host = lab.hosts[PLACES[name][0]]
    server(lab).operate("unbind", name, "blue")
    wait_announced(lab, name, "refused")
    host.daemon.kill()
    with Flows((lab.vms[name], lab.vms["blue-1"]), (lab.vms[name], lab.vms["blue-4"]), interval=INTERVAL) as dead:
        host.start()
        wait_announced(lab, name, "refused")
        dead.progress(PACKETS)
    assert dead.lost == dead.sent > 0
    bind(lab, name)
    wait_announced(lab, name, "yes")


def test_only_bound_addresses_can_be_announced(lab: Lab) -> None:
    """A second address that the map doesn't know is refused, and the port's own one isn't hurt."""
    server(lab).operate("bind", "guest", "blue", "--address=10.1.1.9")
    try:
        lab.attach("hv1", "guest", "blue", ["10.1.1.9", "10.1.1.10"], wait="programmed")
        host = lab.hosts["hv1"]

        def settled() -> bool:
            port = host.call("port.show", {"name": "guest"})
            return bool(port["announced"] == "partly" and port["blocked"] == ["10.1.1.10/32"])

        wait_until(settled, IN_FORCE, "the bound address alone to be announced", 0.05, lab.tails)
        guest = lab.vms["guest"]
        assert wait_until(lambda: guest.ping("10.1.1.3", source="10.1.1.9", timeout=0.5).replies, IN_FORCE, "a reply")
        assert not guest.ping("10.1.1.3", source="10.1.1.10", timeout=0.5).replies
    finally:
        lab.detach("hv1", "guest")
        server(lab).operate("unbind", "guest")


def test_the_map_can_be_away(lab: Lab) -> None:
    """Killed, with a gateway that starts meanwhile and one that doesn't: nothing is lost, and it is in force again."""
    with Flows(
        (lab.vms["blue-1"], lab.vms["blue-3"]), (lab.vms["blue-2"], lab.vms["blue-4"]), interval=INTERVAL
    ) as flows:
        server(lab).daemon.kill()
        wait_known(lab, connected=False)
        flows.progress(PACKETS)
        first = lab.gateways[0]
        first.daemon.kill()
        flows.progress(PACKETS)
        first.start()
        lab.wait_connected()
        wait_announced(lab, "blue-1", "yes")
        flows.progress(PACKETS)
        server(lab).start()
        wait_known(lab)
        flows.progress(PACKETS)
    assert flows.lost == 0, str(flows)
    server(lab).operate("unbind", "blue-4", "blue")
    wait_announced(lab, "blue-4", "refused")
    bind(lab, "blue-4")
    wait_announced(lab, "blue-4", "yes")


def test_a_vpn_is_deleted_and_made_again(lab: Lab) -> None:
    """No session ends by that; the ports are there again by themselves."""
    since = {host.name: [gateway["since"] for gateway in host.items("gateway.list")] for host in lab.hosts.values()}
    server(lab).operate("vpn", "create", "red", "--route-target", "64512:2")
    server(lab).operate("bind", "red-1", "red", "--address=10.1.1.1")
    server(lab).operate("bind", "red-3", "red", "--address=10.1.1.3")
    one = lab.attach("hv1", "red-1", "red", ["10.1.1.1"])
    lab.attach("hv2", "red-3", "red", ["10.1.1.3"])
    try:
        wait_until(lambda: one.ask("10.1.1.3") == "red-3", IN_FORCE, "red to work", detail=lab.tails)
        with Flows((lab.vms["blue-1"], lab.vms["blue-3"]), interval=INTERVAL) as flows:
            server(lab).operate("vpn", "delete", "red", "--force")
            wait_until(lambda: one.ask("10.1.1.3", timeout=0.3) is None, IN_FORCE, "red to be gone", detail=lab.tails)
            flows.progress(PACKETS)
            server(lab).operate("vpn", "create", "red", "--route-target", "64512:2")
            server(lab).operate("bind", "red-1", "red", "--address=10.1.1.1")
            server(lab).operate("bind", "red-3", "red", "--address=10.1.1.3")
            wait_until(lambda: one.ask("10.1.1.3") == "red-3", IN_FORCE, "red to work again", detail=lab.tails)
        assert flows.lost == 0, str(flows)
        after = {host.name: [gateway["since"] for gateway in host.items("gateway.list")] for host in lab.hosts.values()}
        assert after == since
    finally:
        lab.detach("hv1", "red-1")
        lab.detach("hv2", "red-3")
        server(lab).operate("vpn", "delete", "red", "--force")
