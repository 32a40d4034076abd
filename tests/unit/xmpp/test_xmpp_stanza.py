"""Builders of stanzas and their errors."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmpp import namespaces as ns
from xmpp.jid import Jid
from xmpp.stanza import (
    Condition,
    ErrorType,
    Kind,
    Stanza,
    StanzaError,
    escape,
    iq_error,
    iq_result,
    message,
    ping,
    stanza_error,
)

HOST = Jid("hv1", "vpn.example.net", "a'b")
GATEWAY = Jid("", "vpn.example.net")


def request(to: Jid | None = GATEWAY, kind: Kind = Kind.IQ, type: str = "get", id: str = "i&1") -> Stanza:
    return Stanza(kind, type, id, HOST, to, ElementTree.Element(kind.value))


def test_a_result_swaps_the_addresses_and_keeps_the_id() -> None:
    assert iq_result(request()) == (
        b"<iq type='result' id='i&amp;1' from='vpn.example.net' to='hv1@vpn.example.net/a&apos;b'/>"
    )
    assert iq_result(request(), b"<a/>").endswith(b"'><a/></iq>")


def test_an_iq_without_to_is_answered_without_from() -> None:
    assert iq_result(request(None)) == b"<iq type='result' id='i&amp;1' to='hv1@vpn.example.net/a&apos;b'/>"
    assert b"from=" not in iq_error(request(None), StanzaError(Condition.BAD_REQUEST))


def test_an_error() -> None:
    error = StanzaError(Condition.FEATURE_NOT_IMPLEMENTED, "no <such> thing", app="unsupported", feature="create-nodes")
    assert iq_error(request(id="1"), error) == (
        b"<iq type='error' id='1' from='vpn.example.net' to='hv1@vpn.example.net/a&apos;b'><error type='cancel'>"
        b"<feature-not-implemented xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>no &lt;such&gt; thing</text>"
        b"<unsupported xmlns='http://jabber.org/protocol/pubsub#errors' feature='create-nodes'/></error></iq>"
    )
    assert str(error) == "feature-not-implemented (unsupported): no <such> thing"


@pytest.mark.parametrize(
    ("condition", "type"),
    [
        (Condition.BAD_REQUEST, ErrorType.MODIFY),
        (Condition.FORBIDDEN, ErrorType.AUTH),
        (Condition.ITEM_NOT_FOUND, ErrorType.CANCEL),
        (Condition.NOT_AUTHORIZED, ErrorType.AUTH),
        (Condition.RESOURCE_CONSTRAINT, ErrorType.WAIT),
        (Condition.SERVICE_UNAVAILABLE, ErrorType.CANCEL),
    ],
)
def test_the_usual_type_of_a_condition(condition: Condition, type: ErrorType) -> None:
    assert StanzaError(condition).type is type
    assert StanzaError(condition, type=ErrorType.WAIT).type is ErrorType.WAIT


def test_errors_of_other_kinds() -> None:
    bounced = stanza_error(request(Jid("x", "y"), Kind.MESSAGE, ""), StanzaError(Condition.SERVICE_UNAVAILABLE))
    assert bounced.startswith(b"<message type='error' id='i&amp;1' from='x@y' to='hv1@vpn")
    assert bounced.endswith(b"</message>")


def test_messages_and_requests() -> None:
    assert message(GATEWAY, HOST, b"<a/>", "headline") == (
        b"<message type='headline' from='vpn.example.net' to='hv1@vpn.example.net/a&apos;b'><a/></message>"
    )
    assert ping("1&2", GATEWAY, HOST) == (
        b"<iq type='get' id='1&amp;2' from='vpn.example.net' to='hv1@vpn.example.net/a&apos;b'>"
        b"<ping xmlns='urn:xmpp:ping'/></iq>"
    )


def test_which_stanzas_are_requests() -> None:
    assert request().is_request
    assert not request(type="result").is_request
    assert not request(kind=Kind.MESSAGE, type="get").is_request
    assert request().payload is None


@given(st.text())
def test_escaped_text_comes_back(text: str) -> None:
    escaped = escape(text)
    root = ElementTree.fromstring(f"<a b='{escaped}' c=\"{escaped}\">{escaped}</a>".encode())
    legal = "".join(c if c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff") else "\ufffd" for c in text)
    assert root.get("b") == root.get("c") == legal
    assert (root.text or "") == legal


def test_lone_surrogates_are_replaced() -> None:
    assert escape("a\ud800b").encode() == "a\ufffdb".encode()


def test_split_tag() -> None:
    assert ns.split_tag("{urn:a}b") == ("urn:a", "b")
    assert ns.split_tag("b") == ("", "b")
