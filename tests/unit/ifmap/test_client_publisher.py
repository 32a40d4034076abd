"""The publisher of session state: what it makes of answers, of lost sessions, and of its own defects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from ifmap.client_errors import SessionLost
from ifmap.client_publisher import Publisher
from ifmap.errors import ErrorCode, IfmapError
from ifmap.identifiers import device
from ifmap.metadata import build
from ifmap.published import BATCH
from ifmap.values import MetadataName, NewMetadata, PublishOperation, node

STATE = MetadataName("urn:example:x", "state")
DEADLINE = 20.0


def state(text: str) -> NewMetadata:
    return build(STATE, single=True, content=text)


class Client:
    """Publishes are held until a test answers them."""

    def __init__(self) -> None:
        self.publishes: asyncio.Queue[tuple[int, asyncio.Future[None]]] = asyncio.Queue()

    async def publish(self, operations: Sequence[PublishOperation]) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.publishes.put_nowait((len(operations), answer))
        await answer

    async def answer(self, error: Exception | None = None) -> int:
        """Answer the next publish; returns how many operations it had."""
        size, answer = await self.publishes.get()
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
        return size

    async def nothing(self) -> bool:
        """Whether nothing is published, however long one waits: nobody else is ready to run."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.publishes.empty()


def run(scenario: Callable[[Client, Publisher], Coroutine[Any, Any, None]], random: float = 1.0) -> None:
    """random: 1.0 for waits that a test doesn't see the end of, 0.0 for none."""

    async def main() -> None:
        client = Client()
        publisher = Publisher(client.publish, random=lambda: random)
        publisher.start()
        async with asyncio.timeout(DEADLINE):
            await scenario(client, publisher)
        await publisher.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_nothing_goes_out_without_a_session_and_then_all_in_batches() -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        for number in range(BATCH + 50):
            publisher.set(node(device(f"d{number}")), state("up"))
        assert await client.nothing()
        publisher.session_started()
        assert [await client.answer(), await client.answer()] == [BATCH, 50]
        assert await client.nothing()

    run(scenario)


def test_what_comes_together_goes_out_together() -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        assert await client.nothing()
        for number in range(3):
            publisher.set(node(device(f"d{number}")), state("up"))
        publisher.remove(node(device("d0")), STATE)
        assert await client.answer() == 2
        assert await client.nothing()

    run(scenario)


def test_a_lost_session_and_a_new_one() -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        await client.answer()
        publisher.set(node(device("b")), state("up"))
        await client.answer(SessionLost("gone"))
        publisher.session_lost()
        publisher.set(node(device("c")), state("up"))
        assert await client.nothing()
        publisher.session_started()
        assert await client.answer() == 3
        assert await client.nothing()

    run(scenario)


def test_an_answer_of_an_earlier_session_says_nothing_of_this_one() -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        _, answer = await client.publishes.get()
        answer.set_result(None)
        # In the same turn of the loop.
        publisher.session_lost()
        publisher.session_started()
        assert await client.answer() == 1
        assert publisher.published.waiting == 1
        assert await client.nothing()
        assert publisher.published.waiting == 0

    run(scenario)


def test_what_is_refused_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    denied = IfmapError(ErrorCode.ACCESS_DENIED, "not yours")

    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        publisher.set(node(device("b")), state("up"))
        assert await client.answer(denied) == 2
        assert [await client.answer(), await client.answer(denied)] == [1, 1]
        assert await client.nothing()

    run(scenario)
    assert [record.message for record in caplog.records] == ["the map server refuses state: AccessDenied: not yours"]


def test_what_is_refused_is_tried_again_later_and_alone(caplog: pytest.LogCaptureFixture) -> None:
    denied = IfmapError(ErrorCode.ACCESS_DENIED, "not yours")

    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        assert [await client.answer(denied), await client.answer(denied)] == [1, 1]
        publisher.set(node(device("b")), state("up"))
        # Whichever comes first, each is on its own.
        assert [await client.answer(), await client.answer()] == [1, 1]
        assert await client.nothing()
        assert publisher.published.refused_places == {}

    run(scenario, random=0.0)
    assert len(caplog.records) == 1


def test_a_server_in_trouble_is_asked_again_and_nothing_is_blamed() -> None:
    trouble = IfmapError(ErrorCode.SYSTEM_ERROR, "disk full")

    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        publisher.set(node(device("b")), state("up"))
        assert [await client.answer(trouble), await client.answer(trouble), await client.answer()] == [2, 2, 2]
        assert await client.nothing()

    run(scenario, random=0.0)


def test_a_new_session_does_not_wait_for_a_server_in_trouble() -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        await client.answer(IfmapError(ErrorCode.SYSTEM_ERROR, "disk full"))
        assert await client.nothing()
        publisher.session_lost()
        publisher.session_started()
        # Half a second is longer than nothing() looks.
        assert not await client.nothing()
        assert await client.answer() == 1
        assert await client.nothing()

    run(scenario)


def test_a_defect_is_told_and_the_publisher_lives(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(client: Client, publisher: Publisher) -> None:
        publisher.session_started()
        publisher.set(node(device("a")), state("up"))
        await client.answer(KeyError("a defect"))
        assert await client.nothing()
        publisher.set(node(device("b")), state("up"))
        assert await client.answer() == 2

    run(scenario)
    assert "a defect" in caplog.text
