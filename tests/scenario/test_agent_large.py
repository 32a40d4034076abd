"""Answers about tables that are large: whole, in order, bounded, and without a word more than anybody reads."""

from __future__ import annotations

import errno

import pytest

from agent import methods
from datapath.describe import name_of
from datapath.values import Kind
from tests.scenario.agent_harness import Host, World, play, refused, until
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

ROUTES = 1200


def announce(host: Host, vpn: str, count: int, *, second: int = 1) -> list[Prefix]:
    """Routes by one next hop, as if the gateway had announced them; the highest first."""
    assert host.daemon is not None
    agent = host.daemon.agent
    (peer,) = agent.peers.values()
    prefixes = [Prefix.parse(f"11.{second}.{n >> 8}.{n & 255}/32") for n in reversed(range(count))]
    path = Path((NextHop(parse_address("192.0.2.12"), 5000),))
    agent.routes_received(peer, vpn, [(prefix, path) for prefix in prefixes], False)
    return prefixes


async def host_with_routes(world: World) -> tuple[Host, list[Prefix]]:
    one = await world.host(1, await world.gateway(start=False))
    await one.attach("web", "blue", "10.1.1.1", wait="programmed")
    prefixes = announce(one, "blue", ROUTES)
    await until(lambda: len(one.kernel.objects[Kind.VRF_ROUTE]) >= ROUTES, "all routes are in the kernel")
    return one, prefixes


def test_a_list_is_whole_and_in_order_for_who_reads_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        one, prefixes = await host_with_routes(world)
        reply = await one.call("route.list")
        assert isinstance(reply["items"], list)
        assert [row["prefix"] for row in reply["items"]] == [str(prefix) for prefix in sorted(prefixes)]
        monkeypatch.setattr(methods, "MOST_ROUTES", ROUTES // 2)
        async with refused(2) as caught:
            await one.call("route.list")
        assert "there are more than 600" in str(caught[0])
        assert len((await one.call("route.list", limit=10))["items"]) == 10  # type: ignore[arg-type]

    play(scenario)


def test_a_next_hop_names_the_first_routes_that_go_by_it() -> None:
    async def scenario(world: World) -> None:
        one, prefixes = await host_with_routes(world)
        (hop,) = one.kernel.objects[Kind.NEXT_HOP]
        shown = await one.call("object.show", kind="next-hop", name=name_of(hop))
        table = one.table("blue")
        named = [f"route {name_of((table, prefix))}" for prefix in prefixes[:5]]
        assert shown["wanted_by"] == [*named, f"{ROUTES - 5} more"]

    play(scenario)


def test_a_status_tells_some_of_many_problems() -> None:
    async def scenario(world: World) -> None:
        one, _ = await host_with_routes(world)
        one.kernel.fail(errno.ENOMEM, kind=Kind.VRF_ROUTE, times=-1)
        announce(one, "blue", 100, second=2)
        assert one.daemon is not None
        failures = one.daemon.datapath.reconciler.failures
        await until(lambda: len(failures()) == 100, "none of them can be made")
        status = await one.call("status")
        assert isinstance(status["problems"], list)
        assert (status["state"], status["failed"], len(status["problems"])) == ("degraded", 100, 50)

    play(scenario)
