"""A revocation list in a file, and the copy of the last good one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from cryptography.x509 import Certificate as X509

from runtime.certificates import Certificate, Trouble, read_pem
from runtime.errors import OperatorError
from runtime.revocation import HINT, Revocations, Revoked, read_authorities, read_lists
from runtime.state_directory import replace_file

log = logging.getLogger("vrfwire.tls")

MAX_SIZE = 64 << 20
"""Bytes: more than a million certificates."""


class RevocationFile:
    """The lists in a file. ca: certificates of the authorities that sign lists; kept: where a copy of what is in use is
    kept, so that a file that is missing or damaged at the next start lets nobody back in. Methods block."""

    def __init__(self, path: Path, ca: Path, kept: Path | None = None) -> None:
        self.path = path
        self._ca = ca
        self._kept = kept
        self._revocations = Revocations()
        self._copy: Trouble | None = None
        self._told: tuple[str, ...] = ()
        self._begun = False

    def read(self) -> bool:
        """Read the file again; whether other certificates may be revoked than before. What can't be read changes
        nothing, and is a trouble."""
        try:
            data = self._ca.read_bytes()
            authorities = read_authorities(data)
            known = read_pem(data)
        except (OSError, ValueError):
            # The context of TLS can't be made of it either, and says so.
            self._revocations.unreadable(f"{self._ca} can't be read")
            return False
        if not self._begun:
            self._begun = True
            if self._kept is not None and self._kept.exists():
                self._read_kept(self._kept, authorities)
        differs = self._revocations.restrict(known)
        try:
            read = read_lists(_content(self.path), authorities)
        except OSError as error:
            self._revocations.unreadable(f"can't be read: {error.strerror or error}")
        else:
            if self._revocations.take(read):
                differs = True
                self._keep()
        self._tell()
        return differs

    def check(self) -> None:
        """Raises OperatorError when the file can't be used as it is."""
        self.read()
        for fault in self._revocations.faults:
            raise OperatorError(f"tls.crl {self.path}", fault, HINT)

    def find(self, certificate: Certificate) -> Revoked | None:
        """Whether a certificate is revoked."""
        return self._revocations.find(certificate)

    def due(self) -> float | None:
        """When the list is due to be replaced, Unix time."""
        return self._revocations.due()

    def count(self) -> int:
        """Certificates that are revoked."""
        return sum(len(one.revoked) for one in self._revocations.lists)

    def numbers(self) -> list[int]:
        """Of the lists in use."""
        return [one.number for one in self._revocations.lists if one.number is not None]

    def troubles(self, now: float) -> list[Trouble]:
        """What is wrong with it. now: Unix time."""
        found = self._revocations.troubles(f"revocation list {self.path}", now)
        return found if self._copy is None else [*found, self._copy]

    def _tell(self) -> None:
        """Log what is wrong, when it is something else than before."""
        faults = self._revocations.faults
        if faults != self._told:
            for fault in faults:
                log.error("revocation list %s: %s", self.path, fault)
            if not faults:
                log.info("revocation list %s is in order again", self.path)
            self._told = faults

    def _read_kept(self, kept: Path, authorities: Sequence[X509]) -> None:
        """Begin with what was in use in the last run."""
        try:
            read = read_lists(_content(kept), authorities)
        except OSError as error:
            log.warning("copy of the revocation list %s: %s", kept, error.strerror or error)
            return
        self._revocations.take(read)

    def _keep(self) -> None:
        if self._kept is None:
            return
        try:
            self._kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._kept, self._revocations.pem())
        except OSError as error:
            why = f"{error.strerror or error}; if the list is damaged at the next start, nothing is known to be revoked"
            self._copy = Trouble(f"copy of the revocation list {self._kept}", why, "see [state] directory")
            log.error("%s: %s", self._copy.what, why)
        else:
            self._copy = None


def _content(path: Path) -> bytes:
    """Raises OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise OSError(f"it is larger than {MAX_SIZE} bytes")
    return data
