"""Conformance tables: raw bytes in, the stream error of RFC 6120, section 4.9, out."""

from __future__ import annotations

import pytest

from tests.unit.xmpp.driver import STARTTLS, Peer, auth, header

HEAD = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='"


def condition_of(sent: bytes) -> str:
    """Condition of the only error in what the server sent; checks that a header comes first and the end tag last."""
    assert sent.startswith(HEAD)
    assert sent.count(b"<stream:stream ") == 1
    _, _, error = sent.partition(b"<stream:error>")
    assert error.endswith(b"</stream:error></stream:stream>")
    assert b"<stream:error>" not in error
    return error.split(b" ", 1)[0].strip(b"<").decode()


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"", ""),
        (b"<a/>", "invalid-namespace"),
        (b"<a", ""),
        (b"hello>", "not-well-formed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03<>", "not-well-formed"),
        (header(to="other.example"), "host-unknown"),
        (header(to=""), "host-unknown"),
        (header(to="a b"), "host-unknown"),
        (header(xmlns="jabber:server"), "invalid-namespace"),
        (header(xmlns=""), "invalid-namespace"),
        (header().replace(b"etherx.jabber.org", b"example.org"), "invalid-namespace"),
        (header().replace(b"stream:stream ", b"stream:flow "), "bad-format"),
        (header(version="0.9"), "unsupported-version"),
        (header(version=""), "unsupported-version"),
        (header(version="one"), "unsupported-version"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>" + header(declaration=False), "unsupported-encoding"),
        (header().decode().encode("utf-16"), "not-well-formed"),
        (b"<!DOCTYPE a>" + header(), "restricted-xml"),
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'cc'>]>" + header(declaration=False), "restricted-xml"),
        (b"<!-- hello -->" + header(), "restricted-xml"),
        (header(extra=" a='" + "x" * 5000 + "'"), "policy-violation"),
        (header() + b"<message/>", "not-authorized"),
        (header() + b"<iq type='get' id='1'><query xmlns='jabber:iq:auth'/></iq>", "not-authorized"),
        (header() + b"<enable xmlns='urn:xmpp:sm:2'/>", "unsupported-stanza-type"),
        (header() + STARTTLS, "unsupported-stanza-type"),
        (header() + b"<a>" * 70, "policy-violation"),
        (header() + b"<a>" + b"b" * 11000 + b"</a>", "policy-violation"),
        (header() + b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='" + b"x" * 11000, "policy-violation"),
        (header() + b"</stream>", "not-well-formed"),
        (header() + b"&#0;", "not-well-formed"),
        (header() + b"oops", "bad-format"),
    ],
)
def test_before_login(data: bytes, condition: str) -> None:
    peer = Peer()
    sent = peer.send(data)
    if not condition:
        assert sent == b""
        assert peer.end is None
        return
    assert condition_of(sent) == condition
    assert peer.end is not None
    assert peer.end.condition == condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (header() + b"<message/>", "not-authorized"),
        (header() + b"<nothing xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "unsupported-stanza-type"),
        (header() + STARTTLS + b"<x/>", "policy-violation"),
    ],
)
def test_before_tls(data: bytes, condition: str) -> None:
    assert condition_of(Peer(secure=False).send(data)) == condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<message from='hv2@vpn.example.net'/>", "invalid-from"),
        (b"<message from='hv1@vpn.example.net/other'/>", "invalid-from"),
        (b"<message from='@'/>", "invalid-from"),
        (b"<stanza/>", "unsupported-stanza-type"),
        (b"<message xmlns='jabber:server'/>", "unsupported-stanza-type"),
        (b"<enable xmlns='urn:xmpp:sm:2'/>", "unsupported-stanza-type"),
        (auth("EXTERNAL"), "unsupported-stanza-type"),
        (b"<message><!-- a --></message>", "restricted-xml"),
        (b"<message><?a b?></message>", "restricted-xml"),
        (b"<message>&bomb;</message>", "restricted-xml"),
        (b"<message><a></message>", "not-well-formed"),
        (b"text", "bad-format"),
        (b"<message>" + b"x" * 20001 + b"</message>", "policy-violation"),
        (b"<a>" * 64, "policy-violation"),
    ],
)
def test_in_a_session(data: bytes, condition: str) -> None:
    peer = Peer(stanza_max=20000).login()
    sent = peer.send(data)
    assert sent.startswith(f"<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>".encode())
    assert sent.endswith(b"</stream:error></stream:stream>")
    assert not peer.stanzas


def test_after_login_the_limit_is_the_larger_one() -> None:
    peer = Peer(stanza_max=20000).login()
    peer.send(b"<message><body>" + b"x" * 15000 + b"</body></message>")
    assert len(peer.stanzas) == 1


def test_between_login_and_bind_only_a_bind_is_taken() -> None:
    for early in (b"<message/>", b"<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>"):
        peer = Peer()
        peer.send(header(), auth("EXTERNAL"), header())
        assert b"<stream:error><not-authorized " in peer.send(early)


def test_the_reopened_stream_must_be_of_the_same_account() -> None:
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"))
    assert b"<stream:error><invalid-from " in peer.send(header(extra=" from='hv2@vpn.example.net'"))
    peer = Peer()
    peer.send(header(), auth("EXTERNAL"))
    assert b"<stream:features>" in peer.send(header(extra=" from='HV1@vpn.example.net/x'"))
