"""What route targets and several paths make possible: hub and spoke, an extranet, equal-cost paths."""

from __future__ import annotations

import time
from collections import Counter

from lab.converged import wait_settled
from lab.flows import Flows
from lab.frames import Ports
from lab.guest import Guest
from lab.topology import Lab, Vm, Vpn
from lab.wait import wait_until


def wait_for(lab: Lab, vm: Vm, address: str, name: str) -> None:
    """Wait until a VM finds the one called `name` at an address."""
    wait_until(lambda: vm.ask(address, 0.5) == name, 10, f"{vm.name} to find {name} at {address}", detail=lab.tails)


def test_hub_and_spoke_goes_through_the_hub() -> None:
    """Spokes hear of the hub alone. Two spokes on one host still reach each other through it and not directly: a local
    route forwards nothing from a VM before a gateway has announced it into the VM's own VPN."""
    vpns = [Vpn("hub", ["64512:1"], ["64512:2"]), Vpn("spoke", ["64512:2"], ["64512:1"])]
    with Lab(hosts=["hv1", "hv2"], vpns=vpns) as lab:
        lab.start()
        hub = lab.attach("hv2", "hub-1", "hub", ["10.1.1.1", "fd00:1::1"], tap=True, prefixes=["10.0.0.0/8"])
        one = lab.attach("hv1", "spoke-1", "spoke", ["10.1.1.11", "fd00:1::11"], tap=True)
        two = lab.attach("hv1", "spoke-2", "spoke", ["10.1.1.12", "fd00:1::12"])
        assert isinstance(hub, Guest)
        for spoke in (one, two):
            for address in ("10.1.1.1", "fd00:1::1"):
                wait_for(lab, spoke, address, "hub-1")
        # No spoke has the other's route; the packet for 10.1.1.12 follows the hub's 10.0.0.0/8.
        mark = hub.mark()
        assert not one.ping("10.1.1.12", timeout=0.3).ok
        seen = hub.frames(lambda packet: packet.ip is not None and str(packet.ip.dst) == "10.1.1.12", mark)
        assert seen
        assert not one.ping("fd00:1::12", timeout=0.3).replies
        assert two.senders() <= {"hub-1"}
        assert hub.ping("10.1.1.12").ok


def test_extranet_is_reached_by_those_who_import_it() -> None:
    vpns = [
        Vpn("blue", ["64512:1", "64512:9"], ["64512:1"]),
        Vpn("red", ["64512:2", "64512:9"], ["64512:2"]),
        Vpn("shared", ["64512:1", "64512:2", "64512:9"], ["64512:9"]),
    ]
    with Lab(hosts=["hv1", "hv2"], vpns=vpns) as lab:
        lab.start()
        lab.attach("hv2", "shared-1", "shared", ["10.9.9.9", "fd00:9::9"])
        blue = lab.attach("hv1", "blue-1", "blue", ["10.1.1.1", "fd00:1::1"], tap=True)
        red = lab.attach("hv1", "red-1", "red", ["10.2.2.2", "fd00:2::2"], tap=True)
        for vm in (blue, red):
            for address in ("10.9.9.9", "fd00:9::9"):
                wait_for(lab, vm, address, "shared-1")
        assert not blue.ping("10.2.2.2", timeout=0.3).replies
        assert not red.ping("fd00:1::1", timeout=0.3).replies


def test_one_address_on_two_hosts_shares_the_flows() -> None:
    """ECMP: an anycast address on hv1 and hv2; flows from hv3 are spread, and all go to the one that is left."""
    with Lab(hosts=["hv1", "hv2", "hv3"]) as lab:
        lab.start()
        both = [lab.attach(host, f"any-{host}", "blue", ["10.1.1.9", "fd00:1::9"], tap=True) for host in ("hv1", "hv2")]
        client = lab.attach("hv3", "client", "blue", ["10.1.1.1", "fd00:1::1"], tap=True)
        assert isinstance(client, Guest)

        def spread(address: str, flows: int = 60) -> Counter[str]:
            marks = {vm.name: vm.mark() for vm in both if isinstance(vm, Guest)}
            for port in range(20000, 20000 + flows):
                client.send_udp(address, b"flow", (port, 7))
            count: Counter[str] = Counter()
            # While the path through a host that is gone is still in use, some never arrive: that is for the caller to
            # judge, who asks again.
            patience = time.monotonic() + 1
            while sum(count.values()) < flows and time.monotonic() < patience:
                count.clear()
                for vm in both:
                    if isinstance(vm, Guest):
                        udp = vm.frames(lambda packet: packet.payload.startswith(b"flow"), marks[vm.name])
                        count[vm.name] += len({p.source for packet in udp if (p := packet.get(Ports)) is not None})
            return count

        def on_both(address: str) -> bool:
            return client.ask(address, 0.5) is not None and min(spread(address).values()) >= 6

        wait_until(lambda: on_both("10.1.1.9"), 15, "IPv4 flows on both hosts", detail=lab.tails)
        wait_until(lambda: on_both("fd00:1::9"), 15, "IPv6 flows on both hosts", detail=lab.tails)
        lab.detach("hv1", "any-hv1")
        both.pop(0)
        wait_for(lab, client, "10.1.1.9", "any-hv2")
        wait_until(lambda: spread("10.1.1.9", 20) == {"any-hv2": 20}, 10, "all flows on hv2", detail=lab.tails)


def test_gateways_without_a_route_reflector_meet_each_other() -> None:
    """hv1 and hv2 have no gateway in common; the gateways dial each other, and one session is left."""
    connects = {"hv1": ["gw1"], "hv2": ["gw2"]}
    with Lab(hosts=["hv1", "hv2"], gateways=["gw1", "gw2"], bgp=True, connects=connects) as lab:
        lab.start()
        one = lab.attach("hv1", "one", "blue", ["10.1.1.1", "fd00:1::1"])
        two = lab.attach("hv2", "two", "blue", ["10.1.1.2", "fd00:1::2"], tap=True)
        for address in ("10.1.1.2", "fd00:1::2"):
            wait_for(lab, one, address, "two")
        wait_settled(lab)
        with Flows((one, two), interval=0.02) as flows:
            lab.gateways[0].daemon.kill()
            flows.progress(20)
            lab.gateways[0].start()
            wait_settled(lab)
            flows.progress(20)
        assert flows.lost == 0, str(flows)
