"""The state file: what was accepted survives, what can't be trusted stops the start."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from agent.allocate import Owner, Quarantined
from agent.attachment import Attached, Phase, VpnRecord, parse_attach
from agent.drain_state import ACTIVE, DrainPhase, DrainState
from agent.store import FILE_NAME, VERSION, State, Store
from runtime.errors import ExitCode, OperatorError
from tests.scenario.agent_harness import as_written_by

BLUE = VpnRecord("blue", 1, 10000, "vw-blue-aaaaaaa")


def attached(name: str, label: int) -> Attached:
    params: dict[str, object] = {
        "name": name,
        "vpn": "blue",
        "addresses": [f"10.1.1.{label % 250 + 1}", "fd00::1"],
        "prefixes": ["10.9.0.0/16", "fd09::/64"],
        "netns": "/proc/1/ns/net",
    }
    return Attached(parse_attach(params, "hv1"), label)


def test_everything_comes_back(tmp_path: Path) -> None:
    one, two = attached("one", 100000), attached("two", 100001)
    store = Store(tmp_path)
    assert store.load() == State()
    store.attach(one, BLUE)
    store.attach(two)
    store.set_phase("two", Phase.DETACHING)
    store.close()
    store = Store(tmp_path)
    state = store.load()
    assert state.vpns == (BLUE,)
    assert set(state.attachments) == {one, Attached(two.attachment, two.label, Phase.DETACHING)}
    rest = Quarantined(100001, Owner("two", "blue"), 1234.5)
    store.detach("two", rest)
    store.close()
    store = Store(tmp_path)
    assert store.load() == State((BLUE,), (one,), (rest,))
    store.attach(two)
    assert store.load().quarantine == ()
    store.detach("two", rest, expired=[5])
    store.detach("one", Quarantined(100000, Owner("one", "blue"), 1.0), expired=[100001])
    assert [entry.label for entry in store.load().quarantine] == [100000]
    store.close()


def test_what_is_blocked_comes_back(tmp_path: Path) -> None:
    one = attached("one", 100000)
    store = Store(tmp_path)
    store.attach(one, BLUE)
    blocked = frozenset(one.attachment.announced()[1:])
    store.set_blocked("one", blocked)
    store.close()
    store = Store(tmp_path)
    assert store.load().attachments == (replace(one, blocked=blocked),)
    store.set_blocked("one", ())
    assert store.load().attachments == (one,)
    store.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path, version: int) -> None:
    """What orchestration calls an attachment was its name, and nothing was blocked; the rest of a label was by the wall
    clock; no host was drained."""
    one, two = attached("one", 100000), replace(attached("two", 100001), phase=Phase.DETACHING)
    store = Store(tmp_path)
    store.attach(one, BLUE)
    store.attach(two)
    store.detach("gone", Quarantined(100005, Owner("gone", "blue"), 1_700_000_300.0))
    store.close()
    as_written_by(version, tmp_path)
    for clock in (50.0, 80.0):
        store = Store(tmp_path, boot="this", clock=lambda now=clock: now)  # type: ignore[misc]
        state = store.load()
        assert set(state.attachments) == {one, two}, "a detach that was under way goes on"
        assert state.quarantine == (Quarantined(100005, Owner("gone", "blue"), 50.0),), "it rests from the upgrade on"
        assert state.drain == ACTIVE
        store.set_drain(ACTIVE)
        store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_the_drain_comes_back(tmp_path: Path) -> None:
    one = attached("one", 100000)
    for state in (
        DrainState(DrainPhase.DRAINING, 2.5, force=True),
        DrainState(DrainPhase.DRAINED, 2.5, force=True),
        ACTIVE,
    ):
        store = Store(tmp_path)
        if not store.load().attachments:
            store.attach(one, BLUE)
        store.set_drain(state)
        store.close()
        store = Store(tmp_path)
        loaded = store.load()
        assert loaded.drain == state
        assert loaded.attachments == (replace(one, closed=state.phase is DrainPhase.DRAINED),)
        store.close()


def test_a_label_rests_by_the_machines_own_time(tmp_path: Path) -> None:
    """Over restarts of the daemon its rest goes on; over a reboot, which may have taken any time, it begins anew."""
    owner = Owner("gone", "blue")

    def since(boot: str, now: float) -> float:
        store = Store(tmp_path, boot=boot, clock=lambda: now)
        (resting,) = store.load().quarantine
        store.close()
        assert (resting.label, resting.owner) == (100000, owner)
        return resting.since

    store = Store(tmp_path, boot="first", clock=lambda: 5000.0)
    store.detach("gone", Quarantined(100000, owner, 5000.0))
    store.close()
    assert since("first", 5100.0) == 5000.0
    assert since("second", 20.0) == 20.0
    assert since("second", 30.0) == 20.0, "the new beginning is kept"
    # Where the kernel doesn't say which start of the machine it is, any may be another one.
    assert since("", 40.0) == 40.0
    assert since("", 50.0) == 50.0


def test_a_commit_outlives_a_crash(tmp_path: Path) -> None:
    """The process ends without closing anything."""
    pid = os.fork()
    if pid == 0:
        Store(tmp_path).attach(attached("one", 100000), BLUE)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    store = Store(tmp_path)
    assert [entry.name for entry in store.load().attachments] == ["one"]
    store.close()


def test_a_failed_change_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.attach(attached("one", 100000), BLUE)
    with pytest.raises(OperatorError):
        store.attach(attached("one", 100001), VpnRecord("red", 2, 10001, "vw-red"))
    assert store.load().vpns == (BLUE,)
    store.close()


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(OperatorError) as caught:
        Store(tmp_path)
    assert caught.value.code is ExitCode.CONFLICT
    assert "another daemon" in caught.value.why
    store.close()
    Store(tmp_path).close()


@pytest.mark.parametrize("content", [b"no database at all" * 300, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_damaged_file_stops_the_start_and_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(OperatorError) as caught:
        Store(tmp_path).load()
    assert str(path) in caught.value.what
    assert "damaged" in caught.value.why
    assert "put back a good copy" in caught.value.hint
    assert path.read_bytes() == content


def test_damage_in_the_middle_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.attach(attached("one", 100000), BLUE)
    store.close()
    path = tmp_path / FILE_NAME
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(OperatorError, match="damaged"):
        Store(tmp_path).load()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE attachment SET mac = 'nonsense'", "damaged"),
        ("UPDATE attachment SET label = 3", "damaged"),
        ("UPDATE attachment SET phase = 'flying'", "damaged"),
        ("UPDATE attachment SET addresses = '10.1.1.300'", "damaged"),
        ("DELETE FROM vpn", "in no known VPN"),
        ("INSERT INTO drain VALUES (1, 'half', 5.0, 0)", "damaged"),
        ("PRAGMA user_version = 99", "newer vrfwire"),
        ("PRAGMA application_id = 1", "another program"),
    ],
)
def test_what_no_version_of_ours_wrote_is_refused(tmp_path: Path, change: str, why: str) -> None:
    store = Store(tmp_path)
    store.attach(attached("one", 100000), BLUE)
    store.close()
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.execute(change)
    database.commit()
    database.close()
    with pytest.raises(OperatorError, match=why) as caught:
        store = Store(tmp_path)
        try:
            store.load()
        finally:
            store.close()
    assert caught.value.hint


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperatorError, match="state directory"):
        Store(tmp_path / "file" / "state")
