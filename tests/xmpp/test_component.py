"""The gateway as a component of Prosody and of ejabberd, with unmodified slixmpp clients as hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from slixmpp.exceptions import IqError

from lab.xmpp_servers import XmppServer
from tests.scenario.agent_harness import until
from tests.scenario.daemon_process import wait_for
from tests.scenario.gateway_process import MESH
from tests.xmpp.component_gateway import ACCOUNTS, HOSTS, ComponentProcess, Host, LocalGateway, host_entry
from tests.xmpp.relay import Relay


@pytest.fixture
def gateway(server: XmppServer, tmp_path: Path) -> Iterator[ComponentProcess]:
    """A gateway that the server has taken."""
    gateway = ComponentProcess(tmp_path, server, "stale_time = 30.0")
    gateway.start()
    yield gateway
    gateway.stop()


def play(
    server: XmppServer, scenario: Callable[..., Awaitable[None]], *names: str, directory: Path | None = None
) -> None:
    """Run a scenario with hosts that have a login, but no session with the gateway yet. directory: of a gateway in this
    process, which the scenario gets first."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            hosts: list[Host | LocalGateway] = []
            if directory is not None:
                gateway = LocalGateway(directory, server)
                stack.push_async_callback(gateway.stop)
                await gateway.start()
                hosts.append(gateway)
            for name in names:
                host = Host(server, name)
                stack.push_async_callback(host.close)
                await host.connect()
                hosts.append(host)
            await scenario(*hosts)

    asyncio.run(run())


def test_routes_go_through_the_server(server: XmppServer, tmp_path: Path) -> None:
    async def scenario(gateway: LocalGateway, one: Host, two: Host) -> None:
        for host in (one, two):
            assert await host.begin() == "available"
            await host.subscribe()
        await one.publish("10.1.1.1/32", 101, "192.0.2.11")
        await two.publish("10.1.1.2/32", 102, "192.0.2.12")
        for host in (one, two):
            await host.has({"10.1.1.1/32": 101, "10.1.1.2/32": 102})
        await one.pubsub.retract(one.service, "blue", "192.0.2.11:1:10.1.1.1/32", notify=True)
        await two.has({"10.1.1.2/32": 102})
        info = await one.client.plugin["xep_0030"].get_info(one.service)
        assert ("pubsub", "service", None, None) in info["disco_info"]["identities"]
        rows = gateway.rows()
        assert [(row["name"], row["state"], row["addresses"]) for row in rows] == [
            ("hv1", "connected", ["192.0.2.11"]),
            ("hv2", "connected", ["192.0.2.12"]),
        ]

    play(server, scenario, "hv1", "hv2", directory=tmp_path)


def test_a_table_comes_whole_before_the_pong(server: XmppServer, tmp_path: Path) -> None:
    prefixes = [f"10.{high}.{low}.1/32" for high in range(10) for low in range(100)]

    async def scenario(gateway: LocalGateway, one: Host, two: Host) -> None:
        await one.begin()
        for start in range(0, len(prefixes), 100):
            await one.publish_many(prefixes[start : start + 100], 107, "192.0.2.11")
        await two.begin()
        await two.subscribe()
        await two.ping()
        assert set(two.routes) == set(prefixes)

    play(server, scenario, "hv1", "hv2", directory=tmp_path)


@pytest.mark.parametrize("ending", ["logout", "cut"])
def test_the_end_of_a_login_ends_the_session(server: XmppServer, tmp_path: Path, ending: str) -> None:
    async def scenario(gateway: LocalGateway, one: Host, two: Host) -> None:
        for host in (one, two):
            await host.begin()
        await two.subscribe()
        await one.publish("10.1.1.1/32", 101, "192.0.2.11")
        await two.has({"10.1.1.1/32": 101})
        if ending == "cut":
            one.cut()
        else:
            await one.close()
        await until(lambda: gateway.sessions() == {"hv2"} and gateway.stale() == 1, "the end of the session")
        # It comes back, as the same JID, and its route is fresh when it is published again.
        again = Host(server, "hv1")
        await again.connect()
        assert await again.begin() == "available"
        await again.publish("10.1.1.1/32", 111, "192.0.2.11")
        await two.has({"10.1.1.1/32": 111})
        [row] = [row for row in gateway.rows() if row["name"] == "hv1"]
        assert (row["state"], row["routes"], row["stale_routes"]) == ("connected", 1, 0)
        await again.close()

    play(server, scenario, "hv1", "hv2", directory=tmp_path)


def test_a_second_login_of_one_name_takes_over(server: XmppServer, tmp_path: Path) -> None:
    async def scenario(gateway: LocalGateway, one: Host) -> None:
        await one.begin()
        other = Host(server, "hv1")
        await other.connect()
        # The goodbye for the older login may come behind it, and its answer goes to whoever has that JID by then.
        await until(lambda: not gateway.numbers(), "the end of the older session")
        while await other.begin() != "available":
            pass
        await other.subscribe()
        await other.publish("10.1.1.1/32", 101, "192.0.2.11")
        await other.has({"10.1.1.1/32": 101})
        assert len(gateway.numbers()) == 1
        await other.close()

    play(server, scenario, "hv1", directory=tmp_path)


def test_a_host_without_addresses_is_refused_by_name(server: XmppServer, gateway: ComponentProcess) -> None:
    async def scenario(stranger: Host) -> None:
        assert await stranger.begin() == "error"
        with pytest.raises(IqError) as caught:
            await stranger.subscribe()
        assert caught.value.condition == "forbidden" and "addresses of its [[host]]" in caught.value.text
        problems = gateway.ask("status")["problems"]
        assert [problem["what"] for problem in problems] == ["host hv77"] and "[[host]]" in problems[0]["hint"]
        gateway.write_config("stale_time = 30.0", MESH + HOSTS + host_entry("hv77", "192.0.2.77"))
        gateway.reload()
        await asyncio.to_thread(wait_for, lambda: not gateway.ask("status")["problems"], "the new configuration")
        assert await stranger.begin() == "available"

    play(server, scenario, "hv77")


def test_a_host_of_before_a_restart_is_told_to_begin_again(server: XmppServer, gateway: ComponentProcess) -> None:
    async def scenario(one: Host) -> None:
        await one.begin()
        await one.subscribe()
        one.presences.clear()
        await asyncio.to_thread(gateway.stop)
        await one.until(lambda: one.presences == ["unavailable"], "the word that the gateway stops")
        await asyncio.to_thread(gateway.start)
        one.presences.clear()
        # It has not heard that, say.
        with pytest.raises(IqError) as caught:
            await one.publish("10.1.1.1/32", 101, "192.0.2.11")
        assert caught.value.condition == "unexpected-request"
        await one.until(lambda: one.presences == ["unavailable"], "the word that it has no session")
        assert await one.begin() == "available"
        await one.subscribe()
        await one.publish("10.1.1.1/32", 101, "192.0.2.11")
        await one.has({"10.1.1.1/32": 101})

    play(server, scenario, "hv1")


def test_a_gateway_that_is_killed_is_missed(server: XmppServer, gateway: ComponentProcess) -> None:
    """Hosts learn it by the errors that the server answers with."""

    async def scenario(one: Host) -> None:
        await one.begin()
        await asyncio.to_thread(gateway.kill)
        refusal = await one.refused_ping()
        assert refusal in ("remote-server-timeout", "remote-server-not-found", "service-unavailable")
        await asyncio.to_thread(gateway.start)
        assert await one.begin() == "available"

    play(server, scenario, "hv1")


def test_many_hosts_and_their_flaps(server: XmppServer, tmp_path: Path) -> None:
    async def scenario(gateway: LocalGateway, *hosts: Host) -> None:
        for host in hosts:
            await host.begin()
            await host.subscribe()
        prefixes = [f"10.2.{low}.1/32" for low in range(100)]
        for label in range(101, 106):
            await hosts[0].publish_many(prefixes, label, "192.0.2.11")
        for host in hosts:
            await host.has(dict.fromkeys(prefixes, 105))

    play(server, scenario, "hv1", "hv2", "hv3", directory=tmp_path)


# -- the stream with the server


def test_a_wrong_secret_is_told_with_the_remedy(server: XmppServer, tmp_path: Path) -> None:
    gateway = ComponentProcess(tmp_path, server)
    gateway.write_secret("wrong")
    gateway.launch()
    try:
        assert "not-authorized" in wait_for(lambda: _refused(gateway), "the refusal")
        status = gateway.ask("status")
        [problem] = status["problems"]
        assert status["state"] == "degraded" and problem["what"] == "component" and "secret_file" in problem["hint"]
        assert server.component_secret not in gateway.text() and "wrong" not in gateway.text()
        # The right one, and the next attempt succeeds.
        gateway.write_secret(server.component_secret)
        gateway.reload()
        gateway.wait_state("attached")
        assert gateway.ask("status")["state"] == "ok"
    finally:
        gateway.stop()


def _refused(gateway: ComponentProcess) -> str:
    """Why it is away."""
    return str(gateway.wait_state("away")["last_error"])


def test_the_server_goes_and_comes_back(tmp_path: Path, server: XmppServer) -> None:
    """A server of its own, since others use that one."""
    with type(server)(tmp_path / "server", accounts=ACCOUNTS) as front:
        gateway = ComponentProcess(tmp_path / "gateway", front, "stale_time = 30.0")
        gateway.start()
        try:

            async def scenario(one: Host) -> None:
                await one.begin()
                await one.publish("10.1.1.1/32", 101, "192.0.2.11")

            play(front, scenario, "hv1")
            gateway.wait_hosts(hv1="stale")
            front.stop()
            assert gateway.wait_state("away")["since"]
            front.start()
            gateway.wait_state("attached")

            async def again(one: Host) -> None:
                assert await one.begin() == "available"
                await one.subscribe()
                # The gateway had it all the while.
                await one.has({"10.1.1.1/32": 101})

            play(front, again, "hv1")
        finally:
            gateway.stop()


def test_a_leg_that_is_lost_makes_hosts_begin_again(tmp_path: Path, server: XmppServer) -> None:
    """The hosts' own logins aren't lost by that, so they have to be told."""
    with Relay(server.address, server.component) as relay:
        gateway = ComponentProcess(tmp_path, server, "stale_time = 30.0")
        text = gateway.config.read_text().replace(f"port = {server.component}", f"port = {relay.port}")
        gateway.config.write_text(text)
        gateway.start()
        try:

            async def scenario(one: Host, two: Host) -> None:
                for host in (one, two):
                    await host.begin()
                    await host.subscribe()
                await one.publish("10.1.1.1/32", 101, "192.0.2.11")
                await two.has({"10.1.1.1/32": 101})
                one.presences.clear()
                relay.cut()
                await one.until(lambda: one.presences == ["unavailable"], "the word to begin again")
                assert await asyncio.to_thread(gateway.hosts) == {"hv1": "stale"}
                for host in (one, two):
                    host.routes.clear()
                    assert await host.begin() == "available"
                    await host.subscribe()
                    await host.has({"10.1.1.1/32": 101})

            play(server, scenario, "hv1", "hv2")
        finally:
            gateway.stop()
