"""The map server and its database: full, damaged, newer or taken; two daemons on one PostgreSQL."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.pki import Authority
from runtime.errors import ExitCode
from tests.scenario.gateway_process import wait_for
from tests.scenario.map_server_process import Refused, ServerProcess, update
from tests.scenario.postgres import PASSWORD, URL_PASSWORD, Postgres

Make = Callable[..., ServerProcess]


@pytest.fixture
def make(tmp_path: Path, authority: Authority) -> Iterator[Make]:
    """Makes servers; those that run at the end are killed."""
    made: list[ServerProcess] = []

    def process(url: str = f"sqlite:///{tmp_path / 'map.db'}", name: str = "one", **options: Any) -> ServerProcess:
        one = ServerProcess(tmp_path / f"server{len(made)}", authority, url, ["a", "b"], name=name, **options)
        made.append(one)
        return one

    yield process
    for one in made:
        one.kill()
        assert "Traceback" not in one.text(), one.text()


def room(server: ServerProcess, octets: int) -> None:
    """What any file of a process may have from now on: as if the disk were full, or not."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_what_it_cannot_keep_until_there_is_room(make: Make) -> None:
    server = make()
    server.start()
    client, other = server.connect("a"), server.connect("b")
    own = update("d", local="own", text="1", lifetime="session")
    other.publish(own)
    client.publish(update("d", "d0", local="big", text="before"))
    room(server, 1)
    for number in (1, 2):
        with pytest.raises(Refused, match="SystemError"):
            client.publish(update("d", f"d{number}", local="big", text="x" * 50_000))
    # It serves on: reads, sessions, and all that needs no disk.
    assert other.values("d", "big") == ["before"]
    other = server.connect("b")
    other.publish(own)
    problems = wait_for(lambda: server.status()["problems"], "the problem in the status")
    assert "room" in str(problems)
    room(server, resource.RLIM_INFINITY)
    wait_for(lambda: not server.status()["problems"], "the end of the problem, without a publish")
    client.publish(update("d", "d3", local="big", text="after"))
    server.kill()
    server.start()
    again = server.connect("a")
    kept = again.values("d", "big")
    assert sorted(kept) == ["after", "before"]


def test_a_second_server_on_the_file_is_refused(make: Make) -> None:
    server = make()
    server.start()
    status, text = make(name="two").refuse()
    assert status == ExitCode.CONFLICT
    assert f"another vrfwire-map is using it (process {server.pid})" in text and "hint: " in text
    client = server.connect("a")
    client.publish(update("d"))


def spoil(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database any more")


def age(path: Path, version: int = 77) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE map_schema SET version = ?", (version,))
    connection.close()


@pytest.mark.parametrize(
    ("change", "why", "hint"),
    [(spoil, "not a database", "restore a backup"), (age, "newer vrfwire-map (schema 77", "install that version")],
)
def test_a_database_that_cannot_be_used_is_refused_in_two_lines(
    make: Make, tmp_path: Path, change: Callable[[Path], None], why: str, hint: str
) -> None:
    server = make()
    server.start()
    server.kill()
    path = tmp_path / "map.db"
    age(path, 1)  # which empties the write-ahead log into the file, too
    change(path)
    status, text = make().refuse()
    lines = text.splitlines()
    assert status != 0 and len(lines) == 2, text
    assert lines[0].startswith(f"vrfwire-map: store {path}: ") and why in lines[0]
    assert lines[1].startswith("hint: ") and hint in lines[1]


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    cluster = Postgres()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def test_two_daemons_share_a_postgresql(make: Make, postgres: Postgres) -> None:
    one, two = make(postgres.url, "one", lease=1.5), make(postgres.url, "two", lease=1.5)
    one.start()
    two.start()
    first, second = one.connect("a"), two.connect("b")
    second.subscribe("d")
    first.publish(update("d", "d1", text="of the session", lifetime="session"), update("d", "d2", text="for ever"))
    told = second.poll()
    assert "<updateResult" in told and ">of the session<" in told and ">for ever<" in told
    second.publish(update("d", "d2", text="replaced by b"))
    wait_for(lambda: "replaced by b" in first.values("d", "state"), "the replacement")
    assert "<updateResult" in second.poll()

    one.kill()
    told = second.poll()
    assert "<deleteResult" in told and ">of the session<" in told
    assert second.values("d", "state") == ["replaced by b"]
    one.start()
    again = one.connect("a")
    assert again.publisher == first.publisher
    assert again.values("d", "state") == ["replaced by b"]

    two.signal(signal.SIGSTOP)
    wait_for(lambda: _names(postgres) == ["one"], "the removal of the one that hangs")
    again.publish(update("d", "d3", text="meanwhile"))
    two.signal(signal.SIGCONT)
    wait_for(lambda: _names(postgres) == ["one", "two"], "its return")
    with pytest.raises(Refused, match="InvalidSessionID"):
        second.publish(update("d", "d4", text="too late"))
    second = two.connect("b")
    assert sorted(second.values("d", "state")) == ["meanwhile", "replaced by b"]

    postgres.stop()
    with pytest.raises(Refused, match="SystemError"):
        again.publish(update("d", "d5", text="refused"))
    assert sorted(again.values("d", "state")) == ["meanwhile", "replaced by b"]
    assert "PostgreSQL" in str(wait_for(lambda: one.status()["problems"], "the problem in the status"))
    postgres.start()
    wait_for(lambda: not one.status()["problems"] and not two.status()["problems"], "both to recover")
    again.publish(update("d", "d6", text="after"))
    wait_for(lambda: "after" in second.values("d", "state"), "what comes after")
    assert (one.stop(), two.stop()) == (0, 0)
    for text in (one.text(), two.text()):
        assert PASSWORD not in text and URL_PASSWORD not in text
    with postgres.connect() as connection:
        assert connection.execute("SELECT count(*) FROM map_server").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM map_session").fetchone() == (0,)


def _names(postgres: Postgres) -> list[str]:
    with postgres.connect() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM map_server ORDER BY name").fetchall()]
