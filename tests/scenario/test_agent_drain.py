"""Drain: withdrawn everywhere, confirmed, then down; and back. Whatever happens in between."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from agent.drain_state import DrainPhase, DrainState
from agent.events import Wanted
from datapath.driver import Verb
from datapath.status import State
from datapath.values import AntiSpoofing, Kind, NextHop, Port
from runtime.errors import OperatorError
from tests.scenario.agent_harness import Gateway, Host, World, eventually, play, refused, until
from vpn.prefix import parse_address

WEB, DB = "10.1.1.1/32", "10.1.1.2/32"


def open_ports(host: Host) -> set[str]:
    """Ports that something passes from, by device; with them their label routes."""
    filters = host.kernel.objects[Kind.ANTI_SPOOFING].values()
    found = {value.device for value in filters if isinstance(value, AntiSpoofing) and value.prefixes}
    assert len(host.kernel.objects[Kind.MPLS_ROUTE]) == len(found), "delivered from the network"
    return found


def phase(host: Host) -> DrainPhase:
    assert host.daemon is not None
    return host.daemon.agent.drain.phase


async def two_hosts(world: World, *, gateways: int = 1) -> tuple[list[Gateway], Host, Host]:
    """Host one with a port web and a sleeping one, host two with db, which all gateways know."""
    made = [await world.gateway(f"127.0.0.{number + 1}") for number in range(gateways)]
    one, two = await world.host(1, *made), await world.host(2, *made)
    await until(lambda: one.connected() and two.connected(), "every session is up")
    await one.attach("web", "blue", "10.1.1.1")
    await two.attach("db", "blue", "10.1.1.2")
    await two.has_route("blue", WEB)
    await one.has_route("blue", DB)
    return made, one, two


def gateways_of(reply: dict[str, object]) -> dict[str, str]:
    """How far the drain is at each gateway."""
    rows = reply["items"] if "items" in reply else reply["gateways"]
    assert isinstance(rows, list)
    return {row["address"]: row["drain"] for row in rows}


def test_withdrawn_confirmed_then_down_and_back() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, two = await two_hosts(world)
        taps = set(one.kernel.objects[Kind.PORT])
        before = dict(one.kernel.objects[Kind.MPLS_ROUTE])
        reply = await one.call("drain", settle=0.05)
        assert (reply["state"], reply["step"], reply["unchanged"], reply["ports"]) == ("drained", "", False, 1)
        assert gateways_of(reply) == {"127.0.0.1": "withdrawn"}
        assert gateway.prefixes("blue") == {DB}
        assert open_ports(one) == set()
        assert set(one.kernel.objects[Kind.PORT]) == taps, "the taps stay with their VMs"
        assert open_ports(two) == {"tap-db"}, "other hosts don't notice"
        await two.no_route("blue", WEB)
        assert one.route("blue", DB) is not None, "the way back into service is known"
        port = await one.port("web")
        assert (port["state"], port["announced"]) == ("drained", "no")
        assert "drained" in str(port["error"]) and "vrfwire undrain" in str(port["hint"])
        status = await one.call("status")
        assert (status["state"], status["drain"], status["problems"]) == ("drained", "drained", [])
        assert gateways_of(await one.call("gateway.list")) == {"127.0.0.1": "withdrawn"}
        assert one.daemon is not None and one.daemon._summary().count("drained") == 1
        again = await one.call("drain")
        assert (again["state"], again["unchanged"]) == ("drained", True)

        reply = await one.call("undrain")
        assert (reply["state"], reply["unchanged"]) == ("active", False)
        assert gateway.prefixes("blue") == {WEB, DB}
        assert open_ports(one) == {"tap-web"}
        assert one.kernel.objects[Kind.MPLS_ROUTE] == before, "the label is the same"
        await two.has_route("blue", WEB)
        status = await one.call("status")
        assert (status["state"], status["drain"]) == ("ok", "active")
        assert gateways_of(await one.call("gateway.list")) == {"127.0.0.1": ""}
        assert (await one.call("undrain"))["unchanged"] is True

    play(scenario)


def test_ports_deliver_until_the_gateway_has_confirmed_and_the_network_has_settled() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        gateway.freeze()
        assert gateway.daemon is not None
        reply = await one.call("drain", wait=False, settle=0.3)
        assert (reply["state"], reply["step"]) == ("draining", "waiting for gateway 127.0.0.1")
        assert gateways_of(reply) == {"127.0.0.1": "withdrawing"}
        async with refused(6) as caught:
            await one.call("drain", timeout=0.1)
        assert "still waiting for gateway 127.0.0.1" in str(caught[0])
        status = await one.call("status")
        assert (status["state"], status["drain"]) == ("draining", "draining")
        assert open_ports(one) == {"tap-web"}
        for connection in gateway.daemon.server.connections:
            connection.resume_writing()
        agent = one.daemon
        assert agent is not None
        await until(lambda: agent.agent.drain.step() == "settling for 0.3 s", "confirmed")
        assert gateway.prefixes("blue") == {DB}
        assert open_ports(one) == {"tap-web"}, "what is on its way is delivered"
        reply = await one.call("drain")
        assert reply["unchanged"] is True
        assert open_ports(one) == set()

    play(scenario)


def test_two_gateways_one_away() -> None:
    """What it may still have keeps the ports up: until it is back, or --force."""

    async def scenario(world: World) -> None:
        (low, high), one, _ = await two_hosts(world, gateways=2)
        await high.stop()
        await until(lambda: not one.connected(), "the loss is noticed")
        async with refused(6) as caught:
            await one.call("drain", timeout=0.2, settle=0)
        assert "still waiting for gateway 127.0.0.2, which is away" in str(caught[0])
        assert "--force" in getattr(caught[0], "hint", "")
        assert low.prefixes("blue") == {DB}, "withdrawn where it can be"
        status = await one.call("status")
        assert isinstance(status["problems"], list)
        assert status["state"] == "degraded"
        assert [one["what"] for one in status["problems"]] == ["drain", "gateway 127.0.0.2"]
        assert gateways_of(await one.call("gateway.list")) == {"127.0.0.1": "withdrawn", "127.0.0.2": "withdrawing"}
        assert open_ports(one) == {"tap-web"}
        await high.start()
        await until(lambda: phase(one) is DrainPhase.DRAINED, "goes on by itself")
        await until(lambda: open_ports(one) == set(), "down")
        await one.call("undrain")
        await until(one.connected, "connected")
        assert high.prefixes("blue") >= {WEB}

        await high.stop()
        await until(lambda: not one.connected(), "the loss is noticed")
        reply = await one.call("drain", settle=0, force=True)
        assert (reply["state"], reply["force"]) == ("drained", True)
        assert gateways_of(reply) == {"127.0.0.1": "withdrawn", "127.0.0.2": "withdrawing"}
        await high.start()
        await until(one.connected, "the forced one is back")
        await eventually(
            lambda: everywhere_withdrawn(one), "it is told that everything is withdrawn, when it is there again"
        )
        assert high.prefixes("blue") <= {DB}

    play(scenario)


async def everywhere_withdrawn(host: Host) -> bool:
    return set(gateways_of(await host.call("gateway.list")).values()) == {"withdrawn"}


def test_force_in_the_middle() -> None:
    async def scenario(world: World) -> None:
        (_, high), one, _ = await two_hosts(world, gateways=2)
        await high.stop()
        await until(lambda: not one.connected(), "the loss is noticed")
        await one.call("drain", wait=False, settle=60)
        reply = await one.call("drain", force=True, settle=0)
        assert (reply["state"], reply["unchanged"], reply["settle"]) == ("drained", False, 0)

    play(scenario)


@pytest.mark.parametrize("away", [False, True])
def test_a_restart_goes_on_with_the_withdrawal(away: bool) -> None:
    """The next run tells every gateway again, since it can't know what they have heard; until then all is delivered."""

    async def scenario(world: World) -> None:
        (gateway,), one, two = await two_hosts(world)
        gateway.freeze()
        reply = await one.call("drain", wait=False, settle=0.05)
        assert reply["step"] == "waiting for gateway 127.0.0.1"
        if away:
            await gateway.stop()
        else:
            gateway.crash()
        await one.stop()
        writes = len(one.kernel.writes)
        await one.start()
        assert phase(one) is DrainPhase.DRAINING
        assert open_ports(one) == {"tap-web"}
        assert one.kernel.writes[writes:] == [], "nothing is cut off by the restart"
        status = await one.call("status")
        assert status["drain"] == "draining"
        if away:
            async with refused(6) as caught:
                await one.call("drain", timeout=0.1)
            assert "127.0.0.1, which is away" in str(caught[0])
            await gateway.start()
        reply = await one.call("drain")
        assert (reply["state"], reply["settle"]) == ("drained", 0.05)
        await until(lambda: gateway.prefixes("blue") == {DB}, "withdrawn")
        await two.no_route("blue", WEB)

    play(scenario)


def test_a_restart_while_settling_settles_again() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        await one.call("drain", wait=False, settle=60)
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.drain.step().startswith("settling"), "confirmed")
        await one.stop()
        await one.start()
        assert open_ports(one) == {"tap-web"}
        again = one.daemon
        assert again is not None
        await until(lambda: again.agent.drain.step() == "settling for 60 s", "confirmed again")
        assert gateway.prefixes("blue") == {DB}, "and not announced meanwhile"
        assert (await one.call("drain", settle=0))["state"] == "drained"

    play(scenario)


def test_a_drained_host_stays_so_over_restarts() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        await one.call("drain", settle=0)
        await one.no_route("blue", WEB)
        held = {kind: dict(objects) for kind, objects in one.kernel.objects.items()}
        writes = len(one.kernel.writes)
        for _ in range(2):
            await one.stop()
            await one.start()
        await until(one.connected, "connected")
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.tables.complete, "every table is known")
        assert await everywhere_withdrawn(one)
        assert one.kernel.writes[writes:] == [] and one.kernel.objects == held
        assert gateway.prefixes("blue") == {DB}
        assert (await one.call("status"))["state"] == "drained"
        await one.call("undrain")
        assert gateway.prefixes("blue") == {WEB, DB}
        assert open_ports(one) == {"tap-web"}

    play(scenario)


def test_a_crash_between_the_decision_and_the_kernel() -> None:
    """Drained is durable first: the next run closes what the last one hadn't."""

    async def scenario(world: World) -> None:
        _, one, _ = await two_hosts(world)
        one.kernel.fail(errno.EBUSY, kind=Kind.ANTI_SPOOFING, times=-1)
        async with refused(1) as caught:
            await one.call("drain", settle=0)
        assert "port web: anti-spoofing" in str(caught[0])
        assert phase(one) is DrainPhase.DRAINED
        await one.stop()
        one.kernel.heal()
        await one.start()
        await until(lambda: open_ports(one) == set(), "closed by the next run")
        assert (await one.call("drain"))["state"] == "drained"

    play(scenario)


def test_a_crash_in_the_middle_of_undrain_announces_after_the_ports_are_open() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        await one.call("drain", settle=0)
        one.kernel.fail(errno.EBUSY, kind=Kind.MPLS_ROUTE, times=-1)
        async with refused(6) as caught:
            await one.call("undrain", timeout=0.2)
        assert "not every port is in the kernel" in str(caught[0])
        assert gateway.prefixes("blue") == {DB}, "what isn't delivered isn't announced"
        await one.stop()
        await one.start()
        await until(one.connected, "connected")
        assert gateway.prefixes("blue") == {DB}
        one.kernel.heal()
        await until(lambda: gateway.prefixes("blue") == {WEB, DB}, "announced as soon as it is delivered")
        assert open_ports(one) == {"tap-web"}
        assert (await one.call("undrain"))["unchanged"] is True

    play(scenario)


def test_a_forced_drain_gives_gateways_the_time_to_come_after_a_start() -> None:
    """Just started, no gateway is connected: that doesn't make them away."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        patient = "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.1\nlogin_time = 1.0\n"
        one = await world.host(1, gateway, settings=patient)
        await one.attach("web", "blue", "10.1.1.1")
        await one.stop()
        await one.start()
        assert (await one.call("drain", settle=0, force=True))["gateways"] == [
            {"address": "127.0.0.1", "state": "connected", "drain": "withdrawn", "prefixes": 0}
        ]
        await one.call("undrain")
        await one.stop()
        await gateway.stop()
        began = asyncio.get_running_loop().time()
        await one.start()
        reply = await one.call("drain", settle=0, force=True)
        assert gateways_of(reply) == {"127.0.0.1": "withdrawing"}
        assert asyncio.get_running_loop().time() - began >= 1.0

    play(scenario)


def test_what_cannot_be_kept_is_not_done() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        assert one._store is not None
        write = one._store.set_drain
        failures = [DrainPhase.DRAINING]

        def set_drain(state: DrainState) -> None:
            if failures and state.phase is failures[0]:
                failures.pop(0)
                raise OperatorError("state file", "disk is full", "make room")
            write(state)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.drain._WRITE_AGAIN", 0.01)
            patch.setattr(one._store, "set_drain", set_drain)
            async with refused(1):
                await one.call("drain", settle=0)
            assert phase(one) is DrainPhase.ACTIVE and gateway.prefixes("blue") == {WEB, DB}
            failures.extend([DrainPhase.DRAINED] * 2)
            assert (await one.call("drain", settle=0))["state"] == "drained"
            assert failures == []
        assert open_ports(one) == set()
        await one.stop()
        await one.start()
        assert phase(one) is DrainPhase.DRAINED

    play(scenario)


def test_undrain_takes_back_a_drain_under_way() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        writes = len(one.kernel.writes)
        waiting = asyncio.create_task(one.call("drain", settle=60))
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.drain.step().startswith("settling"), "confirmed")
        assert (await one.call("undrain"))["state"] == "active"
        async with refused(3) as caught:
            await waiting
        assert "ended by `vrfwire undrain`" in str(caught[0])
        assert gateway.prefixes("blue") == {WEB, DB}
        kinds = {write.kind for write in one.kernel.writes[writes:]}
        assert kinds.isdisjoint((Kind.ANTI_SPOOFING, Kind.MPLS_ROUTE)), "the ports were never down"

    play(scenario)


def test_attached_while_drained_it_waits_for_the_end_of_that() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        await one.call("drain", settle=0)
        port = await one.attach("new", "red", "10.1.1.5", wait="programmed")
        assert (port["state"], port["announced"]) == ("drained", "no")
        async with refused(6) as caught:
            await one.attach("new", "red", "10.1.1.5", wait="announced", timeout=20)
        assert "this host is drained" in str(caught[0])
        assert open_ports(one) == set()
        await one.detach("web")
        assert "tap-web" not in one.kernel.objects[Kind.PORT]
        await one.stop()
        await one.start()
        assert (await one.port("new"))["state"] in ("drained", "pending")
        await one.call("undrain")
        assert gateway.prefixes("red") == {"10.1.1.5/32"}
        assert gateway.prefixes("blue") == {DB}
        port = await one.port("new")
        assert (port["state"], port["announced"]) == ("programmed", "yes")

    play(scenario)


def test_attached_while_draining() -> None:
    async def scenario(world: World) -> None:
        (gateway,), one, _ = await two_hosts(world)
        await one.call("drain", wait=False, settle=60)
        port = await one.attach("new", "blue", "10.1.1.5", wait="programmed")
        assert (port["state"], port["announced"]) == ("programmed", "no")
        assert (await one.call("drain", settle=0))["ports"] == 2
        assert open_ports(one) == set()
        assert gateway.prefixes("blue") == {DB}

    play(scenario)


def test_a_host_without_ports_is_drained_at_once() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway(start=False))
        assert (await one.call("drain"))["state"] == "drained", "nobody knows of anything"
        port = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert port["state"] == "drained"

    play(scenario)


def test_a_port_that_is_broken_does_not_keep_the_drain() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        await one.attach("good", "blue", "10.1.1.1")
        one.kernel.fail(errno.ENODEV, kind=Kind.PORT, times=-1)
        async with refused(1):
            await one.attach("bad", "blue", "10.1.1.2", wait="programmed")
        assert (await one.call("drain", settle=0))["state"] == "drained"

    play(scenario)


def test_who_watches_is_told_what_becomes_of_ports_and_nothing_else() -> None:
    async def scenario(world: World) -> None:
        _, one, _ = await two_hosts(world)
        assert one.daemon is not None
        watcher = one.daemon.agent.hub.subscribe(Wanted(frozenset({"port"}), port="api"), lambda: None)

        def told() -> list[object]:
            return [event["event"] for event in watcher.take(100) if event["event"] != "announced"]

        await one.attach("api", "blue", "10.1.1.3")
        assert told() == ["attached"]
        await one.call("drain", settle=0.0)
        assert told() == ["closed"]
        await one.call("undrain")
        assert told() == ["open"]
        await one.call("drain", wait=False, settle=60.0)
        await one.call("undrain")
        assert told() == [], "it was open all the time"

    play(scenario)


def test_a_port_that_cannot_be_put_right_may_still_deliver() -> None:
    async def scenario(world: World) -> None:
        _, one, _ = await two_hosts(world)
        assert one.daemon is not None
        datapath = one.daemon.datapath
        one.kernel.fail(errno.EBUSY, kind=Kind.PORT, times=-1)
        one.kernel.fail(errno.EBUSY, kind=Kind.MPLS_ROUTE, verb=Verb.REMOVE, times=-1)
        port = one.kernel.objects[Kind.PORT]["tap-web"]
        assert isinstance(port, Port)
        one.kernel.put(replace(port, vrf="vw-other"))
        await until(lambda: datapath.status(Kind.PORT, "tap-web").state is State.FAILED, "the port stays wrong")
        async with refused(1) as caught:
            await one.call("drain", settle=0.0, timeout=5.0)
        assert "port web: MPLS route" in str(caught[0])

    play(scenario)


def test_a_kernel_that_takes_its_time_is_no_failure() -> None:
    async def scenario(world: World) -> None:
        _, one, _ = await two_hosts(world)
        assert one.daemon is not None
        await one.daemon.datapath.stop()  # no work is done any more
        async with refused(6) as caught:
            await one.call("drain", settle=0.0, timeout=0.3)
        assert "accepted, port web: not closed yet" in str(caught[0])
        assert phase(one) is DrainPhase.DRAINED

    play(scenario)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("drain", {"settle": -1}),
        ("drain", {"settle": "soon"}),
        ("drain", {"timeout": 1e9}),
        ("drain", {"force": "yes"}),
        ("undrain", {"wait": 1}),
    ],
)
def test_nonsense_is_refused(method: str, params: dict[str, object]) -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1)
        async with refused(2):
            await one.call(method, **params)
        assert phase(one) is DrainPhase.ACTIVE

    play(scenario)


def test_drain_of_one_leaves_the_address_to_the_other() -> None:
    """Seen from a third host: both, then the other alone, then both; never none."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two, three = [await world.host(number, gateway) for number in (1, 2, 3)]
        labels = [int(str((await host.attach("any", "blue", "10.1.1.9"))["label"])) for host in (one, two)]
        await three.attach("client", "blue", "10.1.1.1")
        hops = [
            NextHop("vw-gre", parse_address(f"192.0.2.{11 + place}"), (label,)) for place, label in enumerate(labels)
        ]

        def used() -> set[NextHop]:
            route = three.route("blue", "10.1.1.9/32")
            assert route is not None, "it has always a way"
            return {route.via} if isinstance(route.via, NextHop) else set(route.via.members)

        await three.has_route("blue", "10.1.1.9/32")
        await until(lambda: used() == set(hops), "both are used")
        draining = asyncio.create_task(one.call("drain", settle=0.2))
        await until(lambda: used() == {hops[1]}, "moved away")
        assert open_ports(one) == {"tap-any"}, "and only then down"
        await draining
        undraining = asyncio.create_task(one.call("undrain"))
        await until(lambda: used() == set(hops), "both again")
        assert open_ports(one) == {"tap-any"}
        await undraining

    play(scenario)
