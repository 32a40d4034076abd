"""The file of the last known provisioning: written in time, seldom, and never in the way."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.grants import Grants
from gateway.map_file import FILE_NAME, LOCK_NAME, MapFile
from gateway.map_keeper import NEWS, MapKeeper
from gateway.map_snapshot import Snapshot, decode, encode
from gateway.provisioning import Provisioning
from lab.wait import wait_until
from runtime.state_directory import lock_directory
from tests.unit.gateway.test_map_provisioning import targets
from vpn.prefix import Prefix

WEB = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")}))
SERVERS = ("https://map1:8443/", "https://map2:8443/")
TIME = 1_769_860_800.0
SNAPSHOT = Snapshot({"blue": targets("64512:1", "64512:1")}, {"web": WEB}, {"db": WEB}, SERVERS, TIME)
DEADLINE = 10.0
LOG = "vrfwire.gateway.map"


class Bench:
    def __init__(self, directory: Path) -> None:
        self.provisioning = Provisioning()
        self.now = TIME
        self.keeper = MapKeeper(self.provisioning, MapFile(directory), lambda: self.now)

    def change(self) -> None:
        self.provisioning.restore(*SNAPSHOT[:3])
        self.keeper.confirm(SERVERS)


@asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    made = Bench(directory)
    try:
        yield made
    finally:
        await made.keeper.stop()


def kept(directory: Path) -> Snapshot | None:
    file = directory / FILE_NAME
    return decode(file.read_bytes()) if file.exists() else None


def test_what_is_known_is_there_for_the_next_start(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path) as first:
            assert not first.keeper.restore(SERVERS) and not first.provisioning.known
            first.change()
            await asyncio.to_thread(wait_until, lambda: kept(tmp_path) == SNAPSHOT, DEADLINE, "the file")
            written = (tmp_path / FILE_NAME).stat().st_mtime_ns
            first.keeper.changed()
        assert (tmp_path / FILE_NAME).stat().st_mtime_ns == written, "nothing was new"
        async with bench(tmp_path) as second:
            assert second.keeper.restore(SERVERS) and second.provisioning.known
            assert second.provisioning.attachments == SNAPSHOT.attachments
            assert second.provisioning.forfeited.items() == SNAPSHOT.forfeited
            assert second.keeper.as_of == TIME and second.keeper.problems() == []

    asyncio.run(run())


def test_what_came_last_is_written_at_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path) as made:
            made.keeper.restore(SERVERS)
            made.keeper.confirm(SERVERS)
            made.provisioning.restore(*SNAPSHOT[:3])
        assert kept(tmp_path) == SNAPSHOT

    asyncio.run(run())


def test_a_damaged_file_is_ignored_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{")

    async def run() -> None:
        async with bench(tmp_path) as made:
            assert not made.keeper.restore(SERVERS) and not made.provisioning.known
            made.change()
        assert kept(tmp_path) == SNAPSHOT

    with caplog.at_level(logging.WARNING, LOG):
        asyncio.run(run())
    assert "damaged" in caplog.text and "ignored" in caplog.text


def test_a_directory_that_cannot_be_used_is_a_problem_and_no_more(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(encode(SNAPSHOT))
    lock = lock_directory(tmp_path, LOCK_NAME)

    async def run() -> None:
        async with bench(tmp_path) as made:
            assert not made.keeper.restore(SERVERS)
            [problem] = made.keeper.problems()
            assert "another daemon" in problem.why and "restart" in problem.why

    try:
        asyncio.run(run())
    finally:
        os.close(lock)


def test_it_says_of_which_servers_it_is_and_when_it_was_theirs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def times() -> float | None:
        found = kept(tmp_path)
        return found.time if found is not None else None

    async def run() -> None:
        async with bench(tmp_path) as made:
            made.change()
            await asyncio.to_thread(wait_until, lambda: times() == TIME, DEADLINE, "the file")
            for later, there in ((NEWS - 1, TIME), (NEWS + 1, TIME + NEWS + 1)):
                made.now = TIME + later
                made.keeper.confirm(SERVERS)
                made.keeper.keep_time()
                await asyncio.to_thread(wait_until, lambda wanted=there: times() == wanted, DEADLINE, "the time")
            # Other servers have the same.
            made.keeper.confirm(["https://map3:8443/"])
            await asyncio.to_thread(
                wait_until, lambda: (kept(tmp_path) or SNAPSHOT).servers != SERVERS, DEADLINE, "the servers"
            )
            made.now = TIME + 500
            made.keeper.confirm(["https://map3:8443/"])
        assert times() == TIME + 500, "written at the end"
        async with bench(tmp_path) as made:
            assert not made.keeper.restore(SERVERS) and not made.provisioning.known and made.keeper.as_of is None
        async with bench(tmp_path) as made:
            assert made.keeper.restore([SERVERS[0], "https://map3:8443/"]) and made.keeper.as_of == TIME + 500

    with caplog.at_level(logging.WARNING, LOG):
        asyncio.run(run())
    assert "https://map3:8443/" in caplog.text and "ignored" in caplog.text
