"""The TLS context of a session."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from agent.tls import tls_context
from lab.pki import Authority
from runtime.errors import OperatorError


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
