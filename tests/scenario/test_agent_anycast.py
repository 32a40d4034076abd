"""An address that is here and elsewhere, and a VM here that is switched off and on: what is left carries on."""

from __future__ import annotations

import logging

import pytest

from datapath.values import Kind, NextHop, NextHopGroup, VrfRoute
from tests.scenario.agent_harness import Host, World, play, until
from vpn.prefix import parse_address

ANYWHERE = "10.1.1.9"
LOCAL = NextHop("tap-any", parse_address(ANYWHERE))


async def anycast(world: World, *, running: bool) -> tuple[Host, NextHop]:
    """A host with a VM that has the address, running or not, and the next hop to another one."""
    gateway = await world.gateway()
    one, two = await world.host(1, gateway), await world.host(2, gateway)
    if not running:
        one.kernel.dark.add("tap-any")
    await one.attach("any", "blue", ANYWHERE)
    there = await two.attach("any", "blue", ANYWHERE)
    return one, NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(there["label"])),))


async def goes_by(host: Host, via: NextHop | NextHopGroup) -> None:
    """Wait until the kernel's route is that."""

    def arrived() -> bool:
        route = host.route("blue", f"{ANYWHERE}/32")
        return route is not None and route.via == via

    await until(arrived, f"{host.name} to go by {via}; it has {host.route('blue', f'{ANYWHERE}/32')}")


async def shown(host: Host) -> dict[str, object]:
    """The route as the operator sees it."""
    items = (await host.call("route.list"))["items"]
    assert isinstance(items, list)
    (route,) = items
    assert isinstance(route, dict)
    return route


def test_the_others_are_used_while_the_vm_here_does_not_run() -> None:
    async def scenario(world: World) -> None:
        one, there = await anycast(world, running=False)
        await goes_by(one, there)
        assert not one.kernel.objects[Kind.NEXT_HOP_GROUP]
        route = await shown(one)
        assert (route["state"], route["error"]) == ("programmed", "tap-any: waiting for the VM (no carrier)")
        assert len(str(route["next_hops"]).split("address")) == 3, "what was announced is shown whole"
        explained = await one.call("route.explain", vpn="blue", address=ANYWHERE)
        assert "not all next hops are used: tap-any: waiting for the VM (no carrier)" in str(explained["why"])
        assert (await one.port("any"))["carrier"] is False
        status = await one.call("status")
        assert (status["state"], status["failed"], status["without_carrier"]) == ("ok", 0, 1)
        one.kernel.set_carrier("tap-any", True)
        await goes_by(one, NextHopGroup((LOCAL, there)))
        route = await shown(one)
        assert (route["state"], route["error"]) == ("programmed", "")
        port = await one.port("any")
        assert (port["state"], port["carrier"]) == ("programmed", True)

    play(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_vm_that_is_switched_off_leaves_and_comes_back(late: bool) -> None:
    async def scenario(world: World) -> None:
        one, there = await anycast(world, running=True)
        both = NextHopGroup((LOCAL, there))
        await goes_by(one, both)
        dumps = len(one.kernel.dumps)
        for _ in range(2):
            # The kernel takes no more next hops at once, and drops those that are there a bit later.
            one.kernel.set_carrier("tap-any", False, late=late)
            await goes_by(one, there)
            if late:
                one.kernel.set_carrier("tap-any", False)
            await until(lambda: both not in one.kernel.objects[Kind.NEXT_HOP_GROUP], "the old group is deleted")
            await goes_by(one, there)
            one.kernel.set_carrier("tap-any", True)
            await goes_by(one, both)
        assert len(one.kernel.dumps) == dumps, "a VM that stops or starts costs no dump"

    play(scenario)


def test_a_restarted_agent_finds_the_rest_right() -> None:
    async def scenario(world: World) -> None:
        one, there = await anycast(world, running=True)
        await goes_by(one, NextHopGroup((LOCAL, there)))
        await one.stop()
        one.kernel.set_carrier("tap-any", False)
        one.kernel.monitor.drain()
        # What the kernel has left of the group goes on forwarding.
        (left,) = one.kernel.objects[Kind.VRF_ROUTE].values()
        assert isinstance(left, VrfRoute) and left.via == NextHopGroup((there,))
        await one.start()
        await goes_by(one, there)
        await until(lambda: not one.kernel.objects[Kind.NEXT_HOP_GROUP], "the rest of the group is swept")
        await one.stop()
        one.kernel.writes.clear()
        await one.start()
        await until(lambda: one.daemon is not None and one.daemon.agent.tables.complete, "all routes are known")
        await goes_by(one, there)
        assert {write.key for write in one.kernel.writes} == {LOCAL}, "tried, and nothing else written"

    play(scenario)


def test_nothing_is_warned_of_a_vm_that_does_not_run(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        one.kernel.dark.add("tap-web")
        port = await one.attach("web", "blue", "10.1.1.1", "fd00::1")
        assert (port["state"], port["announced"]) == ("programmed", "yes")
        await until(lambda: "no carrier" in caplog.text, "told once")
        route = (await one.call("route.list", vpn="blue"))["items"]
        assert "'pending', 'error': 'tap-web: waiting for the VM (no carrier)'" in str(route)
        assert (await one.call("status"))["state"] == "ok"
        assert (await one.port("web"))["carrier"] is False

    with caplog.at_level(logging.INFO, logger="vrfwire"):
        play(scenario)
    said = [record for record in caplog.records if "carrier" in record.getMessage()]
    assert [(r.levelname, r.getMessage()) for r in said] == [
        ("INFO", "tap-web has no carrier, next hops waiting for it: 2")
    ]
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
