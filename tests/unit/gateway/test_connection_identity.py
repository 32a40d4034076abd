"""Who a connection is of, by its certificate."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import gateway.connection
from gateway.connection import Connection
from gateway.guard import Guard
from lab.pki import Authority

DOMAIN = "vpn.example.net"


class Shown(ssl.SSLObject):
    """A session with a client that has shown this certificate."""

    der = b""

    def getpeercert(self, binary_form: bool = False) -> Any:
        return self.der


class Transport(asyncio.Transport):
    def __init__(self, der: bytes) -> None:
        super().__init__()
        self._shown = Shown.__new__(Shown)
        self._shown.der = der

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._shown if name == "ssl_object" else default


async def identity(der: bytes) -> tuple[bool, int]:
    """Whether there is a certificate that can be looked up, and how many names it proves."""
    server = SimpleNamespace(stream_config=SimpleNamespace(domain=DOMAIN), guard=Guard())
    connection = Connection(cast(Any, server), ("192.0.2.11", 40000), cast(Any, None))
    connection._transport = Transport(der)
    assert connection._read_identity()
    return connection.certificate is not None, len(connection.identity.jids)


def test_a_certificate_that_cannot_be_looked_up_proves_nothing(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = authority.host("hv1", DOMAIN, ["192.0.2.11"])
    der = x509.load_pem_x509_certificate(host.certificate.read_bytes()).public_bytes(Encoding.DER)
    assert asyncio.run(identity(der)) == (True, 1)
    assert asyncio.run(identity(b"")) == (False, 0)
    monkeypatch.setattr(gateway.connection, "read_peer", lambda der: None)
    assert asyncio.run(identity(der)) == (False, 0), "otherwise it would be in, revoked or not"


@pytest.fixture
def authority(tmp_path: Any) -> Authority:
    return Authority(tmp_path)
