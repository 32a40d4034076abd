"""Revocation lists (RFC 5280, section 5) and the certificates that they revoke. No I/O.

TLS libraries can check lists, too, but they refuse everybody as soon as a list is missing or its time is over. Here a
list holds until a newer one of the same authority takes its place: what was revoked stays revoked whatever becomes of
the file, nobody else is concerned, and what is wrong is told.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from runtime.certificates import Certificate, Trouble, read_der, shown_serial

_PEM = re.compile(rb"-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----\n?")
HINT = "`vrfwire-gateway-ctl pki crl` on the machine of the authority makes one; copy its crl.pem here"
SUPERSEDED = "superseded"
"""Reason for a certificate in whose place its holder has another one: the holder is trusted as before."""


class Revoked(NamedTuple):
    """A revoked certificate. since: Unix time, seconds; reason: as in RFC 5280 ("keyCompromise"), "" for none."""

    serial: int
    since: float
    reason: str

    @property
    def superseded(self) -> bool:
        """Whether its holder has another one."""
        return self.reason == SUPERSEDED

    def __str__(self) -> str:
        when = datetime.datetime.fromtimestamp(self.since, datetime.UTC).strftime("%Y-%m-%d")
        return f"revoked on {when}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list whose signature was found right. authority: who has signed it; number: None when it has none; this_update,
    next_update: Unix time, seconds; pem: all of it."""

    authority: Certificate
    number: int | None
    this_update: float
    next_update: float | None
    revoked: Mapping[int, Revoked]
    pem: bytes

    def is_older(self, other: RevocationList) -> bool:
        """Whether the other is newer. Numbers only grow (section 5.2.3)."""
        if self.number is not None and other.number is not None:
            return self.number < other.number
        return self.this_update < other.this_update

    def concerns(self, certificate: Certificate) -> bool:
        """Whether its authority may have issued a certificate. By the key, since several may have one name; in doubt it
        has, since a name can be written in several ways."""
        if certificate.authority_key and self.authority.subject_key:
            return certificate.authority_key == self.authority.subject_key
        return True


class Read(NamedTuple):
    """What was found in a file. faults: why not all of it can be used."""

    lists: tuple[RevocationList, ...]
    faults: tuple[str, ...]


def read_authorities(data: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file. Raises ValueError."""
    return x509.load_pem_x509_certificates(data)


def read_lists(data: bytes, authorities: Sequence[x509.Certificate]) -> Read:
    """Read the lists of a file: PEM, one after the other, or one in DER. Each is looked at by itself."""
    blocks = _PEM.findall(data)
    if not blocks and data[:1] == b"\x30":
        try:
            blocks = [x509.load_der_x509_crl(data).public_bytes(Encoding.PEM)]
        except ValueError:
            return Read((), ("it is damaged",))
    lists, faults = [], []
    for block in blocks:
        try:
            lists.append(_read_list(block, authorities))
        except ValueError as error:
            faults.append(str(error))
    if data.count(b"-----BEGIN X509 CRL-----") > len(blocks):
        faults.append("its end is missing")
    elif not blocks:
        faults.append("there is no revocation list in it")
    return Read(tuple(lists), tuple(faults))


def _read_list(block: bytes, authorities: Sequence[x509.Certificate]) -> RevocationList:
    """Raises ValueError with a text for the operator."""
    try:
        found = x509.load_pem_x509_crl(block)
        issuer = found.issuer
        extensions = found.extensions
    except ValueError:
        raise ValueError("it is damaged") from None
    who = issuer.rfc4514_string()
    authority = next((one for one in authorities if _has_signed(one, found)), None)
    if authority is None:
        known = any(one.subject == issuer for one in authorities)
        why = "its signature is wrong" if known else "that authority isn't in tls.ca"
        raise ValueError(f"a list of {who}: {why}")
    number = None
    for extension in extensions:
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
        elif extension.critical:
            # Of a part of the certificates only, or against an earlier list: section 5.2 forbids to use it.
            raise ValueError(f"a list of {who}: it is not a complete one")
    return RevocationList(
        read_der(authority.public_bytes(Encoding.DER)),
        number,
        found.last_update_utc.timestamp(),
        found.next_update_utc.timestamp() if found.next_update_utc is not None else None,
        {entry.serial_number: _revoked(entry) for entry in found},
        block,
    )


def _has_signed(authority: x509.Certificate, found: x509.CertificateRevocationList) -> bool:
    if authority.subject != found.issuer:
        return False
    try:
        return found.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # other keys: TypeError
    except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False


def _revoked(entry: x509.RevokedCertificate) -> Revoked:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value
    except (x509.ExtensionNotFound, ValueError):
        # Whatever is wrong with the reason, it is revoked.
        reason = ""
    return Revoked(
        entry.serial_number, entry.revocation_date_utc.timestamp(), "" if reason == "unspecified" else reason
    )


class Revocations:
    """The lists in use, one an authority."""

    def __init__(self) -> None:
        self._lists: dict[tuple[bytes, bytes], RevocationList] = {}
        self._faults: tuple[str, ...] = ("it was not read yet",)

    @property
    def lists(self) -> tuple[RevocationList, ...]:
        """Those in use."""
        return tuple(self._lists.values())

    def take(self, read: Read) -> bool:
        """Use what was read, unless it is older than what is in use; whether anything is other than before."""
        before, faults, told = dict(self._lists), list(read.faults), set()
        for one in read.lists:
            key = _key(one.authority)
            told.add(key)
            known = self._lists.get(key)
            if known is not None and one.is_older(known):
                faults.append(f"the list of {_shown(one)} is older than one that was here before")
            else:
                self._lists[key] = one
        if not read.faults:
            faults += [f"the list of {_shown(one)} is missing" for key, one in self._lists.items() if key not in told]
        self._faults = tuple(faults)
        return {key: one.pem for key, one in before.items()} != {key: one.pem for key, one in self._lists.items()}

    def unreadable(self, why: str) -> None:
        """The file can't be read: what is in use stays."""
        self._faults = (why,)

    def restrict(self, authorities: Iterable[Certificate]) -> bool:
        """Forget lists of others than these authorities, which nobody believes any more; whether there were any."""
        known = {_key(one) for one in authorities}
        gone = [key for key in self._lists if key not in known]
        for key in gone:
            del self._lists[key]
        return bool(gone)

    def find(self, certificate: Certificate) -> Revoked | None:
        """Whether a certificate is revoked."""
        for one in self._lists.values():
            found = one.revoked.get(certificate.serial)
            if found is not None and one.concerns(certificate):
                return found
        return None

    def due(self) -> float | None:
        """When the first of the lists is due to be replaced, Unix time; None: never."""
        return min((one.next_update for one in self._lists.values() if one.next_update is not None), default=None)

    def pem(self) -> bytes:
        """All lists in use, to be kept."""
        return b"".join(one.pem if one.pem.endswith(b"\n") else one.pem + b"\n" for one in self._lists.values())

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the file, whatever the time is."""
        return self._faults

    def troubles(self, what: str, now: float) -> list[Trouble]:
        """What is wrong. what: the file; now: Unix time."""
        kept = "what it revoked before stays revoked" if self._lists else "nothing is known to be revoked"
        found = [Trouble(what, f"{fault}; {kept}", HINT) for fault in self._faults]
        for one in self._lists.values():
            if one.next_update is not None and one.next_update <= now:
                when = datetime.datetime.fromtimestamp(one.next_update, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
                found.append(Trouble(what, f"a newer list of {_shown(one)} was due on {when}; this one is used", HINT))
            if one.this_update > now + 300:
                found.append(Trouble(what, f"the list of {_shown(one)} is of the future; it is used", "see the clock"))
        return found


def _key(authority: Certificate) -> tuple[bytes, bytes]:
    return authority.subject, authority.subject_key


def _shown(one: RevocationList) -> str:
    number = f" (number {one.number})" if one.number is not None else ""
    return f"{one.authority.name or shown_serial(one.authority.serial)}{number}"
