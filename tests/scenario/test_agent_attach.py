"""Attach and detach through the whole of signaling: two hosts, one gateway."""

from __future__ import annotations

from datapath.values import Kind, NextHop
from tests.scenario.agent_harness import World, play
from vpn.prefix import parse_address


def test_a_port_is_announced_and_its_route_comes_to_the_other_host_and_back() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        web = await one.attach("web", "blue", "10.1.1.1", "fd00::1")
        assert (web["state"], web["announced"], web["unchanged"]) == ("programmed", "yes", False)
        database = await two.attach("db", "blue", "10.1.1.2")
        there = await two.has_route("blue", "10.1.1.1/32")
        assert there.via == NextHop("vw-gre", parse_address("192.0.2.11"), (int(str(web["label"])),))
        there6 = await two.has_route("blue", "fd00::1/128")
        assert there6.via == NextHop("vw-gre", parse_address("::ffff:192.0.2.11"), (int(str(web["label"])),))
        back = await one.has_route("blue", "10.1.1.2/32")
        assert back.via == NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(database["label"])),))
        own = await one.has_route("blue", "10.1.1.1/32")
        assert own.via == NextHop("tap-web", parse_address("10.1.1.1"))
        assert len(one.kernel.objects[Kind.MPLS_ROUTE]) == 1

    play(scenario)
