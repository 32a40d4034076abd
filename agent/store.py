"""The state file: attachments, VPN numbers and resting labels in SQLite, so that an accepted attach outlives a crash.

One writer, the daemon, which holds a lock on the directory. The journal is a write-ahead log with synchronous=FULL: a
commit is one append and one fsync, and returns when the attach is durable. locking_mode=EXCLUSIVE spares the shared
memory file and the file locks of every transaction: few system calls an attach.

The daemon refuses to start with a file that is damaged, foreign or from a newer version, and never replaces it: it
holds the labels that other hosts may still be sending with.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.allocate import Owner, Quarantined
from agent.attachment import Attached, Attachment, Phase, VpnRecord, format_mac, parse_mac
from datapath.values import PortKind
from runtime.errors import OperatorError
from runtime.state_directory import lock_directory
from vpn.label import check_label
from vpn.prefix import Prefix, format_address, parse_address

FILE_NAME = "agent.db"
LOCK_NAME = "agent.lock"
VERSION = 2
"""Version of the schema (PRAGMA user_version); grows with every change of it."""
APPLICATION = 0x76777265
"""PRAGMA application_id: "vwre"."""

_SCHEMA = """
CREATE TABLE vpn (
    name TEXT PRIMARY KEY, instance_id INTEGER NOT NULL, table_id INTEGER NOT NULL, device TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE attachment (
    name TEXT PRIMARY KEY, vpn TEXT NOT NULL, kind TEXT NOT NULL, interface TEXT NOT NULL, netns TEXT,
    guest_interface TEXT NOT NULL, addresses TEXT NOT NULL, prefixes TEXT NOT NULL, mac TEXT NOT NULL,
    label INTEGER NOT NULL, phase TEXT NOT NULL, known_as TEXT NOT NULL DEFAULT '', blocked TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID, STRICT;
CREATE TABLE quarantine (
    label INTEGER PRIMARY KEY, attachment TEXT NOT NULL, vpn TEXT NOT NULL, until REAL NOT NULL
) STRICT;
"""
_MIGRATIONS = {
    1: """
    ALTER TABLE attachment ADD COLUMN known_as TEXT NOT NULL DEFAULT '';
    ALTER TABLE attachment ADD COLUMN blocked TEXT NOT NULL DEFAULT '';
    """,
}
"""From each version to the next."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is kept."""

    vpns: tuple[VpnRecord, ...] = ()
    attachments: tuple[Attached, ...] = ()
    quarantine: tuple[Quarantined, ...] = ()


class Store:
    """The state directory, held by this process until close()."""

    def __init__(self, directory: str | Path) -> None:
        """Lock the directory and open the file, making it if there is none.

        Raises OperatorError: the directory can't be used, another daemon has it, the file is damaged or newer.
        """
        self.directory = Path(directory)
        self.path = self.directory / FILE_NAME
        self._lock = lock_directory(self.directory, LOCK_NAME)
        try:
            self._db = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Close the file, then release the directory."""
        self._db.close()
        os.close(self._lock)

    # -- reading

    def load(self) -> State:
        """Everything in the file; raises OperatorError when it can't be read or holds what can't be."""
        with self._faults():
            try:
                state = State(
                    tuple(VpnRecord(*row) for row in self._rows("vpn", "name, instance_id, table_id, device")),
                    tuple(_attached(row) for row in self._rows("attachment", _COLUMNS)),
                    tuple(
                        Quarantined(label, Owner(attachment, vpn), until)
                        for label, attachment, vpn, until in self._rows("quarantine", "label, attachment, vpn, until")
                    ),
                )
            except (ValueError, OperatorError) as error:
                raise self._damaged(str(error)) from error
        vpns = {record.name for record in state.vpns}
        for attached in state.attachments:
            if attached.attachment.vpn not in vpns:
                raise self._damaged(f"attachment {attached.name} is in no known VPN")
        return state

    # -- changing; each returns when the change is durable

    def attach(self, attached: Attached, vpn: VpnRecord | None = None, forget: str | None = None) -> None:
        """Keep an attachment, and the numbers of its VPN when that is new; its label rests no longer.

        forget: a VPN whose numbers are given up for that.
        """
        with self._transaction() as db:
            if forget is not None:
                db.execute("DELETE FROM vpn WHERE name = ?", (forget,))
            if vpn is not None:
                db.execute("INSERT INTO vpn VALUES (?,?,?,?)", (vpn.name, vpn.instance_id, vpn.table, vpn.device))
            db.execute("DELETE FROM quarantine WHERE label = ?", (attached.label,))
            db.execute(f"INSERT INTO attachment ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", _row(attached))

    def set_phase(self, name: str, phase: Phase) -> None:
        """Keep the phase of an attachment."""
        with self._transaction() as db:
            db.execute("UPDATE attachment SET phase = ? WHERE name = ?", (phase.value, name))

    def set_blocked(self, name: str, prefixes: Iterable[Prefix]) -> None:
        """Keep which prefixes of an attachment are blocked."""
        with self._transaction() as db:
            db.execute("UPDATE attachment SET blocked = ? WHERE name = ?", (_prefixes(prefixes), name))

    def detach(self, name: str, quarantined: Quarantined, expired: Iterable[int] = ()) -> None:
        """Drop an attachment; its label rests from now on. expired: labels whose rest is over."""
        with self._transaction() as db:
            db.execute("DELETE FROM attachment WHERE name = ?", (name,))
            db.execute(
                "INSERT OR REPLACE INTO quarantine VALUES (?,?,?,?)",
                (quarantined.label, quarantined.owner.attachment, quarantined.owner.vpn, quarantined.until),
            )
            db.executemany("DELETE FROM quarantine WHERE label = ?", [(label,) for label in expired])

    # -- the file

    def _open(self) -> sqlite3.Connection:
        with self._faults():
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        application = self._pragma(db, "application_id")
        version = self._pragma(db, "user_version")
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if not (application or version or tables):
            # One transaction: a crash in the middle leaves an empty file, which is made again.
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif application != APPLICATION:
            raise OperatorError(
                f"state file {self.path}",
                "it belongs to another program",
                "move it aside, or choose another [state] directory",
            )
        elif version > VERSION:
            raise OperatorError(
                f"state file {self.path}",
                f"written by a newer vrfwire (schema {version}, this one knows {VERSION})",
                "start the newer version, or detach the ports with it first",
            )
        else:
            for step in range(version, VERSION):
                db.executescript(f"BEGIN; {_MIGRATIONS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
        check = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise self._damaged(str(check))
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")

    @staticmethod
    def _pragma(db: sqlite3.Connection, name: str) -> int:
        return int(db.execute(f"PRAGMA {name}").fetchone()[0])

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        return self._db.execute(f"SELECT {columns} FROM {table}")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """SQLite's errors as an operator's: what can't be written (disk full, no permission), what is damaged."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OperatorError(
                f"state file {self.path}", str(error), "check free space and permissions of the directory"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> OperatorError:
        return OperatorError(
            f"state file {self.path}",
            f"damaged: {why}",
            f"put back a good copy; or move {FILE_NAME}* aside, start again and attach every port anew "
            "(forwarding of ports not attached by then ends)",
        )


_COLUMNS = (
    "name, vpn, kind, interface, netns, guest_interface, addresses, prefixes, mac, label, phase, known_as, blocked"
)


def _row(attached: Attached) -> tuple[object, ...]:
    attachment = attached.attachment
    return (
        attachment.name,
        attachment.vpn,
        attachment.kind.value,
        attachment.interface,
        attachment.netns,
        attachment.guest_interface,
        " ".join(map(format_address, attachment.addresses)),
        _prefixes(attachment.prefixes),
        format_mac(attachment.mac),
        attached.label,
        attached.phase.value,
        attachment.known_as,
        _prefixes(sorted(attached.blocked)),
    )


def _prefixes(prefixes: Iterable[Prefix]) -> str:
    return " ".join(map(str, prefixes))


def _attached(row: tuple[Any, ...]) -> Attached:
    """Raises ValueError or OperatorError for a row that no version of us wrote (types are held by STRICT)."""
    name, vpn, kind, interface, netns, guest, addresses, prefixes, mac, label, phase, known_as, blocked = row
    return Attached(
        Attachment(
            name,
            vpn,
            PortKind(kind),
            interface,
            netns,
            guest,
            tuple(map(parse_address, addresses.split())),
            tuple(map(Prefix.parse, prefixes.split())),
            parse_mac(mac),
            known_as or name,
        ),
        check_label(label),
        Phase(phase),
        frozenset(map(Prefix.parse, blocked.split())),
    )
