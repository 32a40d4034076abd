"""Certificates of an authority as documents and for people; no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.pki_database import DAY, Database, Record, State
from gateway.status import Document, timestamp
from runtime.certificates import shown_serial
from runtime.output import Column

CERTIFICATE_LIST = (
    Column("NAME", "name"),
    Column("ROLE", "role"),
    Column("STATE", "state"),
    Column("EXPIRES", "expires"),
    Column("DAYS", "days", right=True),
    Column("ADDRESSES", "addresses"),
    Column("SERIAL", "serial"),
)
HOLDER = (
    *(Column("name", "name"), Column("role", "role"), Column("domain", "domain"), Column("addresses", "addresses")),
    *(Column("state", "state"), Column("expires", "expires"), Column("serial", "serial")),
)
HISTORY = (
    *(Column("SERIAL", "serial"), Column("STATE", "state"), Column("SINCE", "since"), Column("EXPIRES", "expires")),
    *(Column("REVOKED", "revoked"), Column("REASON", "reason"), Column("AUTHORITY", "authority")),
)
AUTHORITY = (
    *(Column("directory", "directory"), Column("published in", "publish"), Column("signs", "authority")),
    *(Column("list number", "list_number"), Column("next list due", "list_due"), Column("revoked", "revoked")),
    Column("certificates", "certificates"),
)
AUTHORITIES = (Column("AUTHORITY", "name"), Column("STATE", "state"), Column("EXPIRES", "expires"))


def describe(database: Database, record: Record, now: float) -> Document:
    """One certificate."""
    subject = record.subject
    name = {one.number: one.name for one in database.generations}.get(record.generation, "")
    return {
        "name": subject.name,
        "role": str(subject.role),
        "domain": subject.domain,
        "addresses": list(map(str, subject.addresses)),
        "state": str(database.state(record, now)),
        "since": timestamp(record.not_before),
        "expires": timestamp(record.not_after),
        "days": int((record.not_after - now) // DAY),
        "serial": shown_serial(record.serial),
        "key": record.key,
        "authority": name,
        "revoked": timestamp(record.revoked or 0),
        "reason": record.reason,
    }


def chosen(database: Database, now: float, expiring: int | None, every: bool) -> Iterable[Record]:
    """The certificates of a list: of each holder the one that counts, or the last one; or every one. expiring: days
    within which it ends or has ended, and nobody has revoked it."""
    if every:
        found = list(database.records.values())
    else:
        latest = {record.subject.name: record for record in database.records.values()}
        latest.update((record.subject.name, record) for record in database.currents(now))
        found = list(latest.values())
    if expiring is not None:
        found = [
            one
            for one in found
            if database.state(one, now) in (State.VALID, State.EXPIRED) and one.not_after - now < expiring * DAY
        ]
    return sorted(found, key=lambda one: (one.subject.role, one.subject.name, one.not_before))


def listed(database: Database, now: float, expiring: int | None, every: bool) -> Document:
    """The list."""
    return {"items": [describe(database, one, now) for one in chosen(database, now, expiring, every)]}


def holder(database: Database, name: str, now: float) -> Document | None:
    """A holder, with all certificates; None for nobody."""
    name = database.holder(name)
    records = database.of(name)
    if not records:
        return None
    best = database.current(name, now) or records[0]
    shown = describe(database, best, now)
    return {**shown, "certificates": [describe(database, one, now) for one in records]}


def authority(database: Database, directory: str, due: float, now: float) -> Document:
    """The authority itself. due: when its next revocation lists are, Unix time; 0: there are none."""
    states = [
        "retired" if one.retired else "signs" if one is database.generation else "former"
        for one in database.generations
    ]
    return {
        "directory": directory,
        "publish": database.publish,
        "authority": database.generation.name,
        "list_number": database.list_number,
        "list_days": database.list_days,
        "list_due": timestamp(due),
        "certificates": sum(1 for _ in database.currents(now)),
        "revoked": sum(len(database.listed(one.number, now)) for one in database.generations),
        "authorities": [
            {"name": one.name, "state": state, "expires": timestamp(one.not_after)}
            for one, state in zip(database.generations, states, strict=True)
        ],
    }
