"""The stream reads what comes in bulk piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from xml.etree.ElementTree import Element

import pytest

from agent.stream import PIECE, Stream
from xmpp import namespaces as ns

HEADER = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' from='gw' id='1' version='1.0'>"
MESSAGE = f"<message from='gw'><body>{'x' * 1000}</body></message>"
COUNT = 5 * PIECE // len(MESSAGE)


class Transport(asyncio.Transport):
    """Remembers whether it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = False
        self.resumed = asyncio.Event()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self.resumed.set()

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def is_closing(self) -> bool:
        return False


class World:
    """A stream on a transport, and what it has told."""

    def __init__(self) -> None:
        self.messages: list[Element] = []
        self.faults: list[Exception] = []
        self.transport = Transport()
        self.stream = Stream(
            "hv1@gw/vrfwire",
            "",
            gateway="gw",
            direct_tls=True,
            on_message=self._message,
            on_heard=lambda: None,
            on_fault=self.faults.append,
        )
        self.stream.connection_made(self.transport)
        self.stream.data_received(HEADER.encode())

    def _message(self, message: Element) -> bool:
        self.messages.append(message)
        return True


def play(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await scenario(world)
        world.stream.connection_lost(None)
        assert not world.faults

    asyncio.run(main())


def test_a_large_piece_lets_others_have_their_turn() -> None:
    async def scenario(world: World) -> None:
        world.stream.data_received(MESSAGE.encode() * COUNT)
        seen = []
        while len(world.messages) < COUNT:
            assert world.transport.paused, "no more is read from the connection meanwhile"
            seen.append(len(world.messages))
            await asyncio.sleep(0)
        assert len(seen) >= 4
        assert seen == sorted(set(seen)), "every turn of the loop is followed by another piece"
        assert not world.transport.paused
        world.stream.data_received(MESSAGE.encode())
        assert len(world.messages) == COUNT + 1

    play(scenario)


def test_what_was_under_way_comes_after_what_waits() -> None:
    async def scenario(world: World) -> None:
        data = MESSAGE.encode() * COUNT
        world.stream.data_received(data[:-100])
        world.stream.data_received(data[-100:])
        await world.transport.resumed.wait()
        assert len(world.messages) == COUNT

    play(scenario)


@pytest.mark.parametrize(("error", "read"), [(None, True), (ConnectionResetError(), False)])
def test_a_lost_connection(error: Exception | None, read: bool) -> None:
    """What came before an orderly end is read; after it nothing is, and a new connection begins with nothing."""

    async def scenario(world: World) -> None:
        world.stream.data_received(MESSAGE.encode() * COUNT)
        world.stream.connection_lost(error)
        assert (len(world.messages) == COUNT) is read
        seen = len(world.messages)
        await asyncio.sleep(0)
        assert len(world.messages) == seen
        world.stream.connection_made(Transport())
        world.stream.data_received(HEADER.encode() + MESSAGE.encode())
        assert len(world.messages) == seen + 1

    play(scenario)
