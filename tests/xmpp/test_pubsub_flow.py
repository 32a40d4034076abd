"""Publish-subscribe between two clients (XEP-0060 1.30): subscriptions, events, retrieval in pages, options forms."""

from __future__ import annotations

from itertools import count
from xml.etree.ElementTree import Element

import pytest

from tests.scenario.raw_host import entry
from tests.stream_elements import CLIENT
from tests.xmpp.conftest import Sessions
from tests.xmpp.differences import judge
from tests.xmpp.raw import RawClient, stanza_outcome
from tests.xmpp.subjects import USERS, Subject
from xmpp import namespaces as ns

PUBSUB, EVENT, RSM, FORMS = (f"{{{name}}}" for name in (ns.PUBSUB, ns.PUBSUB_EVENT, ns.RSM, ns.DATA_FORMS))
_numbers = count()


@pytest.fixture
def node(subject: Subject, sessions: Sessions) -> str:
    """A node without items or subscriptions: a VPN of ours, or a new one."""
    if subject.ours:
        return "red"
    name = f"flow{next(_numbers)}"
    pubsub(sessions(resource="owner"), subject, f"<create node='{name}'/>")
    return name


def pubsub(client: RawClient, subject: Subject, content: str, type: str = "set") -> Element:
    """The answer to a request, which is no refusal."""
    answer = client.ask(type, f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub>", subject.service)
    assert answer.get("type") == "result", client.describe(answer)
    return answer


def announce(client: RawClient, subject: Subject, node: str, *prefixes: str, label: int = 100) -> None:
    """Publish routes, one by one: others take no more."""
    for prefix in prefixes:
        item = f"<item id='{subject.item(prefix)}'>{entry(prefix, label, '127.0.0.1')}</item>"
        answer = pubsub(client, subject, f"<publish node='{node}'>{item}</publish>")
        echoed = [element.get("id") for element in answer.iter(f"{PUBSUB}item")]
        assert echoed == [subject.item(prefix)], "section 7.1.2: the id of the item comes back"


def retract(client: RawClient, subject: Subject, node: str, *prefixes: str) -> None:
    """Retract routes."""
    for prefix in prefixes:
        item = f"<item id='{subject.item(prefix)}'/>"
        pubsub(client, subject, f"<retract node='{node}' notify='true'>{item}</retract>")


def event(client: RawClient, subject: Subject, node: str) -> list[Element]:
    """The changes in the next event, which is from the service and for this session."""
    message = client.next(lambda e: e.tag == f"{CLIENT}message" and e.find(f"{EVENT}event") is not None)
    assert message is not None and message.get("from") == subject.service
    assert message.get("to") in (client.jid, client.jid.partition("/")[0])
    items = message.find(f"{EVENT}event/{EVENT}items")
    assert items is not None and items.get("node") == node
    return list(items)


def ids(answer: Element) -> list[str]:
    """Of the items in an answer."""
    return [element.get("id", "") for element in answer.iter(f"{PUBSUB}item")]


def test_subscribe_publish_retract_unsubscribe(subject: Subject, sessions: Sessions, node: str) -> None:
    """Sections 6.1, 7.1, 7.2, 6.2: who is subscribed hears of everything, and of nothing afterwards."""
    publisher, subscriber = sessions(USERS[0]), sessions(USERS[1])
    answer = pubsub(subscriber, subject, f"<subscribe node='{node}' jid='{subscriber.jid}'/>")
    subscription = answer.find(f"{PUBSUB}pubsub/{PUBSUB}subscription")
    assert subscription is not None and subscription.get("subscription") == "subscribed"
    assert subscription.get("node") == node and subscription.get("jid") == subscriber.jid
    announce(publisher, subject, node, "10.1.1.1/32")
    (item,) = event(subscriber, subject, node)
    assert item.tag == f"{EVENT}item" and item.get("id") == subject.published("10.1.1.1/32")
    assert item.findtext(f".//{{{ns.ENTRY}}}label") == "100"
    announce(publisher, subject, node, "10.1.1.1/32", label=101)
    (item,) = event(subscriber, subject, node)
    assert item.findtext(f".//{{{ns.ENTRY}}}label") == "101"
    retract(publisher, subject, node, "10.1.1.1/32")
    (item,) = event(subscriber, subject, node)
    assert item.tag == f"{EVENT}retract" and item.get("id") == subject.published("10.1.1.1/32")
    pubsub(subscriber, subject, f"<unsubscribe node='{node}' jid='{subscriber.jid}'/>")
    announce(publisher, subject, node, "10.1.1.2/32")
    retract(publisher, subject, node, "10.1.1.2/32")
    assert subscriber.outcome("", silent=True) == "nothing"
    assert not [e for e in subscriber.elements if e.find(f"{EVENT}event") is not None]


def test_what_was_there_before(subject: Subject, sessions: Sessions, node: str) -> None:
    """The draft: a subscription is an implicit retrieval. Others send the last item or none (section 6.1.7)."""
    publisher, subscriber = sessions(USERS[0]), sessions(USERS[1])
    announce(publisher, subject, node, "10.1.1.1/32", "10.1.1.2/32")
    pubsub(subscriber, subject, f"<subscribe node='{node}' jid='{subscriber.jid}'/>")
    subscriber.ask("get", f"<ping xmlns='{ns.PING}'/>", subject.service)
    found = [e for e in subscriber.elements if e.find(f"{EVENT}event") is not None]
    told = sorted(e.get("id", "") for message in found for e in message.iter(f"{EVENT}item"))
    judge(subject, "replay", " ".join(told), "10.1.1.1/32 10.1.1.2/32")
    retract(publisher, subject, node, "10.1.1.1/32", "10.1.1.2/32")
    pubsub(subscriber, subject, f"<unsubscribe node='{node}' jid='{subscriber.jid}'/>")


def test_a_subscription_is_listed(subject: Subject, sessions: Sessions, node: str) -> None:
    """Sections 5.6 and 5.7: of all nodes, and of one."""
    client = sessions()
    pubsub(client, subject, f"<subscribe node='{node}' jid='{client.jid}'/>")
    for content in ("<subscriptions/>", f"<subscriptions node='{node}'/>"):
        answer = pubsub(client, subject, content, "get")
        found = [
            (element.get("node", node), element.get("jid"), element.get("subscription"))
            for element in answer.iter(f"{PUBSUB}subscription")
        ]
        assert (node, client.jid, "subscribed") in found
    answer = client.ask("get", f"<pubsub xmlns='{ns.PUBSUB}'><affiliations/></pubsub>", subject.service)
    kinds = {e.get("node"): e.get("affiliation", "") for e in answer.iter(f"{PUBSUB}affiliation")}
    judge(subject, "affiliation", kinds.get(node) or stanza_outcome(answer), "publisher")
    pubsub(client, subject, f"<unsubscribe node='{node}' jid='{client.jid}'/>")


PREFIXES = [f"10.2.0.{number}/32" for number in range(1, 13)]


def page(client: RawClient, subject: Subject, node: str, wanted: str) -> Element:
    """The answer to a request for a page."""
    content = f"<items node='{node}'/><set xmlns='{ns.RSM}'>{wanted}</set>"
    return client.ask("get", f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub>", subject.service)


def test_items(subject: Subject, sessions: Sessions, node: str) -> None:
    """Section 6.5: all, by id, the newest ones."""
    client = sessions()
    announce(client, subject, node, *PREFIXES)
    known = [subject.published(prefix) for prefix in PREFIXES]
    assert sorted(ids(pubsub(client, subject, f"<items node='{node}'/>", "get"))) == sorted(known)
    named = f"<items node='{node}'><item id='{known[3]}'/></items>"
    assert ids(pubsub(client, subject, named, "get")) == [known[3]]
    newest = ids(pubsub(client, subject, f"<items node='{node}' max_items='3'/>", "get"))
    assert sorted(newest) == sorted(known[-3:])
    retract(client, subject, node, *PREFIXES)
    assert ids(pubsub(client, subject, f"<items node='{node}'/>", "get")) == []


def test_pages(subject: Subject, sessions: Sessions, node: str) -> None:
    """XEP-0059: forwards, backwards, the last page, the number alone, from where nothing is, by index."""
    client = sessions()
    announce(client, subject, node, *PREFIXES)
    known = [subject.published(prefix) for prefix in PREFIXES]
    answer = page(client, subject, node, "<max>5</max>")
    paged = answer.find(f".//{RSM}set") is not None
    judge(subject, "pages", str(paged), "True")
    if subject.ours:
        seen, after = [], ""
        while found := ids(answer := page(client, subject, node, f"<max>5</max>{after}")):
            assert answer.findtext(f".//{RSM}count") == "12"
            assert answer.findtext(f".//{RSM}first") == found[0] and answer.findtext(f".//{RSM}last") == found[-1]
            seen += found
            after = f"<after>{found[-1]}</after>"
        assert seen == known
        seen, before = [], "<before/>"
        while found := ids(page(client, subject, node, f"<max>5</max>{before}")):
            seen = found + seen
            before = f"<before>{found[0]}</before>"
        assert seen == known
        answer = page(client, subject, node, "<max>0</max>")
        assert ids(answer) == [] and answer.findtext(f".//{RSM}count") == "12"
        for wanted, refusal in {
            "<after>10.9.9.9/32</after>": "error cancel item-not-found",
            "<before>10.9.9.9/32</before>": "error cancel item-not-found",
            "<max>x</max>": "error modify bad-request",
            "<index>3</index>": "error cancel feature-not-implemented",
        }.items():
            assert stanza_outcome(page(client, subject, node, wanted)) == refusal
    retract(client, subject, node, *PREFIXES)


def field(answer: Element, name: str) -> str | None:
    """A field of the form in an answer."""
    for element in answer.iter(f"{FORMS}field"):
        if element.get("var") == name:
            return element.findtext(f"{FORMS}value")
    return None


def form(content: str, type: str = "submit") -> str:
    """A form for options of a subscription."""
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_OPTIONS}</value></field>"
    return f"<x xmlns='{ns.DATA_FORMS}' type='{type}'>{kind}{content}</x>"


def vlan(value: str) -> str:
    """The field with the instance id."""
    return f"<field var='vpn#vlan_id'><value>{value}</value></field>"


def test_options_by_form(ours: Subject) -> None:
    """A form is given, what is submitted holds, and is given back."""
    with ours.log_in() as client:
        address = f"node='red' jid='{client.jid}'"
        pubsub(client, ours, f"<subscribe {address}/><options>{form(vlan('7'))}</options>")
        answer = pubsub(client, ours, f"<options {address}/>", "get")
        x = answer.find(f".//{FORMS}x")
        assert x is not None and x.get("type") == "form"
        assert field(answer, "FORM_TYPE") == ns.PUBSUB_OPTIONS and field(answer, "vpn#vlan_id") == "7"
        pubsub(client, ours, f"<options {address}>{form(vlan('8'))}</options>")
        assert field(pubsub(client, ours, f"<options {address}/>", "get"), "vpn#vlan_id") == "8"
        pubsub(client, ours, f"<options {address}>{form('', 'cancel')}</options>")
        assert field(pubsub(client, ours, f"<options {address}/>", "get"), "vpn#vlan_id") == "8"
        pubsub(client, ours, f"<unsubscribe {address}/>")


def test_options_of_the_draft(ours: Subject) -> None:
    """draft-ietf-l3vpn-end-system: <instance-id/> within <options/>, with and without a namespace of its own."""
    with ours.log_in() as client:
        address = f"node='red' jid='{client.jid}'"
        for content in ("<instance-id>7</instance-id>", "<instance-id xmlns='urn:example:x'>9</instance-id>"):
            pubsub(client, ours, f"<subscribe {address}/><options>{content}</options>")
            number = content.partition(">")[2].partition("<")[0]
            assert field(pubsub(client, ours, f"<options {address}/>", "get"), "vpn#vlan_id") == number
        pubsub(client, ours, f"<unsubscribe {address}/>")


WRONG_FORMS = {
    "no number": form(vlan("x")),
    "too large": form(vlan("65536")),
    "negative": form(vlan("-1")),
    "no value": form("<field var='vpn#vlan_id'/>"),
    "another form's type": form(vlan("7")).replace("subscribe_options", "publish-options"),
    "not submitted": form(vlan("7"), "form"),
    "a result": form(vlan("7"), "result"),
    "an unknown type": form(vlan("7"), "x"),
}


@pytest.mark.parametrize("case", WRONG_FORMS)
def test_options_that_are_refused(case: str, ours: Subject) -> None:
    """Section 6.3.5.2 and XEP-0004: what was set before stays."""
    with ours.log_in() as client:
        address = f"node='red' jid='{client.jid}'"
        pubsub(client, ours, f"<subscribe {address}/><options>{form(vlan('7'))}</options>")
        options = f"<options {address}>{WRONG_FORMS[case]}</options>"
        answer = client.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'>{options}</pubsub>", ours.service)
        assert stanza_outcome(answer) == "error modify bad-request invalid-options"
        assert field(pubsub(client, ours, f"<options {address}/>", "get"), "vpn#vlan_id") == "7"
        pubsub(client, ours, f"<unsubscribe {address}/>")


def test_unknown_fields_are_skipped(ours: Subject) -> None:
    """Section 6.3.5: options of XEP-0060 that we have no use for harm nobody."""
    with ours.log_in() as client:
        address = f"node='red' jid='{client.jid}'"
        other = "<field var='pubsub#deliver'><value>1</value></field>"
        pubsub(client, ours, f"<subscribe {address}/><options>{form(other + vlan('7'))}</options>")
        assert field(pubsub(client, ours, f"<options {address}/>", "get"), "vpn#vlan_id") == "7"
        pubsub(client, ours, f"<unsubscribe {address}/>")
