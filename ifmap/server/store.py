"""What keeps the map: SQLite for one server, PostgreSQL where several share it.

A store's methods block, and are called from one thread at a time: the writer's (writer.py), and the main one before and
after that runs. What `commit` returned from is on disk.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

import sqlalchemy as sa

from ifmap.journal import Record
from ifmap.values import Edge, Metadata, MetadataName
from runtime.errors import OperatorError

if TYPE_CHECKING:
    from ifmap.server.postgres import PostgresStore

DEFAULT_LEASE = 15.0
"""Seconds after which servers that share a store take one for dead that they haven't heard of."""


class StoreError(Exception):
    """Something couldn't be stored or read; nothing of it remains. One line, fit for a log and for clients."""


class LoadAgain(StoreError):
    """This server was taken for dead by the others, or has missed what they did: nothing is committed until it has
    ended its sessions and loaded the map again."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The stored map.

    rows: metadata by key. cardinality: types used, whether singleValue; those of the standard may be missing.
    publishers: client to publisher id. next_key: the first free key. sessions: client to session id, of sessions that
    live on other servers; abandoned: ids of those whose server is gone, their metadata among the rows.
    """

    rows: Sequence[tuple[Edge, Metadata]] = ()
    cardinality: dict[MetadataName, bool] = field(default_factory=dict)
    publishers: dict[str, str] = field(default_factory=dict)
    next_key: int = 1
    sessions: dict[str, str] = field(default_factory=dict)
    abandoned: tuple[str, ...] = ()

    def without_rows(self) -> Loaded:
        """The rest, so that a graph made of the rows is all that holds them."""
        return replace(self, rows=())


class Store(Protocol):
    """A store that belongs to one server; session metadata isn't kept."""

    shared: Literal[False]

    @property
    def what(self) -> str:
        """The database, for messages; without password."""
        ...

    def load(self) -> Loaded:
        """The stored map. Raises OperatorError: it can't be read."""
        ...

    def commit(self, records: Sequence[Record]) -> None:
        """Keep all of them or none; returns when that is durable. Raises StoreError."""
        ...

    def check(self) -> None:
        """Write something that has no meaning, durably. Raises StoreError: nothing could be committed, either."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


def open_store(url: str, *, name: str = "", lease: float = DEFAULT_LEASE) -> Store | PostgresStore:
    """Open the store that a URL names: sqlite:////var/... (the path is absolute) or
    postgresql://USER:PASSWORD@HOST:PORT/DATABASE?PARAMETER=VALUE with libpq's parameters.

    name: of this server among those that share a PostgreSQL, the machine's if empty. lease: seconds, the same for all
    of them. Raises OperatorError; no text that this or the store ever makes has the password in it.
    """
    parsed = parse_url(url)
    if _kind(parsed) == "sqlite":
        from ifmap.server.sqlite import SqliteStore

        return SqliteStore(parsed.database or "")
    # Imported here: psycopg is loaded where it is used.
    from ifmap.server.postgres import PostgresStore

    return PostgresStore(parsed, name or socket.gethostname(), lease)


def parse_url(url: str) -> sa.URL:
    """The URL of a store, as far as it can be judged without it. Raises OperatorError."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise OperatorError("store.url", "it isn't a URL", _FORMS) from None
    kind = _kind(parsed)
    if kind not in ("sqlite", "postgresql", "postgres"):
        raise OperatorError("store.url", f"databases of type {kind} can't be used", _FORMS)
    path = parsed.database or ""
    if kind == "sqlite" and not path.startswith("/"):
        # Where a daemon is started from is chance.
        why = "it names no file" if path in ("", ":memory:") else f"its path {path} isn't absolute"
        raise OperatorError("store.url", why, "use sqlite:////DIRECTORY/map.db, with four slashes")
    return parsed


def _kind(url: sa.URL) -> str:
    return url.drivername.partition("+")[0]


_FORMS = "use sqlite:////DIRECTORY/map.db or postgresql://USER:PASSWORD@HOST/DATABASE; write %40 for @ in a password"


def one_line(error: BaseException) -> str:
    """The first line of what a database said."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
