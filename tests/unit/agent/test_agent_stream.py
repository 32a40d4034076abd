"""The stream reads what comes in bulk piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from xml.etree.ElementTree import Element

import pytest

from agent.stream import PIECE, Presence, Stream
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
        self.presences: list[Presence] = []
        self.transport = Transport()
        self.stream = Stream(
            "hv1@gw/vrfwire",
            "",
            service="gw",
            direct_tls=True,
            on_message=self._message,
            on_presence=self.presences.append,
            on_heard=lambda: None,
            on_error=lambda *_: None,
            on_fault=self.faults.append,
        )
        self.stream.connection_made(self.transport)
        self.stream.data_received(HEADER.encode())
        self.stream.begin()

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
        assert len(world.messages) == seen, "nothing is believed before the login"
        world.stream.begin()
        world.stream.data_received(MESSAGE.encode())
        assert len(world.messages) == seen + 1

    play(scenario)


def test_what_others_send_through_a_server() -> None:
    """Messages, presence and answers are believed of the service alone."""

    async def scenario(world: World) -> None:
        answers: list[Element] = []
        world.stream.request("get", Element("{urn:xmpp:ping}ping"), answers.append)
        (identifier,) = world.stream._requests
        world.stream.data_received(
            b"<message from='other'/><presence from='other'/><presence from='gw' id='1'/>"
            b"<iq type='result' from='gw' id='guessed'/><iq type='get' from='other' id='%b'/>"
            b"<iq type='result' from='other' id='%b'/>" % (identifier.encode(), identifier.encode())
        )
        assert (world.messages, answers) == ([], [])
        assert world.presences == [Presence("", "1", "")]
        world.stream.data_received(b"<iq type='error' from='gw' id='%b'/>" % identifier.encode())
        assert len(answers) == 1

    play(scenario)


def test_what_is_taken_is_counted_before_it_is_asked_for() -> None:
    async def scenario(world: World) -> None:
        management = world.stream.plugin["xep_0198"]
        world.stream.data_received(b"<message from='gw'/><enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>")
        assert (world.stream.resumable, management.handled) == (True, 0)
        world.stream.data_received(b"<message from='gw'/><presence/><message from='other'/>")
        assert management.handled == 3
        management.handled = (1 << 32) - 1
        world.stream.data_received(b"<message from='gw'/><message from='gw'/>")
        assert management.handled == 1

    play(scenario)
