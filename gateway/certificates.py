"""The gateway's certificates while it runs: files that change, sessions that end with a revocation."""

from __future__ import annotations

import logging
import ssl

from gateway.config import GatewayConfig
from gateway.identity import ALPN
from gateway.server import Server
from gateway.status import Document, Problem
from gateway.trust import Trust
from runtime.certificates import KEPT_LISTS
from runtime.credentials import Changes, ServerCredentials, TlsFiles

log = logging.getLogger("vrfwire.gateway")

PROTOCOLS = (ALPN,)


def tls_files(config: GatewayConfig) -> TlsFiles:
    """Files of [tls], and the certificate that the MAP server is shown."""
    tls = config.tls
    kept = None if tls.crl is None else config.state.directory / KEPT_LISTS
    of_map = config.map.certificate if config.map is not None else None
    return TlsFiles(tls.certificate, tls.key, tls.ca, tls.crl, kept, () if of_map is None else (of_map,))


def check(config: GatewayConfig) -> None:
    """Raises OperatorError when they can't be used."""
    tls_files(config).check(PROTOCOLS)


class Certificates:
    """Keeps a server at what the files say. Use it within one event loop."""

    def __init__(self, credentials: ServerCredentials, server: Server) -> None:
        self.credentials = credentials
        self._server = server
        server.trust = Trust(credentials, server.service, server.records)

    def poll(self) -> None:
        """Look whether files have changed."""
        self._apply(self.credentials.poll())

    def prepare(self, config: GatewayConfig) -> ssl.SSLContext:
        """TLS of another configuration. Raises OperatorError when its files, but for a list, can't be used."""
        return self.credentials.prepare(tls_files(config))

    def replace(self, config: GatewayConfig, context: ssl.SSLContext) -> None:
        """Use another configuration, with what prepare() made of it."""
        self.credentials.replace(tls_files(config), context)
        self._apply(Changes(True, True))

    def reload(self) -> Document:
        """tls.reload: use the files as they are now; what that did."""
        hosts = self._apply(self.credentials.read_again())
        return {**self.credentials.document(), "ended": hosts}

    def problems(self) -> list[Problem]:
        """What is wrong with the files, or soon will be."""
        return [Problem(*trouble) for trouble in self.credentials.troubles()]

    def _apply(self, changes: Changes) -> list[str]:
        if changes.context:
            self._server.tls = self.credentials.context
        return self._server.end_revoked() if changes.revoked else []
