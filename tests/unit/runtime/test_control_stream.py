"""Calls that stream: a handler sees whether its client reads, and when it leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.control import Call, ControlServer

DEADLINE = 10.0
Work = Callable[[Path, "Streamer"], Awaitable[None]]


class Streamer:
    """A method that sends while the client reads, and ends when it leaves."""

    def __init__(self) -> None:
        self.sent = 0
        self.stalled = asyncio.Event()
        self.ended = asyncio.Event()

    async def stream(self, params: dict[str, object], call: Call) -> object:
        wake = asyncio.Event()
        call.on_change(wake.set)
        size = int(str(params.get("size", 0)))
        try:
            call.progress({"began": True})
            while not call.leaving:
                wake.clear()
                while size and call.ready:
                    call.progress({"text": "x" * size})
                    self.sent += 1
                    await asyncio.sleep(0)
                self.stalled.set()
                await wake.wait()
        finally:
            self.ended.set()
        return {"sent": self.sent}


def serve(tmp_path: Path, work: Work) -> None:
    async def main() -> None:
        streamer = Streamer()
        server = ControlServer(tmp_path / "s", {"stream": streamer.stream})
        await server.start()
        try:
            await asyncio.wait_for(work(tmp_path / "s", streamer), DEADLINE)
        finally:
            await server.stop()

    asyncio.run(main())


def test_a_client_that_does_not_read_stalls_the_stream_and_goes_on_when_it_does(tmp_path: Path) -> None:
    async def work(path: Path, streamer: Streamer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
        writer.write(b'{"id":1,"method":"stream","params":{"size":60000}}\n')
        await streamer.stalled.wait()
        stalled_at = streamer.sent
        # What the sockets hold and one buffer of the server's: little, and no more however long nobody reads.
        assert 0 < stalled_at < 100
        for _ in range(stalled_at + 20):
            assert json.loads(await reader.readline())["progress"]
        assert streamer.sent > stalled_at
        writer.close()
        await streamer.ended.wait()

    serve(tmp_path, work)


@pytest.mark.parametrize("size", [0, 60000], ids=["idle", "stalled"])
def test_the_stream_ends_when_the_client_leaves(tmp_path: Path, size: int) -> None:
    async def work(path: Path, streamer: Streamer) -> None:
        _, writer = await asyncio.open_unix_connection(str(path), limit=1 << 16)
        writer.write(b'{"id":1,"method":"stream","params":{"size":%d}}\n' % size)
        await streamer.stalled.wait()
        writer.transport.abort()
        await streamer.ended.wait()

    serve(tmp_path, work)


def test_a_client_that_asks_for_nothing_more_is_leaving_and_still_gets_its_answer(tmp_path: Path) -> None:
    async def work(path: Path, streamer: Streamer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"id":1,"method":"stream"}\n')
        writer.write_eof()
        replies = [json.loads(line) async for line in reader]
        assert replies == [{"id": 1, "progress": {"began": True}}, {"id": 1, "result": {"sent": 0}}]
        writer.close()
        await writer.wait_closed()

    serve(tmp_path, work)
