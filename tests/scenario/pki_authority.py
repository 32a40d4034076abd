"""The authority of `vrfwire-gateway-ctl pki` in the place of the lab's: tests of what becomes of its certificates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from gateway.pki import Pki
from gateway.pki import Request as Asked
from gateway.pki_store import Store
from gateway.pki_subject import Role, Subject
from lab.pki import Authority, Credentials


class PkiAuthority(Authority):
    """Each holder has a directory of its own; ca.pem and crl.pem for daemons are in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.pki = Pki(Store(directory / "pki"))
        self.pki.init(publish=str(directory))
        self.certificate = directory / "ca.pem"
        self.crl = directory / "crl.pem"

    def gateway(self, domain: str, addresses: Sequence[str], stem: str = "gateway") -> Credentials:
        """As of the lab's."""
        return self._enroll(Subject.of(stem, Role.GATEWAY, addresses, domain))

    def host(self, name: str, domain: str, addresses: Sequence[str], stem: str | None = None) -> Credentials:
        """As of the lab's; domain is of no account."""
        return self._enroll(Subject.of(name, Role.HOST, addresses))

    def map(self, stem: str, name: str) -> Credentials:
        """For a MAP server."""
        return self._enroll(Subject.of(stem, Role.MAP, ["127.0.0.1"], name))

    def client(self, name: str) -> Credentials:
        """For a client of a MAP server."""
        return self._enroll(Subject.of(name, Role.CLIENT))

    def _enroll(self, subject: Subject) -> Credentials:
        self.pki.enroll(subject, Asked(self.directory / subject.name))
        return self.credentials(subject.name)

    def credentials(self, name: str) -> Credentials:
        """The files of a holder."""
        folder = self.directory / name
        return Credentials(self.certificate, folder / f"{name}.pem", folder / f"{name}.key")

    def renew(self, name: str, *, fresh: bool = False) -> None:
        """Over the files of a holder."""
        self.pki.renew(name, Asked(self.directory / name), fresh=fresh)

    def serial(self, name: str) -> int:
        """Of the certificate that a holder has."""
        return x509.load_pem_x509_certificate(self.credentials(name).certificate.read_bytes()).serial_number
