"""The store that several servers share: a PostgreSQL.

A change of the map is a transaction: advisory lock - what others have logged since - the change, its rows and a line of
the log each - NOTIFY - commit. So servers plan and commit one after the other, each on the graph that the one before
has left, and every server sees all changes in the same order. The database has session metadata, too, and who lives:

    map_server   a server's row; it renews its lease there. Others remove the row of one that hasn't renewed for so long
    map_session  sessions, by server. Those without a server are ended by whichever server sees them first

A server without its row can't commit (it looks under the lock), and has to end all its sessions and load the map again:
so the metadata of sessions that others have ended can't come back. One that was away, but that nobody has removed, goes
on where it was.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import sqlalchemy as sa

from ifmap.delta import NOTHING
from ifmap.journal import Record
from ifmap.server import rows
from ifmap.server.database import CHANNEL, LEFT, LOCK_CLASS, Database
from ifmap.server.replay import LogEntry, record_to_text
from ifmap.server.schema import LOG, METADATA, SERVER, SESSION, prepare
from ifmap.server.store import LoadAgain, Loaded, StoreError, one_line
from runtime.errors import ExitCode, OperatorError

NAME_PATIENCE = 5.0
"""Seconds that a server waits for its predecessor of the same name to be gone."""
PAGE = 500
"""Lines of the log that are read at a time."""

_NOW = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
_COMMIT_LOCK = sa.select(sa.func.pg_advisory_xact_lock(LOCK_CLASS, sa.func.hashtext(sa.func.current_schema())))
_NAME_LOCK = sa.select(
    sa.func.pg_try_advisory_lock(
        LOCK_CLASS, sa.func.hashtext(sa.func.concat(sa.func.current_schema(), "/", sa.bindparam("name", type_=sa.Text)))
    )
)
_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("payload", type_=sa.Text)))
_REGISTERED = sa.select(SERVER.c.id).where(SERVER.c.id == sa.bindparam("me", type_=sa.BigInteger)).scalar_subquery()
_ENTRIES = (
    sa.select(LOG.c.sequence, LOG.c.token, LOG.c.last_key, LOG.c.record, _REGISTERED.label("registered"))
    .where(LOG.c.sequence >= sa.bindparam("seen"))
    .order_by(LOG.c.sequence)
)
_PRUNE = LOG.delete().where(LOG.c.sequence < sa.select(sa.func.min(SERVER.c.seen)).scalar_subquery())
_ABANDONED = sa.select(SESSION.c.session_id).where(SESSION.c.server.not_in(sa.select(SERVER.c.id)))
_ENDED = SESSION.delete().where(SESSION.c.session_id == sa.bindparam("ended"))

_REMOVED = "the other servers have taken this one for dead, and end its sessions"


class PostgresStore:
    """One server's part in the shared store. Methods block; interrupt() alone may be called meanwhile, by others."""

    shared: Literal[True] = True

    def __init__(self, url: sa.URL, name: str, lease: float) -> None:
        """name: of this server, its own among all. lease: seconds, the same at all. Connects in load()."""
        self.name = name
        self.lease = lease
        self.id = 0
        """Of this server's row; another after each load()."""
        try:
            self.database = Database(url, f"vrfwire-map {name}", lease)
        except sa.exc.ArgumentError as error:
            raise OperatorError("store.url", one_line(error)) from None
        self._connection: sa.Connection | None = None
        self._socket: socket.socket | None = None
        self._transaction: sa.RootTransaction | None = None
        self._in_touch_since = 0.0
        self._seen = 0
        self._token = ""
        self._last_key = 0

    @property
    def what(self) -> str:
        """The database, for messages."""
        return self.database.what

    @property
    def connected(self) -> bool:
        """Whether there was a connection when it was last used."""
        return self._connection is not None

    # -- coming and going

    def load(self) -> Loaded:
        """Join the servers that share the map, as a new one, and read it.

        Raises OperatorError: the database can't be reached or used, or another server has this one's name.
        """
        self._disconnect()
        try:
            connection = self._connect()
            encoding = connection.execute(sa.text("SHOW server_encoding")).scalar()
            if encoding != "UTF8":
                raise self.database.refuse(
                    f"its encoding is {encoding}", "createdb --encoding UTF8 --template template0"
                )
            self._take_name(connection)
            with connection.begin():
                connection.execute(_COMMIT_LOCK)
                prepare(connection, self.what)
                self._join(connection)
                loaded = self._read(connection)
        except sa.exc.SQLAlchemyError as error:
            self._disconnect()
            raise self.database.refuse(one_line(error)) from None
        except ValueError as error:
            self._disconnect()
            raise self.database.refuse(str(error), "restore a backup") from None
        except BaseException:
            self._disconnect()
            raise
        return loaded

    def reconnect(self) -> None:
        """Connect again after the connection was lost. Raises StoreError."""
        self._disconnect()
        with self._errors():
            connection = self._connect()
            # If it isn't free, then PostgreSQL still has our former connection; or another has come in our place, and
            # removed our row.
            connection.execute(_NAME_LOCK, {"name": self.name})
            connection.commit()

    def leave(self) -> None:
        """Orderly end: the others needn't wait for the lease to end this one's sessions. Raises StoreError."""
        with self._guard() as connection, connection.begin():
            connection.execute(SERVER.delete().where(SERVER.c.id == self.id))
            connection.execute(_NOTIFY, {"payload": LEFT})

    def close(self) -> None:
        """Let go of the database."""
        self._disconnect()
        self.database.engine.dispose()

    def interrupt(self) -> None:
        """Break the connection that a method waits on in another thread: it raises StoreError."""
        if (connection := self._socket) is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # -- changes

    def begin(self) -> list[LogEntry]:
        """Begin the transaction of a change: nobody else commits until commit() or rollback(). What the others have
        logged since it was last asked for, to be replayed before the change is planned.

        Raises LoadAgain, StoreError.
        """
        with self._guard() as connection:
            self._transaction = connection.begin()
            connection.execute(_COMMIT_LOCK)
            return self._entries(connection, None)

    def commit(self, records: Sequence[Record]) -> None:
        """Keep all of them or none, in the transaction that begin() began; returns when that is durable.

        Raises StoreError. If the connection broke meanwhile, the records may have been committed all the same: then
        they are in what is to be replayed next.
        """
        with self._guard() as connection:
            assert self._transaction is not None, "commit without begin"
            rows.write(connection, records, sessions=True)
            self._write_sessions(connection, records)
            last_key = max(self._last_key, rows.greatest_key(records))
            lines = [_line(self._seen + number, last_key, record) for number, record in enumerate(records, 1)]
            connection.execute(LOG.insert(), lines)
            connection.execute(_NOTIFY, {"payload": str(self.id)})
            self._transaction.commit()
            self._transaction = None
            self._seen, self._token, self._last_key = self._seen + len(lines), str(lines[-1]["token"]), last_key

    def rollback(self) -> None:
        """End the transaction that begin() began without a change."""
        with self._guard():
            if self._transaction is not None:
                self._transaction.rollback()
                self._transaction = None

    def read(self) -> list[LogEntry]:
        """What others have logged, at most PAGE lines. Raises LoadAgain, StoreError."""
        with self._guard() as connection, connection.begin():
            return self._entries(connection, PAGE)

    def renew(self) -> tuple[str, ...]:
        """Renew the lease, remove servers that haven't renewed theirs, and prune the log. To be called about three
        times a lease. Returns sessions whose server is gone, which are to be ended by a record.

        Raises LoadAgain: others have removed this server. StoreError.
        """
        with self._guard() as connection:
            with connection.begin():
                mine = SERVER.update().where(SERVER.c.id == self.id)
                if connection.execute(mine.values(lease_until=_NOW + self.lease, seen=self._seen)).rowcount != 1:
                    raise LoadAgain(_REMOVED)
            with connection.begin():
                # After PostgreSQL was away, all leases are over: everybody gets the time to come back.
                if time.monotonic() - self._in_touch_since > self.lease:
                    self._remove_dead(connection)
                connection.execute(_PRUNE)
                return tuple(connection.execute(_ABANDONED).scalars())

    # -- inside

    def _connect(self) -> sa.Connection:
        connection = self._connection = self.database.engine.connect()
        # A descriptor of our own, which stays the same connection's whatever becomes of libpq's.
        descriptor = connection.connection.driver_connection.pgconn.socket  # type: ignore[union-attr]
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._in_touch_since = time.monotonic()
        return connection

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
        connection, self._connection, self._transaction, self._socket = self._connection, None, None, None
        if connection is not None:
            # It may be broken in any way; all that is wanted is that it's gone.
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[sa.Connection]:
        """The connection, its errors made StoreError."""
        if self._connection is None:
            raise StoreError("there is no connection")
        with self._errors():
            yield self._connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the database become StoreError; after one there is no transaction, and maybe no connection."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            self._abort()
            raise StoreError(self.database.without_secrets(one_line(error))) from None
        except StoreError:
            self._abort()
            raise

    def _abort(self) -> None:
        transaction, self._transaction = self._transaction, None
        try:
            if transaction is not None:
                transaction.rollback()
            if self._connection is not None and self._connection.invalidated:
                self._disconnect()
        except sa.exc.SQLAlchemyError:
            self._disconnect()

    def _take_name(self, connection: sa.Connection) -> None:
        """A lock that ends with the connection: two servers of one name would push each other out for ever."""
        end = time.monotonic() + NAME_PATIENCE
        while True:
            taken = connection.execute(_NAME_LOCK, {"name": self.name}).scalar()
            connection.commit()
            if taken:
                return
            if time.monotonic() > end:
                raise OperatorError(
                    self.what,
                    f"another server named {self.name} uses it",
                    "give each server that shares a database a [map] name of its own",
                    ExitCode.CONFLICT,
                )
            time.sleep(0.05)

    def _join(self, connection: sa.Connection) -> None:
        """A row for this server; sessions of its predecessor are without a server from now on."""
        connection.execute(SERVER.delete().where(sa.or_(SERVER.c.name == self.name, SERVER.c.id == self.id)))
        newest = sa.select(LOG.c.sequence, LOG.c.token, LOG.c.last_key).order_by(LOG.c.sequence.desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        if last is None:
            # There is always a last line, for others to find where they were.
            greatest = connection.execute(sa.select(sa.func.max(METADATA.c.key))).scalar()
            connection.execute(LOG.insert(), _line(1, greatest or 0, Record(NOTHING, "", 0.0)))
            last = connection.execute(newest).one()
        self._seen, self._token, self._last_key = last
        self.id = secrets.randbits(62)
        connection.execute(
            SERVER.insert().values(id=self.id, name=self.name, lease_until=_NOW + self.lease, seen=self._seen)
        )

    def _read(self, connection: sa.Connection) -> Loaded:
        sessions = connection.execute(
            sa.select(SESSION.c.client, SESSION.c.session_id).where(SESSION.c.server.in_(sa.select(SERVER.c.id)))
        )
        return Loaded(
            rows=rows.read(connection),
            cardinality=rows.cardinality(connection),
            publishers=rows.publishers(connection),
            next_key=self._last_key + 1,
            sessions={row.client: row.session_id for row in sessions},
            abandoned=tuple(connection.execute(_ABANDONED).scalars()),
        )

    def _entries(self, connection: sa.Connection, limit: int | None) -> list[LogEntry]:
        """Lines after the one that was read last, which has to be there still, and the same."""
        query = _ENTRIES if limit is None else _ENTRIES.limit(limit + 1)
        found = connection.execute(query, {"me": self.id, "seen": self._seen}).all()
        if not found or found[0].registered is None:
            raise LoadAgain(_REMOVED)
        if found[0].sequence != self._seen or found[0].token != self._token:
            raise LoadAgain("the database's log isn't the one that this server has followed")
        self._seen, self._token, self._last_key = found[-1].sequence, found[-1].token, found[-1].last_key
        return [LogEntry(row.sequence, row.record) for row in found[1:]]

    def _write_sessions(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """In the records' order: a session may begin and end in one batch."""
        for record in records:
            if record.ended:
                connection.execute(_ENDED, [{"ended": session} for session in record.ended])
            if record.began is not None:
                connection.execute(SESSION.insert(), {**record.began._asdict(), "server": self.id})

    def _remove_dead(self, connection: sa.Connection) -> None:
        dead = sa.and_(SERVER.c.lease_until < _NOW, SERVER.c.id != self.id)
        if connection.execute(sa.select(SERVER.c.id).where(dead)).first() is not None:
            # Not while it commits.
            connection.execute(_COMMIT_LOCK)
            connection.execute(SERVER.delete().where(dead))


def _line(sequence: int, last_key: int, record: Record) -> dict[str, object]:
    return {
        "sequence": sequence,
        "token": secrets.token_hex(8),
        "last_key": last_key,
        "record": record_to_text(record),
    }
