"""The servers that the conformance tests run against: ours, Prosody, ejabberd, all of one domain and with the same
accounts, so that one test asks all of them the same."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.pki import Authority
from lab.xmpp_servers import SERVERS, XmppServer
from tests.scenario.gateway_process import DOMAIN, MESH, GatewayProcess
from tests.xmpp.raw import RawClient

__all__ = ["DOMAIN", "NAMES", "OURS", "PASSWORD", "USERS", "Subject", "gateway_subject", "server_subject"]

OURS = "vrfwire"
NAMES = (OURS, *SERVERS)
PASSWORD = "a password, with comma = and more"
USERS = ("host1", "host2", "host3")
SASL_ATTEMPTS = 3
"""Of ours: failures after which the stream ends."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A server under test. port: with STARTTLS; tls: with TLS from the first byte; service: its pub-sub service."""

    name: str
    address: str
    port: int
    tls: int
    service: str
    context: ssl.SSLContext
    domain: str = DOMAIN
    gateway: GatewayProcess | None = None
    """When it is ours."""

    @property
    def ours(self) -> bool:
        """Whether it is ours."""
        return self.gateway is not None

    def connect(self, *, plain: bool = False, context: ssl.SSLContext | None = None) -> RawClient:
        """A connection without a stream yet. plain: without TLS; context: instead of the usual one."""
        if plain:
            return RawClient(self.address, self.port, self.domain)
        return RawClient(self.address, self.tls, self.domain, context or self.context)

    def log_in(self, user: str = USERS[0], resource: str = "conformance") -> RawClient:
        """A session."""
        client = self.connect()
        try:
            return client.open().log_in(user, PASSWORD, resource)
        except BaseException:
            client.close()
            raise

    def item(self, prefix: str) -> str:
        """The id to publish a prefix by; ours wants the draft's form."""
        return f"127.0.0.1:1:{prefix}"

    def published(self, prefix: str) -> str:
        """The id that subscribers see: from us the route's prefix, since it may be selected of several items."""
        return prefix if self.ours else self.item(prefix)


def server_subject(name: str, server: XmppServer, authority: Authority) -> Subject:
    """A running server of others."""
    return Subject(name, server.address, server.c2s, server.tls, server.pubsub_domain, _context(authority))


@contextmanager
def gateway_subject(directory: Path, authority: Authority) -> Iterator[Subject]:
    """Our server, and its end."""
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(f"{PASSWORD}\n")
    hosts = "".join(f'[[host]]\nname = "{user}"\npassword_file = "{secret}"\n' for user in USERS)
    gateway = GatewayProcess(directory, authority, "stale_time = 30", MESH + hosts)
    try:
        gateway.start()
        port = gateway.port
        yield Subject(OURS, "127.0.0.1", port, port, DOMAIN, _context(authority), gateway=gateway)
        status = gateway.stop()
        assert status == 0 and "Traceback" not in gateway.text(), gateway.text()
    finally:
        gateway.kill()


def _context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.certificate))
