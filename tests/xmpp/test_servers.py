"""lab/xmpp_servers: the servers of others log clients in and take a component, and go away.

That they start again with the same files: test_component. That anybody logs in without accounts: test_load_generator.
"""

from __future__ import annotations

import os
import socket
import ssl
from base64 import b64encode
from hashlib import sha1
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.pki import Authority
from lab.xmpp_servers import DOMAIN, SERVERS, Prosody, XmppServer

ACCOUNTS = {"host1": 'a "quoted" pass\\word'}
STREAM = "<stream:stream to='{}' xmlns='{}' xmlns:stream='http://etherx.jabber.org/streams'{}>"


def converse(connection: socket.socket, text: str, end: str) -> str:
    """Send, and read until `end` has come."""
    connection.sendall(text.encode())
    answer = b""
    while end.encode() not in answer:
        data = connection.recv(65536)
        assert data, f"closed after {answer!r} instead of sending {end!r}"
        answer += data
    return answer.decode()


def log_in(server: XmppServer, password: str) -> str:
    """The server's verdict on host1 with a password, over direct TLS with the authority verified."""
    assert server.credentials is not None
    context = ssl.create_default_context(cafile=str(server.credentials.ca))
    raw = socket.create_connection((server.address, server.tls), 10)
    with context.wrap_socket(raw, server_hostname=DOMAIN) as secured:
        converse(secured, STREAM.format(DOMAIN, "jabber:client", " version='1.0'"), "</stream:features>")
        response = b64encode(f"\0host1\0{password}".encode()).decode()
        auth = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{response}</auth>"
        return "success" if "success" in converse(secured, auth, ">") else "failure"


@pytest.mark.parametrize("name", SERVERS)
def test_logs_clients_in_takes_a_component_and_ends(name: str, tmp_path: Path, authority: Authority) -> None:
    """Accounts, TLS, the component's port, nothing left."""
    credentials = authority.gateway(DOMAIN, ["127.0.0.1"], stem=name)
    with SERVERS[name](tmp_path, credentials=credentials, accounts=ACCOUNTS) as server:
        assert log_in(server, ACCOUNTS["host1"]) == "success"
        assert log_in(server, "another") == "failure"
        with socket.create_connection((server.address, server.component), 10) as component:
            header = STREAM.format(server.component_domain, "jabber:component:accept", "")
            answer = converse(component, header, " id=")
            identity = answer.partition(" id=")[2]
            identity = identity[1:].partition(identity[0])[0]
            proof = sha1((identity + server.component_secret).encode(), usedforsecurity=False).hexdigest()
            assert "error" not in converse(component, f"<handshake>{proof}</handshake>", "<handshake")
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """The error says what to do."""

    class Absent(Prosody):
        program = "no-such-server"

    with pytest.raises(LabError, match="no-such-server is not installed") as raised:
        Absent(tmp_path).start()
    assert "tools/setup" in raised.value.hint


def test_servers_are_found_although_the_path_lacks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Prosody(tmp_path / "server") as server:
        socket.create_connection((server.address, server.c2s), 5).close()
