"""What a handshake with certificates on both sides costs in OpenSSL alone: the floor under every login.

handshake_ms_server, _client    CPU of each end, milliseconds: no sockets, no XMPP
logins_per_s_at_most            of this machine, if the handshakes were all that either end had to do, and all its
                                processors did nothing else
"""

from __future__ import annotations

import os
import ssl
import time
from pathlib import Path

from benchmarks.gateway_fanout import Figures
from benchmarks.xmpp_load_stanzas import host_name
from runtime.tls import server_context

ROUNDS = 400


class _End:
    """One end of a handshake, and the CPU that it has taken, seconds."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.done = False
        self._tls: ssl.SSLObject | None = None

    def begin(self, context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, server: bool) -> None:
        began = time.process_time()
        self._tls = context.wrap_bio(incoming, outgoing, server_side=server)
        self.spent += time.process_time() - began
        self.done = False

    def go_on(self) -> None:
        if self.done:
            return
        assert self._tls is not None
        began = time.process_time()
        try:
            self._tls.do_handshake()
            self.done = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self.spent += time.process_time() - began


def measure(directory: Path, rounds: int = ROUNDS) -> Figures:
    """directory: of benchmarks.gateway_load.Certificates, with host 0."""
    certificate, key, ca = directory / f"{host_name(0)}.pem", directory / "key.pem", directory / "ca.pem"
    context = server_context(certificate, key, ca)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # As the load generator: whether hosts believe a server isn't measured.
    theirs.check_hostname = False
    theirs.verify_mode = ssl.CERT_NONE
    theirs.load_cert_chain(certificate, key)
    server, client = _End(), _End()
    for number in range(-(rounds // 4), rounds):
        if not number:
            # What came before has warmed up the processor and OpenSSL's caches.
            server.spent = client.spent = 0.0
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        server.begin(context, up, down, server=True)
        client.begin(theirs, down, up, server=False)
        while not (server.done and client.done):
            client.go_on()
            server.go_on()
    processors = len(os.sched_getaffinity(0))
    return {
        "handshake_ms_server": round(server.spent / rounds * 1000, 3),
        "handshake_ms_client": round(client.spent / rounds * 1000, 3),
        "logins_per_s_at_most": round(processors * rounds / (server.spent + client.spent)),
    }
