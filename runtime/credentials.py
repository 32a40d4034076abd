"""What a server proves itself by, and whom it believes: certificate, key, authorities, revocation list.

The files are looked at again and again (poll()). A change of one of them makes a new TLS context, for connections from
then on; those that are there go on. Files that don't fit together, or are half written, change nothing: the former ones
stay in use, the status says so, and the next change is tried again.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime import tls
from runtime.authorities import Authorities, Disowned
from runtime.certificate_metrics import measure_certificates
from runtime.certificates import (
    Certificate,
    CertificateError,
    Trouble,
    read_der,
)
from runtime.errors import OperatorError
from runtime.expiry import Expiries
from runtime.file_watch import FileWatch
from runtime.log import fields
from runtime.metrics import Metric

if TYPE_CHECKING:
    from runtime.revocation import Revoked
    from runtime.revocation_file import RevocationFile

log = logging.getLogger("vrfwire.tls")


class TlsFiles(NamedTuple):
    """Files of [tls]. ca: None when clients aren't asked for certificates; crl: None when nothing is revoked; kept:
    where a copy of the list is kept, None for nowhere; others: certificates that the daemon shows elsewhere, for their
    expiry."""

    certificate: Path
    key: Path
    ca: Path | None
    crl: Path | None = None
    kept: Path | None = None
    others: tuple[Path, ...] = ()

    def check(self, protocols: Sequence[str] = ()) -> None:
        """Raises OperatorError when they can't be used as they are. Nothing is written: the daemon of these files may
        be running, as another user than who checks."""
        tls.server_context(self.certificate, self.key, self.ca, protocols)
        revocations = open_revocations(self._replace(kept=None))
        if revocations is not None:
            revocations.check()


class Changes(NamedTuple):
    """What poll() found. context: for new connections; revoked: other certificates may be revoked than before, or of
    an authority that was taken out."""

    context: bool
    revoked: bool


class ServerCredentials:
    """Use it within one event loop. protocols: for ALPN; wall: Unix time, seconds. Raises OperatorError for files that
    can't be used, but for a revocation list."""

    def __init__(self, files: TlsFiles, protocols: Sequence[str] = (), wall: Callable[[], float] = time.time) -> None:
        self._protocols = tuple(protocols)
        self._wall = wall
        self.counters: Counter[str] = Counter()
        """Connections with a revoked certificate: "refused", "ended"."""
        self._problem: Trouble | None = None
        self._told: set[tuple[str, str]] = set()
        self._begin(files, self.prepare(files))

    def _begin(self, files: TlsFiles, context: ssl.SSLContext) -> None:
        self._files = files
        self._watch = self._prepared
        self._authorities = None if files.ca is None else Authorities(files.ca)
        self._list_watch = FileWatch((files.crl, files.ca))
        self.context = context
        self._expiries = Expiries((files.certificate, *files.others), (files.ca,), self._wall)
        self._revocations = open_revocations(files)
        if self._revocations is not None:
            self._revocations.read()

    # -- changes

    def prepare(self, files: TlsFiles) -> ssl.SSLContext:
        """A context of other files, for replace(). Raises OperatorError."""
        # As they are before they are read: a change from now on is found by the next poll().
        self._prepared = FileWatch((files.certificate, files.key, files.ca))
        return tls.server_context(files.certificate, files.key, files.ca, self._protocols)

    def replace(self, files: TlsFiles, context: ssl.SSLContext) -> None:
        """Use other files, or the same ones as they are now."""
        self._problem = None
        if files == self._files:
            # A list that is damaged now must not bring back who was revoked by the one before.
            self.context = context
            self._watch = self._prepared
            self._list_watch.changed()
            self._look_for_removed()
            if self._revocations is not None:
                self._revocations.read()
        else:
            self._begin(files, context)

    def poll(self) -> Changes:
        """Look whether the files have changed, and use them."""
        return self._take(self._watch.changed(), self._list_watch.changed())

    def read_again(self) -> Changes:
        """Use the files as they are, whether they have changed or not."""
        self._watch.changed()
        self._list_watch.changed()
        return self._take(True, True)

    def _take(self, files: bool, lists: bool) -> Changes:
        revoked = lists and self._revocations is not None and self._revocations.read()
        if not files:
            return Changes(False, revoked)
        try:
            self.context = self.prepare(self._files)
        except OperatorError as error:
            problem = Trouble(error.what, f"{error.why}; the former files are in use", error.hint)
            if problem != self._problem:
                log.error("%s: %s", problem.what, problem.why)
            self._problem = problem
            return Changes(False, revoked)
        self._problem = None
        log.info("certificate %s was read again; it is shown to new connections", self._files.certificate)
        return Changes(True, self._look_for_removed() or revoked)

    def _look_for_removed(self) -> bool:
        return self._authorities is not None and self._authorities.read()

    # -- checking

    def revoked(self, certificate: Certificate | None) -> Revoked | Disowned | None:
        """Whether a peer's certificate is revoked, or its authority counts no more."""
        if certificate is None:
            return None
        found = self._revocations.find(certificate) if self._revocations is not None else None
        if found is not None or self._authorities is None:
            return found
        return self._authorities.find(certificate)

    def is_distrusted(self, certificate: Certificate) -> bool:
        """Whether the holder of a certificate is not to be believed, and not only the certificate."""
        revoked = self.revoked(certificate)
        return revoked is not None and not revoked.superseded

    def refuse(self, certificate: Certificate, revoked: Revoked | Disowned, peer: str, *, live: bool) -> None:
        """Count and log a connection with a revoked certificate. live: it was there before."""
        self.counters["ended" if live else "refused"] += 1
        who = (certificate.shown_serial, peer)
        # One that tries again and again fills no log.
        level = logging.DEBUG if who in self._told and not live else logging.WARNING
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told.add(who)
        what = "connection" if live else "attempt"
        log.log(
            level,
            "%s from %s ended: the certificate of %s, serial number %s, was %s",
            *(what, peer, certificate.name or "-", certificate.shown_serial, revoked),
            extra=fields(peer=peer),
        )

    # -- showing

    def troubles(self) -> list[Trouble]:
        """What is wrong, or soon will be."""
        now = self._wall()
        found = [] if self._problem is None else [self._problem]
        found += self._expiries.troubles()
        return found + (self._revocations.troubles(now) if self._revocations is not None else [])

    def document(self) -> dict[str, object]:
        """For the answer to tls.reload."""
        crl, own = self._revocations, self._expiries.certificate(self._files.certificate)
        return {
            "certificate": str(self._files.certificate),
            "serial": own.shown_serial if own is not None else "",
            "crl": None if crl is None else str(crl.path),
            "revoked": 0 if crl is None else crl.count(),
            "numbers": [] if crl is None else crl.numbers(),
            "connections": {action: self.counters[action] for action in ("refused", "ended")},
            "problems": [{"what": one.what, "why": one.why, "hint": one.hint} for one in self.troubles()],
        }

    def metrics(self) -> list[Metric]:
        """Those of CERTIFICATE_METRICS that there are."""
        expiries = self._expiries.times()
        if self._revocations is None:
            return measure_certificates(expiries, {}, None)
        due = self._revocations.due()
        return measure_certificates(expiries, {} if due is None else {self._revocations.path: due}, self.counters)


_MAX_TOLD = 1000
"""Revoked certificates, and where they came from, that are remembered to have been logged."""


def open_revocations(files: TlsFiles) -> RevocationFile | None:
    """The revocation list of [tls], not read yet; None without."""
    if files.crl is None or files.ca is None:
        return None
    # Imported here: who uses no list does without the library for it.
    from runtime.revocation_file import RevocationFile

    return RevocationFile(files.crl, files.ca, files.kept)


def read_peer(der: bytes | None) -> Certificate | None:
    """The certificate that a peer has shown and TLS has verified; None for none, or one that can't be read."""
    if not der:
        return None
    try:
        return read_der(der)
    except CertificateError:
        return None
