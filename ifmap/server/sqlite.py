"""The store of one server: a file of SQLite.

The journal is a write-ahead log with synchronous=FULL: a commit is one append and one fsync, and returns when the disk
has it. A crash at any point leaves the commits that returned, and of the one under way all or nothing.

One server holds the file, by a lock on a file beside it that the kernel releases however the server ends. SQLite's own
locks stay as they are, so that `sqlite3 map.db .backup` works while the server runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from ifmap.journal import Record
from ifmap.server import rows
from ifmap.server.schema import METADATA, VERSION, prepare
from ifmap.server.store import Loaded, StoreError, one_line
from runtime.errors import ExitCode, OperatorError

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program (a backup, sqlite3) that holds the file."""

_DAMAGED = "restore a backup, or move the file away to start with an empty map"


class SqliteStore:
    """The file and its lock, held until close()."""

    shared: Literal[False] = False

    def __init__(self, path: str) -> None:
        """Open the file, making it if there is none.

        Raises OperatorError: it can't be used, another server has it, it is damaged, of a newer version or no map.
        """
        if not path or path == ":memory:":
            raise OperatorError("store.url", "it names no file", "use sqlite:////DIRECTORY/map.db")
        # One file has one lock, by whatever links it is reached.
        self.path = Path(os.path.realpath(path))
        self._lock = self._take()
        try:
            self._engine = _engine(self.path)
            self._connection = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    @property
    def what(self) -> str:
        """The file, for messages."""
        return f"store {self.path}"

    def load(self) -> Loaded:
        """The stored map. Raises OperatorError: it is damaged."""
        with self._reading(), self._connection.begin():
            newest = self._connection.execute(sa.select(sa.func.max(METADATA.c.key))).scalar()
            return Loaded(
                rows=rows.read(self._connection),
                cardinality=rows.cardinality(self._connection),
                publishers=rows.publishers(self._connection),
                next_key=(newest or 0) + 1,
            )

    def commit(self, records: Sequence[Record]) -> None:
        """One transaction. Raises StoreError: no room, no permission, a damaged file or disk."""
        with self._writing():
            rows.write(self._connection, records, sessions=False)

    def check(self) -> None:
        """Write a row and take it back: writing what is there already would write nothing. Raises StoreError."""
        with self._writing():
            self._connection.execute(VERSION.insert(), {"version": 0})
            self._connection.execute(VERSION.delete().where(VERSION.c.version == 0))

    def close(self) -> None:
        """Close the file, which empties the write-ahead log into it, then let others have it."""
        self._connection.close()
        self._engine.dispose()
        os.close(self._lock)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection.begin():
                yield
        except sa.exc.SQLAlchemyError as error:
            raise StoreError(one_line(error)) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            raise OperatorError(self.what, one_line(error), _hint(error)) from error
        except ValueError as error:
            raise OperatorError(self.what, str(error), _DAMAGED) from error

    def _open(self) -> sa.Connection:
        with self._reading():
            connection = self._engine.connect()
            try:
                with connection.begin():
                    self._examine(connection)
                    prepare(connection, self.what)
            except BaseException:
                connection.close()
                raise
        # The file itself is durable when its directory is.
        _sync_directory(self.path.parent)
        return connection

    def _examine(self, connection: sa.Connection) -> None:
        """Refuse what is damaged, or isn't ours. Raises OperatorError."""
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise OperatorError(self.what, f"the database is damaged: {found}", _DAMAGED)
        tables = sa.inspect(connection).get_table_names()
        if tables and VERSION.name not in tables:
            raise OperatorError(
                self.what, f"it is no map, but holds the table {tables[0]}", "give [store] url another file"
            )

    def _take(self) -> int:
        lock_path = self.path.with_name(self.path.name + ".lock")
        try:
            lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(
                self.what, f"{lock_path}: {error.strerror or error}", "see [store] url; the directory has to be there"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise OperatorError(
                self.what,
                f"another vrfwire-map is using it (process {owner or 'unknown'})",
                "stop that one first; several servers can share a PostgreSQL, not a file",
                ExitCode.CONFLICT,
            ) from None
        # Best effort, for the message above: a full disk doesn't keep a server from reading its map.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return lock


def _engine(path: Path) -> sa.Engine:
    """One connection, with transactions begun by ourselves: the driver's own way would begin them late."""
    # Made here, since SQLite would make it readable for all; its log gets the file's permissions.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise OperatorError(f"store {path}", error.strerror or str(error), "see [store] url") from error
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT},
    )

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cell_size_check=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _hint(error: sa.exc.DatabaseError) -> str:
    """What to do about an error at the start: damage is one thing, a full disk or a busy file are others."""
    if isinstance(error, sa.exc.OperationalError):
        return "see that the directory and the file can be written, and that there is room"
    return _DAMAGED


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
