"""Authorities that were taken out of a file while a daemon runs: sessions with certificates of theirs are not believed.

TLS looks at certificates when a connection begins, and so at the authorities of that moment. Sessions live for months:
whoever has a stolen key of an authority would stay for as long, although its certificate was taken away.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from runtime.certificates import Certificate, CertificateError, read_pem


class Disowned(NamedTuple):
    """A certificate whose authority counts no more. Its holder is trusted as before when it comes with another one."""

    serial: int

    @property
    def superseded(self) -> bool:
        """Whether its holder has, or may get, another one."""
        return True

    def __str__(self) -> str:
        return "signed by an authority that is no longer in tls.ca"


class Authorities:
    """Those in a file. Certificates that one between signed are not known to be of any. Methods block for the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counting: set[tuple[bytes, bytes]] = set()
        self._gone: set[tuple[bytes, bytes]] = set()
        self.read()

    def read(self) -> bool:
        """Read the file again; whether somebody was taken out of it.

        A file that can't be read, or that has nobody in it who was there before, changes nothing: it is more likely a
        mistake, which shuts out new connections until it is mended, but should not end all that there are.
        """
        try:
            found = {(one.subject, one.subject_key) for one in read_pem(self._path.read_bytes())}
        except (OSError, CertificateError):
            return False
        if self._counting and not self._counting & found:
            return False
        gone = self._counting - found
        self._gone = (self._gone | gone) - found
        self._counting = found
        return bool(gone)

    def find(self, certificate: Certificate) -> Disowned | None:
        """Whether a certificate is of an authority that was taken out."""
        if _signer(certificate, self._gone) and not _signer(certificate, self._counting):
            return Disowned(certificate.serial)
        return None


def _signer(certificate: Certificate, authorities: set[tuple[bytes, bytes]]) -> bool:
    """Whether one of them has signed it: by the key, since several may have one name; by the name where no key is
    told."""
    return any(
        certificate.authority_key == key if certificate.authority_key and key else certificate.issuer == name
        for name, key in authorities
    )
