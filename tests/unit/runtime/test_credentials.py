"""Files of a server's TLS that change under it."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab.pki import Authority, Credentials
from runtime import tls
from runtime.certificate_metrics import CERTIFICATE_EXPIRY
from runtime.certificates import DAY, read_der, read_pem
from runtime.credentials import Changes, ServerCredentials, TlsFiles, read_peer
from runtime.errors import OperatorError
from runtime.file_watch import FileWatch
from tests.scenario.pki_authority import PkiAuthority

DOMAIN = "vpn.example.net"
NOTHING = Changes(False, False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def files(credentials: Credentials, crl: Path | None = None) -> TlsFiles:
    return TlsFiles(credentials.certificate, credentials.key, credentials.ca, crl)


def test_a_watch_notices_changes_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a")
    watch = FileWatch((one, None, two))
    assert not watch.changed()
    two.write_text("b")
    assert watch.changed() and not watch.changed()
    other = tmp_path / "other"
    other.write_text("b")
    other.replace(two)
    assert watch.changed() and not watch.changed()
    one.unlink()
    assert watch.changed() and not watch.changed()


def test_new_files_make_a_new_context(authority: Authority) -> None:
    credentials = ServerCredentials(files(authority.gateway(DOMAIN, [])))
    before = credentials.context
    assert credentials.poll() == NOTHING and credentials.context is before
    authority.gateway(DOMAIN, [])
    assert credentials.poll() == Changes(True, False) and credentials.context is not before
    (shown,) = read_pem((authority.directory / "gateway.pem").read_bytes())
    assert credentials.document()["serial"] == shown.shown_serial


def test_files_that_do_not_fit_together_leave_the_former_in_use(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    mine = authority.gateway(DOMAIN, [])
    credentials = ServerCredentials(files(mine))
    before = credentials.context
    good = mine.key.read_bytes()
    for bad in (b"half a key", b"half of another"):
        mine.key.write_bytes(bad)
        assert credentials.poll() == NOTHING and credentials.context is before
        (trouble,) = credentials.troubles()
        assert "the former files are in use" in trouble.why and trouble.hint
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1, "logged once"
    mine.key.write_bytes(good)
    assert credentials.poll().context and credentials.troubles() == []


def test_expiry_is_a_problem_and_a_metric(authority: Authority) -> None:
    mine = authority.gateway(DOMAIN, [])
    (expires,) = [one.not_after for one in read_pem(mine.certificate.read_bytes())]
    now = [expires - 40 * DAY]
    credentials = ServerCredentials(files(mine), wall=lambda: now[0])
    assert credentials.troubles() == []
    now[0] = expires - 20 * DAY
    own, of_authority = credentials.troubles()
    assert "20 days" in own.why and f"pki renew {DOMAIN}" in own.hint and "init --replace" in of_authority.hint
    (metric,) = credentials.metrics()
    assert metric.description is CERTIFICATE_EXPIRY
    assert dict(metric.samples)[(str(mine.certificate),)] == expires


def test_another_configuration_is_prepared_before_it_counts(authority: Authority, tmp_path: Path) -> None:
    credentials = ServerCredentials(files(authority.gateway(DOMAIN, [])))
    other = files(authority.gateway(DOMAIN, [], stem="other"))
    context = credentials.prepare(other)
    assert credentials.context is not context
    credentials.replace(other, context)
    assert credentials.context is context and credentials.poll() == NOTHING
    with pytest.raises(OperatorError):
        credentials.prepare(TlsFiles(tmp_path / "absent", tmp_path / "absent", None))


def test_a_start_does_not_fail_for_a_list_and_a_check_does(authority: Authority, tmp_path: Path) -> None:
    settings = files(authority.gateway(DOMAIN, []), tmp_path / "crl.pem")
    credentials = ServerCredentials(settings)
    (trouble,) = credentials.troubles()
    assert "nothing is known to be revoked" in trouble.why
    with pytest.raises(OperatorError, match="No such file"):
        settings.check()


def test_a_check_writes_nothing_where_the_daemon_keeps_its_state(tmp_path: Path) -> None:
    pki = PkiAuthority(tmp_path / "etc")
    mine = pki.gateway(DOMAIN, [])
    kept = tmp_path / "state/revoked.pem"
    settings = files(mine, pki.crl)._replace(kept=kept)
    settings.check()
    assert not kept.parent.exists()
    ServerCredentials(settings)
    assert kept.exists(), "a daemon does"


def test_who_was_signed_by_an_authority_that_was_taken_out_is_not_believed(tmp_path: Path) -> None:
    pki = PkiAuthority(tmp_path / "etc")
    mine, host = pki.gateway(DOMAIN, []), pki.host("hv1", DOMAIN, ["192.0.2.11"])
    (former,) = read_pem(host.certificate.read_bytes())
    credentials = ServerCredentials(files(mine))
    pki.pki.replace(None)
    (authority_itself,) = (one for one in read_pem(pki.certificate.read_bytes()) if one.subject == former.issuer)
    assert not credentials.poll().revoked and credentials.revoked(former) is None, "both count"
    both = pki.certificate.read_bytes()
    pki.renew("gateway")
    pki.renew("hv1")
    (present,) = read_pem(host.certificate.read_bytes())
    pki.pki.retire()
    assert credentials.poll() == Changes(True, True)
    found = credentials.revoked(former)
    assert found is not None and found.superseded and "no longer in tls.ca" in str(found)
    assert credentials.revoked(present) is None and credentials.revoked(authority_itself) is not None
    pki.certificate.write_bytes(both)
    assert credentials.poll().context and credentials.revoked(former) is None, "it was put back"


def test_a_file_of_quite_other_authorities_ends_no_session(tmp_path: Path) -> None:
    pki, other = PkiAuthority(tmp_path / "etc"), PkiAuthority(tmp_path / "other")
    mine, host = pki.gateway(DOMAIN, []), pki.host("hv1", DOMAIN, ["192.0.2.11"])
    (certificate,) = read_pem(host.certificate.read_bytes())
    credentials = ServerCredentials(files(mine))
    good = pki.certificate.read_bytes()
    for wrong in (other.certificate.read_bytes(), b"nothing", good):
        pki.certificate.write_bytes(wrong)
        assert not credentials.poll().revoked and credentials.revoked(certificate) is None


def test_a_change_while_files_are_prepared_is_found_later(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a renewal comes while the configuration is read again: the file is read, replaced, and only then used."""
    mine = files(authority.gateway(DOMAIN, []))
    real = tls.server_context

    def replaced_meanwhile(*arguments: Any) -> ssl.SSLContext:
        context = real(*arguments)
        monkeypatch.undo()
        authority.gateway(DOMAIN, [])
        return context

    monkeypatch.setattr(tls, "server_context", replaced_meanwhile)
    credentials = ServerCredentials(mine)
    assert credentials.poll().context and not credentials.poll().context
    monkeypatch.setattr(tls, "server_context", replaced_meanwhile)
    credentials.replace(mine, credentials.prepare(mine))
    assert credentials.poll().context and not credentials.poll().context


def test_attempts_are_counted_but_not_logged_without_end(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    from runtime.revocation import Revoked

    credentials = ServerCredentials(files(authority.gateway(DOMAIN, [])))
    (host,) = read_pem(authority.host("hv1", DOMAIN, []).certificate.read_bytes())
    revoked = Revoked(host.serial, 0.0, "keyCompromise")
    for _ in range(5):
        credentials.refuse(host, revoked, "192.0.2.11", live=False)
    credentials.refuse(host, revoked, "192.0.2.11", live=True)
    assert credentials.counters == {"refused": 5, "ended": 1}
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2 and "hv1" in warnings[0] and host.shown_serial in warnings[0]


def test_a_name_that_is_no_text_hides_no_certificate_from_the_list(authority: Authority) -> None:
    host = authority.host("hv1", DOMAIN, ["192.0.2.11"])
    good = x509.load_pem_x509_certificate(host.certificate.read_bytes()).public_bytes(Encoding.DER)
    name = b"\x0c\x03hv1"  # UTF8String
    assert name in good
    found = read_peer(good.replace(name, b"\x0c\x03\xff\xfe1"))
    assert found is not None and found.serial == read_der(good).serial


def test_who_shows_nothing_or_garbage_has_no_certificate() -> None:
    assert read_peer(None) is None and read_peer(b"") is None and read_peer(b"garbage") is None
