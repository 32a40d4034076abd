"""Daemons restart, die and hang, and the underlay goes away and comes back, under a thousand packets a second of each
flow and TCP streams, both ways and in both families: nothing is lost that the underlay doesn't lose itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from lab.converged import wait_settled
from lab.counter import RATE, Counter
from lab.netns_guest import NamespaceGuest
from lab.node import Host
from lab.topology import Lab
from lab.wait import wait_until
from tests.system.observe import Notifications, kernel_state

HOLD, STALE = 3.0, 20.0
"""Seconds of silence after which a session is given up, and that a host's routes outlive it at the gateway."""
KEPT = 1.5
"""Seconds that a host keeps the routes of a lost session after the end of table of the next."""
TWICE = 2.0
"""Seconds within which the agent is restarted two times."""
FLAP = 3.0
"""Seconds without underlay."""
BACK = 1.0
"""Seconds after the underlay is back in which forwarding is, too."""
SLACK = 4.0
"""Added for a machine with one slow CPU that many share."""
STALL = 1.0
"""Most seconds without anything new on a TCP stream while nothing is lost."""


@pytest.fixture(scope="module")
def site(in_lab: None) -> Iterator[Lab]:
    """hv1 and hv2 connect to both gateways, hv3 to gw2 only; the gateways know of each other's hosts by BGP. A VM of
    blue on each host."""
    with Lab(["hv1", "hv2", "hv3"], gateways=["gw1", "gw2"], bgp=True, connects={"hv3": ["gw2"]}) as made:
        for gateway in made.gateways:
            gateway.settings["gateway"] |= {"stale_time": STALE, "hold_time": HOLD + 2}
        for host in made.hosts.values():
            host.settings["signaling"] = {
                "hold_time": HOLD,
                "stale_time": KEPT,
                "reconnect_min": 0.1,
                "reconnect_max": 0.5,
                "retry_time": 0.5,
            }
        made.start()
        for number, host_name in enumerate(made.hosts, start=1):
            made.attach(host_name, f"blue-{number}", "blue", [f"10.1.1.{number}", f"fd00:1::{number}"])
        wait_settled(made)
        yield made
        for daemon in made.daemons():
            assert "Traceback" not in daemon.log.read_text(), daemon.tail(200)


def traffic(site: Lab) -> Counter:
    """Between two hosts of both gateways, and between one of both and one of gw2 alone."""
    vms = {name: vm for name, vm in site.vms.items() if isinstance(vm, NamespaceGuest)}
    return Counter(*[(vms["blue-1"], vms[name]) for name in ("blue-2", "blue-3")])


def agent_restarts(site: Lab) -> None:
    assert site.hosts["hv1"].daemon.stop() == 0
    site.hosts["hv1"].daemon.start()


def agent_restarts_twice(site: Lab) -> None:
    """The second time it may be in the middle of its start, and needn't know yet how to end in good order."""
    daemon = site.hosts["hv1"].daemon
    began = time.monotonic()
    assert daemon.stop() == 0
    daemon.launch()
    late = began + TWICE * 0.75
    wait_until(lambda: site.hosts["hv1"].answers() or time.monotonic() > late, TWICE, "the agent to serve")
    assert daemon.stop() in (0, -signal.SIGTERM)
    daemon.launch()
    assert time.monotonic() - began < TWICE + SLACK
    daemon.wait_ready()


def agent_is_killed(site: Lab) -> None:
    site.hosts["hv1"].daemon.kill()
    site.hosts["hv1"].daemon.start()


def gateway_restarts(site: Lab) -> None:
    site.gateways[1].daemon.restart()


def both_gateways_restart(site: Lab) -> None:
    for gateway in site.gateways:
        assert gateway.daemon.stop() == 0
    for gateway in site.gateways:
        gateway.daemon.launch()
    for gateway in site.gateways:
        gateway.daemon.wait_ready()


def gateway_is_silent(site: Lab) -> None:
    """gw2, which is all that hv3 has."""
    daemon = site.gateways[1].daemon
    daemon.pause()
    try:
        lost = [(site.hosts["hv1"], 1), (site.hosts["hv3"], 0)]
        wait_until(
            lambda: all(sessions(host) == left for host, left in lost),
            HOLD * 4,
            "the sessions to be given up",
            detail=site.tails,
        )
    finally:
        daemon.resume()


def sessions(host: Host) -> int:
    """Gateways that a host is connected to."""
    return sum(gateway["state"] == "connected" for gateway in host.items("gateway.list"))


FAULTS = [
    agent_restarts,
    agent_restarts_twice,
    agent_is_killed,
    gateway_restarts,
    both_gateways_restart,
    gateway_is_silent,
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_is_lost(site: Lab, fault: Callable[[Lab], None]) -> None:
    """Not a packet, and not an object in the kernel is written: neither on the host nor on the others."""
    hv1, hv2 = site.hosts["hv1"], site.hosts["hv2"]
    before = kernel_state(hv1.namespace)
    with Notifications(hv1.namespace) as here, Notifications(hv2.namespace) as there, traffic(site) as counter:
        fault(site)
        wait_settled(site)
        counter.progress(int(KEPT * RATE) + RATE // 4)  # beyond the sweep of what the lost session brought
    assert counter.flawless, str(counter)
    assert counter.stalled < STALL + SLACK, str(counter)
    assert (here.told(), there.told()) == ([], [])
    assert kernel_state(hv1.namespace) == before


def device_down(host: Host) -> Callable[[], None]:
    """Its address goes, as when a lease is given up, and with the device's end its routes and neighbours vanish."""
    host.namespace.ip(f"address delete {host.address}/24 dev eth0", "link set eth0 down")
    return lambda: host.namespace.ip("link set eth0 up", f"address add {host.address}/24 dev eth0")


def carrier_lost(host: Host) -> Callable[[], None]:
    host.link(up=False)
    return lambda: host.link(up=True)


@pytest.mark.parametrize("fault", [device_down, carrier_lost], ids=lambda fault: fault.__name__)
def test_underlay_flaps(site: Lab, fault: Callable[[Host], Callable[[], None]]) -> None:
    """Forwarding is back before the sessions with the gateways are."""
    one = site.vms["blue-1"]
    others = [f"{start}{number}" for start in ("10.1.1.", "fd00:1::") for number in (2, 3)]
    with traffic(site) as counter:
        away = time.monotonic()
        mend = fault(site.hosts["hv1"])
        counter.progress(int(FLAP * RATE))
        mend()
        back = time.monotonic()
        for address in others:
            wait_until(lambda to=address: one.ping(to, timeout=0.2).ok, BACK + SLACK, "traffic", detail=site.tails)  # type: ignore[misc]
        reached = time.monotonic()
        counter.progress(RATE // 2)
    wait_settled(site)
    assert counter.lost > len(others) * 2 * FLAP * RATE * 0.9, str(counter)
    assert away - 0.1 < min(outage.first for outage in counter.outages), str(counter)
    assert counter.last_loss < min(reached, back + BACK + SLACK), str(counter)
    assert (counter.broken, counter.repeated) == ([], 0), str(counter)
    # TCP doubles its pauses: the next attempt comes at the latest after twice the time.
    assert counter.stalled < 2 * (FLAP + BACK + SLACK), str(counter)
