"""A small authority: issues, renews and revokes certificates of hosts, gateways, MAP servers and MAP clients.

Commands change nothing when all is as they are asked to make it. The private key of a holder is written into the files
for the holder and kept nowhere else: a renewal of the same key needs the public one alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from gateway.pki_authority import (
    AUTHORITY_DAYS,
    CERTIFICATE_DAYS,
    Authority,
    fingerprint,
    key_of_pem,
    key_of_request,
    new_key,
    pem,
    record_of,
    write_key,
)
from gateway.pki_database import DAY, Database, Generation, Record, State
from gateway.pki_files import PUBLIC, SECRET, Content, Target, open_target, read_file
from gateway.pki_published import catch_up
from gateway.pki_snippet import agent_snippet, lacking
from gateway.pki_store import AUTHORITIES, LISTS, Store
from gateway.pki_subject import Role, Subject
from runtime.certificates import shown_serial
from runtime.errors import ExitCode, OperatorError

DEFAULT_NAME = "vrfwire authority"
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Issued:
    """What enroll() and renew() did. unchanged: nothing, it was so already; files: that were put, by name; out: where;
    kept: files that were there already and are not as they would be; lacking: why a new host gets no agent.toml, and
    what to do about it, or None."""

    record: Record
    unchanged: bool
    out: Path
    files: tuple[str, ...]
    kept: tuple[str, ...] = ()
    lacking: tuple[str, str] | None = None


READERS = {
    Role.HOST: "vrfwire-agent",
    Role.GATEWAY: "vrfwire-gateway",
    Role.MAP: "vrfwire-map",
    Role.CLIENT: "vrfwire-gateway",
}
"""The user that a new key belongs to where the packages have made it: the daemon that reads it."""


@dataclass(frozen=True, slots=True)
class Request:
    """How a certificate is asked for. out: directory or FILE.tar; csr: file with a certificate request, whose key it is
    for; days: how long it is valid."""

    out: Path
    csr: Path | None = None
    days: int = CERTIFICATE_DAYS


class Pki:
    """The authority in a directory. wall: Unix time, seconds. Everything raises OperatorError."""

    def __init__(self, store: Store, wall: Callable[[], float] = time.time) -> None:
        self.store = store
        self._wall = wall

    # -- the authority

    def init(self, name: str = DEFAULT_NAME, days: int = AUTHORITY_DAYS, publish: str = "") -> bool:
        """Make an authority; False when there was one. publish: directory for ca.pem and crl.pem, "" for none."""
        with self.store.changing(create=True):
            database = self.store.find()
            if database is not None:
                if publish and publish != database.publish:
                    database.publish = publish
                    self._check_published(database)
                    self._sign_lists(database)
                    return True
                if not self.store.lists():
                    self._sign_lists(database)  # a crash came in between
                return False
            if self.store.has_keys():
                why = "there are keys of an authority, but no database of what it has issued"
                hint = "restore database.json from a back-up; if an init was interrupted, remove the directory"
                raise OperatorError(f"authority {self.store.directory}", why, hint, ExitCode.CONFLICT)
            database = Database([], publish)
            self._check_published(database)
            self._begin(database, name, days)
            return True

    def replace(self, name: str | None, days: int = AUTHORITY_DAYS) -> Generation:
        """Begin with the next authority; the former one stays in ca.pem."""
        with self.store.changing():
            database = self.store.load()
            former = database.generation
            if any(not one.retired for one in database.generations[:-1]):
                why = f"there are two authorities already; nothing was signed by {former.name} that counts more"
                raise OperatorError(
                    "authority", why, "end the former one first: `pki init --retire`", ExitCode.CONFLICT
                )
            # Signing its revocation lists goes on.
            self.store.authority(former)
            self._begin(database, name or former.name.rpartition(" ")[0], days)
            return database.generation

    def retire(self, *, force: bool = False) -> list[Generation]:
        """Take former authorities out of ca.pem. force: although certificates of theirs are in use."""
        with self.store.changing():
            database, now = self.store.load(), self._wall()
            former = [one for one in database.generations[:-1] if not one.retired]
            numbers = {one.number for one in former}
            holders = sorted(one.subject.name for one in database.currents(now) if one.generation in numbers)
            if holders and not force:
                shown = ", ".join(holders[:5]) + (f" and {len(holders) - 5} more" if len(holders) > 5 else "")
                why = f"{shown} use certificates of the former authority"
                raise OperatorError("authority", why, "`pki renew` those first, or --force", ExitCode.CONFLICT)
            database.generations = [replace(one, retired=True) for one in database.generations[:-1]] + [
                database.generation
            ]
            self._sign_lists(database)
            return former

    def _begin(self, database: Database, name: str, days: int) -> None:
        number = len(database.generations) + 1
        authority = Authority.new(number, f"{name} {number}", self._wall(), days)
        end = int(authority.certificate.not_valid_after_utc.timestamp())
        self.store.add_authority(authority)
        database.generations.append(Generation(number, f"{name} {number}", end))
        self._sign_lists(database)

    def _check_published(self, database: Database) -> None:
        """The place for daemons may have files of another authority."""
        if not database.publish:
            return
        folder = Path(database.publish)
        ours = set() if not database.generations else set(self._certificates(self.store.authorities(database)))
        there = read_file(folder / AUTHORITIES)
        if there is not None and not ours & set(self._certificates(there)):
            what = f"--publish {folder}"
            hint = "give another --publish, or move that file away"
            raise OperatorError(what, f"{AUTHORITIES} there is of another authority", hint, ExitCode.CONFLICT)
        if not folder.is_dir():
            raise OperatorError(f"--publish {folder}", "there is no such directory", "make it", ExitCode.CONFLICT)

    @staticmethod
    def _certificates(data: bytes) -> list[x509.Certificate]:
        try:
            return x509.load_pem_x509_certificates(data)
        except ValueError:
            return []

    # -- revocation lists

    def sign_lists(self, days: int | None = None) -> Database:
        """Make new lists of what is revoked. days: until the next ones are due, from now on."""
        with self.store.changing():
            database = self.store.load()
            if days is not None:
                database.list_days = days
            self._sign_lists(database)
            return database

    def _sign_lists(self, database: Database) -> None:
        """Keep the database, and have the lists tell of it. The keys are read first: without them nothing changes."""
        counting = [self.store.authority(one) for one in reversed(database.generations) if not one.retired]
        catch_up(database, self.store.published(database), [one.certificate for one in counting])
        database.list_number += 1
        self.store.save(database)
        now = self._wall()
        lists = [
            authority.list_revoked(
                database.listed(authority.generation, now), database.list_number, now, database.list_days
            )
            for authority in counting
        ]
        self.store.publish(database, b"".join(map(pem, lists)))

    def lists_due(self) -> float:
        """When the next revocation lists are due, Unix time; 0: there are none."""
        try:
            lists = x509.load_pem_x509_crl(self.store.lists())
        except ValueError:
            return 0.0
        return lists.next_update_utc.timestamp() if lists.next_update_utc is not None else 0.0

    # -- certificates

    def enroll(self, subject: Subject, request: Request) -> Issued:
        """A certificate for somebody who has none. The same again changes nothing."""
        with self.store.changing():
            database, now = self.store.load(), self._wall()
            target = self._target(database, request)
            key = self._requested_key(request, subject.name)
            current = database.current(subject.name, now)
            if current is not None:
                self._check_same(current, subject, key, target, request)
                return self._hand_out(database, current, request, target, None, unchanged=True)
            if clash := database.clash(subject, now):
                raise OperatorError(subject.name, clash, "see `pki list`", ExitCode.CONFLICT)
            secret = None
            if key is None:
                key, secret = self._new_key(database, subject.name, target, request.out)
            record = self._issue(database, subject, key, request, target)
            return self._hand_out(database, record, request, target, secret)

    def renew(self, name: str, request: Request, *, fresh: bool = False, within: int | None = None) -> Issued:
        """Another certificate with the same names, for the same key, a new one (fresh) or that of a request.

        The one before stays valid until it ends, so nobody loses a session. within: only when it ends in so many days.
        """
        with self.store.changing():
            database, now = self.store.load(), self._wall()
            name = database.holder(name)
            known = next((one for one in database.of(name) if one.revoked is None), None)
            if known is None:
                raise self._nobody(database, name)
            target = self._target(database, request)
            if within is not None and known.not_after - now > within * DAY:
                return self._hand_out(database, known, request, target, None, unchanged=True)
            if clash := database.clash(known.subject, now):
                raise OperatorError(name, clash, "see `pki list`", ExitCode.CONFLICT)
            key = self._requested_key(request, name)
            secret = None
            if key is None and fresh:
                key, secret = self._new_key(database, name, target, request.out)
            if key is None:
                key = self.store.certificate(known.serial).public_key()
            record = self._issue(database, known.subject, key, request, target)
            return self._hand_out(database, record, request, target, secret)

    def revoke(self, name: str, reason: str, serial: int | None = None) -> tuple[Record, ...]:
        """Revoke what somebody has, or one certificate; which ones were revoked now.

        Because it is superseded: those alone in whose place there is a newer one.
        """
        with self.store.changing():
            database, now = self.store.load(), self._wall()
            name = database.holder(name)
            known = database.of(name)
            if not known or (serial is not None and serial not in {one.serial for one in known}):
                raise self._nobody(database, name, serial)
            chosen = [one for one in known if serial in (None, one.serial) and one.revoked is None]
            # Also those that have expired: nobody logs in by one, but a session that it began may be there still.
            if reason == SUPERSEDED and serial is None:
                chosen = [one for one in chosen if database.state(one, now) is State.SUPERSEDED]
            for record in chosen:
                database.revoke(record, reason, now)
            # Also when nothing is new: the lists may be of before a crash.
            self._sign_lists(database)
            return tuple(database.records[one.serial] for one in chosen)

    def _nobody(self, database: Database, name: str, serial: int | None = None) -> OperatorError:
        if serial is not None and database.of(name):
            why = f"has no certificate with serial number {shown_serial(serial)}"
            return OperatorError(name, why, f"`pki show {name}`", ExitCode.NOT_FOUND)
        if database.of(name):
            return OperatorError(name, "its certificates are revoked", f"`pki enroll {name}`", ExitCode.CONFLICT)
        return OperatorError(name, "is not enrolled", "`pki list` shows who is", ExitCode.NOT_FOUND)

    def _requested_key(self, request: Request, name: str) -> PublicKeyTypes | None:
        if request.csr is None:
            return None
        data = read_file(request.csr)
        if data is None:
            raise OperatorError(f"--csr {request.csr}", "no such file", "", ExitCode.NOT_FOUND)
        try:
            return key_of_request(data, name)
        except ValueError as error:
            hint = 'make one by `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -subj "/CN=NAME"`'
            raise OperatorError(f"--csr {request.csr}", str(error), hint, ExitCode.USAGE) from None

    def _check_same(
        self, current: Record, subject: Subject, key: PublicKeyTypes | None, target: Target, request: Request
    ) -> None:
        name = subject.name
        if current.subject != subject:
            had = ", ".join([str(current.subject.role), *map(str, current.subject.addresses), current.subject.domain])
            why = f"is enrolled already, with other names: {had.removesuffix(', ')}"
            hint = f"`pki revoke {name}`, then enroll it anew"
            raise OperatorError(name, why, hint, ExitCode.CONFLICT)
        if key is not None:
            if fingerprint(key) != current.key:
                hint = f"`pki renew {name} --csr {request.csr}`"
                raise OperatorError(name, "is enrolled already, with another key", hint, ExitCode.CONFLICT)
            return
        secret = target.read(f"{name}.key")
        if secret is None or _fingerprint(secret) != current.key:
            why = f"is enrolled already, and its key is not in {request.out}: it was written once, and kept nowhere"
            hint = f"`pki renew {name} --new-key --out {request.out}` makes another one"
            raise OperatorError(name, why, hint, ExitCode.CONFLICT)

    def _target(self, database: Database, request: Request) -> Target:
        """Where files are put; not where another authority has put some."""
        if request.out.resolve() == self.store.directory.resolve():
            why = "that is the directory of the authority itself"
            raise OperatorError(f"--out {request.out}", why, "give another --out", ExitCode.USAGE)
        target = open_target(request.out)
        there = target.read(AUTHORITIES)
        ours = self._certificates(self.store.authorities(database))
        if there is not None and not set(self._certificates(there)) & set(ours):
            why = f"{AUTHORITIES} there is of another authority"
            hint = "give another --out, or move that file away"
            raise OperatorError(f"--out {request.out}", why, hint, ExitCode.CONFLICT)
        return target

    def _new_key(self, database: Database, name: str, target: Target, out: Path) -> tuple[PublicKeyTypes, bytes]:
        """A key for somebody: the public one, and the private one in PEM. One that is there and of no certificate of
        ours is somebody else's."""
        secret = target.read(f"{name}.key")
        if secret is not None and _fingerprint(secret) not in {one.key for one in database.of(name)}:
            why = f"{name}.key in {out} is of no certificate that was issued here"
            raise OperatorError(name, why, "give another --out, or move that file away", ExitCode.CONFLICT)
        private = new_key()
        return private.public_key(), write_key(private)

    def _issue(
        self, database: Database, subject: Subject, key: PublicKeyTypes, request: Request, target: Target
    ) -> Record:
        authority = self.store.authority(database.generation)
        now = self._wall()
        if database.generation.not_after <= now:
            raise OperatorError("authority", "it has expired", "`pki init --replace`", ExitCode.CONFLICT)
        target.prepare()
        certificate = authority.issue(subject, key, now, request.days)
        record = record_of(certificate, subject, authority.generation)
        self.store.add_certificate(certificate)
        database.records[record.serial] = record
        self._sign_lists(database)
        return record

    def _hand_out(
        self,
        database: Database,
        record: Record,
        request: Request,
        target: Target,
        secret: bytes | None,
        *,
        unchanged: bool = False,
    ) -> Issued:
        """Put the files of a holder in place."""
        name = record.subject.name
        reader = READERS[record.subject.role]
        files = {} if secret is None else {f"{name}.key": Content(secret, SECRET, reader)}
        files[f"{name}.pem"] = Content(pem(self.store.certificate(record.serial)), PUBLIC)
        files[AUTHORITIES] = Content(self.store.authorities(database), PUBLIC)
        files[LISTS] = Content(self.store.lists(), PUBLIC)
        kept: tuple[str, ...] = ()
        without = None
        if record.subject.role is Role.HOST:
            gateways = [one.subject for one in database.currents(self._wall()) if one.subject.role is Role.GATEWAY]
            text = agent_snippet(record.subject, gateways).encode()
            there = target.read("agent.toml")
            if there is None and text:
                files["agent.toml"] = Content(text, PUBLIC)
            elif there is None:
                without = lacking(record.subject, gateways)
            elif text and there != text:
                kept = ("agent.toml",)
        target.write(files)
        return Issued(record, unchanged, request.out, tuple(files), kept, without)


def _fingerprint(secret: bytes) -> str:
    try:
        return fingerprint(key_of_pem(secret))
    except ValueError:
        return ""
