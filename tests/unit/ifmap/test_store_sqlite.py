"""The map's store in a file: what is kept, what a damaged, foreign or busy file leads to."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from ifmap.delta import Change
from ifmap.journal import Record
from ifmap.namespaces import STANDARD_METADATA
from ifmap.server import schema
from ifmap.server.sqlite import SqliteStore
from ifmap.server.store import StoreError, open_store
from ifmap.values import MetadataName
from runtime.errors import ExitCode, OperatorError
from tests.unit.ifmap.store_values import BINDING, LINK, NODE, contents, first, metadata, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "map.db"


def stored(path: Path, *batches: list[Record]) -> None:
    """Commit the batches, and close."""
    store = SqliteStore(str(path))
    for batch in batches:
        store.commit(batch)
    store.close()


def test_an_empty_store() -> None:
    with pytest.raises(OperatorError, match="names no file"):
        SqliteStore("")


def test_forever_metadata_types_and_publishers_are_kept(path: Path) -> None:
    other = MetadataName("", "other")
    second = record(Change(NODE, (metadata(7, name=other),)), types=((other, True),))
    stored(path, [first(), second])
    store = SqliteStore(str(path))
    loaded = store.load()
    store.close()
    assert contents(loaded.rows) == contents([(LINK, metadata(1)), (NODE, metadata(7, name=other))])
    assert loaded.cardinality == {BINDING: True, other: True}
    assert loaded.publishers == {"cli": "cli-1"}
    assert (loaded.next_key, loaded.sessions, loaded.abandoned) == (8, {}, ())


def test_standard_types_come_back_though_no_record_ever_begins_them(path: Path) -> None:
    names = [MetadataName(STANDARD_METADATA, local) for local in ("ip-mac", "access-request-ip")]
    stored(path, [record(Change(NODE, tuple(metadata(key, name=name) for key, name in enumerate(names, 1))))])
    store = SqliteStore(str(path))
    loaded = store.load()
    store.close()
    assert [(one.name.local, one.single) for _, one in loaded.rows] == [("ip-mac", False), ("access-request-ip", True)]
    assert loaded.cardinality == {}


def test_a_new_store_is_empty(path: Path) -> None:
    store = SqliteStore(str(path))
    loaded = store.load()
    store.close()
    assert (loaded.rows, loaded.cardinality, loaded.publishers, loaded.next_key) == ([], {}, {}, 1)


def test_what_goes_is_gone(path: Path) -> None:
    replaced = record(Change(LINK, (metadata(3),), replaced=(metadata(1),), removed=(metadata(2, session="s1"),)))
    deleted = record(Change(LINK, removed=(metadata(3),)))
    stored(path, [first()], [replaced])
    store = SqliteStore(str(path))
    assert contents(store.load().rows) == contents([(LINK, metadata(3))])
    store.commit([deleted])
    assert store.load().rows == []
    store.close()


def test_what_a_batch_adds_and_removes_is_never_written(path: Path) -> None:
    come = record(Change(LINK, (metadata(4),)))
    go = record(Change(LINK, (metadata(5),), replaced=(metadata(4),)))
    stored(path, [first(), come, go])
    store = SqliteStore(str(path))
    assert [one.key for _, one in store.load().rows] == [1, 5]
    store.close()


def test_a_batch_is_kept_wholly_or_not_at_all(path: Path) -> None:
    store = SqliteStore(str(path))
    store.commit([first()])
    with pytest.raises(StoreError, match="UNIQUE"):
        store.commit([record(Change(NODE, (metadata(8),))), record(Change(NODE, (metadata(1),)))])
    assert [one.key for _, one in store.load().rows] == [1]
    store.commit([record(Change(NODE, (metadata(9),)))])
    assert [one.key for _, one in store.load().rows] == [1, 9]
    store.close()


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    store = SqliteStore(str(path))
    with store._connection.begin():
        pragmas = [
            store._connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    store.close()
    assert pragmas == ["wal", 2]


def test_equal_identifiers_and_names_are_one_object(path: Path) -> None:
    stored(path, [first(), record(Change(LINK, (metadata(3),)))])
    store = SqliteStore(str(path))
    (one, other) = store.load().rows
    store.close()
    assert one[0].first is other[0].first and one[0].second is other[0].second
    assert one[1].name is other[1].name and one[1].publisher is other[1].publisher


def test_nobody_else_can_read_the_file(path: Path) -> None:
    store = SqliteStore(str(path))
    store.commit([first()])
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
    store.close()
    assert set(modes.values()) == {0o600}, modes


def test_a_file_has_one_server(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(str(path))
    (tmp_path / "alias.db").symlink_to(path)
    for name in ("map.db", "alias.db"):
        with pytest.raises(
            OperatorError, match=rf"another vrfwire-map is using it \(process {os.getpid()}\)"
        ) as caught:
            SqliteStore(str(tmp_path / name))
        assert caught.value.code == ExitCode.CONFLICT
    store.close()
    SqliteStore(str(path)).close()


def test_others_may_read_while_it_is_open(path: Path) -> None:
    """For a backup."""
    store = SqliteStore(str(path))
    store.commit([first()])
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT count(*) FROM map_metadata").fetchone() == (1,)
        store.commit([record(Change(NODE, (metadata(9),)))])
    other.close()
    store.close()


def test_a_full_disk_fails_commits_until_there_is_room(path: Path) -> None:
    store = SqliteStore(str(path))
    store.commit([first()])

    def limit(pages: int) -> None:
        with store._connection.begin():
            store._connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    limit(1)  # which SQLite takes as: what there is
    big = metadata(5)
    big.xml = b"x" * 100_000
    for _ in range(2):
        with pytest.raises(StoreError, match="full"):
            store.commit([record(Change(NODE, (big,)))])
    assert [one.key for _, one in store.load().rows] == [1]
    limit(1_000_000)
    store.check()
    store.commit([record(Change(NODE, (big,)))])
    assert [one.key for _, one in store.load().rows] == [1, 5]
    store.close()


def test_a_check_writes(path: Path) -> None:
    """SQLite writes nothing for a row that stays as it is; a check has to find out whether it could."""
    store = SqliteStore(str(path))
    log = path.with_name("map.db-wal")
    before = log.stat().st_size
    store.check()
    assert log.stat().st_size > before
    assert store.load().rows == []
    store.close()
    SqliteStore(str(path)).close()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def no_database(path: Path) -> None:
    overwrite(path, 0, b"this is not a database at all, but a letter")


def torn_pages(path: Path) -> None:
    size = path.stat().st_size
    overwrite(path, 4096, os.urandom(size - 4096))


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


@pytest.mark.parametrize("damage", [no_database, torn_pages, cut_short])
def test_a_damaged_file_is_refused_with_what_to_do(path: Path, damage: Callable[[Path], None]) -> None:
    stored(path, [first()], [record(Change(NODE, tuple(metadata(key) for key in range(10, 400))))])
    damage(path)
    before = path.read_bytes()
    with pytest.raises(OperatorError) as caught:
        store = SqliteStore(str(path))
        try:
            store.load()
        finally:
            store.close()
    assert caught.value.what == f"store {path}" and "restore a backup" in caught.value.hint, str(caught.value)
    assert path.read_bytes() == before
    with pytest.raises(OperatorError):  # and not because it was still locked
        SqliteStore(str(path))


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE map_metadata SET first = 'nonsense'", "not an identifier"),
        ("UPDATE map_metadata SET type = 'binding'", "isn't {namespace}local"),
        ("UPDATE map_metadata SET xml = 5", "isn't bytes"),
        ("DELETE FROM map_type", "isn't among the types"),
        ("DELETE FROM map_schema", "one version"),
        ("UPDATE map_schema SET version = 'x'", "one version"),
        ("DROP TABLE map_publisher", "map_publisher"),
    ],
)
def test_rows_that_nobody_wrote_are_refused(path: Path, statement: str, why: str) -> None:
    stored(path, [first()])
    tamper(path, statement)
    with pytest.raises(OperatorError, match=why):
        store = SqliteStore(str(path))
        try:
            store.load()
        finally:
            store.close()


def tamper(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_another_programs_database_is_left_alone(path: Path) -> None:
    tamper(path, "CREATE TABLE recipe (name TEXT)")
    with pytest.raises(OperatorError, match="is no map, but holds the table recipe"):
        SqliteStore(str(path))
    with sqlite3.connect(path) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    connection.close()
    assert tables == [("recipe",)]


def test_a_newer_version_is_refused(path: Path) -> None:
    stored(path, [first()])
    tamper(path, "UPDATE map_schema SET version = 99")
    with pytest.raises(OperatorError, match=r"newer vrfwire-map \(schema 99; this one knows 1\)") as caught:
        SqliteStore(str(path))
    assert caught.value.code == ExitCode.CONFLICT


def test_an_older_version_is_brought_up_by_the_steps_it_lacks(path: Path) -> None:
    stored(path, [first()])
    done: list[str] = []

    def second(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE map_publisher ADD COLUMN note TEXT")
        done.append("1 to 2")

    def third(connection: sa.Connection) -> None:
        done.append("2 to 3")

    def prepare(*steps: schema.Step) -> list[int]:
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        with engine.begin() as connection:
            schema.prepare(connection, "it", steps)
            return list(connection.execute(sa.select(schema.VERSION.c.version)).scalars())

    assert prepare(second) == [2]
    assert prepare(second, third) == [3]
    assert prepare(second, third) == [3]
    assert done == ["1 to 2", "2 to 3"]
    with pytest.raises(OperatorError, match="newer"):
        prepare(second)


def test_a_step_that_fails_leaves_the_old_version(path: Path) -> None:
    stored(path, [first()])

    def bad(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE map_publisher ADD COLUMN note TEXT")
        raise OperatorError("it", "no")

    store = SqliteStore(str(path))
    with pytest.raises(OperatorError, match="no"), store._connection.begin():
        schema.prepare(store._connection, "it", [bad])
    store.close()
    store = SqliteStore(str(path))
    assert [one.key for _, one in store.load().rows] == [1]
    store.close()


def test_the_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="No such file") as caught:
        SqliteStore(str(tmp_path / "missing" / "map.db"))
    assert "directory" in caught.value.hint


def test_a_url_names_the_file(path: Path) -> None:
    store = open_store(f"sqlite:///{path}")
    assert not store.shared and store.what == f"store {path}"
    store.close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "isn't a URL"),
        ("/var/lib/map.db", "isn't a URL"),
        ("mysql://map:hunter2@db/map", "type mysql"),
        ("postgresql://map:hunter2@db:port/map", "isn't a URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why) as caught:
        open_store(url)
    assert caught.value.hint
    assert "hunter2" not in str(caught.value) + caught.value.hint
