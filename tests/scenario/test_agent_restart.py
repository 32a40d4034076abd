"""The agent stops, crashes and starts again: what it gave out stays, what is right isn't written again."""

from __future__ import annotations

import errno

from datapath.values import Kind, NextHop, VrfRoute
from runtime.errors import OperatorError
from tests.scenario.agent_harness import World, play, refused, until
from vpn.prefix import Prefix, parse_address


def test_a_restart_keeps_labels_and_writes_nothing() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        before = [await one.attach(f"p{n}", vpn, f"10.1.1.{n}") for n, vpn in ((1, "blue"), (2, "blue"), (3, "red"))]
        await two.attach("db", "blue", "10.1.1.9")
        await one.has_route("blue", "10.1.1.9/32")
        await one.has_route("red", "10.1.1.3/32")
        held = {kind: dict(objects) for kind, objects in one.kernel.objects.items()}
        await one.stop()
        assert one.kernel.objects == held, "a stop leaves the datapath standing"
        writes = len(one.kernel.writes)
        await one.start()
        await until(one.connected, "connected again")
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.tables.complete, "every table is known")
        for row in before:
            again = await one.port(str(row["name"]))
            assert {key: again[key] for key in ("label", "mac", "interface")} == {
                key: row[key] for key in ("label", "mac", "interface")
            }
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32", "10.1.1.9/32"}, "announced")
        assert one.kernel.writes[writes:] == []
        assert one.kernel.objects == held

    play(scenario)


def test_routes_of_before_stay_until_the_gateways_have_told_all() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        await two.attach("db2", "blue", "10.1.1.3")
        gone = await one.has_route("blue", "10.1.1.3/32")
        await one.has_route("blue", "10.1.1.2/32")
        await one.stop()
        await gateway.stop()
        await one.start()
        assert await one.port("web")
        assert one.kernel.objects[Kind.VRF_ROUTE][gone.key] == gone, "no gateway, no sweep"
        await two.detach("db2")
        await gateway.start()
        await one.no_route("blue", "10.1.1.3/32")
        assert await one.has_route("blue", "10.1.1.2/32")

    play(scenario)


def test_strays_of_a_port_that_is_unknown_are_swept_at_once() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, start=False)
        one.kernel.put(
            VrfRoute(10000, Prefix.parse("10.7.0.0/16"), NextHop("vw-gre", parse_address("192.0.2.9"), (5,)))
        )
        await one.start()
        await until(lambda: not one.kernel.objects[Kind.VRF_ROUTE], "without ports no route can be right")

    play(scenario)


def test_a_detach_goes_on_after_a_restart() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        web = await one.attach("web", "blue", "10.1.1.1")
        await one.attach("stays", "blue", "10.1.1.2")
        one.kernel.fail(errno.EBUSY, kind=Kind.PORT, times=-1)
        async with refused(6):
            await one.detach("web", timeout=0.05)
        await one.stop()
        one.kernel.heal()
        await one.start()
        await until(lambda: "tap-web" not in one.kernel.objects[Kind.PORT], "out of the kernel")
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.2/32"}, "out of the gateway")
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.inventory.get("web") is None, "forgotten")
        other = await one.attach("other", "blue", "10.1.1.3")
        assert other["label"] != web["label"]

    play(scenario)


def test_a_damaged_state_file_stops_the_start_and_nothing_else() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1)
        await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        await one.stop()
        held = {kind: dict(objects) for kind, objects in one.kernel.objects.items()}
        path = one.state / "agent.db"
        path.write_bytes(b"\xff" * path.stat().st_size)
        try:
            await one.start()
        except OperatorError as error:
            assert "damaged" in error.why and str(path) in error.what and error.hint
        else:
            raise AssertionError("it started with a damaged file")
        assert one.kernel.objects == held
        assert path.read_bytes()[:4] == b"\xff\xff\xff\xff"

    play(scenario)


def test_a_second_daemon_is_refused() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1)
        again = await world.host(1, start=False)
        try:
            await again.start()
        except OperatorError as error:
            assert "another daemon" in error.why
        else:
            raise AssertionError("two daemons on one state directory")
        assert one.daemon is not None

    play(scenario)
