"""Certificates of hosts that are revoked: who is refused, whose routes go. The server ends the sessions.

A host may have had several sessions with different certificates, one after the other, while one is renewed. What is
withdrawn is what was published in those whose certificate is revoked, whether they are still there or their items are
stale by now. A certificate that is revoked because its host has another one ("superseded") ends its sessions, too, but
the host is trusted as before: its items are stale and wait for it, and no packet is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.service import Service
from gateway.status import HostRecord
from runtime.certificates import Certificate
from runtime.credentials import ServerCredentials


class Trust:
    """Of one server. records: of its hosts."""

    def __init__(self, credentials: ServerCredentials, service: Service, records: Mapping[str, HostRecord]) -> None:
        self.credentials = credentials
        self._service = service
        self._records = records

    def refusal(self, certificate: Certificate | None, peer: str, *, live: bool = False) -> str:
        """Why a connection can't be, "" when it can; counted and logged. live: it was there before."""
        revoked = self.credentials.revoked(certificate)
        if certificate is None or revoked is None:
            return ""
        self.credentials.refuse(certificate, revoked, peer, live=live)
        return f"the certificate with serial number {certificate.shown_serial} was {revoked}"

    def certificates(self, host: str, number: int, certificate: Certificate | None) -> dict[int, Certificate]:
        """Certificates by the number of the session, of those sessions that still matter and of a new one."""
        record = self._records.get(host)
        publishing = self._service.rib.publishers(host)
        kept = {
            session: one
            for session, one in (record.certificates if record is not None else {}).items()
            if session in publishing or session in self._service.sessions or session in self._service.suspended
        }
        return kept if certificate is None else {**kept, number: certificate}

    def withdraw(self) -> Iterator[tuple[str, int]]:
        """Delete what was published with certificates that are revoked now: hosts, and how many items of each."""
        for host, record in list(self._records.items()):
            sessions = [session for session, one in record.certificates.items() if self.credentials.is_distrusted(one)]
            if sessions:
                yield host, self._service.rib.purge(host, sessions)
