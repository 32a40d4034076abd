"""Gateways that are away, come back, restart, refuse; and two at once."""

from __future__ import annotations

import asyncio

from datapath.values import AntiSpoofing, Kind, NextHop
from tests.scenario.agent_harness import Host, World, play, refused, until
from vpn.prefix import parse_address


def gateway_of(items: object, address: str) -> dict[str, object]:
    assert isinstance(items, list)
    (row,) = [row for row in items if row["address"] == address]
    assert isinstance(row, dict)
    return row


def test_attached_while_the_gateway_is_away_and_announced_when_it_comes() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway(start=False)
        one = await world.host(1, gateway)
        port = await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert (port["state"], port["announced"]) == ("programmed", "no")
        row = gateway_of((await one.call("gateway.list"))["items"], "127.0.0.1")
        assert row["state"] in ("connecting", "down")
        assert (await one.call("status"))["state"] == "degraded"
        await gateway.start()
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32"}, "announced when the gateway is there")
        await one.has_route("blue", "10.1.1.1/32")
        row = gateway_of((await one.call("gateway.list"))["items"], "127.0.0.1")
        assert (row["state"], row["synchronised"], row["vpns"]) == ("connected", True, ["blue"])
        assert (await one.call("status"))["state"] == "ok"

    play(scenario)


def test_forwarding_outlives_the_gateway_and_its_restart() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        await one.has_route("blue", "10.1.1.2/32")
        await two.has_route("blue", "10.1.1.1/32")
        writes = len(one.kernel.writes)
        await gateway.stop()
        await until(lambda: not one.connected() and not two.connected(), "both have noticed")
        await gateway.start()
        await until(lambda: one.connected() and two.connected(), "both are back")
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32"}, "both announced again")
        assert one.route("blue", "10.1.1.2/32") is not None
        assert one.kernel.writes[writes:] == [], "nothing was written on the way"

    play(scenario)


def test_what_was_detached_meanwhile_is_swept_after_the_gateway_is_back() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await two.attach("db", "blue", "10.1.1.2")
        await one.has_route("blue", "10.1.1.2/32")
        await gateway.stop()
        await until(lambda: not two.connected(), "the loss is noticed")
        await two.detach("db")
        assert one.route("blue", "10.1.1.2/32") is not None
        await gateway.start()
        await one.no_route("blue", "10.1.1.2/32")

    play(scenario)


def test_a_cut_without_goodbye() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await one.attach("web2", "blue", "10.1.1.2")
        gateway.crash()
        await one.detach("web2")
        await until(lambda: gateway.prefixes("blue") == {"10.1.1.1/32"}, "retracted on the next connection")

    play(scenario)


def test_an_unknown_vpn_is_refused_kept_and_taken_when_it_is_known() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        async with refused(1) as caught:
            await one.attach("web", "green", "10.1.1.1")
        assert "refused: item-not-found" in str(caught[0])
        port = await one.port("web")
        assert (port["state"], port["announced"]) == ("programmed", "refused")
        assert "item-not-found" in str(port["error"])
        status = await one.call("status")
        assert status["state"] == "degraded"
        assert "gateway.toml" in str(status["problems"])
        vpn = await one.call("vpn.show", name="green")
        assert gateway_of(vpn["gateways"], "127.0.0.1")["state"] == "refused"
        await one.attach("good", "blue", "10.1.1.1")
        gateway.vpns["green"] = "64512:3"
        gateway.reload()
        await until(lambda: gateway.prefixes("green") == {"10.1.1.1/32"}, "tried again by itself")
        await one.has_route("green", "10.1.1.1/32")

    play(scenario)


def test_a_host_that_may_not_publish_its_next_hop() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway(hosts='[[host]]\nname = "hv1"\naddresses = ["192.0.2.99"]\n')
        one = await world.host(1, gateway)
        async with refused(1) as caught:
            await one.attach("web", "blue", "10.1.1.1")
        assert "refused" in str(caught[0])
        assert (await one.port("web"))["announced"] == "refused"
        await one.detach("web")

    play(scenario)


def test_two_gateways() -> None:
    async def scenario(world: World) -> None:
        low, high = await world.gateway("127.0.0.1"), await world.gateway("127.0.0.2")
        one, two = await world.host(1, low, high), await world.host(2, low, high)
        await until(lambda: one.connected() and two.connected(), "every session is up")
        await one.attach("web", "blue", "10.1.1.1")
        database = await two.attach("db", "blue", "10.1.1.2")
        assert low.prefixes("blue") == high.prefixes("blue") == {"10.1.1.1/32", "10.1.1.2/32"}
        wanted = NextHop("vw-gre", parse_address("192.0.2.12"), (int(str(database["label"])),))
        assert (await one.has_route("blue", "10.1.1.2/32")).via == wanted

        def told(address: str) -> bool:
            assert one.daemon is not None
            table = one.daemon.agent.tables.table("blue")
            return table is not None and any(source.address == parse_address(address) for source in table.sources())

        await until(lambda: told("127.0.0.1") and told("127.0.0.2"), "both have told")
        explained = await one.call("route.explain", vpn="blue", address="10.1.1.2")
        rows = explained["per_gateway"]
        assert isinstance(rows, list)
        assert [(row["gateway"], row["selected"]) for row in rows] == [("127.0.0.1", True), ("127.0.0.2", False)]
        assert "address is higher" in rows[1]["reason"]
        await low.stop()
        await until(lambda: not one.connected(), "the loss is noticed")
        assert one.route("blue", "10.1.1.2/32") is not None
        third = await two.attach("new", "blue", "10.1.1.3", wait="programmed")
        assert third["announced"] in ("no", "partly")
        await one.has_route("blue", "10.1.1.3/32")
        other = two.daemon
        assert other is not None
        await until(lambda: other.agent.ports.announced("new")[0] == "partly", "the other gateway has it")
        assert "10.1.1.3/32" in high.prefixes("blue")
        await two.detach("db")
        await one.no_route("blue", "10.1.1.2/32")

    play(scenario)


def test_starttls_and_scram() -> None:
    async def scenario(world: World) -> None:
        secret = world.directory / "secret"
        secret.write_text("correct horse\n")
        secret.chmod(0o600)
        gateway = await world.gateway(
            hosts=f'[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\npassword_file = "{secret}"\n'
        )
        one = await world.host(1, start=False)
        one.text += (
            f'[[gateway]]\naddress = "127.0.0.1"\nport = {gateway.port}\ndomain = "vpn.example.net"\n'
            f'starttls = true\npassword_file = "{secret}"\n'
        )
        await one.start()
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.1/32")

    play(scenario)


async def last_error(host: Host) -> str:
    rows = (await host.call("gateway.list"))["items"]
    assert isinstance(rows, list)
    return str(rows[0]["last_error"])


def test_a_gateway_with_another_name_is_not_trusted() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, start=False)
        one.text += f'[[gateway]]\naddress = "127.0.0.1"\nport = {gateway.port}\ndomain = "other.example.net"\n'
        await one.start()
        daemon = one.daemon
        assert daemon is not None
        (peer,) = daemon.agent.peers.values()
        await until(lambda: "TLS" in peer.session.last_error, "the certificate is refused")
        assert "other.example.net" in await last_error(one)

    play(scenario)


def test_a_wrong_password_is_told() -> None:
    async def scenario(world: World) -> None:
        right, wrong = world.directory / "right", world.directory / "wrong"
        for path in (right, wrong):
            path.write_text(path.name)
            path.chmod(0o600)
        gateway = await world.gateway(hosts=f'[[host]]\nname = "hv1"\naddresses = []\npassword_file = "{right}"\n')
        one = await world.host(1, start=False)
        one.text += (
            f'[[gateway]]\naddress = "127.0.0.1"\nport = {gateway.port}\ndomain = "vpn.example.net"\n'
            f'password_file = "{wrong}"\n'
        )
        await one.start()
        daemon = one.daemon
        assert daemon is not None
        (peer,) = daemon.agent.peers.values()
        await until(lambda: "login refused" in peer.session.last_error, "the login is refused")

    play(scenario)


def test_a_gateway_that_hangs_is_found_out() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(
            1, gateway, settings="[signaling]\nhold_time = 0.3\nreconnect_min = 0.02\nreconnect_max = 0.1\n"
        )
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.1/32")
        gateway.freeze()
        await until(lambda: not one.connected(), "the silence is noticed")
        assert one.route("blue", "10.1.1.1/32") is not None
        await until(one.connected, "connected again")
        assert "heard nothing" in await last_error(one)

    play(scenario)


class Mute(asyncio.Protocol):
    """Accepts and says nothing."""

    def __init__(self) -> None:
        self.connections = self.open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections += 1
        self.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.open -= 1


def test_a_gateway_that_says_nothing() -> None:
    """TCP is accepted and then nothing comes: the login has a limit."""

    async def scenario(world: World) -> None:
        mute = Mute()
        server = await asyncio.get_running_loop().create_server(lambda: mute, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        one = await world.host(
            1,
            start=False,
            settings="[signaling]\nlogin_time = 0.1\nreconnect_min = 0.02\nreconnect_max = 0.05\n",
        )
        one.text += f'[[gateway]]\naddress = "127.0.0.1"\nport = {port}\ndomain = "vpn.example.net"\n'
        await one.start()
        await until(lambda: mute.connections >= 3, "tried again and again")
        assert "no session within" in await last_error(one)
        await one.stop()
        await until(lambda: mute.open == 0, "nothing is left open")
        server.close()

    play(scenario)


def test_status_counts() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.1/32")
        status = await one.call("status")
        wanted = {"state": "ok", "ports": 1, "ports_programmed": 1, "vpns": 1, "routes": 1, "gateways_connected": 1}
        assert {key: status[key] for key in wanted} == wanted
        assert len(one.kernel.objects[Kind.TUNNEL]) == 1

    play(scenario)


def test_doctor_finds_what_is_wrong() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        await until(one.connected, "connected")
        items = (await one.call("doctor"))["items"]
        assert isinstance(items, list)
        assert all(set(item) == {"check", "state", "detail", "hint"} for item in items)
        states = {item["check"]: item["state"] for item in items}
        assert states["gateway 127.0.0.1"] == "ok"
        assert states["underlay address"] == "failed", "nobody here has an address of TEST-NET-1"
        assert [state for check, state in states.items() if check.startswith("certificate ")] == ["ok"] * 2
        assert all(item["hint"] for item in items if item["state"] == "failed")
        assert "vrf" in " ".join(states).lower()
        await gateway.stop()
        await until(lambda: not one.connected(), "the loss is noticed")
        items = (await one.call("doctor"))["items"]
        assert isinstance(items, list)
        assert {item["check"]: item["state"] for item in items}["gateway 127.0.0.1"] == "failed"

    play(scenario)


def test_a_port_that_every_gateway_forbids_is_blocked_until_one_admits_it() -> None:
    async def scenario(world: World) -> None:
        def filters(name: str) -> AntiSpoofing:
            value = host.kernel.objects[Kind.ANTI_SPOOFING][f"tap-{name}"]
            assert isinstance(value, AntiSpoofing)
            return value

        only_red = '[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\nvpns = ["red"]\n'
        one = await world.gateway(hosts=only_red)
        two = await world.gateway("127.0.0.2", hosts=only_red)
        host = await world.host(1, one, two)
        await host.attach("r1", "red", "10.1.1.1")
        await host.attach("b1", "blue", "10.1.1.1", wait="programmed")
        await until(lambda: filters("b1").prefixes == (), "blue is blocked")
        await until(lambda: len(host.kernel.objects[Kind.MPLS_ROUTE]) == 1, "nothing is delivered in blue")
        port = await host.port("b1")
        assert (port["announced"], port["blocked"], port["state"]) == ("refused", ["10.1.1.1/32"], "programmed")
        assert len(filters("r1").prefixes) == 1
        # An operator is told by port, and once.
        status = await host.call("status")
        assert isinstance(status["problems"], list)
        problem = status["problems"][0]
        assert [one["what"] for one in status["problems"]] == [
            "port b1",
            "gateway 127.0.0.1: VPN blue",
            "gateway 127.0.0.2: VPN blue",
        ]
        assert problem["hint"] == port["hint"] and "[[host]]" in problem["hint"]
        assert problem["why"] == port["error"]
        assert problem["why"].startswith("blocked, nothing passes from or to 10.1.1.1: gateway 127.0.0.")
        found = (await host.call("doctor"))["items"]
        assert isinstance(found, list)
        assert [item["detail"] for item in found if item["check"] == "port b1"] == [port["error"]]
        # It is kept: a host that starts again opens nothing while it waits for its gateways.
        await host.stop()
        await one.stop()
        await two.stop()
        await host.start()
        port = await host.port("b1")
        assert port["blocked"] == ["10.1.1.1/32"]
        assert port["error"] == "blocked, nothing passes from or to 10.1.1.1: the gateways forbade it"
        one.hosts = ""
        await one.start()
        await two.start()
        await until(lambda: len(filters("b1").prefixes) == 1, "gateway 1 lets blue pass")
        await until(lambda: len(host.kernel.objects[Kind.MPLS_ROUTE]) == 2, "blue is delivered again")
        assert (await host.port("b1"))["blocked"] == []

    play(scenario)
