"""The gateway's certificates while it runs: files that change, sessions that end with a revocation."""

from __future__ import annotations

import ssl

from gateway.config import GatewayConfig
from gateway.identity import ALPN
from gateway.server import Server
from gateway.status import Problem
from gateway.trust import Trust
from runtime.certificates import KEPT_LISTS
from runtime.credentials import ServerCredentials, TlsFiles
from runtime.served import ServedCertificates

PROTOCOLS = (ALPN,)


def tls_files(config: GatewayConfig) -> TlsFiles:
    """Files of [tls], and the certificate that the MAP server is shown."""
    tls = config.tls
    if tls is None:
        raise ValueError("a component has no certificates")
    kept = None if tls.crl is None else config.state.directory / KEPT_LISTS
    of_map = config.map.certificate if config.map is not None else None
    return TlsFiles(tls.certificate, tls.key, tls.ca, tls.crl, kept, () if of_map is None else (of_map,))


def check(config: GatewayConfig) -> None:
    """Raises OperatorError when they can't be used."""
    tls_files(config).check(PROTOCOLS)


class Certificates(ServedCertificates[GatewayConfig]):
    """Keeps a server at what the files say. Use it within one event loop."""

    def __init__(self, credentials: ServerCredentials, server: Server) -> None:
        super().__init__(credentials, tls_files)
        self._server = server
        server.trust = Trust(credentials, server.service, server.records.by_host)

    def problems(self) -> list[Problem]:
        """What is wrong with the files, or soon will be."""
        return [Problem(*trouble) for trouble in self.credentials.troubles()]

    def use(self, context: ssl.SSLContext) -> None:
        """See ServedCertificates."""
        self._server.tls = context

    def end_revoked(self) -> list[str]:
        """See ServedCertificates; hosts."""
        return self._server.end_revoked()
