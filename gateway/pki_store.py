"""The directory of an authority: keys, certificates, database; locked while something changes.

    database.json        every certificate that was issued, what is revoked: what isn't in it doesn't exist
    authority-N.pem/.key one authority after the other, the last one signs
    issued/SERIAL.pem    certificates; never a key of others than the authority
    ca.pem, crl.pem      for daemons: all authorities that count, and their revocation lists
    lock

The database is replaced as a whole, before anything that it tells of leaves the directory. A crash in between leaves a
certificate that is known and that nobody has; ca.pem and crl.pem are made of the database again by the next change.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.pki_authority import Authority, pem, write_key
from gateway.pki_database import Database, Generation, decode, encode
from gateway.pki_files import PUBLIC, SECRET, failure, put_file, read_file
from runtime.config import read_secret
from runtime.errors import ExitCode, OperatorError

LOCK_TIME = 10.0
"""Seconds to wait for another command that changes something."""
_POLL = 0.05
DATABASE, AUTHORITIES, LISTS = "database.json", "ca.pem", "crl.pem"


class Store:
    """The directory. passphrase: file with that of the keys, None when they have none. Everything raises OperatorError
    when it can't be done."""

    def __init__(self, directory: Path, passphrase: Path | None = None) -> None:
        self.directory = directory
        self._passphrase_file = passphrase

    # -- life

    @contextlib.contextmanager
    def changing(self, *, create: bool = False) -> Iterator[None]:
        """Nobody else changes anything meanwhile. create: make the directory if there is none."""
        try:
            if create:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not self.directory.is_dir():
                raise self._absent()
            descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise failure(self.directory, error) from error
        try:
            self._lock(descriptor)
            yield
        except OSError as error:
            raise failure(self.directory, error) from error
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> None:
        end = time.monotonic() + LOCK_TIME
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    why = f"another command has been changing it for {LOCK_TIME:.0f} s"
                    raise OperatorError(str(self.directory), why, "try again", ExitCode.CONFLICT) from None
                time.sleep(_POLL)
            else:
                return

    # -- database

    def find(self) -> Database | None:
        """What is there; None when there is no authority yet."""
        path = self.directory / DATABASE
        data = read_file(path)
        if data is None:
            return None
        try:
            return decode(data)
        except ValueError as error:
            hint = "restore the directory from a back-up, then `pki init --replace`: it may have issued more since then"
            raise OperatorError(str(path), str(error), hint) from None

    def has_keys(self) -> bool:
        """Whether there is the key of an authority."""
        return any(self.directory.glob("authority-*.key"))

    def load(self) -> Database:
        """What is there."""
        database = self.find()
        if database is None:
            raise self._absent()
        return database

    def save(self, database: Database) -> None:
        """Keep this; returns when it is durable."""
        self._put(DATABASE, encode(database), SECRET)

    def _absent(self) -> OperatorError:
        hint = f"`vrfwire-gateway-ctl pki init --directory {self.directory}` makes one, or give another --directory"
        return OperatorError(f"authority {self.directory}", "there is none", hint, ExitCode.NOT_FOUND)

    # -- authorities

    def add_authority(self, authority: Authority) -> None:
        """Keep its key and its certificate."""
        stem = f"authority-{authority.generation}"
        self._put(f"{stem}.key", write_key(authority.key, self._passphrase()), SECRET)
        self._put(f"{stem}.pem", pem(authority.certificate), PUBLIC)

    def authority(self, generation: Generation) -> Authority:
        """One with its key."""
        path = self.directory / f"authority-{generation.number}.key"
        data = read_file(path)
        if data is None:
            raise OperatorError(str(path), "the key of the authority is missing", "restore it from a back-up")
        passphrase = self._passphrase() if b"ENCRYPTED" in data else None
        if b"ENCRYPTED" in data and passphrase is None:
            raise OperatorError(str(path), "it has a passphrase", "give --passphrase-file FILE", ExitCode.USAGE)
        try:
            key = serialization.load_pem_private_key(data, passphrase)
        except ValueError:
            hint = "give the right --passphrase-file" if passphrase is not None else "restore it from a back-up"
            raise OperatorError(str(path), "it can't be read: wrong passphrase, or damaged", hint) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise OperatorError(str(path), "it is no key that was made here")
        return Authority(generation.number, self.authority_certificate(generation), key)

    def authority_certificate(self, generation: Generation) -> x509.Certificate:
        """That of an authority."""
        return self._certificate(self.directory / f"authority-{generation.number}.pem")

    def _passphrase(self) -> bytes | None:
        return None if self._passphrase_file is None else read_secret(self._passphrase_file).encode()

    # -- certificates

    def add_certificate(self, certificate: x509.Certificate) -> None:
        """Keep one. It doesn't exist before the database says so."""
        folder = self.directory / "issued"
        folder.mkdir(mode=0o700, exist_ok=True)
        put_file(self._issued(certificate.serial_number), pem(certificate), PUBLIC)

    def certificate(self, serial: int) -> x509.Certificate:
        """One that was issued."""
        return self._certificate(self._issued(serial))

    def _issued(self, serial: int) -> Path:
        return self.directory / "issued" / f"{serial:x}.pem"

    def _certificate(self, path: Path) -> x509.Certificate:
        data = read_file(path)
        if data is None:
            raise OperatorError(str(path), "the certificate is missing", "restore it from a back-up")
        try:
            return x509.load_pem_x509_certificate(data)
        except ValueError:
            raise OperatorError(str(path), "it is damaged", "restore it from a back-up") from None

    # -- for daemons

    def publish(self, database: Database, lists: bytes) -> None:
        """Put ca.pem and crl.pem where they are looked for."""
        authorities = self.authorities(database)
        for folder in (self.directory, *([Path(database.publish)] if database.publish else [])):
            for name, data in ((AUTHORITIES, authorities), (LISTS, lists)):
                path = folder / name
                if read_file(path) != data:
                    try:
                        put_file(path, data, PUBLIC)
                    except OSError as error:
                        raise failure(path, error) from error

    def published(self, database: Database) -> list[bytes]:
        """crl.pem, wherever it was put."""
        folders = {self.directory, *([Path(database.publish)] if database.publish else [])}
        return [data for folder in sorted(folders) if (data := read_file(folder / LISTS)) is not None]

    def authorities(self, database: Database) -> bytes:
        """ca.pem: the one that signs first."""
        counting = [one for one in reversed(database.generations) if not one.retired]
        return b"".join(pem(self.authority_certificate(one)) for one in counting)

    def lists(self) -> bytes:
        """crl.pem."""
        return read_file(self.directory / LISTS) or b""

    def _put(self, name: str, data: bytes, mode: int) -> None:
        try:
            put_file(self.directory / name, data, mode)
        except OSError as error:
            raise failure(self.directory / name, error) from error
