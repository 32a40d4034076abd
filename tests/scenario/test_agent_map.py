"""Orchestration, gateways and agents together: what the map says decides who has a network, without anybody's retry."""

from __future__ import annotations

import asyncio

from datapath.values import AntiSpoofing, Kind, MplsRoute, NextHop
from ifmap.values import PublishOperation
from tests.scenario.agent_harness import Gateway, Host, World, eventually, play, until
from tests.scenario.orchestration import (
    Orchestration,
    bind,
    connect_groups,
    disconnect_groups,
    group,
    no_group,
    no_target,
    unbind,
)
from vpn.prefix import parse_address

PATIENT = "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.1\nretry_time = 3600.0\n"
"""An agent that doesn't ask again by itself within a test: what happens is by what gateways tell it."""
WEB, DB = "10.1.1.1/32", "10.1.1.2/32"


async def publish(orchestration: Orchestration, *operations: PublishOperation) -> None:
    await asyncio.to_thread(orchestration.publish, *operations)


async def gateways(world: World, orchestration: Orchestration, count: int) -> list[Gateway]:
    found = [
        await world.gateway(f"127.0.0.{number}", map=orchestration.section(f"gw{number}", name=f'"gw{number}"'))
        for number in range(1, count + 1)
    ]
    for one in found:
        await until(lambda one=one: one.synchronised, "the gateway knows the map")  # type: ignore[misc]
    return found


async def port_is(host: Host, name: str, announced: str, *blocked: str) -> str:
    """Wait until a port is as told; returns its error."""

    async def look() -> bool:
        port = await host.port(name)
        return (port["announced"], port["blocked"]) == (announced, list(blocked))

    await eventually(look, f"port {name} of {host.name} is announced: {announced}, and blocked: {blocked}")
    return str((await host.port(name))["error"])


def passes(host: Host, port: str, *prefixes: str) -> bool:
    """Whether the kernel lets a VM send from these addresses and no others, and hands it what comes from outside."""
    spoofing = host.kernel.objects[Kind.ANTI_SPOOFING][f"tap-{port}"]
    delivered = any(
        isinstance(one, MplsRoute) and one.device == f"tap-{port}"
        for one in host.kernel.objects[Kind.MPLS_ROUTE].values()
    )
    assert isinstance(spoofing, AntiSpoofing)
    return tuple(map(str, spoofing.prefixes)) == prefixes and delivered == bool(prefixes)


def test_a_binding_opens_a_port_and_its_end_blocks_it() -> None:
    """Attached before it is bound, by another name than orchestration's; then bound, revoked, bound again."""

    async def scenario(world: World) -> None:
        orchestration = await world.map(*group("blue", "64512:1"), *bind("db", "blue", "10.1.1.2"))
        both = await gateways(world, orchestration, 2)
        one, two = await world.host(1, *both, settings=PATIENT), await world.host(2, *both, settings=PATIENT)
        await two.attach("db", "blue", "10.1.1.2")
        await one.attach("web", "blue", "10.1.1.1", attachment="vm-7", wait="programmed")
        error = await port_is(one, "web", "refused", WEB)
        assert "attachment vm-7 is not bound to VPN blue" in error
        for gateway in both:
            assert list(gateway.withheld()) == [("vm-7", WEB)] and gateway.prefixes("blue") == {DB}
        await until(lambda: passes(one, "web"), "nothing passes a port that is blocked")

        async def open_() -> None:
            await port_is(one, "web", "yes")
            await until(lambda: passes(one, "web", WEB), "the port is open")
            route = await two.has_route("blue", WEB)
            assert isinstance(route.via, NextHop) and route.via.gateway == parse_address("192.0.2.11")
            await one.has_route("blue", DB)

        # By the name of the port nothing is opened, by its attachment it is.
        await publish(orchestration, *bind("web", "blue", "10.1.1.1"))
        for gateway in both:
            await until(lambda gateway=gateway: gateway.bindings == 2 and gateway.synchronised, "the binding")  # type: ignore[misc]
            assert list(gateway.withheld()) == [("vm-7", WEB)]
        await publish(orchestration, *bind("vm-7", "blue", "10.1.1.1"))
        await open_()
        sessions = [gateway.sessions() for gateway in both]
        up = {("vm-7", "hv1", name): ("up", (WEB,)) for name in ("gw1", "gw2")}

        async def published() -> bool:
            return await asyncio.to_thread(orchestration.states, "vm-7") == up

        await eventually(published, "both gateways say that it is up")

        async def silent() -> bool:
            return await asyncio.to_thread(orchestration.states, "vm-7") == {}

        await one.call("drain", settle=0)
        await eventually(silent, "of an attachment on a drained host nothing is said")
        await until(lambda: passes(one, "web"), "the port is closed")
        await one.call("undrain")
        await eventually(published, "it is up again")
        await open_()

        await publish(orchestration, unbind("vm-7", "blue"))
        assert "not bound" in await port_is(one, "web", "refused", WEB)
        await two.no_route("blue", WEB)
        await until(lambda: passes(one, "web"), "the port is blocked")
        assert passes(two, "db", DB), "the other one isn't touched"
        await port_is(two, "db", "yes")
        await publish(orchestration, *bind("vm-7", "blue"))
        await open_()
        assert [gateway.sessions() for gateway in both] == sessions

    play(scenario)


def test_vpns_come_go_and_are_connected_while_ports_are_attached() -> None:
    async def scenario(world: World) -> None:
        blue, red = group("blue", "64512:1"), group("red", "64512:2")
        ports = {"web": ("blue", "10.1.1.1"), "db": ("blue", "10.1.1.2"), "r1": ("red", "10.2.1.1")}
        orchestration = await world.map(
            *blue, *red, *(found for name, (vpn, address) in ports.items() for found in bind(name, vpn, address))
        )
        [gateway] = await gateways(world, orchestration, 1)
        one, two = await world.host(1, gateway, settings=PATIENT), await world.host(2, gateway, settings=PATIENT)
        await one.attach("web", *ports["web"])
        await two.attach("db", *ports["db"])
        await two.attach("r1", *ports["r1"])
        await two.has_route("blue", WEB)
        sessions = gateway.sessions()

        # Connected, each sees the other's routes; no longer, it doesn't. Nothing else moves.
        before = dict(two.kernel.objects[Kind.MPLS_ROUTE])
        for _ in range(2):
            await publish(orchestration, connect_groups("blue", "red"))
            there = await two.has_route("red", WEB)
            assert isinstance(there.via, NextHop) and there.via.gateway == parse_address("192.0.2.11")
            await one.has_route("blue", "10.2.1.1/32")
            await publish(orchestration, disconnect_groups("blue", "red"))
            await two.no_route("red", WEB)
            await one.no_route("blue", "10.2.1.1/32")
        # So with route targets.
        await publish(orchestration, *group("red", "64512:1"), no_target("red", "64512:2"))
        await two.has_route("red", WEB)
        await one.has_route("blue", "10.2.1.1/32")
        await publish(orchestration, *red, no_target("red", "64512:1"))
        await two.no_route("red", WEB)
        await one.no_route("blue", "10.2.1.1/32")
        await one.has_route("blue", DB)
        assert two.kernel.objects[Kind.MPLS_ROUTE] == before

        # A VPN is deleted, and created again.
        await publish(orchestration, *no_group("blue", "64512:1"))
        await two.no_route("blue", WEB)
        await one.no_route("blue", DB)
        error = await port_is(one, "web", "refused")
        assert "the VPN was deleted" in error
        assert gateway.sessions() == sessions and one.connected() and two.connected()
        assert passes(one, "web", WEB), "a VPN that isn't there blocks nobody"
        await port_is(two, "r1", "yes")
        assert two.route("red", "10.2.1.1/32") is not None
        await publish(orchestration, *blue)
        await two.has_route("blue", WEB)
        await one.has_route("blue", DB)
        await port_is(one, "web", "yes")
        assert gateway.sessions() == sessions and gateway.prefixes("blue") == {WEB, DB}

    play(scenario)
