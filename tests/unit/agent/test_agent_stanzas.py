"""Requests as XMPP payloads, and stanza errors as refusals."""

from __future__ import annotations

from xml.etree import ElementTree

from agent.requests import Ask, Offer, Refusal, Request
from agent.stanzas import Identity, noticed, payload, refusal
from vpn.path import NextHop, Path
from vpn.prefix import Prefix, parse_address
from xmpp.notices import Notice, NoticeKind

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
    kind, xml = text(Request(Ask.PUBLISH, "blue", 7, ((P1, Offer(PATH, "vm<1>")),)))
    assert kind == "set"
    assert "vm&lt;1&gt;" in xml
    assert 'id="192.0.2.11:7:10.1.1.1/32"' in xml
    kind, xml = text(Request(Ask.RETRACT, "blue", 7, ((P1, None),)))
    assert "retract" in xml and 'id="192.0.2.11:7:10.1.1.1/32"' in xml


def test_the_others() -> None:
    assert text(Request(Ask.BARRIER, vpns=("blue",)))[0] == "get"
    kind, mark = text(Request(Ask.END_OF_ITEMS, "blue", 7))
    assert kind == "set" and "end-of-items" in mark and 'node="blue"' in mark and '"urn:vrfwire:items:1"' in mark
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


def test_a_notice_is_about_this_hosts_items() -> None:
    own = ("192.0.2.11:7:10.1.1.1/32", "192.0.2.11:7:fd00::1/128")
    others = ("192.0.2.11:x", "192.0.2.12:7:10.1.1.1/32", "192.0.2.1:17:10.1.1.1/32", "10.1.1.1/32")
    notice = Notice(NoticeKind.WITHHELD, "blue", own + others, "why")
    assert noticed(notice, IDENTITY) == [P1, Prefix.parse("fd00::1/128")]
