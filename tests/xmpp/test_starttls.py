"""STARTTLS (RFC 6120, section 5): the race of TLS 1.3, injection, and what is kept over it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from xml.parsers.expat import ExpatError

import pytest

from tests.xmpp.differences import judge
from tests.xmpp.raw import DEADLINE, STARTTLS, RawClient, header
from tests.xmpp.subjects import DOMAIN, PASSWORD, Subject
from xmpp import namespaces as ns

Connect = Callable[..., RawClient]
RACES, RACES_OF_OTHERS = 40, 5


class OneFlight:
    """TLS of a client in memory, so that what is sent when is decided here and not by the kernel."""

    def __init__(self, context: ssl.SSLContext, connection: socket.socket) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=DOMAIN)
        self._socket = connection

    def handshake(self, then: str) -> None:
        """Shake hands; the end of it and `then` leave in one segment."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._out.read())
                data = self._socket.recv(65536)
                assert data, "the server closed in the handshake"
                self._in.write(data)
            else:
                break
        self._tls.write(then.encode())
        self._socket.sendall(self._out.read())

    def read_until(self, end: str) -> str:
        """Read until this has come."""
        text = b""
        while end.encode() not in text:
            try:
                text += self._tls.read(65536)
            except ssl.SSLWantReadError:
                data = self._socket.recv(65536)
                assert data, f"the server closed after {text!r}"
                self._in.write(data)
        return text.decode()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls1.2", "tls1.3"])
def test_a_stream_header_in_one_flight_with_the_handshake(
    version: ssl.TLSVersion, subject: Subject, connect: Connect
) -> None:
    """The header comes in the same segment as the client's last handshake message: it mustn't be lost."""
    context = ssl.create_default_context(cadata=_authority(subject.context))
    context.minimum_version = context.maximum_version = version
    for _ in range(RACES if subject.ours else RACES_OF_OTHERS):
        client = connect(plain=True)
        client.open()
        client.send(STARTTLS)
        client.expect("proceed")
        client.socket.settimeout(DEADLINE)
        flight = OneFlight(context, client.socket)
        flight.handshake(header(DOMAIN))
        assert "SCRAM-SHA-256" in flight.read_until("</stream:features>")
        client.close()


def _authority(context: ssl.SSLContext) -> str:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True))


def test_starttls_leads_to_a_session(subject: Subject, connect: Connect) -> None:
    """Both ports, one login: features without STARTTLS, another stream id."""
    client = connect(plain=True).open()
    before = client.parser.header
    client.start_tls(subject.context)
    after = client.parser.header
    assert before is not None and after is not None and before["id"] != after["id"]
    assert not client.offers(f"{{{ns.TLS}}}starttls")
    client.log_in("host1", PASSWORD)
    assert client.outcome(f"<iq type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>") == "result"


INJECTIONS = {
    "a stanza": f"<iq type='get' id='c1'><ping xmlns='{ns.PING}'/></iq>",
    "a header": header(DOMAIN),
    "a login": f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>AGhvc3QxAGd1ZXNz</auth>",
    "an open tag": "<iq",
}


@pytest.mark.parametrize("case", INJECTIONS)
def test_plaintext_behind_starttls_is_never_read_as_if_it_came_by_tls(
    case: str, subject: Subject, connect: Connect
) -> None:
    """Section 5.3.2: what an attacker puts behind <starttls/> ends the connection, or is gone after TLS."""
    client = connect(plain=True).open()
    client.send(STARTTLS + INJECTIONS[case])
    client.socket.settimeout(DEADLINE)
    try:
        client.next(lambda element: element.tag == f"{{{ns.TLS}}}proceed")
        client.secure(subject.context)
        client.open()
    except (AssertionError, OSError):
        outcome = "ended"
    except ExpatError:
        outcome = "answered in clear"
    else:
        # The next answer is the one to what was asked by TLS.
        assert client.mechanisms()
        outcome = "discarded"
    judge(subject, f"injection of {case}", outcome, "ended")


def test_plaintext_instead_of_a_handshake(subject: Subject, connect: Connect) -> None:
    """After <proceed/> there is TLS or nothing."""
    client = connect(plain=True).open()
    client.send(STARTTLS)
    client.expect("proceed")
    client.send(header(DOMAIN))
    client.socket.settimeout(DEADLINE)
    received = b""
    try:
        while data := client.socket.recv(65536):
            received += data
    except ConnectionError:
        pass
    assert b"<" not in received


def test_starttls_twice(subject: Subject, connect: Connect) -> None:
    """Within TLS it isn't offered, and asking for it is an error."""
    client = connect().open()
    client.send(STARTTLS)
    judge(
        subject,
        "starttls within tls",
        client.ending(1.0 if not subject.ours else DEADLINE),
        "stream unsupported-stanza-type",
    )


def test_starttls_without_a_stream(subject: Subject, connect: Connect) -> None:
    """A stream comes first."""
    client = connect(plain=True)
    client.send(STARTTLS)
    judge(subject, "starttls first", client.ending(), "stream invalid-namespace")
