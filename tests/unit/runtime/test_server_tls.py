"""TLS of servers: keys that are not private, and why a handshake failed."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest

from lab.pki import Authority
from runtime.errors import OperatorError
from runtime.tls import handshake_failure, plain_words, server_context


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
    with pytest.raises(OperatorError, match="No such file"):
        server_context(files.certificate, files.key, files.ca)


def test_a_failed_handshake_has_a_reason() -> None:
    assert handshake_failure(ConnectionResetError()).startswith("the client broke it off")
    assert handshake_failure(ConnectionAbortedError("handshake took too long")) == "handshake took too long"


def refusal(server: ssl.SSLContext, client: ssl.SSLContext, version: ssl.TLSVersion) -> tuple[OSError, OSError | None]:
    """A handshake in memory that the server ends; what it says, and what the client is told."""
    client.maximum_version = version
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = {
        "server": server.wrap_bio(up, down, server_side=True),
        "client": client.wrap_bio(down, up, server_hostname="gw.example.net"),
    }
    said: dict[str, OSError] = {}
    for name in ("client", "server") * 3:
        try:
            ends[name].do_handshake()
            ends[name].read(1)
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            said.setdefault(name, error)
    return said["server"], said.get("client")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("expired", "ours", "server", "client"),
    [
        (True, True, "the client's certificate isn't accepted: certificate has expired", "certificate expired"),
        (False, False, "the client's certificate isn't accepted: unable to get local issuer certificate", "unknown ca"),
    ],
)
def test_a_refused_client_is_told_of_in_plain_words(
    tmp_path: Path, version: ssl.TLSVersion, expired: bool, ours: bool, server: str, client: str
) -> None:
    authority = Authority(tmp_path / "ours")
    files = authority.issue("gw", "gw", dns=["gw.example.net"])
    signer = authority if ours else Authority(tmp_path / "stranger", "stranger")
    shown = signer.issue("hv1", "hv1", expired=expired)
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(shown.certificate, shown.key)
    refused, told = refusal(server_context(files.certificate, files.key, files.ca), context, version)
    assert "_ssl.c" in str(refused), "what Python itself says"
    assert handshake_failure(refused) == server
    assert told is not None and plain_words(told) == f"alert of the other side: {client}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ssl.SSLEOFError(8, "EOF occurred (_ssl.c:997)"),
            "EOF occurred",
        ),
        (ssl.SSLError(1, "[SSL] unknown error (_ssl.c:992)"), "unknown error"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (ValueError("no end line"), "no end line"),
        (EOFError(), "EOFError"),
    ],
)
def test_words_are_without_numbers_of_a_library(error: Exception, words: str) -> None:
    assert plain_words(error) == words
