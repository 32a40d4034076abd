"""The map server's certificates while it runs: files that change, clients whose certificate is revoked.

A revoked certificate counts for nothing: its connections are dropped, the session that was begun by it ends, and who
shows it is nobody. Passwords are not concerned. A certificate that was superseded ends its connections only: the client
comes back with the one that it has now, and its session goes on.
"""

from __future__ import annotations

import asyncio
import ssl

from ifmap.server.certificate import Shown
from ifmap.server.config import MapConfig
from ifmap.server.engine import Engine
from ifmap.server.listener import Listener
from ifmap.server.status import Problem
from runtime.certificates import Certificate
from runtime.credentials import ServerCredentials, TlsFiles
from runtime.served import ServedCertificates

ALPN = "http/1.1"
PROTOCOLS = (ALPN,)
LOOK_INTERVAL = 1.0
"""Seconds between two looks at the files."""


def tls_files(config: MapConfig) -> TlsFiles:
    """Files of [tls]."""
    tls = config.tls
    return TlsFiles(tls.certificate, tls.key, tls.ca, tls.crl)


class Certificates(ServedCertificates[MapConfig]):
    """Keeps a listener at what the files say. Use it within one event loop."""

    def __init__(self, credentials: ServerCredentials, listener: Listener, engine: Engine) -> None:
        super().__init__(credentials, tls_files)
        self._listener = listener
        self._engine = engine
        self._timer: asyncio.TimerHandle | None = None
        self._shown: dict[str, Certificate] = {}
        """What each client has shown last: its session may be there while it has no connection."""
        listener.believed = self.believed

    def start(self) -> None:
        """Look at the files again and again."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        # Whatever becomes of this look, it isn't the last one.
        self.start()
        self.poll()

    def believed(self, shown: Shown, peer: str) -> Shown:
        """What a client has shown, as far as it counts."""
        certificate = shown.certificate
        revoked = self.credentials.revoked(certificate)
        if certificate is None:
            # Who can't be looked up in a list is nobody, even if TLS has understood the certificate.
            return Shown()
        if revoked is None:
            if (client := self._listener.authenticator.certified(shown.common_name)) is not None:
                self._shown[client] = certificate
            return shown
        self.credentials.refuse(certificate, revoked, peer, live=False)
        return Shown()

    def problems(self) -> list[Problem]:
        """What is wrong with the files, or soon will be."""
        return [Problem(*trouble) for trouble in self.credentials.troubles()]

    def use(self, context: ssl.SSLContext) -> None:
        """See ServedCertificates."""
        self._listener.tls = context

    def end_revoked(self) -> list[str]:
        """Drop connections with a revoked certificate; clients whose session ended by that."""
        going_on = set()
        for connection in tuple(self._listener.connections.values()):
            certificate, client = connection.shown.certificate, connection.client
            revoked = self.credentials.revoked(certificate)
            if certificate is None or revoked is None:
                going_on.add(client)
                continue
            self.credentials.refuse(certificate, revoked, connection.peer, live=True)
            connection.abort()
        gone = {client for client, shown in self._shown.items() if self.credentials.is_distrusted(shown)}
        for client in gone:
            del self._shown[client]
        began = {session.client for session, _ in self._engine.service.sessions()}
        clients = sorted((gone & began) - going_on)
        if clients:
            self._engine.service.end_sessions("its certificate was revoked", clients)
            self._engine.turn()
        return clients
