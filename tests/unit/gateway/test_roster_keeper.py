"""The record of hosts and its file: written in time, seldom, and never in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.hosts import Permit
from gateway.rib import Rib
from gateway.roster import encode
from gateway.roster_file import FILE_NAME, RosterFile
from gateway.roster_keeper import NAMED, RosterKeeper
from gateway.service import Service
from gateway.session import Session
from lab.wait import wait_until
from runtime.errors import OperatorError
from runtime.state_directory import lock_directory
from tests.unit.gateway.harness import MESH
from vpn.path import NextHop
from vpn.path import Path as VpnPath
from vpn.prefix import Prefix, parse_address
from xmpp.jid import Jid

DEADLINE = 10.0
LATER = 3600.0
LOG = "vrfwire.gateway.bgp"


class Bench:
    """A keeper with its service."""

    def __init__(self, file: RosterFile | None) -> None:
        self.service = Service("vpn.example.net", Rib(MESH))
        self.keeper = RosterKeeper(self.service, file)

    def connect(self, host: str) -> Session:
        return self.service.open(Jid.of(host, "vpn.example.net", "vrfwire"), Permit(frozenset()), 0.0)

    def publish(self, host: str, *numbers: int) -> None:
        for number in numbers:
            prefix = Prefix.parse(f"10.1.1.{number}/32")
            path = VpnPath((NextHop(parse_address("192.0.2.1"), 100),))
            self.service.rib.publish("blue", host, f"{host}:1:{prefix}", prefix, path)
        self.keeper.look()

    def retract(self, host: str, number: int) -> None:
        self.service.rib.retract("blue", f"{host}:1:10.1.1.{number}/32")
        self.keeper.look()


@asynccontextmanager
async def bench(directory: Path | None, *, start: bool = True) -> AsyncIterator[Bench]:
    made = Bench(None if directory is None else RosterFile(directory))
    if start:
        made.keeper.start(asyncio.get_running_loop().time() + LATER)
    try:
        yield made
    finally:
        await made.keeper.stop()


def kept(directory: Path) -> object:
    """The hosts in the file; None without one."""
    file = directory / FILE_NAME
    return json.loads(file.read_bytes())["hosts"] if file.exists() else None


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, DEADLINE, what)


def test_the_next_start_waits_for_what_this_one_had(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bench(tmp_path / "state") as first:
            assert first.keeper.complete and first.keeper.waiting_for() == []
            first.connect("hv1")
            first.publish("hv1", 1, 2)
            first.publish("hv2", 3)
            await until(lambda: kept(tmp_path / "state") == {"hv1": 2, "hv2": 1}, "the record")
        async with bench(tmp_path / "state") as second:
            assert second.keeper.waiting_for() == ["host hv1 (no session)", "host hv2 (no session)"]
            second.connect("hv1")
            second.publish("hv1", 1)
            assert second.keeper.waiting_for() == ["host hv1 (1 of 2 routes)", "host hv2 (no session)"]
            second.publish("hv1", 2)
            second.connect("hv2")
            second.publish("hv2", 3)
            assert second.keeper.complete

    asyncio.run(scene())


def test_what_is_not_written_yet_is_written_at_the_end(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bench(tmp_path) as only:
            only.publish("hv1", 1)
            await until(lambda: kept(tmp_path) == {"hv1": 1}, "the first write")
            only.publish("hv1", 2, 3)
            assert kept(tmp_path) == {"hv1": 1}
        assert kept(tmp_path) == {"hv1": 3}

    asyncio.run(scene())


def test_absent_hosts_stay_in_the_record(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(encode({"hv1": 7}))

    async def scene() -> None:
        async with bench(tmp_path) as only:
            only.publish("hv2", 1)
        assert kept(tmp_path) == {"hv1": 7, "hv2": 1}
        async with bench(tmp_path) as again:
            again.keeper.handle_timer(asyncio.get_running_loop().time() + LATER)
            assert again.keeper.complete
        assert kept(tmp_path) == {}

    asyncio.run(scene())


def test_hosts_whose_routes_have_expired_leave_the_record(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bench(tmp_path) as only:
            session = only.connect("hv1")
            prefix = Prefix.parse("10.1.1.1/32")
            path = VpnPath((NextHop(parse_address("192.0.2.1"), 100),))
            only.service.rib.publish("blue", "hv1", "x", prefix, path, session.number)
            assert only.service.close(session, 0.0) == 1
            only.keeper.look()
            await until(lambda: kept(tmp_path) == {"hv1": 1}, "the record of a host that was lost")
            only.service.expire(LATER)
            only.keeper.look()
            await until(lambda: kept(tmp_path) == {}, "the host to leave the record")

    asyncio.run(scene())


def test_many_changes_are_few_writes_and_none_in_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: list[int] = []
    write = RosterFile.write

    def count(file: RosterFile, record: dict[str, int]) -> None:
        writers.append(threading.get_ident())
        write(file, record)

    monkeypatch.setattr(RosterFile, "write", count)

    async def scene() -> None:
        async with bench(tmp_path) as only:
            only.publish("hv1", 1)
            await until(lambda: kept(tmp_path) == {"hv1": 1}, "the first write")
            for number in range(2, 200):
                only.publish("hv1", number)
                await asyncio.sleep(0)
            only.retract("hv1", 5)
            await until(lambda: kept(tmp_path) == {"hv1": 198}, "the last write")
        assert len(writers) == 2
        assert threading.get_ident() not in writers

    asyncio.run(scene())


@pytest.mark.parametrize("content", [b"", b"\x00" * 500, encode({"hv1": 3})[:-4], b'{"program":"other"}'])
def test_a_file_that_is_no_record_is_ignored(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    async def scene() -> None:
        async with bench(tmp_path) as only:
            assert only.keeper.complete and only.keeper.problems() == []
            only.publish("hv1", 1)
        assert kept(tmp_path) == {"hv1": 1}

    with caplog.at_level(logging.WARNING, LOG):
        asyncio.run(scene())
    [record] = caplog.records
    assert FILE_NAME in record.getMessage() and "it is ignored" in record.getMessage()


def test_a_directory_that_cannot_be_used_is_a_problem_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("runtime.state_writer.RETRY_INTERVAL", 0.02)
    (tmp_path / "state").write_text("a file, where a directory should be")

    async def scene() -> None:
        async with bench(tmp_path / "state") as only:
            assert only.keeper.complete
            only.publish("hv1", 1)
            [problem] = only.keeper.problems()
            assert "state directory" in problem.what and problem.why and "[state] directory" in problem.hint
            (tmp_path / "state").unlink()
            await until(lambda: kept(tmp_path / "state") == {"hv1": 1}, "the record")
            await until(lambda: only.keeper.problems() == [], "the end of the problem")

    with caplog.at_level(logging.WARNING, LOG):
        asyncio.run(scene())
    assert len(caplog.records) == 1


def test_a_disk_that_fails_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with bench(tmp_path) as only:

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr("runtime.state_file.replace_file", fail)
            only.publish("hv1", 1)
            await until(lambda: only.keeper.problems() != [], "the problem")
            [problem] = only.keeper.problems()
            assert "No space left" in problem.why and "free space" in problem.hint

    asyncio.run(scene())


def test_two_gateways_do_not_share_a_record(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bench(tmp_path) as one, bench(tmp_path) as two:
            assert one.keeper.problems() == []
            [problem] = two.keeper.problems()
            assert "another daemon" in problem.why
            one.publish("hv1", 1)
            two.publish("hv2", 2)
        assert kept(tmp_path) == {"hv1": 1}

    asyncio.run(scene())


def test_a_gateway_without_bgp_leaves_the_directory_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        async with bench(tmp_path / "state", start=False) as only:
            only.publish("hv1", 1)
        assert not (tmp_path / "state").exists()

    asyncio.run(scene())


def test_bgp_that_begins_while_we_run_waits_for_nobody_and_records_all(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(encode({"gone": 7}))

    async def scene() -> None:
        async with bench(tmp_path, start=False) as only:
            only.publish("hv1", 1)
            only.keeper.start()
            assert only.keeper.complete
            await until(lambda: kept(tmp_path) == {"hv1": 1}, "the record")
            # Another reload changes nothing.
            only.keeper.start()

    asyncio.run(scene())


def test_without_a_file_nobody_is_waited_for() -> None:
    async def scene() -> None:
        async with bench(None) as only:
            only.publish("hv1", 1)
            assert only.keeper.complete and only.keeper.problems() == []

    asyncio.run(scene())


def test_a_few_hosts_are_named(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(encode({f"hv{number}": 1 for number in range(NAMED + 1)}))

    async def scene() -> None:
        async with bench(tmp_path) as only:
            said = only.keeper.waiting_for()
            assert len(said) == NAMED + 1 and said[-1] == "1 more host"

    asyncio.run(scene())


def test_the_directory_is_held_until_the_end(tmp_path: Path) -> None:
    file = RosterFile(tmp_path)
    assert file.read() is None
    with pytest.raises(OperatorError):
        lock_directory(tmp_path, "gateway.lock")
    file.close()
    file.close()
    again = RosterFile(tmp_path)
    again.write({"hv1": 1})
    assert again.read() == {"hv1": 1}
    again.close()


def test_a_record_that_cannot_be_read_is_an_operators_error(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    file = RosterFile(tmp_path)
    with pytest.raises(OperatorError) as caught:
        file.read()
    assert caught.value.hint
    file.close()
