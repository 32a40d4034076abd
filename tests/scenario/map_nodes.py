"""Map servers without HTTP, several in one event loop: service, store and writer as the daemon has them."""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine
from typing import ParamSpec

from ifmap.access import Access
from ifmap.identifiers import device
from ifmap.metadata import build
from ifmap.server.storage import open_map
from ifmap.server.store import StoreError
from ifmap.service import MapService, ServiceSettings
from ifmap.values import (
    Delete,
    Edge,
    Identifier,
    Lifetime,
    MetadataName,
    NewSession,
    Poll,
    Publish,
    PublishOperation,
    Request,
    Search,
    SearchSpec,
    Subscribe,
    Subscription,
    Update,
    link,
    node,
)

P = ParamSpec("P")

DEADLINE = 20.0
"""Seconds until a condition has to hold; far more than it takes."""
CLIENTS = tuple("abcdefgh")
WIDE = 50_000_000
HUB = device("hub")
STATE = MetadataName("urn:example:m", "state")
EVENT = MetadataName("urn:example:m", "event")
_PART = re.compile(rb"<(update|delete|notify)Result name=.*?</\1Result>", re.DOTALL)
_ITEM = re.compile(rb"<resultItem>(.*?)<metadata>(.*?)</metadata></resultItem>", re.DOTALL)
_METADATUM = re.compile(rb"<x:(\w+) .*?</x:\1>", re.DOTALL)


def in_loop(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    """A test that is a coroutine, in an event loop of its own. Its Servers end with it."""

    async def whole(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await test(*args, **kwargs)
        finally:
            for servers in kwargs.values():
                if isinstance(servers, Servers):
                    await servers.stop()

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(whole(*args, **kwargs))

    return run


async def until(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Return when the condition is true; fails at the deadline."""
    try:
        async with asyncio.timeout(deadline):
            while not condition():  # noqa: ASYNC110 (any condition)
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"timed out waiting for {what}") from None


def spoke(number: int) -> Edge:
    """A link of the hub."""
    return link(HUB, device(f"d{number}"))


def update(edge: Edge, text: str, *, lifetime: Lifetime = Lifetime.FOREVER, single: bool = True) -> Update:
    """An <update> of one metadatum."""
    return Update(edge, (build(STATE if single else EVENT, single, text),), lifetime)


class Refused(Exception):
    """An errorResult."""


class Node:
    """One server."""

    def __init__(self, url: str, name: str = "one", lease: float = 15.0) -> None:
        self.opened = open_map(url, name=name, lease=lease)
        loaded = self.opened.loaded
        self.service = MapService(
            ServiceSettings(shared=self.opened.store.shared, name=name),
            dict.fromkeys(CLIENTS, Access()),
            self.opened.graph,
            random=lambda: secrets.token_hex(16),
            publishers=loaded.publishers,
            next_key=loaded.next_key,
            elsewhere=loaded.sessions,
        )
        self.now = asyncio.get_running_loop().time
        self.writer = self.opened.writer(self.service, self.flush, self.now)
        self._waiting: dict[int, deque[asyncio.Future[bytes]]] = defaultdict(deque)
        self.channels = itertools.count(1)
        self.task: asyncio.Task[None] | None = None
        self._ended = False

    async def start(self) -> Node:
        """Begin to serve."""
        self.task = await self.writer.start()
        return self

    async def stop(self) -> None:
        """End in good order, if it hasn't ended."""
        if not self._ended:
            self._ended = True
            await self.writer.stop()

    async def crash(self) -> None:
        """End without a word to the others, as by kill -9: the kernel closes the connections."""
        store = self.opened.store
        assert self.task is not None and store.shared
        self.task.cancel()
        await asyncio.wait({self.task})

        def vanish() -> None:
            raise StoreError("crashed")

        store.leave = vanish  # type: ignore[method-assign]
        await self.stop()

    def flush(self) -> None:
        """Hand the answers to those who wait for them."""
        for output in self.service.take_outputs():
            future = self._waiting[output.channel].popleft()
            if not future.done():
                future.set_result(output.body)

    async def ask(self, channel: int, client: str, request: Request) -> bytes:
        """The body of the answer. Raises Refused."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[channel].append(future)
        self.service.request(channel, client, request, self.now())
        self.flush()
        if self.service.waiting:
            self.writer.wake()
        async with asyncio.timeout(DEADLINE):
            body: bytes = await future
        if b"<errorResult" in body:
            raise Refused(body.decode())
        return body

    def contents(self, *edges: Edge) -> dict[Edge, list[tuple[int, bytes]]]:
        """What its graph has there: keys and elements."""
        graph = self.service._state.graph
        return {edge: [(key, one.xml) for key, one in graph.contents(edge).items()] for edge in edges}

    def texts(self, edge: Edge) -> list[str]:
        """The texts of the metadata on an edge."""
        graph = self.service._state.graph
        return [one.xml.decode().partition(">")[2].partition("<")[0] for one in graph.contents(edge).values()]


class Servers:
    """The servers of a test, which use one database. lease: seconds, of those that are started from now on."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.lease = 15.0
        self._started: list[Node] = []

    def load(self, name: str) -> Node:
        """A new one that has loaded the map, but doesn't serve."""
        self._started.append(Node(self.url, name, self.lease))
        return self._started[-1]

    async def start(self, name: str) -> Node:
        """A new one."""
        return await self.load(name).start()

    async def stop(self) -> None:
        """Stop those that run."""
        for one in self._started:
            await one.stop()


class User:
    """A client's session at a node. results: of the polls' answers so far, metadatum by metadatum: the kind,
    the identifiers in XML, the metadatum. Which of them come together depends on when it polls."""

    def __init__(self, server: Node, client: str) -> None:
        self.server = server
        self.client = client
        self.ssrc = next(server.channels)
        self.arc = next(server.channels)
        self.id = ""
        self.publisher = ""
        self.results: list[tuple[bytes, bytes, bytes]] = []
        self.ended = False

    async def begin(self) -> User:
        """newSession"""
        body = await self.server.ask(self.ssrc, self.client, NewSession(WIDE))
        self.id, self.publisher = (
            found[1].decode()
            for name in (b"session-id", b"publisher-id")
            if (found := re.search(name + b'="(.*?)"', body))
        )
        return self

    async def publish(self, *operations: PublishOperation) -> None:
        """Raises Refused."""
        await self.server.ask(self.ssrc, self.client, Publish(self.id, operations))

    async def search(self, start: Identifier = HUB, depth: int = 3) -> bytes:
        """The answer's body."""
        return await self.server.ask(self.ssrc, self.client, Search(self.id, SearchSpec(start, depth, max_size=WIDE)))

    async def follow(self, start: Identifier = HUB, depth: int = 3) -> None:
        """Subscribe, and poll until the session or the test ends; returns when the first result is there."""
        spec = SearchSpec(start, depth, max_size=WIDE)
        await self.server.ask(self.ssrc, self.client, Subscribe(self.id, (Subscription("all", spec),)))
        assert b"<searchResult" in await self.server.ask(self.arc, self.client, Poll(self.id))
        self._polling = asyncio.create_task(self._poll())

    def history(self) -> dict[bytes, list[tuple[bytes, bytes]]]:
        """Results by identifiers: in order, whenever it has polled."""
        found: dict[bytes, list[tuple[bytes, bytes]]] = defaultdict(list)
        for kind, ends, metadatum in self.results:
            found[ends].append((kind, metadatum))
        return found

    async def _poll(self) -> None:
        while True:
            future = asyncio.get_running_loop().create_future()
            self.server._waiting[self.arc].append(future)
            self.server.service.request(self.arc, self.client, Poll(self.id), self.server.now())
            self.server.flush()
            body: bytes = await future
            if b"<endSessionResult" in body:
                self.ended = True
                return
            self.results += [
                (part[1], item[1], metadatum[0])
                for part in _PART.finditer(body)
                for item in _ITEM.finditer(part[0])
                for metadatum in _METADATUM.finditer(item[2])
            ]


__all__ = [
    "CLIENTS",
    "DEADLINE",
    "EVENT",
    "HUB",
    "STATE",
    "Delete",
    "Lifetime",
    "Node",
    "Refused",
    "Servers",
    "User",
    "in_loop",
    "node",
    "spoke",
    "until",
    "update",
]
