"""Tables of the map's store, the same on SQLite and PostgreSQL, and how a database of an older version is brought up.

Rows are whole: identifiers, type and publisher stand in each as text. A dictionary of identifiers would make the file
of a large map two thirds of its size, but has to be held in memory and counted; a row that explains itself costs
nothing to write, and an operator can read it.

Nothing that clients choose is indexed: PostgreSQL refuses long values in an index, and one client's long name must not
fail the transaction that others are in, too. The service sees to it that a type or a publisher occurs once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from runtime.errors import ExitCode, OperatorError

Step = Callable[[sa.Connection], None]

STEPS: tuple[Step, ...] = ()
"""What brings a database of version n to n + 1, the step from version 1 first. Each changes the tables by statements of
its own, since the definitions below are always the newest. A new database is made from those, without steps."""

_TABLES = sa.MetaData()

# SQLite keeps rows in the order of a key of this type alone, without an index beside.
_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VERSION = sa.Table("map_schema", _TABLES, sa.Column("version", sa.Integer, nullable=False))
"""One row: the version of the tables."""

METADATA = sa.Table(
    "map_metadata",
    _TABLES,
    sa.Column("key", _KEY, primary_key=True, autoincrement=False),
    sa.Column("first", sa.Text, nullable=False),
    sa.Column("second", sa.Text),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("publisher", sa.Text, nullable=False),
    sa.Column("session", sa.Text, nullable=False),
    sa.Column("xml", sa.LargeBinary, nullable=False),
)
"""The graph. first, second: identifiers in their text form, second NULL for metadata of an identifier itself. type:
{namespace}local of the metadata. session: "" for lifetime forever; others are there only when servers share the map."""

TYPE = sa.Table(
    "map_type",
    _TABLES,
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("single", sa.Boolean, nullable=False),
)
"""Metadata types that were used, and whether they are singleValue; for ever."""

PUBLISHER = sa.Table(
    "map_publisher",
    _TABLES,
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("publisher_id", sa.Text, nullable=False),
)
"""The ifmap-publisher-id of each client that has begun a session; for ever."""

SERVER = sa.Table(
    "map_server",
    _TABLES,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
)
"""Servers that share the map and live. lease_until: seconds since 1970 on the database's clock. seen: the newest
sequence number of the log that it is known to have read. Without its row a server can't commit."""

SESSION = sa.Table(
    "map_session",
    _TABLES,
    sa.Column("session_id", sa.Text, nullable=False, primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("server", sa.BigInteger, nullable=False),
)
"""Sessions at servers that share the map. Those whose server has no row any more are to be ended by the others."""

LOG = sa.Table(
    "map_log",
    _TABLES,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("last_key", sa.BigInteger, nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
"""What servers that share the map have changed, in order, without gaps. token: random, so that a server notices that
the log isn't the one that it has read from (a backup was restored). last_key: the greatest key of metadata ever given.
Never empty: what every living server has read is pruned but for the last."""


def prepare(connection: sa.Connection, what: str, steps: Sequence[Step] = STEPS) -> None:
    """Make the tables in a database that has none, or bring old ones up to date, in the caller's transaction.

    what: the database, for messages. Raises OperatorError: it is of a newer version, or damaged.
    """
    newest = 1 + len(steps)
    if not sa.inspect(connection).has_table(VERSION.name):
        _TABLES.create_all(connection, checkfirst=False)
        connection.execute(VERSION.insert(), {"version": newest})
        return
    versions = connection.execute(sa.select(VERSION.c.version)).scalars().all()
    if len(versions) != 1 or not isinstance(versions[0], int) or versions[0] < 1:
        raise OperatorError(what, f"table {VERSION.name} doesn't say one version", "restore a backup")
    version = versions[0]
    if version > newest:
        raise OperatorError(
            what,
            f"it was written by a newer vrfwire-map (schema {version}; this one knows {newest})",
            "install that version again, or restore the backup that was made before the upgrade",
            ExitCode.CONFLICT,
        )
    for step in steps[version - 1 :]:
        step(connection)
    if version != newest:
        connection.execute(VERSION.update().values(version=newest))
