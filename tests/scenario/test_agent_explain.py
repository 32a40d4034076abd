"""Explanations, objects, drops and events of agents with gateways of their own; the kernels are fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from typing import Any

from agent.events import QUEUE
from datapath.filters import PRIORITY_SOURCE, Hits
from datapath.observe import Counters, DeviceCounters, FoundRoute
from datapath.values import PROTOCOL, Kind, NextHop, NextHopGroup, VrfRoute
from tests.scenario.agent_harness import DEADLINE, Host, World, eventually, play, refused, until
from vpn.prefix import Prefix, parse_address


class Looking:
    """An observer of a fake kernel: routes as it has them, counters as a test sets them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.broken: OSError | None = None
        self.extra: dict[bytes, FoundRoute] = {}
        self.counted: dict[str, DeviceCounters] = {}
        self.filters: list[Hits] = []

    def underlay_device(self) -> str | None:
        return "eth0"

    def counters(self, names: Collection[str]) -> Counters:
        if self.broken is not None:
            raise self.broken
        return Counters({name: self.counted[name] for name in names if name in self.counted}, {"Ip.FragFails": 4}, 0.0)

    def hits(self, ifindex: int) -> list[Hits]:
        return self.filters

    def route(self, address: bytes, device: str | None) -> FoundRoute | None:
        if self.broken is not None:
            raise self.broken
        if address in self.extra:
            return self.extra[address]
        if device is None:
            return None
        for (table, prefix), route in self._routes().items():
            if prefix.contains(address):
                via = route.via
                hops = via.members if isinstance(via, NextHopGroup) else (via,)
                return FoundRoute(prefix, table, PROTOCOL, "unicast", tuple(sorted(hops)))
        return None

    def _routes(self) -> Mapping[tuple[int, Prefix], VrfRoute]:
        objects: Any = self._host.kernel.objects[Kind.VRF_ROUTE]
        return objects  # type: ignore[no-any-return]


async def observed(world: World, number: int, *gateways: Any) -> tuple[Host, Looking]:
    host = await world.host(number, *gateways, start=False)
    host.observer = looking = Looking(host)
    await host.start()
    return host, looking


async def explain(host: Host, address: str) -> dict[str, Any]:
    return await host.call("route.explain", vpn="blue", address=address)


def test_an_address_of_several_hosts_and_of_several_gateways() -> None:
    async def scenario(world: World) -> None:
        first, second = await world.gateway(), await world.gateway("127.0.0.2")
        one, _ = await observed(world, 1, first, second)
        two = await world.host(2, first, second)
        await one.attach("any", "blue", "10.1.1.9")
        await two.attach("any", "blue", "10.1.1.9")

        async def shared() -> bool:
            kernel = (await explain(one, "10.1.1.9"))["kernel"]
            return kernel is not None and len(kernel["next_hops"]) == 2

        await eventually(shared, "the route to have both next hops")
        found = await explain(one, "10.1.1.9")
        assert "2 next hops share the packets, each flow (addresses and ports) keeping to one" in found["why"]
        assert "port any is on this host: delivered there, not sent through the tunnel" in found["why"]
        assert [(row["gateway"], row["selected"]) for row in found["per_gateway"]] == [
            ("127.0.0.1", True),
            ("127.0.0.2", False),
        ]
        assert found["per_gateway"][1]["reason"] == "as good, but the gateway's address is higher"
        assert found["here"]["port"] == "any"
        assert found["underlay"] == [{"host": "192.0.2.12", "device": None, "gateway": None}]
        assert "the underlay has no route to 192.0.2.12: see `ip route get 192.0.2.12`" in found["why"]
        await first.stop()

        async def stale() -> bool:
            rows = (await explain(one, "10.1.1.9"))["per_gateway"]
            return [(row["gateway"], row["stale"]) for row in rows] == [("127.0.0.2", False), ("127.0.0.1", True)]

        await eventually(stale, "the lost gateway's path to be stale")

    play(scenario)


def test_what_the_kernel_does_otherwise_is_told() -> None:
    async def scenario(world: World) -> None:
        one, looking = await observed(world, 1, await world.gateway())
        await one.attach("web", "blue", "10.1.1.1")
        await one.has_route("blue", "10.1.1.1/32")
        assert (await explain(one, "10.1.1.1"))["why"] == [
            "10.1.1.1/32 is the longest prefix that covers the address",
            "port web is on this host: delivered there, not sent through the tunnel",
        ]
        address = parse_address("10.1.1.1")
        stranger = FoundRoute(Prefix(address, 32), 10000, 3, "unicast", (NextHop("eth9", b""),))
        for route, expected in (
            (stranger, "the kernel's route 10.1.1.1/32 was made by another program (protocol 3)"),
            (FoundRoute(Prefix(address, 32), 0, 0, "blackhole", ()), "a blackhole route of another program stops"),
            (
                FoundRoute(Prefix.parse("10.1.0.0/16"), 10000, PROTOCOL, "unicast", ()),
                "the kernel goes by 10.1.0.0/16, which is kept from before",
            ),
            (FoundRoute(Prefix(address, 32), 10000, PROTOCOL, "unicast", ()), "next hops are others than wanted"),
        ):
            looking.extra[address] = route
            assert expected in (await explain(one, "10.1.1.1"))["why"][-1]
        looking.broken = OSError(105, "No buffer space available")
        assert (await explain(one, "10.1.1.1"))["why"][-1] == "the kernel can't be asked: No buffer space available"

    play(scenario)


def test_a_port_that_is_blocked_is_the_reason() -> None:
    async def scenario(world: World) -> None:
        hosts = '[[host]]\nname = "hv1"\naddresses = ["192.0.2.11"]\nvpns = ["red"]\n'
        one, looking = await observed(world, 1, await world.gateway(hosts=hosts))
        await one.attach("web", "blue", "10.1.1.1", wait="programmed")

        async def blocked() -> bool:
            return bool((await one.port("web"))["blocked"])

        await eventually(blocked, "the port to be blocked")
        found = await explain(one, "10.1.1.1")
        assert any("port web here has it, and is closed: blocked, nothing passes" in why for why in found["why"]), found
        assert found["here"]["blocked"] is True
        looking.counted["tap-web"] = DeviceCounters(7, {}, filtered=3)
        looking.filters = [Hits(PRIORITY_SOURCE, 1, 3, 3, 5.0, 1.0)]
        items: Any = (await one.call("drops", port="web"))["items"]
        (row,) = [row for row in items if row["value"]]
        assert (row["name"], row["where"], row["value"]) == ("port-spoofed-ipv4", "port web", 3)
        assert "the gateways forbid this port" in row["hint"]

    play(scenario)


def test_drops_of_the_host_and_their_errors() -> None:
    async def scenario(world: World) -> None:
        one, looking = await observed(world, 1, await world.gateway())
        await one.attach("web", "blue", "10.1.1.1")
        looking.counted["vw-gre"] = DeviceCounters(3, {}, {}, {"rx_noroute": 6})
        reply: Any = await one.call("drops")
        found = {row["name"]: (row["where"], row["value"]) for row in reply["items"] if row["value"]}
        assert found == {"tunnel-unknown-label": ("tunnel vw-gre", 6), "host-ipv4-too-big": ("host", 4)}
        short: Any = await one.call("drops", nonzero=True)
        assert short["items"] == [row for row in reply["items"] if row["value"]] and len(reply["items"]) > 10
        async with refused(4):
            await one.call("drops", port="nobody")
        looking.broken = OSError(105, "No buffer space available")
        async with refused(1) as errors:
            await one.call("drops")
        assert "its counters can't be read: No buffer space available" in str(errors[0])

    play(scenario)


def test_objects_describe_themselves() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one, two = await world.host(1, gateway), await world.host(2, gateway)
        web = await one.attach("web", "blue", "10.1.1.1")
        db = await two.attach("db", "blue", "10.1.1.2")
        await one.has_route("blue", "10.1.1.2/32")
        items: Any = (await one.call("object.list"))["items"]
        wanted = {(row["kind"], row["name"]): row["wanted_by"] for row in items}
        assert wanted["tunnel", "vw-gre"] == ["this host"]
        assert wanted["port", "tap-web"] == wanted["anti-spoofing", "tap-web"] == ["port web"]
        assert wanted["mpls-route", str(web["label"])] == ["port web"]
        assert wanted["neighbour", "192.0.2.12 dev vw-gre"] == ["remote host 192.0.2.12"]
        assert {row["state"] for row in items} == {"programmed"}

        hop = f"192.0.2.12 dev vw-gre label {db['label']}"
        route: Any = await one.call("object.show", kind="vrf-route", name=f"10.1.1.2/32 table {one.table('blue')}")
        assert route["desired"] == route["kernel"] == {"table": one.table("blue"), "prefix": "10.1.1.2/32", "via": hop}
        assert (route["wanted_by"], route["attempts"], route["next_retry"]) == (["VPN blue"], 0, None)
        shown: Any = await one.call("object.show", kind="next-hop", name=hop)
        assert shown["wanted_by"] == [f"route 10.1.1.2/32 table {one.table('blue')}"]
        assert [need["name"] for need in shown["needs"]] == ["vw-gre", "192.0.2.12 dev vw-gre"]

        for vpn, names in (("blue", {"tap-web"}), ("red", set())):
            filtered: Any = (await one.call("object.list", kind="port", vpn=vpn))["items"]
            assert {row["name"] for row in filtered} == names
        for state, names in (("programmed", {"tap-web"}), ("failed", set())):
            filtered = (await one.call("object.list", kind="port", state=state))["items"]
            assert {row["name"] for row in filtered} == names
        one.kernel.fail(16, kind=Kind.PORT, times=-1)
        one.kernel.delete(Kind.PORT, "tap-web")

        async def failed() -> bool:
            port: Any = await one.call("object.show", kind="port", name="tap-web")
            return bool(port["state"] == "failed" and port["attempts"] >= 1 and port["next_retry"] >= 0)

        await eventually(failed, "the port to have failed")
        async with refused(4):
            await one.call("object.show", kind="port", name="nobody")
        async with refused(2):
            await one.call("object.show", kind="bridge", name="br0")
        async with refused(2):
            await one.call("object.list", after="x")

    play(scenario)


def test_routes_page_by_page() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        prefixes = [f"10.2.{number}.0/24" for number in range(7)]
        await one.attach("web", "blue", "10.1.1.1", prefixes=prefixes)
        await one.attach("app", "red", "10.1.1.1")
        await one.has_route("blue", prefixes[-1])
        await one.has_route("red", "10.1.1.1/32")
        whole: Any = await one.call("route.list")
        found, after = [], None
        for _ in range(20):
            page: Any = await one.call("route.list", limit=3, **({} if after is None else {"after": after}))
            assert len(page["items"]) <= 3
            found += [(row["vpn"], row["prefix"]) for row in page["items"]]
            after = page["after"]
            if after is None:
                break
        assert sorted(found) == sorted((row["vpn"], row["prefix"]) for row in whole["items"])
        assert len(found) == 9
        for wrong in ("x", "9", "-1/blue"):
            async with refused(2):
                await one.call("route.list", limit=3, after=wrong)
        async with refused(2):
            await one.call("route.list", limit=0)

    play(scenario)


class Watching:
    """A monitor by the control socket. Use it with `async with`."""

    def __init__(self, host: Host, **params: object) -> None:
        self._path = str(host.socket)
        self._params = params
        self.result: dict[str, Any] = {}

    async def __aenter__(self) -> Watching:
        self.reader, self.writer = await asyncio.open_unix_connection(self._path, limit=1 << 24)
        self.writer.write(json.dumps({"id": 1, "method": "monitor", "params": self._params}).encode() + b"\n")
        assert [event["event"] for event in await self.frame()] == ["began"]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        await self.writer.wait_closed()

    async def frame(self) -> list[dict[str, Any]]:
        """The events of the next message; none when it is the last one."""
        reply = json.loads(await asyncio.wait_for(self.reader.readline(), DEADLINE))
        self.result = reply.get("result", {})
        events: list[dict[str, Any]] = reply.get("progress", {}).get("events", [])
        return events

    async def until(self, kind: str, event: str) -> list[dict[str, Any]]:
        """Events up to the first one of this kind."""
        heard: list[dict[str, Any]] = []
        while not heard or (heard[-1]["kind"], heard[-1]["event"]) != (kind, event):
            events = await self.frame()
            assert events, f"ended before {kind} {event}: {heard}"
            heard += events
            found = (place for place, e in enumerate(heard, 1) if (e["kind"], e["event"]) == (kind, event))
            heard = heard[: next(found, None)]
        return heard


def test_the_life_of_a_port_is_told() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        await until(one.connected, "the session")
        async with Watching(one, port="web") as web, Watching(one, vpn="red") as red:
            await one.attach("web", "blue", "10.1.1.1")
            await one.attach("app", "red", "10.1.1.1")
            await one.detach("web")
            heard = await web.until("port", "detached")
            names = [(event["kind"], event["event"]) for event in heard]
            for first, second in (
                (("port", "attached"), ("kernel", "made")),
                (("kernel", "made"), ("port", "announced")),
                (("port", "announced"), ("port", "detaching")),
            ):
                assert names.index(first) < names.index(second), names
            assert {event["port"] for event in heard} == {"web"}
            heard = await red.until("gateway", "synchronised")
            assert {event["vpn"] for event in heard} == {"red"}

    play(scenario)


def test_sessions_and_repairs_are_told() -> None:
    async def scenario(world: World) -> None:
        gateway = await world.gateway()
        one = await world.host(1, gateway)
        web = await one.attach("web", "blue", "10.1.1.1")
        async with Watching(one, kinds=["gateway", "repair"]) as watching:
            await gateway.stop()
            lost = (await watching.until("gateway", "lost"))[-1]
            assert lost["gateway"] == "127.0.0.1"
            await gateway.start()
            await watching.until("gateway", "connected")
            one.kernel.delete(Kind.MPLS_ROUTE, int(str(web["label"])))
            drift, repaired = [e for e in await watching.until("repair", "repaired") if e["kind"] == "repair"]
            assert drift["text"] == f"MPLS route {web['label']}: deleted by another program"
            assert (drift["port"], drift["vpn"]) == ("web", "blue")
            assert repaired["object"] == f"MPLS route {web['label']}"

    play(scenario)


def test_a_watcher_that_does_not_read_hurts_nobody_and_is_told_what_it_lost() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        await until(one.connected, "the session")
        assert one.daemon is not None
        hub = one.daemon.agent.hub
        async with Watching(one) as slow, Watching(one, kinds=["port"]) as quick:
            many = 40 * QUEUE
            for number in range(many):
                hub.publish("route", "selected", lambda number=number: f"{number} " + "x" * 200)  # type: ignore[misc]
                if number % 256 == 0:
                    await asyncio.sleep(0)
            await one.attach("web", "blue", "10.1.1.1")
            await quick.until("port", "announced")
            heard = 0
            while True:
                events = await slow.frame()
                if any(event["event"] == "lost" for event in events):
                    break
                heard += len(events)
            (lost,) = [event["lost"] for event in events if event["event"] == "lost"]
            assert 0 < lost < many
            assert heard < many

    play(scenario)


def test_a_monitor_ends_by_count_and_with_its_client_and_with_the_daemon() -> None:
    async def scenario(world: World) -> None:
        one = await world.host(1, await world.gateway())
        await until(one.connected, "the session")
        assert one.daemon is not None
        hub = one.daemon.agent.hub
        async with Watching(one, count=3) as counted:
            for number in range(5):
                hub.publish("port", "test", lambda number=number: str(number))  # type: ignore[misc]
            texts = [event["text"] for event in await counted.frame()]
            assert texts == ["0", "1", "2"]
            await counted.frame()
            assert counted.result == {"ended": "count", "events": 3}
        async with Watching(one):
            assert hub
        await until(lambda: not hub, "the monitor to end with its client")
        async with Watching(one) as last:
            loop = asyncio.get_running_loop()
            began = loop.time()
            await one.stop()
            assert loop.time() - began < 1.0, "the daemon doesn't wait for who watches"
            await last.frame()
            assert last.result["ended"] == "stopping"
        for wrong in ({"kinds": ["weather"]}, {"kinds": "port"}, {"count": 0}, {"vpn": 7}):
            await one.start()
            async with refused(2):
                await one.call("monitor", **wrong)
            await one.stop()

    play(scenario)
