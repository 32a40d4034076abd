"""From gateways' routes to the datapath: very many in slices; what is left over is swept when all are planned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.attachment import Attached, VpnRecord, parse_attach
from agent.feed import RouteFeed
from agent.plan import Host
from agent.planner import Planner
from agent.routes import GatewayId, RouteTables
from datapath.fake import FakeKernel
from datapath.plane import Datapath
from datapath.values import Kind
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

GATEWAY = GatewayId(parse_address("192.0.2.1"), 5222)
MANY = 5000


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def routes(count: int) -> list[tuple[Prefix, Path | None]]:
    path = Path((NextHop(parse_address("192.0.2.12"), 1000),))
    return [(Prefix(b"\x14" + number.to_bytes(3, "big"), 32), path) for number in range(count)]


async def turns_until(condition: Callable[[], bool]) -> int:
    """Turns of the loop until a condition holds."""
    for turn in range(100):
        if condition():
            return turn
        await asyncio.sleep(0)
    raise AssertionError("not within 100 turns")


def made(clock: Clock) -> tuple[RouteFeed, Datapath]:
    """A feed with one VPN, on a datapath that is never started: what is wanted of it can be counted."""
    tables = RouteTables((GATEWAY,), 0.0, stale_time=1.0, end_of_table_time=5.0)
    planner = Planner(Host(parse_address("192.0.2.11")))
    datapath = Datapath(FakeKernel().drivers())
    feed = RouteFeed(tables, planner, datapath, clock)
    params: dict[str, object] = {"name": "web", "vpn": "blue", "addresses": ["10.1.1.1"], "interface": "tap0"}
    planner.attach(Attached(parse_attach(params, "hv1"), 100), VpnRecord("blue", 1, 10001, "vw-blue"))
    feed.join("blue", initial=True)
    return feed, datapath


def wanted(datapath: Datapath) -> int:
    return len(datapath.reconciler.desired(Kind.VRF_ROUTE))


def test_few_routes_are_planned_in_one_turn() -> None:
    async def scenario() -> None:
        feed, datapath = made(Clock())
        feed.session_started(GATEWAY)
        feed.received(GATEWAY, "blue", routes(10))
        feed.received(GATEWAY, "blue", [(prefix, None) for prefix, _ in routes(3)])
        assert await turns_until(lambda: wanted(datapath) > 0) == 1
        assert wanted(datapath) == 7
        feed.close()

    asyncio.run(scenario())


def test_very_many_are_planned_in_slices_and_swept_after_the_last() -> None:
    async def scenario() -> None:
        clock = Clock()
        feed, datapath = made(clock)
        swept: list[int] = []
        datapath.allow_sweep = lambda *kinds: swept.append(wanted(datapath))  # type: ignore[method-assign]
        feed.session_started(GATEWAY)
        feed.received(GATEWAY, "blue", routes(MANY))
        feed.end_of_table(GATEWAY, "blue")
        clock.now = 10.0
        feed._on_timer()
        assert feed.tables.complete
        assert swept == []
        assert await turns_until(lambda: wanted(datapath) > 0) == 1
        assert wanted(datapath) < MANY
        assert await turns_until(lambda: bool(swept)) > 1
        assert swept == [MANY]
        feed.close()

    asyncio.run(scenario())


def test_changes_are_told_to_who_watches_only() -> None:
    class Watcher:
        def __init__(self, watching: bool) -> None:
            self.watching = watching
            self.heard: list[str] = []

        def __bool__(self) -> bool:
            return self.watching

        def route(self, vpn: str, prefix: Prefix, path: Path | None) -> None:
            self.heard.append(f"{vpn} {prefix}")

    async def scenario() -> None:
        for watching, heard in ((True, ["blue 20.0.0.0/32"]), (False, [])):
            feed, datapath = made(Clock())
            feed.watcher = watcher = Watcher(watching)
            feed.received(GATEWAY, "blue", routes(1))
            await turns_until(lambda datapath=datapath: wanted(datapath) == 1)  # type: ignore[misc]
            assert watcher.heard == heard
            feed.close()

    asyncio.run(scenario())
