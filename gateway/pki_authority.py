"""Signs certificates and revocation lists (RFC 5280): ECDSA with P-256 and SHA-256; no I/O. Times are Unix time."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from gateway.pki_database import DAY, Record
from gateway.pki_subject import Subject

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 365
MAX_DAYS = 36500
SKEW = 3600
"""Seconds that a certificate is valid before it is made: clocks differ."""
MIN_RSA = 2048
CERTIFICATE_KEYS = (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1())


def write_key(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """In PEM (PKCS #8), encrypted with a passphrase if there is one."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def pem(what: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """In PEM."""
    return what.public_bytes(serialization.Encoding.PEM)


def fingerprint(key: PublicKeyTypes) -> str:
    """Of a public key: SHA-256 of its SubjectPublicKeyInfo, hexadecimal."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_of_pem(data: bytes) -> PublicKeyTypes:
    """The public key of a private one in PEM, without passphrase. Raises ValueError."""
    try:
        return serialization.load_pem_private_key(data, None).public_key()
    except TypeError:
        raise ValueError("it has a passphrase") from None


def key_of_request(data: bytes, name: str) -> PublicKeyTypes:
    """The public key of a certificate request in PEM, whose names count for nothing. Raises ValueError for one that is
    damaged, made for somebody else than `name`, or has a weak key."""
    try:
        request = x509.load_pem_x509_csr(data)
        key = request.public_key()
    except ValueError:
        raise ValueError("it is no certificate request in PEM") from None
    if not request.is_signature_valid:
        raise ValueError("its signature is wrong")
    names = [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if any(one.lower() != name.lower() for one in names):
        raise ValueError(f"it was made for {names[0]!r}, not for {name!r}")
    if not isinstance(key, CERTIFICATE_KEYS):
        raise ValueError("TLS has no use for keys of this kind")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA:
        raise ValueError(f"an RSA key of {key.key_size} bits is too short: {MIN_RSA} are the least")
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 256:
        raise ValueError(f"a key of {key.key_size} bits is too short: 256 are the least")
    return key


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate with its key. generation: its number."""

    generation: int
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, generation: int, name: str, now: float, days: int) -> Authority:
        """Make one. name: its common name."""
        key = new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), now, now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(generation, certificate, key)

    def issue(self, subject: Subject, key: PublicKeyTypes, now: float, days: int) -> x509.Certificate:
        """A certificate for a holder's key; never valid longer than the authority's own."""
        end = min(now + days * DAY, self.certificate.not_valid_after_utc.timestamp())
        return (
            _builder(subject.common_name, self.certificate.subject, key, now, end)
            .add_extension(x509.SubjectAlternativeName(subject.alternative_names()), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(subject.purposes()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]
            .add_extension(self._identifier(), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def list_revoked(
        self, records: Iterable[Record], number: int, now: float, days: int
    ) -> x509.CertificateRevocationList:
        """A revocation list. number: greater than that of every earlier one; days: until the next one is due."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(_time(now))
            .next_update(_time(now + days * DAY))
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for record in records:
            builder = builder.add_revoked_certificate(_entry(record))
        return builder.sign(self.key, hashes.SHA256())

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def record_of(certificate: x509.Certificate, subject: Subject, generation: int) -> Record:
    """What the database keeps of a certificate."""
    return Record(
        certificate.serial_number,
        subject,
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
        fingerprint(certificate.public_key()),
        generation,
    )


def _entry(record: Record) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder().serial_number(record.serial).revocation_date(_time(float(record.revoked or 0)))
    )
    if record.reason != "unspecified":
        # Section 5.3.1: that one is said by saying nothing.
        builder = builder.add_extension(x509.CRLReason(x509.ReasonFlags(record.reason)), critical=False)
    return builder.build()


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKeyTypes, now: float, end: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)  # type: ignore[arg-type]  # X25519 and the like were refused
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(now - SKEW))
        .not_valid_after(_time(end))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
