"""The agent stops, crashes and starts again: what it gave out stays, what is right isn't written again."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import pytest

from agent.allocate import Quarantined
from agent.readiness import PORT_KINDS
from datapath.values import Kind, NextHop, VrfRoute
from runtime.errors import OperatorError
from tests.scenario.agent_harness import World, as_written_by, play, refused, until
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


def test_two_restarts_in_short_succession_withdraw_and_write_nothing() -> None:
    """The second one comes before the first has recovered: neither here nor elsewhere anything is swept."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        for number in range(1, 6):
            await one.attach(f"p{number}", "blue", f"10.1.1.{number}")
        await two.attach("db", "blue", "10.1.1.9")
        await one.has_route("blue", "10.1.1.9/32")
        for number in range(1, 6):
            await two.has_route("blue", f"10.1.1.{number}/32")
        held = [{kind: dict(objects) for kind, objects in host.kernel.objects.items()} for host in (one, two)]
        writes = [len(host.kernel.writes) for host in (one, two)]
        for _ in range(2):
            await one.stop()
            await one.start()
            daemon = one.daemon
            assert daemon is not None
            tables = daemon.agent.tables
            assert not tables.complete
        await until(lambda: tables.complete, "every table is known")
        # The gateway gives up what an earlier session announced and this one doesn't, 2 s after it began.
        await until(lambda: not gateway.stale_items("hv1"), "all is announced again")
        for host, before, count in zip((one, two), held, writes, strict=True):
            assert host.kernel.objects == before and host.kernel.writes[count:] == []

    play(scenario)


def test_a_restart_while_one_of_two_gateways_is_away() -> None:
    """What only that one knew stays until it has told its table: the other's word alone sweeps nothing."""

    async def scenario(world: World) -> None:
        low, high = await world.gateway(), await world.gateway("127.0.0.2")
        settings = "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.1\nstale_time = 1.0\n"
        one, two = await world.host(1, low, high, settings=settings), await world.host(2, high)
        await until(lambda: one.connected() and two.connected(), "connected")
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        known = await one.has_route("blue", "10.1.1.2/32")
        await one.stop()
        await high.stop()
        writes = len(one.kernel.writes)
        await one.start()
        daemon = one.daemon
        assert daemon is not None
        (peer,) = [peer for peer in daemon.agent.peers.values() if peer.name == low.address]
        await until(lambda: peer.signaling.synchronised("blue"), "the one that is there has told all")
        await until(lambda: one.route("blue", "10.1.1.1/32") is not None, "its own route")
        assert one.route("blue", "10.1.1.2/32") == known and not daemon.agent.tables.complete
        await high.start()
        await until(lambda: one.connected() and two.connected(), "the other is back")
        await until(lambda: high.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32"}, "announced again")
        await until(lambda: daemon.agent.tables.complete, "both have told all, and the hosts had time")
        assert one.route("blue", "10.1.1.2/32") == known
        assert one.kernel.writes[writes:] == []

    play(scenario)


def test_numbers_stay_over_restarts_and_a_freed_label_rests() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, settings="[datapath]\nlabel_count = 2\n")
        web = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        await one.attach("db", "red", "10.1.1.2", wait="programmed")
        red = await one.call("vpn.show", name="red")
        await one.detach("web")
        await one.stop()
        await one.start()
        assert await one.call("vpn.show", name="red") == red
        async with refused(3) as caught:
            await one.attach("other", "green", "10.1.1.3", wait="programmed")
        assert "resting after use" in str(caught[0])
        again = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert again["label"] == web["label"], "nobody else has had it"
        blue = await one.call("vpn.show", name="blue")
        numbers = ("table", "instance_id", "device")
        assert [blue[key] for key in numbers] == [10000, 1, blue["device"]], "the VPN's are kept without ports too"

    play(scenario)


def test_upgraded_in_the_middle_of_a_detach() -> None:
    """The file is of the version before: the detach goes on, and the label rests from now on."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        web = await one.attach("web", "blue", "10.1.1.1")
        one.kernel.fail(errno.EBUSY, kind=Kind.PORT, times=-1)
        async with refused(6):
            await one.detach("web", timeout=0.05)
        await one.stop()
        as_written_by(2, one.state)
        one.kernel.heal()
        await one.start()
        daemon = one.daemon
        assert daemon is not None
        await until(lambda: daemon.agent.inventory.get("web") is None, "detached")
        assert gateway.prefixes("blue") == set()
        assert daemon.agent.inventory.labels.resting == 1
        other = await one.attach("other", "blue", "10.1.1.1")
        assert other["label"] != web["label"]

    play(scenario)


def test_a_detach_is_not_forgotten_while_it_cannot_be_written() -> None:
    """As long as the file says that a port has the label, nobody else gets it."""

    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        await one.attach("web", "blue", "10.1.1.1")
        daemon = one.daemon
        assert daemon is not None and one._store is not None
        write, full = one._store.detach, OperatorError("state file", "disk is full", "make room")
        attempts: list[str] = []

        def detach(name: str, quarantined: Quarantined, expired: Iterable[int] = ()) -> None:
            attempts.append(name)
            assert (labels.used, labels.resting) == (1, 0)
            if len(attempts) < 3:
                raise full
            write(name, quarantined, expired)

        labels = daemon.agent.inventory.labels
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.ports._WRITE_AGAIN", 0.01)
            patch.setattr(one._store, "detach", detach)
            await one.detach("web")
        assert attempts == ["web"] * 3
        assert (labels.used, labels.resting) == (0, 1)

    play(scenario)


def test_a_detach_that_a_restart_interrupted_ends_while_every_gateway_is_away() -> None:
    """And until it is given up that one of them comes, the port delivers what still comes."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        settings = "[signaling]\nlogin_time = 1.5\nreconnect_min = 0.02\nreconnect_max = 0.05\n"
        one = await world.host(1, gateway, settings=settings)
        label = (await one.attach("web", "blue", "10.1.1.1"))["label"]
        await one.attach("db", "blue", "10.1.1.2")
        gateway.freeze()
        async with refused(6):
            await one.detach("web", timeout=0.1)
        await one.stop()
        gateway.crash()
        await one.start()
        assert label in one.kernel.objects[Kind.MPLS_ROUTE], "nobody has confirmed that it is withdrawn"
        await one.detach("web", timeout=5.0)
        ours = {kind: [key for key in one.kernel.objects[kind] if "tap-web" in str(key)] for kind in PORT_KINDS}
        assert not any(ours.values()), ours
        again = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert again["label"] == label

    play(scenario)
