"""How a client reaches MAP servers and says who it is."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from ifmap.client_errors import ClientError
from ifmap.endpoint import Endpoint
from runtime.config import read_secret
from runtime.errors import OperatorError
from runtime.tls import plain_words

MAX_ANSWER = 256 << 20
"""Bytes of an answer, also after it is unpacked: more than any sane graph, less than a machine's memory."""

MAX_POLL_RESULT = 64 << 20
"""Bytes that the server is asked to keep for us between polls; it may have a smaller limit of its own."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Servers and identity of a client; times in seconds.

    endpoints: in the order in which they are tried. ca: certificates that may sign the server's (PEM); None for those
    of the system. The identity is a user with password (or a file whose first line it is), or a certificate with key:
    files are read at every connection, so that they can be replaced. max_answer, max_poll_result: bytes.

    connect_timeout: from the first SYN to the end of the TLS handshake. answer_timeout: until the whole answer is
    there, of anything but a poll. renew_interval: a session whose requests channel was idle for so long is renewed.
    """

    endpoints: tuple[Endpoint, ...]
    ca: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    password_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    connect_timeout: float = 10.0
    answer_timeout: float = 30.0
    renew_interval: float = 60.0
    retry_min: float = 0.5
    retry_max: float = 30.0
    max_answer: int = MAX_ANSWER
    max_poll_result: int = MAX_POLL_RESULT

    def tls_context(self) -> ssl.SSLContext:
        """Reads the files. Raises ClientError with the name of the one that can't be used."""
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise ClientError(f"ca {self.ca}: {plain_words(error)}") from None
        if self.certificate is not None:
            try:
                # A passphrase would be asked for at the terminal.
                context.load_cert_chain(self.certificate, self.key, password=lambda: "")
            except (OSError, ssl.SSLError) as error:
                raise ClientError(f"certificate {self.certificate} with its key: {plain_words(error)}") from None
        return context

    def secret(self) -> str:
        """The password; "" for none. Raises ClientError."""
        if self.password_file is None:
            return self.password
        try:
            return read_secret(self.password_file)
        except OperatorError as error:
            raise ClientError(str(error)) from None
