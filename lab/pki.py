"""Certificates of a lab: an authority, gateways named by their XMPP domain, hosts named by their JID."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

XMPP_ADDRESS = ObjectIdentifier("1.3.6.1.5.5.7.8.5")
"""id-on-xmppAddr (RFC 6120, section 13.7.1.4): a subject alternative name that holds a JID."""

LIFETIME = datetime.timedelta(days=90)
"""More than the daemons want of one that needn't be renewed soon."""
SKEW = datetime.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files of one certificate: the authority's, the own, its key (all PEM)."""

    ca: Path
    certificate: Path
    key: Path

    def table(self) -> dict[str, object]:
        """As the [tls] table of the daemons' configuration."""
        return {"ca": str(self.ca), "certificate": str(self.certificate), "key": str(self.key)}


def xmpp_address(jid: str) -> x509.OtherName:
    """A JID as otherName: DER of a UTF8String, which is at most 127 bytes here. Raises ValueError for a longer one."""
    text = jid.encode()
    if len(text) > 127:
        raise ValueError(f"JID {jid!r} is too long for a lab's certificate")
    return x509.OtherName(XMPP_ADDRESS, b"\x0c" + bytes((len(text),)) + text)


class Authority:
    """A certificate authority that keeps its files in a directory."""

    def __init__(self, directory: Path, name: str = "vrfwire lab") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = directory / "ca.pem"
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def gateway(self, domain: str, addresses: Sequence[str], stem: str = "gateway") -> Credentials:
        """For a gateway: its domain as DNS name and JID, and the addresses that it is reached at."""
        return self.issue(stem, domain, dns=[domain], jids=[domain], addresses=addresses)

    def host(self, name: str, domain: str, addresses: Sequence[str], stem: str | None = None) -> Credentials:
        """For a host NAME: JID NAME@DOMAIN, and the underlay addresses that it may publish as next hops."""
        return self.issue(stem or name, name, dns=[name], jids=[f"{name}@{domain}"], addresses=addresses)

    def issue(
        self,
        stem: str,
        common_name: str,
        dns: Sequence[str] = (),
        jids: Sequence[str] = (),
        addresses: Sequence[str] = (),
        expired: bool = False,
    ) -> Credentials:
        """Write STEM.pem and STEM.key. expired: its time ended a minute ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [xmpp_address(jid) for jid in jids]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = _builder(subject, self._name, key.public_key(), expired)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = Credentials(self.certificate, self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.touch(mode=0o600)
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, expired: bool = False
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    end = now - datetime.timedelta(minutes=1) if expired else now + LIFETIME
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(end)
    )
