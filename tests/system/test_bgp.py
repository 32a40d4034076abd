"""Two gateways that meet over BGP through a route reflector, hosts on one or on both, a PE router of somebody else.
Routes cross, and go when they are withdrawn; who dies in between costs no packet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.converged import wait_settled
from lab.flows import Flows, Vm
from lab.node import Gateway
from lab.pe import Pe
from lab.topology import Lab
from lab.wait import wait_until

INTERVAL = 0.02
"""Seconds between two packets of a flow."""
WITHOUT = 20
"""Packets of each flow while something is gone, and after it is back."""
BLUE = {"blue-1": ("hv1", 1), "blue-2": ("hv2", 2), "blue-3": ("hv3", 3)}
RED = {"red-1": ("hv1", 1), "red-2": ("hv2", 2)}
SITE4, SITE6 = "10.9.0.1", "fd00:9::1"


def addresses(number: int) -> tuple[str, str]:
    return f"10.1.1.{number}", f"fd00:1::{number}"


def prefixes(*numbers: int) -> set[str]:
    return {f"10.1.1.{number}/32" for number in numbers} | {f"fd00:1::{number}/128" for number in numbers}


@pytest.fixture(scope="module")
def lab(in_lab: None) -> Iterator[Lab]:
    """hv1 connects to gw1 only, hv2 to gw2 only, hv3 to both; the VMs are BLUE and RED, and the site behind the PE."""
    connects = {"hv1": ["gw1"], "hv2": ["gw2"]}
    with Lab(["hv1", "hv2", "hv3"], gateways=["gw1", "gw2"], reflectors=["rr"], pes=["pe"], connects=connects) as made:
        for host in made.hosts.values():
            host.settings["signaling"] = {"reconnect_min": 0.1, "reconnect_max": 0.5, "retry_time": 0.5}
        made.start()
        for name, (host_name, number) in BLUE.items():
            made.attach(host_name, name, "blue", addresses(number), tap=name == "blue-3")
        for name, (host_name, number) in RED.items():
            made.attach(host_name, name, "red", addresses(number))
        wait_for_pe(made, 1, 2, 3)
        wait_until(lambda: reaches_all(made), 20, "all to reach all", detail=made.tails)
        yield made
        for daemon in made.daemons():
            assert "Traceback" not in daemon.log.read_text(), daemon.tail(200)


@pytest.fixture(autouse=True)
def well(lab: Lab) -> Iterator[None]:
    """After each test all is as it was before."""
    yield
    wait_settled(lab)
    wait_for_pe(lab, 1, 2, 3)
    assert reaches_all(lab)


def pe(lab: Lab) -> Pe:
    (made,) = lab.pes
    return made


def wait_for_pe(lab: Lab, *numbers: int) -> None:
    """Wait until the PE sends to these of blue's VMs, and to no other address."""
    wanted = prefixes(*numbers)
    wait_until(lambda: set(pe(lab).routes()) == wanted, 20, f"the PE to have {sorted(wanted)}", detail=lab.tails)


def reaches(source: Vm, name: str, *at: str) -> bool:
    """Whether a VM finds the one called `name` at all these addresses."""
    return all(source.ping(address, timeout=0.5).ok and source.ask(address, 0.5) == name for address in at)


def reaches_all(lab: Lab) -> bool:
    """Whether every VM of a VPN finds every other one, and blue the site, and the site blue."""
    site = pe(lab).site
    for vms in (BLUE, RED):
        for one in vms:
            for other, (_, number) in vms.items():
                if one != other and not reaches(lab.vms[one], other, *addresses(number)):
                    return False
    return all(
        reaches(lab.vms[name], site.name, SITE4, SITE6) and reaches(site, name, *addresses(number))
        for name, (_, number) in BLUE.items()
    )


def vm_pairs(lab: Lab) -> list[tuple[Vm, Vm]]:
    """VMs that talk while something dies: across the gateways, and with the host of both."""
    names = (("blue-1", "blue-2"), ("blue-2", "blue-3"), ("red-1", "red-2"))
    return [(lab.vms[one], lab.vms[two]) for one, two in names]


def pairs(lab: Lab) -> list[tuple[Vm, Vm]]:
    """The same, and two that talk with the site."""
    return [*vm_pairs(lab), *((lab.vms[name], pe(lab).site) for name in ("blue-1", "blue-3"))]


def routes(lab: Lab, host: str, vpn: str) -> dict[str, str]:
    """Where a host sends packets for the prefixes of a VPN: next hop, or "local"."""
    return {
        item["prefix"]: "local" if hop["local"] else hop["address"]
        for item in lab.hosts[host].items("route.list", vpn=vpn)
        for hop in item["next_hops"]
    }


def bgp_routes(gateway: Gateway) -> set[tuple[str, str]]:
    """RD and prefix of all that a gateway knows by BGP."""
    families = ("vpnv4", "vpnv6")
    return {(item["rd"], item["prefix"]) for family in families for item in gateway.items("bgp.routes", family=family)}


def test_routes_cross_and_stay_in_their_vpn(lab: Lab) -> None:
    hv1, hv2, hv3 = (lab.hosts[name].address for name in ("hv1", "hv2", "hv3"))
    blue = {**dict.fromkeys(prefixes(2), hv2), **dict.fromkeys(prefixes(3), hv3)}
    assert routes(lab, "hv1", "blue") == {
        **blue,
        **dict.fromkeys(prefixes(1), "local"),
        **dict.fromkeys(pe(lab).prefixes, pe(lab).address),
    }
    assert routes(lab, "hv1", "red") == {**dict.fromkeys(prefixes(1), "local"), **dict.fromkeys(prefixes(2), hv2)}
    assert routes(lab, "hv2", "red") == {**dict.fromkeys(prefixes(1), hv1), **dict.fromkeys(prefixes(2), "local")}


def test_red_and_the_site_of_blue_do_not_meet(lab: Lab) -> None:
    site = pe(lab).site
    for name in RED:
        for address in (SITE4, SITE6):
            assert not lab.vms[name].ping(address, timeout=0.3).replies, name
    assert site.senders() <= set(BLUE)


def test_gateway_shows_its_peer_and_the_routes(lab: Lab) -> None:
    for gateway in lab.gateways:
        (peer,) = gateway.items("peer.list")
        assert (peer["name"], peer["state"], peer["type"], peer["stale"]) == ("rr", "established", "ibgp", 0)
        assert {(pe(lab).rd, prefix) for prefix in pe(lab).prefixes} <= bgp_routes(gateway)
        assert gateway.call("status")["state"] == "ok"


@pytest.mark.parametrize("number", [0, 1], ids=["gw1", "gw2"])
def test_gateway_killed_and_started_again_loses_no_packet(lab: Lab, number: int) -> None:
    """Not even to and from the host that has no other: its routes wait at the route reflector."""
    gateway = lab.gateways[number]
    before = pe(lab).routes()
    with Flows(*pairs(lab), interval=INTERVAL) as flows:
        gateway.daemon.kill()
        flows.progress(WITHOUT)
        gateway.start()
        wait_settled(lab)
        flows.progress(WITHOUT)
    assert flows.lost == 0, str(flows)
    assert pe(lab).routes() == before


def test_both_gateways_killed_at_once_lose_no_packet(lab: Lab) -> None:
    with Flows(*pairs(lab), interval=INTERVAL) as flows:
        for gateway in lab.gateways:
            gateway.daemon.kill()
        flows.progress(WITHOUT)
        for gateway in lab.gateways:
            gateway.launch()
        for gateway in lab.gateways:
            gateway.daemon.wait_ready()
        wait_settled(lab)
        flows.progress(WITHOUT)
    assert flows.lost == 0, str(flows)


def test_route_reflector_killed_and_started_again_loses_no_packet(lab: Lab) -> None:
    """Between VMs, that is. FRR as a PE says in its first 120 s that it restarts, and FRR as a reflector tells its
    End-of-RIB without the routes of those who say so."""
    (reflector,) = lab.reflectors
    with Flows(*vm_pairs(lab), interval=INTERVAL) as flows:
        reflector.speaker.kill()
        wait_until(
            lambda: all(peer["stale"] for gateway in lab.gateways for peer in gateway.items("peer.list")),
            10,
            "the reflector's routes to be stale",
            detail=lab.tails,
        )
        flows.progress(WITHOUT)
        reflector.launch()
        reflector.wait_ready()
        wait_settled(lab)
        flows.progress(WITHOUT)
    assert flows.lost == 0, str(flows)


def test_host_without_its_only_gateway_goes_on_and_catches_up(lab: Lab) -> None:
    """What changes meanwhile, here and elsewhere, is made good."""
    gw1, hv1 = lab.gateways[0], lab.hosts["hv1"]
    with Flows(*pairs(lab), interval=INTERVAL) as flows:
        gw1.daemon.kill()
        wait_until(lambda: not hv1.connected(), 10, "hv1 to see it", detail=lab.tails)
        here = lab.attach("hv1", "blue-4", "blue", addresses(4), wait="programmed")
        there = lab.attach("hv2", "blue-5", "blue", addresses(5), wait="announced")
        assert hv1.call("port.show", {"name": "blue-4"})["announced"] == "no"
        assert hv1.call("status")["state"] == "degraded"
        wait_until(lambda: reaches(pe(lab).site, "blue-5", *addresses(5)), 10, "blue-5 at the site", detail=lab.tails)
        assert not lab.vms["blue-2"].ping(addresses(4)[0], timeout=0.2).replies
        gw1.start()
        wait_until(
            lambda: reaches(here, "blue-5", *addresses(5)) and reaches(there, "blue-4", *addresses(4)),
            20,
            "both to reach each other",
            detail=lab.tails,
        )
    assert flows.lost == 0, str(flows)
    lab.detach("hv1", "blue-4")
    lab.detach("hv2", "blue-5")


def test_vm_moves_to_a_host_of_the_other_gateway(lab: Lab) -> None:
    site, others = pe(lab).site, [lab.vms["blue-1"], lab.vms["blue-2"], lab.vms["blue-3"]]
    for source, target in (("hv1", "hv2"), ("hv2", "hv1")):
        lab.attach(source, "mover", "blue", addresses(7))
        wait_until(
            lambda: all(reaches(vm, "mover", *addresses(7)) for vm in (site, *others)),
            15,
            f"the VM on {source} to be reached",
            detail=lab.tails,
        )
        lab.detach(source, "mover")
        lab.attach(target, "mover", "blue", addresses(7))
        wait_until(
            lambda: all(reaches(vm, "mover", *addresses(7)) for vm in (site, *others)),
            15,
            f"the VM on {target} to be reached",
            detail=lab.tails,
        )
        address = lab.hosts[target].address
        assert {pe(lab).routes()[prefix].next_hop for prefix in prefixes(7)} == {address}
        assert {routes(lab, "hv3", "blue")[prefix] for prefix in prefixes(7)} == {address}
        lab.detach(target, "mover")


def test_detach_withdraws_everywhere(lab: Lab) -> None:
    lab.attach("hv2", "guest", "blue", addresses(8), tap=True)
    wait_for_pe(lab, 1, 2, 3, 8)
    lab.detach("hv2", "guest")
    wait_for_pe(lab, 1, 2, 3)

    def gone() -> bool:
        tables = [routes(lab, name, "blue") for name in lab.hosts]
        known = [{prefix for _, prefix in bgp_routes(gateway)} for gateway in lab.gateways]
        return not any(prefixes(8) & set(found) for found in (*tables, *known))

    wait_until(gone, 10, "the routes to be gone", detail=lab.tails)
    for vm in (pe(lab).site, lab.vms["blue-1"]):
        assert not vm.ping(addresses(8)[0], timeout=0.2).replies
