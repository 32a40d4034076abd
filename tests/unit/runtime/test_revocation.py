"""Revocation lists: what counts, what doesn't, and that nothing that counted is lost."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from runtime.certificates import Certificate, read_der
from runtime.errors import OperatorError
from runtime.revocation import Read, Revocations, read_lists
from runtime.revocation_file import RevocationFile

NOW = 1_800_000_000
DAY = 86400


class Signer:
    """An authority."""

    def __init__(self, name: str = "authority", *, identified: bool = True) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(1)
        if identified:
            builder = builder.add_extension(x509.SubjectKeyIdentifier(name.encode() + b"1"), critical=False)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    def _builder(self, serial: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(self.name)
            .public_key(self.key.public_key())
            .serial_number(serial)
            .not_valid_before(when(NOW))
            .not_valid_after(when(NOW + 365 * DAY))
        )

    def issued(self, serial: int, key: bytes = b"") -> Certificate:
        """A certificate; key: identifier of the signer's in it."""
        builder = self._builder(serial)
        if key:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier(key, None, None), critical=False)
        return read_der(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER))

    def revoking(
        self,
        revoked: Mapping[int, x509.ReasonFlags | None],
        number: int | None = 1,
        begin: int = NOW,
        more: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """A list in PEM. more: extensions, and whether they are critical."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(when(begin)).next_update(when(begin + 30 * DAY))
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for extension, critical in more:
            builder = builder.add_extension(extension, critical=critical)
        for serial, reason in revoked.items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when(begin))
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def when(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


SIGNER = Signer()
COMPROMISED = {7: x509.ReasonFlags.key_compromise}


def taken(*reads: Read) -> Revocations:
    made = Revocations()
    for read in reads:
        made.take(read)
    return made


def whys(revocations: Revocations, now: float = NOW) -> list[str]:
    return [trouble.why for trouble in revocations.troubles("crl.pem", now)]


def test_what_is_listed_is_revoked_and_nothing_else() -> None:
    signer = Signer()
    made = taken(read_lists(signer.revoking(COMPROMISED | {8: None}), [signer.certificate]))
    found = made.find(signer.issued(7))
    assert (
        found is not None and found.reason == "keyCompromise" and str(found) == "revoked on 2027-01-15 (keyCompromise)"
    )
    other = made.find(signer.issued(8))
    assert other is not None and other.reason == "" and not other.superseded
    assert made.find(signer.issued(9)) is None
    assert whys(made) == [] and made.due() == NOW + 30 * DAY


def test_a_list_in_der_is_read() -> None:
    signer = Signer()
    der = x509.load_pem_x509_crl(signer.revoking(COMPROMISED)).public_bytes(Encoding.DER)
    assert taken(read_lists(der, [signer.certificate])).find(signer.issued(7)) is not None


def test_lists_of_several_authorities_count_for_their_own_certificates() -> None:
    one, two = Signer("one"), Signer("two")
    data = one.revoking(COMPROMISED) + two.revoking({9: None})
    made = taken(read_lists(data, [one.certificate, two.certificate]))
    assert made.find(one.issued(7, b"one1")) is not None and made.find(two.issued(9, b"two1")) is not None
    assert made.find(two.issued(7, b"two1")) is None
    # One that doesn't say whose it is might be anybody's.
    assert made.find(two.issued(7)) is not None


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-40], "its end is missing"),
        (lambda data: b"", "there is no revocation list"),
        (lambda data: b"\x30\x00", "damaged"),
        (lambda data: data.replace(b"\n", b"\nAAAA", 2), "damaged"),
        (lambda data: Signer("stranger").revoking({}), "isn't in tls.ca"),
        (lambda data: Signer().revoking({}, number=99), "its signature is wrong"),
        (lambda data: SIGNER.revoking({}, more=[(x509.DeltaCRLIndicator(1), True)]), "not a complete one"),
    ],
)
def test_what_cannot_be_used_changes_nothing_and_is_told(damage: object, told: str) -> None:
    good = SIGNER.revoking(COMPROMISED, number=5)
    made = taken(read_lists(good, [SIGNER.certificate]))
    assert callable(damage)
    assert not made.take(read_lists(damage(good), [SIGNER.certificate]))
    assert made.find(SIGNER.issued(7)) is not None
    assert any(told in why and "stays revoked" in why for why in whys(made)), whys(made)
    # In order again.
    made.take(read_lists(good, [SIGNER.certificate]))
    assert whys(made) == []


def test_one_bad_list_does_not_hide_a_good_one() -> None:
    one, two = Signer("one"), Signer("two")
    read = read_lists(
        one.revoking(COMPROMISED)[:-60] + b"\n" + two.revoking({9: None}), [one.certificate, two.certificate]
    )
    made = taken(read)
    assert made.find(two.issued(9, b"two1")) is not None and whys(made)


def test_an_older_list_does_not_bring_back_who_is_revoked() -> None:
    newer, older = SIGNER.revoking(COMPROMISED, number=5), SIGNER.revoking({}, number=4, begin=NOW + DAY)
    made = taken(read_lists(newer, [SIGNER.certificate]), read_lists(older, [SIGNER.certificate]))
    assert made.find(SIGNER.issued(7)) is not None and "older" in whys(made, NOW + DAY)[0]
    # Without numbers the time decides.
    newer, older = SIGNER.revoking(COMPROMISED, None, NOW + 1), SIGNER.revoking({}, None, NOW)
    made = taken(read_lists(newer, [SIGNER.certificate]), read_lists(older, [SIGNER.certificate]))
    assert made.find(SIGNER.issued(7)) is not None


def test_a_newer_list_may_release() -> None:
    made = taken(read_lists(SIGNER.revoking(COMPROMISED, number=5), [SIGNER.certificate]))
    assert made.take(read_lists(SIGNER.revoking({}, number=6), [SIGNER.certificate]))
    assert made.find(SIGNER.issued(7)) is None and whys(made) == []


def test_an_overdue_list_holds_and_is_told() -> None:
    made = taken(read_lists(SIGNER.revoking(COMPROMISED), [SIGNER.certificate]))
    (why,) = whys(made, NOW + 31 * DAY)
    assert "was due on 2027-02-14" in why and made.find(SIGNER.issued(7)) is not None
    (why,) = whys(made, NOW - DAY)
    assert "of the future" in why


def test_a_list_that_vanishes_from_the_file_holds_and_is_told() -> None:
    one, two = Signer("one"), Signer("two")
    both = [one.certificate, two.certificate]
    made = taken(read_lists(one.revoking(COMPROMISED) + two.revoking({}), both), read_lists(two.revoking({}), both))
    assert made.find(one.issued(7, b"one1")) is not None
    assert "the list of one (number 1) is missing" in whys(made)[0]
    # The authority itself is taken away: nobody believes it any more.
    assert made.restrict([read_der(two.certificate.public_bytes(Encoding.DER))])
    made.take(read_lists(two.revoking({}), [two.certificate]))
    assert whys(made) == []


# -- the file


class Files:
    """ca.pem, crl.pem, and a copy of it."""

    def __init__(self, directory: Path, signer: Signer) -> None:
        self.crl, self.ca, self.kept = directory / "crl.pem", directory / "ca.pem", directory / "state" / "kept.pem"
        self.ca.write_bytes(signer.pem())

    def open(self) -> RevocationFile:
        return RevocationFile(self.crl, self.ca, self.kept)


def test_a_copy_of_the_list_outlives_the_file_and_the_process(tmp_path: Path) -> None:
    files = Files(tmp_path, SIGNER)
    files.crl.write_bytes(SIGNER.revoking(COMPROMISED, number=5))
    first = files.open()
    assert first.read() and not first.read()
    files.crl.unlink()
    later = files.open()
    later.read()
    assert later.find(SIGNER.issued(7)) is not None and later.numbers() == [5] and later.count() == 1
    assert "No such file" in later.troubles(NOW)[0].why
    # An older list put there meanwhile.
    files.crl.write_bytes(SIGNER.revoking({}, number=4))
    again = files.open()
    again.read()
    assert again.find(SIGNER.issued(7)) is not None


def test_a_copy_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    files = Files(tmp_path, SIGNER)
    files.kept.parent.write_text("a file where the directory should be")
    files.crl.write_bytes(SIGNER.revoking(COMPROMISED))
    opened = files.open()
    opened.read()
    assert opened.find(SIGNER.issued(7)) is not None
    assert any("copy of the revocation list" in trouble.what for trouble in opened.troubles(NOW))


def test_authorities_that_cannot_be_read_change_nothing(tmp_path: Path) -> None:
    files = Files(tmp_path, SIGNER)
    files.crl.write_bytes(SIGNER.revoking(COMPROMISED))
    opened = files.open()
    opened.read()
    files.ca.write_bytes(b"")
    assert not opened.read()
    assert opened.find(SIGNER.issued(7)) is not None and "ca.pem can't be read" in opened.troubles(NOW)[0].why


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    files = Files(tmp_path, SIGNER)
    with pytest.raises(OperatorError, match="No such file") as caught:
        files.open().check()
    assert "pki crl" in caught.value.hint
    files.crl.write_bytes(SIGNER.revoking({}))
    files.open().check()
