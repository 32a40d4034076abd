"""What an authority knows of its certificates, as a file has it; no I/O. Times are Unix time, whole seconds."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.pki_subject import Role, Subject

PROGRAM = "vrfwire-gateway-ctl pki"
VERSION = 1
"""Of the file; grows with every change that an older version would misread."""
LIST_DAYS = 30
"""Days until a newer revocation list is due."""
DAY = 86400
REASONS = (
    *("unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"),
    "privilegeWithdrawn",
)
"""Why a certificate is revoked (RFC 5280, section 5.3.1)."""


class State(enum.StrEnum):
    """How a certificate is."""

    VALID = "valid"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Record:
    """One certificate. key: fingerprint of its public key; generation: number of the authority that signed it; revoked:
    when, None when it isn't; reason: one of REASONS then."""

    serial: int
    subject: Subject
    not_before: int
    not_after: int
    key: str
    generation: int
    revoked: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """One authority after the other. number: from 1; name: its common name; retired: no longer in ca.pem."""

    number: int
    name: str
    not_after: int
    retired: bool = False


@dataclass(slots=True)
class Database:
    """publish: directory where ca.pem and crl.pem are put for daemons, "" for none; list_number: of the last revocation
    list; list_days: until the next one is due."""

    generations: list[Generation]
    publish: str = ""
    list_number: int = 0
    list_days: int = LIST_DAYS
    records: dict[int, Record] = field(default_factory=dict)
    """By serial number, in the order in which they were issued."""

    @property
    def generation(self) -> Generation:
        """The authority that signs now."""
        return self.generations[-1]

    def holder(self, name: str) -> str:
        """The name of a holder as it is kept: but for clients, names are in small letters however they are typed."""
        return name if self.of(name) or not self.of(name.lower()) else name.lower()

    def of(self, name: str) -> list[Record]:
        """Certificates of a holder, the latest first."""
        return [record for record in reversed(self.records.values()) if record.subject.name == name]

    def current(self, name: str, now: float) -> Record | None:
        """The certificate that a holder is to use."""
        return next((one for one in self.of(name) if one.revoked is None and one.not_after > now), None)

    def currents(self, now: float) -> Iterator[Record]:
        """That of every holder who has one."""
        latest: dict[str, Record] = {}
        for record in self.records.values():
            if record.revoked is None and record.not_after > now:
                latest[record.subject.name] = record
        return iter(latest.values())

    def state(self, record: Record, now: float) -> State:
        """How a certificate is."""
        if record.revoked is not None:
            return State.REVOKED
        if record.not_after <= now:
            return State.EXPIRED
        return State.VALID if self.current(record.subject.name, now) == record else State.SUPERSEDED

    def revoke(self, record: Record, reason: str, now: float) -> None:
        """Revoke one."""
        self.records[record.serial] = replace(record, revoked=int(now), reason=reason)

    def listed(self, generation: int, now: float) -> list[Record]:
        """What the revocation list of an authority has: all that is revoked, a while longer than it would have been
        valid (RFC 5280, section 3.3), and than since it was revoked: a session may outlast its certificate."""
        grace = self.list_days * DAY
        return [
            one
            for one in self.records.values()
            if one.generation == generation
            and one.revoked is not None
            and max(one.not_after, one.revoked) + grace > now
        ]

    def clash(self, subject: Subject, now: float) -> str:
        """Why there can't be certificates of this holder beside those of others; "" when there can."""
        others = (one.subject for one in self.currents(now) if one.subject.name != subject.name)
        return next((why for other in others if (why := subject.clashes(other))), "")


def encode(database: Database) -> bytes:
    """As it is kept."""
    document = {
        "program": PROGRAM,
        "version": VERSION,
        "publish": database.publish,
        "list_number": database.list_number,
        "list_days": database.list_days,
        "generations": [
            {"number": one.number, "name": one.name, "not_after": one.not_after, "retired": one.retired}
            for one in database.generations
        ],
        "certificates": [_written(record) for record in database.records.values()],
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _written(record: Record) -> dict[str, Any]:
    subject = record.subject
    return {
        "serial": f"{record.serial:x}",
        "name": subject.name,
        "role": str(subject.role),
        "addresses": list(map(str, subject.addresses)),
        "domain": subject.domain,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "key": record.key,
        "generation": record.generation,
        **({} if record.revoked is None else {"revoked": record.revoked, "reason": record.reason}),
    }


def decode(data: bytes) -> Database:
    """Read what encode() made; raises ValueError with a text for the operator."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged: {error}") from None
    if not isinstance(document, dict) or document.get("program") != PROGRAM:
        raise ValueError("it is no database of certificates")
    if document.get("version") != VERSION:
        raise ValueError(f"it has version {document.get('version')!r}, this program reads version {VERSION}")
    try:
        generations = [Generation(**one) for one in document["generations"]]
        records = [_read(one) for one in document["certificates"]]
        made = Database(generations, document["publish"], document["list_number"], document["list_days"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"damaged: {type(error).__name__}: {error}") from None
    if not generations:
        raise ValueError("damaged: there is no authority in it")
    made.records = {record.serial: record for record in records}
    return made


def _read(one: dict[str, Any]) -> Record:
    subject = Subject.of(one["name"], Role(one["role"]), one["addresses"], one["domain"])
    return Record(
        int(one["serial"], 16),
        subject,
        *(one["not_before"], one["not_after"], one["key"], one["generation"]),
        revoked=one.get("revoked"),
        reason=one.get("reason", ""),
    )
