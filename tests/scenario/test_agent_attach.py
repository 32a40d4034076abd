"""Attach and detach through the whole of signaling: hosts with fake kernels, real gateways."""

from __future__ import annotations

import errno

from datapath.driver import Verb
from datapath.values import Kind, NextHop, NextHopGroup
from tests.scenario.agent_harness import World, play, refused, until
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


def test_vpns_with_the_same_addresses_stay_apart() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("b1", "blue", "10.1.1.1")
        await one.attach("r1", "red", "10.1.1.1")
        blue = await two.attach("b2", "blue", "10.1.1.2")
        red = await two.attach("r2", "red", "10.1.1.2")
        in_blue, in_red = await one.has_route("blue", "10.1.1.2/32"), await one.has_route("red", "10.1.1.2/32")
        assert in_blue.via == NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(blue["label"])),))
        assert in_red.via == NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(red["label"])),))
        assert in_blue.table != in_red.table

    play(scenario)


def test_nothing_is_announced_before_the_kernel_delivers_to_it() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        one.kernel.fail(errno.ENOMEM, kind=Kind.MPLS_ROUTE, times=-1)
        async with refused(1) as caught:
            await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert "MPLS route: " in str(caught[0])
        port = await one.port("web")
        assert (port["state"], port["announced"]) == ("error", "no")
        assert gateway.prefixes("blue") == set()
        status = await one.call("status")
        assert status["state"] == "degraded"
        one.kernel.heal()
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32"}, "announced when the kernel has it")
        again = await one.attach("web", "blue", "10.1.1.1")
        assert (again["state"], again["announced"], again["unchanged"]) == ("programmed", "yes", True)

    play(scenario)


def test_the_same_attach_again_is_unchanged() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        first = await one.attach("web", "blue", "10.1.1.1", prefixes=["10.9.0.0/16"])
        writes = len(one.kernel.writes)
        again = await one.attach("web", "blue", "10.1.1.1", prefixes=["10.9.0.0/16"])
        assert again["unchanged"] is True
        volatile = {"unchanged", "elapsed_ms"}
        assert {k: v for k, v in first.items() if k not in volatile} == {
            k: v for k, v in again.items() if k not in volatile
        }
        await one.has_route("blue", "10.9.0.0/16")
        assert [w for w in one.kernel.writes[writes:] if w.kind is not Kind.VRF_ROUTE and w.kind < Kind.NEXT_HOP] == []

    play(scenario)


def test_conflicts_are_refused_and_change_nothing() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        for name, address, more in (
            ("web", "10.1.1.9", {}),
            ("other", "10.1.1.1", {}),
            ("other", "10.1.1.9", {"tap": "tap-web"}),
        ):
            async with refused(3):
                await one.attach(name, "blue", address, **more)
        async with refused(4) as caught:
            await one.attach("other", "blue", "10.1.1.9", tap=None, netns="no-such-namespace")
        assert "no-such-namespace" in str(caught[0])
        async with refused(2):
            await one.attach("other", "blue", "10.1.1.300")
        ports = await one.call("port.list")
        assert isinstance(ports["items"], list)
        assert [port["name"] for port in ports["items"]] == ["web"]
        await one.attach("other", "red", "10.1.1.1")

    play(scenario)


def test_detach_is_the_mirror_image() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        web = await one.attach("web", "blue", "10.1.1.1")
        await one.attach("web2", "blue", "10.1.1.3")
        await two.attach("db", "blue", "10.1.1.2")
        await two.has_route("blue", "10.1.1.1/32")
        there_when_mpls_went: list[set[str]] = []
        one.kernel.before(Kind.MPLS_ROUTE, 1, lambda: there_when_mpls_went.append(gateway.prefixes("blue")))
        reply = await one.detach("web")
        assert reply["state"] == "detached"
        assert there_when_mpls_went == [{"10.1.1.2/32", "10.1.1.3/32"}], "withdrawn first"
        await two.no_route("blue", "10.1.1.1/32")
        assert "tap-web" not in one.kernel.objects[Kind.PORT]
        assert web["label"] not in one.kernel.objects[Kind.MPLS_ROUTE]
        async with refused(4):
            await one.detach("web")
        other = await one.attach("new", "blue", "10.1.1.9")
        assert other["label"] != web["label"], "the label rests"
        again = await one.attach("web", "blue", "10.1.1.1")
        assert again["label"] == web["label"], "but comes back to its own port"

    play(scenario)


def test_the_last_port_takes_the_vpn_along_and_it_can_come_back() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await two.attach("db", "blue", "10.1.1.2")
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.2/32")
        table = one.table("blue")
        await one.detach("web")
        await until(lambda: not one.kernel.objects[Kind.VRF], "the VRF is gone")
        assert one.kernel.objects[Kind.VRF_ROUTE] == {}
        assert one.kernel.objects[Kind.NEXT_HOP] == {}
        assert set(one.kernel.objects[Kind.NEIGHBOUR]) == set()
        assert (await one.call("vpn.list"))["items"] == []
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.2/32")
        assert one.table("blue") == table

    play(scenario)


def test_local_routes_follow_what_the_gateway_announces() -> None:
    """Hub-and-spoke: the spokes export to the hub alone, so two spokes on one host never meet directly."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway(start=False)
        gateway.vpns = {}
        gateway.hosts = (
            '[[vpn]]\nname = "spoke"\nimport = ["64512:10"]\nexport = ["64512:11"]\n'
            '[[vpn]]\nname = "hub"\nimport = ["64512:11"]\nexport = ["64512:10"]\n'
        )
        await gateway.start()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("s1", "spoke", "10.1.1.1")
        await one.attach("s2", "spoke", "10.1.1.2")
        hub = await two.attach("h", "hub", "10.1.0.1", prefixes=["10.1.0.0/16"])
        via_hub = await one.has_route("spoke", "10.1.0.0/16")
        assert via_hub.via == NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(hub["label"])),))
        await two.has_route("hub", "10.1.1.2/32")
        assert one.route("spoke", "10.1.1.2/32") is None
        explained = await one.call("route.explain", vpn="spoke", address="10.1.1.2")
        assert explained["prefix"] == "10.1.0.0/16"

    play(scenario)


def test_the_same_prefix_here_and_there_is_shared() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        here = await one.attach("here", "blue", "10.1.1.1", prefixes=["10.5.0.0/16"])
        there = await two.attach("there", "blue", "10.1.1.2", prefixes=["10.5.0.0/16"])
        label = int(str(there["label"]))
        remote = NextHop("vw-gre", parse_address("192.0.2.12"), (label,))
        local = NextHop("tap-here", parse_address("10.1.1.1"))
        group = NextHopGroup(tuple(sorted((remote, local))))

        def shared() -> bool:
            route = one.route("blue", "10.5.0.0/16")
            return route is not None and route.via == group

        await until(shared, "a local and a remote next hop in one group")
        routes = await one.call("route.list", vpn="blue")
        assert isinstance(routes["items"], list)
        (row,) = [row for row in routes["items"] if row["prefix"] == "10.5.0.0/16"]
        assert row["state"] == "programmed"
        assert [hop["local"] for hop in row["next_hops"]] == [True, False]
        assert here["label"] in [hop["label"] for hop in row["next_hops"]]

    play(scenario)


def test_waiting_ends_with_the_time() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway(start=False)
        one = await world.host(1, gateway)
        async with refused(6) as caught:
            await one.attach("web", "blue", "10.1.1.1", timeout=0.05)
        assert "still converging" in str(caught[0]) and "is down" in str(caught[0])
        reply = await one.attach("web", "blue", "10.1.1.1", wait="no")
        assert (reply["unchanged"], reply["announced"]) == (True, "no")
        one.kernel.fail(errno.EBUSY, kind=Kind.PORT, verb=Verb.REMOVE, times=-1)
        async with refused(6):
            await one.detach("web", timeout=0.05)
        assert (await one.port("web"))["state"] == "detaching"
        async with refused(3) as caught:
            await one.attach("web", "blue", "10.1.1.1", timeout=0.05)
        assert "still being detached" in str(caught[0])
        one.kernel.heal()
        again = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert again["unchanged"] is False

    play(scenario)


def test_a_third_party_deletes_what_is_ours() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        route = await one.has_route("blue", "10.1.1.2/32")
        one.kernel.delete(Kind.VRF_ROUTE, route.key)
        await one.has_route("blue", "10.1.1.2/32")
        one.kernel.delete_link("tap-web")
        await until(lambda: "tap-web" in one.kernel.objects[Kind.PORT], "the port is back")
        await until(lambda: len(one.kernel.objects[Kind.MPLS_ROUTE]) == 1, "and delivers")

    play(scenario)


def test_a_vm_that_is_not_running_is_no_problem() -> None:
    """Linux refuses next hops on a device without carrier: the route back to the VM waits, all else is well."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        down = NextHop("tap-web", parse_address("10.1.1.1"))
        one.kernel.fail(errno.ENETDOWN, kind=Kind.NEXT_HOP, key=down, times=-1)
        await one.attach("web", "blue", "10.1.1.1")
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: bool(daemon.datapath.status(Kind.NEXT_HOP, down).error), "the kernel refuses")
        routes = await one.call("route.list")
        assert isinstance(routes["items"], list)
        assert routes["items"][0]["state"] == "pending"
        assert "carrier" in routes["items"][0]["error"]
        status = await one.call("status")
        assert (status["state"], status["failed"], status["problems"]) == ("ok", 0, [])
        one.kernel.heal()
        one.kernel.set_link("tap-web", False)
        one.kernel.set_link("tap-web", True)
        await one.has_route("blue", "10.1.1.1/32")

    play(scenario)
