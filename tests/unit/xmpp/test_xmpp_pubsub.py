"""Publish-subscribe requests: values out, or the error pair of XEP-0060; results in."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.xmpp.driver import FULL
from xmpp import pubsub
from xmpp.jid import Jid
from xmpp.pubsub import (
    Affiliations,
    Items,
    OptionsGet,
    OptionsSet,
    Publish,
    Request,
    ResultSet,
    Retract,
    Subscribe,
    Subscriptions,
    Unsubscribe,
)
from xmpp.stanza import Condition, Kind, Stanza, StanzaError

NS = "http://jabber.org/protocol/pubsub"
HOST = Jid("hv1", "vpn.example.net")


def iq(inner: str, type: str = "set", namespace: str = NS) -> Stanza:
    xml = f"<iq xmlns='jabber:client' type='{type}' id='1'><pubsub xmlns='{namespace}'>{inner}</pubsub></iq>"
    return Stanza(Kind.IQ, type, "1", FULL, None, ElementTree.fromstring(xml))


def form(field: str) -> str:
    return f"<options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'/>{field}</x></options>"


def instance(number: str) -> str:
    return f"<options><instance-id>{number}</instance-id></options>"


BLUE = "node='blue'"
SUBSCRIBE = "<subscribe node='blue' jid='hv1@vpn.example.net'/>"
VLAN = "<field var='vpn#vlan_id'><value>100</value></field>"


@pytest.mark.parametrize(
    ("type", "inner", "request_value"),
    [
        ("set", SUBSCRIBE, Subscribe("blue", HOST)),
        ("set", SUBSCRIBE + instance("1"), Subscribe("blue", HOST, 1)),
        ("set", instance(" 65535 ") + SUBSCRIBE, Subscribe("blue", HOST, 65535)),
        ("set", SUBSCRIBE + form(VLAN), Subscribe("blue", HOST, 100)),
        ("set", SUBSCRIBE + form(""), Subscribe("blue", HOST)),
        ("set", SUBSCRIBE + "<options node='blue' jid='HV1@vpn.example.net'/>", Subscribe("blue", HOST)),
        ("set", SUBSCRIBE + "<other xmlns='urn:other'/>", Subscribe("blue", HOST)),
        ("set", "<unsubscribe node='blue' jid='hv1@vpn.example.net/vrfwire'/>", Unsubscribe("blue", FULL)),
        ("set", "<unsubscribe node='blue' jid='hv1@vpn.example.net' subid='a'/>", Unsubscribe("blue", HOST, "a")),
        ("set", "<retract node='blue'><item id='a'/><item id='b'/></retract>", Retract("blue", ("a", "b"))),
        ("set", "<retract node='blue' notify='1'><item id='a'/></retract>", Retract("blue", ("a",), True)),
        ("get", "<items node='blue'/>", Items("blue")),
        ("get", "<items node='blue' max_items='3'/>", Items("blue", (), 3)),
        ("get", "<items node='blue'><item id='a'/></items>", Items("blue", ("a",))),
        (
            "get",
            "<items node='blue'/><set xmlns='http://jabber.org/protocol/rsm'><max>10</max><after>x</after></set>",
            Items("blue", result_set=ResultSet(10, "x")),
        ),
        ("get", "<subscriptions/>", Subscriptions()),
        ("get", "<subscriptions node='blue'/>", Subscriptions("blue")),
        ("get", "<affiliations/>", Affiliations()),
        ("get", "<options node='blue' jid='hv1@vpn.example.net'/>", OptionsGet("blue", HOST)),
        (
            "set",
            form(VLAN).replace("<options>", "<options node='blue' jid='hv1@vpn.example.net'>"),
            OptionsSet("blue", HOST, 100),
        ),
    ],
)
def test_requests(type: str, inner: str, request_value: Request) -> None:
    stanza = iq(inner, type)
    assert pubsub.is_request(stanza)
    assert pubsub.parse_request(stanza) == request_value


def test_publish() -> None:
    request = pubsub.parse_request(
        iq("<publish node='blue'><item id='a'><x xmlns='u'/></item><item id='b'><y xmlns='u'/></item></publish>")
    )
    assert isinstance(request, Publish)
    assert [(item.id, item.payload.tag) for item in request.items] == [("a", "{u}x"), ("b", "{u}y")]


NODE_POLICY = (Condition.FEATURE_NOT_IMPLEMENTED, "unsupported")


@pytest.mark.parametrize(
    ("type", "inner", "condition", "app"),
    [
        ("set", "", Condition.BAD_REQUEST, ""),
        ("set", "<subscribe jid='a@b'/>", Condition.BAD_REQUEST, "nodeid-required"),
        ("set", "<subscribe node='blue'/>", Condition.BAD_REQUEST, "jid-required"),
        ("set", "<subscribe node='blue' jid='@'/>", Condition.BAD_REQUEST, "invalid-jid"),
        ("set", f"<subscribe node='{'b' * 129}' jid='a@b'/>", Condition.ITEM_NOT_FOUND, ""),
        ("set", "<subscribe node='blå' jid='a@b'/>", Condition.ITEM_NOT_FOUND, ""),
        ("set", SUBSCRIBE * 2, Condition.BAD_REQUEST, ""),
        ("get", SUBSCRIBE, Condition.BAD_REQUEST, ""),
        (
            "set",
            SUBSCRIBE + "<options><instance-id>65536</instance-id></options>",
            Condition.BAD_REQUEST,
            "invalid-options",
        ),
        (
            "set",
            SUBSCRIBE + "<options><instance-id>-1</instance-id></options>",
            Condition.BAD_REQUEST,
            "invalid-options",
        ),
        ("set", SUBSCRIBE + "<options><instance-id/></options>", Condition.BAD_REQUEST, "invalid-options"),
        ("set", SUBSCRIBE + form("<field var='vpn#vlan_id'/>"), Condition.BAD_REQUEST, "invalid-options"),
        ("set", SUBSCRIBE + "<options node='red'/>", Condition.BAD_REQUEST, "invalid-options"),
        ("set", SUBSCRIBE + "<options/><options/>", Condition.BAD_REQUEST, ""),
        ("set", "<unsubscribe node='blue'/>", Condition.BAD_REQUEST, "jid-required"),
        ("set", "<publish><item id='a'><x/></item></publish>", Condition.BAD_REQUEST, "nodeid-required"),
        ("set", "<publish node='blue'/>", Condition.BAD_REQUEST, "item-required"),
        ("set", "<publish node='blue'><item id='a'/></publish>", Condition.BAD_REQUEST, "payload-required"),
        ("set", "<publish node='blue'><item><x/></item></publish>", Condition.BAD_REQUEST, "item-required"),
        (
            "set",
            "<publish node='blue'><item id='a'><x/><y/></item></publish>",
            Condition.BAD_REQUEST,
            "invalid-payload",
        ),
        ("set", f"<publish node='blue'><item id='{'a' * 257}'><x/></item></publish>", Condition.NOT_ACCEPTABLE, ""),
        ("set", "<publish node='blue'><item id='a'><x/></item></publish><publish-options/>", *NODE_POLICY),
        ("set", "<publish node='blue'><item id='a'><x/></item></publish><options/>", Condition.BAD_REQUEST, ""),
        ("set", "<retract node='blue'/>", Condition.BAD_REQUEST, "item-required"),
        ("set", "<retract><item id='a'/></retract>", Condition.BAD_REQUEST, "nodeid-required"),
        ("get", "<items/>", Condition.BAD_REQUEST, "nodeid-required"),
        ("get", "<items node='blue' max_items='0'/>", Condition.BAD_REQUEST, ""),
        ("get", "<items node='blue' max_items='many'/>", Condition.BAD_REQUEST, ""),
        ("get", "<options node='blue'/>", Condition.BAD_REQUEST, "jid-required"),
        ("set", "<create node='new'/><configure/>", *NODE_POLICY),
        ("set", "<create/>", *NODE_POLICY),
        ("get", "<default/>", *NODE_POLICY),
        ("set", "<dance/>", Condition.FEATURE_NOT_IMPLEMENTED, ""),
        ("set", "<collection node='blue'/>", Condition.FEATURE_NOT_IMPLEMENTED, ""),
    ],
)
def test_refusals(type: str, inner: str, condition: Condition, app: str) -> None:
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(iq(inner, type))
    assert (caught.value.condition, caught.value.app) == (condition, app)


@pytest.mark.parametrize(
    ("inner", "feature"),
    [
        ("<delete node='blue'/>", "delete-nodes"),
        ("<configure node='blue'/>", "config-node"),
        ("<purge node='blue'/>", "purge-nodes"),
        ("<subscriptions node='blue'/>", "manage-subscriptions"),
        ("<affiliations node='blue'/>", "modify-affiliations"),
        ("<default/>", "retrieve-default"),
    ],
)
def test_owner_requests_are_refused_by_policy(inner: str, feature: str) -> None:
    stanza = iq(inner, namespace=f"{NS}#owner")
    assert pubsub.is_request(stanza)
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(stanza)
    assert (caught.value.condition, caught.value.app, caught.value.feature) == (*NODE_POLICY, feature)


def test_pages_by_index_are_refused() -> None:
    inner = "<items node='b'/><set xmlns='http://jabber.org/protocol/rsm'><index>3</index></set>"
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(iq(inner, "get"))
    assert caught.value.condition is Condition.FEATURE_NOT_IMPLEMENTED


def test_other_stanzas_are_no_requests() -> None:
    other = Stanza(Kind.IQ, "get", "1", FULL, None, ElementTree.fromstring("<iq><a/></iq>"))
    assert not pubsub.is_request(other)
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(other)
    assert caught.value.condition is Condition.SERVICE_UNAVAILABLE


def test_results() -> None:
    assert pubsub.subscription_result("blue", FULL) == (
        b"<pubsub xmlns='http://jabber.org/protocol/pubsub'>"
        b"<subscription node='blue' jid='hv1@vpn.example.net/vrfwire' subscription='subscribed'/></pubsub>"
    )
    assert b"<publish node='blue'><item id='a&amp;b'/><item id='c'/></publish>" in pubsub.publish_result(
        "blue", ["a&b", "c"]
    )
    items = pubsub.items_result("blue", [("a", b"<x/>"), ("b", b"<y/>")], pubsub.Page(7, "a", "b", 2))
    assert b"<items node='blue'><item id='a'><x/></item><item id='b'><y/></item></items>" in items
    assert b"<first index='2'>a</first><last>b</last><count>7</count></set></pubsub>" in items
    assert pubsub.items_result("blue", []).endswith(b"<items node='blue'></items></pubsub>")
    assert b"<set xmlns='http://jabber.org/protocol/rsm'><count>0</count></set>" in pubsub.items_result(
        "blue", [], pubsub.Page(0)
    )
    assert b"<subscriptions node='blue'><subscription node='blue' " in pubsub.subscriptions_result(
        [("blue", FULL)], "blue"
    )
    assert b"<affiliations><affiliation node='blue' affiliation='publisher'/>" in pubsub.affiliations_result(["blue"])


def test_options_come_back_as_they_were_set() -> None:
    form = pubsub.options_result("blue", HOST, 7).replace(b"type='form'", b"type='submit'")
    element = ElementTree.fromstring(form)
    iq_element = ElementTree.Element("iq")
    iq_element.append(element)
    assert pubsub.parse_request(Stanza(Kind.IQ, "set", "1", FULL, None, iq_element)) == OptionsSet("blue", HOST, 7)


@pytest.mark.parametrize("type", ["form", "result", "cancel", "x", ""])
def test_a_form_that_is_not_submitted_sets_nothing(type: str) -> None:
    options = form(VLAN).replace("'submit'", f"'{type}'")
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(iq(SUBSCRIBE + options))
    assert caught.value.app == "invalid-options"
    options = options.replace("<options>", "<options node='blue' jid='hv1@vpn.example.net'>")
    if type == "cancel":
        assert pubsub.parse_request(iq(options)) == OptionsSet("blue", HOST, cancelled=True)
        return
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(iq(options))
    assert caught.value.app == "invalid-options"


def test_a_form_of_another_type_is_refused() -> None:
    options = form(VLAN).replace("<field var='FORM_TYPE'/>", "<field var='FORM_TYPE'><value>x</value></field>")
    with pytest.raises(StanzaError) as caught:
        pubsub.parse_request(iq(SUBSCRIBE + options))
    assert caught.value.app == "invalid-options"


names = st.sampled_from(
    [f"{{{NS}}}{n}" for n in ("subscribe", "options", "publish", "item", "retract", "items", "create", "unsubscribe")]
    + ["{jabber:x:data}x", "{http://jabber.org/protocol/rsm}set", "x"]
)
attributes = st.dictionaries(st.sampled_from(["node", "jid", "id", "max_items", "var", "notify"]), st.text(max_size=5))
elements = st.recursive(
    st.builds(ElementTree.Element, names, attributes),
    lambda inner: st.builds(
        lambda name, attrs, children: _with(ElementTree.Element(name, attrs), children),
        names,
        attributes,
        st.lists(inner, max_size=3),
    ),
    max_leaves=10,
)


def _with(element: ElementTree.Element, children: list[ElementTree.Element]) -> ElementTree.Element:
    element.extend(children)
    return element


@given(st.lists(elements, max_size=3), st.sampled_from(["get", "set"]), st.sampled_from(["", "#owner"]))
def test_any_request_is_a_value_or_a_stanza_error(children: list[ElementTree.Element], type: str, suffix: str) -> None:
    iq_element = ElementTree.Element("iq")
    iq_element.append(_with(ElementTree.Element(f"{{{NS}{suffix}}}pubsub"), children))
    try:
        assert isinstance(pubsub.parse_request(Stanza(Kind.IQ, type, "1", FULL, None, iq_element)), tuple)
    except StanzaError as error:
        ElementTree.fromstring(error.to_xml())
