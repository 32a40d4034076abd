"""Publish-subscribe requests that are refused, with the pairs of conditions of XEP-0060 1.30."""

from __future__ import annotations

import pytest

from tests.scenario.raw_host import entry
from tests.xmpp.conftest import Sessions
from tests.xmpp.differences import judge
from tests.xmpp.subjects import DOMAIN, USERS, Subject
from xmpp import namespaces as ns

ME = f"{USERS[0]}@{DOMAIN}"
ENTRY = entry("10.1.1.1/32", 100, "127.0.0.1")
ITEM = f"<item id='127.0.0.1:1:10.1.1.1/32'>{ENTRY}</item>"
FORM = "<x xmlns='jabber:x:data' type='submit'>{}</x>"
VALUE = "<field var='{}'><value>{}</value></field>"
TYPE = VALUE.format("FORM_TYPE", ns.PUBSUB_OPTIONS)
BAD = "error modify bad-request"
UNSUPPORTED = "error cancel feature-not-implemented unsupported"

# Case: (type, namespace, content, outcome).
CASES: dict[str, tuple[str, str, str, str]] = {
    # Subscribing: sections 6.1.3 and 6.3.7.
    "subscribe without node": ("set", ns.PUBSUB, f"<subscribe jid='{ME}'/>", f"{BAD} nodeid-required"),
    "subscribe without jid": ("set", ns.PUBSUB, "<subscribe node='blue'/>", f"{BAD} jid-required"),
    "subscribe another": (
        "set", ns.PUBSUB, f"<subscribe node='blue' jid='host2@{DOMAIN}'/>", f"{BAD} invalid-jid"),
    "subscribe another session": (
        "set", ns.PUBSUB, f"<subscribe node='blue' jid='{ME}/other'/>", f"{BAD} invalid-jid"),
    "subscribe no jid": ("set", ns.PUBSUB, "<subscribe node='blue' jid='@@'/>", f"{BAD} invalid-jid"),
    "subscribe nothing": (
        "set", ns.PUBSUB, f"<subscribe node='none' jid='{ME}'/>", "error cancel item-not-found"),
    "subscribe by get": ("get", ns.PUBSUB, f"<subscribe node='blue' jid='{ME}'/>", BAD),
    "subscribe with a wrong instance": (
        "set", ns.PUBSUB, f"<subscribe node='blue' jid='{ME}'/><options><instance-id>65536</instance-id></options>",
        f"{BAD} invalid-options"),
    "subscribe with a wrong form": (
        "set", ns.PUBSUB,
        f"<subscribe node='blue' jid='{ME}'/><options>{FORM.format(TYPE + VALUE.format('vpn#vlan_id', 'x'))}</options>",
        f"{BAD} invalid-options"),
    # Unsubscribing: section 6.2.3.
    "unsubscribe without node": ("set", ns.PUBSUB, f"<unsubscribe jid='{ME}'/>", f"{BAD} nodeid-required"),
    "unsubscribe without jid": ("set", ns.PUBSUB, "<unsubscribe node='blue'/>", f"{BAD} jid-required"),
    "unsubscribe unsubscribed": (
        "set", ns.PUBSUB, f"<unsubscribe node='red' jid='{ME}'/>", "error cancel unexpected-request not-subscribed"),
    "unsubscribe another": (
        "set", ns.PUBSUB, f"<unsubscribe node='blue' jid='host2@{DOMAIN}'/>", "error auth forbidden"),
    "unsubscribe from nothing": (
        "set", ns.PUBSUB, f"<unsubscribe node='none' jid='{ME}'/>", "error cancel item-not-found"),
    # Options: section 6.3.3.
    "options unsubscribed": (
        "get", ns.PUBSUB, f"<options node='red' jid='{ME}'/>", "error modify unexpected-request not-subscribed"),
    "options without jid": ("get", ns.PUBSUB, "<options node='blue'/>", f"{BAD} jid-required"),
    "options without node": ("get", ns.PUBSUB, f"<options jid='{ME}'/>", f"{BAD} nodeid-required"),
    "options of another": ("get", ns.PUBSUB, f"<options node='blue' jid='host2@{DOMAIN}'/>", "error auth forbidden"),
    "options of nothing": ("get", ns.PUBSUB, f"<options node='none' jid='{ME}'/>", "error cancel item-not-found"),
    "default options": ("get", ns.PUBSUB, "<default/>", f"{UNSUPPORTED} retrieve-default-sub"),
    # Items: section 6.5.9.
    "items without node": ("get", ns.PUBSUB, "<items/>", f"{BAD} nodeid-required"),
    "items of nothing": ("get", ns.PUBSUB, "<items node='none'/>", "error cancel item-not-found"),
    "items by set": ("set", ns.PUBSUB, "<items node='blue'/>", BAD),
    "no newest items": ("get", ns.PUBSUB, "<items node='blue' max_items='0'/>", BAD),
    "newest items uncountable": ("get", ns.PUBSUB, "<items node='blue' max_items='many'/>", BAD),
    # Publishing: section 7.1.3.
    "publish without node": ("set", ns.PUBSUB, f"<publish>{ITEM}</publish>", f"{BAD} nodeid-required"),
    "publish to nothing": (
        "set", ns.PUBSUB, f"<publish node='none'>{ITEM}</publish>", "error cancel item-not-found"),
    "publish nothing": ("set", ns.PUBSUB, "<publish node='blue'/>", f"{BAD} item-required"),
    "publish no payload": (
        "set", ns.PUBSUB, "<publish node='blue'><item id='127.0.0.1:1:10.1.1.1/32'/></publish>",
        f"{BAD} payload-required"),
    "publish two payloads": (
        "set", ns.PUBSUB, f"<publish node='blue'><item id='127.0.0.1:1:10.1.1.1/32'>{ENTRY}{ENTRY}</item></publish>",
        f"{BAD} invalid-payload"),
    "publish a wrong payload": (
        "set", ns.PUBSUB, "<publish node='blue'><item id='i'><x xmlns='urn:example:x'/></item></publish>",
        f"{BAD} invalid-payload"),
    "publish without id": (
        "set", ns.PUBSUB, f"<publish node='blue'><item>{ENTRY}</item></publish>", f"{BAD} item-required"),
    "publish by get": ("get", ns.PUBSUB, f"<publish node='blue'>{ITEM}</publish>", BAD),
    "publish with options": (
        "set", ns.PUBSUB, f"<publish node='blue'>{ITEM}</publish><publish-options>{FORM.format('')}</publish-options>",
        f"{UNSUPPORTED} publish-options"),
    # Retracting: section 7.2.3.
    "retract without node": ("set", ns.PUBSUB, "<retract><item id='x'/></retract>", f"{BAD} nodeid-required"),
    "retract nothing": ("set", ns.PUBSUB, "<retract node='blue'/>", f"{BAD} item-required"),
    "retract without id": ("set", ns.PUBSUB, "<retract node='blue'><item/></retract>", f"{BAD} item-required"),
    "retract what is not there": (
        "set", ns.PUBSUB, "<retract node='blue'><item id='127.0.0.1:1:10.9.9.9/32'/></retract>",
        "error cancel item-not-found"),
    "retract from nothing": (
        "set", ns.PUBSUB, "<retract node='none'><item id='x'/></retract>", "error cancel item-not-found"),
    # Entities: sections 5.6 and 5.7.
    "subscriptions of nothing": ("get", ns.PUBSUB, "<subscriptions node='none'/>", "error cancel item-not-found"),
    "subscriptions by set": ("set", ns.PUBSUB, "<subscriptions/>", BAD),
    "affiliations by set": ("set", ns.PUBSUB, "<affiliations/>", BAD),
    # Owners: section 8. Nodes are the gateway's configuration.
    "create": ("set", ns.PUBSUB, "<create node='new'/>", f"{UNSUPPORTED} create-nodes"),
    "create and configure": (
        "set", ns.PUBSUB, "<create node='new'/><configure/>", f"{UNSUPPORTED} create-nodes"),
    "configuration": ("get", ns.PUBSUB_OWNER, "<configure node='blue'/>", f"{UNSUPPORTED} config-node"),
    "default configuration": ("get", ns.PUBSUB_OWNER, "<default/>", f"{UNSUPPORTED} retrieve-default"),
    "delete": ("set", ns.PUBSUB_OWNER, "<delete node='none'/>", f"{UNSUPPORTED} delete-nodes"),
    "purge": ("set", ns.PUBSUB_OWNER, "<purge node='none'/>", f"{UNSUPPORTED} purge-nodes"),
    "subscriptions of all": (
        "get", ns.PUBSUB_OWNER, "<subscriptions node='none'/>", f"{UNSUPPORTED} manage-subscriptions"),
    "affiliations of all": (
        "get", ns.PUBSUB_OWNER, "<affiliations node='none'/>", f"{UNSUPPORTED} modify-affiliations"),
    # The rest.
    "no request": ("set", ns.PUBSUB, "", BAD),
    "two requests": (
        "set", ns.PUBSUB, f"<publish node='blue'>{ITEM}</publish><retract node='blue'><item id='x'/></retract>", BAD),
    "unknown request": ("set", ns.PUBSUB, "<flow node='blue'/>", "error cancel feature-not-implemented"),
    "collections": (
        "set", f"{ns.PUBSUB}#collection", "<collection node='blue'/>", "error cancel service-unavailable"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refusals(case: str, subject: Subject, sessions: Sessions) -> None:
    """Each has its pair, and the session goes on."""
    kind, namespace, content, wanted = CASES[case]
    client = sessions()
    if not subject.ours:
        # Nodes are made by being used there: each case has its own, and knows what is in them.
        for node in ("blue", "red", "none", "new"):
            content = content.replace(f"'{node}'", f"'{node}{[*CASES].index(case)}'")
        for node in ("blue", "red"):
            create = f"<create node='{node}{[*CASES].index(case)}'/>"
            client.ask("set", f"<pubsub xmlns='{ns.PUBSUB}'>{create}</pubsub>", subject.service)
    request = f"<iq type='{kind}' id='c1' to='{subject.service}'><pubsub xmlns='{namespace}'>{content}</pubsub></iq>"
    judge(subject, case, client.outcome(request), wanted)
    assert client.outcome("", silent=True) == "nothing"
