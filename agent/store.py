"""The state file: attachments, VPN numbers, resting labels, the drain; in SQLite, so that what was accepted outlives a
crash.

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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.allocate import Owner, Quarantined
from agent.attachment import Attached, Attachment, Phase, VpnRecord, format_mac, parse_mac
from agent.boot import boot_id, since_boot
from agent.drain_state import ACTIVE, DrainPhase, DrainState
from datapath.values import PortKind
from runtime.errors import OperatorError
from runtime.state_directory import lock_directory
from vpn.label import check_label
from vpn.prefix import Prefix, format_address, parse_address

FILE_NAME = "agent.db"
LOCK_NAME = "agent.lock"
VERSION = 3
"""Version of the schema (PRAGMA user_version); grows with every change of it."""
APPLICATION = 0x76777265
"""PRAGMA application_id: "vwre"."""

_DRAIN = """
CREATE TABLE drain (
    id INTEGER PRIMARY KEY CHECK (id = 1), phase TEXT NOT NULL, settle REAL NOT NULL, force INTEGER NOT NULL
) STRICT;
"""
_SCHEMA = f"""
CREATE TABLE vpn (
    name TEXT PRIMARY KEY, instance_id INTEGER NOT NULL, table_id INTEGER NOT NULL, device TEXT NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE attachment (
    name TEXT PRIMARY KEY, vpn TEXT NOT NULL, kind TEXT NOT NULL, interface TEXT NOT NULL, netns TEXT,
    guest_interface TEXT NOT NULL, addresses TEXT NOT NULL, prefixes TEXT NOT NULL, mac TEXT NOT NULL,
    label INTEGER NOT NULL, phase TEXT NOT NULL, known_as TEXT NOT NULL DEFAULT '', blocked TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID, STRICT;
CREATE TABLE quarantine (
    label INTEGER PRIMARY KEY, attachment TEXT NOT NULL, vpn TEXT NOT NULL, since REAL NOT NULL, boot TEXT NOT NULL
) STRICT;
{_DRAIN}"""
_MIGRATIONS = {
    1: """
    ALTER TABLE attachment ADD COLUMN known_as TEXT NOT NULL DEFAULT '';
    ALTER TABLE attachment ADD COLUMN blocked TEXT NOT NULL DEFAULT '';
    """,
    # Rests were by the wall clock; they begin anew.
    2: f"""
    ALTER TABLE quarantine RENAME COLUMN until TO since;
    ALTER TABLE quarantine ADD COLUMN boot TEXT NOT NULL DEFAULT '';
    {_DRAIN}
    """,
}
"""From each version to the next."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that is kept."""

    vpns: tuple[VpnRecord, ...] = ()
    attachments: tuple[Attached, ...] = ()
    quarantine: tuple[Quarantined, ...] = ()
    drain: DrainState = ACTIVE


class Store:
    """The state directory, held by this process until close()."""

    def __init__(
        self, directory: str | Path, *, boot: str | None = None, clock: Callable[[], float] = since_boot
    ) -> None:
        """Lock the directory and open the file, making it if there is none.

        boot: which start of the machine this is (boot_id() by default); clock: seconds since then. Labels that were at
        rest before a reboot rest from now on: how long that took nobody can tell.

        Raises OperatorError: the directory can't be used, another daemon has it, the file is damaged or newer.
        """
        self.directory = Path(directory)
        self.path = self.directory / FILE_NAME
        self._boot = boot_id() if boot is None else boot
        self._clock = clock
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
                drain = self._drain()
                closed = drain.phase is DrainPhase.DRAINED
                state = State(
                    tuple(VpnRecord(*row) for row in self._rows("vpn", "name, instance_id, table_id, device")),
                    tuple(replace(_attached(row), closed=closed) for row in self._rows("attachment", _COLUMNS)),
                    tuple(
                        Quarantined(label, Owner(attachment, vpn), since)
                        for label, attachment, vpn, since in self._rows("quarantine", "label, attachment, vpn, since")
                    ),
                    drain,
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
                "INSERT OR REPLACE INTO quarantine VALUES (?,?,?,?,?)",
                (quarantined.label, *quarantined.owner, quarantined.since, self._boot),
            )
            db.executemany("DELETE FROM quarantine WHERE label = ?", [(label,) for label in expired])

    def set_drain(self, drain: DrainState) -> None:
        """Keep whether the host is drained."""
        with self._transaction() as db:
            db.execute("DELETE FROM drain")
            if drain.phase is not DrainPhase.ACTIVE:
                db.execute("INSERT INTO drain VALUES (1,?,?,?)", (drain.phase.value, drain.settle, int(drain.force)))

    def _drain(self) -> DrainState:
        rows = [DrainState(DrainPhase(phase), settle, bool(force)) for phase, settle, force in self._rows(*_DRAIN_ROW)]
        return rows[0] if rows else ACTIVE

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
        db.execute(
            "UPDATE quarantine SET since = ?, boot = ? WHERE boot != ? OR boot = ''",
            (self._clock(), self._boot, self._boot),
        )

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


_DRAIN_ROW = ("drain", "phase, settle, force")
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
