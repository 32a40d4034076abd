"""Drivers, monitor and reconciler together: damage by a third party is put right within a second, a restart writes
nothing, and detach leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import time
from collections.abc import Callable, Coroutine, Iterator

import pytest

from datapath.plane import Datapath
from datapath.values import (
    AntiSpoofing,
    Key,
    Kind,
    MplsRoute,
    Neighbour,
    NextHop,
    NextHopGroup,
    Value,
    VrfRoute,
)
from lab.guest import open_tap
from tests.kernel.dp_dev_support import BLUE, FILTERS, MAC, TAP, TUNNEL, Host, host
from vpn.prefix import Prefix, parse_address

VM4, VM6 = parse_address("10.1.1.1"), parse_address("fd00:1::1")
REMOTES = [parse_address("192.0.2.12"), parse_address("192.0.2.13")]


def _mapped(address: bytes) -> bytes:
    return bytes(10) + b"\xff\xff" + address


def desired() -> list[Value]:
    """A host with one port of the blue VPN and routes to two others, one of them over both."""
    over4 = [NextHop("vw-gre", remote, (1004,)) for remote in REMOTES]
    over6 = [NextHop("vw-gre", _mapped(remote), (1006,)) for remote in REMOTES]
    local4, local6 = NextHop("tap0", VM4), NextHop("tap0", VM6)
    group = NextHopGroup(tuple(sorted(over4)))
    neighbours = [Neighbour("vw-gre", remote, remote) for remote in REMOTES]
    neighbours += [Neighbour("vw-gre", _mapped(remote), remote) for remote in REMOTES]
    neighbours += [Neighbour("tap0", VM4, MAC), Neighbour("tap0", VM6, MAC)]
    routes = [
        VrfRoute(10001, Prefix(VM4, 32), local4),
        VrfRoute(10001, Prefix(VM6, 128), local6),
        VrfRoute(10001, Prefix.parse("10.1.1.2"), over4[0]),
        VrfRoute(10001, Prefix.parse("10.1.1.3"), group),
        VrfRoute(10001, Prefix.parse("fd00:1::2"), over6[0]),
    ]
    labels = [MplsRoute(1004, "tap0", VM4), MplsRoute(1006, "tap0", VM6)]
    return [TUNNEL, BLUE, TAP, FILTERS, *neighbours, *over4, *over6, local4, local6, group, *labels, *routes]


LIMIT = 10.0
"""Seconds for a repair, which takes a fraction of one, to be read back by drivers that know nothing."""


@pytest.fixture
def hv() -> Iterator[Host]:
    with host() as opened:
        yield opened


def run(hv: Host, scenario: Callable[[Datapath], Coroutine[None, None, None]]) -> None:
    """A scenario on a datapath that wants desired() and has it."""

    async def work() -> None:
        datapath = Datapath(hv.kernel.drivers, hv.kernel.monitor)
        datapath.put(*desired())
        datapath.allow_sweep()
        await datapath.start()
        tap = -1
        try:
            assert await datapath.wait_in_sync(10)
            await datapath.wait([(Kind.PORT, "tap0")], 10)
            # A VM has opened the tap: only now can next hops towards it be made.
            tap = open_tap("tap0", hv.namespace)
            await settled(datapath, 10)
            end = time.monotonic() + 10
            while hv.kernel.monitor.untidy:
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            await scenario(datapath)
        finally:
            if tap >= 0:
                os.close(tap)
            await datapath.stop()

    asyncio.run(work())


async def settled(datapath: Datapath, timeout: float) -> None:
    statuses = await datapath.wait([(value.kind, value.key) for value in desired()], timeout, attempts=100)
    assert all(status.settled for status in statuses), [status for status in statuses if not status.settled]


def held(hv: Host) -> dict[Kind, dict[Key, Value]]:
    """What the kernel holds, read by drivers that know nothing."""
    with Host(hv.namespace) as fresh:
        return {kind: fresh.dump(kind) for kind in sorted(Kind)}


def missed(hv: Host) -> dict[Kind, object]:
    """What the kernel holds and shouldn't, or doesn't and should."""
    has, wants = held(hv), wanted()
    return {kind: (has[kind], wants[kind]) for kind in wants if has[kind] != wants[kind]}


def wanted() -> dict[Kind, dict[Key, Value]]:
    return {kind: {v.key: v for v in desired() if v.kind is kind} for kind in sorted(Kind)}


DAMAGE = [
    "ip link delete vw-blue",
    "ip link delete vw-gre",
    "ip link set vw-gre down",
    "ip link set tap0 down",
    "ip link set vw-blue down",
    "ip link set tap0 nomaster",
    "ip link set tap0 address 02:00:00:00:00:77",
    "ip route delete 10.1.1.2 table 10001",
    "ip route flush table 10001",
    "ip -6 route flush table 10001",
    "ip -f mpls route delete 1004",
    "ip nexthop flush",
    "ip neighbour delete 192.0.2.12 dev vw-gre",
    "ip rule delete pref 1000",
    "ip -6 rule delete pref 1000",
    "ip -6 rule delete pref 1001",
    "tc qdisc delete dev tap0 clsact",
    "tc filter delete dev tap0 ingress",
    "sysctl -w net.ipv4.ip_forward=0",
    "sysctl -w net.ipv4.conf.vw-blue.rp_filter=1",
    "sysctl -w net.ipv4.conf.tap0.forwarding=0",
    "sysctl -w net.ipv6.conf.all.forwarding=0",
    "sysctl -w net.mpls.conf.vw-gre.input=0",
    "sysctl -w net.mpls.platform_labels=500",
    "ip route replace 10.1.1.2 dev lo table 10001 proto 4",
    "ip -6 route replace fd00:1::2 dev lo table 10001 proto 4",
    "ip -f mpls route replace 1004 dev vw-gre",
    "ip neighbour replace 192.0.2.12 dev vw-gre lladdr 192.0.2.99 nud permanent",
    "ip neighbour replace 10.1.1.1 dev tap0 lladdr 02:00:00:00:00:99 nud permanent",
    "ip -6 address flush dev vw-blue",
    "ip link set vw-blue alias ''",
    "tc filter delete dev tap0 ingress pref 22020",
    "ip nexthop replace id {hop} dev lo proto 108",
    "ip nexthop replace {group} group {hop} proto 108",
    "ip nexthop delete {group}",
]


def repaired(datapath: Datapath) -> int:
    """Objects that others deleted or changed, as counted so far."""
    return sum(figures.repaired for figures in datapath.reconciler.figures())


def command(hv: Host, damage: str) -> list[str]:
    """With the ids of the group and of one of its members."""
    hops = json.loads(hv.namespace.output("ip", "-j", "nexthop", "show", "proto", "108"))
    (group,) = [hop for hop in hops if "group" in hop]
    return shlex.split(damage.format(group=f"id {group['id']}", hop=group["group"][0]["id"]))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_put_right_and_counted(hv: Host, damage: str) -> None:
    async def scenario(datapath: Datapath) -> None:
        assert held(hv) == wanted()
        before = repaired(datapath)
        # The command may report an error of its own making: a flush meets routes that went with their next hop.
        process = await asyncio.create_subprocess_exec(*command(hv, damage), stdout=asyncio.subprocess.DEVNULL)
        await process.wait()
        start = time.monotonic()
        while held(hv) != wanted() or repaired(datapath) == before:
            assert time.monotonic() - start < LIMIT, (missed(hv), repaired(datapath) - before)
            await asyncio.sleep(0.02)

    run(hv, scenario)


def test_tap_deleted_is_made_again_for_the_vm_to_open(hv: Host) -> None:
    async def scenario(datapath: Datapath) -> None:
        hv.namespace.ip("link delete tap0")
        start = time.monotonic()
        while held(hv)[Kind.PORT] != wanted()[Kind.PORT]:
            assert time.monotonic() - start < LIMIT
            await asyncio.sleep(0.02)
        tap = open_tap("tap0", hv.namespace)
        try:
            await settled(datapath, LIMIT)
            assert held(hv) == wanted()
        finally:
            os.close(tap)

    run(hv, scenario)


def test_restart_writes_nothing(hv: Host) -> None:
    async def nothing(_datapath: Datapath) -> None:
        pass

    run(hv, nothing)

    async def again() -> None:
        tap = open_tap("tap0", hv.namespace)
        with Host(hv.namespace) as observer, Host(hv.namespace) as fresh:
            datapath = Datapath(fresh.kernel.drivers, fresh.kernel.monitor)
            datapath.put(*desired())
            await datapath.start()
            assert await datapath.wait_in_sync(10)
            await settled(datapath, 10)
            observer.kernel.monitor.drain()
            datapath.resync(None, "test")
            assert await datapath.wait_in_sync(10)
            await settled(datapath, 10)
            await datapath.stop()
            assert observer.kernel.monitor.drain() == []
        os.close(tap)

    asyncio.run(again())


def test_what_is_no_longer_wanted_goes(hv: Host) -> None:
    async def scenario(datapath: Datapath) -> None:
        revision = datapath.remove(*((value.kind, value.key) for value in reversed(desired())))
        assert await datapath.wait_revision(revision, 10)
        assert held(hv) == {kind: {} for kind in sorted(Kind)}
        assert "tap0" not in hv.namespace.interfaces()

    run(hv, scenario)


def test_addresses_change_in_place(hv: Host) -> None:
    async def scenario(datapath: Datapath) -> None:
        value = AntiSpoofing("tap0", MAC, (*FILTERS.prefixes, Prefix.parse("10.7.0.0/16")))
        assert await datapath.wait_revision(datapath.put(value), 10)
        assert held(hv)[Kind.ANTI_SPOOFING] == {"tap0": value}

    run(hv, scenario)
