"""Sessions of agents with a real gateway: connections that are cut, and names that two hosts have."""

from __future__ import annotations

import pytest

from tests.scenario.agent_harness import Host, World, play, until


def figures(host: Host) -> tuple[int, int, int]:
    """Sessions, losses and resumptions with the only gateway."""
    assert host.daemon is not None
    (peer,) = host.daemon.agent.peers.values()
    return peer.sessions, peer.losses, peer.resumptions


def test_a_cut_loses_nothing_and_starts_nothing_over() -> None:
    """The sessions go on, with what was published and withdrawn while there was no connection."""

    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        await two.attach("old", "blue", "10.1.1.3")
        await one.has_route("blue", "10.1.1.3/32")
        await two.has_route("blue", "10.1.1.1/32")
        sessions = gateway.sessions()
        for turn in (1, 2):
            gateway.crash()
            # Both agents think that they are connected, or are about to be again: what they are told goes out later.
            await two.attach(f"new{turn}", "blue", f"10.1.2.{turn}", wait="programmed")
            await one.has_route("blue", f"10.1.2.{turn}/32")
            await until(lambda turn=turn: figures(one)[2] >= turn <= figures(two)[2], "both resumed")  # type: ignore[misc]
        await two.detach("old")
        await one.no_route("blue", "10.1.1.3/32")
        assert figures(one)[:2] == figures(two)[:2] == (1, 0)
        assert gateway.sessions() == sessions
        assert gateway.stale_items("hv1") == gateway.stale_items("hv2") == 0
        assert gateway.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32", "10.1.2.1/32", "10.1.2.2/32"}

    play(scenario)


def test_a_gateway_that_starts_again_resumes_nothing() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await gateway.stop()
        await until(lambda: figures(one)[1] == 1, "the shutdown is a loss")
        await gateway.start()
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32"}, "announced to the new one")
        assert figures(one) == (2, 1, 0)

    play(scenario)


@pytest.mark.parametrize("where", ["status", "doctor"])
def test_two_hosts_of_one_name_are_told_so(where: str) -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, clone = await world.host(1, gateway), await world.host(1, gateway, start=False)
        await until(one.connected, "connected")
        clone.state, clone.socket = world.directory / "clone.state", world.directory / "clone.sock"
        clone.text = clone.text.replace("hv1.state", "clone.state").replace("hv1.sock", "clone.sock")
        await clone.start()
        await until(lambda: figures(one)[1] >= 1, "thrown out")
        document = await one.call(where)
        rows = document["problems" if where == "status" else "items"]
        assert isinstance(rows, list)
        (row,) = [row for row in rows if "gateway 127.0.0.1" in (row.get("what"), row.get("check"))]
        assert "conflict" in str(row) or "another agent" in str(row)
        assert "a cloned machine" in row["hint"]
        # One of them is connected, and says so all the same.
        await until(lambda: figures(one)[0] >= 2, "back, and the other one is out")
        document = await one.call(where)
        rows = document["problems" if where == "status" else "items"]
        assert isinstance(rows, list)
        assert any("a cloned machine" in row["hint"] for row in rows)

    play(scenario)
