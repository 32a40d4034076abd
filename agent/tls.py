"""The TLS of a client: it checks who a gateway is, and shows this host's certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from runtime.errors import OperatorError
from runtime.tls import plain_words


def tls_context(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Context of a client that checks the gateway's name and shows its own certificate. Raises OperatorError."""
    _look_at("certificates", ca)
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise OperatorError(f"certificates {ca}", plain_words(error), "it must hold certificates in PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        # Looked at one by one: OpenSSL doesn't say which of the two it couldn't read.
        for what, path in (("certificate", certificate), ("key", key)):
            if path is not None:
                _look_at(what, path)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(
                f"certificate {certificate}",
                plain_words(error),
                "certificate and key must be PEM, belong together, and the key have no passphrase",
            ) from error
    return context


def _look_at(what: str, path: Path) -> None:
    """Raises OperatorError when a file can't be read."""
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        hint = f"it must be there, and readable by the daemon's user: ls -l {path}"
        raise OperatorError(f"{what} {path}", error.strerror or str(error), hint) from error
