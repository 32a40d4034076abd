"""The agent's certificates while it runs: what is wrong with them, and whether a gateway's is revoked.

Certificate, key and authorities are read anew for every connection (agent/session.py). Here their expiry is known.
Authorities and revocation list are looked at when a gateway connects, with every keepalive, and on SIGHUP: no timer is
spent on it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import TlsSection
from runtime.authorities import Authorities
from runtime.certificates import KEPT_LISTS, CertificateError, Trouble, read_der
from runtime.expiry import Expiries
from runtime.file_watch import FileWatch

if TYPE_CHECKING:
    from runtime.metrics import Metric
    from runtime.revocation_file import RevocationFile


class Certificates:
    """Of one agent. state: its state directory; wall: Unix time, seconds. Methods block for a look at the files."""

    def __init__(self, tls: TlsSection, state: Path, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._expiries = Expiries((tls.certificate,), (tls.ca,), wall)
        self._list_watch = FileWatch((tls.ca, tls.crl))
        self._authorities = Authorities(tls.ca)
        self.counters: Counter[str] = Counter()
        """Connections to gateways whose certificate is revoked: "refused", "ended"."""
        self._revocations: RevocationFile | None = None
        if tls.crl is not None:
            # Imported here: who uses no list does without the library for it.
            from runtime.revocation_file import RevocationFile

            self._revocations = RevocationFile(tls.crl, tls.ca, state / KEPT_LISTS)
            self._revocations.read()

    def refusal(self, der: bytes | None, live: bool = False) -> str:
        """Why a gateway with this certificate is not believed; "" when it is. live: it was, until now."""
        self._look()
        try:
            certificate = read_der(der or b"")
        except CertificateError as error:
            return "" if self._revocations is None else f"the gateway's certificate: {error}"
        listed = self._revocations.find(certificate) if self._revocations is not None else None
        revoked = listed or self._authorities.find(certificate)
        if revoked is None:
            return ""
        self.counters["ended" if live else "refused"] += 1
        return f"the gateway's certificate, serial number {certificate.shown_serial}, was {revoked}"

    def metrics(self) -> list[Metric]:
        """Those of CERTIFICATE_METRICS that there are."""
        # Imported here: an agent without metrics does without.
        from runtime.certificate_metrics import measure_certificates

        if self._revocations is None:
            return measure_certificates(self._expiries.times(), {}, None)
        due = self._revocations.due()
        lists = {} if due is None else {self._revocations.path: due}
        return measure_certificates(self._expiries.times(), lists, self.counters)

    def troubles(self) -> list[Trouble]:
        """What is wrong, or soon will be."""
        found = self._expiries.troubles()
        if self._revocations is not None:
            self._look()
            found += self._revocations.troubles(self._wall())
        return found

    def _look(self) -> None:
        if not self._list_watch.changed():
            return
        self._authorities.read()
        if self._revocations is not None:
            self._revocations.read()


def check_revocations(tls: TlsSection) -> None:
    """Raises OperatorError when the revocation list can't be used as it is."""
    if tls.crl is not None:
        from runtime.revocation_file import RevocationFile

        RevocationFile(tls.crl, tls.ca).check()
