"""The MAP client and `vrfwire-map serve`: operations, a server that is killed or hangs, two servers, one user twice."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from ifmap import filters
from ifmap.answers import ReceivedPart
from ifmap.client import MapClient
from ifmap.client_publisher import Publisher
from ifmap.client_settings import ClientSettings
from ifmap.endpoint import Endpoint
from ifmap.errors import ErrorCode, IfmapError
from ifmap.identifiers import device
from ifmap.metadata import build, content
from ifmap.replica import Replica
from ifmap.values import (
    Delete,
    Edge,
    Lifetime,
    MetadataName,
    NewMetadata,
    Notify,
    ResultKind,
    SearchSpec,
    Update,
    link,
    node,
)
from lab.pki import Authority
from tests.scenario.daemon_process import wait_for
from tests.scenario.map_process import PASSWORD, MapProcess, client
from tests.scenario.scripted_map import DEADLINE, Log, until

ROOT = device("root")
WIDE = SearchSpec(ROOT, max_depth=5, max_size=50_000_000)
MEMBER = MetadataName("urn:example:m", "member")
STATE = MetadataName("urn:example:m", "state")
EVENT = MetadataName("urn:example:m", "event")


MakeServer = Callable[[str], MapProcess]


@pytest.fixture
def make_server(tmp_path: Path, authority: Authority) -> Iterator[MakeServer]:
    made: list[MapProcess] = []

    def make(name: str) -> MapProcess:
        clients = client("gw") + client("operator")
        server = MapProcess(tmp_path / name, authority, clients, name=name)
        made.append(server)
        server.start()
        return server

    yield make
    for server in made:
        server.kill()
        assert "Traceback" not in server.text(), server.text()


@pytest.fixture
def settings(authority: Authority) -> Callable[..., ClientSettings]:
    def make(user: str, *servers: MapProcess, **changes: Any) -> ClientSettings:
        endpoints = tuple(Endpoint("localhost", server.port) for server in servers)
        values: dict[str, Any] = {
            "password": PASSWORD,
            "retry_min": 0.02,
            "retry_max": 0.1,
            "answer_timeout": DEADLINE,
        } | changes
        return ClientSettings(endpoints, authority.certificate, user, **values)

    return make


MakeSettings = Callable[..., ClientSettings]


class Copy(Log):
    """A listener that keeps a replica of one subscription, and what a publisher has to say published."""

    def __init__(self) -> None:
        super().__init__()
        self.replica = Replica()
        self.publisher: Publisher | None = None

    def session_started(self, session_id: str, publisher_id: str) -> None:
        super().session_started(session_id, publisher_id)
        if self.publisher is not None:
            self.publisher.session_started()

    def session_lost(self, reason: str) -> None:
        super().session_lost(reason)
        self.replica.session_lost()
        if self.publisher is not None:
            self.publisher.session_lost()

    def result(self, part: ReceivedPart) -> None:
        super().result(part)
        self.replica.apply(part)


def contents(replica: Replica) -> dict[Edge, set[tuple[str, str, str]]]:
    return {
        edge: {(one.name.local, content(one.xml).text, one.timestamp) for one in replica.contents(edge)}
        for edge in replica.edges()
    }


def texts(replica: Replica, edge: Edge) -> list[str]:
    return [content(one.xml).text for one in replica.contents(edge)]


def single(name: MetadataName, text: str = "") -> NewMetadata:
    return build(name, single=True, content=text)


def member(number: int) -> Update:
    """Makes a device a member of the root."""
    return Update(link(ROOT, device(f"d{number}")), (single(MEMBER),), Lifetime.FOREVER)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(4 * DEADLINE):
            await scenario()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_every_operation(make_server: MakeServer, settings: MakeSettings) -> None:
    server = make_server("one")

    async def scenario() -> None:
        copy = Copy()
        watcher = MapClient(settings("gw", server), copy)
        watcher.subscribe("all", WIDE)
        await watcher.start()
        await until(lambda: copy.replica.complete, "the initial result")
        assert len(copy.replica) == 0
        async with MapClient(settings("operator", server)) as client:
            events = tuple(build(EVENT, single=False, content=text) for text in ("a & <b>", "second"))
            await client.publish([member(1), Update(node(device("d1")), (single(STATE, "up"), *events))])
            await until(lambda: len(copy.replica) == 2, "the publish")
            assert texts(copy.replica, node(device("d1"))) == ["up", "a & <b>", "second"]
            await client.publish([Update(node(device("d1")), (single(STATE, "down"),))])
            await client.publish(
                [Delete(node(device("d1")), filters.compile('m:event[. = "second"]', {"m": EVENT[0]}))]
            )
            await client.publish([Notify(node(ROOT), (build(EVENT, single=False, content="told"),))])
            await copy.wait("notifyResult")
            assert texts(copy.replica, node(device("d1"))) == ["down", "a & <b>"]
            assert list(copy.replica.links(ROOT)) == [link(ROOT, device("d1"))]
            found = Replica.of(await client.search(WIDE))
            assert contents(found) == contents(copy.replica)
            narrow = SearchSpec(ROOT, max_depth=5, match_links=filters.NOTHING)
            assert [item.edge for item in await client.search(narrow)] == [node(ROOT)]

            # What is refused has no effect and no consequence.
            with pytest.raises(IfmapError) as refused:
                await client.publish([member(2), Update(node(ROOT), (build(MEMBER, single=False),))])
            assert refused.value.code is ErrorCode.INVALID_METADATA
            with pytest.raises(IfmapError) as refused:
                await client.purge("somebody-else")
            assert refused.value.code is ErrorCode.ACCESS_DENIED
            await client.purge()
            await until(lambda: len(copy.replica) == 0, "the purge")
            await client.publish([member(3), Update(node(device("d3")), (single(STATE, "up"),))])
        # Its session is over: what isn't for ever goes.
        await until(lambda: list(copy.replica.edges()) == [link(ROOT, device("d3"))], "the end of the session")
        kinds = {str(kind) for kind in ResultKind} - {"errorResult"}
        assert {event[0] for event in copy.events} == {"started", *kinds}
        await watcher.stop()

    run(scenario)


def test_a_server_that_is_killed_again_and_again(make_server: MakeServer, settings: MakeSettings) -> None:
    """What the gateway says is there again, and what it knows is what the operator's acknowledged publishes make."""
    server = make_server("one")

    async def scenario() -> None:
        gateway = Copy()
        client = MapClient(settings("gw", server), gateway)
        client.subscribe("all", WIDE)
        gateway.publisher = publisher = Publisher(client.publish)
        publisher.start()
        for number in range(450):
            publisher.set(node(device(f"d{number}")), single(STATE, "up"))
        await client.start()
        for round in range(3):
            async with MapClient(settings("operator", server)) as operator:
                await operator.publish([member(number) for number in range(round, 450, 3)])
                publisher.set(node(device("d0")), single(STATE, f"round {round}"))
                publisher.remove(node(device(f"d{400 + round}")), STATE)
                await until(lambda: publisher.published.waiting == 0 and gateway.replica.complete, "the publisher")
                await equal(gateway, operator, members=150 * (round + 1))
            server.kill()
            server.start()
            await gateway.wait("started", round + 2)
        async with MapClient(settings("operator", server)) as operator:
            await until(lambda: publisher.published.waiting == 0, "the publisher")
            await equal(gateway, operator, members=450)
            replica = gateway.replica
            assert len(replica) == 450 + 447
            assert texts(replica, node(device("d0"))) == ["round 2"]
            assert texts(replica, node(device("d401"))) == []
            assert texts(replica, node(device("d449"))) == ["up"]
        await client.stop()
        await publisher.stop()
        assert publisher.published.refused_places == {}

    async def equal(gateway: Copy, operator: MapClient, members: int) -> None:
        fresh = contents(Replica.of(await operator.search(WIDE)))
        assert sum(edge.second is not None for edge in fresh) == members
        await until(lambda: contents(gateway.replica) == fresh, "the same content")

    run(scenario)


def test_the_next_server_of_the_list(make_server: MakeServer, settings: MakeSettings) -> None:
    """What differs there is told as a difference."""
    first, second = make_server("first"), make_server("second")

    async def scenario() -> None:
        for server, numbers in ((first, (1, 2)), (second, (2, 3))):
            async with MapClient(settings("operator", server)) as operator:
                await operator.publish([member(number) for number in numbers])
        copy = Copy()
        client = MapClient(settings("gw", first, second), copy)
        client.subscribe("all", WIDE)
        await client.start()
        await copy.wait("searchResult")
        assert set(copy.replica.links(ROOT)) == {link(ROOT, device("d1")), link(ROOT, device("d2"))}
        first.kill()
        await copy.wait("searchResult", 2)
        assert set(copy.replica.links(ROOT)) == {link(ROOT, device("d2")), link(ROOT, device("d3"))}
        assert client.status().server == f"https://localhost:{second.port}/"
        # An orderly stop is no difference.
        first.start()
        assert second.stop() == 0
        await copy.wait("searchResult", 3)
        assert set(copy.replica.links(ROOT)) == {link(ROOT, device("d1")), link(ROOT, device("d2"))}
        await client.stop()

    run(scenario)


def test_two_programs_with_one_user_are_told_what_happens(make_server: MakeServer, settings: MakeSettings) -> None:
    server = make_server("one")

    async def scenario() -> None:
        log = Log()
        client = MapClient(settings("gw", server), log)
        await client.start()
        await log.wait("started")
        async with MapClient(settings("gw", server)) as other:
            await log.wait("lost")
            assert "another program" in log.all("lost")[0][1]
            # It is as eager as we are.
            await log.wait("started", 2)
            with pytest.raises(Exception, match="another program"):
                await other.publish([member(1)])
        await client.stop()

    run(scenario)


def test_more_than_the_server_keeps_for_us(make_server: MakeServer, settings: MakeSettings) -> None:
    """The session goes on, and the subscription begins again when there is less."""
    server = make_server("one")

    async def scenario() -> None:
        log = Copy()
        client = MapClient(settings("gw", server, max_poll_result=20_000), log)
        async with MapClient(settings("operator", server)) as operator:
            await operator.publish([member(number) for number in range(200)])
            client.subscribe("all", WIDE)
            await client.start()
            assert await log.wait("refused", 2) == ("refused", "all", "PollResultsTooBig")
            await operator.publish([Delete(link(ROOT, device(f"d{number}"))) for number in range(10, 200)])
            await until(lambda: log.replica.complete and len(log.replica) == 10, "the content")
            await operator.publish([member(500)])
            await until(lambda: len(log.replica) == 11, "what came after it")
        assert (len(log.all("started")), log.all("lost")) == (1, [])
        await client.stop()

    run(scenario)


def test_a_server_that_hangs(make_server: MakeServer, settings: MakeSettings) -> None:
    """Its kernel keeps the connections open; a renewal without answer tells."""
    first, second = make_server("first"), make_server("second")

    async def scenario() -> None:
        log = Log()
        client = MapClient(
            settings("gw", first, second, renew_interval=0.1, answer_timeout=1.0, connect_timeout=1.0), log
        )
        await client.start()
        await log.wait("started")
        first.signal(signal.SIGSTOP)
        await log.wait("started", 2)
        assert "hasn't answered" in log.all("lost")[0][1]
        assert client.status().server == f"https://localhost:{second.port}/"
        await client.stop()

    run(scenario)
    first.signal(signal.SIGCONT)
    wait_for(lambda: first.ask("status"), "the server's return")
