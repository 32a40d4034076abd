"""TLS: settings of servers, and errors in plain words."""

from __future__ import annotations

import asyncio.sslproto
import functools
import logging
import re
import ssl
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import OperatorError

log = logging.getLogger("vrfwire.tls")

_ALERT = re.compile(r"(?:ssl|tls)v\d+ alert ")
_ORIGIN = re.compile(r"^\[[^\]]*\] *| *\(_ssl\.c:\d+\)$")
"""What Python puts around OpenSSL's words: "[SSL: NAME] words (_ssl.c:992)"."""


def server_context(certificate: Path, key: Path, ca: Path | None, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    """TLS 1.2 or later. ca: of clients, whose certificates are asked for, and checked when they are given; None: they
    are not asked. protocols: for ALPN. Raises OperatorError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0  # sessions live long; a ticket would only keep copies of certificates about
    if protocols:
        context.set_alpn_protocols(list(protocols))
    for what, path in (("certificate", certificate), ("key", key), ("ca", ca)):
        if path is None:
            continue
        try:
            with path.open("rb"):
                pass
        except OSError as error:
            raise OperatorError(f"tls.{what} {path}", error.strerror or str(error), "see [tls]") from error
    try:
        if (mode := key.stat().st_mode & 0o777) & 0o007:
            _warn_of_key(key, mode)
        context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        # A plain OSError: a file was taken away in this very moment.
        hint = "certificate and key must be PEM, belong together, and the key have no passphrase"
        raise OperatorError(f"tls.certificate {certificate}", plain_words(error), hint) from error
    if ca is None:
        return context
    context.verify_mode = ssl.CERT_OPTIONAL
    try:
        context.load_verify_locations(ca)
    except (OSError, ValueError) as error:
        raise OperatorError(f"tls.ca {ca}", plain_words(error), "it must hold certificates in PEM") from error
    return context


@functools.cache
def _warn_of_key(key: Path, mode: int) -> None:
    """Once, however often the key is read."""
    log.warning("tls.key %s: mode %04o gives it to everybody: chmod 0600, or 0640 for a group", key, mode)


def limit_read_buffers(size: int) -> None:
    """Give TLS connections of asyncio that are made from now on read buffers of so many bytes, in place of 256 KiB,
    which is most of the memory of an idle one. (The attribute is asyncio's own business: without it they only cost
    more.)"""
    if hasattr(asyncio.sslproto.SSLProtocol, "max_size"):
        asyncio.sslproto.SSLProtocol.max_size = size


def handshake_failure(error: OSError) -> str:
    """Why a handshake with a client failed, for a log. asyncio says nothing of one that the client broke off, and
    OpenSSL that it is a violation of the protocol."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the client's certificate isn't accepted: {plain_words(error)}"
    broken_off = not str(error) or isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError)
    return plain_words(error) if not broken_off else "the client broke it off; it may not accept our certificate"


def plain_words(error: BaseException) -> str:
    """What an error of TLS, of its files or of the network says, without names and line numbers of a library."""
    if isinstance(error, ssl.SSLCertVerificationError) and (verdict := getattr(error, "verify_message", "")):
        return str(verdict)
    if isinstance(error, ssl.SSLError):
        reason: str = getattr(error, "reason", None) or ""  # errors that Python makes itself have none
        words = reason.replace("_", " ").lower() or _ORIGIN.sub("", error.strerror or str(error))
        return _ALERT.sub("alert of the other side: ", words)
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
