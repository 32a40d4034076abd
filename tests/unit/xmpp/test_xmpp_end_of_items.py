"""The mark of a host that has published all its items: written and read."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from xmpp import namespaces as ns
from xmpp.end_of_items import end_of_items, read_end_of_items
from xmpp.jid import Jid
from xmpp.stanza import Condition, Kind, Stanza, StanzaError

HOST = Jid.parse("hv1@vpn.example.net/vrfwire")


def request(payload: str, type: str = "set", kind: Kind = Kind.IQ) -> Stanza:
    element = ElementTree.fromstring(f"<{kind} xmlns='{ns.CLIENT}' type='{type}' id='1'>{payload}</{kind}>")
    return Stanza(kind, type, "1", HOST, None, element)


def test_what_is_written_is_read() -> None:
    written = ElementTree.tostring(end_of_items("blue & red"), encoding="unicode")
    assert read_end_of_items(request(written)) == "blue & red"
    assert read_end_of_items(request("<end-of-items xmlns='urn:vrfwire:items:1' node='blue'/>")) == "blue"


def test_other_stanzas_are_none_of_it() -> None:
    mark = "<end-of-items xmlns='urn:vrfwire:items:1' node='blue'/>"
    assert read_end_of_items(request("")) is None
    assert read_end_of_items(request("<end-of-items xmlns='urn:vrfwire:items:2' node='blue'/>")) is None
    assert read_end_of_items(request(mark, "result")) is None
    assert read_end_of_items(request(mark, "", Kind.MESSAGE)) is None


@pytest.mark.parametrize(
    ("payload", "type", "condition", "app"),
    [
        ("<end-of-items xmlns='urn:vrfwire:items:1'/>", "set", Condition.BAD_REQUEST, "nodeid-required"),
        ("<end-of-items xmlns='urn:vrfwire:items:1' node=''/>", "set", Condition.BAD_REQUEST, "nodeid-required"),
        ("<end-of-items xmlns='urn:vrfwire:items:1' node='blue'/>", "get", Condition.BAD_REQUEST, ""),
        (f"<end-of-items xmlns='urn:vrfwire:items:1' node='{'b' * 129}'/>", "set", Condition.ITEM_NOT_FOUND, ""),
        ("<end-of-items xmlns='urn:vrfwire:items:1' node='bl\u00fce'/>", "set", Condition.ITEM_NOT_FOUND, ""),
    ],
)
def test_a_wrong_one_is_refused(payload: str, type: str, condition: Condition, app: str) -> None:
    with pytest.raises(StanzaError) as caught:
        read_end_of_items(request(payload, type))
    assert (caught.value.condition, caught.value.app) == (condition, app)
