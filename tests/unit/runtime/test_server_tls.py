"""TLS of servers: keys that are not private."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from lab.pki import Authority
from runtime.errors import OperatorError
from runtime.tls import handshake_failure, server_context


def test_a_key_that_everybody_reads_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = Authority(tmp_path).issue("map", "map.example.net")
    files.key.chmod(0o640)
    server_context(files.certificate, files.key, None)
    assert caplog.messages == []
    files.key.chmod(0o644)
    server_context(files.certificate, files.key, None)
    server_context(files.certificate, files.key, files.ca)
    assert caplog.messages == [
        f"tls.key {files.key}: mode 0644 gives it to everybody: chmod 0600, or 0640 for a group",
    ]


@pytest.mark.parametrize("taken", ["certificate", "key", "ca"])
def test_a_file_that_vanishes_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    """Daemons look at their files every second, and must outlive any moment of a renewal."""
    files = Authority(tmp_path).issue("map", "map.example.net")
    # It was there a moment ago.
    monkeypatch.setattr(Path, "open", lambda path, mode: contextlib.nullcontext())
    getattr(files, taken).unlink()
    with pytest.raises(OperatorError, match="no such file"):
        server_context(files.certificate, files.key, files.ca)


def test_a_failed_handshake_has_a_reason() -> None:
    assert handshake_failure(ConnectionResetError()).startswith("the client broke it off")
    assert handshake_failure(ConnectionAbortedError("handshake took too long")) == "handshake took too long"
