"""The whole datapath on a real kernel: every driver and the event monitor, under the asyncio shell.

What a third party deletes or takes down is back within a second, without a periodic dump.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from datapath.kernel import Kernel, KernelConfig, open_kernel
from datapath.plane import Datapath
from datapath.values import (
    AntiSpoofing,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Port,
    PortKind,
    Tunnel,
    Value,
    Vrf,
    VrfRoute,
)
from lab.namespace import Namespace
from vpn.prefix import Prefix, parse_address

LOCAL, REMOTE, REMOTE2 = (parse_address(f"192.0.2.{host}") for host in (11, 12, 13))
VM4, VM6 = parse_address("10.1.1.1"), parse_address("fd00:1::1")
MAC = bytes.fromhex("020000000001")
TUNNEL = Tunnel("vw-gre", LOCAL)
VRF = Vrf("vw-blue", 10001, "blue")
PORT = Port("vw-web1", PortKind.VETH, "vw-blue", "web-1", "guest", "eth0", MAC, (VM4, VM6))
HOPS = [NextHop("vw-gre", address, (1000 + place,)) for place, address in enumerate((REMOTE, REMOTE2))]
HOP6 = NextHop("vw-gre", b"\0" * 10 + b"\xff\xff" + REMOTE, (1000,))
LOCAL_HOP = NextHop("vw-web1", VM4)
GROUP = NextHopGroup(tuple(HOPS))
MPLS = [MplsRoute(1500, "vw-web1", VM4), MplsRoute(1501, "vw-web1", VM6)]
ROUTES = [
    VrfRoute(10001, Prefix.parse("10.1.2.1/32"), HOPS[0]),
    VrfRoute(10001, Prefix.parse("10.1.3.0/24"), GROUP),
    VrfRoute(10001, Prefix.parse("fd00:2::1/128"), HOP6),
    VrfRoute(10001, Prefix.parse("10.1.1.1/32"), LOCAL_HOP),
]
EVERYTHING: tuple[Value, ...] = (
    TUNNEL,
    VRF,
    PORT,
    *(Neighbour("vw-gre", address, address) for address in (REMOTE, REMOTE2)),
    Neighbour("vw-web1", VM4, MAC),
    Neighbour("vw-web1", VM6, MAC),
    *HOPS,
    HOP6,
    LOCAL_HOP,
    GROUP,
    AntiSpoofing("vw-web1", MAC, (Prefix.parse("10.1.1.1"), Prefix.parse("fd00:1::1"))),
    *MPLS,
    *ROUTES,
)
NAMES = [(value.kind, value.key) for value in EVERYTHING]
Scenario = Callable[[Namespace, Kernel, Datapath], Awaitable[None]]


def run(scenario: Scenario, namespace: Callable[[str], Namespace]) -> None:
    """A scenario on a host with everything programmed."""
    host, _ = namespace("host"), namespace("guest")
    host.ip(
        "link add eth0 type veth peer name eth1",
        "link set eth0 up",
        "link set eth1 up",
        "address add 192.0.2.11/24 dev eth0",
    )

    async def main() -> None:
        kernel = open_kernel(KernelConfig(LOCAL, range(10000, 20000), range(1000, 2000)))
        datapath = Datapath(kernel.drivers, kernel.monitor)
        await datapath.start()
        try:
            datapath.put(*EVERYTHING)
            datapath.allow_sweep()
            statuses = await datapath.wait(NAMES, 20)
            assert all(status.settled for status in statuses), [s for s in statuses if not s.settled]
            await scenario(host, kernel, datapath)
            datapath.remove(*NAMES)
            await datapath.wait(NAMES, 20)
            assert not datapath.reconciler.failures()
        finally:
            await datapath.stop()
            kernel.close()

    with host.entered():
        asyncio.run(main())


def wrong(kernel: Kernel) -> list[Value]:
    """What the kernel itself says isn't as wanted, read by drivers that know nothing, lowest layer first."""
    reader = open_kernel(kernel.config)
    try:
        held = {driver.kind: driver.dump() for driver in reader.drivers}
    finally:
        reader.close()
    return [value for value in EVERYTHING if held[value.kind].get(value.key) != value]


async def repaired(kernel: Kernel, seconds: float = 10.0) -> None:
    """Return when all is right; fail after these seconds."""
    began = time.monotonic()
    while missing := wrong(kernel):
        assert time.monotonic() - began < seconds, missing
        await asyncio.sleep(0.01)


DAMAGE = {
    "VRF route": ["route del 10.1.2.1/32 table 10001"],
    "IPv6 route": ["-6 route del fd00:2::1/128 table 10001"],
    "ECMP and local route": ["route del 10.1.3.0/24 table 10001", "route del 10.1.1.1/32 table 10001"],
    "MPLS route": ["-f mpls route del 1500"],
    "neighbours": ["neighbour del 192.0.2.12 dev vw-gre", "neighbour del fd00:1::1 dev vw-web1"],
    "changed neighbour": ["neighbour replace 10.1.1.1 lladdr 02:00:00:00:00:66 dev vw-web1 nud permanent"],
    "all next hops": ["nexthop flush proto 108"],
    "replaced route": ["route replace 10.1.2.1/32 table 10001 proto static via 192.0.2.99 dev eth0"],
    "moved route": [
        "nexthop add id 77 via 192.0.2.99 dev eth0",
        "route replace 10.1.2.1/32 table 10001 proto 108 nhid 77",
    ],
    "tunnel": ["link del vw-gre"],
    "tunnel down and up": ["link set vw-gre down", "link set vw-gre up"],
    "tunnel down": ["link set vw-gre down"],
    "port": ["link del vw-web1"],
    "port down": ["link set vw-web1 down"],
    "port out of its VRF": ["link set vw-web1 nomaster"],
    "VRF device": ["link del vw-blue"],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_damage_is_repaired_within_a_second(namespace: Callable[[str], Namespace], damage: list[str]) -> None:
    async def scenario(host: Namespace, kernel: Kernel, datapath: Datapath) -> None:
        assert wrong(kernel) == []
        for command in damage:
            host.output("ip", *command.split())
        await repaired(kernel)
        dumps = {figures.kind: figures.dumps for figures in datapath.reconciler.figures()}
        assert dumps[Kind.NEIGHBOUR] == 1, "found by events, not by luck"

    run(scenario, namespace)


def test_our_own_work_is_not_reported_back(namespace: Callable[[str], Namespace]) -> None:
    async def scenario(host: Namespace, kernel: Kernel, datapath: Datapath) -> None:
        await asyncio.sleep(0.05)
        figures = datapath.reconciler.figures()
        assert [f.dumps for f in figures] == [1] * len(figures)
        assert sum(f.repaired for f in figures if f.kind in (Kind.MPLS_ROUTE, Kind.VRF_ROUTE)) == 0

    run(scenario, namespace)


def test_a_restarted_agent_writes_nothing(namespace: Callable[[str], Namespace]) -> None:
    async def scenario(host: Namespace, kernel: Kernel, datapath: Datapath) -> None:
        await datapath.stop()
        second = open_kernel(kernel.config)
        again = Datapath(second.drivers, second.monitor)
        again.put(*EVERYTHING)
        again.allow_sweep()
        await again.start()
        assert all(status.settled for status in await again.wait(NAMES, 20))
        await again.stop()
        sent = {driver.channel.sent for driver in second.drivers if hasattr(driver, "channel")}
        assert sent == {0}
        assert wrong(second) == []
        second.close()
        await datapath.start()

    run(scenario, namespace)
