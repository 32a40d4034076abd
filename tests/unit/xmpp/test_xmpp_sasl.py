"""EXTERNAL and SCRAM-SHA-256: the exchange, its failures on the wire, and what an unknown user can't tell."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xmpp.driver import BIND, DOMAIN, FULL, HOST, KEYS, PASSWORD, SECRET, Peer, auth, header, response
from xmpp.events import Authenticated, SessionStarted
from xmpp.jid import Jid
from xmpp.sasl import EXTERNAL, SCRAM_SHA_256, Challenge, SaslCondition, SaslError, SaslServer, Success
from xmpp.scram import ITERATIONS, ScramError, ScramKeys, ScramServer, saslprep

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


class ScramClient:
    """The other side of RFC 5802, written anew so that a shared mistake would show."""

    def __init__(self, username: str, password: str, gs2: str = "n,,", nonce: str = "fyko+d2lbbFgONRv9qkxdawL") -> None:
        self.gs2 = gs2
        self.password = password
        self.nonce = nonce
        self.bare = f"n={username},r={nonce}"
        self.first = (gs2 + self.bare).encode()
        self.server_signature = b""

    def final(self, server_first: bytes, *, binding: str | None = None, nonce: str | None = None) -> bytes:
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        salt, count = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, count)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        channel = base64.b64encode((binding if binding is not None else self.gs2).encode()).decode()
        unsigned = f"c={channel},r={nonce if nonce is not None else fields['r']}"
        signed = f"{self.bare},{server_first.decode()},{unsigned}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return f"{unsigned},p={base64.b64encode(proof).decode()}".encode()


def sasl(identities: tuple[Jid, ...] = (), users: dict[str, ScramKeys] | None = None) -> SaslServer:
    known = {"hv1": KEYS} if users is None else users
    return SaslServer(DOMAIN, identities, known.get, SECRET, lambda size: b"\x07" * size)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode() or "="


def run(server: SaslServer, client: ScramClient) -> Success:
    step = server.start(SCRAM_SHA_256, b64(client.first))
    assert isinstance(step, Challenge)
    done = server.respond(b64(client.final(step.data)))
    assert isinstance(done, Success)
    return done


def test_the_exchange_of_rfc_7677() -> None:
    """Section 3: user "user", password "pencil"."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    keys = ScramKeys.derive("pencil", salt, 4096)
    server = ScramServer({"user": keys}.get, b"", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    first = server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    final = server.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert final == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("gs2", ["n,,", "y,,", "n,a=hv1@vpn.example.net,", "y,a=HV1@vpn.example.net,"])
def test_scram_succeeds(gs2: str) -> None:
    client = ScramClient("hv1", PASSWORD, gs2)
    done = run(sasl(), client)
    assert done.jid == HOST
    assert done.data == b"v=" + base64.b64encode(client.server_signature)


@pytest.mark.parametrize(
    ("username", "prepared"), [("I\u00adX", "ix"), ("=2Ca", ",a"), ("a=3Db", "a=b"), ("\uff41", "a"), ("ª", "a")]
)
def test_user_names_are_prepared(username: str, prepared: str) -> None:
    assert run(sasl(users={prepared: KEYS}), ScramClient(username, PASSWORD)).jid.localpart == prepared


@pytest.mark.parametrize(
    ("client", "change", "condition"),
    [
        (ScramClient("hv1", "wrong"), {}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("nobody", PASSWORD), {}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("a@b", PASSWORD), {}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("hv1", PASSWORD), {"binding": "y,,"}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("hv1", PASSWORD, "y,,"), {"binding": "n,,"}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("hv1", PASSWORD), {"nonce": "fyko+d2lbbFgONRv9qkxdawL"}, SaslCondition.NOT_AUTHORIZED),
        (ScramClient("hv1", PASSWORD, "n,a=hv2@vpn.example.net,"), {}, SaslCondition.INVALID_AUTHZID),
        (ScramClient("hv1", PASSWORD, "n,a=hv1,"), {}, SaslCondition.INVALID_AUTHZID),
    ],
)
def test_scram_fails(client: ScramClient, change: dict[str, str], condition: SaslCondition) -> None:
    server = sasl()
    step = server.start(SCRAM_SHA_256, b64(client.first))
    assert isinstance(step, Challenge)
    with pytest.raises(SaslError) as caught:
        server.respond(b64(client.final(step.data, **change)))
    assert caught.value.condition is condition
    assert not server.active


@pytest.mark.parametrize(
    ("first", "condition"),
    [
        (b"", SaslCondition.MALFORMED_REQUEST),
        (b"n=hv1,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=hv1", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=hv1,r=", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=a=b,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,m=x,n=hv1,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=\xff,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=a\x01,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"n,,n=hv1,r=a\x00", SaslCondition.MALFORMED_REQUEST),
        (b"p=tls-unique,,n=hv1,r=abc", SaslCondition.NOT_AUTHORIZED),
        (b"x,,n=hv1,r=abc", SaslCondition.MALFORMED_REQUEST),
    ],
)
def test_bad_first_messages(first: bytes, condition: SaslCondition) -> None:
    with pytest.raises(SaslError) as caught:
        sasl().start(SCRAM_SHA_256, b64(first))
    assert caught.value.condition is condition


@pytest.mark.parametrize(
    "final", [b"", b"c=biws", b"c=biws,r=x", b"c=*,r=x,p=eA==", b"c=biws,r=x,p=eA", b"\xff", b"e=x"]
)
def test_bad_final_messages(final: bytes) -> None:
    server = sasl()
    server.start(SCRAM_SHA_256, b64(ScramClient("hv1", PASSWORD).first))
    with pytest.raises(SaslError) as caught:
        server.respond(b64(final))
    assert caught.value.condition in (SaslCondition.MALFORMED_REQUEST, SaslCondition.NOT_AUTHORIZED)


def test_an_unknown_user_looks_like_a_known_one() -> None:
    def first(name: str, server: SaslServer) -> dict[str, str]:
        step = server.start(SCRAM_SHA_256, b64(ScramClient(name, "x").first))
        assert isinstance(step, Challenge)
        return dict(part.split("=", 1) for part in step.data.decode().split(","))

    known, unknown = first("hv1", sasl()), first("nobody", sasl())
    assert unknown["i"] == known["i"] == str(ITERATIONS)
    assert len(unknown["s"]) == len(known["s"])
    assert first("nobody", sasl())["s"] == unknown["s"]
    assert first("nobody2", sasl())["s"] != unknown["s"]
    texts = set()
    for client in (ScramClient("hv1", "wrong"), ScramClient("nobody", "wrong")):
        server = sasl()
        step = server.start(SCRAM_SHA_256, b64(client.first))
        assert isinstance(step, Challenge)
        with pytest.raises(SaslError) as caught:
            server.respond(b64(client.final(step.data)))
        texts.add(str(caught.value))
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("identities", "payload", "outcome"),
    [
        ((HOST,), "=", HOST),
        ((HOST,), b64(b"hv1@vpn.example.net"), HOST),
        ((HOST,), b64(b"HV1@VPN.example.net"), HOST),
        ((HOST, Jid("hv2", DOMAIN)), b64(b"hv2@vpn.example.net"), Jid("hv2", DOMAIN)),
        ((HOST, Jid("hv2", DOMAIN)), "=", SaslCondition.INVALID_AUTHZID),
        ((HOST,), b64(b"hv2@vpn.example.net"), SaslCondition.INVALID_AUTHZID),
        ((HOST,), b64(b"hv1@vpn.example.net/vrfwire"), SaslCondition.INVALID_AUTHZID),
        ((HOST,), b64(b"\xff"), SaslCondition.INVALID_AUTHZID),
        ((HOST,), "***", SaslCondition.INCORRECT_ENCODING),
        ((HOST,), "aHYx\n", SaslCondition.INCORRECT_ENCODING),
        ((HOST,), "é", SaslCondition.INCORRECT_ENCODING),
        ((), "=", SaslCondition.INVALID_MECHANISM),
    ],
)
def test_external(identities: tuple[Jid, ...], payload: str, outcome: Jid | SaslCondition) -> None:
    server = sasl(identities)
    if isinstance(outcome, Jid):
        assert server.start(EXTERNAL, payload) == Success(outcome, EXTERNAL, b"")
        return
    with pytest.raises(SaslError) as caught:
        server.start(EXTERNAL, payload)
    assert caught.value.condition is outcome


def test_external_without_an_initial_response() -> None:
    server = sasl((HOST,))
    assert server.start(EXTERNAL, "") == Challenge(b"")
    assert server.respond("") == Success(HOST, EXTERNAL, b"")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "external", ""])
def test_other_mechanisms_are_not_there(mechanism: str) -> None:
    with pytest.raises(SaslError) as caught:
        sasl((HOST,)).start(mechanism, "=")
    assert caught.value.condition is SaslCondition.INVALID_MECHANISM


def failure(condition: str, text: str = "") -> bytes:
    detail = f"<text xml:lang='en'>{text}</text>" if text else ""
    return f"<failure xmlns='{SASL}'><{condition}/>{detail}</failure>".encode()


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (auth("PLAIN", b64(b"\0hv1\0pw")), failure("invalid-mechanism")),
        (f"<auth xmlns='{SASL}'>=</auth>".encode(), failure("invalid-mechanism")),
        (auth("EXTERNAL", "%"), failure("incorrect-encoding")),
        (
            auth("EXTERNAL", b64(b"x@y")),
            failure("invalid-authzid", "the certificate doesn&apos;t name this address"),
        ),
        (auth("SCRAM-SHA-256", "="), failure("malformed-request", "the client&apos;s first message is malformed")),
        (f"<response xmlns='{SASL}'/>".encode(), failure("malformed-request", "a response without a challenge")),
        (f"<abort xmlns='{SASL}'/>".encode(), failure("aborted")),
        (
            auth("EXTERNAL", "") + f"<abort xmlns='{SASL}'/>".encode(),
            f"<challenge xmlns='{SASL}'></challenge>".encode() + failure("aborted"),
        ),
    ],
)
def test_failures_on_the_wire_and_another_try(data: bytes, reply: bytes) -> None:
    peer = Peer()
    peer.send(header())
    assert peer.send(data) == reply
    assert peer.send(auth("EXTERNAL")) == f"<success xmlns='{SASL}'/>".encode()


def test_before_tls_encryption_is_required() -> None:
    peer = Peer(secure=False)
    peer.send(header())
    assert peer.send(auth("EXTERNAL")) == failure("encryption-required")


def test_three_failures_end_the_stream() -> None:
    peer = Peer(sasl_attempts=3)
    peer.send(header())
    for _ in range(2):
        assert peer.send(auth("PLAIN")) == failure("invalid-mechanism")
    reply = peer.send(auth("PLAIN"))
    assert reply.startswith(failure("invalid-mechanism") + b"<stream:error><policy-violation ")
    assert peer.end is not None


def test_scram_over_a_stream() -> None:
    peer = Peer(identities=())
    client = ScramClient("hv1", PASSWORD, "y,,")
    peer.send(header())
    challenge = peer.send(auth("SCRAM-SHA-256", b64(client.first)))
    server_first = base64.b64decode(challenge.split(b">")[1].split(b"<")[0])
    success = peer.send(response(client.final(server_first)))
    assert base64.b64decode(success.split(b">")[1].split(b"<")[0]) == b"v=" + base64.b64encode(client.server_signature)
    peer.send(header(), BIND)
    assert peer.events[0] == Authenticated(HOST, "SCRAM-SHA-256")
    assert peer.events[-1] == SessionStarted(FULL)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("ª", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b"), ("\u0627", "\u0627")],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\x07", "\u06271", "\u0627a\u0627", "\ue000", "\ufffd", "\U000e0001"])
def test_saslprep_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|mixed"):
        saslprep(text)


def test_keys_of_an_empty_password_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        ScramKeys.derive("", b"0" * 16)


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_garbage_raises_only_scram_errors(first: bytes, final: bytes) -> None:
    server = ScramServer({"hv1": KEYS}.get, SECRET, "server")
    for message, step in ((first, server.first), (b"n,,n=hv1,r=x", server.first), (final, server.final)):
        with contextlib.suppress(ScramError):
            step(message)


@given(st.text(max_size=80), st.text(max_size=80))
def test_garbage_raises_only_sasl_errors(mechanism: str, payload: str) -> None:
    for name in (mechanism, EXTERNAL, SCRAM_SHA_256):
        server = sasl((HOST,))
        with contextlib.suppress(SaslError):
            server.start(name, payload)
        with contextlib.suppress(SaslError):
            server.respond(payload)
