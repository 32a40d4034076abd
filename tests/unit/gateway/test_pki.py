"""The authority: what it issues holds up against openssl, and its commands against repetition and crashes."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

import gateway.pki_files
import gateway.pki_store
from gateway.identity import identity_of
from gateway.pki import Pki, Request
from gateway.pki_database import DAY, State
from gateway.pki_store import Store
from gateway.pki_subject import Role, Subject
from runtime.errors import ExitCode, OperatorError
from runtime.revocation import Revocations, read_authorities, read_lists
from vpn.prefix import parse_address
from xmpp.jid import Jid

DOMAIN = "vpn.example.net"
HV7 = Subject.of("hv7", Role.HOST, ["192.0.2.7", "2001:db8::7"])
GATEWAY = Subject.of("gw1", Role.GATEWAY, ["192.0.2.1"], DOMAIN)


class Site:
    """An authority, with a clock of its own beside today's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.later = 0.0
        self.pki = Pki(Store(directory / "pki"), self.now)

    def now(self) -> float:
        return time.time() + self.later

    def init(self) -> Site:
        assert self.pki.init(publish=str(self.directory))
        return self

    def out(self, name: str) -> Path:
        return self.directory / name

    def enroll(self, subject: Subject, **more: object) -> str:
        """Its certificate file."""
        self.pki.enroll(subject, Request(self.out(subject.name), **more))  # type: ignore[arg-type]
        return str(self.out(subject.name) / f"{subject.name}.pem")

    def renew(self, name: str, **more: bool) -> str:
        self.pki.renew(name, Request(self.out(name)), **more)
        return str(self.out(name) / f"{name}.pem")

    def state(self, serial: int) -> State:
        database = self.pki.store.load()
        return database.state(database.records[serial], self.now())

    def verify(self, certificate: str, *options: str) -> str:
        """What `openssl verify` says; "" when all is well."""
        command = ["openssl", "verify", "-x509_strict", "-CAfile", str(self.directory / "ca.pem"), *options]
        command += ["-crl_check", "-CRLfile", str(self.directory / "crl.pem"), certificate]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path).init()


def certificate(path: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes())


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


# -- what is in a certificate


def test_each_role_is_what_it_is_for_and_nothing_else(site: Site) -> None:
    host, gateway = site.enroll(HV7), site.enroll(GATEWAY)
    server = site.enroll(Subject.of("map", Role.MAP, ["192.0.2.9"], "map.example.net"))
    client = site.enroll(Subject.of("ann@example.net", Role.CLIENT))
    suits = {
        host: {"sslclient"},
        gateway: {"sslclient", "sslserver"},
        server: {"sslserver"},
        client: {"sslclient"},
    }
    for path, purposes in suits.items():
        for purpose in ("sslclient", "sslserver"):
            assert (site.verify(path, "-purpose", purpose) == "") == (purpose in purposes), (path, purpose)
    # By the name that agents and MAP clients look for.
    assert site.verify(gateway, "-verify_hostname", DOMAIN) == ""
    assert site.verify(server, "-verify_hostname", "map.example.net", "-verify_ip", "192.0.2.9") == ""
    assert "mismatch" in site.verify(host, "-verify_hostname", DOMAIN)
    assert "XmppAddr::vpn.example.net" in openssl("x509", "-in", gateway, "-noout", "-text")


def test_gateways_take_hosts_for_hosts_and_nobody_else(site: Site) -> None:
    def identity(path: str) -> tuple[tuple[Jid, ...], frozenset[bytes]]:
        return tuple(identity_of(certificate(path).public_bytes(Encoding.DER), DOMAIN))  # type: ignore[return-value]

    jids, addresses = identity(site.enroll(HV7))
    assert jids == (Jid.parse(f"hv7@{DOMAIN}"),)
    assert addresses == {parse_address("192.0.2.7"), parse_address("2001:db8::7")}
    assert identity(site.enroll(GATEWAY))[0] == ()
    assert identity(site.enroll(Subject.of("orchestration", Role.CLIENT)))[0] == ()


def test_keys_are_for_their_owner_alone(site: Site) -> None:
    site.enroll(HV7)
    for path in (site.directory / "pki" / "authority-1.key", site.out("hv7") / "hv7.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (site.directory / "pki").stat().st_mode & 0o777 == 0o700
    assert not list((site.directory / "pki").rglob("hv7*"))
    made = certificate(str(site.out("hv7") / "hv7.pem"))
    key = made.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    assert made.serial_number.bit_length() > 100


def test_validity_ends_with_the_authority(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.pki.init(days=100)
    made = certificate(site.enroll(HV7, days=3650))
    authority = certificate(str(tmp_path / "pki" / "authority-1.pem"))
    assert made.not_valid_after_utc == authority.not_valid_after_utc


# -- enrolling


def test_the_same_again_changes_nothing(site: Site) -> None:
    path = site.enroll(HV7)
    before = {file: file.read_bytes() for file in site.out("hv7").iterdir()}
    number = site.pki.store.load().list_number
    assert site.pki.enroll(HV7, Request(site.out("hv7"))).unchanged
    assert {file: file.read_bytes() for file in site.out("hv7").iterdir()} == before
    assert site.pki.store.load().list_number == number
    # Files that got lost are put there again; the key can't be.
    Path(path).unlink()
    assert site.pki.enroll(HV7, Request(site.out("hv7"))).unchanged and Path(path).exists()
    (site.out("hv7") / "hv7.key").unlink()
    with pytest.raises(OperatorError, match="written once") as caught:
        site.enroll(HV7)
    assert caught.value.code is ExitCode.CONFLICT and "pki renew hv7 --new-key" in caught.value.hint


def test_other_names_are_a_conflict(site: Site) -> None:
    site.enroll(HV7)
    with pytest.raises(OperatorError, match=r"with other names: host, 192\.0\.2\.7, 2001:db8::7") as caught:
        site.enroll(Subject.of("hv7", Role.HOST, ["192.0.2.8"]))
    assert caught.value.code is ExitCode.CONFLICT and "pki revoke hv7" in caught.value.hint


@pytest.mark.parametrize(
    "other",
    [
        Subject.of("hv8", Role.HOST, ["192.0.2.7"]),
        Subject.of(DOMAIN, Role.HOST, ["192.0.2.8"]),
    ],
    ids=["address of another host", "name of a gateway's domain"],
)
def test_nobody_gets_what_is_of_others(site: Site, other: Subject) -> None:
    site.enroll(HV7)
    site.enroll(GATEWAY)
    with pytest.raises(OperatorError) as caught:
        site.enroll(other)
    assert caught.value.code is ExitCode.CONFLICT
    assert not site.out(other.name).exists()


def test_a_bundle_in_an_archive(site: Site) -> None:
    site.enroll(GATEWAY)
    out = site.directory / "hv7.tar"
    assert not site.pki.enroll(HV7, Request(out)).unchanged
    assert out.stat().st_mode & 0o777 == 0o600
    with tarfile.open(out) as archive:
        modes = {entry.name: entry.mode for entry in archive}
        snippet = archive.extractfile("agent.toml")
        assert snippet is not None
        text = snippet.read().decode()
    assert modes == dict.fromkeys(("hv7.pem", "ca.pem", "crl.pem", "agent.toml"), 420) | {"hv7.key": 0o600}
    assert 'address = "192.0.2.1"\ndomain = "vpn.example.net"' in text and 'crl = "crl.pem"' in text
    assert site.pki.enroll(HV7, Request(out)).unchanged
    out.write_bytes(b"something else")
    with pytest.raises(OperatorError, match="no archive that was made here"):
        site.pki.enroll(HV7, Request(out))


def test_files_of_others_are_not_replaced(site: Site, tmp_path: Path) -> None:
    stranger = Site(tmp_path / "stranger")
    stranger.directory.mkdir()
    stranger.init()
    with pytest.raises(OperatorError, match=r"ca\.pem there is of another authority"):
        site.pki.enroll(HV7, Request(stranger.directory))
    with pytest.raises(OperatorError, match=r"ca\.pem there is of another authority"):
        Site(stranger.directory / "more").pki.init(publish=str(stranger.directory))
    folder = site.out("hv7")
    folder.mkdir()
    (folder / "hv7.key").write_text("somebody's")
    with pytest.raises(OperatorError, match="of no certificate that was issued here"):
        site.enroll(HV7)
    (folder / "hv7.key").unlink()
    (folder / "agent.toml").write_text("# edited\n")
    site.enroll(GATEWAY)
    issued = site.pki.enroll(HV7, Request(folder))
    assert issued.kept == ("agent.toml",) and (folder / "agent.toml").read_text() == "# edited\n"


@pytest.mark.parametrize("out", ["absent/hv7.tar", "file/hv7", "ca.pem"])
def test_nothing_is_issued_where_nothing_can_be_written(site: Site, out: str) -> None:
    """Otherwise there would be a certificate whose key nobody has."""
    (site.directory / "file").touch()
    with pytest.raises(OperatorError) as caught:
        site.pki.enroll(HV7, Request(site.directory / out))
    assert caught.value.hint and site.pki.store.load().of("hv7") == []
    assert not site.pki.enroll(HV7, Request(site.out("hv7"))).unchanged


# -- certificate requests


def request(path: Path, name: str = "hv7", key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> Path:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("evil.example.net")]), critical=False)
    path.write_bytes(made.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM))
    return path


def test_a_key_stays_on_its_host(site: Site) -> None:
    csr = request(site.directory / "hv7.csr")
    path = site.enroll(HV7, csr=csr)
    assert not (site.out("hv7") / "hv7.key").exists()
    names = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hv7"]
    assert certificate(path).public_key() == x509.load_pem_x509_csr(csr.read_bytes()).public_key()
    assert site.pki.enroll(HV7, Request(site.out("hv7"), csr)).unchanged
    with pytest.raises(OperatorError, match="with another key"):
        site.enroll(HV7, csr=request(csr))
    site.pki.renew("hv7", Request(site.out("hv7"), csr))
    assert certificate(path).public_key() == x509.load_pem_x509_csr(csr.read_bytes()).public_key()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: request(path, "hv8"), "made for 'hv8'"),
        (lambda path: request(path, key=rsa.generate_private_key(65537, 1024)), "too short"),
        (lambda path: request(path, key=ec.generate_private_key(ec.SECP192R1())), "too short"),
        (lambda path: path.write_text("garbage"), "no certificate request"),
        (lambda path: path.with_name("absent"), "no such file"),
    ],
)
def test_bad_requests_are_refused(site: Site, make: Callable[[Path], object], told: str) -> None:
    path = site.directory / "a.csr"
    made = make(path)
    with pytest.raises(OperatorError, match=told):
        site.enroll(HV7, csr=made if isinstance(made, Path) else path)
    assert site.pki.store.load().records == {}


# -- renewing


def test_a_renewal_has_the_same_names_and_key_or_a_new_one(site: Site) -> None:
    path = site.enroll(HV7)
    first, key = certificate(path), (site.out("hv7") / "hv7.key").read_bytes()
    second = certificate(site.renew("hv7"))
    assert second.serial_number != first.serial_number and second.public_key() == first.public_key()
    assert (site.out("hv7") / "hv7.key").read_bytes() == key
    third = certificate(site.renew("hv7", fresh=True))
    assert third.public_key() != first.public_key() and (site.out("hv7") / "hv7.key").read_bytes() != key
    for one in (second, third):
        extension = one.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert extension == first.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [site.state(one.serial_number) for one in (first, second, third)] == [
        *(State.SUPERSEDED, State.SUPERSEDED, State.VALID)
    ]
    # All of them are good until they end.
    assert site.verify(path) == ""


def test_a_renewal_when_it_is_due(site: Site) -> None:
    first = certificate(site.enroll(HV7))
    assert site.pki.renew("hv7", Request(site.out("hv7")), within=30).unchanged
    site.later = 340 * DAY
    assert not site.pki.renew("hv7", Request(site.out("hv7")), within=30).unchanged
    site.later = 400 * DAY
    assert site.state(first.serial_number) is State.EXPIRED
    # Also when it has ended already.
    site.later = 1000 * DAY
    assert not site.pki.renew("hv7", Request(site.out("hv7"))).unchanged


def test_renewing_keeps_the_owner_of_files(site: Site) -> None:
    path = Path(site.enroll(HV7))
    inode = path.stat().st_ino
    site.renew("hv7")
    assert path.stat().st_ino != inode, "replaced as a whole"
    assert path.stat().st_uid == site.out("hv7").stat().st_uid


# -- revoking


def test_what_is_revoked_openssl_refuses(site: Site) -> None:
    first, other = site.enroll(HV7), site.enroll(GATEWAY)
    (record,) = site.pki.revoke("hv7", "keyCompromise")
    assert "certificate revoked" in site.verify(first) and site.verify(other) == ""
    listed = openssl("crl", "-in", str(site.directory / "crl.pem"), "-noout", "-text")
    assert f"{record.serial:X}" in listed and "Key Compromise" in listed
    number = site.pki.store.load().list_number
    assert f"crlNumber=0x{number:02X}" in openssl("crl", "-in", str(site.directory / "crl.pem"), "-noout", "-crlnumber")
    checked = ["openssl", "crl", "-in", str(site.directory / "crl.pem"), "-CAfile", str(site.directory / "ca.pem")]
    done = subprocess.run([*checked, "-noout"], capture_output=True, text=True, check=True)
    assert "verify OK" in done.stderr
    # Again: nothing new. And it may be enrolled anew.
    assert site.pki.revoke("hv7", "keyCompromise") == ()
    with pytest.raises(OperatorError, match="are revoked"):
        site.renew("hv7")
    again = site.enroll(HV7)
    assert site.verify(again) == "" and certificate(again).serial_number != record.serial


def test_who_has_expired_is_revoked_too_since_a_session_may_outlast_its_certificate(site: Site) -> None:
    serial = certificate(site.enroll(HV7)).serial_number
    site.later = 1000 * DAY
    assert [one.serial for one in site.pki.revoke("hv7", "keyCompromise")] == [serial]

    def listed() -> int:
        return len(x509.load_pem_x509_crl((site.directory / "crl.pem").read_bytes()))

    site.later = 1020 * DAY
    site.pki.sign_lists()
    assert listed() == 1
    site.later = 1040 * DAY
    site.pki.sign_lists()
    assert listed() == 0


def test_a_holder_is_found_however_its_name_is_typed(site: Site) -> None:
    site.enroll(HV7)
    site.enroll(Subject.of("Ann", Role.CLIENT))
    assert site.pki.renew("HV7", Request(site.out("hv7"))).record.subject == HV7
    assert len(site.pki.revoke("Hv7", "unspecified")) == 2
    with pytest.raises(OperatorError, match="not enrolled"):
        site.pki.revoke("ann", "unspecified")  # names of clients are compared as they are


def test_after_a_restored_back_up_lists_go_on_and_nobody_comes_back(site: Site) -> None:
    for name in ("hv8", "hv9"):
        site.enroll(Subject.of(name, Role.HOST, [f"192.0.2.{name[2:]}"]))
    backup = site.directory / "backup"
    shutil.copytree(site.directory / "pki", backup)
    (revoked,) = site.pki.revoke("hv8", "keyCompromise")
    known = Revocations()
    authorities = read_authorities((site.directory / "ca.pem").read_bytes())
    known.take(read_lists((site.directory / "crl.pem").read_bytes(), authorities))
    shutil.rmtree(site.directory / "pki")
    backup.rename(site.directory / "pki")
    assert site.state(revoked.serial) is State.VALID
    site.pki.revoke("hv9", "keyCompromise")
    assert site.state(revoked.serial) is State.REVOKED
    assert known.take(read_lists((site.directory / "crl.pem").read_bytes(), authorities)) and known.faults == ()
    (used,) = known.lists
    assert len(used.revoked) == 2


def test_the_authority_is_no_place_for_files_of_holders(site: Site) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = request(site.directory / "hv7.csr", "authority-1", key)
    with pytest.raises(OperatorError, match="directory of the authority itself"):
        site.pki.enroll(
            Subject.of("authority-1", Role.HOST, ["192.0.2.7"]), Request(site.directory / "x" / ".." / "pki", csr)
        )


def test_superseded_revokes_the_former_ones_alone(site: Site) -> None:
    first = certificate(site.enroll(HV7)).serial_number
    assert site.pki.revoke("hv7", "superseded") == ()
    second = certificate(site.renew("hv7")).serial_number
    assert [one.serial for one in site.pki.revoke("hv7", "superseded")] == [first]
    assert site.state(second) is State.VALID


def test_one_certificate_by_its_serial_number(site: Site) -> None:
    first = certificate(site.enroll(HV7)).serial_number
    second = certificate(site.renew("hv7")).serial_number
    assert [one.serial for one in site.pki.revoke("hv7", "unspecified", second)] == [second]
    assert site.state(first) is State.VALID
    for name, serial in (("hv7", 99), ("hv9", None)):
        with pytest.raises(OperatorError) as caught:
            site.pki.revoke(name, "unspecified", serial)
        assert caught.value.code is ExitCode.NOT_FOUND


def test_lists_are_signed_again_and_forget_what_has_long_ended(site: Site) -> None:
    site.enroll(HV7)
    site.pki.revoke("hv7", "unspecified")
    number = site.pki.store.load().list_number
    assert site.pki.sign_lists(90).list_number == number + 1
    assert site.pki.lists_due() == pytest.approx(site.now() + 90 * DAY, abs=60)
    for later, listed in ((400 * DAY, 1), (500 * DAY, 0)):
        site.later = later
        site.pki.sign_lists()
        assert len(x509.load_pem_x509_crl((site.directory / "crl.pem").read_bytes())) == listed


# -- one authority after the other


def test_authorities_one_after_the_other(site: Site) -> None:
    first = site.enroll(HV7)
    old = Path(first).read_bytes()
    site.pki.replace(None)
    names = [one.name for one in site.pki.store.load().generations]
    assert names == ["vrfwire authority 1", "vrfwire authority 2"]
    assert site.verify(first) == "", "the former one counts"
    with pytest.raises(OperatorError, match="hv7 use certificates of the former") as caught:
        site.pki.retire()
    assert caught.value.code is ExitCode.CONFLICT
    with pytest.raises(OperatorError, match="two authorities already"):
        site.pki.replace(None)
    site.pki.revoke("hv7", "unspecified")
    # Each list is signed by its own authority.
    data = (site.directory / "crl.pem").read_bytes()
    read = read_lists(data, read_authorities((site.directory / "ca.pem").read_bytes()))
    assert len(read.lists) == 2 and read.faults == ()
    revocations = Revocations()
    revocations.take(read)
    assert "certificate revoked" in site.verify(first)
    second = site.enroll(HV7)
    assert site.verify(second) == ""
    site.pki.retire()
    assert site.verify(second) == ""
    Path(first).write_bytes(old)
    assert "unable to get local issuer" in site.verify(first)
    site.pki.replace(None)
    assert site.pki.store.load().generation.name == "vrfwire authority 3"


# -- the directory


def test_init_again_changes_nothing(site: Site) -> None:
    before = (site.directory / "ca.pem").read_bytes()
    assert not site.pki.init()
    assert (site.directory / "ca.pem").read_bytes() == before


def test_keys_without_a_database_are_not_overwritten(site: Site) -> None:
    (site.directory / "pki" / "database.json").unlink()
    with pytest.raises(OperatorError, match="no database"):
        site.pki.init()
    assert (site.directory / "pki" / "authority-1.key").exists()


@pytest.mark.parametrize("data", ["", "{}", '{"program": "vrfwire-gateway-ctl pki", "version": 9}', "[" * 100_000])
def test_a_damaged_database_is_told(site: Site, data: str) -> None:
    (site.directory / "pki" / "database.json").write_text(data)
    with pytest.raises(OperatorError, match=r"database\.json") as caught:
        site.enroll(HV7)
    assert "back-up" in caught.value.hint


def test_without_an_authority_there_is_a_hint(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there is none") as caught:
        Site(tmp_path).enroll(HV7)
    assert caught.value.code is ExitCode.NOT_FOUND and "pki init" in caught.value.hint


def test_a_passphrase_protects_the_key(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("correct horse\n")
    locked = Pki(Store(tmp_path / "pki", secret))
    locked.init()
    assert b"ENCRYPTED" in (tmp_path / "pki" / "authority-1.key").read_bytes()
    locked.enroll(HV7, Request(tmp_path / "hv7"))
    with pytest.raises(OperatorError, match="passphrase") as caught:
        Pki(Store(tmp_path / "pki")).enroll(GATEWAY, Request(tmp_path / "gw1"))
    assert "--passphrase-file" in caught.value.hint
    secret.write_text("wrong\n")
    with pytest.raises(OperatorError, match="wrong passphrase"):
        locked.enroll(GATEWAY, Request(tmp_path / "gw1"))
    assert not (tmp_path / "gw1").exists()


def test_commands_wait_for_each_other(site: Site) -> None:
    """Four at a time: each certificate is in the database."""
    failures: list[BaseException] = []

    def enroll(number: int) -> None:
        try:
            subject = Subject.of(f"hv{number}", Role.HOST, [f"192.0.2.{number}"])
            Pki(Store(site.directory / "pki")).enroll(subject, Request(site.out(subject.name)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=enroll, args=(number,)) for number in range(10, 14)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    names = sorted(record.subject.name for record in site.pki.store.load().records.values())
    assert names == ["hv10", "hv11", "hv12", "hv13"]


class Crash(BaseException):
    """The machine goes down."""


def test_a_crash_at_any_write_leaves_nothing_that_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of each command fails once: what has left the authority is in its database, and the same command
    done again, or the one that its hint names, sets things right."""
    real = gateway.pki_files.put_file
    left = [0]

    def fragile(path: Path, data: bytes, mode: int, owner: str = "") -> None:
        if not left[0]:
            raise Crash
        left[0] -= 1
        real(path, data, mode, owner)

    monkeypatch.setattr(gateway.pki_files, "put_file", fragile)
    monkeypatch.setattr(gateway.pki_store, "put_file", fragile)

    def crashes(do: Callable[[], object], after: int) -> bool:
        left[0] = after
        try:
            do()
        except Crash:
            return True
        finally:
            left[0] = 1 << 30
        return False

    for after in range(20):
        site = Site(tmp_path / str(after))
        site.directory.mkdir()
        left[0] = 1 << 30
        site.init()
        crashed = crashes(partial(site.enroll, HV7), after)
        known = set(site.pki.store.load().records)
        for file in site.directory.glob("hv7/hv7.pem"):
            assert certificate(str(file)).serial_number in known
        try:
            path = site.enroll(HV7)
        except OperatorError as error:
            assert "pki renew hv7 --new-key" in error.hint
            path = site.renew("hv7", fresh=True)
        assert site.verify(path) == ""
        crashed_too = crashes(partial(site.pki.revoke, "hv7", "keyCompromise"), after)
        site.pki.revoke("hv7", "keyCompromise")
        assert "certificate revoked" in site.verify(path)
        if not crashed and not crashed_too:
            break
    else:
        raise AssertionError("it never came to an end")
    assert after > 5
