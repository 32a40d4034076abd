"""The map server and its database: full, damaged, newer or taken; two daemons on one PostgreSQL."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.pki import Authority
from runtime.errors import ExitCode
from tests.scenario.daemon_process import wait_for
from tests.scenario.map_process import MapProcess, client
from tests.scenario.postgres import PASSWORD, URL_PASSWORD, Postgres
from tests.scenario.raw_map import Refused, User, context, device, single, update

Make = Callable[..., MapProcess]
Login = Callable[[MapProcess, str], User]


@pytest.fixture
def make(tmp_path: Path, authority: Authority) -> Iterator[Make]:
    """Makes servers; those that run at the end are killed."""
    made: list[MapProcess] = []

    def process(url: str = f"sqlite:///{tmp_path / 'map.db'}", name: str = "one", lease: float = 15.0) -> MapProcess:
        directory, clients = tmp_path / f"server{len(made)}", client("a") + client("b")
        one = MapProcess(directory, authority, clients, name=name, url=url, lease=lease)
        made.append(one)
        return one

    yield process
    for one in made:
        one.kill()
        assert "Traceback" not in one.text(), one.text()


@pytest.fixture
def login(authority: Authority) -> Iterator[Login]:
    """Makes sessions, and closes their connections after the test."""
    made: list[User] = []

    def user(server: MapProcess, name: str) -> User:
        made.append(User(server.port, context(str(authority.certificate)), name))
        return made[-1]

    yield user
    for one in made:
        one.close()


def linked(one: str, other: str, text: str, lifetime: str = "forever") -> str:
    """An <update> of the one value on the link of two devices."""
    return update(device(one) + device(other), single(text), lifetime)


def room(server: MapProcess, octets: int) -> None:
    """What any file of a process may have from now on: as if the disk were full, or not."""
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (octets, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_what_it_cannot_keep_until_there_is_room(make: Make, login: Login) -> None:
    server = make()
    server.start()
    one, other = login(server, "a"), login(server, "b")
    own = update(device("d"), single("1", "own"))
    other.publish(own)
    one.publish(linked("d", "d0", "before"))
    room(server, 1)
    for number in (1, 2):
        with pytest.raises(Refused, match="SystemError"):
            one.publish(linked("d", f"d{number}", "x" * 50_000))
    # It serves on: reads, sessions, and all that needs no disk.
    assert other.values("d") == ["before"]
    other = login(server, "b")
    other.publish(own)
    problems = wait_for(lambda: server.ask("status")["problems"], "the problem in the status")
    assert "room" in str(problems)
    room(server, resource.RLIM_INFINITY)
    wait_for(lambda: not server.ask("status")["problems"], "the end of the problem, without a publish")
    one.publish(linked("d", "d3", "after"))
    server.kill()
    server.start()
    again = login(server, "a")
    kept = again.values("d")
    assert sorted(kept) == ["after", "before"]


def test_a_second_server_on_the_file_is_refused(make: Make, login: Login) -> None:
    server = make()
    server.start()
    status, text = make(name="two").refuse()
    assert status == ExitCode.CONFLICT
    assert f"another vrfwire-map is using it (process {server.pid})" in text and "hint: " in text
    one = login(server, "a")
    one.publish(update(device("d"), single("")))


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


def test_two_daemons_share_a_postgresql(make: Make, login: Login, postgres: Postgres) -> None:
    one, two = make(postgres.url, "one", lease=1.0), make(postgres.url, "two", lease=1.0)
    one.start()
    two.start()
    first, second = login(one, "a"), login(two, "b")
    second.follow("d")
    first.publish(linked("d", "d1", "of the session", "session") + linked("d", "d2", "for ever"))
    told = second.poll().text
    assert "<updateResult" in told and ">of the session<" in told and ">for ever<" in told
    second.publish(linked("d", "d2", "replaced by b"))
    wait_for(lambda: "replaced by b" in first.values("d"), "the replacement")
    assert "<updateResult" in second.poll().text

    one.kill()
    told = second.poll().text
    assert "<deleteResult" in told and ">of the session<" in told
    assert second.values("d") == ["replaced by b"]
    one.start()
    again = login(one, "a")
    assert again.publisher == first.publisher
    assert again.values("d") == ["replaced by b"]

    two.signal(signal.SIGSTOP)
    wait_for(lambda: _names(postgres) == ["one"], "the removal of the one that hangs")
    again.publish(linked("d", "d3", "meanwhile"))
    two.signal(signal.SIGCONT)
    wait_for(lambda: _names(postgres) == ["one", "two"], "its return")
    with pytest.raises(Refused, match="InvalidSessionID"):
        second.publish(linked("d", "d4", "too late"))
    second = login(two, "b")
    assert sorted(second.values("d")) == ["meanwhile", "replaced by b"]

    postgres.stop()
    with pytest.raises(Refused, match="SystemError"):
        again.publish(linked("d", "d5", "refused"))
    assert sorted(again.values("d")) == ["meanwhile", "replaced by b"]
    assert "PostgreSQL" in str(wait_for(lambda: one.ask("status")["problems"], "the problem in the status"))
    postgres.start()
    wait_for(lambda: not one.ask("status")["problems"] and not two.ask("status")["problems"], "both to recover")
    again.publish(linked("d", "d6", "after"))
    wait_for(lambda: "after" in second.values("d"), "what comes after")
    assert (one.stop(), two.stop()) == (0, 0)
    for text in (one.text(), two.text()):
        assert PASSWORD not in text and URL_PASSWORD not in text
    with postgres.connect() as connection:
        assert connection.execute("SELECT count(*) FROM map_server").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM map_session").fetchone() == (0,)


def _names(postgres: Postgres) -> list[str]:
    with postgres.connect() as connection:
        return [name for (name,) in connection.execute("SELECT name FROM map_server ORDER BY name").fetchall()]
