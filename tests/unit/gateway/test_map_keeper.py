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
from gateway.map_keeper import MapKeeper
from gateway.map_snapshot import Snapshot, decode, encode
from gateway.provisioning import Provisioning
from lab.wait import wait_until
from runtime.state_directory import lock_directory
from tests.unit.gateway.test_map_provisioning import targets
from vpn.prefix import Prefix

WEB = Grants(frozenset({"blue"}), frozenset({Prefix.parse("10.1.1.1/32")}))
SNAPSHOT = Snapshot({"blue": targets("64512:1", "64512:1")}, {"web": WEB}, {"db": WEB})
DEADLINE = 10.0
LOG = "vrfwire.gateway.map"


class Bench:
    def __init__(self, directory: Path) -> None:
        self.provisioning = Provisioning()
        self.keeper = MapKeeper(self.provisioning, MapFile(directory))

    def change(self) -> None:
        self.provisioning.restore(*SNAPSHOT)
        self.keeper.changed()


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
            assert not first.keeper.restore() and not first.provisioning.known
            first.change()
            await asyncio.to_thread(wait_until, lambda: kept(tmp_path) == SNAPSHOT, DEADLINE, "the file")
            written = (tmp_path / FILE_NAME).stat().st_mtime_ns
            first.keeper.changed()
        assert (tmp_path / FILE_NAME).stat().st_mtime_ns == written, "nothing was new"
        async with bench(tmp_path) as second:
            assert second.keeper.restore() and second.provisioning.known
            assert second.provisioning.attachments == SNAPSHOT.attachments
            assert second.provisioning.forfeited.items() == SNAPSHOT.forfeited
            assert second.keeper.problems() == []

    asyncio.run(run())


def test_what_came_last_is_written_at_the_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with bench(tmp_path) as made:
            made.keeper.restore()
            made.provisioning.restore(*SNAPSHOT)
        assert kept(tmp_path) == SNAPSHOT

    asyncio.run(run())


def test_a_damaged_file_is_ignored_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{")

    async def run() -> None:
        async with bench(tmp_path) as made:
            assert not made.keeper.restore() and not made.provisioning.known
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
            assert not made.keeper.restore()
            [problem] = made.keeper.problems()
            assert "another daemon" in problem.why and "restart" in problem.why

    try:
        asyncio.run(run())
    finally:
        os.close(lock)
