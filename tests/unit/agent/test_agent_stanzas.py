"""Requests as XMPP payloads, and stanza errors as refusals."""

from __future__ import annotations

from xml.etree import ElementTree

from agent.signaling import Ask, Refusal, Request
from agent.stanzas import Identity, payload, refusal
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address

IDENTITY = Identity("hv1@vpn.example.net/vrfwire", "192.0.2.11")
P1 = Prefix.parse("10.1.1.1/32")
PATH = Path((NextHop(parse_address("192.0.2.11"), 100),))


def text(request: Request) -> tuple[str, str]:
    kind, element = payload(request, IDENTITY)
    return kind, ElementTree.tostring(element, encoding="unicode")


def test_subscribe_has_the_instance_id_and_the_full_jid() -> None:
    kind, xml = text(Request(Ask.SUBSCRIBE, "blue", 7))
    assert kind == "set"
    assert 'node="blue"' in xml and 'jid="hv1@vpn.example.net/vrfwire"' in xml
    assert "instance-id>7<" in xml


def test_items_are_named_by_address_instance_and_prefix() -> None:
    kind, xml = text(Request(Ask.PUBLISH, "blue", 7, ((P1, PATH),)))
    assert kind == "set"
    assert 'id="192.0.2.11:7:10.1.1.1/32"' in xml
    kind, xml = text(Request(Ask.RETRACT, "blue", 7, ((P1, None),)))
    assert "retract" in xml and 'id="192.0.2.11:7:10.1.1.1/32"' in xml


def test_the_others() -> None:
    assert text(Request(Ask.BARRIER, vpns=("blue",)))[0] == "get"
    assert "unsubscribe" in text(Request(Ask.UNSUBSCRIBE, "blue", 7))[1]


def answer(inner: str, kind: str = "error") -> ElementTree.Element:
    return ElementTree.fromstring(f"<iq xmlns='jabber:client' type='{kind}' id='1'>{inner}</iq>")


def test_a_result_is_no_refusal() -> None:
    assert refusal(answer("", "result")) is None


def test_condition_application_condition_and_text() -> None:
    stanza = "urn:ietf:params:xml:ns:xmpp-stanzas"
    xml = (
        f"<error type='cancel'><item-not-found xmlns='{stanza}'/>"
        f"<text xmlns='{stanza}'>no VPN green </text>"
        "<closed-node xmlns='http://jabber.org/protocol/pubsub#errors'/></error>"
    )
    assert refusal(answer(xml)) == Refusal("item-not-found", "closed-node: no VPN green")
    assert str(refusal(answer(xml))) == "item-not-found: closed-node: no VPN green"
    assert refusal(answer("<error type='cancel'/>")) == Refusal("undefined-condition")
    assert refusal(answer("")) == Refusal("undefined-condition")
