"""What certificates say, held against a library that reads them, too; when they are a problem."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from lab.pki import Authority
from runtime.certificates import (
    DAY,
    Certificate,
    CertificateError,
    expiry_of_authorities,
    expiry_of_chain,
    expiry_trouble,
    read_der,
    read_pem,
    renewal_hint,
)

KEY = ec.generate_private_key(ec.SECP256R1())
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
NOW = 1_800_000_000.0


def made(name: str, serial: int, begin: int, seconds: int, *, bare: bool = False) -> x509.Certificate:
    """A certificate; bare: without extensions and common name, which is version 1's."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")]
        + ([] if bare else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(EPOCH + datetime.timedelta(seconds=begin))
        .not_valid_after(EPOCH + datetime.timedelta(seconds=begin + seconds))
    )
    if not bare:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(b"subject"), critical=False).add_extension(
            x509.AuthorityKeyIdentifier(b"authority", None, None), critical=False
        )
    return builder.sign(KEY, hashes.SHA256())


@given(
    # A common name has 64 bytes at most, a character up to four of them.
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=64)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16),
    st.integers(1, (1 << 159) - 1),
    # UTCTime until 2049, GeneralizedTime from then on.
    st.integers(0, 4_000_000_000),
    st.integers(1, 4_000_000_000),
)
def test_reads_what_a_library_reads(name: str, serial: int, begin: int, seconds: int) -> None:
    made_one = made(name, serial, begin, seconds)
    der = made_one.public_bytes(Encoding.DER)
    assert read_der(der) == Certificate(
        serial,
        name,
        made_one.issuer.public_bytes(),
        made_one.subject.public_bytes(),
        begin,
        begin + seconds,
        b"subject",
        b"authority",
    )
    assert read_pem(made_one.public_bytes(Encoding.PEM)) == (read_der(der),)


def test_what_is_not_there_is_empty() -> None:
    found = read_der(made("", 1, 0, 1, bare=True).public_bytes(Encoding.DER))
    assert (found.name, found.subject_key, found.authority_key) == ("", b"", b"")


@given(st.binary(max_size=400))
def test_garbage_is_no_certificate(data: bytes) -> None:
    with pytest.raises(CertificateError):
        read_der(data)


DER = made("hv7", 77, 0, 1000).public_bytes(Encoding.DER)


@given(st.data())
def test_damage_is_noticed_or_harmless(data: st.DataObject) -> None:
    """Nothing but the reader's own error, whatever is changed."""
    der = bytearray(DER)
    der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CertificateError):
        read_der(bytes(der[: data.draw(st.integers(0, len(der)))]))


@pytest.mark.parametrize("data", [b"", b"text", b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificates_is_an_error(data: bytes) -> None:
    with pytest.raises(CertificateError):
        read_pem(data)


def test_files_of_the_lab_are_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    (ca,) = read_pem(authority.certificate.read_bytes())
    (host,) = read_pem(authority.host("hv1", "vpn.example.net", ["192.0.2.11"]).certificate.read_bytes())
    assert host.issuer == ca.subject and host.authority_key == ca.subject_key != b""
    assert host.name == "hv1" and len(host.shown_serial) % 2 == 0 and int(host.shown_serial, 16) == host.serial


@pytest.mark.parametrize(
    ("left", "told"),
    [(31 * DAY, ""), (30 * DAY, "expires in 30 days"), (1.5 * DAY, "expires in 1 day,"), (0, "expired on 2027-01-15")],
)
def test_a_certificate_is_a_problem_30_days_before_its_end(left: float, told: str) -> None:
    trouble = expiry_trouble("certificate x.pem", NOW + left, NOW, renewal_hint("hv7"))
    if not told:
        assert trouble is None
        return
    assert trouble is not None and told in trouble.why and trouble.what == "certificate x.pem"
    assert "vrfwire-gateway-ctl pki renew hv7" in trouble.hint


def test_a_chain_ends_with_its_first_and_authorities_with_their_last() -> None:
    chain = read_pem(made("a", 1, 0, 100).public_bytes(Encoding.PEM) + made("b", 2, 0, 200).public_bytes(Encoding.PEM))
    assert (expiry_of_chain(chain), expiry_of_authorities(chain)) == (100, 200)
