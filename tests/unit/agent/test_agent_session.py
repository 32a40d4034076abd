"""Waits between connections, and the TLS context."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from agent.session import Backoff, tls_context
from lab.pki import Authority
from runtime.errors import OperatorError


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 30.0, jitter=lambda: 1.0)
    assert [backoff.next() for _ in range(8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    backoff.reset()
    assert backoff.next() == 0.5


def test_jitter_takes_away_half_at_most() -> None:
    assert Backoff(0.5, 30.0, jitter=lambda: 0.0).next() == 0.25


def test_waits_stay_bounded_for_ever() -> None:
    backoff = Backoff(0.5, 30.0, jitter=lambda: 1.0)
    assert {backoff.next() for _ in range(5000)} <= {0.5 * 2**n for n in range(6)} | {30.0}


def test_a_gateway_is_checked_by_name(tmp_path: Path) -> None:
    credentials = Authority(tmp_path).host("hv1", "vpn.example.net", ["192.0.2.11"])
    context = tls_context(credentials.ca, credentials.certificate, credentials.key)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    credentials = Authority(tmp_path).host("hv1", "vpn.example.net", ["192.0.2.11"])
    with pytest.raises(OperatorError, match="No such file"):
        tls_context(tmp_path / "none.pem", None, None)
    with pytest.raises(OperatorError, match="certificate"):
        tls_context(credentials.ca, credentials.key, credentials.key)


def test_the_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """OpenSSL would name the certificate for a key that is closed to the daemon, too."""
    credentials = Authority(tmp_path).host("hv1", "vpn.example.net", ["192.0.2.11"])
    missing = tmp_path / "none.key"
    with pytest.raises(OperatorError, match=f"^key {missing}: No such file") as raised:
        tls_context(credentials.ca, credentials.certificate, missing)
    assert f"ls -l {missing}" in raised.value.hint
